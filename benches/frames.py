"""How many frames a second a clip decodes, checks and samples, against a plain PyAV loop over the same file.

    python benches/frames.py

The plain loop decodes every frame, as fast as PyAV does it by default, and converts the same sampled ones to RGB with
PyAV's own converter. Ours counts exact times, checks every frame, and converts by the recorded filters, which round
alike on every processor. Both take turns, with as many threads; times are CPU seconds of this process, which on a busy
machine move less than the clock, and the least of several runs counts. Hashing the file is left out.
"""

import time
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import av
import numpy as np

from rfr_stream.vision.video import Clip, VideoLimits

RATE: Final = 25
FRAMES: Final = 200
SAMPLED: Final = 2 * RATE
RUNS: Final = 5
LIMITS: Final = VideoLimits(max_pixels=40_000_000, max_frames=100_000, max_s=3_600.0, threads=2)
SIZES: Final = ((640, 360), (1280, 720), (1920, 1080))
AIM: Final = 0.8


def film(path: Path, width: int, height: int) -> None:
    """Write eight seconds of a noisy scene that a camera pans over: what footage costs to decode."""
    noise = np.random.default_rng(0)
    scene = noise.integers(40, 216, (height // 8, (width + 2 * FRAMES) // 8 + 1, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    with av.open(path, "w") as file:
        stream = file.add_stream("libx264", rate=RATE, options={"preset": "veryfast", "crf": "23"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(FRAMES):
            seen = scene[:height, 2 * number : 2 * number + width].astype(np.int16)
            grain = noise.integers(-6, 7, (height, width, 1), np.int16)
            picture = np.clip(seen + grain, 0, 255).astype(np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
        file.mux(stream.encode())


def plain(path: Path, step: int) -> None:
    """Decode everything and convert every so-manieth frame, with nothing checked."""
    with av.open(path) as file:
        stream = file.streams.video[0]
        stream.thread_type, stream.thread_count = "AUTO", LIMITS.threads
        for number, frame in enumerate(file.decode(stream)):
            if number % step == 0:
                frame.to_ndarray(format="rgb24")


def ours(path: Path, step: int) -> None:
    """Do the same as a clip does it."""
    for _ in Clip(path, LIMITS).every(Fraction(step, RATE)):
        pass


def seconds(*functions: Callable[[], object]) -> list[float]:
    """Return the least time of each, after one run that does not count; they take turns."""
    times = [[_timed(function) for function in functions] for _ in range(RUNS + 1)][1:]
    return [min(column) for column in zip(*times, strict=True)]


def _timed(function: Callable[[], object]) -> float:
    before = time.process_time()
    function()
    return time.process_time() - before


def main() -> None:
    """Print frames per CPU second and ratios, for three sizes, sampled every two seconds and every frame."""
    with TemporaryDirectory(prefix="rfr-bench-") as folder:
        for width, height in SIZES:
            path = Path(folder) / f"{width}.mp4"
            film(path, width, height)
            for name, step in (("every 2 s", SAMPLED), ("every frame", 1)):
                plain_s, ours_s = seconds(partial(plain, path, step), partial(ours, path, step))
                aim = f"aim >= {AIM}" if step == SAMPLED else ""
                rates = f"plain {FRAMES / plain_s:6.0f} /s   ours {FRAMES / ours_s:6.0f} /s"
                print(f"{width:5} x {height:<5} {name:12} {rates}   ratio {plain_s / ours_s:.2f}  {aim}", flush=True)


if __name__ == "__main__":
    main()
