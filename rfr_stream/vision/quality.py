"""Measures of a chip that say whether a face can be compared at all."""

from typing import Final, NamedTuple

import numpy as np

from rfr_stream.faces import ImageHwc

_LUMA: Final = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""ITU-R BT.601."""


class Measures(NamedTuple):
    """sharpness: variance of the Laplacian; brightness, contrast: mean and deviation; of grey levels 0-255."""

    sharpness: float
    brightness: float
    contrast: float


def measure(chip: ImageHwc) -> Measures:
    """Measure a chip, uint8 [S, S, 3], RGB, S >= 3."""
    grey = chip @ _LUMA  # [S, S]
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    laplacian = around - 4 * grey[1:-1, 1:-1]
    return Measures(float(laplacian.var()), float(grey.mean()), float(grey.std()))
