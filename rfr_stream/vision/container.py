"""Which files are opened as videos at all, and what their headers say.

FFmpeg reads the bytes. It is offered an allow-list of containers, all of which keep their pictures in the file itself;
it is given an open file, and no way to open another.
"""

import re
from fractions import Fraction
from io import BufferedReader
from typing import Final, NoReturn

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from rfr_stream.vision.developing import refuse

FORMATS: Final = "mov,matroska,avi,mpegts,mpeg,asf,flv,mxf,ogg"
"""FFmpeg's names of the containers on the allow-list."""
_NAMES: Final = "MP4, MOV, Matroska, WebM, AVI, MPEG, WMV, FLV, MXF, Ogg"
_BEGINNINGS: Final = re.compile(
    rb"....(ftyp|moov|mdat|wide|free)|\x1aE\xdf\xa3|RIFF....AVI |\x00\x00\x01\xba|0&\xb2u|FLV\x01|OggS", re.DOTALL
)
_READ_BYTES: Final = 262_144
_DURATION: Final = re.compile(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)")
"""Matroska's tag."""
MICRO: Final = 1_000_000


def open_container(file: BufferedReader) -> InputContainer:
    """Return the container in a file.

    Raises:
        BadVideo: it is none of `FORMATS`, or its index is missing.

    """
    options = {"format_whitelist": FORMATS, "protocol_whitelist": ""}
    head = file.read(16)
    file.seek(0)
    try:
        return av.open(
            file,
            "r",
            container_options=options,
            metadata_errors="replace",
            buffer_size=_READ_BYTES,
            io_open=_nothing_else,
        )
    except (av.FFmpegError, ValueError, OSError):  # OSError: sent to a place that the file does not have
        if _BEGINNINGS.match(head):
            refuse("truncated or corrupt: its index cannot be read; export it again")
        refuse(f"not one of {_NAMES}")


def _nothing_else(*_: object) -> NoReturn:
    msg = "a video that refers to other files is not followed there"
    raise PermissionError(msg)


def pictures(container: InputContainer) -> VideoStream:
    """Return the stream of moving pictures; the cover of a sound recording is none."""
    moving = [each for each in container.streams.video if not each.disposition & Disposition.attached_pic]
    if not moving:
        refuse("it holds no moving pictures")
    streams = [each for each in moving if getattr(each, "codec_context", None)]  # none: an encoding that is unknown
    if not streams:
        refuse("its pictures are encoded in a way that this installation cannot decode")
    return max(streams, key=lambda each: (bool(each.disposition & Disposition.default), each.width * each.height))


def seek(container: InputContainer, stream: VideoStream, pts: int) -> None:
    try:
        container.seek(pts, stream=stream)
    except (av.FFmpegError, OSError) as error:
        refuse(f"cannot be searched ({error.strerror})")


def claimed_length(container: InputContainer, stream: VideoStream) -> Fraction | None:
    """Return for how long the file says that its pictures last, if it says it of them."""
    if stream.duration:
        return stream.duration * time_base(stream)
    if found := _DURATION.match(stream.metadata.get("DURATION", "")):
        return int(found[1]) * 3600 + int(found[2]) * 60 + Fraction(found[3])
    return Fraction(container.duration, MICRO) if container.duration and len(container.streams) == 1 else None


def time_base(of: VideoFrame | VideoStream) -> Fraction:
    if of.time_base is None:
        refuse("it does not say in which unit it counts time")
    return of.time_base
