"""Weights as sums of powers of two (LightNN), which arithmetic of shifts computes.

R. Ding, Z. Liu, T.-W. Chin, D. Marculescu, R. D. Blanton, "FLightNNs: Lightweight Quantized Deep Neural Networks for Fast and
Accurate Inference", DAC 2019, arXiv:1904.02835: with r_0 = w and r_(j+1) = r_j - R(r_j), where R rounds to a power of two,
LightNN-k is the sum of the first k terms R(r_j). The range of exponents and its codes are ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hwflow.errors import InputError

EXPONENTS = 7
"""Powers that a term can have beside zero: a sign and three bits say which."""
TERM_BITS = 4


def nearest_power(values: Tensor) -> Tensor:
    """The nearest power of two of each value, with its sign, and 0 of 0; of two equally near ones the larger.

    The residual is at most 1/3 of the value, and after a second term at most 1/11 (as measured, not proven).
    """
    fraction, exponent = torch.frexp(values)  # 0.5 <= |fraction| < 1
    up = (fraction.abs() >= 0.75).to(exponent.dtype)
    return torch.where(values == 0, values, torch.ldexp(torch.sign(fraction), exponent - 1 + up))


def top_exponent(weights: Tensor) -> int:
    """The exponent of a layer's largest term: of the power nearest to its largest weight.

    Raises:
        InputError: where a weight is not finite.
    """
    if not bool(torch.isfinite(weights).all()):
        raise InputError("weights are not finite, so there are no powers of two near them; train the network again.")
    largest = float(weights.abs().max()) if weights.numel() else 0.0
    if largest == 0:
        return 0
    return int(torch.frexp(nearest_power(torch.tensor(largest, dtype=torch.float64)))[1]) - 1


def power_sum(weights: Tensor, terms: int, top: int) -> Tensor:
    """Each weight as a sum of that many powers, 2^(top-6) to 2^top, or zeros: the value of `codes_of`."""
    total, rest = torch.zeros_like(weights), weights
    for _ in range(_checked(terms)):
        term = nearest_term(rest, top)
        total, rest = total + term, rest - term
    return total


@dataclass(frozen=True)
class PowerCodes:
    """Weights as codes, of which each stands for a term.

    Attributes:
        codes: int8, [term, *weights]: 0 for zero, else sign x (1 + exponent - lowest).
        top: the exponent of the largest power.
    """

    codes: Tensor
    top: int

    @property
    def lowest(self) -> int:
        """The exponent of the smallest power."""
        return self.top - EXPONENTS + 1

    def values(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """The weights that they stand for."""
        shifts = (self.codes.abs().to(torch.int32) - 1).clamp(min=0) + self.lowest
        return (torch.ldexp(torch.sign(self.codes).to(torch.float64), shifts)).sum(0).to(dtype)

    def packed(self) -> bytes:
        """4 bits a term, sign first, two to a byte, the first in the upper half; the last byte is filled up with zero."""
        flat = self.codes.flatten().to(torch.int16)
        nibbles = torch.where(flat < 0, 8, 0) + flat.abs()
        if len(nibbles) % 2:
            nibbles = torch.cat([nibbles, nibbles.new_zeros(1)])
        return bytes((nibbles[0::2] * 16 + nibbles[1::2]).tolist())

    @classmethod
    def unpacked(cls, content: bytes, shape: tuple[int, ...], top: int) -> PowerCodes:
        """What `packed` wrote; `shape` is that of the codes, terms first.

        Raises:
            InputError: where the content is not of that size.
        """
        count = torch.Size(shape).numel()
        if len(content) != (count + 1) // 2:
            raise InputError(f"codes of shape {list(shape)} take {(count + 1) // 2} bytes, not {len(content)}.")
        both = torch.tensor(list(content), dtype=torch.int16)
        nibbles = torch.stack([both // 16, both % 16], 1).flatten()[:count]
        codes = torch.where(nibbles >= 8, 8 - nibbles, nibbles)
        return cls(codes.to(torch.int8).reshape(shape), top)


def codes_of(weights: Tensor, terms: int, top: int | None = None) -> PowerCodes:
    """The codes of weights.

    Args:
        terms: powers a weight, 1 or 2.
        top: by default `top_exponent` of the weights.
    """
    highest = top_exponent(weights) if top is None else top
    found, rest = [], weights.to(torch.float64)
    for _ in range(_checked(terms)):
        term = nearest_term(rest, highest)
        place = torch.frexp(term)[1] - 1 - (highest - EXPONENTS + 1) + 1
        found.append(torch.where(term == 0, 0, torch.sign(term) * place).to(torch.int8))
        rest = rest - term
    return PowerCodes(torch.stack(found), highest)


def nearest_term(values: Tensor, top: int) -> Tensor:
    """The nearest of the powers from 2^(top-6) to 2^top, or zero where that is nearer than the smallest."""
    least, most = 2.0 ** (top - EXPONENTS + 1), 2.0**top
    inside = nearest_power(values).abs().clamp(least, most) * torch.sign(values)
    return torch.where(values.abs() < least / 2, torch.zeros_like(values), inside)


def _checked(terms: Any) -> int:
    if terms not in (1, 2):
        raise InputError(f"a weight is a sum of {terms!r} powers of two; allowed: 1, 2.")
    return int(terms)
