"""Folding of batch normalization into the steps and biases of quantized layers.

A normalization gives gamma (y - mean) / sqrt(variance + eps) + beta of each channel. With y = step x sum + bias, where the sum
is of integers, this is step' x sum + bias' with step' = step gamma / sqrt(variance + eps): the integers stay what they are.
Where gamma is negative, they change their sign instead of the step, and affine ones are counted from the other end.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hwflow.compression.quantization.integers import LEVELS
from hwflow.compression.quantization.quantized_layers import QuantizedConv2d, QuantizedLinear, quantized
from hwflow.layers import Layer
from hwflow.network import Network
from hwflow.network.replica import replica

_FOUR_BITS = 15.0


class Folded(NamedTuple):
    """What a normalization multiplies a layer's sums by, and adds, for each channel; float64."""

    factors: Tensor
    offsets: Tensor


def folded(norm: nn.BatchNorm2d | nn.BatchNorm1d) -> Folded:
    """A normalization at inference as y -> factors y + offsets."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    mean, variance = norm.running_mean.double(), norm.running_var.double()
    scale = torch.ones_like(mean) if norm.weight is None else norm.weight.detach().double()
    shift = torch.zeros_like(mean) if norm.bias is None else norm.bias.detach().double()
    factors = scale / torch.sqrt(variance + norm.eps)
    return Folded(factors, shift - mean * factors)


def fold(model: nn.Module, input_shape: tuple[int, ...]) -> nn.Module:
    """A copy of a network whose quantized layers have the normalizations behind them folded in; without such layers itself.

    Normalizations stay that are behind no such layer, whose inputs something else reads, too, or that run several times.

    Args:
        input_shape: (1, C, H, W).
    """
    if not any(True for _ in quantized(model)):
        return model
    copied = replica(model)
    for layer, name in _pairs(copied, Network.from_torch(model, input_shape)):
        norm: Any = copied.get_submodule(name)
        _fold(copied.get_submodule(layer), folded(norm))
        parent, _, own = name.rpartition(".")
        setattr(copied.get_submodule(parent), own, nn.Identity())
    return copied


def _fold(layer: Any, by: Folded) -> None:
    """In place; float64 until the parameters are stored."""
    shape = (-1, *[1] * (layer.weight.dim() - 1))
    dtype, turned = layer.weight.dtype, by.factors < 0
    steps = layer.weight_steps.double() * by.factors.abs()
    integers, zeros = layer.integers.double(), layer.weight_zeros.double()
    most = float(torch.stack([integers.max(), zeros.max()]).max())
    last = 0.0 if not bool((zeros != 0).any()) else _FOUR_BITS if most <= _FOUR_BITS else LEVELS - 1.0
    zeros = torch.where(turned, last - zeros, zeros)
    integers = torch.where(turned.reshape(shape), last - integers, integers)
    bias = torch.zeros_like(by.offsets) if layer.bias is None else layer.bias.detach().double()
    layer.weight_steps, layer.weight_zeros = steps.to(dtype), zeros.to(dtype)
    used = layer.weight_steps.double() if dtype == torch.float32 else steps
    layer.weight = nn.Parameter(((integers - zeros.reshape(shape)) * used.reshape(shape)).to(dtype))
    layer.bias = nn.Parameter((bias * by.factors + by.offsets).to(dtype))
    layer.fix_constants()


def _pairs(model: nn.Module, network: Network) -> list[tuple[str, str]]:
    """Quantized layers and the normalizations behind them, by name."""
    graph = network.graph
    if graph is None:
        return []
    made = [network.layers[o.row] if o.part == "layers" else network.other[o.row] for o in graph.operations]
    names = [row.name for row in made if isinstance(row, Layer) or row.type == "BatchNormalization"]
    found = []
    for place, (operation, row) in enumerate(zip(graph.operations, made, strict=True)):
        if isinstance(row, Layer) or row.type != "BatchNormalization" or not operation.reads:
            continue
        tensor = operation.reads[0]
        source = next((p for p in range(place - 1, -1, -1) if tensor in graph.operations[p].writes), None)
        if source is None or any(tensor in graph.operations[p].reads for p in range(source + 1, place)):
            continue
        layer = made[source]
        alone = tensor in operation.writes  # it writes over what it reads where nobody reads that afterwards
        once = names.count(layer.name) == 1 and names.count(row.name) == 1
        stored = _module(model, layer.name)
        able = isinstance(stored, (QuantizedConv2d, QuantizedLinear)) and stored.constants is not None
        normal = isinstance(_module(model, row.name), (nn.BatchNorm2d, nn.BatchNorm1d))
        if alone and once and able and normal:
            found.append((layer.name, row.name))
    return found


def _module(model: nn.Module, name: str) -> nn.Module | None:
    return dict(model.named_modules()).get(name)


__all__ = ["Folded", "fold", "folded"]
