"""What detectors on grids share: of thousands of answers the likely ones, and of those one for each face."""

from typing import Final

import torch
from torch import Tensor
from torchvision.ops import nms

from rfr_stream.faces import Box, Face, Landmarks

MIN_SCORE: Final = 0.1
"""Faces below this are not reported; what a probe needs is the stage's own, higher, setting."""

_NMS_IOU: Final = 0.4
_MAX_CANDIDATES: Final = 5_000
"""Kept before suppression, best first: it is quadratic, and a hostile texture must not cost minutes."""


def likely(scores: Tensor, least: float = MIN_SCORE) -> Tensor:
    """Return the places of the scores, float [A], that reach `least`: int64 [N], best first."""
    (places,) = torch.where(scores >= least)
    return places[scores[places].argsort(descending=True)[:_MAX_CANDIDATES]]


def one_each(boxes: Tensor, scores: Tensor, landmarks: Tensor, *, scale: float) -> list[Face]:
    """Return one face for each place where answers overlap, highest score first.

    Args:
        boxes: float [N, 4], x1 y1 x2 y2; what no box can be (not finite, or empty) is no face.

        scores: float [N], at least 0.

        landmarks: float [N, 5, 2], x y.

        scale: what brings pixels of the frame to those of the image.

    """
    finite = boxes.isfinite().all(1) & landmarks.isfinite().all((1, 2))
    possible = finite & (boxes[:, 2:] > boxes[:, :2]).all(1)
    boxes, scores, landmarks = boxes[possible], scores[possible], landmarks[possible]
    kept = nms(boxes, scores, _NMS_IOU)
    rows = zip((boxes[kept] * scale).tolist(), scores[kept].tolist(), (landmarks[kept] * scale).tolist(), strict=True)
    return [Face(Box(*box), Landmarks.from_array(five), min(1.0, score)) for box, score, five in rows]
