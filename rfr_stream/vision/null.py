"""Vision without vision: no weights, next to no time. For measuring everything else, and for tests of the runtime.

It recognises nobody: equal chips get equal templates, and any other two are unrelated.
"""

import hashlib
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rfr_stream.faces import Box, Face, ImageHwc, Landmarks, Matrix

CHIP_PX: Final = 16
DIMENSION: Final = 128

_SHARES: Final[Matrix] = np.array([(0.4, 0.4), (0.6, 0.4), (0.5, 0.5), (0.42, 0.6), (0.58, 0.6)], dtype=np.float32)
"""Landmarks of the one face, as shares of width and height."""


class NullDetector:
    """Finds one face in the middle of every picture."""

    def detect(self, images: Sequence[ImageHwc]) -> list[list[Face]]:
        """Return one face for each image, uint8 [H, W, 3], in its own pixels."""
        return [[_central(image)] for image in images]


def align(image: ImageHwc) -> ImageHwc:
    """Return every so-manieth pixel of the picture as a chip, uint8 [16, 16, 3]."""
    rows, columns = (np.arange(CHIP_PX) * side // CHIP_PX for side in image.shape[:2])
    chip: ImageHwc = image[rows[:, None], columns]  # [16, 16, 3]
    return chip


class NullEmbedder:
    """Derives a template from the chip's bytes."""

    def embed(self, chips: Sequence[ImageHwc]) -> NDArray[np.float32]:
        """Return float32 [N, 128], L2 norm 1."""
        noise = b"".join(hashlib.shake_128(chip.tobytes()).digest(DIMENSION) for chip in chips)
        rows = np.frombuffer(noise, np.uint8).reshape(len(chips), DIMENSION) - np.float32(127.5)  # [N, 128]
        templates: NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return templates


def _central(image: ImageHwc) -> Face:
    height, width = image.shape[:2]
    box = Box(width * 0.3, height * 0.3, width * 0.7, height * 0.7)
    return Face(box, Landmarks.from_array(_SHARES * np.array([width, height], dtype=np.float32)), 1.0)
