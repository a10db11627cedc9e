"""`PairedDifference`: whether two methods differ, by runs that share a seed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import mean, stdev

_ERRORS = 2  # standard errors beyond which a difference counts


@dataclass(frozen=True)
class PairedDifference:
    """The mean over seeds of one method's value less another's.

    Attributes:
        error: its standard error, the seeds' standard deviation over the root of their number; None of one seed.
        seeds: how many both have.
    """

    mean: float
    error: float | None
    seeds: int

    @property
    def told_apart(self) -> bool | None:
        """Whether the mean is more than two standard errors from zero; None where one seed cannot say."""
        return None if self.error is None else abs(self.mean) > _ERRORS * self.error

    def text(self, factor: float = 100, places: int = 2) -> str:
        """The mean, its standard error, and what follows; accuracies in points by default."""
        if self.error is None:
            return f"{factor * self.mean:+.{places}f}, one seed"
        aside = "" if self.told_apart else ", not told apart"
        return f"{factor * self.mean:+.{places}f} ± {factor * self.error:.{places}f}{aside}"


def paired(values: Mapping[int, float], reference: Mapping[int, float]) -> PairedDifference | None:
    """The difference over the seeds that both have; None where there is none."""
    apart = [value - reference[seed] for seed, value in values.items() if seed in reference]
    if not apart:
        return None
    error = stdev(apart) / math.sqrt(len(apart)) if len(apart) > 1 else None
    return PairedDifference(mean(apart), error, len(apart))


__all__ = ["PairedDifference", "paired"]
