"""dlib's face recognition ResNet, read from its own file and run without dlib.

Architecture after dlib's `dnn_face_recognition_ex` (29 convolutions, each with an affine layer that is folded into it
here); agrees with dlib to an L2 distance of about 1e-6.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

DIMENSION: Final = 128
MEAN_RGB: Final = (122.782, 117.001, 104.298)
STD_RGB: Final = (256.0, 256.0, 256.0)

_STEM: Final = (3, 32, 7)
_BLOCKS: Final = (
    *((32, 32, 1),) * 3,
    (32, 64, 2),
    *((64, 64, 1),) * 3,
    (64, 128, 2),
    *((128, 128, 1),) * 2,
    (128, 256, 2),
    *((256, 256, 1),) * 2,
    (256, 256, 2),
)
"""(channels in, channels out, stride) from the input to the output."""


class _Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        # dlib pads only convolutions of stride 1.
        self.first = nn.Conv2d(inputs, outputs, 3, stride, padding=1 if stride == 1 else 0)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, padding=1)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.relu(self.second(self.relu(self.first(x))) + x)  # [N, C, H, W]
        return out


class _ResidualDown(nn.Module):
    """Halves the map. The shortcut is a mean over 2 x 2; the smaller of both sides is padded with zeros."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, padding=1)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        deep = self.second(self.relu(self.first(x)))  # [N, C', h, w]
        short = F.avg_pool2d(x, 2)  # [N, C, H // 2, W // 2]
        rows, columns = short.shape[2] - deep.shape[2], short.shape[3] - deep.shape[3]
        deep = F.pad(deep, (0, columns, 0, rows))  # [N, C', H // 2, W // 2]
        short = F.pad(short, (0, 0, 0, 0, 0, deep.shape[1] - short.shape[1]))  # [N, C', H // 2, W // 2]
        return torch.relu(deep + short)


class DlibResNet(nn.Module):
    """float [N, 3, 150, 150], (RGB - mean) / 256, to float [N, 128], not normalised."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(*_STEM, stride=2)
        self.relu = nn.ReLU()
        self.blocks = nn.Sequential(
            *((_Residual if stride == 1 else _ResidualDown)(i, o, stride) for i, o, stride in _BLOCKS)
        )
        self.head = nn.Linear(256, DIMENSION, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.relu(self.stem(x)), 3, 2)  # [N, 32, 35, 35]
        x = self.blocks(x).mean(dim=(2, 3))  # [N, 256]
        out: Tensor = self.head(x)  # [N, 128]
        return out

    def convolutions(self) -> Iterator[nn.Conv2d]:
        """From the input to the output, as the file has them."""
        yield self.stem
        for block in self.blocks:
            yield from (block.first, block.second)  # type: ignore[misc]  # nn.Sequential does not say of what


def load(path: Path) -> DlibResNet:
    """Return the network with the weights of `dlib_face_recognition_resnet_model_v1.dat`.

    The file's digest must have been checked before: the reader trusts the layout that this digest stands for.

    Raises:
        ValueError: the file holds another network.

    """
    data = path.read_bytes()
    network = DlibResNet()
    convolutions = list(_tensors_after(data, b"con_4"))
    affines = list(_tensors_after(data, b"affine_"))
    heads = list(_tensors_after(data, b"fc_2", leading_ints=2))
    layers = list(network.convolutions())
    if not len(layers) == len(convolutions) == len(affines) or len(heads) != 1:
        msg = "weights: not dlib's face recognition network"
        raise ValueError(msg)
    with torch.no_grad():
        for layer, filters, affine in zip(layers, convolutions, affines, strict=True):
            _fill(layer, filters, affine)
        # dlib keeps [inputs, outputs].
        network.head.weight.copy_(torch.from_numpy(heads[0].reshape(256, DIMENSION).T.copy()))
    return network.eval()


def _fill(layer: nn.Conv2d, filters: NDArray[np.float32], affine: NDArray[np.float32]) -> None:
    """Copy filters and biases, with the affine layer behind them folded in."""
    weights, biases = np.split(filters, [layer.weight.numel()])
    gamma, beta = np.split(affine, 2)
    shape = tuple(layer.weight.shape)
    layer.weight.copy_(torch.from_numpy(weights.reshape(shape) * gamma[:, None, None, None]))
    if layer.bias is not None:
        layer.bias.copy_(torch.from_numpy(biases * gamma + beta))


def _tensors_after(data: bytes, tag: bytes, *, leading_ints: int = 0) -> Iterator[NDArray[np.float32]]:
    """Yield the parameters of every layer of this kind, float32, flat, in the order of the file.

    A layer's record begins with its tag (a length-prefixed string) and, for some kinds, a few integers; then come its
    parameters: version 2, four sizes, little-endian floats. No tag occurs by chance: the file's digest is pinned.
    """
    marker = b"\x01" + bytes([len(tag)]) + tag
    at = data.find(marker)
    while at >= 0:
        start = at + len(marker)
        for _ in range(leading_ints):
            _, start = _read_int(data, start)
        version, start = _read_int(data, start)
        if version != 2:  # noqa: PLR2004 - the tensor format that the file uses
            msg = "weights: not a network file that this reader knows"
            raise ValueError(msg)
        size = 1
        for _ in range(4):
            length, start = _read_int(data, start)
            size *= length
        yield np.frombuffer(data, "<f4", size, start)
        at = data.find(marker, start + 4 * size)


def _read_int(data: bytes, at: int) -> tuple[int, int]:
    """Return the integer at this place and the place behind it: a control byte (length, sign), then its bytes."""
    control = data[at]
    length = control & 0x0F
    (value,) = struct.unpack("<Q", data[at + 1 : at + 1 + length].ljust(8, b"\0"))
    return (-value if control & 0x80 else value), at + 1 + length
