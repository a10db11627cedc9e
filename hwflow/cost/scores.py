"""What a partial mapping has cost, and what the rest of it costs at least."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hwflow.cost.lattice import Places, least_of_multiples
from hwflow.cost.nest import OUTPUTS, Bools, Floats, Nest
from hwflow.cost.partials import Partial
from hwflow.cost.tables import Tables
from hwflow.dataflow import LevelConstraint
from hwflow.layers import TENSORS


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
        growth: how much more parallel the fan-outs above a level make a mapping with this tile at most, [level][tile].
    """

    def __init__(
        self, nest: Nest, constraints: Sequence[LevelConstraint], objective: str, *, sound: bool = False, linked: int = -1
    ) -> None:
        """`linked`: the tensor that MACs right below a fan-out hand on to one another, while it stays, as if they kept it."""
        super().__init__(nest, constraints, sound=sound)
        self.objective, self.linked = objective, linked
        self.growth = self._growth()
        self.begun: dict[int, tuple[Places, Floats]] = {}
        self.later = self._later()
        self.beaten: dict[int, tuple[Bools, list[tuple[Bools, Places]]]] = {}

    def _growth(self) -> list[Floats]:
        growth = np.ones(self.lattice.size)
        result = [growth]
        for k in reversed(range(1, self.count)):
            if k in self.ways:
                widest = np.ones(self.lattice.size)
                widest[self.whole - self.ways[k]] = self.span[self.ways[k]]
                growth = growth * -least_of_multiples(-widest, self.lattice)
            result.append(growth)
        return result[::-1]

    def _begun(self, k: int) -> tuple[Places, Floats]:
        """Resources that the transfers that begin at level k use, and how much at least around the tiles of its room,
        [stationary tensor, resource, tile]."""
        begun, tiles = [p for p, t in enumerate(self.transfers) if t.low == k], self.rooms[k]
        which = np.flatnonzero((self.low[:, begun] + self.high[:, begun]).any(axis=1))
        moving = np.zeros((len(which), len(tiles)))  # if its tensor is not the stationary one
        saved = np.zeros((len(TENSORS), *moving.shape))
        copies = math.prod(self.nest.levels[m].fanout for m in range(k + 1, self.count))
        for p in begun:
            t = self.transfers[p].tensor
            words = self.volume[t, tiles] * (self.macs / self.span[tiles])
            if t == self.windowed:
                words = words * self.least_halo(tiles, tiles)
            stays = words * (self.idle[t, tiles] / self.idle[t, -1])
            fans = self.future[0, p, 0]
            price = self.low[:, p] + self.high[:, p] / fans
            spared = self.volume[t, -1] * copies * (self.spared_low[:, p] + self.spared_high[:, p] / fans)
            for i, r in enumerate(which):
                if price[r]:
                    moved = np.maximum(words * price[r] - spared[r], 0.0)
                    moving[i] += moved
                    saved[t, i] += moved - np.maximum(stays * price[r] - spared[r], 0.0)
        return which, np.asarray(moving - saved)

    def _later(self) -> list[Floats]:
        """The least over all multiples of a tile: the loops above make it one of these."""
        total = np.zeros((len(self.levels), self.lattice.size))
        later = [total]
        for k in reversed(range(self.count)):
            if any(t.low == k for t in self.transfers):
                which, begun = self.begun[k] = self._begun(k)
                least = np.full((len(which), self.lattice.size), np.inf)
                least[:, self.rooms[k]] = begun.min(axis=0)
                total = total.copy()
                total[which] += least_of_multiples(least, self.lattice)
            later.append(total)
        return later[::-1]

    def opened(self, k: int, at: Places | slice = slice(None)) -> Floats:
        """What the transfers that begin at level k or above cost at least around tiles `at` of its room, by the tensor that the
        loops right outside leave alone, [tensor, resource, tile]."""
        opened = np.repeat(self.later[k + 1][None, :, self.rooms[k][at]], len(TENSORS), axis=0)
        if k in self.begun:
            which, begun = self.begun[k]
            opened[:, which] += begun[:, :, at]
        return opened

    # Partial mappings ------------------------------------------------------------------------------------------------

    def uses(self, state: Partial, k: int) -> tuple[Floats, list[Waiting]]:
        """Per resource, what the transfers from below level k cost: closed ones, [resource, mapping], the elided first writes
        subtracted, and those that wait."""
        cast = state.cast * self.future[k]
        asked = state.words / cast
        waits = state.waits
        words_closed, asked_closed = np.where(waits, 0.0, state.words), np.where(waits, 0.0, asked)
        closed = self._paid(slice(0, self.of[OUTPUTS].start), words_closed, asked_closed)
        whole, upper = self.volume[OUTPUTS, -1], np.ones(state.size)
        for p in reversed(range(len(self.transfers))[self.of[OUTPUTS]]):
            above = upper * cast[p]
            if self.transfers[p].low <= k:
                low, high = self.low[:, p, None], self.high[:, p, None]
                spared_low, spared_high = self.spared_low[:, p, None], self.spared_high[:, p, None]
                into = low * words_closed[p] - spared_low * (whole * above)
                out_of = high * asked_closed[p] - spared_high * (whole * upper)
                # the fan-outs still to come are taken at their widest, which may spare more reads than there are
                least = np.maximum(into, 0.0) + np.maximum(out_of, (high - spared_high) * asked_closed[p])
                closed += np.where(waits[p], into + out_of, least)
            upper = above
        some = np.asarray(waits.any(axis=1))
        if not some.any():
            return closed, []
        words, asked, waiting = state.words - words_closed, asked - asked_closed, []
        for t, mine in enumerate(self.of):
            if self.slides and t == self.windowed:
                for row in np.flatnonzero(some[mine]).tolist():
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
        later = self.later[k][:, state.place]
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
            saved = np.maximum(saved, cost * (1 - self.idle[t, state.place] / self.idle[t, -1]))
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
        for m, leak in self.leaks:  # instances that are in use leak
            energy = energy + leak * cycles * ((parallel[k] / parallel[m])[of] if m < k else 1.0)
        if self.objective == "energy":
            return np.asarray(energy)
        return np.asarray(cycles * energy if self.objective == "edp" else cycles * (1 + 1e-9 * energy / self.nest.mac_energy))
