"""`Placement`: which network runs on which unit, at which level and clock, and how good that is. Standard library only.

A placement is ranked by, in this order: the weight of networks that are not run, the total relative violation of the limits,
the accuracies (weighted by the networks' weights; largest first), the energy, the latencies. So one that keeps all limits is
taken where there is one, the most accurate of these; otherwise the one that breaks the limits least.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from hwflow.dynamic.level_table import Row
from hwflow.errors import InputError, is_number, shown


@dataclass(frozen=True, slots=True)
class Limits:
    """What a frame may take; None where there is no limit.

    Attributes:
        latency_s: of every network, or of each by its name.
        energy_j, power_w: of all networks together.
    """

    latency_s: float | Mapping[str, float] | None = None
    energy_j: float | None = None
    power_w: float | None = None

    def __post_init__(self) -> None:
        latencies = dict(self.latency_s) if isinstance(self.latency_s, Mapping) else {"": self.latency_s}
        values = [(f"latency_s{f' of {name}' if name else ''}", value) for name, value in latencies.items()]
        for name, value in (*values, ("energy_j", self.energy_j), ("power_w", self.power_w)):
            if value is not None and (not is_number(value) or not math.isfinite(value) or value <= 0):
                raise InputError(f"the limit {name} is {shown(value)}; it must be a number above 0, or None for no limit.")

    def latency_of(self, network: str) -> float | None:
        """The limit of one network."""
        latency = self.latency_s
        if latency is None or type(latency) is float:  # told faster than a mapping is
            return latency
        return latency.get(network) if isinstance(latency, Mapping) else latency

    def scaled(self, factor: float) -> Limits:
        """All limits times a factor."""
        latency: float | Mapping[str, float] | None = self.latency_s
        if isinstance(latency, Mapping):
            latency = {name: value * factor for name, value in latency.items()}
        elif latency is not None:
            latency *= factor
        energy, power = (None if value is None else value * factor for value in (self.energy_j, self.power_w))
        return _unchecked(latency, energy, power)

    def tightest(self, other: Limits, networks: Sequence[str]) -> Limits:
        """Of each limit the lower one."""
        latencies = {name: _lower(self.latency_of(name), other.latency_of(name)) for name in networks}
        known = {name: value for name, value in latencies.items() if value is not None}
        return _unchecked(known, _lower(self.energy_j, other.energy_j), _lower(self.power_w, other.power_w))


def _unchecked(latency_s: float | Mapping[str, float] | None, energy_j: float | None, power_w: float | None) -> Limits:
    """Limits made of such as were checked: every decision makes some."""
    limits = object.__new__(Limits)
    for name, value in (("latency_s", latency_s), ("energy_j", energy_j), ("power_w", power_w)):
        object.__setattr__(limits, name, value)
    return limits


Rank = tuple[float, float, float, float, float]
"""Weight not run, violation, accuracy lost, energy (J), latency (s): smaller is better, the first counts most."""


@dataclass(frozen=True, slots=True)
class Placement:
    """A row for each network, or None where it is not run."""

    rows: tuple[Row | None, ...]
    rank: Rank

    @property
    def keeps_limits(self) -> bool:
        """Whether all networks run and all limits hold."""
        return self.rank[0] == 0 and self.rank[1] == 0


def rank(rows: Sequence[Row | None], networks: Sequence[str], limits: Limits, weights: Sequence[float]) -> Rank:
    """How good a placement is; see above."""
    missing, broken, loss, energy, power, latency = _sums(rows, networks, limits, weights)
    return missing, broken + (excess(energy, limits.energy_j) + excess(power, limits.power_w)), loss, energy, latency


def _sums(
    rows: Sequence[Row | None], networks: Sequence[str], limits: Limits, weights: Sequence[float]
) -> tuple[float, float, float, float, float, float]:
    """Weight not run, excess of latencies, accuracy lost, energy, power, latency."""
    missing = broken = loss = energy = power = latency = 0.0
    for row, network, weight in zip(rows, networks, weights, strict=True):
        if row is None:
            missing += weight
            continue
        joule = row.energy_j or 0.0
        broken += excess(row.latency_s, limits.latency_of(network))
        loss -= weight * row.accuracy
        energy += joule
        power += joule / row.latency_s
        latency += row.latency_s
    return missing, broken, loss, energy, power, latency


def excess(value: float, limit: float | None) -> float:
    """By which share of the limit a value is above it; 0 where it is not."""
    return 0.0 if limit is None or value <= limit else value / limit - 1


def ordered(rows: Iterable[Row]) -> list[Row]:
    """Rows as they are looked at: the most accurate first, of equal ones that with the least energy, then latency."""
    return sorted(rows, key=lambda row: (-row.accuracy, row.energy_j or 0.0, row.latency_s))


def _lower(one: float | None, other: float | None) -> float | None:
    return other if one is None else one if other is None else min(one, other)


__all__ = ["Limits", "Placement", "Rank", "excess", "ordered", "rank"]
