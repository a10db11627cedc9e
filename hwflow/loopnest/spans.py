"""Quantities that all tensors share in the analysis of a batch of mappings."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from hwflow.arrays import Bools, Floats, Ints, Places
from hwflow.loopnest.batch import Batch
from hwflow.loopnest.extents import Passes
from hwflow.loopnest.iterations import Nesting, Step

Extents = Ints | Floats


class TemporalLoops:
    """The temporal loops of all levels in their order, the innermost first; arrays [loop, batch].

    A row may have a different dimension in every mapping. Rows in which no mapping has a loop are left out.

    Attributes:
        dims, bounds: of the loops; a bound of 1 is none.
        steps: how far one step of a loop moves along its dimension.
        begins: by level, the first row of the level.
    """

    def __init__(self, batch: Batch, spread: Sequence[Ints], bounds: Extents, looped: Sequence[bool]) -> None:
        """`spread`: extents below a level's temporal loops; `looped`: whether a level has any."""
        column = np.arange(batch.size)
        dims, picked, steps = [], [], []
        self.begins = [0]
        for k, order in enumerate(batch.order):
            if looped[k]:
                taken = order.astype(np.intp)
                some = taken * batch.size
                some += column  # places in the flat arrays
                values = bounds[k].ravel().take(some)
                used = (values > 1).any(axis=1)
                if not used.all():
                    taken, some, values = taken[used], some[used], values[used]
                dims.append(taken)
                picked.append(values)
                steps.append(spread[k].ravel().take(some))
            self.begins.append(self.begins[-1] + (len(dims[-1]) if looped[k] else 0))
        none = np.zeros((0, batch.size), dtype=np.int64)
        self.dims: Places = np.concatenate([none, *dims])
        self.bounds: Extents = np.concatenate([none.astype(bounds.dtype), *picked])
        self.steps: Ints = np.concatenate([none, *steps])

    @cached_property
    def active(self) -> Bools:
        """Whether there is a loop."""
        return np.asarray(self.bounds > 1)

    @cached_property
    def times(self) -> Floats:
        """The bounds as floats."""
        return self.bounds.astype(np.float64)

    @cached_property
    def again(self) -> Floats:
        """Steps after the first one."""
        return np.asarray(self.times - 1)

    @cached_property
    def outward(self) -> Floats:
        """The product of a loop's bound and those of all loops outside it."""
        result = np.empty(self.times.shape)
        product = np.ones(self.times.shape[1])
        for row, bound in zip(result[::-1], self.times[::-1], strict=True):
            product = np.multiply(product, bound, out=row)
        return result


class Spans:
    """What all tensors of a batch share. Lists and arrays are by level, from the innermost outwards.

    Attributes:
        inner, spread, outer: full extents below a level's spatial loops, with these, and with the temporal ones.
        fan, most: active instances of a level's fan-out, and of the level, in a full pass.
        over: whether any mapping spreads a dimension over a level's fan-out, [level, dimension]; `spreads`: whether any spreads
            one at all; `several`: whether any does above the level.
        tiles, unions: the largest extents ever held, in one instance and by all of a fan-out together.
        below, across: average extents below a level, and average spatial bounds; `loops`: with average bounds.
        instances, at_work: active instances as Timeloop counts them, and as it multiplies energies by them.
        cut_off: the fractions of active instances that Timeloop truncates.
    """

    def __init__(self, batch: Batch, sizes: Ints, *, exact: bool) -> None:
        """`exact`: with whole instances, as in Timeloop, instead of their average."""
        count = batch.temporal.shape[0]
        self.batch, self.exact = batch, exact
        self.over: Bools = np.asarray((batch.spatial > 1).any(axis=2))
        inside: Bools = np.asarray((batch.temporal > 1).any(axis=2))  # in two steps, which NumPy does four times as fast
        looped: list[bool] = np.asarray(inside.any(axis=1)).tolist()
        self.spreads: list[bool] = np.asarray(self.over.any(axis=1)).tolist()
        self.several = [any(self.spreads[k + 1 :]) for k in range(count)]
        self.inner: list[Ints] = [np.ones(batch.temporal.shape[1:], dtype=np.int64)]
        self.spread: list[Ints] = []
        self.outer: list[Ints] = []
        self.fan: Ints = np.ones((count, batch.size), dtype=np.int64)
        for k in range(count):
            self.spread.append(self.inner[k] * batch.spatial[k] if self.spreads[k] else self.inner[k])
            self.outer.append(self.spread[k] * batch.temporal[k] if looped[k] else self.spread[k])
            self.inner.append(self.outer[k])
            for d in self.over[k].nonzero()[0].tolist():
                self.fan[k] *= batch.spatial[k, d]
        self.most: Ints = np.ones_like(self.fan)
        for k in reversed(range(count - 1)):
            np.multiply(self.most[k + 1], self.fan[k + 1], out=self.most[k])
        self.ragged = batch.ragged
        self.passes = Passes.of(batch, sizes) if batch.temporal_last is not None and self.ragged.any() else None

        self.tiles, self.unions = self.outer, self.spread
        self.below: Sequence[Extents] = self.inner
        self.across: Extents = batch.spatial
        self.instances, self.at_work = self.most, self.most.astype(np.float64)
        if self.passes is None:
            self.loops = TemporalLoops(batch, self.spread, batch.temporal, looped)
            self.compute_cycles = np.multiply.reduce(self.loops.bounds, axis=0).astype(np.float64)
            self.iterations, self.cut_off = self.compute_cycles, np.zeros(self.at_work.shape)
        else:
            self.tiles, self.unions = list(self.passes.outer), list(self.passes.spread)
            self.below, self.across = list(self.passes.inner), self.passes.spatial
            self.loops = TemporalLoops(batch, self.spread, self.passes.temporal, looped)
            self.compute_cycles = batch.temporal.prod(axis=(0, 1)).astype(np.float64)
            self.iterations = self.passes.iterations
            self.instances = np.floor(self.passes.instances).astype(np.int64)
            self.at_work = self.instances.astype(np.float64) if exact else self.passes.instances
            self.cut_off = self.passes.instances - self.instances
        self._nestings: dict[int, Nesting] = {}
        self._innermost: dict[int, tuple[Places, Extents, Ints]] = {}

    def innermost(self, level: int) -> tuple[Places, Extents, Ints]:
        """Dimension, bound and step of the innermost temporal loop at a level or above, [batch]; bound 1: there is none."""
        if level not in self._innermost:
            begin, column = self.loops.begins[level], np.arange(self.batch.size)
            if begin == len(self.loops.bounds):
                self._innermost[level] = np.zeros_like(column), np.ones(self.batch.size), np.zeros_like(self.fan[0])
            else:
                row = begin + self.loops.active[begin:].argmax(axis=0)
                self._innermost[level] = (
                    self.loops.dims[row, column],
                    self.loops.bounds[row, column],
                    self.loops.steps[row, column],
                )
        return self._innermost[level]

    def shared(self, words: Floats, level: int) -> Floats:
        """Words per instance of a level, [batch], averaged over all that are active in a full pass."""
        if self.passes is None:
            return words
        mean = words / (self.most[level] / self.at_work[level])
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
