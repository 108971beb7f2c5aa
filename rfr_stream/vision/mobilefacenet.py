"""MobileFaceNet (Chen et al. 2018) in the variant whose weights the packs name: MobileNetV2 blocks with ReLU6."""

from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

_STAGES: Final = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))
"""(expansion, channels, blocks, stride of the first block)."""


class MobileFaceNet(nn.Module):
    """float [N, 3, 112, 112] to float [N, 128], not normalised."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _convolved(3, 64, kernel=3, stride=2)
        self.dw_conv = _DepthwiseSeparable()
        blocks: list[nn.Module] = []
        inputs = 64
        for expansion, channels, count, stride in _STAGES:
            for index in range(count):
                blocks.append(_Block(inputs, channels, expansion=expansion, stride=stride if index == 0 else 1))
                inputs = channels
        self.features = nn.Sequential(*blocks)
        self.conv2 = _convolved(128, 512, kernel=1)
        self.gdconv = _GlobalDepthwise()
        self.conv3 = nn.Conv2d(512, 128, 1)
        self.bn = nn.BatchNorm2d(128)

    def forward(self, x: Tensor) -> Tensor:
        x = self.dw_conv(self.conv1(x))  # [N, 64, 56, 56]
        x = self.conv2(self.features(x))  # [N, 512, 7, 7]
        x = self.bn(self.conv3(self.gdconv(x)))  # [N, 128, 1, 1]
        return x.flatten(1)  # [N, 128]


def load(path: Path) -> MobileFaceNet:
    """Return the network with the weights of a state dict.

    Raises:
        ValueError: the file holds another network's weights.

    """
    network = MobileFaceNet()
    try:
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except RuntimeError:
        msg = "weights: not those of this network"
        raise ValueError(msg) from None
    return network.eval()


def _convolved(inputs: int, outputs: int, *, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(),
    )


class _Block(nn.Module):
    """Widen, filter each channel, narrow; added to its input where the shapes agree."""

    def __init__(self, inputs: int, outputs: int, *, expansion: int, stride: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.adds = stride == 1 and inputs == outputs
        self.conv = nn.Sequential(
            _convolved(inputs, hidden, kernel=1),
            _convolved(hidden, hidden, kernel=3, stride=stride, groups=hidden),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return x + out if self.adds else out


class _DepthwiseSeparable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(64, 64, 3, 1, 1, groups=64, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.pointwise = nn.Conv2d(64, 64, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.depthwise(x)))
        out: Tensor = self.relu(self.bn2(self.pointwise(x)))
        return out


class _GlobalDepthwise(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(512, 512, 7, groups=512, bias=False)
        self.bn = nn.BatchNorm2d(512)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn(self.depthwise(x))  # [N, 512, 1, 1]
        return out
