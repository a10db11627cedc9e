"""`Batch`: many mappings of one layer as arrays, and what all tensors share in their analysis.

Index conventions: levels run from the innermost (0) outwards; arrays end in the batch axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from hwflow.loopnest.extents import Passes, residuals
from hwflow.loopnest.iterations import Nesting, Step

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Extents = Ints | Floats


@dataclass(frozen=True)
class Batch:
    """Mappings of one layer on one accelerator.

    Attributes:
        temporal: loop bounds, [level, dimension, batch].
        spatial: loop bounds over the fan-out below the level, [level, dimension, batch].
        order: the dimension of the p-th temporal loop of a level, counted from the innermost, [level, p, batch].
        spatial_order: dimensions of the spatial loops, outermost first, the same for all mappings, one tuple a level.
        temporal_last, spatial_last: their residuals, or None where all loops of all mappings are perfect.
    """

    temporal: Ints
    spatial: Ints
    order: npt.NDArray[np.int8]
    spatial_order: tuple[tuple[int, ...], ...]
    temporal_last: Ints | None = None
    spatial_last: Ints | None = None

    @property
    def size(self) -> int:
        """Number of mappings."""
        return int(self.temporal.shape[2])

    def take(self, index: npt.NDArray[np.intp]) -> Batch:
        """The mappings at `index`."""
        last = [None if a is None else a[:, :, index] for a in (self.temporal_last, self.spatial_last)]
        return Batch(self.temporal[:, :, index], self.spatial[:, :, index], self.order[:, :, index], self.spatial_order, *last)

    @property
    def ragged(self) -> Bools:
        """Which mappings have a ragged loop, [batch]."""
        if self.temporal_last is None or self.spatial_last is None:
            return np.zeros(self.size, dtype=np.bool_)
        return np.asarray(
            (self.temporal_last != self.temporal).any(axis=(0, 1)) | (self.spatial_last != self.spatial).any(axis=(0, 1))
        )

    def with_residuals(self, sizes: Ints) -> tuple[Batch, Bools]:
        """The same bounds as loops over `sizes`, ragged where they don't divide; and for which mappings they are such, [batch].

        They are not where a dimension's bounds multiply to less than its size, or its outermost loop is longer than it need be.
        """
        levels = self.temporal.shape[0]
        temporal, spatial = np.ones_like(self.temporal), np.ones_like(self.spatial)
        legal = np.ones(self.size, dtype=np.bool_)
        for d in np.flatnonzero((self.temporal > 1).any(axis=(0, 2)) | (self.spatial > 1).any(axis=(0, 2)) | (sizes > 1)):
            bounds = np.stack([self.spatial[:, d], self.temporal[:, d]], axis=1).reshape(2 * levels, -1)
            last = residuals(bounds, int(sizes[d]))
            outermost = last.shape[0] - 1 - np.argmax(bounds[::-1] > 1, axis=0)
            column = np.arange(self.size)
            legal &= last[outermost, column] == bounds[outermost, column]
            spatial[:, d], temporal[:, d] = last[0::2], last[1::2]
        return replace(self, temporal_last=temporal, spatial_last=spatial), legal


class LevelLoops:
    """The temporal loops of one level in their order, the innermost first: dimension, bound and step, each [p, batch]."""

    def __init__(self, batch: Batch, level: int, spread: Ints, bounds: Extents) -> None:
        """`spread`: what one step of a loop moves by, and `bounds`, both [dimension, batch]."""
        order, column = batch.order[level].astype(np.intp), np.arange(batch.size)
        picked = bounds[order, column]
        used = (picked > 1).any(axis=1).nonzero()[0]
        self.dims, self.bounds = order[used], picked[used]
        self.steps = spread[self.dims, column]


class Spans:
    """What all tensors of a batch share. Lists and arrays are by level, from the innermost outwards.

    Attributes:
        inner, spread, outer: full extents below a level's spatial loops, with these, and with the temporal ones.
        fan, most: instances of a level's fan-out, and of the level, in a full pass.
        spreads: whether any mapping uses a level's fan-out.
        tiles, unions: the largest extents ever held, in one instance and by all of a fan-out together.
        below, across, loops: average extents below a level, average spatial bounds, and temporal loops with average bounds.
        instances, at_work: instances as Timeloop counts them, and as energies are multiplied with.
        cut_off: the fractions of instances at work that Timeloop does not count.
    """

    def __init__(self, batch: Batch, sizes: Ints, *, exact: bool) -> None:
        """`exact`: with Timeloop's whole instances, not with their average."""
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
        self._innermost: dict[int, tuple[npt.NDArray[np.intp], Extents, Ints]] = {}

    def innermost(self, level: int) -> tuple[npt.NDArray[np.intp], Extents, Ints]:
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
        """Words an instance, [level, tensor, batch], averaged over all that work in a full pass."""
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
