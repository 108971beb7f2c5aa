"""3 x 3 convolutions with a quarter of the multiplications: Winograd's minimal filtering, F(4 x 4, 3 x 3).

After Lavin and Gray (2015). Four by four answers need six by six inputs; brought into another basis, filters and inputs
are multiplied number by number: 36 products instead of 144 for each pair of channels. The changes of basis are
matrix products too, so that all of it runs at the speed of the machine's GEMM, and all of it in fp32.
"""

from math import ceil
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

_SIDE: Final = 4
_MIN_CHANNELS: Final = 128
_MIN_PIXELS: Final = 1_000
"""Below either, changing the basis costs what the products save."""

# The polynomial is evaluated at 0, 1, -1, 2, -2 and infinity: small numbers, so that fp32 loses about one digit.
_INPUT: Final = torch.tensor(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    dtype=torch.float64,
)
_FILTER: Final = (
    torch.tensor([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]], dtype=torch.float64) / 24
)
_ANSWER: Final = torch.tensor(
    [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]], dtype=torch.float64
)
_CONSTANT: Final = 7
"""What is added to this number of the 36 is added to each of the 16 answers: second column, second row."""


def pays(convolution: nn.Conv2d, shape: torch.Size) -> bool:
    """Say whether this is a convolution that Winograd's way computes, and computes faster, for inputs [N, C, H, W]."""
    geometry = (convolution.kernel_size, convolution.stride, convolution.padding, convolution.dilation)
    return (
        geometry == ((3, 3), (1, 1), (1, 1), (1, 1))
        and convolution.groups == 1
        and convolution.weight.dtype == torch.float32
        and min(convolution.in_channels, convolution.out_channels) >= _MIN_CHANNELS
        and shape[2] * shape[3] >= _MIN_PIXELS
    )


class WinogradConvolution(nn.Module):
    """A 3 x 3 convolution of stride 1 that keeps the map's size, its bias, and an optional ReLU."""

    def __init__(self, convolution: nn.Conv2d, *, least: float) -> None:
        """Take the weights; answers below `least` become it: 0 is a ReLU, minus infinity is none."""
        super().__init__()
        self.least = least
        filters = torch.einsum("ap,bq,ocpq->abco", _FILTER, _FILTER, convolution.weight.double())
        self.filters = nn.Buffer(filters.flatten(0, 1).float().contiguous())  # [36, C, C']
        self.bias = convolution.bias
        self.to_basis = nn.Buffer(torch.kron(_INPUT, _INPUT).float())  # [36, 36]
        self.from_basis = nn.Buffer(torch.kron(_ANSWER, _ANSWER).float())  # [16, 36]

    def forward(self, x: Tensor) -> Tensor:
        """Return float32 [N, C', H, W] for x float32 [N, C, H, W], channels last in memory."""
        points, channels, _ = self.filters.shape
        down, across = (ceil(side / _SIDE) for side in x.shape[2:])
        squares = _squares(x, down, across).view(points, -1)  # [36, N * down * across * C]
        inputs = (self.to_basis @ squares).view(points, -1, channels)  # [36, T, C]
        products = torch.bmm(inputs, self.filters)  # [36, T, C']
        if self.bias is not None:
            products[_CONSTANT] += self.bias
        answers = self.from_basis @ products.flatten(1)  # [16, T * C']
        if self.least > -torch.inf:
            answers.clamp_(min=self.least)
        return _assembled(answers.view(_SIDE, _SIDE, len(x), down, across, -1), x.shape[2], x.shape[3])


def _squares(x: Tensor, down: int, across: int) -> Tensor:
    """Return the map [N, C, H, W] cut into squares of 6 that begin every 4: [6, 6, N, down, across, C]."""
    margins = (1, _SIDE * across - x.shape[3] + 1, 1, _SIDE * down - x.shape[2] + 1)
    padded = F.pad(x, margins).permute(0, 2, 3, 1).contiguous()  # [N, 4 down + 2, 4 across + 2, C]
    image, row, column, channel = padded.stride()
    size = (_SIDE + 2, _SIDE + 2, len(x), down, across, x.shape[1])
    squares = padded.as_strided(size, (row, column, image, _SIDE * row, _SIDE * column, channel))
    return squares.contiguous()


def _assembled(answers: Tensor, height: int, width: int) -> Tensor:
    """Return squares [4, 4, N, down, across, C'] put side by side: [N, C', H, W], channels last in memory."""
    rows = answers.permute(2, 3, 0, 4, 1, 5)  # [N, down, 4, across, 4, C']
    whole = rows.flatten(3, 4).flatten(1, 2)  # [N, 4 down, 4 across, C']
    return whole[:, :height, :width].permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
