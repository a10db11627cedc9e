"""What a partial mapping has cost, and what the rest of it costs at least."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hwflow.cost.lattice import Places, lattice_of, least_of_multiples, spreads
from hwflow.cost.nest import OUTPUTS, Bools, Floats, Nest
from hwflow.cost.partials import Partial
from hwflow.cost.resources import prices, resources_of, transfers_of
from hwflow.dataflow import LevelConstraint
from hwflow.layers import DIMS, TENSORS


class Waiting(NamedTuple):
    """What transfers of a tensor cost that no relevant loop has stepped yet, as if it were not stationary, [resource, mapping].

    `row`: of the transfer's beginnings in `Partial.since`, or -1 where no window slides.
    """

    tensor: int
    row: int
    cost: Floats


class Slide(NamedTuple):
    """A loop along a sliding window: its dimension, the window's other one, and by how much a step moves the window."""

    dim: int
    other: int
    step: int
    window: int


class Order(NamedTuple):
    """What the order of a level's loops can do, by their bounds, [..., tile].

    Attributes:
        share: of the words that a tensor still moves if it is left alone as long as can be, [tensor, tile].
        still: whether it is left alone by all loops; `useful`: whether it is worth choosing, both [tensor, tile].
        first: whether a loop along a sliding window can come before all others that move it, [slide, tile].
    """

    share: Floats
    still: Bools
    useful: Bools
    first: Bools


class Scores:
    """Facts about one layer on one accelerator under a dataflow's constraints, and what partial mappings can still cost.

    With `sound`, scores allow for all of Timeloop's finer rules: no completion of a partial mapping costs less. Tiles are given
    by their places in `lattice`; tables over it end in the axis [tile].

    Attributes:
        idle: product of the extents along which a tensor stays the same, [tensor, tile]; `span`: of all, [tile].
        volume: words of each tensor in a tile, [tensor, tile].
        fits: for each level whether a tile fits it and every level above, [tile]; `rooms`: those that do.
        later: for each level what the transfers that begin there or above cost at least around a tile, [resource, tile].
        ways: for each level with a fan-out the tiles that one step of spatial loops can span.
        growth: how much more parallel the fan-outs above a level make a mapping with this tile at most, [level][tile].
    """

    def __init__(
        self, nest: Nest, constraints: Sequence[LevelConstraint], objective: str, *, sound: bool = False, linked: int = -1
    ) -> None:
        """`linked`: the tensor that MACs right below a fan-out hand on to one another, while it stays, as if they kept it."""
        self.nest, self.objective, self.sound, self.linked = nest, objective, sound, linked
        self.sizes = nest.sizes
        self.count = len(nest.levels)
        self.macs = float(nest.layer.macs)
        sizes = tuple(int(n) for n in self.sizes)
        self.lattice = lattice_of(sizes)
        self.whole = self.lattice.size - 1
        rules = list(reversed(constraints))
        self.temporal = [np.array([d in c.temporal for d in DIMS]) & (self.sizes > 1) for c in rules]
        self.ways = {
            k: self.lattice.places(spreads(sizes, tuple(d in c.spatial for d in DIMS), c.level.fanout))
            for k, c in enumerate(rules)
            if c.level.fanout > 1
        }
        self.relevant = np.array([shape.relevant for shape in nest.shapes])
        self.windowed = next((t for t, shape in enumerate(nest.shapes) if shape.windows), -1)
        self.windows = self._windows()
        self._measure()
        innermost = [tuple(DIMS.index(d) for d in c.innermost) for c in rules]
        known = {dims: self._order(dims) for dims in dict.fromkeys(innermost)}
        self.orders = [known[dims] for dims in innermost]
        self._price()
        self.everywhere = math.prod(level.fanout for level in nest.levels)
        self.fits = self._fits()
        self.rooms = [np.flatnonzero(f) for f in self.fits]
        self.growth = self._growth()
        self.begun: dict[int, tuple[Places, Floats]] = {}
        self.later = self._later()
        self.beaten: dict[int, tuple[Bools, list[tuple[Bools, Places]]]] = {}

    def _windows(self) -> list[tuple[int, tuple[int, int], tuple[int, int]]]:
        """Axis, its two dimensions and their coefficients, of each sliding window."""
        if self.windowed < 0:
            return []
        shape = self.nest.shapes[self.windowed]
        result = []
        for axis in shape.windows:
            first, second = (int(d) for d in np.flatnonzero(shape.coefficients[axis]))
            steps = int(shape.coefficients[axis, first]), int(shape.coefficients[axis, second])
            result.append((axis, (first, second), steps))
        return result

    def _measure(self) -> None:
        """The tables of tiles."""
        extents = {int(d): self.lattice.tiles[d].astype(np.float64) for d in np.flatnonzero(self.sizes > 1)}
        self.extents = extents
        self.idle = np.ones((len(TENSORS), self.lattice.size))
        self.volume = np.ones_like(self.idle)
        self.span = np.ones(self.lattice.size)
        for d, extent in extents.items():
            self.span *= extent
            self.idle[~self.relevant[:, d]] *= extent
        for t, shape in enumerate(self.nest.shapes):
            for axis in shape.coefficients:
                terms = [axis[d] * (extents[int(d)] - 1) for d in np.flatnonzero(axis) if int(d) in extents]
                if terms:
                    self.volume[t] *= 1 + sum(terms)
        # windows that have only one dimension don't slide over themselves
        overlapping = [w for w in self.windows if set(w[1]) <= set(extents)]
        self.slides = [
            Slide(d, other, step, w)
            for w, (_, dims, steps) in enumerate(overlapping)
            for d, other, step in zip(dims, dims[::-1], steps, strict=True)
        ]
        self.sides = np.ones((len(overlapping), self.lattice.size))
        for slide in self.slides:
            self.sides[slide.window] += slide.step * (extents[slide.dim] - 1)
        # a window slides along the innermost loop: with which stationary tensor a dimension's loop can be that
        self.leads = np.array([[t == self.windowed or not self.relevant[t, s.dim] for t in range(3)] for s in self.slides])

    def _order(self, innermost: tuple[int, ...]) -> Order:
        """What orders can do at a level whose innermost loops are these."""
        idle = self.idle.copy()
        for t in range(len(TENSORS)):
            moved = np.zeros(self.lattice.size, dtype=np.bool_)
            for d in innermost:
                if d in self.extents and self.relevant[t, d]:
                    inside = innermost[: innermost.index(d)]
                    alone = math.prod(self.extents[e] for e in inside if e in self.extents and not self.relevant[t, e])
                    idle[t] = np.where(~moved & (self.extents[d] > 1), alone, idle[t])
                    moved |= self.extents[d] > 1
        useful = (idle > 1) | (self.span == 1)
        if self.windowed >= 0:
            useful[self.windowed] = True
        first = np.ones((len(self.slides), self.lattice.size), dtype=np.bool_)
        for s, slide in enumerate(self.slides):
            for d in innermost[: innermost.index(slide.dim) if slide.dim in innermost else None]:
                if d in self.extents and self.relevant[self.windowed, d]:
                    first[s] &= self.extents[d] == 1
        return Order(1 / idle, idle == self.span, useful, first)

    def _price(self) -> None:
        """Transfers and resources as arrays, [resource, transfer]; bandwidths' prices are cycles, energy comes first."""
        self.transfers = transfers_of(self.nest)
        resources = resources_of(self.nest, self.transfers)
        self.low, self.high, self.spared_low, self.spared_high = (
            np.array([prices(r)[i] / r.limit for r in resources]) for i in range(4)
        )
        self.levels = [r.level for r in resources]
        ends = np.searchsorted([t.tensor for t in self.transfers], range(len(TENSORS) + 1))
        self.of = [slice(int(a), int(b)) for a, b in itertools.pairwise(ends)]  # the transfers of each tensor
        table = self.nest.table.parts
        self.leaks = [
            (k, table[level.memory.name].leak)
            for k, level in enumerate(self.nest.levels)
            if level.memory is not None and table[level.memory.name].leak
        ]
        fans = [level.fanout for level in self.nest.levels]
        self.future = np.array(  # instances below a transfer's fan-outs above level k, [level, transfer, 1]
            [[[math.prod(fans[max(k, t.low) + 1 : t.high + 1])] for t in self.transfers] for k in range(self.count)],
            dtype=np.float64,
        )
        # by level that mappings have reached: fan-outs so far, transfers that have begun, and those that cross such a fan-out
        moves = list(enumerate(self.transfers))
        self.fans = [[m for m in range(k + 1) if m in self.ways] for k in range(self.count)]
        self.open = [[p for p, t in moves if t.low <= k] for k in range(self.count)]
        self.shared = [[p for p, t in moves if any(t.low < m <= t.high for m in fans)] for fans in self.fans]
        # bandwidths whose memories have as many instances in use as each other, for each level that the mapping has reached
        self.paces = [self._paces(k) for k in range(self.count)]

    def _paces(self, k: int) -> list[tuple[slice, int]]:
        """Runs of resources, and a level with as many instances, or -1 where that is all of them up to level k."""
        result: list[tuple[slice, int]] = []
        for r, level in enumerate(self.levels[1:], start=1):
            between = [m for m in range(level + 1, k + 1) if m in self.ways]
            like = between[0] - 1 if between else -1
            if result and result[-1][1] == like:
                result[-1] = slice(result[-1][0].start, r + 1), like
            else:
                result.append((slice(r, r + 1), like))
        return result

    def _fits(self) -> list[Bools]:
        fits = np.ones(self.lattice.size, dtype=np.bool_)
        result: list[Bools] = []
        for k in reversed(range(self.count)):
            memory = self.nest.levels[k].memory
            if memory is not None and memory.words is not None:
                room = int(memory.words // memory.buffering)
                fits = fits & (self.volume[self.nest.keep[k]].sum(axis=0) <= room)
            result.append(fits)
        return result[::-1]

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

    # Windows ---------------------------------------------------------------------------------------------------------

    def overlap(self, slide: Slide, since: Places, place: Places) -> Floats:
        """The share of the tile `since` that a step of the loop outside the tile `place` renews, [..., mapping]."""
        side = self.sides[slide.window][since]
        return np.asarray(1 - np.maximum(side - slide.step * self.extents[slide.dim][place], 0) / side)

    def renewed(self, slide: Slide, part: Floats, place: Places, loops: Places) -> Floats:
        """The share renewed on average by all steps of the `loops` outside the tile `place`, where each renews `part`.

        Timeloop forgets all but the last two tiles: a loop of the window's other dimension that undoes a motion is free. Then
        only the first loop's own steps count, at least every second one; sound scores allow for that.
        """
        bound = self.extents[slide.dim][loops]
        if self.sound:
            undone = np.where(self.extents[slide.other][place] < self.sizes[slide.other], 0.5, 1.0)
            return np.where(bound > 1, part * undone, 1.0)
        return np.asarray(part + (1 - part) / bound)

    def least_halo(self, since: Places, place: Places) -> Floats:
        """The least share of a window's tile that a step of any loop still open renews, [..., mapping]."""
        least = np.ones(since.shape)
        for slide in self.slides:
            share = self.renewed(slide, self.overlap(slide, since, place), place, self.whole - place)
            least = np.minimum(least, share)
        return least

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
