"""Brings pictures down to the size that a detector works at; never up."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

from rfr_stream.faces import ImageHwc


def shrink(image: ImageHwc, longest_px: int, device: torch.device) -> tuple[Tensor, float]:
    """Return the image on the device, its longest side at most `longest_px`, and the factor back to its own pixels.

    Args:
        image: uint8 [H, W, 3], RGB.

        longest_px: more than this is shrunk with an antialiasing filter.

        device: where the pixels go.

    Returns:
        [1, 3, h, w], 0-255, channels last in memory, uint8, or float32 where a GPU has shrunk it; and H / h.

    """
    # A frozen decoder's array is read-only, and torch warns of that; nothing here writes to it.
    pixels = torch.as_tensor(image.copy() if not image.flags.writeable else image)
    frame = pixels.to(device).permute(2, 0, 1)[None]  # [1, 3, H, W]
    scale = max(frame.shape[2:]) / longest_px
    if scale <= 1:
        return frame, 1.0
    size = [max(1, round(side / scale)) for side in frame.shape[2:]]
    return resized(frame, size), scale  # [1, 3, h, w]


def resized(frame: Tensor, size: Sequence[int]) -> Tensor:
    """Return the frame [1, 3, H, W], 0-255, at another size [1, 3, h, w], antialiased where that is smaller."""
    # On a CPU, bytes are several times as fast as floats; a GPU has no such kernel for bytes.
    source = frame.float() if frame.is_cuda else frame
    return F.interpolate(source, size=[*size], mode="bilinear", antialias=True)
