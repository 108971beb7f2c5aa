"""RetinaFace (Deng et al. 2020): everything around the network.

What the network answers is relative to anchors: two squares on every cell of three grids. Pictures are padded to a
multiple of the coarsest stride, so that few shapes exist, and anchors are made once for each shape.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from rfr_stream.faces import Face, ImageHwc
from rfr_stream.vision.normalisation import Normalisation
from rfr_stream.vision.packs import Part
from rfr_stream.vision.resize import shrink
from rfr_stream.vision.suppression import MIN_SCORE, likely, one_each
from rfr_stream.vision.tuning import Runtime, tuned

_STRIDES_PX: Final = (8, 16, 32)
_ANCHORS_PX: Final = ((16, 32), (64, 128), (256, 512))
_CENTRE_VARIANCE: Final = 0.1
_SIZE_VARIANCE: Final = 0.2
_USUAL_SHAPE: Final = (1, 3, 480, 640)


class RetinaFace:
    """Finds faces with five landmarks each."""

    def __init__(
        self,
        network: nn.Module,
        normalisation: Normalisation,
        runtime: Runtime,
        part: Part,
        *,
        min_score: float = MIN_SCORE,
    ) -> None:
        """Tune the network; pictures larger than the part's `input_px` are shrunk."""
        self._network = tuned(network, runtime, shape=_USUAL_SHAPE)
        self._runtime, self._input_px, self._min_score = runtime, part.input_px, min_score
        self._channels = torch.tensor(normalisation.channels, device=runtime.device)
        self._factor, self._offset = normalisation.factor_and_offset(runtime.device)

    def detect(self, images: Sequence[ImageHwc]) -> list[list[Face]]:
        """Return the faces of each image (uint8 [H, W, 3], RGB) in its own pixels, highest score first."""
        # One image at a time: on a CPU, a batch of large maps falls out of the cache and is slower.
        with torch.inference_mode():
            return [self._detect(image) for image in images]

    def _detect(self, image: ImageHwc) -> list[Face]:
        frame, scale = shrink(image, self._input_px, self._runtime.device)  # [1, 3, h, w]
        batch = self._prepared(frame)  # [1, 3, H', W']
        boxes, classes, landmarks = self._network(batch)  # [1, A, 4], [1, A, 2], [1, A, 10]
        scores = classes[0].float().softmax(dim=1)[:, 1]  # [A]
        places = likely(scores, self._min_score)  # [N]
        anchors = _anchors(batch.shape[2], batch.shape[3], self._runtime.device)[places]  # [N, 4]
        found = _boxes(boxes[0, places].float(), anchors)  # [N, 4]
        points = _landmarks(landmarks[0, places].float(), anchors)  # [N, 5, 2]
        return one_each(found, scores[places], points, scale=scale)

    def _prepared(self, frame: Tensor) -> Tensor:
        """Normalise, and pad right and below to a multiple of the coarsest stride with what the weights call black."""
        pixels = frame[:, self._channels].float().mul_(self._factor).add_(self._offset)
        below, right = (-side % _STRIDES_PX[-1] for side in frame.shape[2:])
        padded = F.pad(pixels, (0, right, 0, below))  # [1, 3, H', W']
        return padded.to(self._runtime.dtype, memory_format=torch.channels_last)


@lru_cache(maxsize=64)
def _anchors(height: int, width: int, device: torch.device) -> Tensor:
    """Return float32 [A, 4]: centre x, centre y, width, height, in pixels, in the order of the network's answers."""
    grids = [
        _grid(height // stride, width // stride, stride, sides)
        for stride, sides in zip(_STRIDES_PX, _ANCHORS_PX, strict=True)
    ]
    return torch.cat(grids).to(device)


def _grid(rows: int, columns: int, stride: int, sides: tuple[int, int]) -> Tensor:
    y, x = torch.meshgrid((torch.arange(rows) + 0.5) * stride, (torch.arange(columns) + 0.5) * stride, indexing="ij")
    cells = torch.stack([x, y], dim=2).view(-1, 1, 2).expand(-1, len(sides), -1)  # [cells, 2, 2]
    squares = torch.tensor(sides, dtype=torch.float32).view(1, -1, 1).expand(len(cells), -1, 2)  # [cells, 2, 2]
    return torch.cat([cells, squares], dim=2).view(-1, 4)  # [A, 4]


def _boxes(shifts: Tensor, anchors: Tensor) -> Tensor:
    """Return float [N, 4], x1 y1 x2 y2, in pixels of the frame."""
    centres = anchors[:, :2] + shifts[:, :2] * _CENTRE_VARIANCE * anchors[:, 2:]
    half = anchors[:, 2:] * torch.exp(shifts[:, 2:] * _SIZE_VARIANCE) / 2
    return torch.cat([centres - half, centres + half], dim=1)  # [N, 4]


def _landmarks(shifts: Tensor, anchors: Tensor) -> Tensor:
    """Return float [N, 5, 2], x y, in pixels of the frame."""
    return anchors[:, None, :2] + shifts.view(-1, 5, 2) * _CENTRE_VARIANCE * anchors[:, None, 2:]
