"""Tiles of one tensor: their size, how many are distinct, and how many words are new when a loop steps.

The counts are Timeloop's, in closed form; its rules are described in `hwflow.loopnest.nest`. Loop bounds and extents may be
fractions (averages over the passes of ragged loops): the counts are then estimates.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hwflow.arrays import Bools, Floats, Ints
from hwflow.layers import DIMS, Layer, Tensor
from hwflow.loopnest.spans import Extents, LevelLoops

_KEPT = 4096  # projections that are kept: those of the layers of a few networks


def unreached(layer: Layer) -> int:
    """Outputs that no product adds to: those in the gaps of a transposed convolution whose kernel does not fill its stride."""
    return layer.words("outputs") - touched(layer, "outputs")


@functools.lru_cache(maxsize=_KEPT)
def touched(layer: Layer, tensor: Tensor) -> int:
    """Words of a tensor that take part in any product: an input's in the gaps between windows do not."""
    ones = np.ones((len(DIMS), 1), dtype=np.int64)
    return int(shape_of(layer, tensor).distinct(np.array([[layer.dims[d]] for d in DIMS]), ones)[0])


@functools.lru_cache(maxsize=_KEPT)
def shape_of(layer: Layer, tensor: Tensor) -> Shape:
    """The projection of a tensor; the same for all chips."""
    return Shape(layer, tensor)


class Shape:
    """The projection of one tensor, as coefficients [axis, dimension]."""

    def __init__(self, layer: Layer, tensor: Tensor) -> None:
        axes = layer.projections[tensor]
        self.coefficients = np.zeros((len(axes), len(DIMS)), dtype=np.int64)
        for a, axis in enumerate(axes):
            for term in axis:
                self.coefficients[a, DIMS.index(term.dim)] = term.coefficient
        self.relevant: Bools = np.asarray(self.coefficients.any(axis=0))
        # axes along which tiles overlap: only one of several loops moves a window by less than its side
        used = (self.coefficients != 0) & np.array([layer.dims[d] > 1 for d in DIMS])
        self.windows = [a for a in range(len(axes)) if np.count_nonzero(used[a]) > 1]
        in_window = self.coefficients[self.windows].any(axis=0) if self.windows else np.zeros(len(DIMS), dtype=np.bool_)
        self.other: Bools = np.asarray(self.relevant & ~in_window)
        self.apart = self.other.nonzero()[0].tolist()
        self.terms = [[(d, int(row[d])) for d in row.nonzero()[0].tolist()] for row in self.coefficients]
        self.pairs = {a: self.coefficients[a].nonzero()[0].tolist() for a in self.windows}

    def sides(self, extents: Extents) -> npt.NDArray[Any]:
        """Words along each axis of the tile that spans `extents`, [axis, batch]."""
        return np.asarray(1 + self.coefficients @ (extents - 1))

    def words(self, extents: Extents) -> npt.NDArray[Any]:
        """Number of words in the tile that spans `extents`, [batch]."""
        if extents.dtype != np.int64:
            return np.asarray(self.sides(extents).prod(axis=0))
        # whole numbers are not for BLAS, and most axes are a single loop's
        result = np.ones(extents.shape[1], dtype=np.int64)
        for terms in self.terms:
            if len(terms) == 1 and terms[0][1] == 1:
                result *= extents[terms[0][0]]
            else:
                side = np.full(extents.shape[1], 1 - sum(coefficient for _, coefficient in terms))
                for d, coefficient in terms:
                    side += extents[d] if coefficient == 1 else coefficient * extents[d]
                result *= side
        return result

    def distinct(self, spatial: Extents, inner: Ints) -> npt.NDArray[Any]:
        """How many different tiles the instances of a fan-out hold, [batch].

        Along an axis with one spatial loop this is the loop's bound. With two loops, tiles coincide where a i + b j repeats.
        With a = g a', b = g b' and gcd(a', b') = 1 there are f1 f2 - max(0, f1 - b') max(0, f2 - a') different sums; this
        formula is hwflow's own, obtained by counting one representative of each sum.
        """
        result: npt.NDArray[Any] = np.ones(spatial.shape[1], dtype=np.int64)
        for d in self.apart:
            result = result * spatial[d]
        for a in self.windows:
            first, second = self.pairs[a]
            f1, f2 = spatial[first], spatial[second]
            tiles = f1 * f2
            both = ((f1 > 1) & (f2 > 1)).nonzero()[0]  # along one of them alone no tiles coincide
            if len(both):
                f1, f2 = f1[both], f2[both]
                s1 = self.coefficients[a, first] * inner[first, both]
                s2 = self.coefficients[a, second] * inner[second, both]
                g = np.gcd(s1, s2)
                tiles[both] -= np.maximum(0, f1 - s2 // g) * np.maximum(0, f2 - s1 // g)
            result = result * tiles
        return result

    def delivered(
        self, below: Sequence[Extents], loops: Sequence[LevelLoops], boundaries: Collection[int]
    ) -> dict[int, Floats]:
        """Words delivered to one instance below some boundaries, over the temporal loops of all levels above, [batch].

        `below`: extents of the tile below each boundary; `loops`: of the level above it.
        """
        if self.windows:
            return {k: self._windowed(below[k], loops[k:]) for k in boundaries}
        result = {}
        times, product = np.ones(below[0].shape[1]), np.ones(below[0].shape[1])
        for k in reversed(range(len(loops))):
            for dim, bound in zip(loops[k].dims[::-1], loops[k].bounds[::-1], strict=True):
                product = product * bound
                times = np.where(self.relevant[dim] & (bound > 1), product, times)  # if no relevant loop is inside
            if k in boundaries:
                result[k] = self.words(below[k]) * times
        return result

    def _windowed(self, below: Extents, levels: Sequence[LevelLoops]) -> Floats:
        """The same for a tensor with sliding windows and one boundary; see `hwflow.loopnest.nest` for the rule."""
        sides = self.sides(below)
        tile: Floats = sides.prod(axis=0).astype(np.float64)
        extra = np.zeros(tile.shape)  # deltas after the first tile
        moved, elsewhere = np.zeros(tile.shape, dtype=np.bool_), np.zeros(tile.shape, dtype=np.bool_)
        behind = [np.zeros(tile.shape, dtype=np.int64) for _ in self.windows]  # how far the inner loops have moved the tile
        first = [np.zeros(tile.shape, dtype=np.int64) for _ in self.windows]  # the motion of loop m
        partial = tile.copy()  # its delta
        for loops in levels:
            for dim, bound, step in zip(loops.dims, loops.bounds, loops.steps, strict=True):
                active, other = bound > 1, self.other[dim]
                motion = [self.coefficients[a][dim] * step for a in self.windows]
                starts = active & ~moved & self.relevant[dim]
                if np.any(starts):
                    for i, a in enumerate(self.windows):
                        overlap = np.maximum(sides[a] - motion[i], 0)
                        cut = tile - tile / sides[a] * overlap
                        partial = np.where(starts & (motion[i] > 0), cut, partial)
                        first[i] = np.where(starts, motion[i], first[i])
                strange = elsewhere | other
                still, same = ~strange, ~strange
                for i in range(len(self.windows)):
                    jump = motion[i] - behind[i]
                    still &= jump == 0
                    same &= jump == first[i]
                delta = np.where(still, 0.0, np.where(same, partial, tile))
                delta = np.where(starts, partial, np.where(moved, delta, 0.0))
                extra = extra * bound + (bound - 1) * delta
                moved |= starts
                elsewhere |= active & other
                for i in range(len(self.windows)):
                    behind[i] = np.where(active & moved, behind[i] + motion[i], behind[i])
        return tile + extra
