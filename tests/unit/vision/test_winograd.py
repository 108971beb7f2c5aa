"""Winograd's way answers as the convolution does."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from rfr_stream.vision import winograd
from rfr_stream.vision.tuning import Runtime, tuned
from rfr_stream.vision.winograd import WinogradConvolution

SHAPE = (1, 128, 30, 40)
TOLERANCE = 1e-4


def convolution(**changes: object) -> nn.Conv2d:
    torch.manual_seed(3)
    settings: dict[str, object] = {"in_channels": 128, "out_channels": 160, "kernel_size": 3, "padding": 1}
    return nn.Conv2d(**(settings | changes)).requires_grad_(requires_grad=False)  # type: ignore[arg-type]


def relative_error(answer: torch.Tensor, expected: torch.Tensor) -> float:
    assert answer.shape == expected.shape
    return float((answer - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("size", [(30, 40), (33, 37), (4, 4), (1, 2)], ids=str)
@pytest.mark.parametrize("count", [1, 3])
def test_answers_agree_with_the_plain_convolution_at_every_size(
    *, bias: bool, size: tuple[int, int], count: int
) -> None:
    plain = convolution(bias=bias)
    batch = torch.randn(count, 128, *size).to(memory_format=torch.channels_last)
    assert relative_error(WinogradConvolution(plain, least=-torch.inf)(batch), plain(batch)) < TOLERANCE
    assert relative_error(WinogradConvolution(plain, least=0)(batch), F.relu(plain(batch))) < TOLERANCE


def test_the_answer_is_laid_out_as_the_next_convolution_wants_it() -> None:
    answer = WinogradConvolution(convolution(), least=0)(torch.randn(2, 128, 31, 42))
    assert answer.is_contiguous(memory_format=torch.channels_last)


def test_it_pays_for_wide_maps_of_many_channels() -> None:
    assert winograd.pays(convolution(), torch.Size(SHAPE))


@pytest.mark.parametrize(
    "changes",
    [
        {"kernel_size": 1, "padding": 0},
        {"stride": 2},
        {"padding": 0},
        {"dilation": 2, "padding": 2},
        {"groups": 2},
        {"in_channels": 16},
        {"out_channels": 16},
        {"dtype": torch.bfloat16},
    ],
    ids=str,
)
def test_it_leaves_every_other_convolution_alone(changes: dict[str, object]) -> None:
    assert not winograd.pays(convolution(**changes), torch.Size(SHAPE))


def test_it_leaves_small_maps_alone() -> None:
    assert not winograd.pays(convolution(), torch.Size((16, 128, 8, 8)))


def test_tuning_takes_winograds_way_only_where_nothing_is_summed_and_nothing_but_a_relu_follows() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bent = convolution(out_channels=128)
            self.summed = convolution(out_channels=128)
            self.bare = convolution(out_channels=128)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = torch.relu(self.bent(x))
            x = F.relu(self.summed(x) + x)
            out: torch.Tensor = self.bare(x)
            return out

    network = Block().eval()
    batch = torch.randn(SHAPE)
    with torch.inference_mode():
        expected = network(batch)
        fast = tuned(network, Runtime(torch.device("cpu"), torch.float32), shape=SHAPE)
        answer = fast(batch.to(memory_format=torch.channels_last))
    assert [type(module) for _, module in fast.named_children()].count(WinogradConvolution) == 2
    assert relative_error(answer, expected) < TOLERANCE
