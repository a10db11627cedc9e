"""Integers of 2 to 8 bits for weights and activations, symmetric or affine."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from hwflow.compression.quantization.options import LEAST_BITS, MOST_BITS
from hwflow.errors import InputError, check_whole

ACTIVATION_BITS = 8
LEVELS = 2**ACTIVATION_BITS
_PERCENTILE = 0.999
_MOST_SAMPLED = 1 << 20


class Scale(NamedTuple):
    """Of activations: a step, the level that stands for 0, and how many levels there are, from 0 on."""

    step: float
    zero: int
    levels: int = LEVELS

    def integers(self, values: Tensor) -> Tensor:
        """Values as whole numbers of steps, int64."""
        return (torch.round(values / self.step) + self.zero).clamp(0, self.levels - 1).to(torch.int64) - self.zero

    def at(self, bits: int) -> Scale:
        """The same range in 2^bits levels; of 8 bits this scale."""
        if bits == ACTIVATION_BITS:
            return self
        zero = 2 ** (bits - 1) if self.zero else 0
        step = self.step * (LEVELS - 1 - self.zero) / (2**bits - 1 - zero)
        return Scale(_single(step), zero, 2**bits)


class Coded(NamedTuple):
    """Weights as whole numbers of steps from a zero: `steps` and `zeros` broadcast against the integers; all are floating."""

    integers: Tensor
    steps: Tensor
    zeros: Tensor

    @property
    def values(self) -> Tensor:
        """The weights that they stand for."""
        return (self.integers - self.zeros) * self.steps


def coded_integers(weights: Tensor, bits: int, *, affine: bool = False, per_channel: bool = True) -> Coded:
    """Weights as integers of so many bits.

    Symmetric ones are -(2^(bits-1)-1) to 2^(bits-1)-1, with a step with which the largest magnitude is exact. Affine ones are
    0 to 2^bits-1, with a step that spreads them over the range of the weights and 0, and an integer that stands for 0.

    Args:
        per_channel: whether each output channel (the first axis) has its own step, or all have one.

    Raises:
        InputError: where bits are not 2 to 8, or a weight is not finite.
    """
    check_whole("bits", bits, MOST_BITS, LEAST_BITS)
    if not bool(torch.isfinite(weights).all()):
        raise InputError("weights are not finite and cannot be rounded to integers; train the network again.")
    flat = weights.detach().flatten(1) if per_channel else weights.detach().reshape(1, -1)
    shape = (len(flat), *[1] * (weights.dim() - 1))
    if affine:
        most = 2**bits - 1
        low, high = flat.amin(1).clamp(max=0).reshape(shape), flat.amax(1).clamp(min=0).reshape(shape)
        steps = _nonzero((high - low) / most)
        zeros = torch.round(-low / steps)
        return Coded((torch.round(weights / steps) + zeros).clamp(0, most), steps, zeros)
    most = 2 ** (bits - 1) - 1
    steps = _nonzero(flat.abs().amax(1).reshape(shape) / most)
    return Coded(torch.round(weights / steps).clamp(-most, most), steps, torch.zeros_like(steps))


def symmetric_integers(weights: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Integers and steps of `coded_integers`, symmetric and by channel; an empty channel has step 1."""
    integers, steps, _ = coded_integers(weights, bits)
    return integers, steps


def activation_scale(samples: Tensor, bits: int = ACTIVATION_BITS, *, affine: bool = False) -> Scale:
    """The scale of activations of which some were seen. The percentiles are ours.

    Symmetric: up to the 99.9th percentile of their magnitude, without a sign where none is negative. Affine: from the 0.1th to
    the 99.9th percentile, with 0 inside.

    Raises:
        InputError: where one is not finite.
    """
    flat = samples.detach().flatten().to(torch.float64)
    flat = flat[:: max(1, len(flat) // _MOST_SAMPLED)]
    if not bool(torch.isfinite(flat).all()):
        raise InputError("activations are not finite and cannot be rounded to integers; train the network again.")
    levels = 2**bits
    signed = bool((flat < 0).any())
    if affine and signed:
        low, high = (min(0.0, float(torch.quantile(flat, 1 - _PERCENTILE))), max(0.0, float(torch.quantile(flat, _PERCENTILE))))
        step = (high - low) / (levels - 1) or 1.0
        return Scale(_single(step), round(-low / step), levels)
    zero = levels // 2 if signed else 0
    reach = float(torch.quantile(flat.abs(), _PERCENTILE)) if len(flat) else 0.0
    step = reach / (levels - 1 - zero) if reach > 0 else 1.0
    return Scale(_single(step), zero, levels)


def _single(step: float) -> float:
    return float(torch.tensor(step, dtype=torch.float32))


def _nonzero(steps: Tensor) -> Tensor:
    return torch.where(steps == 0, torch.ones_like(steps), steps)
