"""MTCNN (Zhang et al. 2016) with facenet-pytorch's networks and weights, and a pipeline of our own.

Three networks, each stricter than the one before: a proposal network slides over an image pyramid, a refinement
network judges its proposals, an output network judges what is left and places five landmarks. Crops are cut in
batches, and nothing is decided in Python for each proposal.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import torch
from facenet_pytorch.models.mtcnn import ONet, PNet, RNet
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name
from torchvision.ops import nms, roi_align

from rfr_stream.faces import Box, Face, ImageHwc, Landmarks
from rfr_stream.vision.resize import resized, shrink
from rfr_stream.vision.tuning import Runtime

MIN_FACE_PX: Final = 24
"""Smallest face looked for, in pixels of the detection frame."""

_FACTOR: Final = 0.709
_CELL_PX: Final = 12
_STRIDE_PX: Final = 2
_SCORES: Final = (0.6, 0.7, 0.7)
_MAX_PROPOSALS: Final = 512
"""Kept from the proposal network, best first: a hostile texture must not cost minutes."""


class _Found(NamedTuple):
    """boxes float [N, 4], x1 y1 x2 y2, pixels of the frame; scores float [N]; landmarks float [N, 5, 2] or None."""

    boxes: Tensor
    scores: Tensor


class Mtcnn:
    """Finds faces with five landmarks each."""

    def __init__(self, paths: Sequence[Path], runtime: Runtime, *, input_px: int) -> None:
        """Load the weights of PNet, RNet and ONet, in this order; pictures larger than `input_px` are shrunk."""
        self._runtime = runtime
        self._input_px = input_px
        networks = (PNet(pretrained=False), RNet(pretrained=False), ONet(pretrained=False))
        for network, path in zip(networks, paths, strict=True):
            network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        # Always fp32: the networks are tiny, and their thresholds were set for it.
        self._propose, self._refine, self._output = (
            network.eval().to(runtime.device, memory_format=torch.channels_last) for network in networks
        )

    def detect(self, images: Sequence[ImageHwc]) -> list[list[Face]]:
        """Return the faces of each image (uint8 [H, W, 3], RGB) in its own pixels, highest score first."""
        with torch.inference_mode():
            return [self._detect(image) for image in images]

    def _detect(self, image: ImageHwc) -> list[Face]:
        frame, scale = shrink(image, self._input_px, self._runtime.device)  # [1, 3, h, w]
        found = self._proposals(frame)
        if not len(found.boxes):
            return []
        halvings = _halvings(frame)
        found = self._refined(halvings, found.boxes)
        if not len(found.boxes):
            return []
        return _faces(*self._located(halvings, found.boxes), scale=scale)

    def _proposals(self, frame: Tensor) -> _Found:
        levels = [self._level(frame, scale) for scale in _scales(frame)]
        if not levels:
            return _Found(frame.new_zeros((0, 4), dtype=torch.float32), frame.new_zeros(0, dtype=torch.float32))
        boxes, scores = (torch.cat(parts) for parts in zip(*levels, strict=True))
        kept = nms(boxes, scores, 0.7)[:_MAX_PROPOSALS]
        return _Found(_squared(boxes[kept]), scores[kept])

    def _level(self, frame: Tensor, scale: float) -> _Found:
        """Return what one level of the pyramid proposes, boxes already regressed, in pixels of the frame."""
        size = (int(frame.shape[2] * scale + 1), int(frame.shape[3] * scale + 1))
        level = resized(frame, size)  # [1, 3, h, w]
        shifts, chances = self._propose((level.float() - 127.5) / 128)  # [1, 4, r, c], [1, 2, r, c]
        rows, columns = torch.where(chances[0, 1] >= _SCORES[0])
        scores = chances[0, 1, rows, columns]  # [N]
        corner = torch.stack([columns, rows], dim=1) * _STRIDE_PX  # [N, 2]
        boxes = torch.cat([corner, corner + _CELL_PX], dim=1) / scale  # [N, 4]
        kept = nms(boxes, scores, 0.5)
        return _Found(_shifted(boxes[kept], shifts[0, :, rows, columns].T[kept]), scores[kept])

    def _refined(self, halvings: Sequence[Tensor], boxes: Tensor) -> _Found:
        shifts, chances = self._refine(_crops(halvings, boxes, 24))  # [N, 4], [N, 2]
        passed = chances[:, 1] > _SCORES[1]
        boxes, scores, shifts = boxes[passed], chances[passed, 1], shifts[passed]
        kept = nms(boxes, scores, 0.7)
        return _Found(_squared(_shifted(boxes[kept], shifts[kept])), scores[kept])

    def _located(self, halvings: Sequence[Tensor], boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        shifts, points, chances = self._output(_crops(halvings, boxes, 48))  # [N, 4], [N, 10], [N, 2]
        passed = chances[:, 1] > _SCORES[2]
        boxes, scores, shifts, points = boxes[passed], chances[passed, 1], shifts[passed], points[passed]
        sides = boxes[:, None, 2:] - boxes[:, None, :2]  # [N, 1, 2]
        # The network gives five x, then five y, as shares of the box.
        landmarks = boxes[:, None, :2] + points.view(-1, 2, 5).transpose(1, 2) * sides  # [N, 5, 2]
        boxes = _shifted(boxes, shifts)
        kept = _nms_by_smaller(boxes, scores, 0.7)
        return boxes[kept], scores[kept], landmarks[kept]


def _scales(frame: Tensor) -> Iterator[float]:
    """Yield the pyramid's scales: `MIN_FACE_PX` becomes one cell, then ever larger faces do."""
    scale = _CELL_PX / MIN_FACE_PX
    while min(frame.shape[2:]) * scale >= _CELL_PX:
        yield scale
        scale *= _FACTOR


def _halvings(frame: Tensor) -> list[Tensor]:
    """Return the frame, normalised, at 1, 1/2, 1/4 ... of its size: float32 [1, 3, h, w] each, finest first."""
    levels = [((frame.float() - 127.5) / 128).contiguous()]  # roi_align would copy any other layout at each call
    while min(levels[-1].shape[2:]) >= 2 * _CELL_PX:
        levels.append(F.avg_pool2d(levels[-1], 2))
    return levels


def _crops(halvings: Sequence[Tensor], boxes: Tensor, side_px: int) -> Tensor:
    """Cut and resize every box at once; what lies outside the frame is mid-grey, the zero of these networks.

    Each box is cut from the halving at which it is one to two times the crop: four samples a pixel then are an area
    mean, and a large box costs no more than a small one.
    """
    shrinkage = (boxes[:, 2:] - boxes[:, :2]).amax(dim=1) / side_px
    choice = shrinkage.clamp(min=1).log2().long().clamp(max=len(halvings) - 1)  # [N]
    crops = boxes.new_empty((len(boxes), 3, side_px, side_px)).contiguous(memory_format=torch.channels_last)
    for index in choice.unique().tolist():
        (chosen,) = torch.where(choice == index)
        level = halvings[index]
        crops[chosen] = roi_align(level, [boxes[chosen] / 2**index], side_px, sampling_ratio=2, aligned=True)
    return crops  # [N, 3, side, side]


def _shifted(boxes: Tensor, shifts: Tensor) -> Tensor:
    """Move each corner by a share of the box's own sides."""
    sides = boxes[:, 2:] - boxes[:, :2]
    return boxes + shifts * sides.repeat(1, 2)  # [N, 4]


def _squared(boxes: Tensor) -> Tensor:
    """Grow each box to a square about its centre."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).amax(dim=1, keepdim=True) / 2
    return torch.cat([centres - half, centres + half], dim=1)  # [N, 4]


def _nms_by_smaller(boxes: Tensor, scores: Tensor, most: float) -> Tensor:
    """Greedy suppression by the share of the smaller box that is covered; indices, highest score first."""
    order = scores.argsort(descending=True, stable=True)
    boxes = boxes[order]
    sides = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0)
    area = sides.prod(dim=1)
    shared = torch.minimum(boxes[:, None, 2:], boxes[:, 2:]) - torch.maximum(boxes[:, None, :2], boxes[:, :2])
    covered = shared.clamp(min=0).prod(dim=2) / torch.minimum(area[:, None], area).clamp(min=1e-6)  # [N, N]
    clash = (covered > most).tolist()
    kept: list[int] = []
    for index in range(len(clash)):
        if not any(clash[index][better] for better in kept):
            kept.append(index)
    return order[kept]


def _faces(boxes: Tensor, scores: Tensor, landmarks: Tensor, *, scale: float) -> list[Face]:
    """Return faces in pixels of the original image; degenerate boxes are no faces."""
    rows = zip((boxes * scale).tolist(), scores.tolist(), (landmarks * scale).tolist(), strict=True)
    return [
        Face(Box(*box), Landmarks.from_array(points), min(1.0, score))
        for box, score, points in rows
        if box[0] < box[2] and box[1] < box[3]
    ]
