"""`best_placement`: which network runs on which unit, at which level and clock, under limits. Standard library only.

A placement is ranked by, in this order: the weight of networks that are not run, the total relative violation of the limits,
the accuracies (weighted by the networks' weights; largest first), the energy, the latencies. So one that keeps all limits is
taken where there is one, the most accurate of these; otherwise the one that breaks the limits least.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from hwflow.dynamic.level_table import Row
from hwflow.errors import InputError, is_number, shown

EXHAUSTIVE = 3
"""Networks and units up to which all placements are compared; beyond, networks are placed one after the other."""


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
        return self.latency_s.get(network) if isinstance(self.latency_s, Mapping) else self.latency_s

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


def best_placement(
    options: Mapping[str, Sequence[Row]], limits: Limits, weights: Mapping[str, float], *, exhaustive: int = EXHAUSTIVE
) -> Placement:
    """The best placement of networks on units, each of which runs one network at most.

    Args:
        options: for each network the rows that it can have, as `ordered` gives them; best those that no other row of the same
            unit dominates.
        weights: of the networks.
        exhaustive: up to so many networks and units all placements are compared. Beyond, networks are placed one after the
            other, that with the largest weight first, and then each one and each pair is placed anew once.
    """
    networks = list(options)
    if len(networks) == 1:
        return _alone(networks[0], options[networks[0]], limits, weights[networks[0]])
    units = {row.unit for rows in options.values() for row in rows}
    if len(networks) <= exhaustive and len(units) <= exhaustive:
        return _best({}, networks, options, limits, weights)
    placed: dict[str, Row | None] = dict.fromkeys(networks)
    for network in sorted(networks, key=lambda name: -weights[name]):
        placed = _anew(placed, [network], options, limits, weights)
    changes = [[name] for name in networks] + [list(pair) for pair in itertools.combinations(networks, 2)]
    for change in changes:
        placed = _anew(placed, change, options, limits, weights)
    rows = tuple(placed[name] for name in networks)
    return Placement(rows, rank(rows, networks, limits, [weights[name] for name in networks]))


def _anew(
    placed: Mapping[str, Row | None],
    networks: Sequence[str],
    options: Mapping[str, Sequence[Row]],
    limits: Limits,
    weights: Mapping[str, float],
) -> dict[str, Row | None]:
    """The placement with these networks placed as well as possible beside the others."""
    fixed = {name: row for name, row in placed.items() if name not in networks}
    found = _best(fixed, list(networks), options, limits, weights)
    return {**placed, **dict(zip(networks, found.rows, strict=True))}


def _best(
    fixed: Mapping[str, Row | None],
    networks: Sequence[str],
    options: Mapping[str, Sequence[Row]],
    limits: Limits,
    weights: Mapping[str, float],
) -> Placement:
    """The best rows for these networks beside the fixed ones."""
    search = _Search(fixed, networks, options, limits, weights)
    assert search.rows is not None
    return Placement(search.rows, search.best)


def _alone(network: str, rows: Sequence[Row], limits: Limits, weight: float) -> Placement:
    """The same for one network that has all units: the first row that keeps the limits, or that which breaks them least."""
    latency, energy, power = limits.latency_of(network), limits.energy_j, limits.power_w
    least, broken = None, math.inf
    for row in rows:
        joule = row.energy_j or 0.0
        violation = excess(row.latency_s, latency) + (excess(joule, energy) + excess(joule / row.latency_s, power))
        if violation < broken:
            least, broken = row, violation
            if violation == 0:
                break
    if least is None:
        return Placement((None,), (weight, 0.0, 0.0, 0.0, 0.0))
    return Placement((least,), (0.0, broken, -weight * least.accuracy, least.energy_j or 0.0, least.latency_s))


class _Search:
    """Depth-first, network by network, with bounds. A network is left out only where that is better than to run it."""

    def __init__(
        self,
        fixed: Mapping[str, Row | None],
        networks: Sequence[str],
        options: Mapping[str, Sequence[Row]],
        limits: Limits,
        weights: Mapping[str, float],
    ) -> None:
        self.networks, self.limits = networks, limits
        self.weights = [weights[name] for name in networks]
        self.options = [options[name] for name in networks]
        self.latencies = [limits.latency_of(name) for name in networks]
        self.least = [(0.0, 0.0, 0.0, 0.0)]  # of the networks from i on: excess of latencies, loss, energy, power, at least
        for weight, limit, rows in zip(self.weights[::-1], self.latencies[::-1], self.options[::-1], strict=True):
            broken, loss, energy, power = self.least[0]
            if rows:
                broken += min(excess(row.latency_s, limit) for row in rows)
                loss -= weight * rows[0].accuracy
                energy += min(row.energy_j or 0.0 for row in rows)
                power += min((row.energy_j or 0.0) / row.latency_s for row in rows)
            self.least.insert(0, (broken, loss, energy, power))
        self.chosen: list[Row | None] = []
        self.taken = {row.unit for row in fixed.values() if row is not None}
        self.best: Rank = _ALL_KEPT  # first look for placements that run all and keep all limits, which are better than others
        self.rows: tuple[Row | None, ...] | None = None
        missing, broken, loss, energy, power, latency = _sums(
            list(fixed.values()), list(fixed), limits, [weights[name] for name in fixed]
        )
        self.descend(0, missing, broken, loss, energy, power, latency)
        if self.rows is None:
            self.best = (math.inf,) * 5
            self.descend(0, missing, broken, loss, energy, power, latency)

    def descend(self, i: int, missing: float, broken: float, loss: float, energy: float, power: float, latency: float) -> None:
        """Place the networks from i on; the sums are those of what is placed, `broken` that of the limits on latency."""
        more = self.least[i]
        violation = broken + more[0] + self._excess(energy + more[2], power + more[3]) - _ROUNDING
        if (missing, violation, loss + more[1] - _ROUNDING) > self.best[:3]:
            return
        if i == len(self.options):
            found = missing, broken + self._excess(energy, power), loss, energy, latency
            if found < self.best:
                self.best, self.rows = found, tuple(self.chosen)
            return
        weight, limit, after = self.weights[i], self.latencies[i], self.least[i + 1][1] - _ROUNDING
        for row in self.options[i]:
            if row.unit in self.taken:
                continue
            lost = loss - weight * row.accuracy
            if (missing, broken, lost + after) > self.best[:3]:
                break  # what follows is less accurate
            joule = row.energy_j or 0.0
            self.chosen.append(row)
            self.taken.add(row.unit)
            self.descend(
                i + 1,
                missing,
                broken + excess(row.latency_s, limit),
                lost,
                energy + joule,
                power + joule / row.latency_s,
                latency + row.latency_s,
            )
            self.taken.remove(row.unit)
            self.chosen.pop()
        self.chosen.append(None)
        self.descend(i + 1, missing + weight, broken, loss, energy, power, latency)
        self.chosen.pop()

    def _excess(self, energy: float, power: float) -> float:
        return excess(energy, self.limits.energy_j) + excess(power, self.limits.power_w)


_ROUNDING = 1e-12  # of sums in another order
_ALL_KEPT: Rank = (0.0, 0.0, math.inf, math.inf, math.inf)


def _lower(one: float | None, other: float | None) -> float | None:
    return other if one is None else one if other is None else min(one, other)


__all__ = ["EXHAUSTIVE", "Limits", "Placement", "Rank", "best_placement", "excess", "ordered", "rank"]
