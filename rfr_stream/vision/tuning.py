"""Makes a network run well where it runs: device, precision, memory layout."""

from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True, slots=True)
class Runtime:
    """Where networks run, and in which precision their convolutions compute."""

    device: torch.device
    dtype: torch.dtype


def runtime(device: str) -> Runtime:
    """Return the runtime for `auto`, `cpu` or `cuda`; bf16 where the hardware multiplies it, else fp32."""
    wanted = "cuda" if device == "auto" and torch.cuda.is_available() else device.replace("auto", "cpu")
    if wanted == "cuda":
        dtype = torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    else:
        dtype = torch.bfloat16 if torch.cpu._is_avx512_bf16_supported() else torch.float32  # noqa: SLF001 - the only way to ask
    return Runtime(torch.device(wanted), dtype)


def tuned(network: nn.Module, runtime: Runtime) -> nn.Module:
    """Return the network in evaluation mode, on its device, in its precision, channels last."""
    return network.eval().to(runtime.device, runtime.dtype, memory_format=torch.channels_last)
