"""The networks of RetinaFace, built of retinaface-pytorch's blocks; their state dicts are its own, key for key.

The package itself offers a ResNet-50 body; the MobileNet-0.25 body is composed of the same blocks.
"""

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final
from zipfile import ZipFile, is_zipfile

import torch
from retinaface.net import FPN, SSH, conv_bn, conv_dw
from retinaface.network import BboxHead, ClassHead, LandmarkHead
from torch import Tensor, nn
from torchvision.models import resnet50
from torchvision.models._utils import IntermediateLayerGetter

ANCHORS_PER_CELL: Final = 2


class RetinaFaceNetwork(nn.Module):
    """Feature pyramid, context modules and three heads on a body that yields maps at strides 8, 16 and 32."""

    def __init__(self, body: nn.Module, channels: Sequence[int], *, width: int) -> None:
        super().__init__()
        self.body = body
        self.fpn = FPN([*channels], width)
        self.ssh1, self.ssh2, self.ssh3 = (SSH(width, width) for _ in channels)
        # The names are those of the published state dicts.
        self.ClassHead = nn.ModuleList(ClassHead(width, ANCHORS_PER_CELL) for _ in channels)
        self.BboxHead = nn.ModuleList(BboxHead(width, ANCHORS_PER_CELL) for _ in channels)
        self.LandmarkHead = nn.ModuleList(LandmarkHead(width, ANCHORS_PER_CELL) for _ in channels)

    def forward(self, batch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return boxes [N, A, 4], classes [N, A, 2], landmarks [N, A, 10] for float [N, 3, H, W], all raw."""
        fine, middle, coarse = self.fpn(self.body(batch))
        maps = (self.ssh1(fine), self.ssh2(middle), self.ssh3(coarse))
        boxes, classes, landmarks = (
            torch.cat([head(each) for head, each in zip(heads, maps, strict=True)], dim=1)
            for heads in (self.BboxHead, self.ClassHead, self.LandmarkHead)
        )
        return boxes, classes, landmarks


def resnet50_network() -> RetinaFaceNetwork:
    """Return retinaface-pytorch's network with a ResNet-50 body, its weights still to be loaded."""
    layers = {"layer2": 1, "layer3": 2, "layer4": 3}
    return RetinaFaceNetwork(IntermediateLayerGetter(resnet50(weights=None), layers), (512, 1024, 2048), width=256)


def mobilenet_network() -> RetinaFaceNetwork:
    """Return the network with a MobileNet body of a quarter of the usual width, its weights still to be loaded."""
    return RetinaFaceNetwork(_MobileNetQuarter(), (64, 128, 256), width=64)


class _MobileNetQuarter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stage1 = nn.Sequential(
            conv_bn(3, 8, 2, leaky=0.1),
            conv_dw(8, 16, 1),
            conv_dw(16, 32, 2),
            conv_dw(32, 32, 1),
            conv_dw(32, 64, 2),
            conv_dw(64, 64, 1),
        )  # stride 8
        self.stage2 = nn.Sequential(conv_dw(64, 128, 2), *(conv_dw(128, 128, 1) for _ in range(5)))  # stride 16
        self.stage3 = nn.Sequential(conv_dw(128, 256, 2), conv_dw(256, 256, 1))  # stride 32

    def forward(self, batch: Tensor) -> dict[int, Tensor]:
        fine = self.stage1(batch)  # [N, 64, H/8, W/8]
        middle = self.stage2(fine)  # [N, 128, H/16, W/16]
        return {1: fine, 2: middle, 3: self.stage3(middle)}


def load_into(network: RetinaFaceNetwork, path: Path) -> RetinaFaceNetwork:
    """Fill the network from a state dict, bare or as the only member of a zip archive; return it for inference.

    Raises:
        ValueError: the file holds another network's weights.

    """
    state = _read(path)
    # Training wraps the network, and drags a classifier along that nothing here uses.
    state = OrderedDict((key.removeprefix("module."), value) for key, value in state.items())
    state = OrderedDict((key, value) for key, value in state.items() if not key.startswith("body.fc."))
    try:
        network.load_state_dict(state)
    except RuntimeError:
        msg = "weights: not those of this network"
        raise ValueError(msg) from None
    return network.eval()


def _read(path: Path) -> OrderedDict[str, Tensor]:
    if is_zipfile(path):
        with ZipFile(path) as archive:
            members = archive.namelist()
            if len(members) == 1:  # torch's own format is a zip archive too, of many members
                with archive.open(members[0]) as member:
                    return _load(member)
    return _load(path)


def _load(source: Path | IO[bytes]) -> OrderedDict[str, Tensor]:
    state: OrderedDict[str, Tensor] = torch.load(source, map_location="cpu", weights_only=True)
    return state
