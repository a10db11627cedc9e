"""Lower bounds on the objective of all mappings with given spatial loops: what the leaves of a certificate state."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, reduce
from typing import NamedTuple

import numpy as np

from hwflow.certificate.motions import primes
from hwflow.certificate.recursion import After, Price, Rate, ends_whole, operands, outside
from hwflow.certificate.space import Factors, Space, Spread
from hwflow.certificate.states import Counted, least
from hwflow.certificate.words import Fans, Floats, Words, power
from hwflow.layers import TENSORS
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
        return self._valued((operands(fans, _ENERGY) + beyond) * _SLACK, fans.cycles, fans)

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
        result = _least([self._valued(*state, words.fans) for state in self._states(words, way)], words.count)
        for n in np.flatnonzero(np.isfinite(result)).tolist() if way.mixed else ():
            result[n] = max(result[n], self._mixed(Words(self.space, spreads[n : n + 1]), way))
        return result

    def _states(self, words: Words, way: Way) -> list[tuple[Floats, Floats]]:
        """Energies of accesses and cycles, arrays over states for each tensor that can have a run there, [..., choice]; see
        `hwflow.certificate.states.least`. For latency without energies."""
        prices = [] if self.objective == "latency" else [_ENERGY]
        prices += [Price(rates=((rate, 1.0),)) for rate in way.rates]
        found = [least(words, price, self.outside(price), way.counted) for price in prices]
        result = []
        for several in zip(*found, strict=True):
            costs = [cost * _SLACK for cost in several]
            energy = np.zeros(()) if self.objective == "latency" else costs.pop(0)
            result.append((energy, reduce(np.maximum, map(np.ceil, costs), words.fans.cycles)))
        return result or [(np.zeros(()), words.fans.cycles)] * (len(TENSORS) if way.counted == "every" else 1)

    def _mixed(self, words: Words, way: Way) -> float:
        """The same for one spatial mapping, if in each state its energy and its cycles are also bounded together.

        If the energy is at least E, cycles at least C, and the energy plus m times the cycles at least B, then energy times
        cycles is least at one of the two corners where the last and one of the others are equalities.
        """
        states, edges = self._states(words, way), self.space.edges
        leak, compute = float(self._leak(words.fans)[..., 0]), float(words.fans.cycles[0])
        cycles = min(float(own.min()) for _, own in states)
        slope = 0.0
        if self.objective == "edp":
            whole = min(float(self._energy(*state, words.fans).min()) for state in states)
            slope = whole / (cycles + edges)
        of_energy, of_cycles = (0.0, 1.0) if self.objective == "latency" else (1.0, leak + slope)
        price = Price(of_energy, tuple((rate, of_cycles * weight) for rate, weight in way.mixed))
        after = self.outside(price) if self.objective == "latency" else outside(self.space, price)  # prices of others differ
        rest = of_cycles * (1 - sum(weight for _, weight in way.mixed)) * compute + of_energy * self.space.compute
        values = []
        for (accesses, own), joint in zip(states, least(words, price, after, way.counted), strict=True):
            sums, energy = joint * _SLACK + rest, self._energy(accesses, own, words.fans)
            if self.objective == "latency":
                values.append(np.maximum(own, sums) + edges)
            elif not slope:
                values.append(np.maximum(energy, sums))
            else:
                reached = np.where(np.isfinite(sums), sums, 0.0)
                longer = np.maximum(own, (reached - energy) / slope)
                dearer = np.maximum(energy, reached - slope * own)
                values.append(np.minimum(energy * (longer + edges), dearer * (own + edges)))
        return float(_least(values, 1)[0])

    def outside(self, price: Price) -> list[After]:
        """What all spatial mappings share, found once for each price."""
        if price not in self._outside:
            self._outside[price] = outside(self.space, price)
        return self._outside[price]

    def _valued(self, accesses: Floats, cycles: Floats, fans: Fans) -> Floats:
        """The objective for given energies of accesses and cycles; infinite where there are no mappings."""
        if self.objective == "latency":
            return np.asarray(cycles + self.space.edges)
        energy = self._energy(accesses, cycles, fans)
        return energy if self.objective == "energy" else energy * (cycles + self.space.edges)

    def _energy(self, accesses: Floats, cycles: Floats, fans: Fans) -> Floats:
        """All energy, leakage included."""
        leak = self._leak(fans) * np.where(np.isfinite(cycles), cycles, 0.0)
        return np.where(np.isfinite(cycles), accesses + self.space.compute + leak, np.inf)

    def _leak(self, fans: Fans) -> Floats:
        """Energy that the instances in use leak in a cycle."""
        return sum((level.leak * n for level, n in zip(self.space.levels, fans.instances, strict=True)), start=np.zeros(()))


def _least(values: Sequence[Floats], count: int) -> Floats:
    """The least over all states, [spatial mapping]."""
    least_of_each = (value.min(axis=tuple(range(value.ndim - 1))) if value.ndim else value for value in values)
    return reduce(np.minimum, least_of_each, np.full(count, np.inf))
