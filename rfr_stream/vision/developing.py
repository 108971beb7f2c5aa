"""From a frame as it is stored to the picture that a person is meant to see: FFmpeg filters, each of them recorded.

The filters are written as FFmpeg writes them (`name=option=value:option=value`), so that a record can be read, and
repeated, without this program. They run without the short cuts that round differently from one processor to another.
"""

import re
import struct
from fractions import Fraction
from types import MappingProxyType
from typing import Final, NoReturn, TypeAlias, cast

import av
import numpy as np
from av.filter import Graph
from av.sidedata.sidedata import SideDataContainer, Type
from av.video.frame import VideoFrame

from rfr_stream.errors import BadVideo
from rfr_stream.faces import ImageHwc

Window: TypeAlias = tuple[VideoFrame | None, VideoFrame, VideoFrame | None]
"""A frame between the one before and the one after it."""

DEINTERLACE: Final = "bwdif=mode=send_frame:parity=auto:deint=all"
ALLOWED: Final = frozenset({"bwdif", "scale", "format", "transpose", "hflip", "vflip"})
"""A record comes from a file, and other filters of FFmpeg open files."""

_EXACT: Final = "bicubic+accurate_rnd+full_chroma_int+bitexact"
_SIZE: Final = re.compile(r"scale=w=(\d{1,6}):h=(\d{1,6}):")
_HD_LINES: Final = 720
_FULL_RANGE: Final = 2
_MATRICES: Final = MappingProxyType({1: "bt709", 4: "fcc", 5: "bt470", 6: "smpte170m", 7: "smpte240m", 9: "bt2020"})
"""By the numbers of ITU-T H.273."""
_Signs: TypeAlias = tuple[int, int, int, int]
_UPRIGHT: Final[_Signs] = (1, 0, 0, 1)
_TURNS: Final[MappingProxyType[_Signs, tuple[str, ...]]] = MappingProxyType(
    {
        (0, 1, -1, 0): ("transpose=dir=clock",),
        (0, -1, 1, 0): ("transpose=dir=cclock",),
        (0, 1, 1, 0): ("transpose=dir=cclock_flip",),
        (0, -1, -1, 0): ("transpose=dir=clock_flip",),
        (-1, 0, 0, -1): ("hflip", "vflip"),
        (-1, 0, 0, 1): ("hflip",),
        (1, 0, 0, -1): ("vflip",),
    }
)
"""What a display matrix (a, b, c, d) of quarter turns and mirrors asks for."""
_TAGS: Final[MappingProxyType[str, _Signs]] = MappingProxyType(
    {"90": (0, 1, -1, 0), "180": (-1, 0, 0, -1), "270": (0, -1, 1, 0)}
)
"""The `rotate` tag of older files: degrees clockwise."""


def refuse(reason: str) -> NoReturn:
    """Refuse the video for this reason."""
    msg = f"video: {reason}"
    raise BadVideo(msg)


def recipe(frame: VideoFrame, *, aspect: Fraction, turn: str | None) -> tuple[str, ...]:
    """Return the filters that a stored frame needs: fields woven into one, square pixels, RGB, upright.

    Where a file does not say by which matrix its colours were made, high definition counts as BT.709 and the rest as
    BT.601. Deeper levels are brought to 8 bits; high dynamic range is not tone-mapped.

    Args:
        frame: as decoded.

        aspect: width to height of one stored pixel.

        turn: the stream's `rotate` tag, for a frame without a display matrix.

    """
    width, height = _square(frame.width, frame.height, aspect)
    default = "bt709" if frame.height >= _HD_LINES else "smpte170m"
    matrix = _MATRICES.get(int(frame.colorspace), default)
    levels = "pc" if int(frame.color_range) == _FULL_RANGE or _is_full_range(frame.format.name) else "tv"
    return (
        *((DEINTERLACE,) if frame.interlaced_frame else ()),
        f"scale=w={width}:h={height}:flags={_EXACT}:in_color_matrix={matrix}:in_range={levels}:out_range=pc",
        "format=pix_fmts=gbrp",
        *_TURNS.get(_turned(frame, turn), ()),
    )


class Developer:
    """Runs filters; their graph is kept while the frames stay alike."""

    def __init__(self) -> None:
        self._made_for: object = None
        self._graph = Graph()

    def develop(self, window: Window, steps: tuple[str, ...], *, max_pixels: int) -> ImageHwc:
        """Return the middle frame of the window after all steps: uint8 [H, W, 3], RGB.

        Raises:
            BadVideo: a step is none of `ALLOWED`, cannot be applied, or makes the frame larger than `max_pixels`.

        """
        _require_harmless(steps, max_pixels)
        try:
            developed = self._woven(window, steps) if DEINTERLACE in steps else self._alone(window[1], steps)
        except (av.FFmpegError, ValueError) as error:
            refuse(f"a frame cannot be brought to RGB ({type(error).__name__})")
        return developed.to_ndarray().astype(np.uint8, copy=False)

    def _alone(self, frame: VideoFrame, steps: tuple[str, ...]) -> VideoFrame:
        kind = (*_kind(frame), steps)
        if kind != self._made_for:
            self._graph, self._made_for = _graph(frame, steps), kind
        self._graph.vpush(frame)
        return self._graph.vpull()

    def _woven(self, window: Window, steps: tuple[str, ...]) -> VideoFrame:
        """Run a graph of its own over the window: what a kept one remembers would depend on what it saw before."""
        graph = _graph(window[1], steps)
        neighbours = [each for each in window if each is not None and _kind(each) == _kind(window[1])]
        for frame in neighbours:
            graph.vpush(frame)
        graph.vpush(None)
        return [graph.vpull() for _ in range(neighbours.index(window[1]) + 1)][-1]


def _graph(frame: VideoFrame, steps: tuple[str, ...]) -> Graph:
    graph = Graph()
    width, height, pixels, colorspace, levels = _kind(frame)
    source = graph.add(
        "buffer",
        video_size=f"{width}x{height}",
        pix_fmt=str(pixels),
        time_base=str(frame.time_base),
        colorspace=str(colorspace),
        range=str(levels),
    )
    filters = [graph.add(name, options or None) for name, _, options in (step.partition("=") for step in steps)]
    graph.link_nodes(source, *filters, graph.add("buffersink")).configure()
    return graph


def _kind(frame: VideoFrame) -> tuple[int, int, str, int, int]:
    return frame.width, frame.height, frame.format.name, int(frame.colorspace), int(frame.color_range)


def _require_harmless(steps: tuple[str, ...], max_pixels: int) -> None:
    for step in steps:
        if step.partition("=")[0] not in ALLOWED:
            refuse("a recorded step is none of this program's")
        size = _SIZE.match(step)
        if step.startswith("scale") and (size is None or int(size[1]) * int(size[2]) > max_pixels):
            refuse(f"more than {max_pixels} pixels a frame, once its pixels are square")


def _square(width: int, height: int, aspect: Fraction) -> tuple[int, int]:
    """Return the size of the same picture in square pixels: stretched one way, shrunk in none."""
    return (round(width * aspect), height) if aspect >= 1 else (width, round(height / aspect))


def _is_full_range(pixels: str) -> bool:
    return pixels.startswith(("yuvj", "gray", "rgb", "bgr", "gbr", "pal"))


def _turned(frame: VideoFrame, tag: str | None) -> _Signs:
    """Return the signs of a display matrix; one that is not of quarter turns counts as the nearest that is."""
    found = cast("SideDataContainer", frame.side_data).get(Type.DISPLAYMATRIX)
    if found is None:
        return _TAGS.get(tag or "", _UPRIGHT)
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(found))
    quarter = abs(b) + abs(c) > abs(a) + abs(d)
    return (0, _sign(b), _sign(c), 0) if quarter else (_sign(a), 0, 0, _sign(d))


def _sign(value: int) -> int:
    return (value > 0) - (value < 0)
