"""Lower bounds on the objective of all mappings with given spatial loops: what the leaves of a certificate state."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np

from hwflow.certificate.recursion import After, Price, Rate, inside, operands, outside
from hwflow.certificate.space import Space, Spread
from hwflow.certificate.words import Fans, Floats, Words
from hwflow.types import Objective

_SLACK = 1 - 1e-11  # sums in another order than the analysis'
_ENERGY = Price(1.0)


class Way(NamedTuple):
    """How the bound of a leaf is found.

    Attributes:
        tiles: whether transfers between the memories around the fan-outs are counted, too.
        rates: bandwidths whose least cycles count, each for itself.
        mixed: weights of bandwidths in a weighted sum of cycles; what they lack to 1 is the weight of the compute cycles.
    """

    tiles: bool
    rates: tuple[Rate, ...] = ()
    mixed: tuple[tuple[Rate, float], ...] = ()


@dataclass
class Bounds:
    """Those of one layer on one chip."""

    space: Space
    objective: Objective
    _outside: dict[Price, list[After]] = field(default_factory=dict, repr=False)

    @cached_property
    def spreads(self) -> list[Spread]:
        """All spatial mappings: every mapping has one of these."""
        return self.space.spreads()

    @cached_property
    def rates(self) -> list[Rate]:
        """The bandwidths of the chip."""
        levels = enumerate(self.space.levels)
        return [Rate(k, way) for k, level in levels for way in range(3) if math.isfinite(level.limits[way])]

    @cached_property
    def simple(self) -> Floats:
        """For each spatial mapping a bound from compute cycles, the MAC units' operands and what is outside all fan-outs."""
        fans = Fans(self.space, np.array(self.spreads))
        if self.objective == "latency":
            return np.asarray(fans.cycles + self.space.edges)
        beyond = min(float(after.costs.min()) for after in self.outside(_ENERGY))
        return self._valued((operands(fans, _ENERGY) + beyond) * _SLACK, fans, fans.cycles)

    def of(self, leaves: Sequence[tuple[Spread, Way]]) -> list[float]:
        """A bound for each spatial mapping, found in the way that is given beside it."""
        groups: dict[tuple[Way, tuple[int, ...]], list[int]] = {}
        for n, (spread, way) in enumerate(leaves):
            used = tuple(math.prod(column) for column in zip(*spread, strict=True))
            groups.setdefault((way, used), []).append(n)
        result = [0.0] * len(leaves)
        for (way, _), some in groups.items():
            for n, bound in zip(some, self._alike([leaves[n][0] for n in some], way).tolist(), strict=True):
                result[n] = bound
        return result

    def _alike(self, spreads: Sequence[Spread], way: Way) -> Floats:
        """Bounds, all found in one way, for spatial mappings that leave the same to temporal loops, [spatial mapping]."""
        words = Words(self.space, spreads)

        def least(price: Price, *, tiles: bool = True) -> Floats:
            return inside(words, price, self.outside(price), tiles=tiles) * _SLACK

        cycles = words.fans.cycles
        for rate in way.rates:
            cycles = np.maximum(cycles, np.ceil(least(Price(rates=((rate, 1.0),)))))
        energy = np.zeros(()) if self.objective == "latency" else least(_ENERGY, tiles=way.tiles)
        value = self._valued(energy, words.fans, cycles)
        if way.mixed and np.isfinite(value).all():
            return np.array(
                [
                    self._mixed(spread, way, *each)
                    for spread, *each in zip(spreads, value, energy * np.ones(words.count), cycles, strict=True)
                ]
            )
        return value

    def _mixed(self, spread: Spread, way: Way, value: float, energy: float, cycles: float) -> float:
        """The same for one spatial mapping, if its energy and its cycles at the bandwidths with a weight are bounded together.

        With the energy e and the cycles c of any mapping, and lower bounds E and C of these, (e - E)(c - C) >= 0, so
        e c >= C e + E c - E C; for e and c in this sum stand sums over transfers, whose least is known.
        """
        words, edges = Words(self.space, [spread]), self.space.edges
        leak = float(self._leak(words.fans)[0])
        whole = energy + self.space.compute + leak * cycles
        of_energy, of_cycles, constant = {
            "energy": (1.0, leak, self.space.compute),
            "latency": (0.0, 1.0, float(edges)),
            "edp": (
                cycles + edges,
                whole + (cycles + edges) * leak,
                (cycles + edges) * self.space.compute + whole * edges - whole * (cycles + edges),
            ),
        }[self.objective]
        price = Price(of_energy, tuple((rate, of_cycles * weight) for rate, weight in way.mixed))
        rest = of_cycles * (1 - sum(weight for _, weight in way.mixed)) * float(words.fans.cycles[0])
        after = self.outside(price) if self.objective == "latency" else outside(self.space, price)  # prices of others differ
        return max(value, float(inside(words, price, after)[0]) * _SLACK + rest + constant)

    def outside(self, price: Price) -> list[After]:
        """What all spatial mappings share, found once for each price."""
        if price not in self._outside:
            self._outside[price] = outside(self.space, price)
        return self._outside[price]

    def _valued(self, accesses: Floats, fans: Fans, cycles: Floats) -> Floats:
        """The objective for given energies of accesses and cycles; infinite where there are no mappings."""
        if self.objective == "latency":
            return np.asarray(cycles + self.space.edges)
        leak = self._leak(fans) * np.where(np.isfinite(cycles), cycles, 0.0)
        energy = np.where(np.isfinite(cycles), accesses + self.space.compute + leak, np.inf)
        return energy if self.objective == "energy" else energy * (cycles + self.space.edges)

    def _leak(self, fans: Fans) -> Floats:
        """Energy that the instances in use leak in a cycle."""
        return sum((level.leak * n for level, n in zip(self.space.levels, fans.instances, strict=True)), start=np.zeros(()))
