"""Lower bounds on the objective of all mappings with given spatial loops: what the leaves of a certificate state."""

from __future__ import annotations

import math
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
            return fans.cycles + self.space.edges
        beyond = min(float(after.costs.min()) for after in self.outside(_ENERGY))
        return self._valued((operands(fans, _ENERGY) + beyond) * _SLACK, fans, fans.cycles)

    def leaf(self, spread: Spread, way: Way) -> float:
        """A bound for one spatial mapping."""
        words = Words(self.space, spread)

        def least(price: Price, *, tiles: bool = True) -> float:
            return inside(words, price, self.outside(price), tiles=tiles) * _SLACK

        cycles = max([words.cycles, *(float(np.ceil(least(Price(rates=((rate, 1.0),))))) for rate in way.rates)])
        energy = 0.0 if self.objective == "latency" else least(_ENERGY, tiles=way.tiles)
        value = float(self._valued(np.asarray(energy), words.fans, cycles))
        if not way.mixed or not math.isfinite(value):
            return value
        # With the energy e and the cycles c of any mapping, and lower bounds E and C of these, (e - E)(c - C) >= 0, so
        # e c >= C e + E c - E C; for e and c in this sum stand sums over transfers, whose least is known.
        leak, edges = self._leak(words.fans), self.space.edges
        whole = energy + self.space.compute + leak * cycles
        of_energy, of_cycles = {
            "energy": (1.0, leak),
            "latency": (0.0, 1.0),
            "edp": (cycles + edges, whole + (cycles + edges) * leak),
        }[self.objective]
        weights = tuple((rate, of_cycles * weight) for rate, weight in way.mixed)
        rest = of_cycles * (1 - sum(weight for _, weight in way.mixed)) * words.cycles
        mixed = least(Price(of_energy, weights)) + rest
        constant = {
            "energy": self.space.compute,
            "latency": float(edges),
            "edp": (cycles + edges) * self.space.compute + whole * edges - whole * (cycles + edges),
        }[self.objective]
        return max(value, mixed + constant)

    def outside(self, price: Price) -> list[After]:
        """What all spatial mappings share, found once for each price."""
        if price not in self._outside:
            self._outside[price] = outside(self.space, price)
        return self._outside[price]

    def _valued(self, accesses: Floats, fans: Fans, cycles: Floats | float) -> Floats:
        """The objective for given energies of accesses and cycles."""
        if self.objective == "latency":
            return np.asarray(cycles + self.space.edges)
        if not np.all(np.isfinite(cycles)):  # there are no mappings with these spatial loops
            return np.full(np.shape(accesses), np.inf)
        energy = accesses + self.space.compute + self._leak(fans) * cycles
        return np.asarray(energy if self.objective == "energy" else energy * (cycles + self.space.edges))

    def _leak(self, fans: Fans) -> Floats:
        """Energy that the instances in use leak in a cycle."""
        return sum((level.leak * n for level, n in zip(self.space.levels, fans.instances, strict=True)), start=np.zeros(()))
