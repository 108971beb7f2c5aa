"""What weights expect of pixels."""

from typing import Final, NamedTuple

import torch
from torch import Tensor


class Normalisation(NamedTuple):
    """(levels - mean) / std, of levels 0-255 in this order of channels: it belongs to the weights."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    channels: tuple[int, int, int] = (0, 1, 2)
    """Of RGB; (2, 1, 0) is BGR."""

    def factor_and_offset(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return [3, 1, 1] each: a normalised level is the level times the first, plus the second."""
        mean, std = (torch.tensor(values, device=device).view(3, 1, 1) for values in (self.mean, self.std))
        return 1 / std, -mean / std


IMAGENET_RGB: Final = Normalisation((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
CAFFE_BGR: Final = Normalisation((104.0, 117.0, 123.0), (1.0, 1.0, 1.0), (2, 1, 0))
