"""Quantities that all tensors share in the analysis of a batch of mappings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hwflow.arrays import Floats, Ints, Places
from hwflow.loopnest.batch import Batch
from hwflow.loopnest.extents import Passes
from hwflow.loopnest.iterations import Nesting, Step

Extents = Ints | Floats


class LevelLoops:
    """The temporal loops of one level in their order, the innermost first: dimension, bound and step, each [p, batch]."""

    def __init__(self, batch: Batch, level: int, spread: Ints, bounds: Extents) -> None:
        """`spread`: how far one step of a loop moves, and `bounds`, both [dimension, batch]."""
        taken = batch.order[level].astype(np.intp) * batch.size + np.arange(batch.size)  # in the flat arrays
        picked = bounds.ravel().take(taken)
        used = (picked > 1).any(axis=1).nonzero()[0]
        self.dims, self.bounds = batch.order[level][used].astype(np.intp), picked[used]
        self.steps = spread.ravel().take(taken[used])


class Spans:
    """What all tensors of a batch share. Lists and arrays are by level, from the innermost outwards.

    Attributes:
        inner, spread, outer: full extents below a level's spatial loops, with these, and with the temporal ones.
        fan, most: active instances of a level's fan-out, and of the level, in a full pass.
        spreads: whether any mapping uses a level's fan-out.
        tiles, unions: the largest extents ever held, in one instance and by all of a fan-out together.
        below, across, loops: average extents below a level, average spatial bounds, and temporal loops with average bounds.
        instances, at_work: active instances as Timeloop counts them, and as it multiplies energies by them.
        cut_off: the fractions of active instances that Timeloop truncates.
    """

    def __init__(self, batch: Batch, sizes: Ints, *, exact: bool) -> None:
        """`exact`: with whole instances, as in Timeloop, instead of their average."""
        count = batch.temporal.shape[0]
        self.batch, self.exact = batch, exact
        self.inner: list[Ints] = [np.ones(batch.temporal.shape[1:], dtype=np.int64)]
        self.spread: list[Ints] = []
        self.outer: list[Ints] = []
        for k in range(count):
            self.spread.append(self.inner[k] * batch.spatial[k])
            self.outer.append(self.spread[k] * batch.temporal[k])
            self.inner.append(self.outer[k])
        self.fan = batch.spatial.prod(axis=1)
        self.most = np.ones_like(self.fan)
        for k in reversed(range(count - 1)):
            self.most[k] = self.most[k + 1] * self.fan[k + 1]
        self.compute_cycles = batch.temporal.prod(axis=(0, 1)).astype(np.float64)
        self.ragged = batch.ragged
        self.passes = Passes.of(batch, sizes) if self.ragged.any() else None

        self.tiles, self.unions = self.outer, self.spread
        self.spreads = (self.fan > 1).any(axis=1)
        self.below: Sequence[Extents] = self.inner
        self.across: Extents = batch.spatial
        self.iterations = self.compute_cycles
        self.instances, self.at_work = self.most, self.most.astype(np.float64)
        self.cut_off = np.zeros(self.at_work.shape)
        bounds: Extents = batch.temporal
        if self.passes is not None:
            self.tiles, self.unions = list(self.passes.outer), list(self.passes.spread)
            self.below, self.across, bounds = list(self.passes.inner), self.passes.spatial, self.passes.temporal
            self.iterations = self.passes.iterations
            self.instances = np.floor(self.passes.instances).astype(np.int64)
            self.at_work = self.instances.astype(np.float64) if exact else self.passes.instances
            self.cut_off = self.passes.instances - self.instances
        self.loops = [LevelLoops(batch, k, self.spread[k], bounds[k]) for k in range(count)]
        self._nestings: dict[int, Nesting] = {}
        self._innermost: dict[int, tuple[Places, Extents, Ints]] = {}

    def innermost(self, level: int) -> tuple[Places, Extents, Ints]:
        """Dimension, bound and step of the innermost temporal loop at a level or above, [batch]; bound 1: there is none."""
        if level not in self._innermost:
            dim, bound, step = np.zeros(self.batch.size, dtype=np.intp), np.ones(self.batch.size), np.zeros_like(self.fan[0])
            for loops in self.loops[level:]:
                for p in range(len(loops.dims)):
                    first = (bound == 1) & (loops.bounds[p] > 1)
                    dim, step = np.where(first, loops.dims[p], dim), np.where(first, loops.steps[p], step)
                    bound = np.where(first, loops.bounds[p], bound)
            self._innermost[level] = dim, bound, step
        return self._innermost[level]

    def shared(self, words: Floats) -> Floats:
        """Words per instance, [level, tensor, batch], averaged over all that are active in a full pass."""
        if self.passes is None:
            return words
        mean = words / (self.most / self.at_work)[:, None]
        return np.asarray(np.ceil(mean) if self.exact else mean)

    def computes(self, macs: int) -> Floats:
        """Multiply-accumulates, [batch], as Timeloop counts them where `exact`."""
        if self.passes is None or not self.exact:
            return np.full(self.batch.size, float(macs))
        return np.where(self.ragged, self.passes.computes, float(macs))

    def nesting(self, index: int) -> Nesting:
        """One mapping's loops, for a walk."""
        if index not in self._nestings:
            batch, levels = self.batch, []
            assert batch.temporal_last is not None
            assert batch.spatial_last is not None
            for k in range(batch.temporal.shape[0]):
                steps = [
                    Step(int(d), int(bounds[k, d, index]), int(last[k, d, index]), spatial, k)
                    for spatial, order, bounds, last in (
                        (True, reversed(batch.spatial_order[k]), batch.spatial, batch.spatial_last),
                        (False, batch.order[k, :, index], batch.temporal, batch.temporal_last),
                    )
                    for d in order
                    if bounds[k, d, index] > 1
                ]
                levels.append(steps)
            self._nestings[index] = Nesting(levels)
        return self._nestings[index]
