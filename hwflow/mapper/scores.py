"""What a partial mapping has cost, and what the rest of it costs at least."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hwflow.hardware.dataflow import LevelConstraint
from hwflow.layers import DIMS, TENSORS
from hwflow.loopnest.nest import OUTPUTS, Bools, Floats, Nest
from hwflow.mapper.layer_facts import Tables
from hwflow.mapper.partial_mappings import Partial
from hwflow.mapper.tile_lattice import Places, least_of_multiples


class Waiting(NamedTuple):
    """What transfers of a tensor cost that no relevant loop has stepped yet, as if it were not stationary, [resource, mapping].

    `row`: of the transfer's beginnings in `Partial.since`, or -1 where no window slides.
    """

    tensor: int
    row: int
    cost: Floats


class Scores(Tables):
    """What partial mappings can still cost: no completion costs less, but for Timeloop's finer rules, and with `sound` for all.

    Attributes:
        later: for each level what the transfers that begin there or above cost at least around a tile, [resource, tile].
        tops: for the last memory, once asked for: which tiles no multiple beats, and for each tensor which none beats along the
            dimensions irrelevant to it, with each tile's part along these.
        growth: how much more parallel the fan-outs above a level make a mapping with this tile at most, [level][tile].
    """

    def __init__(
        self,
        nest: Nest,
        constraints: Sequence[LevelConstraint],
        objective: str,
        *,
        sound: bool = False,
        linked: int = -1,
        padded: Sequence[tuple[int, ...]] = (),
    ) -> None:
        """`linked`: the tensor that MACs right below a fan-out hand on to one another, while it stays, as if they kept it."""
        super().__init__(nest, constraints, sound=sound, padded=padded)
        self.objective, self.linked = objective, linked
        self.growth = self._growth()
        self.later = self._later()
        self.tops: dict[int, tuple[Bools, list[tuple[Bools, Places]]]] = {}

    def _growth(self) -> list[Floats]:
        """Only for tiles that mappings can have at a level or below."""
        result = [np.ones(self.lattice.size)]
        for k in reversed(range(1, self.count)):
            growth = result[-1]
            if k in self.ways:
                dims, tiles, left = self.reach[k - 1], self.spans[k - 1].nonzero()[0], self.lattice.rest[self.ways[k]]
                room = self.lattice.origin[left] + self.lattice.share(dims)[left]  # what a way leaves to the levels below
                widest = np.ones(len(tiles))
                np.maximum.at(widest, np.searchsorted(tiles, room), self.span[self.ways[k]])
                growth = growth.copy()
                growth[tiles] *= -least_of_multiples(-widest, self.lattice, dims)
            result.append(growth)
        return result[::-1]

    def _begun(self, k: int, tiles: Places) -> tuple[Places, Floats]:
        """Resources that the transfers that begin at level k use, and how much at least around some tiles of its room,
        [stationary tensor, resource, tile]."""
        begun = [p for p, t in enumerate(self.transfers) if t.low == k]
        which = np.flatnonzero((self.low[:, begun] + self.high[:, begun]).any(axis=1))
        moving = np.zeros((len(which), len(tiles)))  # if its tensor is not the stationary one
        saved = np.zeros((len(TENSORS), *moving.shape))
        copies = math.prod(self.nest.levels[m].fanout for m in range(k + 1, self.count))
        inside = self.macs / self.span[tiles]
        for p in begun:
            t = self.transfers[p].tensor
            words = self.volume[t, tiles] * inside
            if t == self.windowed:
                words = words * self.least_halo(tiles, tiles)
            fans = self.future[0, p, 0]
            price = (self.low[which, p] + self.high[which, p] / fans)[:, None]
            moved, stays = words * price, (words * self.alone[t, tiles]) * price
            if t == OUTPUTS:
                spared = (copies * (self.spared_low[which, p] + self.spared_high[which, p] / fans))[:, None] * self.final[tiles]
                moved, stays = np.maximum(moved - spared, 0.0), np.maximum(stays - spared, 0.0)
            moving += moved
            saved[t] += moved - stays
        return which, np.asarray(moving - saved)

    def _later(self) -> list[Floats]:
        """The least over all multiples of a tile: the loops above make it one of these."""
        total = np.zeros((len(self.levels), self.lattice.size))
        later = [total]
        for k in reversed(range(self.count)):
            if any(t.low == k for t in self.transfers):
                tiles, peaks = self.spans[k].nonzero()[0], self._peaks(k)
                which, begun = self._begun(k, peaks)
                least = np.full((len(which), len(tiles)), np.inf)
                least[:, np.searchsorted(tiles, peaks)] = begun.min(axis=0)
                total = total.copy()
                least = least_of_multiples(least, self.lattice, self.reach[k])
                if len(tiles) == self.lattice.size:
                    total[which] += least
                else:
                    total[which[:, None], tiles] += least
            later.append(total)
        return later[::-1]

    def _peaks(self, k: int) -> Places:
        """The tiles of level k's room that no multiple beats."""
        flags = np.zeros(self.lattice.size, dtype=np.bool_)
        flags[self.rooms[k]] = True
        return (flags & ~self.beaten(k).any(axis=0)).nonzero()[0]

    def beaten(self, k: int) -> Bools:
        """For which tiles a multiple along a dimension fits level k and makes no transfer that begins there dearer, [dimension,
        tile]: that is so unless a step of the dimension skips words."""
        flags = np.zeros(self.lattice.size, dtype=np.bool_)
        flags[self.rooms[k]] = True
        beaten = np.zeros((len(DIMS), self.lattice.size), dtype=np.bool_)
        for start, stop, axes in self.lattice.parts:
            for d, _, exponent, stride in (axis for axis in axes if self.reach[k][axis[0]]):
                fits = flags[start:stop].reshape(-1, exponent + 1, stride)
                beaten[d, start:stop].reshape(fits.shape)[:, :-1] |= fits[:, 1:]
        for d, skips in self.skips.items():
            beaten[d] &= ~skips
        return beaten

    def opened(self, k: int, tiles: Places) -> Floats:
        """What the transfers that begin at level k or above cost at least around some tiles of its room, by the tensor that the
        loops right outside leave alone, [tensor, resource, tile]."""
        opened = np.repeat(self.later[k + 1].take(tiles, axis=1)[None], len(TENSORS), axis=0)
        if any(t.low == k for t in self.transfers):
            which, begun = self._begun(k, tiles)
            opened[:, which] += begun
        return opened

    # Partial mappings ------------------------------------------------------------------------------------------------

    def uses(self, state: Partial, k: int) -> tuple[Floats, list[Waiting]]:
        """Per resource, what the transfers from below level k cost: closed ones, [resource, mapping], the elided first writes
        subtracted, and those that wait."""
        cast = state.cast * self.future[k]
        asked = state.words / cast
        waits = state.waits
        words_closed, asked_closed = np.where(waits, 0.0, state.words), np.where(waits, 0.0, asked)
        sums = self.of[OUTPUTS]
        closed = self._paid(slice(0, sums.start), words_closed, asked_closed)
        shared = np.multiply.accumulate(cast[sums][::-1])[::-1]  # instances that share a word with those above, [transfer, ...]
        whole = self.final[state.place]
        above, beyond = whole * shared, np.concatenate([whole * shared[1:], whole[None]])
        low, high, spared_low, spared_high = (
            a[:, sums, None] for a in (self.low, self.high, self.spared_low, self.spared_high)
        )
        into = low * words_closed[sums] - spared_low * above
        out_of = high * asked_closed[sums] - spared_high * beyond
        # the fan-outs still to come are taken at their widest, which may spare more reads than there are
        least = np.maximum(into, 0.0) + np.maximum(out_of, (high - spared_high) * asked_closed[sums])
        begun = [t.low <= k for t in self.transfers[sums]]
        closed += np.where(waits[sums], into + out_of, least)[:, begun].sum(axis=1)
        some = np.asarray(waits.any(axis=1))
        if not some.any():
            return closed, []
        words, asked, waiting = state.words - words_closed, asked - asked_closed, []
        for t, mine in enumerate(self.of):
            if self.slides and t == self.windowed:
                for row in some[mine].nonzero()[0].tolist():
                    p = mine.start + row
                    waiting.append(Waiting(t, row, self._paid(slice(p, p + 1), words, asked)))
            elif some[mine].any():
                waiting.append(Waiting(t, -1, self._paid(mine, words, asked)))
        return closed, waiting

    def _paid(self, which: slice, words: Floats, asked: Floats) -> Floats:
        """What some transfers cost, [resource, mapping]."""
        paid = np.einsum("rp,pn->rn", self.low[:, which], words[which])
        return np.asarray(paid + np.einsum("rp,pn->rn", self.high[:, which], asked[which]))

    def score(self, state: Partial) -> Floats:
        """The objective of complete tilings, [mapping]."""
        return self.partial_score(state, self.count - 1)

    def partial_score(self, state: Partial, k: int) -> Floats:
        """The objective that a partial mapping can still reach, [mapping]; boundary k is crossed, level k has no loops yet."""
        closed, waiting = self.uses(state, k)
        later = self.later[k].take(state.place, axis=1)
        total = np.maximum(self.settled(state, closed, waiting) + later, later)
        return self.objective_of(total, state.parallel, k, self.growth[k][state.place])

    def settled(self, state: Partial, closed: Floats, waiting: list[Waiting]) -> Floats:
        """What the transfers begun so far cost at least, whatever tensor the loops to come leave alone, [resource, mapping]."""
        total, saved = closed.copy(), np.zeros_like(closed)
        for t in {w.tensor for w in waiting}:
            costs = [
                w.cost if w.row < 0 else w.cost * self.least_halo(state.since[w.row], state.place)
                for w in waiting
                if w.tensor == t
            ]
            cost = sum(costs[1:], start=costs[0])
            total += cost
            saved = np.maximum(saved, cost * (1 - self.alone[t, state.place]))
        return np.asarray(total - saved)

    def objective_of(
        self, total: Floats, parallel: Floats, k: int, growth: Floats | float, of: Places | slice = slice(None)
    ) -> Floats:
        """The objective from the use of the resources and the parallelism up to fan-out k, which can still grow.

        `of`: whose parallelism, where it is that of fewer mappings.
        """
        cycles = (self.macs / parallel[k])[of] / growth
        for rows, level in self.paces[k] if len(total) > 1 else ():
            instances = growth if level < 0 else growth * (parallel[k] / parallel[level])[of]
            cycles = np.maximum(cycles, total[rows].max(axis=0) / instances)
        if self.sound:
            cycles = np.ceil(cycles * (1 - 1e-12))
            if self.objective == "latency":
                return np.asarray(cycles)
        energy = total[0] + self.nest.mac_energy
        alike, others = self.leaks[k]  # instances that are in use leak
        if alike:
            energy = energy + alike * cycles
        for m, leak in others:
            energy = energy + leak * cycles * (parallel[k] / parallel[m])[of]
        if self.objective == "energy":
            return np.asarray(energy)
        return np.asarray(cycles * energy if self.objective == "edp" else cycles * (1 + 1e-9 * energy / self.nest.mac_energy))
