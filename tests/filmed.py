"""Videos made on the spot, whose pictures say which frame they are: the number in binary, as bars of light and dark."""

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Final, cast

import av
import numpy as np
from av.video.stream import VideoStream

from rfr_stream.faces import ImageHwc
from rfr_stream.vision.video import Frame, VideoLimits

LIMITS: Final = VideoLimits(max_pixels=1_000_000, max_frames=10_000, max_s=3_600.0)
BITS: Final = 6
RATE: Final = 25


def numbered(number: int, width: int = 192, height: int = 96) -> ImageHwc:
    """Return a picture that shows a number below 64."""
    bars = [(235 if number >> bit & 1 else 20) for bit in range(BITS)]
    levels = np.repeat(np.array(bars, np.uint8), width // BITS)
    return np.broadcast_to(levels[None, :, None], (height, width, 3)).copy()


def number_in(frame: Frame) -> int:
    """Return the number that a frame shows, read from the middle of each bar."""
    wide = frame.pixels.shape[1] // BITS
    middles = frame.pixels[:, wide // 2 :: wide, :].mean(axis=(0, 2))
    return sum(int(level > 128) << bit for bit, level in enumerate(middles))


def film(
    path: Path,
    pictures: Iterable[ImageHwc] | int = 50,
    *,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    times: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, 1000),
    rate: Fraction | int = RATE,
    options: dict[str, str] | None = None,
    flags: dict[str, str] | None = None,
    tune: Callable[[VideoStream], object] = lambda _: None,
) -> Path:
    """Write a video, of so many numbered pictures or of these.

    Args:
        path: where, and by its suffix, in which container.

        pictures: uint8 [H, W, 3], RGB, all of one size.

        codec: an encoder of FFmpeg.

        pixels: how it stores them.

        times: when each is shown, in `time_base`; None: regularly.

        time_base: unit of `times`.

        rate: frames a second, where no times are given.

        options: of the encoder.

        flags: of the container.

        tune: what else is to be said of the stream.

    """
    shown = [numbered(number) for number in range(pictures)] if isinstance(pictures, int) else list(pictures)
    with av.open(path, "w", options=flags or {}) as file:
        stream = cast("VideoStream", file.add_stream(codec, rate=rate, options=options or {}))
        stream.height, stream.width, _ = shown[0].shape
        stream.pix_fmt = pixels
        if times is not None:
            stream.codec_context.time_base = time_base
        tune(stream)
        for place, picture in enumerate(shown):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[place], time_base
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path
