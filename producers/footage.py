"""Frames out of stored video, on their way to a door: each a derivative, with a record of how it can be taken again.

A frame's record lies beside its PNG and names the video by digest, the moment, every processing step, and the tools.
`replayed` takes the frame again by its record alone, and refuses it where a pixel differs.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Generator, Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Annotated, Final, NamedTuple, TypeVar

from PIL import Image
from pydantic import Field, ValidationError

from producers._request import Request
from rfr_stream.errors import Malformed
from rfr_stream.events import ModelIdentity, Observation, Sha256, Share, Value, VideoFrame
from rfr_stream.faces import Box, Face
from rfr_stream.ports import Aligner, Detector
from rfr_stream.vision.quality import Measures
from rfr_stream.vision.tracking import Sighting, Tracker
from rfr_stream.vision.video import TOOL, Clip, Frame

R = TypeVar("R", bound=Request)

TOOLS: Final = f"rfr-stream {version('rfr-stream')}, {TOOL}, Pillow {version('pillow')}"
SUFFIX: Final = ".json"
"""A record is called as its image, and this."""
LOOK_EVERY: Final = Fraction(1, 5)
"""Seconds from one look for best shots to the next: a walking person moves by less than the width of a face."""
_MAX_RECORD_BYTES: Final = 65_536


class FrameRecord(Value):
    """What a frame is, and how the same frame is taken from the same video again."""

    video_sha256: Sha256
    frame_time_s: Annotated[
        float, Field(ge=0, allow_inf_nan=False, description="since the first frame, rounded up to a microsecond")
    ]
    pts: int
    first_pts: int
    time_base: Annotated[
        str, Field(pattern=r"^[0-9]{1,9}(/[0-9]{1,9})?$", description="exactly: (pts - first_pts) * time_base seconds")
    ]
    codec: Observation
    steps: Annotated[tuple[Observation, ...], Field(max_length=16, description="FFmpeg filters, in order")]
    tools: Observation
    width: Annotated[int, Field(ge=1)]
    height: Annotated[int, Field(ge=1)]
    pixels_sha256: Annotated[Sha256, Field(description="of the RGB levels, row by row: whatever wrote the file")]
    sha256: Annotated[Sha256, Field(description="of the file")]
    subject: Annotated[Box | None, Field(description="of a best shot: where its face is")] = None
    merit: Annotated[Share | None, Field(description="of a best shot: by which shots of one clip are ordered")] = None
    detector: ModelIdentity | None = None

    @property
    def time(self) -> Fraction:
        """Seconds since the first frame, exactly."""
        return (self.pts - self.first_pts) * Fraction(self.time_base)

    @property
    def text(self) -> str:
        """As it is written down."""
        return self.model_dump_json(indent=2, exclude_none=True) + "\n"

    @property
    def media(self) -> VideoFrame:
        """What a submission says of the frame."""
        return VideoFrame(
            video_sha256=self.video_sha256, frame_time_s=self.frame_time_s, steps=self.steps, tool=self.tools
        )


class Taken(NamedTuple):
    """A frame as a PNG, and its record."""

    png: bytes
    record: FrameRecord


@dataclass(frozen=True, slots=True)
class ShotRules:
    """How many shots, how often to look (seconds), and what a face must be to count."""

    count: int
    step: Fraction
    min_score: float
    min_interocular_px: float


def take(clip: Clip, *, at: Iterable[Fraction] = (), every: Fraction | None = None) -> Generator[Taken]:
    """Yield the frames on screen at these moments, in their order, and then those at regular steps.

    It decodes in the thread that asks for the next frame, for as long as that takes. Beside an event loop, every step
    goes to a thread, so that nothing else waits, and at most one frame is in memory:

        frames = take(Clip(path, limits), every=Fraction(2))
        while taken := await asyncio.to_thread(next, frames, None):
            ...

    One clip is for one thread at a time; a request that is given up is ended by `frames.close()`. What one clip
    decodes is bounded by its limits, across all calls.

    Args:
        clip: made for this request.

        at: seconds since the first frame.

        every: seconds from one frame to the next.

    Raises:
        BadVideo: by the frame that it concerns; those before it are good.

    """
    for moment in at:
        yield _taken(clip, clip.at(moment))
    if every is not None:
        yield from map(partial(_taken, clip), clip.every(every))


async def best_shots(clip: Clip, rules: ShotRules, *, detector: Detector, aligner: Aligner) -> list[Taken]:
    """Return the best frame of each face that can be followed through the clip, best first, at most so many.

    Faces are found and measured, and joined by place (`rfr_stream/vision/tracking.py`). Nobody is embedded: there is no
    embedder here. The chips that are measured are kept nowhere; the record says where the face is.

    Raises:
        BadVideo: the clip cannot be decoded to its end.

    """
    tracker = Tracker(rules.step)
    frames = clip.every(rules.step)
    while frame := await asyncio.to_thread(next, frames, None):
        tracker.see([sighting async for sighting in _sightings(frame, rules, detector, aligner)])
    shots = tracker.best(rules.count)
    return [await asyncio.to_thread(_shot, clip, shot, detector.identity) for shot in shots]


def keep(taken: Taken, folder: Path, *, number: int | None = None) -> Path:
    """Write the frame and its record beside it; return where the frame lies. The same again overwrites itself."""
    folder.mkdir(parents=True, exist_ok=True)
    shot = "" if number is None else f"-shot{number}"
    return write(taken, folder / f"{taken.record.video_sha256[:12]}-{taken.record.frame_time_s:.6f}s{shot}.png")


def write(taken: Taken, path: Path) -> Path:
    """Write the frame there, and its record beside it."""
    path.write_bytes(taken.png)
    record_path(path).write_text(taken.record.text)
    return path


def asked_of(record: FrameRecord, asked: R) -> R:
    """Return what is asked of one frame: of which video it is and, of a best shot, where the face is."""
    return asked.model_copy(update={"media": record.media, "subject": asked.subject or record.subject})


def record_path(image: Path) -> Path:
    """Return where the record of an image lies, if it has one."""
    return image.with_name(image.name + SUFFIX)


def record_of(image: Path) -> FrameRecord | None:
    """Return the record that lies beside an image; None where none does.

    Raises:
        Malformed: what lies there is no record of a frame, or is the record of another file.

    """
    path = record_path(image)
    if not path.is_file():
        return None
    record = read_record(path)
    with image.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != record.sha256:
        msg = f"{path.name}: the record of another file than the image beside it"
        raise Malformed(msg)
    return record


def read_record(path: Path) -> FrameRecord:
    """Return the record in a file.

    Raises:
        Malformed: it is none.

    """
    with path.open("rb") as file:
        text = file.read(_MAX_RECORD_BYTES)
    try:
        return FrameRecord.model_validate_json(text)
    except ValidationError:
        msg = f"{path.name}: not the record of a frame"
        raise Malformed(msg) from None


def replayed(record: FrameRecord, clip: Clip) -> Taken:
    """Take a frame again, by its record.

    Raises:
        Malformed: the clip is not the video that the record names, or gives other pixels.

        BadVideo: it cannot be decoded.

    """
    if clip.sha256 != record.video_sha256:
        msg = "video_sha256: the record is of another video"
        raise Malformed(msg)
    again = _taken(clip, clip.at(record.time, steps=record.steps))
    if (again.record.pts, again.record.pixels_sha256) != (record.pts, record.pixels_sha256):
        msg = f"pixels_sha256: not the same frame again; taken by {record.tools}, and now by {TOOLS}"
        raise Malformed(msg)
    return again


async def _sightings(frame: Frame, rules: ShotRules, detector: Detector, aligner: Aligner) -> AsyncIterator[Sighting]:
    (found,) = await detector.detect([frame.pixels])
    faces = [face for face in found if _is_fit(face, rules)]
    chips = await aligner.align([frame.pixels] * len(faces), [face.landmarks for face in faces])
    for face, chip in zip(faces, chips, strict=True):
        yield Sighting(frame.time, face, Measures(chip.sharpness, chip.brightness, chip.contrast))


def _is_fit(face: Face, rules: ShotRules) -> bool:
    return face.score >= rules.min_score and face.landmarks.interocular_px >= rules.min_interocular_px


def _shot(clip: Clip, shot: Sighting, detector: ModelIdentity) -> Taken:
    png, record = _taken(clip, clip.at(shot.time))
    merit = min(1.0, shot.merit)  # a sigmoid in float32 may end a hair beside its range
    return Taken(png, record.model_copy(update={"subject": shot.face.box, "merit": merit, "detector": detector}))


def _taken(clip: Clip, frame: Frame) -> Taken:
    out = BytesIO()
    Image.fromarray(frame.pixels).save(out, "PNG", compress_level=1)
    height, width = frame.pixels.shape[:2]
    record = FrameRecord(
        video_sha256=clip.sha256,
        frame_time_s=frame.time_s,
        pts=frame.pts,
        first_pts=frame.first_pts,
        time_base=str(frame.time_base),
        codec=frame.codec,
        steps=frame.steps,
        tools=TOOLS,
        width=width,
        height=height,
        pixels_sha256=hashlib.sha256(frame.pixels.tobytes()).hexdigest(),
        sha256=hashlib.sha256(out.getvalue()).hexdigest(),
    )
    return Taken(out.getvalue(), record)
