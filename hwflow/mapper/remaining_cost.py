"""The cost of a partial mapping so far, and a lower bound on the cost of completing it."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hwflow.arrays import Bools, Floats, Places
from hwflow.layers import DIMS, TENSORS
from hwflow.loopnest.nest import OUTPUTS
from hwflow.mapper.layer_facts import LayerFacts
from hwflow.mapper.partial_mapping import Partial
from hwflow.mapper.shared_words import handed, sharing
from hwflow.mapper.tile_lattice import least_of_multiples


class Waiting(NamedTuple):
    """Costs of a tensor's transfers that no relevant loop has advanced yet, as if it were not stationary, [resource, mapping].

    `row`: the row of `Partial.since` with the tiles at which the transfer began, or -1 where no window slides.
    """

    tensor: int
    row: int
    cost: Floats


@dataclass(frozen=True)
class RemainingCost:
    """Lower bounds on the cost of completing partial mappings: without Timeloop's finer rules, or with `sound` under all rules.

    Attributes:
        objective: energy, latency or edp.
        growth: the largest factor by which the fan-outs above a level can increase parallelism around a tile, [level][tile].
        later: for each level a lower bound on the cost of the transfers that begin there or above, [resource, tile].
        sharing, handed: for each level what the fan-outs above it can spare, as `hwflow.mapper.shared_words` has them.
    """

    facts: LayerFacts
    objective: str
    growth: tuple[Floats, ...]
    later: tuple[Floats, ...]
    sharing: tuple[Floats, ...]
    handed: tuple[Floats, ...]

    @classmethod
    def of(cls, facts: LayerFacts, objective: str) -> RemainingCost:
        """The bounds for one layer."""
        return cls(
            facts,
            objective,
            _growth(facts),
            _later(facts),
            sharing(facts),
            tuple(handed(facts, k) for k in range(len(facts.levels))),
        )

    @property
    def energy_only(self) -> bool:
        """Whether sound scores depend on energy alone: nothing leaks for longer where a mapping takes more cycles."""
        alike, others = self.facts.prices.leaks[-1]
        return self.facts.tiles.sound and self.objective == "energy" and not alike and not others

    def opened(self, k: int, places: Places) -> Floats:
        """Lower bounds on the cost of the transfers that begin at level k or above around some of its tiles, by the tensor that
        the loops directly outside keep stationary, [tensor, resource, tile]."""
        opened = np.repeat(self.later[k + 1].take(places, axis=1)[None], len(TENSORS), axis=0)
        if self.facts.prices.begins[k][1]:
            which, begun = begun_at(self.facts, k, places)
            opened[:, which] += begun
        return opened

    def uses(self, state: Partial, k: int, way: int = 0) -> tuple[Floats, list[Waiting]]:
        """Costs per resource of the transfers that began below level k: the finished ones, [resource, mapping], less the elided
        first writes, and the waiting ones. `way`: how the fan-outs above share words, an index of `sharing[k]`."""
        tiles, prices = self.facts.tiles, self.facts.prices
        sums, waits = prices.of[OUTPUTS], state.waits
        cast = state.cast * self.sharing[k][way] if self.facts.spread_above(k) else state.cast
        words = np.empty((2, *state.words.shape))  # at the lower level, and as the upper one is asked for them
        words[0] = state.words
        np.divide(np.maximum(state.words - self.handed[k], 0.0) if tiles.sound else state.words, cast, out=words[1])
        some: Bools = np.asarray(waits.any(axis=1))
        still = words * ~waits if some.any() else words  # faster than a choice by a mask
        closed = prices.paid(slice(0, sums.start), still)
        shared = np.multiply.accumulate(cast[sums][::-1])[::-1]  # instances that share a word
        first = np.empty((2, *shared.shape))  # writes of partial sums, which need no read
        np.multiply(tiles.final[state.place], shared, out=first[0])
        first[1, :-1], first[1, -1] = first[0, 1:], tiles.final[state.place]
        after, least = prices.sums
        cost = prices.each[:, :, sums, None] * still[:, None, sums] - prices.spared[:, :, sums, None] * first[:, None]
        # fan-outs above count as fully used, which may subtract too many reads
        bounded = np.maximum(cost, least * still[:, None, sums])
        total = bounded[0] + bounded[1]
        if some[sums].any():
            total = np.where(waits[sums], cost[0] + cost[1], total)
        closed += total[:, : after[k]].sum(axis=1)
        if still is words:
            return closed, []
        words, waiting = words * waits, []
        for t, mine in enumerate(prices.of):
            if tiles.slides and t == tiles.windowed:
                for row in some[mine].nonzero()[0].tolist():
                    p = mine.start + row
                    waiting.append(Waiting(t, row, prices.paid(slice(p, p + 1), words)))
            elif some[mine].any():
                waiting.append(Waiting(t, -1, prices.paid(mine, words)))
        return closed, waiting

    def score(self, state: Partial) -> Floats:
        """The objective of complete tilings, [mapping]."""
        return self.partial_score(state, len(self.facts.levels) - 1)

    def partial_score(self, state: Partial, k: int) -> Floats:
        """A lower bound on the objective of completions, [mapping]; loops below boundary k are fixed, level k has none yet."""
        later, growth = self.later[k].take(state.place, axis=1), self.growth[k][state.place]
        scores = []
        for way in range(len(self.sharing[k])):
            total = np.maximum(self.settled(state, *self.uses(state, k, way), k) + later, later)
            scores.append(self.objective_of(total, state.parallel, k, growth))
        return np.asarray(functools.reduce(np.minimum, scores))

    def settled(self, state: Partial, closed: Floats, waiting: list[Waiting], k: int) -> Floats:
        """Lower bounds on the cost of the transfers begun so far, for any later stationary tensor, [resource, mapping]."""
        tiles, spread = self.facts.tiles, self.facts.spread_above(k)
        total, saved = closed.copy(), np.zeros_like(closed)
        for t in {w.tensor for w in waiting}:
            costs = [
                w.cost if w.row < 0 else w.cost * tiles.least_halo(state.since[w.row], state.place, spread=spread)
                for w in waiting
                if w.tensor == t
            ]
            cost = sum(costs[1:], start=costs[0])
            total += cost
            saved = np.maximum(saved, cost * (1 - tiles.alone[t, state.place]))
        return np.asarray(total - saved)

    def objective_of(
        self, total: Floats, parallel: Floats, k: int, growth: Floats | float, of: Places | slice = slice(None)
    ) -> Floats:
        """The objective for given use of the resources and parallelism up to fan-out k, which fan-outs above can increase.

        `of`: indices of the mappings whose parallelism is used, where these are fewer.
        """
        prices, mac_energy = self.facts.prices, self.facts.nest.mac_energy
        cycles = (self.facts.tiles.macs / parallel[k])[of] / growth
        for rows, level in prices.paces[k] if len(total) > 1 else ():
            instances = growth if level < 0 else growth * (parallel[k] / parallel[level])[of]
            cycles = np.maximum(cycles, total[rows].max(axis=0) / instances)
        if self.facts.tiles.sound:
            cycles = np.ceil(cycles * (1 - 1e-12))
            if self.objective == "latency":
                return np.asarray(cycles)
        energy = total[0] + mac_energy
        alike, others = prices.leaks[k]  # active instances leak
        if alike:
            energy = energy + alike * cycles
        for m, leak in others:
            energy = energy + leak * cycles * (parallel[k] / parallel[m])[of]
        if self.objective == "energy":
            return np.asarray(energy)
        return np.asarray(cycles * energy if self.objective == "edp" else cycles * (1 + 1e-9 * energy / mac_energy))


# The tables ----------------------------------------------------------------------------------------------------------


def _growth(facts: LayerFacts) -> tuple[Floats, ...]:
    """Only for tiles that mappings can have at this level or below."""
    tiles, lattice = facts.tiles, facts.tiles.lattice
    result = [np.ones(lattice.size)]
    for k in reversed(range(1, len(facts.levels))):
        growth, over = result[-1], facts.levels[k].spatial
        if over is not None:
            below = facts.levels[k - 1]
            own, left = below.spans.nonzero()[0], lattice.rest[over]
            room = lattice.origin[left] + lattice.share(below.reach)[left]  # parallelism left to the levels below the fan-out
            widest = np.ones(len(own))
            np.maximum.at(widest, np.searchsorted(own, room), tiles.span[over])
            growth = growth.copy()
            growth[own] *= -least_of_multiples(-widest, lattice, below.reach)
        result.append(growth)
    return tuple(result[::-1])


def _later(facts: LayerFacts) -> tuple[Floats, ...]:
    """The minimum over all multiples of a tile, since the loops above turn it into one of these."""
    size = facts.tiles.lattice.size
    total = np.zeros((len(facts.prices.levels), size))
    later = [total]
    for k in reversed(range(len(facts.levels))):
        if facts.prices.begins[k][1]:
            level = facts.levels[k]
            own, peaks = level.spans.nonzero()[0], _peaks(facts, k)
            which, begun = begun_at(facts, k, peaks)
            least = np.full((len(which), len(own)), np.inf)
            least[:, np.searchsorted(own, peaks)] = begun.min(axis=0)
            total = total.copy()
            least = least_of_multiples(least, facts.tiles.lattice, level.reach)
            if len(own) == size:
                total[which] += least
            else:
                total[which[:, None], own] += least
        later.append(total)
    return tuple(later[::-1])


def begun_at(facts: LayerFacts, k: int, places: Places) -> tuple[Places, Floats]:
    """The resources used by the transfers that begin at level k, and lower bounds on that use around some of its tiles,
    [stationary tensor, resource, tile]."""
    tiles, prices = facts.tiles, facts.prices
    which, begun = prices.begins[k]
    moving = np.zeros((len(which), len(places)))  # if another tensor is stationary
    saved = np.zeros((len(TENSORS), *moving.shape))
    inside, handed_on = tiles.macs / tiles.span[places], handed(facts, k) if tiles.sound else None
    for begin in begun:
        t = begin.tensor
        words = tiles.volume[t, places] * inside
        if t == tiles.windowed:
            words = words * tiles.least_halo(places, places, spread=facts.spread_above(k))
        moved, stays = words * begin.price, (words * tiles.alone[t, places]) * begin.price
        if handed_on is not None and (spare := handed_on[begin.transfer] / begin.fans * begin.high).any():
            moved, stays = (np.maximum(cost - spare[:, None], 0.0) for cost in (moved, stays))
        if t == OUTPUTS:
            spared = begin.spared * tiles.final[places]
            moved, stays = np.maximum(moved - spared, 0.0), np.maximum(stays - spared, 0.0)
        moving += moved
        saved[t] += moved - stays
    return which, np.asarray(moving - saved)


def _peaks(facts: LayerFacts, k: int) -> Places:
    """The tiles of level k that no multiple of them dominates."""
    flags = np.zeros(facts.tiles.lattice.size, dtype=np.bool_)
    flags[facts.levels[k].room] = True
    return (flags & ~beaten(facts, k).any(axis=0)).nonzero()[0]


def beaten(facts: LayerFacts, k: int) -> Bools:
    """For which tiles a multiple along a dimension fits level k without making any transfer that begins there more expensive,
    [dimension, tile]: all, unless a step of the dimension skips words."""
    lattice, level = facts.tiles.lattice, facts.levels[k]
    flags = np.zeros(lattice.size, dtype=np.bool_)
    flags[level.room] = True
    result = np.zeros((len(DIMS), lattice.size), dtype=np.bool_)
    for start, stop, axes in lattice.parts:
        for d, _, exponent, stride in (axis for axis in axes if level.reach[axis[0]]):
            fits = flags[start:stop].reshape(-1, exponent + 1, stride)
            result[d, start:stop].reshape(fits.shape)[:, :-1] |= fits[:, 1:]
    for d, skips in facts.tiles.skips.items():
        result[d] &= ~skips
    return result
