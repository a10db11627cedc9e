"""Schedules of pruning while training: pure functions of the share of the training that is done, from 0 to 1.

A ratio schedule gives the share of units that are pruned, P(t), for its value P at the end; a scale schedule gives the factor
by which pruned units are multiplied, c(t). Soft filter pruning (SFP) is He et al., IJCAI 2018 (arXiv:1808.06866); its
asymptotic variant (ASFP) He et al. 2019 (arXiv:1808.07471); the softer ones (SRFP, ASRFP) Cai et al. 2020 (arXiv:2010.09498).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from hwflow.errors import InputError, is_number

RatioSchedule = Callable[[float, float], float]
"""(t, P) to P(t)."""
ScaleSchedule = Callable[[float, float], float]
"""(t, P(t) / P) to c(t)."""
ScaleLaw = Literal["linear", "cosine", "ratio"]

_EARLY, _REACHED = 1 / 8, 3 / 4  # the point through which the asymptotic ratio passes


@dataclass(frozen=True)
class Constant:
    """P(t) = P from the beginning on."""

    def __call__(self, t: float, ratio: float) -> float:
        return check_ratio(ratio)


@dataclass(frozen=True)
class Asymptotic:
    """P(t) = a exp(-k t) + b through (0, `start`), (1/8, 3/4 P) and (1, P): most units early, few late.

    With `start` 0 this is P(t) = P (1 - x^(8 t)) / (1 - x^8), where 1 - x = 3/4 (1 - x^8). The exponent printed with the
    published code has another sign, with which the curve does not pass these points.

    Raises:
        InputError: where `start` is not below 3/4 of the ratio at the end; when called.
    """

    start: float = 0.0

    def __call__(self, t: float, ratio: float) -> float:
        check_ratio(ratio)
        if ratio == 0:
            return 0.0
        if not 0 <= self.start < _REACHED * ratio:
            raise InputError(
                f"ratio_start is {self.start!r}; it must be at least 0 and below three quarters of the ratio at the end, "
                f"which is {ratio:g}: below {_REACHED * ratio:g}."
            )
        rate = _rate((_REACHED * ratio - self.start) / (ratio - self.start))
        return self.start + (ratio - self.start) * _passed(rate, t)


@dataclass(frozen=True)
class Falling:
    """c(t) from `start` down to 0: linearly, as a cosine, or with the share that is still to be pruned.

    linear: start (1 - t). cosine: start (1 + cos(pi t)) / 2. ratio: start (1 - P(t) / P). The papers' law could not be read;
    these are ours.

    Raises:
        InputError: for a start outside [0, 1], or an unknown law.
    """

    start: float = 1.0
    law: ScaleLaw = "linear"

    def __post_init__(self) -> None:
        if not is_number(self.start) or not 0 <= self.start <= 1:
            raise InputError(f"scale_start is {self.start!r}; it must be a number from 0 to 1.")
        if self.law not in get_args(ScaleLaw):
            raise InputError(f"scale_law is {self.law!r}; allowed: {', '.join(get_args(ScaleLaw))}.")

    def __call__(self, t: float, share: float) -> float:
        if t >= 1 or self.start == 0:
            return 0.0
        left = {"linear": 1 - t, "cosine": (1 + math.cos(math.pi * t)) / 2, "ratio": 1 - share}[self.law]
        return self.start * max(left, 0.0)


def check_ratio(ratio: float) -> float:
    """A share of units that can be pruned.

    Raises:
        InputError: outside [0, 1).
    """
    if not is_number(ratio) or not 0 <= ratio < 1:
        raise InputError(f"the ratio of pruned units is {ratio!r}; it must be at least 0 and below 1.")
    return float(ratio)


def check_scale(scale: ScaleSchedule) -> None:
    """That what is pruned is zero at the end.

    Raises:
        InputError: where the schedule ends above 0.
    """
    if (last := scale(1.0, 1.0)) != 0:
        raise InputError(
            f"the scale schedule {scale!r} ends at {last:g}; it must end at 0, or units are cut that still contribute."
        )


def _passed(rate: float, t: float) -> float:
    """(1 - exp(-rate t)) / (1 - exp(-rate)): from 0 at t = 0 to 1 at t = 1, convex for a negative rate."""
    return t if rate == 0 else math.expm1(-rate * t) / math.expm1(-rate)


def _rate(reached: float) -> float:
    """The rate with which `reached` is passed at t = 1/8, by bisection; what is passed there rises with the rate."""
    low, high = -500.0, 500.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if _passed(middle, _EARLY) < reached else (low, middle)
    return (low + high) / 2


__all__ = [
    "Asymptotic",
    "Constant",
    "Falling",
    "RatioSchedule",
    "ScaleLaw",
    "ScaleSchedule",
    "check_ratio",
    "check_scale",
]
