"""Link transfers: tiles that neighbouring instances of a fan-out forward instead of reading them from the memory above.

After Timeloop's `NestAnalysis::ComputeNetworkLinkTransfers`: at a time step an instance takes its delta from a neighbour on the
mesh if that neighbour received exactly the same set of words one step before. It is used at the steps where it lowers the reads
of the level above.

A position in a tensor is encoded as one number whose digits are the coordinates, in a radix wide enough for all differences.
Motions are encoded alike, so positions and motions are added as numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hwflow.arrays import Bools, Floats, Ints, Places
from hwflow.loopnest.tiles import Shape

if TYPE_CHECKING:
    from hwflow.loopnest.spans import Spans


_NOWHERE = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Handed:
    """The mappings in which links save reads, with the reads above, the words delivered from above and the words forwarded, per
    instance of the level, each [mapping]."""

    index: Places
    reads: Floats
    delivered: Floats
    links: Floats


def transfers(shape: Shape, nest: Spans, level: int, index: Places) -> Handed:
    """What the instances below `level` forward, for those of the mappings `index` in which forwarding saves reads.

    A step without motion clears what the neighbours received last, so the innermost loop must move the tile. Below level 0 are
    the MAC units, which keep nothing and read their operands at every step: there every step delivers a whole "tile".

    Args:
        index: mappings without ragged loops.
    """
    memoryless = level == 0
    dim, bound, shift = nest.innermost(level)
    index = index[(bound[index] > 1) & (memoryless | shape.relevant[dim[index]])]
    if index.size == 0:
        return Handed(index, np.zeros(0), np.zeros(0), np.zeros(0))
    inner, spatial = nest.inner[level][:, index], nest.batch.spatial[level][:, index]
    digits = _digits(shape, nest)
    sides = shape.sides(inner)
    tile = sides.prod(axis=0).astype(np.float64)
    first, again = dim[index], bound[index] - 1
    over = np.maximum(sides - shape.coefficients[:, first] * shift[index], 0).prod(axis=0)
    partial = tile if memoryless else tile - over

    # Timeloop simulates two steps of each loop: when one advances, the loops inside have moved the tile by one step each.
    begin = nest.loops.begins[level]
    dims, bounds, steps = (a[begin:, index] for a in (nest.loops.dims, nest.loops.bounds, nest.loops.steps))
    active = bounds > 1
    motion = np.where(active, digits[dims] * steps, 0)
    jump = 2 * motion - motion.cumsum(axis=0)
    row, start = active.argmax(axis=0), digits[first] * shift[index]
    further = active & (np.arange(len(active))[:, None] > row)
    times = np.where(further, (bounds - 1) * (bounds.prod(axis=0) / bounds.cumprod(axis=0, dtype=np.float64)), 0.0)
    moved = tile if memoryless else np.where(jump == 0, 0.0, np.where(jump == start, partial, tile))
    # A step of the first loop follows the very first tile, a step of an outer loop, or another step of its own.
    total = tile + again * partial + (times * (moved + again * partial)).sum(axis=0)
    like = moved == partial  # the neighbours have received equally many words
    words = np.where(like, times * moved, 0.0)
    words[row, np.arange(index.size)] = again * partial * ((partial == tile) + np.where(like, times, 0.0).sum(axis=0))

    mesh = _Mesh(spatial, nest.batch.spatial_order[level], digits[:, None] * inner)
    column, words, left, taken = mesh.linked(jump, words)
    distinct = shape.distinct(spatial, inner)
    spared = distinct[column] - left
    words = np.where(spared > 0, words, 0.0)
    fewer, handed = (np.bincount(column, words * each, index.size).astype(np.float64) for each in (spared, taken))
    some = fewer > 0
    reads, delivered = total * distinct - fewer, total * mesh.count - handed
    return Handed(index[some], reads[some], delivered[some], handed[some])


def _digits(shape: Shape, nest: Spans) -> Ints:
    """What a step of one along each dimension adds to a position, [dimension]."""
    reach = 2 * shape.sides(nest.outer[-1].max(axis=1)) - 1
    return np.asarray(np.r_[1, np.cumprod(reach[:-1])] @ shape.coefficients)


class _Mesh:
    """Positions of the tiles of a fan-out's instances, [instance, mapping], in mesh order."""

    def __init__(self, spatial: Ints, order: tuple[int, ...], shifts: Ints) -> None:
        """`shifts`: distance between neighbours along a dimension, [dimension, mapping]."""
        self.count: Ints = spatial.prod(axis=0)
        left = np.broadcast_to(np.arange(self.count.max())[:, None], (int(self.count.max()), len(self.count)))
        self.exists: Bools = left < self.count
        self.places: Ints = np.zeros(self.exists.shape, dtype=np.int64)
        for d in reversed(order):
            if (spatial[d] > 1).any():
                left, digit = np.divmod(left, spatial[d])
                self.places += digit * shifts[d]
        self.apart = np.where(self.exists[1:], np.diff(self.places, axis=0), _NOWHERE)

    def linked(self, motions: Ints, words: Floats) -> tuple[Places, Floats, Ints, Ints]:
        """The cases in which neighbours hold what other instances need when all tiles move by `motions` and each instance
        receives `words`, both [loop, mapping]: the mapping, the words, the number of different tiles still to be read, and how
        many instances are served by the previous or next neighbour on the mesh, [case]."""
        near = ((self.apart == motions[:, None]) | (self.apart == -motions[:, None])).any(axis=1)
        row, column = np.nonzero((words > 0) & near)
        motion, apart, places = motions[row, column], self.apart[:, column], self.places[:, column]
        has = np.zeros(places.shape, dtype=np.bool_)
        has[1:] |= apart == -motion
        has[:-1] |= apart == motion
        left = np.sort(np.where(self.exists[:, column] & ~has, places, _NOWHERE), axis=0)
        distinct = (np.diff(left, axis=0, prepend=-_NOWHERE) != 0) & (left != _NOWHERE)
        return column, words[row, column], distinct.sum(axis=0), has.sum(axis=0)
