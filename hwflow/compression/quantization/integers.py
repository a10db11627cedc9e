"""Symmetric integers for weights, and activations of 8 bits or fewer."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from hwflow.errors import InputError, check_whole

ACTIVATION_BITS = 8
LEVELS = 2**ACTIVATION_BITS
_PERCENTILE = 0.999
_MOST_SAMPLED = 1 << 20


class Scale(NamedTuple):
    """Of activations: a step, and the level among 0 to 255 that stands for 0."""

    step: float
    zero: int

    def integers(self, values: Tensor) -> Tensor:
        """Values as whole numbers of steps, int64."""
        return (torch.round(values / self.step) + self.zero).clamp(0, LEVELS - 1).to(torch.int64) - self.zero

    def at(self, bits: int) -> Scale:
        """The same range in 2^bits levels; of 8 bits this scale."""
        if bits == ACTIVATION_BITS:
            return self
        zero = 2 ** (bits - 1) if self.zero else 0
        step = self.step * (LEVELS - 1 - self.zero) / (2**bits - 1 - zero)
        return Scale(float(torch.tensor(step, dtype=torch.float32)), zero)


def symmetric_integers(weights: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Weights as integers of -(2^(bits-1)-1) to 2^(bits-1)-1, and the step of each output channel, so that the largest weight
    of a channel is exact.

    Returns:
        Integers, of the weights' shape and type, and steps, which broadcast against them; an empty channel has step 1.

    Raises:
        InputError: where bits are not 2 to 8, or a weight is not finite.
    """
    check_whole("bits", bits, 8, 2)
    if not bool(torch.isfinite(weights).all()):
        raise InputError("weights are not finite and cannot be rounded to integers; train the network again.")
    most = 2 ** (bits - 1) - 1
    steps = weights.detach().abs().flatten(1).amax(1).reshape(-1, *[1] * (weights.dim() - 1)) / most
    steps = torch.where(steps == 0, torch.ones_like(steps), steps)
    return torch.round(weights / steps).clamp(-most, most), steps


def activation_scale(samples: Tensor) -> Scale:
    """The scale of activations of which some were seen: up to the 99.9th percentile of their magnitude, without a sign where
    none is negative. The percentile is ours.

    Raises:
        InputError: where one is not finite.
    """
    flat = samples.detach().flatten().to(torch.float64)
    flat = flat[:: max(1, len(flat) // _MOST_SAMPLED)]
    if not bool(torch.isfinite(flat).all()):
        raise InputError("activations are not finite and cannot be rounded to integers; train the network again.")
    zero = LEVELS // 2 if bool((flat < 0).any()) else 0
    reach = float(torch.quantile(flat.abs(), _PERCENTILE)) if len(flat) else 0.0
    step = reach / (LEVELS - 1 - zero) if reach > 0 else 1.0
    return Scale(float(torch.tensor(step, dtype=torch.float32)), zero)
