"""What copies of one picture share, however they were saved, resized or cropped; nothing about the faces in it."""

from itertools import product
from typing import Final

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rfr_stream.faces import ImageHwc

HASH_SIDE: Final = 16
"""Of the grid of brightness steps that a hash is of: 256 bits tell apart what 64 do not."""
_SMALL_PX: Final = 160
"""Longest side of what is hashed: ten pixels to a step, and the whole work a few milliseconds."""
_STEP: Final = 0.05
_STEPS: Final = 4
"""A copy may lack up to a fifth of each side; windows at every twentieth come close enough to any crop of that kind."""

WINDOWS: Final = tuple(
    (left * _STEP, top * _STEP, 1 - (cut - left) * _STEP, 1 - (cut - top) * _STEP)
    for cut in range(_STEPS + 1)
    for left, top in product(range(cut + 1), repeat=2)
)
"""Left, top, right, bottom, as shares of the frame; the first is the whole frame."""


def fingerprint(pixels: ImageHwc) -> NDArray[np.uint8]:
    """Return the hashes of the whole frame and of each window: uint8 [55, 32]."""
    small = Image.fromarray(pixels).convert("L")
    small.thumbnail((_SMALL_PX, _SMALL_PX), Image.Resampling.BOX)
    hashes = [_hash(small, window) for window in WINDOWS]
    return np.packbits(np.stack(hashes), axis=1)


def _hash(image: Image.Image, window: tuple[float, ...]) -> NDArray[np.bool_]:
    width, height = image.size
    left, top, right, bottom = window
    part = image.crop((round(left * width), round(top * height), round(right * width), round(bottom * height)))
    bits: NDArray[np.bool_] = imagehash.dhash(part, hash_size=HASH_SIDE).hash.ravel()
    return bits
