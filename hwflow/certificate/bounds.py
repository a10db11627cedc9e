"""Lower bounds on the objective of all mappings with given spatial loops: what the leaves of a certificate state."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np

from hwflow.certificate.recursion import After, Counted, Price, Rate, ends_whole, inside, operands, outside
from hwflow.certificate.space import Factors, Space, Spread
from hwflow.certificate.words import Fans, Floats, Words, power, primes
from hwflow.types import Objective

_SLACK = 1 - 1e-11  # sums in another order than the analysis'
_ENERGY = Price(1.0)
_WASTE, _SMALL, _LARGE = 1.5, 1 << 17, 1 << 21  # elements of arrays: as a multiple of those needed, always, and never


class Way(NamedTuple):
    """How the bound of a leaf is found.

    Attributes:
        counted: how transfers between the memories around the fan-outs count.
        rates: bandwidths whose least cycles count, each for itself.
        mixed: weights of bandwidths in a weighted sum of cycles; what they lack to 1 is the weight of the compute cycles.
    """

    counted: Counted
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
        ways: dict[Way, list[int]] = {}
        for n, (_, way) in enumerate(leaves):
            ways.setdefault(way, []).append(n)
        result = [0.0] * len(leaves)
        for way, some in ways.items():
            for batch in self._batches([leaves[n][0] for n in some], way.counted):
                places = [some[n] for n in batch]
                for n, bound in zip(places, self._alike([leaves[n][0] for n in places], way).tolist(), strict=True):
                    result[n] = bound
        return result

    def _batches(self, spreads: Sequence[Spread], counted: Counted) -> Iterator[list[int]]:
        """Some spatial mappings at a time: such that leave nearly the same to temporal loops, because arrays have room for all
        that any of them leaves, and few calls of numpy."""
        alike: dict[Factors, list[int]] = {}
        for n, spread in enumerate(spreads):
            used = map(math.prod, zip(*spread, strict=True))
            alike.setdefault(tuple(n // f for n, f in zip(self.space.sizes, used, strict=True)), []).append(n)
        whole = ends_whole(self.space)
        batch: list[int] = []
        most: tuple[int, ...] = ()
        own = 0
        for left in sorted(alike):
            sides = self._sides(left)
            larger = tuple(map(max, most, sides)) if batch else sides
            size = self._size(larger, counted) * (len(batch) + len(alike[left]))
            own += self._size(sides, counted) * len(alike[left])
            if batch and (whole or size > max(_WASTE * own, _SMALL) or size > _LARGE):
                yield batch
                batch, larger, own = [], sides, self._size(sides, counted) * len(alike[left])
            batch, most = [*batch, *alike[left]], larger
        if batch:
            yield batch

    def _sides(self, left: Factors) -> tuple[int, ...]:
        return tuple(power(m, prime) + 1 for n, m in zip(self.space.sizes, left, strict=True) for prime in primes(n))

    def _size(self, sides: tuple[int, ...], counted: Counted) -> int:
        """Elements of the largest arrays for one spatial mapping: over tiles below the fan-outs and the ends of runs."""
        tiles = math.prod(map(min, sides, self._room))
        if counted != "every":
            return tiles
        dims = [d for d, n in enumerate(self.space.sizes) for _ in primes(n)]
        return tiles * max(
            math.prod(side for d, side in zip(dims, sides, strict=True) if d in idle) for idle in self.space.idle
        )

    @cached_property
    def _room(self) -> list[int]:
        """How many exponents the tiles below the fan-outs can have along each axis: under no spatial loops most."""
        space = self.space
        words = Words(space, [((1,) * len(space.sizes),) * len(space.levels)])
        return list(words.shape_of(space.outermost_fan - 1)[:-1])

    def _alike(self, spreads: Sequence[Spread], way: Way) -> Floats:
        """Bounds, all found in one way, [spatial mapping]."""
        words = Words(self.space, spreads)

        def least(price: Price) -> Floats:
            return inside(words, price, self.outside(price), way.counted) * _SLACK

        cycles = words.fans.cycles
        for rate in way.rates:
            cycles = np.maximum(cycles, np.ceil(least(Price(rates=((rate, 1.0),)))))
        energy = np.zeros(()) if self.objective == "latency" else least(_ENERGY)
        value = self._valued(energy, words.fans, cycles)
        if way.mixed:
            return np.array(
                [
                    self._mixed(spread, way, *each) if math.isfinite(each[0]) else each[0]
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
