"""Facts about one layer on one accelerator: what tiles hold, what orders of loops can do, what transfers cost."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hwflow.hardware.dataflow import LevelConstraint
from hwflow.layers import DIMS, TENSORS
from hwflow.loopnest.nest import OUTPUTS, Bools, Floats, Nest
from hwflow.mapper.resources import prices_of
from hwflow.mapper.tile_lattice import Places, lattice_of, spreads


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


class Tables:
    """Facts about one layer on one accelerator under a dataflow's constraints.

    Tiles are given by their places in `lattice`; tables over it end in the axis [tile].

    Attributes:
        waste: by how much padding enlarges the tile's layer, [tile].
        idle: product of the extents along which a tensor stays the same, [tensor, tile]; `alone`: its ratio to that of the
            whole layer; `span`: product of all extents, [tile].
        volume: words of each tensor in a tile, [tensor, tile]; `final`: of the layer's outputs, less what padding adds, [tile].
        skips: for some dimensions the tiles of which a multiple along it can cost more, [tile].
        fits: for each level whether a tile fits it and every level above, [tile].
        reach: for each level the dimensions that loops up to it can have; `spans`: whether a tile spans no others, [tile].
        rooms: for each level the tiles that it can have.
        from_here: for each level whether its temporal loops and the loops above it can complete a tile, [tile];
            `from_above`: the latter alone.
        ways: for each level with a fan-out the tiles that its spatial loops can span.
        orders: for each level; `forced`: whether its innermost loops are given.
    """

    def __init__(
        self, nest: Nest, constraints: Sequence[LevelConstraint], *, sound: bool, padded: Sequence[tuple[int, ...]] = ()
    ) -> None:
        """`sound`: whether windows are counted so that no mapping moves fewer words; `padded`: sizes to take instead of the
        layer's, one or several."""
        self.nest, self.sound = nest, sound
        self.sizes = nest.sizes
        self.count = len(nest.levels)
        self.macs = float(nest.layer.macs)
        layers = padded or [tuple(int(n) for n in self.sizes)]
        self.lattice = lattice_of(*layers)
        rules = list(reversed(constraints))
        self.temporal = [np.array([d in c.temporal for d in DIMS]) & (self.sizes > 1) for c in rules]
        self.ways = {k: self._spreads(layers, c) for k, c in enumerate(rules) if c.level.fanout > 1}
        self.relevant = np.array([shape.relevant for shape in nest.shapes])
        self.windowed = next((t for t, shape in enumerate(nest.shapes) if shape.windows), -1)
        self.windows = self._windows()
        self._measure()
        innermost = [tuple(DIMS.index(d) for d in c.innermost) for c in rules]
        self.forced = [any(d in self.extents for d in dims) for dims in innermost]
        known = {dims: self._order(dims) for dims in dict.fromkeys(innermost)}
        self.orders = [known[dims] for dims in innermost]
        self._price()
        self.fits = self._fits()
        self.reach, self.spans = self._reachable(rules)
        self.rooms = [(f & s).nonzero()[0] for f, s in zip(self.fits, self.spans, strict=True)]
        self.from_here, self.from_above = self._completable(rules)

    def _spreads(self, layers: Sequence[tuple[int, ...]], rule: LevelConstraint) -> Places:
        """The tiles that the loops over a fan-out can span."""
        allowed = tuple(d in rule.spatial for d in DIMS)
        return np.concatenate([self.lattice.places(spreads(n, allowed, rule.level.fanout), i) for i, n in enumerate(layers)])

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
            for t in range(len(TENSORS)):
                if not self.relevant[t, d]:
                    self.idle[t] *= extent
        for t, shape in enumerate(self.nest.shapes):
            for axis in shape.coefficients:
                terms = [axis[d] * (extents[int(d)] - 1) for d in np.flatnonzero(axis) if int(d) in extents]
                if terms:
                    self.volume[t] *= 1 + sum(terms)
        self.waste, self.final, self.alone = np.empty_like(self.span), np.empty_like(self.span), np.empty_like(self.idle)
        for start, stop, _ in self.lattice.parts:
            self.waste[start:stop] = self.span[stop - 1] / float(self.sizes.prod())
            self.final[start:stop] = self.volume[OUTPUTS, stop - 1] / self.waste[start]
            self.alone[:, start:stop] = self.idle[:, start:stop] / self.idle[:, stop - 1, None]
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
        self.skips = self._skipping()
        # a window slides along the innermost loop: with which stationary tensor a dimension's loop can be that
        self.leads = np.array([[t == self.windowed or not self.relevant[t, s.dim] for t in range(3)] for s in self.slides])

    def _skipping(self) -> dict[int, Bools]:
        """For some dimensions the tiles outside which a step of the dimension leaves words out, so that the hull of a larger
        tile holds words that nobody wants. Elsewhere larger tiles never cost more (ours):

        Where b tiles of e steps of c words sweep over an axis, of which the other dimensions span s words, each renews c e
        words, or all its s + c (e - 1) if it starts anew. Over all of b e steps the first is always as much, and the second the
        less the larger e is, as long as s >= c. (Sound scores are not so even where windows slide.)
        """
        skips: dict[int, Bools] = {}
        for shape in self.nest.shapes:
            for axis in shape.coefficients:
                for d in (int(d) for d in np.flatnonzero(axis > 1) if int(d) in self.extents):
                    others = [axis[e] * (self.extents[e] - 1) for e in self.extents if e != d and axis[e]]
                    skips[d] = skips.get(d, False) | (1 + sum(others, np.zeros(self.lattice.size)) < axis[d])
        if self.sound:
            skips |= {slide.dim: np.ones(self.lattice.size, dtype=np.bool_) for slide in self.slides}
        return skips

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
        self.transfers, self.levels, (self.low, self.high, self.spared_low, self.spared_high) = prices_of(self.nest)
        ends = np.searchsorted([t.tensor for t in self.transfers], range(len(TENSORS) + 1))
        self.of = [slice(int(a), int(b)) for a, b in itertools.pairwise(ends)]  # the transfers of each tensor
        table = self.nest.table.parts
        leaks = [table[level.memory.name].leak if level.memory is not None else 0.0 for level in self.nest.levels]
        self.leaks = [self._leaks(k, leaks) for k in range(self.count)]
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

    def _leaks(self, k: int, leaks: list[float]) -> tuple[float, list[tuple[int, float]]]:
        """What instances leak in a cycle, for mappings that have reached level k: all those of levels with as many in use as
        there, and by the level where that is not so."""
        alike, others = sum(leaks[k:]), []
        for m in range(k):
            if any(f in self.ways for f in range(m + 1, k + 1)):
                others.append((m, leaks[m]))
            else:
                alike += leaks[m]
        return alike, [(m, leak) for m, leak in others if leak]

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

    def _reachable(self, rules: Sequence[LevelConstraint]) -> tuple[list[Bools], list[Bools]]:
        """For each level the dimensions that loops up to it can have, and which tiles span no other."""
        dims = np.zeros(len(DIMS), dtype=np.bool_)
        reach: list[Bools] = []
        for k, rule in enumerate(rules):
            dims = dims | self.temporal[k] | (np.array([d in rule.spatial for d in DIMS]) & (k in self.ways) & (self.sizes > 1))
            reach.append(dims)
        known = {bytes(dims): self.lattice.spanning(dims) for dims in reach}
        return reach, [known[bytes(dims)] for dims in reach]

    def _completable(self, rules: Sequence[LevelConstraint]) -> tuple[list[Bools], list[Bools]]:
        """A dimension that no loop above a level may have must be whole below it, or the search keeps what leads nowhere."""
        later = np.zeros(len(DIMS), dtype=np.bool_)
        here: list[Bools] = []
        above: list[Bools] = []
        for k in reversed(range(self.count)):
            above.append(self._whole_along(~later))
            later = later | self.temporal[k]
            here.append(self._whole_along(~later))
            if k in self.ways:
                later = later | np.array([d in rules[k].spatial for d in DIMS])
        return here[::-1], above[::-1]

    def _whole_along(self, dims: Bools) -> Bools:
        """Which tiles have all of these dimensions."""
        bits = self.lattice.bits(dims)
        return np.asarray((self.lattice.masks & bits) == bits)

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
            share = self.renewed(slide, self.overlap(slide, since, place), place, self.lattice.rest[place])
            least = np.minimum(least, share)
        return least
