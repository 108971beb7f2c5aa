"""A tuned network computes what it computed before."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from rfr_stream.vision.tuning import Runtime, runtime, tuned

FP32 = Runtime(torch.device("cpu"), torch.float32)
BF16 = Runtime(torch.device("cpu"), torch.bfloat16)
SHAPE = (2, 8, 20, 24)


class Everything(nn.Module):
    """Every pattern that is fused, and some that must not be."""

    def __init__(self) -> None:
        super().__init__()
        self.plain = nn.Conv2d(8, 16, 3, padding=1)
        self.folded = nn.Sequential(nn.Conv2d(16, 16, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.leaky = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.BatchNorm2d(16), nn.LeakyReLU(0.1))
        self.clipped = nn.Sequential(nn.Conv2d(16, 16, 1), nn.ReLU6())
        self.before_sum = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16))
        self.shortcut = nn.Conv2d(16, 16, 1)
        self.shared = nn.Conv2d(16, 16, 1)
        self.strided = nn.Conv2d(16, 4, 3, stride=2)
        self.lone_norm = nn.BatchNorm2d(16)

    def forward(self, x: Tensor) -> Tensor:
        x = self.clipped(self.leaky(self.folded(self.plain(x))))
        x = F.relu(self.before_sum(x) + self.shortcut(x))
        x = torch.relu(self.shared(x)) + self.shared(x)
        x = self.lone_norm(x + self.before_sum[0](x))
        both = self.folded[0](x)
        out: Tensor = self.strided(both * 2 + F.relu(both))
        return out


def trained(network: nn.Module) -> nn.Module:
    """Give the normalisations something to do."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.5, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
    return network.eval()


@pytest.mark.parametrize(("each", "tolerance"), [(FP32, 1e-5), (BF16, 0.05)])
@pytest.mark.parametrize("shape", [SHAPE, (1, 8, 33, 17)], ids=["usual shape", "another shape"])
def test_a_tuned_network_answers_as_before(each: Runtime, tolerance: float, shape: tuple[int, ...]) -> None:
    torch.manual_seed(1)
    network = trained(Everything())
    batch = torch.randn(shape)
    fast = tuned(copy.deepcopy(network), each, shape=SHAPE)
    with torch.inference_mode():
        expected = network(batch)
        answer = fast(batch.to(each.dtype, memory_format=torch.channels_last)).float()
    assert answer.shape == expected.shape
    assert float((answer - expected).abs().max() / expected.abs().max()) < tolerance


def test_normalisation_is_gone_where_a_convolution_stands_before_it() -> None:
    network = nn.Sequential(nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
    names = {type(module).__name__ for module in tuned(network, FP32, shape=SHAPE).modules()}
    assert not names & {"BatchNorm2d", "Conv2d", "ReLU"}


def test_a_tuned_network_is_for_inference() -> None:
    network = tuned(nn.Sequential(nn.Conv2d(8, 8, 3), nn.Dropout()), FP32, shape=SHAPE)
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_fp32_is_the_precision_where_bf16_is_not_in_the_hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    for has_bf16, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda has_bf16=has_bf16: has_bf16)
        assert runtime("cpu") == Runtime(torch.device("cpu"), dtype)


def test_auto_means_the_gpu_where_there_is_one() -> None:
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert runtime("auto").device.type == expected
