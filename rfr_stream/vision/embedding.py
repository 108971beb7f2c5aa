"""Runs an embedding network over batches of chips."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from rfr_stream.faces import ImageHwc
from rfr_stream.vision.normalisation import Normalisation
from rfr_stream.vision.packs import Part
from rfr_stream.vision.tuning import Runtime, tuned

BATCH: Final = {"cpu": 16, "cuda": 128}
"""Most chips in one forward: larger ones no longer pay, and memory stays flat."""


class NetworkEmbedder:
    """Turns chips into templates."""

    def __init__(self, network: nn.Module, normalisation: Normalisation, runtime: Runtime, part: Part) -> None:
        shape = (BATCH["cpu"], 3, part.input_px, part.input_px)
        self._network = tuned(network, runtime, shape=shape)
        self._runtime = runtime
        self._dimension = part.dimension
        self._factor, self._offset = normalisation.factor_and_offset(runtime.device)

    def embed(self, chips: Sequence[ImageHwc]) -> NDArray[np.float32]:
        """Return float32 [N, D], L2 norm 1, for N chips uint8 [S, S, 3], RGB."""
        if not chips:
            return np.zeros((0, self._dimension), np.float32)
        step = BATCH[self._runtime.device.type]
        with torch.inference_mode():
            parts = [self._forward(chips[at : at + step]) for at in range(0, len(chips), step)]
        return np.concatenate(parts)  # [N, D]

    def _forward(self, chips: Sequence[ImageHwc]) -> NDArray[np.float32]:
        batch = self._batch(chips)  # [B, 3, S, S]
        templates = F.normalize(self._network(batch).float(), dim=1)[: len(chips)]  # [N, D]
        return templates.cpu().numpy()

    def _batch(self, chips: Sequence[ImageHwc]) -> Tensor:
        """Stack, move and normalise; on a GPU the batch is padded to a power of two, so that few shapes exist."""
        stacked = np.stack(chips)  # [N, S, S, 3]
        if self._runtime.device.type == "cuda":
            missing = (1 << (len(chips) - 1).bit_length()) - len(chips)
            stacked = np.pad(stacked, ((0, missing), (0, 0), (0, 0), (0, 0)))  # [B, S, S, 3]
        pixels = torch.from_numpy(stacked).to(self._runtime.device).permute(0, 3, 1, 2)  # [B, 3, S, S], channels last
        return pixels.float().mul_(self._factor).add_(self._offset).to(self._runtime.dtype)
