# mypy: allow-subclassing-any
"""`execute`: a network whose layers leave out their zero weights on this processor where that is faster.

Which way each layer runs is chosen by timing all ways once on the layer's own inputs, in one thread. Layers keep their names
and weights; the network computes no gradients any more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from hwflow.compression.kernels.cpu_time import CpuTime, cpu_times
from hwflow.compression.kernels.layer_kernels import DirectKernel, Kernel, PatchKernel, WinogradKernel, spatial_weights
from hwflow.compression.kernels.sparse_product import Library, checked_library, libraries
from hwflow.compression.winograd.winograd_conv import WinogradConv2d, sides
from hwflow.errors import InputError, not_found
from hwflow.network.replica import replica

Execute = Literal["dense", "sparse", "im2col", "auto"]
PAYS_FROM = 0.7
"""Share of zero weights below which a sparse way that is asked for runs only where it was timed to be the fastest."""

_DENSE = "dense"
_NAMED = 3


@dataclass(frozen=True)
class LayerExecution:
    """How a layer runs.

    Attributes:
        name: of the module.
        way: `dense` as it was trained, `direct` (a Winograd layer as the convolution that it equals), `sparse` (Winograd
            positions without their zeros) or `im2col` (the spatial weights' matrix without its zeros).
        library: of a sparse way, `numba` or `torch`.
        zeros: share of the layer's weights that are zero.
        times: of what was timed, by way and library.
        note: why it does not run as was asked; empty where it does.
    """

    name: str
    way: str
    library: str
    zeros: float
    times: Mapping[str, CpuTime] = field(default_factory=dict)
    note: str = ""

    def __str__(self) -> str:
        how = f"{self.way} ({self.library})" if self.way in ("sparse", "im2col") else self.way
        return f"{self.name} {how}, {self.zeros:.1%} zeros"


@dataclass(frozen=True)
class Executed:
    """A network as it runs.

    Attributes:
        model: in evaluation mode on the CPU, without gradients.
        layers: those with zero weights, and those that cannot run as was asked, in the network's order.
    """

    model: nn.Module
    layers: tuple[LayerExecution, ...]


class _Runs:
    """A layer that runs with a kernel; where it is imported or exported, it is what it was before."""

    kernel: Kernel

    def forward(self, values: Tensor) -> Tensor:
        """From [N, C, H, W]."""
        if torch.compiler.is_compiling() or type(values) not in (Tensor, nn.Parameter):
            return super().forward(values)  # type: ignore[misc]
        if values.requires_grad and torch.is_grad_enabled():
            raise InputError(
                f"a layer that runs {self.kernel.way} computes no gradients: run the network in torch.inference_mode(), or "
                "train it as it was before hwflow.pruning.execute."
            )
        return self.kernel(values)

    def _load_from_state_dict(self, *_: Any) -> None:
        way = self.kernel.way
        raise InputError(f"a layer that runs {way} takes no other weights: load them first, then choose how it runs.")


class ExecutedWinograd(_Runs, WinogradConv2d):
    """A Winograd layer that runs with a kernel."""


class ExecutedConv2d(_Runs, nn.Conv2d):
    """A convolution that runs with a kernel."""


def execute(
    model: nn.Module,
    images: Tensor | Sequence[int],
    how: str | Mapping[str, str] = "auto",
    *,
    libraries: Sequence[str] | None = None,
) -> Executed:
    """A copy of a network that runs without the zeros of its convolutions.

    Args:
        images: [N, C, H, W], for which layers are timed; or their shape.
        how: `auto`, the fastest way; `sparse` or `im2col`, where fewer than 70 % of a layer's weights are zero only if that is
            the fastest; `dense`, as it was trained. Of single layers by name, and `*` for the others:
            `{"conv1": "dense", "*": "auto"}`.
        libraries: `numba` or `torch` or both; by default those that are installed. Numbers are equal but for the order of sums.

    Raises:
        InputError: for unknown ways, layers and libraries, and where `sparse` or `im2col` is asked for and no layer can run so:
            why not.
        MissingDependency: for `numba` where it is not installed.
    """
    found = replica(model).cpu().eval().requires_grad_(False)
    chosen = tuple(map(checked_library, libraries)) if libraries is not None else _installed()
    ways = _ways(found, how)
    example = images if isinstance(images, Tensor) else torch.randn(*images, generator=torch.Generator().manual_seed(0))
    layers: list[LayerExecution] = []
    reasons: dict[str, str] = {}
    for name, (module, values) in _inputs(found, example.cpu()).items():
        zeros = float((module.weight == 0).double().mean())
        asked = ways(name)
        why = _objection(module) or ("" if zeros else "none of its weights is zero")
        kernels = {} if why else _kernels(module, chosen)
        if not why and asked == "im2col" and not any(kernel.way == "im2col" for kernel in kernels.values()):
            why = "its transformed weights are not those of a convolution"
        if why:
            if asked in ("sparse", "im2col"):
                reasons[name] = why
                layers.append(LayerExecution(name, _DENSE, "", zeros, note=f"{name} cannot run {asked}: {why}. It runs dense."))
            continue
        layers.append(_settled(name, module, values, asked, zeros, kernels))
    if reasons and all(layer.name in reasons for layer in layers if ways(layer.name) in ("sparse", "im2col")):
        told = "; ".join(f"{name}: {why}" for name, why in list(reasons.items())[:_NAMED])
        raise InputError(f"no layer can run {' or '.join(sorted({ways(name) for name in reasons}))}: {told}.")
    return Executed(found, tuple(layers))


def _installed() -> tuple[Library, ...]:
    return libraries()


def _ways(model: nn.Module, how: str | Mapping[str, str]) -> Any:
    named = {"*": how} if isinstance(how, str) else dict(how)
    known = [name for name, module in model.named_modules() if isinstance(module, (nn.Conv2d, WinogradConv2d))]
    for name, way in named.items():
        if name != "*" and name not in known:
            raise not_found("convolution", name, known)
        if way not in get_args(Execute):
            raise not_found("way to execute a layer", way, get_args(Execute))
    return lambda name: named.get(name, named.get("*", "auto"))


def _inputs(model: nn.Module, images: Tensor) -> dict[str, tuple[Any, Tensor]]:
    """Each convolution and what it is first given, in the order in which they run."""
    found: dict[str, tuple[Any, Tensor]] = {}
    hooks = [
        module.register_forward_pre_hook(lambda m, args, name=name: found.setdefault(name, (m, args[0].contiguous())) and None)
        for name, module in model.named_modules()
        if isinstance(module, (nn.Conv2d, WinogradConv2d))
    ]
    try:
        with torch.inference_mode():
            model(images)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _objection(module: Any) -> str:
    """Why a convolution has no sparse way here, in a clause; empty where it has one."""
    if type(module) not in (nn.Conv2d, WinogradConv2d):
        return f"it is a {type(module).__name__}"
    if module.weight.dtype != torch.float32:
        return f"its weights are {str(module.weight.dtype).removeprefix('torch.')}, and kernels are for float32"
    if isinstance(module, nn.Conv2d):
        if module.groups > 1:
            return f"it has {module.groups} groups"
        if module.padding_mode != "zeros":
            return f"its padding is {module.padding_mode!r}"
        if isinstance(module.padding, str) and module.padding == "same" and any(n % 2 == 0 for n in module.kernel_size):
            return "its padding is not the same on both sides"
    return ""


def _kernels(module: Any, chosen: Sequence[Library]) -> dict[str, Kernel]:
    """What a layer can run with instead of itself, by way and library."""
    found: list[Kernel] = []
    if isinstance(module, WinogradConv2d):
        found += [WinogradKernel(module.weight, module.bias, module.m, module.padding, library) for library in chosen]
        plain = spatial_weights(module.weight, module.m)
        if plain is not None:
            found.append(DirectKernel(plain, module.bias, module.padding))
            found += [PatchKernel(plain, module.bias, (1, 1), module.padding, (1, 1), library) for library in chosen]
    else:
        pads = _same(module) if module.padding == "same" else sides(module)
        found += [PatchKernel(module.weight, module.bias, module.stride, pads, module.dilation, library) for library in chosen]
    return {kernel.way if kernel.way == "direct" else f"{kernel.way} ({kernel.library})": kernel for kernel in found}


def _same(module: Any) -> tuple[int, int]:
    height, width = (d * (k - 1) // 2 for d, k in zip(module.dilation, module.kernel_size, strict=True))
    return height, width


def _settled(name: str, module: Any, values: Tensor, asked: str, zeros: float, kernels: Mapping[str, Kernel]) -> LayerExecution:
    """Make a layer run as is asked for or as is fastest, in place."""
    if asked == _DENSE:
        return LayerExecution(name, _DENSE, "", zeros)
    sparse = "im2col" if asked == "im2col" or isinstance(module, nn.Conv2d) else "sparse"
    wanted = [label for label, kernel in kernels.items() if kernel.way == sparse]
    forced = asked != "auto" and zeros >= PAYS_FROM
    timed = {label: kernels[label] for label in wanted} if forced else dict(kernels)
    calls = {label: partial(kernel, values) for label, kernel in timed.items()}
    calls |= {} if forced else {_DENSE: partial(module, values)}
    times = cpu_times(calls, at_most_s=0.5) if len(calls) > 1 else {}
    best = min(times, key=lambda label: times[label].least_s) if times else wanted[0]
    note = ""
    if asked != "auto" and best not in wanted:
        least = min((label for label in wanted), key=lambda label: times[label].least_s)
        note = (
            f"{zeros:.1%} of the weights of {name} are zero, which does not pay: {least} takes {times[least]}, {best} "
            f"{times[best]}. It runs {best}."
        )
    if best == _DENSE:
        return LayerExecution(name, _DENSE, "", zeros, times, note)
    kernel = kernels[best]
    module.__class__ = ExecutedWinograd if isinstance(module, WinogradConv2d) else ExecutedConv2d
    module.kernel = kernel
    return LayerExecution(name, kernel.way, kernel.library, zeros, times, note)


__all__ = ["PAYS_FROM", "Execute", "Executed", "ExecutedConv2d", "ExecutedWinograd", "LayerExecution", "execute"]
