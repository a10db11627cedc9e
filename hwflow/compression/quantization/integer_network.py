# mypy: allow-subclassing-any
"""A quantized network as integer hardware computes it: products of whole numbers, then a step and a bias for each channel.

What lies between the layers (activations, pooling, additions, normalizations that are not folded) stays in floating point, as
in the exported file. Sums are exact: as float64 they are whole numbers below 2^53.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from hwflow.compression.quantization.folded_normalization import fold
from hwflow.compression.quantization.integer_reference import signs
from hwflow.compression.quantization.quantized_layers import SIGNS, QuantizedConv2d, QuantizedLinear, quantized
from hwflow.errors import InputError


def integer_network(model: nn.Module, input_shape: tuple[int, ...]) -> nn.Module:
    """The integer reference of a network whose codes are stored, with normalizations folded; in evaluation mode.

    Args:
        input_shape: (1, C, H, W).

    Raises:
        InputError: where a layer's weights are not stored yet, or its inputs are real numbers.
    """
    copied = fold(model, input_shape)
    for name, module in quantized(copied):
        if module.constants is None or module.scale.levels == 0:
            raise InputError(f"{name} computes no integers: its weights or its inputs are not rounded yet.")
        module.__class__ = _KINDS[type(module)]
    return copied.eval()


class _Integers:
    """What both kinds of layers share."""

    scale: Any
    weight_steps: Tensor
    weight_zeros: Tensor
    bias: Tensor | None
    integers: Tensor

    def operands(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs and weights as whole numbers, zeros taken off."""
        signed = self.scale.levels == SIGNS.levels
        inputs = signs(values) if signed else self.scale.integers(values)
        shape = (-1, *[1] * (self.integers.dim() - 1))
        return inputs.double(), self.integers.double() - self.weight_zeros.double().reshape(shape)


class _IntegerConv2d(_Integers, QuantizedConv2d):
    def forward(self, values: Tensor) -> Tensor:
        inputs, weights = self.operands(values)
        filler = 1.0 if self.scale.levels == SIGNS.levels else 0.0
        padded = functional.pad(inputs, self._reversed_padding_repeated_twice, value=filler)
        return self.scaled(functional.conv2d(padded, weights, None, self.stride, 0, self.dilation, self.groups).float(), 1)


class _IntegerLinear(_Integers, QuantizedLinear):
    def forward(self, values: Tensor) -> Tensor:
        inputs, weights = self.operands(values)
        return self.scaled((inputs @ weights.T).float(), -1)


_KINDS: dict[type[nn.Module], type[nn.Module]] = {QuantizedConv2d: _IntegerConv2d, QuantizedLinear: _IntegerLinear}


__all__ = ["integer_network"]
