"""Tiles of one tensor: their size, how many are distinct, and how many words are new when a loop steps.

The counts are Timeloop's, in closed form; its rules are described in `hwflow.loopnest.nest`. Loop bounds and extents may be
fractions (averages over the passes of ragged loops): the counts are then estimates.
"""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from hwflow.arrays import Bools, Floats, Ints
from hwflow.layers import DIMS, Layer, Tensor
from hwflow.loopnest.spans import Extents, Spans

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
        self.terms = [[(d, c) for d, c in enumerate(row) if c] for row in self.coefficients.tolist()]
        self.windows = [a for a, terms in enumerate(self.terms) if sum(layer.dims[DIMS[d]] > 1 for d, _ in terms) > 1]
        in_window = self.coefficients[self.windows].any(axis=0) if self.windows else np.zeros(len(DIMS), dtype=np.bool_)
        self.other: Bools = np.asarray(self.relevant & ~in_window)
        self.apart = self.other.nonzero()[0].tolist()
        self.pairs = {a: [d for d, _ in self.terms[a]] for a in self.windows}

    def sides(self, extents: Extents) -> npt.NDArray[Any]:
        """Words along each axis of the tile that spans `extents`, [axis, batch]."""
        return np.asarray(1 + self.coefficients @ (extents - 1))

    def words(self, extents: Extents) -> npt.NDArray[Any]:
        """Number of words in the tile that spans `extents`, [batch]."""
        if extents.dtype != np.int64:
            return np.asarray(self.sides(extents).prod(axis=0))
        return _product([self._side(terms, extents) for terms in self.terms], extents.shape[1])

    def _side(self, terms: list[tuple[int, int]], extents: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """One of `sides`, of whole numbers, which are not for BLAS."""
        (d, coefficient), *others = terms
        side: npt.NDArray[Any] = extents[d] if coefficient == 1 else extents[d] * coefficient
        for e, further in others:
            side = side + (extents[e] if further == 1 else extents[e] * further)
        beyond = 1 - coefficient - sum([further for _, further in others])
        return side + beyond if beyond else side

    def distinct(self, spatial: Extents, inner: Ints, over: Bools | None = None) -> npt.NDArray[Any]:
        """How many different tiles the instances of a fan-out hold, [batch]; `over`: the dimensions that any mapping spreads.

        Along an axis with one spatial loop this is the loop's bound. With two loops, tiles coincide where a i + b j repeats.
        With a = g a', b = g b' and gcd(a', b') = 1 there are f1 f2 - max(0, f1 - b') max(0, f2 - a') different sums; this
        formula is hwflow's own, obtained by counting one representative of each sum.
        """
        alone, pairs = self.apart, [(a, *self.pairs[a]) for a in self.windows]
        if over is not None:
            met = [pair for pair in pairs if over[pair[1]] and over[pair[2]]]
            alone = [d for d in (*alone, *(d for pair in pairs if pair not in met for d in pair[1:])) if over[d]]
            pairs = met
        result = _product([spatial[d] for d in alone], spatial.shape[1])
        for a, first, second in pairs:
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

    def delivered(self, nest: Spans, words: Mapping[int, npt.NDArray[Any]]) -> dict[int, Floats]:
        """Words delivered to one instance below some boundaries, over the temporal loops of all levels above, [batch].

        `words`: of the tile below each boundary. No element is chosen by a mask here: with masks that no processor predicts,
        NumPy takes ten times as long as with products and maxima.
        """
        if self.windows:
            return self._windowed(nest, words)
        loops = nest.loops
        # Further inside, the product of all bounds outwards only grows: the largest is that at the innermost relevant loop.
        reach = loops.outward * (self.relevant.take(loops.dims) & loops.active)
        times, result, end = np.ones(nest.batch.size), {}, len(reach)
        for k in sorted(words, reverse=True):
            for row in reach[loops.begins[k] : end]:
                np.maximum(times, row, out=times)
            result[k], end = words[k] * times, loops.begins[k]
        return result

    def _windowed(self, nest: Spans, words: Mapping[int, npt.NDArray[Any]]) -> dict[int, Floats]:
        """The same for a tensor with sliding windows; see `hwflow.loopnest.nest` for the rule.

        Positions are numbers whose digits are the coordinates, those along windows first. When a loop steps, the loops inside
        have moved the tile by one step each.
        """
        loops, size = nest.loops, nest.batch.size
        digits, radices = self._digits(nest)
        motion = digits.take(loops.dims)
        motion *= loops.steps
        motion *= loops.active
        jump, moved = 2 * motion, [np.zeros(size, dtype=np.int64)]
        for to, step in zip(jump, motion, strict=True):  # from the position before the loops inside have moved
            moved.append(moved[-1] + step)
            np.subtract(to, moved[-1], out=to)
        first, end, result = np.zeros(size, dtype=np.int64), len(motion), {}
        still = motion == 0
        for k in sorted(words, reverse=True):
            begin = loops.begins[k]
            for step, none in zip(motion[begin:end][::-1], still[begin:end][::-1], strict=True):
                first = step + first * none  # of the innermost loop that moves the tile: m
            end, tile = begin, words[k].astype(np.float64)
            partial = self._renewed(nest.below[k], tile, first, radices)
            back = jump[begin:] == -moved[begin]
            alike = jump[begin:] == first - moved[begin]
            deltas = loops.again[begin:] * (tile * ~(back | alike) + partial * alike)
            extra = np.zeros(size)  # deltas after the first tile
            for bound, delta in zip(loops.times[begin:], deltas, strict=True):
                extra *= bound
                extra += delta
            result[k] = tile + extra
        return result

    def _digits(self, nest: Spans) -> tuple[Ints, list[int]]:
        """What a step of one along each dimension adds to a position, [dimension], and the values of the windows' digits, with
        that of the next one."""
        sides = self._whole_sides(nest.outer[-1].max(axis=1))
        axes = [*self.windows, *(a for a in range(len(sides)) if a not in self.windows)]
        values = list(itertools.accumulate((2 * sides[a] - 1 for a in axes), operator.mul, initial=1))
        return np.asarray(np.array(values[:-1]) @ self.coefficients[axes]), values[: len(self.windows) + 1]

    def _whole_sides(self, extents: Ints) -> list[int]:
        return [1 + sum(c * (int(extents[d]) - 1) for d, c in terms) for terms in self.terms]

    def _renewed(self, below: Extents, tile: Floats, motion: Ints, values: list[int]) -> Floats:
        """Words of a tile that one step of the innermost loop that moves it renews: all, unless it moves along a window."""
        whole = below.dtype == np.int64
        kept: Floats = np.zeros(tile.shape)
        sides = None if whole else self.sides(below)
        for a, value, beyond in zip(self.windows, values, values[1:], strict=False):
            side = self._side(self.terms[a], below) if sides is None else sides[a]
            along = (motion >= value) & (motion < beyond)
            steps = motion // value if value > 1 else motion
            kept += tile / side * np.maximum(side - steps, 0) * along
        return np.asarray((tile - kept) * (motion > 0))


def _product(factors: list[npt.NDArray[Any]], size: int) -> npt.NDArray[Any]:
    if not factors:
        return np.ones(size, dtype=np.int64)
    result = factors[0] * factors[1] if len(factors) > 1 else factors[0].copy()
    for factor in factors[2:]:
        result *= factor
    return result
