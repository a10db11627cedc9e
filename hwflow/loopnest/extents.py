"""Effects of imperfect factors on a whole batch of mappings: tile sizes, iterations, and active instances.

A dimension's loops are walked from the outermost inwards. With `n` iterations so far, a loop of bound e and residual r
makes them (n - 1) e + r, since only the very last is short (Timeloop's `mapping/parser.cpp`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwflow.arrays import Floats, Ints
from hwflow.loopnest.batch import Batch


@dataclass(frozen=True)
class Passes:
    """Arrays [level, dimension, batch] unless said otherwise.

    Attributes:
        outer, spread: extents of the largest tile of a level, with and without its temporal loops.
        inner: average extents of the tile below a level.
        temporal, spatial: average loop bounds.
        instances: average number of active instances, [level, batch]; Timeloop truncates it to a whole number.
        iterations: iterations of the innermost loop in the first instance, [batch].
        computes: multiply-accumulates as Timeloop counts them, with whole instances, [batch].
    """

    outer: Ints
    spread: Ints
    inner: Floats
    temporal: Floats
    spatial: Floats
    instances: Floats
    iterations: Floats
    computes: Floats

    @classmethod
    def of(cls, batch: Batch, sizes: Ints) -> Passes:
        """`sizes`: the sizes of the layer's dimensions."""
        assert batch.temporal_last is not None
        assert batch.spatial_last is not None
        shape = batch.temporal.shape
        levels, size = shape[0], shape[2]
        spread, outer = _largest_tiles(batch)
        before = np.ones(shape[1:], dtype=np.int64)  # iterations of the outer loops
        inner, temporal, spatial = np.empty(shape), np.empty(shape), np.empty(shape)
        instances, product = np.empty((levels, size)), np.ones(size)
        # For the first instance: iterations that are not the last of the dimension, and whether it runs the last one.
        others, last = np.zeros(shape[1:], dtype=np.int64), np.ones(shape[1:], dtype=np.bool_)
        for k in reversed(range(levels)):
            instances[k] = product
            bound, rest = batch.temporal[k], batch.temporal_last[k]
            after = (before - 1) * bound + rest
            temporal[k] = after / before
            others = others * bound + np.where(last, rest - 1, 0)
            if k == 0:
                iterations = (others + last).prod(axis=0).astype(np.float64)
            bound, rest = batch.spatial[k], batch.spatial_last[k]
            wide = product
            for d in batch.spatial_order[k]:
                passes = after[d]
                product = np.where(
                    bound[d] == rest[d], product * bound[d], product * (rest[d] + bound[d] * (passes - 1.0)) / passes
                )
            before = (after - 1) * bound + rest
            spatial[k] = before / after
            inner[k] = sizes[:, None] / before
            if k == 0:
                # Each instance of a fan-out above the MAC units counts separately; Timeloop multiplies their average.
                fan = bound.prod(axis=0)
                together = (others * bound + np.where(last, rest, 0)).prod(axis=0)
                computes = np.where(fan > 1, np.floor(wide * fan) * (together / fan), np.floor(wide) * iterations)
            short = (rest < bound) & (rest == 1)
            others = others + (last & ~short & (bound > 1))
            last = last & (short | (bound == 1))
        return cls(outer, spread, inner, temporal, spatial, instances, iterations, np.floor(computes))


def _largest_tiles(batch: Batch) -> tuple[Ints, Ints]:
    """Extents of full tiles; for a dimension without any outer loop, the size of the whole layer."""
    assert batch.temporal_last is not None
    assert batch.spatial_last is not None
    shape = batch.temporal.shape
    full, rest = np.ones(shape[1:], dtype=np.int64), np.ones(shape[1:], dtype=np.int64)
    spread, outer = np.empty(shape, dtype=np.int64), np.empty(shape, dtype=np.int64)
    further = np.zeros(shape, dtype=np.bool_)
    for k in reversed(range(shape[0] - 1)):
        further[k] = further[k + 1] | (batch.temporal[k + 1] > 1) | (batch.spatial[k + 1] > 1)
    for k in range(shape[0]):
        rest = rest + full * (batch.spatial_last[k] - 1)
        full = full * batch.spatial[k]
        spread[k] = np.where(further[k] | (batch.temporal[k] > 1), full, rest)
        rest = rest + full * (batch.temporal_last[k] - 1)
        full = full * batch.temporal[k]
        outer[k] = np.where(further[k], full, rest)
    return spread, outer
