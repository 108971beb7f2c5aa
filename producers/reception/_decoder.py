"""Takes frames from a video that nobody vouches for, in a process of its own, which may die of what it reads.

    python -m producers.reception._decoder JOB

The job is JSON. Frames and their records come to lie in its folder, numbered; one line of JSON says how it went. The
process ends with whoever started it, which holds its standard input open.
"""

import asyncio
import logging
import os
import resource
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from threading import Thread
from types import TracebackType

from pydantic import BaseModel

from producers import footage
from producers.reception._wanted import Wanted
from rfr_stream import telemetry
from rfr_stream.adapters.gpu import open_vision
from rfr_stream.errors import BadVideo, RfrError, Unavailable
from rfr_stream.settings import DetectionSettings, VisionSettings
from rfr_stream.vision.video import Clip, VideoLimits

log = telemetry.logger(__name__)


class Job(BaseModel):
    """What is to be taken from which video, by what, and within which limits."""

    video: Path
    to: Path
    wanted: Wanted
    max_frames: int
    max_bytes: int
    """Of all frames together."""
    memory_bytes: int
    vision: VisionSettings
    detection: DetectionSettings
    weights_dir: Path


class Said(BaseModel):
    """How it went: so many frames lie there; or what to do about which field; or what of our own is away."""

    frames: int = 0
    field: str = ""
    fix: str = ""
    away: str = ""


class _Fault(Exception):
    """Something about the request that its sender can mend."""

    def __init__(self, said: Said) -> None:
        super().__init__()
        self.said = said


def main() -> None:
    """Do one job."""
    telemetry.configure()
    sys.excepthook = _note
    job = Job.model_validate_json(sys.argv[1])
    _bind(job)
    Thread(target=_end_with_parent, daemon=True).start()
    sys.stdout.write(_done(job).model_dump_json() + "\n")


def _note(_: type[BaseException], error: BaseException, __: TracebackType | None) -> None:
    """Say which error ended this process; its text may quote what the video says of itself."""
    log.event("decoder.failed", level=logging.ERROR, error=error)


def _bind(job: Job) -> None:
    """Bound what is written to memory, and leave no picture of it on a disk where this process crashes."""
    resource.setrlimit(resource.RLIMIT_DATA, (job.memory_bytes, job.memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _end_with_parent() -> None:
    os.read(0, 1)
    os._exit(1)


def _done(job: Job) -> Said:
    try:
        return Said(frames=_take(job))
    except _Fault as fault:
        return fault.said
    except RfrError as error:
        return Said(away=str(error))


def _take(job: Job) -> int:
    """Lay down the frames; return how many there are."""
    vision, size, number = job.vision, 0, 0
    limits = VideoLimits(vision.max_video_pixels, vision.max_video_frames, vision.max_video_s, vision.decode_threads)
    clip = Clip(job.video, limits)
    with _blamed_on("video"):
        clip.at(Fraction(0))  # what is wrong with the video itself is no fault of a moment
        for number, taken in enumerate(_frames(clip, job), start=1):
            size += len(taken.png)
            _require_few(number, size, job)
            _require_small(taken, job)
            _lay(taken, job.to / f"{number - 1}.png")
    if not number:
        fix = "no face was found that is fit to be compared; ask for frames by `at`"
        raise _Fault(Said(field="request.frames.best", fix=fix))
    return number


def _frames(clip: Clip, job: Job) -> Iterable[footage.Taken]:
    wanted = job.wanted
    if wanted.best is not None:
        return asyncio.run(_best(clip, wanted.best, job))
    if wanted.every is not None:
        return footage.take(clip, every=_exact(wanted.every))
    return _moments(clip, wanted.at)


def _moments(clip: Clip, at: Iterable[float]) -> Iterator[footage.Taken]:
    for place, seconds in enumerate(at):
        with _blamed_on(f"request.frames.at.{place}"):
            yield from footage.take(clip, at=[_exact(seconds)])


async def _best(clip: Clip, count: int, job: Job) -> list[footage.Taken]:
    """Find best shots by the detector alone: whoever passes through a picture is looked at, and never embedded."""
    rules = footage.ShotRules(count, footage.LOOK_EVERY, job.detection.min_score, job.detection.min_interocular_px)
    async with open_vision(job.vision, job.weights_dir, load=["detector"]) as vision:
        return await footage.best_shots(clip, rules, detector=vision.detector, aligner=vision.aligner)


def _require_few(number: int, size: int, job: Job) -> None:
    if number > job.max_frames:
        fix = f"a longer step; at most {job.max_frames} frames of one video"
        raise _Fault(Said(field="request.frames.every", fix=fix))
    if size > job.max_bytes:
        raise _Fault(Said(field="request.frames", fix=f"fewer; together at most {job.max_bytes} bytes"))


def _require_small(taken: footage.Taken, job: Job) -> None:
    if len(taken.png) > job.vision.max_image_bytes:
        fix = f"its frames are larger than an image may be: {job.vision.max_image_bytes} bytes"
        raise _Fault(Said(field="video", fix=fix))


def _lay(taken: footage.Taken, path: Path) -> None:
    try:
        footage.write(taken, path)
    except OSError as error:
        msg = f"spool: {error.strerror or type(error).__name__}"
        raise Unavailable(msg) from error


@contextmanager
def _blamed_on(field: str) -> Iterator[None]:
    try:
        yield
    except BadVideo as error:
        raise _Fault(Said(field=field, fix=str(error).removeprefix("video: "))) from None


def _exact(seconds: float) -> Fraction:
    """Return the number that was written, and not its nearest in binary: a frame begins exactly then."""
    return Fraction(repr(seconds))


if __name__ == "__main__":
    main()
