"""Opens video files that nobody vouches for, and says exactly which frame is on screen at which moment.

Time is counted from the first frame that can be shown, by presentation timestamps alone: a frame is on screen from its
own timestamp until the next one's, whatever rate the file claims. Every pass opens the file anew, so that no answer
depends on the passes before; and a frame that is reached by seeking is the one that decoding from the start reaches.

Sizes are checked before a frame is decoded, and what is decoded is counted.
"""

import hashlib
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from io import BufferedReader
from itertools import dropwhile
from math import ceil
from pathlib import Path
from typing import Final, NamedTuple, cast

import av
from av.codec.context import ThreadType
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from rfr_stream.errors import settle
from rfr_stream.faces import ImageHwc
from rfr_stream.vision.container import MICRO, claimed_length, open_container, pictures, seek, time_base
from rfr_stream.vision.developing import Developer, recipe, refuse

TOOL: Final = f"PyAV {av.__version__}, FFmpeg {av.ffmpeg_version_info}"
_TIMED: Final = frozenset({"mov", "matroska", "avi", "asf", "flv", "mxf"})
"""Containers that keep a time for every frame. In others some are worked out from those before, and come out otherwise
where decoding begins elsewhere: they are always decoded from the start."""
_BACK_S: Final = (0, 1, 10)
"""How far before the moment wanted a key frame is looked for; failing that, decoding begins at the start."""
_SHORT_S: Final = 1
"""So much may be missing from what the header claims: durations are rounded, and sound may outlast the picture."""


@dataclass(frozen=True, slots=True)
class VideoLimits:
    """How many pixels a frame may have, how long a video may last, and how much of it is decoded for one `Clip`."""

    max_pixels: int
    max_frames: int
    max_s: float
    threads: int = 1


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame as a person sees it, and all that it takes to take it again.

    `pixels`: uint8 [H, W, 3], RGB, upright, square pixels. `time`: seconds since the first frame, exactly
    `(pts - first_pts) * time_base`. `steps`: the FFmpeg filters that made the pixels of what was decoded, in order.
    """

    pixels: ImageHwc
    time: Fraction
    pts: int
    first_pts: int
    time_base: Fraction
    codec: str
    steps: tuple[str, ...]

    @property
    def time_s(self) -> float:
        """The time rounded up to a microsecond: asked for this number, a clip gives this frame and never the last."""
        return ceil(self.time * MICRO) / MICRO


class _Shown(NamedTuple):
    """A decoded frame between its neighbours, which de-interlacing looks at, and how long it is on screen."""

    before: VideoFrame | None
    frame: VideoFrame
    after: VideoFrame | None
    time: Fraction
    until: Fraction


class _Origin(NamedTuple):
    """Where time begins, and what the stream says of all its frames."""

    pts: int
    codec: str
    aspect: Fraction
    turn: str | None
    timed: bool


class Clip:
    """A stored video, decoded in the calling thread.

    Every method raises `BadVideo` where the file is no video that may be opened, is damaged before or at what is
    wanted, has timestamps that are missing or run backwards, or is larger or longer than the limits.
    """

    def __init__(self, path: Path, limits: VideoLimits) -> None:
        """Open nothing yet."""
        self._path, self._limits = path, limits
        self._left = limits.max_frames
        self._developer = Developer()
        self._found: _Origin | None = None

    @cached_property
    def sha256(self) -> str:
        """Of the file's bytes."""
        with self._file() as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def at(self, seconds: Fraction, *, steps: tuple[str, ...] | None = None) -> Frame:
        """Return the frame on screen at a moment: the last whose time is not later.

        Args:
            seconds: since the first frame; before it, the first frame is meant.

            steps: as recorded of this frame before; None: those that it needs.

        """
        wanted = max(seconds, Fraction(0))
        for back_s in _BACK_S if self._origin.timed else ():
            found = settle(self._shown_at, wanted, wanted - back_s)
            # Where decoding began with it, de-interlacing would miss what is before it.
            if isinstance(found, _Shown) and (found.before or not found.frame.interlaced_frame):
                return self._developed(found, steps)
        return self._developed(self._shown_at(wanted, None), steps)

    def every(self, step: Fraction) -> Generator[Frame]:
        """Yield the frames on screen at 0, step, 2 * step ... until the end; one that stays on screen comes once."""
        if step <= 0:
            msg = "the step between frames must be positive"
            raise ValueError(msg)
        for shown in self._shown(None):
            due = ceil(shown.time / step) * step
            if due < shown.until or due == shown.time:
                yield self._developed(shown, None)

    # --- frames on screen ---------------------------------------------------------------------------------------------
    @property
    def _origin(self) -> _Origin:
        if self._found is None:
            with self._opened() as (container, stream):
                next(self._decoded(container, stream))
        return cast("_Origin", self._found)

    def _time(self, frame: VideoFrame) -> Fraction:
        return (_pts(frame) - self._origin.pts) * time_base(frame)

    def _shown_at(self, seconds: Fraction, begin: Fraction | None) -> _Shown:
        """Return the last frame whose time is not later, decoding from near `begin`, or from the start."""
        shown = None
        with closing(self._shown(begin)) as frames:
            for shown in frames:
                if seconds < shown.until or seconds == shown.time:
                    break
        if shown is None or shown.time > seconds:
            refuse(f"no key frame before {_s(seconds)}")
        if seconds >= shown.until > shown.time:
            refuse(f"it ends at {_s(shown.until)}")
        return shown

    def _shown(self, begin: Fraction | None) -> Generator[_Shown]:
        """Yield the frames in the order of their times: all, or from a key frame near `begin`."""
        first_pts = 0 if begin is None else self._origin.pts
        with self._opened() as (container, stream):
            frames = self._decoded(container, stream)
            if begin is not None:
                seek(container, stream, first_pts + int(begin / time_base(stream)))
                # What comes before the first key frame may lack the frames that it was predicted from.
                frames = dropwhile(lambda frame: not frame.key_frame, frames)
            before, frame = None, next(frames, None)
            while frame is not None:
                after = next(frames, None)
                yield self._between(before, frame, after)
                before, frame = frame, after

    def _between(self, before: VideoFrame | None, frame: VideoFrame, after: VideoFrame | None) -> _Shown:
        time = self._time(frame)
        if time > self._limits.max_s:
            refuse(f"longer than {self._limits.max_s:g} s")
        if after is not None:
            return _Shown(before, frame, after, time, self._time(after))
        lasts = frame.duration * time_base(frame) or (time - self._time(before) if before else Fraction(0))
        return _Shown(before, frame, None, time, time + lasts)

    def _developed(self, shown: _Shown, steps: tuple[str, ...] | None) -> Frame:
        origin, max_pixels = self._origin, self._limits.max_pixels
        needed = steps or recipe(shown.frame, aspect=origin.aspect, turn=origin.turn)
        pixels = self._developer.develop(shown[:3], needed, max_pixels=max_pixels)
        unit = time_base(shown.frame)
        return Frame(pixels, shown.time, _pts(shown.frame), origin.pts, unit, origin.codec, needed)

    # --- decoding -----------------------------------------------------------------------------------------------------
    def _file(self) -> BufferedReader:
        if not self._path.is_file():
            refuse("not a regular file")
        if not self._path.stat().st_size:
            refuse("the file is empty")
        return self._path.open("rb")

    @contextmanager
    def _opened(self) -> Iterator[tuple[InputContainer, VideoStream]]:
        # Given an open file, not a name: FFmpeg takes names for addresses of all sorts.
        with self._file() as file, open_container(file) as container:
            stream = pictures(container)
            self._require_size(stream.width, stream.height)
            claimed_s = (container.duration or 0) / MICRO
            if claimed_s > self._limits.max_s:
                refuse(f"it claims to last longer than {self._limits.max_s:g} s")
            # For a size that changes on the way; with room for what a coder adds to fill its last blocks.
            stream.codec_context.options = {"max_pixels": str(2 * self._limits.max_pixels)}
            stream.thread_type, stream.thread_count = ThreadType.AUTO, self._limits.threads
            yield container, stream

    def _decoded(self, container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
        """Yield what the file holds from where it stands; each frame checked, and at the end whether it was all."""
        last: VideoFrame | None = None
        packets = container.demux(stream)
        while (frames := self._next(packets, stream, last)) is not None:
            for frame in frames:
                self._check(frame, last)
                self._found = self._found or _origin(container, stream, frame)
                yield frame
                last = frame
        if self._found is None:
            refuse("it holds not a single frame")
        length = claimed_length(container, stream)
        if last is not None and length is not None and self._reached(last) < length - _SHORT_S:
            refuse(f"truncated: it claims {_s(length)}, and nothing follows {_s(self._time(last))}")

    def _next(
        self, packets: "Iterator[Packet[VideoStream]]", stream: VideoStream, last: VideoFrame | None
    ) -> list[VideoFrame] | None:
        """Return the frames, often none, that the next packet completes; None at the end."""
        try:
            packet = next(packets, None)
            if packet is None:
                return None
            self._left -= 1
            if self._left < 0:
                refuse(f"more than {self._limits.max_frames} frames would have to be decoded")
            if packet.size and packet.pts is None:
                refuse("it does not say when its frames are shown; copy it into MP4 or Matroska")
            return stream.decode(packet)
        except (av.FFmpegError, OSError) as error:
            named = f"{error.strerror}; or larger there than {self._limits.max_pixels} pixels a frame"
            refuse(f"damaged {self._after(last)} ({named})")

    def _check(self, frame: VideoFrame, last: VideoFrame | None) -> None:
        self._require_size(frame.width, frame.height)
        if frame.is_corrupt:
            refuse(f"damaged {self._after(last)}")
        if last is not None and _pts(frame) < _pts(last):
            refuse(f"its times run backwards {self._after(last)}; copy it into MP4 or Matroska anew")

    def _reached(self, last: VideoFrame) -> Fraction:
        """Return how far the file came, as it counts itself: some count from the first frame, and some from zero."""
        return max(self._time(last), _pts(last) * time_base(last))

    def _after(self, last: VideoFrame | None) -> str:
        return f"after {_s(self._time(last))}" if last is not None else "where decoding began"

    def _require_size(self, width: int, height: int) -> None:
        if width * height > self._limits.max_pixels:
            refuse(f"more than {self._limits.max_pixels} pixels a frame")


def _origin(container: InputContainer, stream: VideoStream, first: VideoFrame) -> _Origin:
    aspect = stream.sample_aspect_ratio or Fraction(1)
    timed = not _TIMED.isdisjoint(container.format.name.split(","))
    return _Origin(_pts(first), stream.codec_context.name, aspect, stream.metadata.get("rotate"), timed)


def _pts(frame: VideoFrame) -> int:
    if frame.pts is None:
        refuse("it does not say when its frames are shown; copy it into MP4 or Matroska")
    return frame.pts


def _s(seconds: Fraction | int) -> str:
    return f"{float(seconds):.3f} s"
