"""Reads the answers of YuNet (Wu et al. 2023), a detector without anchors: each cell of three grids tells one face.

As exported by its authors: for each stride, `cls` and `obj` are two halves of a score, `bbox` is the centre relative to
the cell and the logarithm of the sides, `kps` five landmarks relative to the cell, all in strides.
"""

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

_STRIDES_PX: Final = (8, 16, 32)

ANSWERS: Final = tuple(f"{kind}_{stride}" for stride in _STRIDES_PX for kind in ("cls", "obj", "bbox", "kps"))
"""The outputs that are read, by name."""


def decode(answers: Mapping[str, Tensor], height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return what every cell says, in pixels of the frame.

    Args:
        answers: float [cells, 1 | 1 | 4 | 10] by name.

        height: of the frame, a multiple of 32.

        width: of the frame, a multiple of 32.

    Returns:
        Boxes [A, 4], x1 y1 x2 y2; scores [A], 0 to 1; landmarks [A, 5, 2], x y, the image's left eye first.

    """
    boxes, scores, points = zip(
        *(_grid(answers, stride, height // stride, width // stride) for stride in _STRIDES_PX), strict=True
    )
    return torch.cat(boxes), torch.cat(scores), torch.cat(points)


def _grid(answers: Mapping[str, Tensor], stride: int, rows: int, columns: int) -> tuple[Tensor, Tensor, Tensor]:
    classes, objects, boxes, points = (answers[f"{kind}_{stride}"] for kind in ("cls", "obj", "bbox", "kps"))
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    cells = torch.stack([x, y], dim=2).view(-1, 2)  # [cells, 2]
    centres = (cells + boxes[:, :2]) * stride
    halves = boxes[:, 2:].clamp(-4, 8).exp() * stride / 2  # e^8 strides are wider than any picture
    scores = (classes.clamp(0, 1) * objects.clamp(0, 1)).sqrt()[:, 0]  # [cells]
    landmarks = (cells[:, None] + points.view(-1, 5, 2)) * stride  # [cells, 5, 2]
    return torch.cat([centres - halves, centres + halves], dim=1), scores, landmarks
