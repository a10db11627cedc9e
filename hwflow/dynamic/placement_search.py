"""`PlacementSearch`: the best placement of networks on units, thousands of times a second. Standard library only.

For a limit on a network's latency, rows that keep it and are beaten by another one of the unit in accuracy, energy and power
can be left out: how fast they are counts no more. So for each network there are as many shortened lists as there are latencies
among its rows; a list is made when it is first asked for, and kept. Among these lists, placements are searched depth first with
bounds. What is left out never changes the result. Ours.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hwflow.dynamic.level_table import Row
from hwflow.dynamic.placement import Limits, Placement, Rank, excess, rank

EXHAUSTIVE = 3
"""Networks and units up to which all placements are compared; beyond, networks are placed one after the other."""

_ROUNDING = 1e-12  # of sums in another order
_MORE = 1 + _ROUNDING
_NONE: Rank = (math.inf,) * 5

_Entry = tuple[float, float, float, float, int, Row]
"""Accuracy lost (weighted), energy, latency, power, the unit's bit, and the row."""


class _List(NamedTuple):
    """The rows of a network that count at a limit on its latency.

    Attributes:
        head: those that keep it, the most accurate first, of equal ones that with the least energy, then latency.
        tail: those that do not, the fastest first.
        loss, energy, power: the least of all of them; `head_energy` and `head_power` of those that keep the limit.
    """

    head: tuple[_Entry, ...]
    tail: tuple[_Entry, ...]
    loss: float
    energy: float
    power: float
    head_energy: float
    head_power: float


class PlacementSearch:
    """The best placements among some rows.

    Args:
        options: for each network the rows that it can have.
        weights: of the networks.
        exhaustive: up to so many networks and units all placements are compared. Beyond, networks are placed one after the
            other, that with the largest weight first, and then each one and each pair is placed anew once.
    """

    def __init__(
        self, options: Mapping[str, Sequence[Row]], weights: Mapping[str, float], *, exhaustive: int = EXHAUSTIVE
    ) -> None:
        self.networks = tuple(options)
        self.weights = [weights[name] for name in self.networks]
        units = {
            unit: 1 << place for place, unit in enumerate(dict.fromkeys(r.unit for rows in options.values() for r in rows))
        }
        self._all = len(self.networks) <= 1 or (len(self.networks) <= exhaustive and len(units) <= exhaustive)
        self._entries = [
            sorted((_entry(row, weight, units[row.unit]) for row in options[name]), key=lambda entry: entry[2])
            for name, weight in zip(self.networks, self.weights, strict=True)
        ]
        self._latencies = [[entry[2] for entry in own] for own in self._entries]
        self._lists: list[dict[int, _List]] = [{} for _ in self.networks]

    def best(self, limits: Limits, than: Rank = _NONE) -> Placement | None:
        """The best placement, where it is better than a rank; without one, the best of all."""
        latencies = [limits.latency_of(name) for name in self.networks]
        if not self._all:
            found = self._one_after_the_other(latencies, limits)
            return found if found.rank < than else None
        rows = _Search(self._lists_at(latencies), self.weights, latencies, limits, _NOTHING).best(than)
        return None if rows is None else self._placement(rows, limits)

    def better(self, limits: Limits, than: Rank) -> Placement | None:
        """The best placement that keeps all limits, where it is better than a rank by what counts then: accuracy, energy,
        latency."""
        if not self._all:
            found = self.best(limits)
            return found if found is not None and found.keeps_limits and found.rank[2:] < than[2:] else None
        latencies = [limits.latency_of(name) for name in self.networks]
        rows = _Search(self._lists_at(latencies), self.weights, latencies, limits, _NOTHING).kept(than[2:])
        return None if rows is None else self._placement(rows, limits)

    def _placement(self, rows: Sequence[Row | None], limits: Limits) -> Placement:
        return Placement(tuple(rows), rank(rows, self.networks, limits, self.weights))

    def _one_after_the_other(self, latencies: Sequence[float | None], limits: Limits) -> Placement:
        lists, count = self._lists_at(latencies), len(self.networks)
        placed: list[Row | None] = [None] * count
        bits = {entry[5].unit: entry[4] for own in self._entries for entry in own}
        firsts = [(place,) for place in sorted(range(count), key=lambda place: -self.weights[place])]
        for change in [*firsts, *((place,) for place in range(count)), *itertools.combinations(range(count), 2)]:
            others = [place for place in range(count) if place not in change]
            fixed = _Fixed.of(
                [placed[i] for i in others], [self.networks[i] for i in others], [self.weights[i] for i in others], limits, bits
            )
            rows = _Search(
                [lists[place] for place in change],
                [self.weights[place] for place in change],
                [latencies[place] for place in change],
                limits,
                fixed,
            ).best(_NONE)
            assert rows is not None
            for place, row in zip(change, rows, strict=True):
                placed[place] = row
        return self._placement(placed, limits)

    def _lists_at(self, latencies: Sequence[float | None]) -> list[_List]:
        return [self._list(place, limit) for place, limit in enumerate(latencies)]

    def _list(self, place: int, limit: float | None) -> _List:
        latencies, known = self._latencies[place], self._lists[place]
        count = len(latencies) if limit is None else bisect_right(latencies, limit)
        found = known.get(count)
        if found is None:
            found = known[count] = _shortened(self._entries[place], count)
        return found


def best_placement(
    options: Mapping[str, Sequence[Row]], limits: Limits, weights: Mapping[str, float], *, exhaustive: int = EXHAUSTIVE
) -> Placement:
    """One best placement; arguments as of `PlacementSearch`."""
    found = PlacementSearch(options, weights, exhaustive=exhaustive).best(limits)
    assert found is not None
    return found


def _entry(row: Row, weight: float, bit: int) -> _Entry:
    joule = row.energy_j or 0.0
    return -weight * row.accuracy, joule, row.latency_s, joule / row.latency_s, bit, row


def _shortened(entries: Sequence[_Entry], count: int) -> _List:
    """The rows that count where the first `count`, the fastest, keep the limit."""
    head: list[_Entry] = []
    for entry in sorted(entries[:count], key=lambda entry: (entry[0], entry[1], entry[2], entry[3])):
        if not any(_beats(other, entry) for other in head):  # what comes later cannot beat it
            head.append(entry)
    tail = [entry for entry in entries[count:] if not any(_beats(other, entry) for other in head)]
    whole = [*head, *tail]
    return _List(
        tuple(head),
        tuple(tail),
        min((entry[0] for entry in whole), default=0.0),
        min((entry[1] for entry in whole), default=0.0),
        min((entry[3] for entry in whole), default=0.0),
        min((entry[1] for entry in head), default=math.inf),
        min((entry[3] for entry in head), default=math.inf),
    )


def _beats(one: _Entry, other: _Entry) -> bool:
    """Whether a row that keeps the limit makes another one of its unit useless, whatever the other limits."""
    if one[4] != other[4] or one[0] > other[0] or one[1] > other[1] or one[3] > other[3]:
        return False
    return one[0] < other[0] or one[1] < other[1] or one[2] <= other[2]


class _Fixed(NamedTuple):
    """Sums over networks that are placed already, and the units that they take."""

    missing: float = 0.0
    broken: float = 0.0
    loss: float = 0.0
    energy: float = 0.0
    power: float = 0.0
    latency: float = 0.0
    taken: int = 0

    @classmethod
    def of(
        cls,
        rows: Sequence[Row | None],
        networks: Sequence[str],
        weights: Sequence[float],
        limits: Limits,
        bits: Mapping[str, int],
    ) -> _Fixed:
        found = cls()
        for row, network, weight in zip(rows, networks, weights, strict=True):
            if row is None:
                found = found._replace(missing=found.missing + weight)
                continue
            joule = row.energy_j or 0.0
            found = cls(
                found.missing,
                found.broken + excess(row.latency_s, limits.latency_of(network)),
                found.loss - weight * row.accuracy,
                found.energy + joule,
                found.power + joule / row.latency_s,
                found.latency + row.latency_s,
                found.taken | bits[row.unit],
            )
        return found


_NOTHING = _Fixed()


class _Search:
    """Depth first, network by network, with bounds."""

    def __init__(
        self,
        lists: Sequence[_List],
        weights: Sequence[float],
        latencies: Sequence[float | None],
        limits: Limits,
        fixed: _Fixed,
    ) -> None:
        self._lists, self._weights, self._fixed = lists, weights, fixed
        self._latencies = [math.inf if limit is None else limit for limit in latencies]
        self._energy = math.inf if limits.energy_j is None else limits.energy_j
        self._power = math.inf if limits.power_w is None else limits.power_w
        self._last = len(lists) - 1
        self._chosen: list[Row | None] = [None] * len(lists)
        self._rows: tuple[Row | None, ...] | None = None

    def best(self, than: Rank) -> tuple[Row | None, ...] | None:
        """The best rows, where their rank is better than this."""
        fixed = self._fixed
        if fixed.missing == 0 and fixed.broken == 0:  # where all run and all limits hold, that is better than all else
            kept = self.kept(than[2:] if than[:2] == (0.0, 0.0) else _NONE[2:])
            if kept is not None or than[:2] <= (0.0, 0.0):
                return kept
        self._best = than
        after = [(0.0, 0.0, 0.0, 0.0)]  # of the networks from i on, at least: excess of latencies, loss, energy, power
        for own, limit in zip(reversed(self._lists), reversed(self._latencies), strict=True):
            broken, loss, energy, power = after[0]
            if not own.head and own.tail:
                broken += own.tail[0][2] / limit - 1
            after.insert(0, (broken, loss + own.loss, energy + own.energy, power + own.power))
        self._after = after
        self._rows = None
        self._descend(0, fixed.missing, fixed.broken, fixed.loss, fixed.energy, fixed.power, fixed.latency, fixed.taken)
        return self._rows

    def kept(self, than: Sequence[float]) -> tuple[Row | None, ...] | None:
        """The best rows with which all networks run and all limits hold, where loss, energy and latency are less than these."""
        fixed, after = self._fixed, [(0.0, 0.0, 0.0)]
        for own in reversed(self._lists):
            if not own.head:
                return None
            loss, energy, power = after[0]
            after.insert(0, (loss + own.head[0][0], energy + own.head_energy, power + own.head_power))
        _, energy, power = after[0]
        if fixed.energy + energy > self._energy * _MORE or fixed.power + power > self._power * _MORE:
            return None
        self._after_kept, self._least, self._rows = after, tuple(than), None
        self._within(0, fixed.loss, fixed.energy, fixed.power, fixed.latency, fixed.taken)
        return self._rows

    def _within(self, i: int, loss: float, energy: float, power: float, latency: float, taken: int) -> None:
        most_energy, most_power = self._energy, self._power
        if i == self._last:
            for entry in self._lists[i].head:
                if loss + entry[0] > self._least[0]:
                    return
                if entry[4] & taken or energy + entry[1] > most_energy or power + entry[3] > most_power:
                    continue
                found = loss + entry[0], energy + entry[1], latency + entry[2]
                if found < self._least:
                    self._chosen[i] = entry[5]
                    self._least, self._rows = found, tuple(self._chosen)
                return  # what follows in the list is worse
        more_loss, more_energy, more_power = self._after_kept[i + 1]
        for entry in self._lists[i].head:
            lost = loss + entry[0] + more_loss
            if lost > self._least[0] + _ROUNDING:
                return
            joule, watt = energy + entry[1], power + entry[3]
            if entry[4] & taken or joule + more_energy > most_energy * _MORE or watt + more_power > most_power * _MORE:
                continue
            if lost > self._least[0] - _ROUNDING and joule + more_energy > self._least[1] * _MORE:
                continue
            self._chosen[i] = entry[5]
            self._within(i + 1, loss + entry[0], joule, watt, latency + entry[2], taken | entry[4])

    def _descend(
        self, i: int, missing: float, broken: float, loss: float, energy: float, power: float, latency: float, taken: int
    ) -> None:
        """Place the networks from i on; `broken` is the excess of latencies so far."""
        if i > self._last:
            found = missing, broken + self._excess(energy, power), loss, energy, latency
            if found < self._best:
                self._best, self._rows = found, tuple(self._chosen)
            return
        own = self._lists[i]
        more_broken, more_loss, more_energy, more_power = self._after[i + 1]
        limit = self._latencies[i]
        bounds: list[tuple[float, float, _Entry]] = []
        for entry in own.head:
            if not entry[4] & taken:
                violation = broken + more_broken + self._excess(energy + entry[1] + more_energy, power + entry[3] + more_power)
                bounds.append((violation, loss + entry[0] + more_loss, entry))
        for entry in own.tail:
            over = broken + entry[2] / limit - 1
            if (missing, over + more_broken - _ROUNDING) > self._best[:2]:
                break  # what follows is slower
            if not entry[4] & taken:
                violation = over + more_broken + self._excess(energy + entry[1] + more_energy, power + entry[3] + more_power)
                bounds.append((violation, loss + entry[0] + more_loss, entry))
        bounds.sort(key=_by_bound)
        for violation, lost, entry in bounds:
            if (missing, violation - _ROUNDING) > self._best[:2]:
                break
            if (missing, violation - _ROUNDING, lost - _ROUNDING) > self._best[:3]:
                continue
            self._chosen[i] = entry[5]
            over = broken + (entry[2] / limit - 1 if entry[2] > limit else 0.0)
            self._descend(
                i + 1, missing, over, loss + entry[0], energy + entry[1], power + entry[3], latency + entry[2], taken | entry[4]
            )
        if missing + self._weights[i] <= self._best[0]:
            self._chosen[i] = None
            self._descend(i + 1, missing + self._weights[i], broken, loss, energy, power, latency, taken)

    def _excess(self, energy: float, power: float) -> float:
        over = energy / self._energy - 1 if energy > self._energy else 0.0
        return over + power / self._power - 1 if power > self._power else over


def _by_bound(one: tuple[float, float, _Entry]) -> tuple[float, float]:
    return one[:2]


__all__ = ["EXHAUSTIVE", "PlacementSearch", "best_placement"]
