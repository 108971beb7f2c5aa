"""Makes a network run well where it runs: device, precision, memory layout, fused and prepacked convolutions.

On a CPU a network spends its time in convolutions, and eager torch spends it badly: it rearranges the weights at
every call, walks over memory again for each activation and sum, and at one thread sends 1 x 1 convolutions down a slow
path. oneDNN does all of that in one kernel over prepacked weights; these are the operators that torch's own
compiler emits, called here without a compiler.
"""

import operator
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn import functional as F  # noqa: N812 - its usual name
from torch.nn.utils.fusion import fuse_conv_bn_eval

from rfr_stream.vision import winograd

_ONEDNN: Final = torch.ops.mkldnn
_SUMS: Final = (operator.add, operator.iadd, torch.add)


@dataclass(frozen=True, slots=True)
class Runtime:
    """Where networks run, and in which precision their convolutions compute."""

    device: torch.device
    dtype: torch.dtype


def runtime(device: str) -> Runtime:
    """Return the runtime for `auto`, `cpu` or `cuda`; bf16 where the hardware multiplies it, else fp32."""
    wanted = "cuda" if device == "auto" and torch.cuda.is_available() else device.replace("auto", "cpu")
    if wanted == "cuda":
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        has_bf16 = torch.cpu._is_avx512_bf16_supported()  # noqa: SLF001 - there is no public way to ask
    return Runtime(torch.device(wanted), torch.bfloat16 if has_bf16 else torch.float32)


def tuned(network: nn.Module, runtime: Runtime, *, shape: tuple[int, int, int, int]) -> nn.Module:
    """Return a network that computes the same for inference: folded, on its device, in its precision, fused.

    It takes and returns tensors of the runtime's precision, of any shape that the network takes.

    Args:
        network: a module that `torch.fx` can trace; it is taken apart, and of no further use.

        runtime: where it is to run.

        shape: [N, C, H, W] of the usual input: weights are packed for it.

    """
    traced = fx.symbolic_trace(network.eval())
    _fold_normalisation(traced)
    traced.requires_grad_(requires_grad=False)
    traced.to(device=runtime.device, dtype=runtime.dtype)
    traced.to(memory_format=torch.channels_last)
    if runtime.device.type == "cpu" and hasattr(_ONEDNN, "_convolution_pointwise"):
        with torch.inference_mode():
            ShapeProp(traced).propagate(torch.zeros(shape, dtype=runtime.dtype))
        _fuse(traced)
    return traced


def _fold_normalisation(traced: fx.GraphModule) -> None:
    """Fold each batch normalisation into the convolution before it."""
    modules = _called_once(traced)
    for node in traced.graph.nodes:
        before = node.args[0] if node.args else None
        norm = modules.get(str(node.target))
        if not isinstance(norm, nn.BatchNorm2d) or not isinstance(before, fx.Node):
            continue
        convolution = modules.get(str(before.target))
        if isinstance(convolution, nn.Conv2d) and len(before.users) == 1:
            _set_module(traced, before, fuse_conv_bn_eval(convolution, norm))
            node.replace_all_uses_with(before)
            traced.graph.erase_node(node)
    _settle(traced)


def _fuse(traced: fx.GraphModule) -> None:
    """Replace every convolution, with the sum and the activation behind it, by one operator over packed weights."""
    modules = dict(traced.named_modules())
    once = _called_once(traced)
    for node in list(traced.graph.nodes):
        convolution = once.get(str(node.target)) if node.op == "call_module" else None
        if isinstance(convolution, nn.Conv2d) and convolution.padding_mode == "zeros":
            _fuse_one(traced, node, convolution, modules)
    _settle(traced)


def _fuse_one(traced: fx.GraphModule, node: fx.Node, convolution: nn.Conv2d, modules: dict[str, nn.Module]) -> None:
    chain, other = [node], None
    if (behind := _only_user(node)) is not None and behind.target in _SUMS:
        other = next((term for term in behind.args if term is not node), None)
        chain += [behind] if isinstance(other, fx.Node) else []
    behind = _only_user(chain[-1])
    activation = _activation(behind, modules)
    if behind is not None and activation.name != "none":
        chain.append(behind)
    before = node.args[0]
    if not isinstance(before, fx.Node):
        return
    terms = (before, other) if len(chain) > 1 and chain[1].target in _SUMS else (before,)
    shape = before.meta["tensor_meta"].shape
    module = _lone(convolution, activation, shape) if len(terms) == 1 else _Convolution(convolution, activation, shape)
    _set_module(traced, node, module)
    with traced.graph.inserting_before(chain[-1]):
        fused = traced.graph.call_module(str(node.target), terms)
    fused.meta = chain[-1].meta
    chain[-1].replace_all_uses_with(fused)
    for absorbed in reversed(chain):
        traced.graph.erase_node(absorbed)


class _Activation(NamedTuple):
    """oneDNN's name of an activation, and its parameters."""

    name: str
    scalars: tuple[float, ...] = ()


def _activation(node: fx.Node | None, modules: dict[str, nn.Module]) -> _Activation:
    if node is None:
        return _Activation("none")
    match modules.get(str(node.target)) if node.op == "call_module" else node.target:
        case nn.ReLU() | F.relu | torch.relu:
            return _Activation("relu")
        case nn.LeakyReLU(negative_slope=slope):
            return _Activation("leaky_relu", (slope,)) if slope else _Activation("relu")
        case nn.Hardtanh(min_val=low, max_val=high):  # ReLU6 is one
            return _Activation("hardtanh", (low, high))
        case _:
            return _Activation("none")


def _lone(convolution: nn.Conv2d, activation: _Activation, shape: torch.Size) -> nn.Module:
    """Return the fastest module for a convolution with no sum behind it, and its activation."""
    least = {"none": -torch.inf, "relu": 0.0}.get(activation.name)
    if least is not None and winograd.pays(convolution, shape):
        return winograd.WinogradConvolution(convolution, least=least)
    return _Convolution(convolution, activation, shape)


class _Convolution(nn.Module):
    """Convolution, bias, optional sum with another map, activation: one pass over memory."""

    def __init__(self, convolution: nn.Conv2d, activation: _Activation, shape: Sequence[int]) -> None:
        super().__init__()
        self.geometry = (
            [*convolution.padding],
            [*convolution.stride],
            [*convolution.dilation],
            convolution.groups,
        )
        self.activation = activation
        self.bias = convolution.bias
        # Not a parameter: the packed layout is oneDNN's own, and nothing but this operator can read it. Packed
        # without the input's shape, some 1 x 1 convolutions run fifteen times slower.
        self.weight = _ONEDNN._reorder_convolution_weight(  # noqa: SLF001 - torch offers it nowhere else
            convolution.weight, *self.geometry, [*shape]
        )

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        """Return float [N, C', H', W'] for x float [N, C, H, W], and other of the result's own shape."""
        name, scalars = self.activation
        if other is None:
            out: Tensor = _ONEDNN._convolution_pointwise(  # noqa: SLF001 - torch offers it nowhere else
                x, self.weight, self.bias, *self.geometry, name, [*scalars], ""
            )
        else:
            unary = None if name == "none" else name
            out = _ONEDNN._convolution_pointwise(  # noqa: SLF001 - torch offers it nowhere else
                x, other, self.weight, self.bias, *self.geometry, "add", None, unary, [*scalars], ""
            )
        return out


def _called_once(traced: fx.GraphModule) -> dict[str, nn.Module]:
    """Return the modules that one node alone calls: only they may be rewritten for what stands round that node."""
    calls = Counter(str(node.target) for node in traced.graph.nodes if node.op == "call_module")
    return {name: module for name, module in traced.named_modules() if calls[name] == 1}


def _only_user(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def _set_module(traced: fx.GraphModule, node: fx.Node, module: nn.Module) -> None:
    parent, _, name = str(node.target).rpartition(".")
    setattr(traced.get_submodule(parent), name, module)


def _settle(traced: fx.GraphModule) -> None:
    traced.graph.lint()
    traced.delete_all_unused_submodules()
    traced.recompile()
