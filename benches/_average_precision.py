"""Average precision of a detector: one class, IoU 0.5, every true box counts, area under the whole curve."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MIN_IOU = 0.5


def average_precision(found: Sequence[NDArray[np.float64]], truth: Sequence[NDArray[np.floating]]) -> float:
    """Return the area under the precision-recall curve, precision made monotone.

    Args:
        found: for each image, float [N, 5], x1 y1 x2 y2 score.

        truth: for each image, float [M, 4], x1 y1 x2 y2.

    """
    marks = [_matched(boxes, true) for boxes, true in zip(found, truth, strict=True)]
    scores = np.concatenate([boxes[:, 4] for boxes in found])
    right = np.concatenate(marks)[np.argsort(-scores, kind="stable")]
    hits = np.cumsum(right)
    recall = hits / max(1, sum(map(len, truth)))
    precision = hits / np.arange(1, len(right) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall, prepend=0) * envelope))


def _matched(boxes: NDArray[np.float64], true: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Say of each box whether it is right; the best-scored box takes a true one, and nobody else does."""
    right = np.zeros(len(boxes), dtype=np.bool_)
    taken = np.zeros(len(true), dtype=np.bool_)
    for index in np.argsort(-boxes[:, 4], kind="stable"):
        overlaps = np.where(taken, -1.0, _iou(boxes[index, :4], true))
        if len(overlaps) and overlaps.max() >= MIN_IOU:
            taken[overlaps.argmax()] = right[index] = True
    return right


def _iou(box: NDArray[np.float64], others: NDArray[np.floating]) -> NDArray[np.float64]:
    corners = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    shared = corners.clip(min=0).prod(axis=1)
    areas = (others[:, 2:] - others[:, :2]).prod(axis=1)
    result: NDArray[np.float64] = shared / ((box[2:] - box[:2]).prod() + areas - shared)
    return result
