"""Link transfers: tiles that neighbouring instances of a fan-out hand on instead of fetching them from the level above.

After Timeloop's `NestAnalysis::ComputeNetworkLinkTransfers`: at a time step an instance takes its delta from a neighbour on the
mesh if that neighbour received exactly the same set of words one step before. It is used at the steps where it lowers the reads
of the level above.

A place in a tensor is one number here, its coordinates being the digits of a system wide enough for all differences: a motion
is a number, too, and places and motions are added as numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hwflow.cost.projection import Shape

if TYPE_CHECKING:
    from hwflow.cost.batch import Spans

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_NOWHERE = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Handed:
    """The mappings in which links save reads, and per instance of the level the reads above, the words delivered from above and
    the words handed on, each [mapping]."""

    index: npt.NDArray[np.intp]
    reads: Floats
    delivered: Floats
    links: Floats


def transfers(shape: Shape, nest: Spans, level: int, index: npt.NDArray[np.intp]) -> Handed:
    """What the instances below `level` hand on, for those of the mappings `index` in which that saves reads.

    A step that moves nothing empties what the neighbours received last, so the innermost loop must move the tile. Below level 0
    is the arithmetic, which keeps nothing and asks for its operands at every step: there every step delivers a whole "tile".

    Args:
        index: mappings without ragged loops.
    """
    memoryless = level == 0
    dim, some = nest.innermost(level)
    index = index[some[index] & (memoryless | shape.relevant[dim[index]])]
    if index.size == 0:
        return Handed(index, np.zeros(0), np.zeros(0), np.zeros(0))
    digits = _digits(shape, nest)
    loops = _Loops(nest, level, index, digits)
    inner, spatial = nest.inner[level][:, index], nest.batch.spatial[level][:, index]
    mesh = _Mesh(spatial, nest.batch.spatial_order[level], digits[:, None] * inner)
    sides = shape.sides(inner)
    tile = sides.prod(axis=0).astype(np.float64)
    partial = tile if memoryless else tile - np.maximum(sides - shape.coefficients @ loops.shift, 0).prod(axis=0)

    # steps of the first loop follow the very first tile, or a step of a loop further out, or one another
    again = loops.bound - 1
    total = tile + again * partial
    following = np.where(partial == tile, again, 0.0)
    jumps = []
    for times, jump in loops.further():
        moved = tile if memoryless else np.where(jump == 0, 0.0, np.where(jump == loops.start, partial, tile))
        total += times * (moved + again * partial)
        like = moved == partial  # the neighbours have received just as much
        following += np.where(like, times * again, 0.0)
        jumps.append((np.where(like, times * moved, 0.0), jump))
    jumps.append((following * partial, loops.start))

    distinct = shape.distinct(spatial, inner)
    reads, delivered, handed = total * distinct, total * mesh.count, np.zeros(index.size)
    used = np.zeros(index.size, dtype=np.bool_)
    for words, motion in jumps:
        some, left, taken = mesh.linked(motion, words > 0)
        spared = distinct[some] - left
        helped = np.where(spared > 0, words[some], 0.0)
        reads[some] -= helped * spared
        delivered[some] -= helped * taken
        handed[some] += helped * taken
        used[some] |= helped > 0
    return Handed(index[used], reads[used], delivered[used], handed[used])


def _digits(shape: Shape, nest: Spans) -> Ints:
    """What a step of one along each dimension adds to a place, [dimension]."""
    reach = 2 * shape.sides(nest.outer[-1].max(axis=1)) - 1
    return np.asarray(np.r_[1, np.cumprod(reach[:-1])] @ shape.coefficients)


class _Loops:
    """The temporal loops above a fan-out, [mapping] unless said otherwise.

    Attributes:
        bound: of the innermost loop, 1 where there is none; `shift`: its step, [dimension, mapping]; `start`: the motion.
    """

    def __init__(self, nest: Spans, level: int, index: npt.NDArray[np.intp], digits: Ints) -> None:
        self.digits = digits
        self.loops = [
            (bound[index], step[index], dim[index])
            for inner in nest.loops[level:]
            for dim, bound, step in zip(inner.dims, inner.bounds, inner.steps, strict=True)
        ]
        self.bound = np.ones(index.size)
        self.shift = np.zeros((len(digits), index.size), dtype=np.int64)
        for bound, step, dim in self.loops:
            first = np.flatnonzero((self.bound == 1) & (bound > 1))
            self.bound[first] = bound[first]
            self.shift[dim[first], first] = step[first]
        self.start: Ints = digits @ self.shift

    def further(self) -> list[tuple[Floats, Ints]]:
        """For each loop outside the innermost one, how often it steps, and by what the tile jumps then."""
        seen, behind = np.zeros(self.start.shape, dtype=np.bool_), self.start
        outside = np.ones(self.start.shape)
        for bound, _, _ in self.loops:
            outside = outside * bound
        result = []
        for bound, step, dim in self.loops:
            outside = outside / bound  # exact: whole numbers
            active = bound > 1
            if (seen & active).any():
                motion = self.digits[dim] * step
                result.append((np.where(seen, (bound - 1) * outside, 0.0), motion - behind))
                behind = behind + np.where(seen & active, motion, 0)
            seen |= active
        return result


class _Mesh:
    """Where the instances of a fan-out have their tiles, [instance, mapping], in the order of the mesh."""

    def __init__(self, spatial: Ints, order: tuple[int, ...], shifts: Ints) -> None:
        """`shifts`: how far neighbours along a dimension are apart, [dimension, mapping]."""
        self.count: Ints = spatial.prod(axis=0)
        left = np.broadcast_to(np.arange(self.count.max())[:, None], (int(self.count.max()), len(self.count)))
        self.exists: Bools = left < self.count
        self.places: Ints = np.zeros(self.exists.shape, dtype=np.int64)
        for d in reversed(order):
            if (spatial[d] > 1).any():
                left, digit = np.divmod(left, spatial[d])
                self.places += digit * shifts[d]
        self.apart = np.where(self.exists[1:], np.diff(self.places, axis=0), _NOWHERE)

    def linked(self, motion: Ints, where: Bools) -> tuple[npt.NDArray[np.intp], Ints, Ints]:
        """The mappings in which neighbours have received tiles, if all move by `motion`; there how many different ones are left
        to read, and how many instances take theirs from a neighbour: the one before or after on the same axis of the mesh."""
        after, before = self.apart == -motion, self.apart == motion
        some = np.flatnonzero(where & (after | before).any(axis=0))
        has = np.zeros((len(self.places), some.size), dtype=np.bool_)
        has[1:] |= after[:, some]
        has[:-1] |= before[:, some]
        left = np.sort(np.where(self.exists[:, some] & ~has, self.places[:, some], _NOWHERE), axis=0)
        distinct = (np.diff(left, axis=0, prepend=-_NOWHERE) != 0) & (left != _NOWHERE)
        return some, distinct.sum(axis=0), has.sum(axis=0)
