"""What bounds on mappings with imperfect factors need of a layer and a chip, and words of tiles of any extent.

The space is that of `hwflow.mapper.padding`: loops of any bounds that cover their dimensions. With x the extent of a tile along
a dimension of size N, the loops outside make ceil(N / x) passes at least, whatever the bounds in between. Of all extents with
equal passes the smallest needs the least room, so one extent stands for each number of passes: about 2 sqrt(N) of them. That a
tile is a whole number of tiles of the next level inside is relaxed to its being as large, at least, along every dimension, so
that the least of all larger tiles is a running minimum along the axes of an array. Relaxation and recursion are hwflow's own.

Two kinds of mappings are left out of the bounds: those of which Timeloop omits more than `hwflow.mapper.bounds.OMITTED` of the
energy, and `lopsided` ones. Timeloop takes what the first instance of a fan-out does for all instances, times their average
number. Where the last pass keeps only the first instance busy, and with a smaller tile, that is less than what happens.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hwflow.arrays import Bools, Floats, Ints
from hwflow.hardware.dataflow import LevelConstraint
from hwflow.layers import DIMS, TENSORS
from hwflow.loopnest.batch import Batch
from hwflow.loopnest.nest import OUTPUTS, Nest
from hwflow.mapper.bounds import operands_travel

MOST = 1 << 21
"""Tiles that are told apart: bounds the memory, 16 MB an array. Layers with more have the plain bound."""


class Term(NamedTuple):
    """A dimension that moves along an axis of a tensor, by `step` words."""

    dim: int
    step: int


@dataclass(frozen=True)
class RaggedSpace:
    """A layer on a chip, by tensor and by level from the innermost outwards.

    Attributes:
        singles: axes along which one dimension longer than 1 moves; `windows`: those of two.
        relevant, idle: dimensions longer than 1 that a tensor depends on, and the others.
        temporal, spatial: dimensions whose loops may be at a level, and over the fan-out below it.
        kept: the levels that keep a tensor.
        inner, outer: the innermost and the outermost level with a fan-out.
        toll: what each word to or from DRAM adds to the energy.
    """

    nest: Nest
    sizes: tuple[int, ...]
    singles: tuple[tuple[Term, ...], ...]
    windows: tuple[tuple[tuple[Term, Term], ...], ...]
    relevant: tuple[frozenset[int], ...]
    idle: tuple[frozenset[int], ...]
    temporal: tuple[frozenset[int], ...]
    spatial: tuple[tuple[int, ...], ...]
    kept: tuple[tuple[int, ...], ...]
    inner: int
    outer: int
    toll: float = 0.0

    @classmethod
    def of(cls, nest: Nest, constraints: Sequence[LevelConstraint]) -> RaggedSpace | None:
        """None where the bounds do not cover the chip or the layer: elements that are no words, clusters, MAC units that hand
        operands on, gaps in outputs, windows of other tensors than inputs, memories or temporal loops between fan-outs (as on
        `simba`), tensors that bypass DRAM, and layers with more than `MOST` tiles."""
        rules, sizes = tuple(reversed(constraints)), tuple(nest.sizes.tolist())
        longer = frozenset(d for d, n in enumerate(sizes) if n > 1)
        singles: list[tuple[Term, ...]] = []
        windows: list[tuple[tuple[Term, Term], ...]] = []
        for shape in nest.shapes:
            axes = [
                tuple(Term(d, step) for d, step in enumerate(row.tolist()) if step and d in longer)
                for row in shape.coefficients
            ]
            singles.append(tuple(axis[0] for axis in axes if len(axis) == 1))
            windows.append(tuple((axis[0], axis[1]) for axis in axes if len(axis) == 2))
        relevant = [
            frozenset(term.dim for term in (*alone, *(term for pair in pairs for term in pair)))
            for alone, pairs in zip(singles, windows, strict=True)
        ]
        temporal = [frozenset(DIMS.index(d) for d in rule.temporal) & longer for rule in rules]
        fans = [k for k, rule in enumerate(rules) if rule.level.fanout > 1] or [0]
        between = range(fans[0], fans[-1])
        kept = [tuple(int(k) for k in np.flatnonzero(nest.keep[:, t])) for t in range(len(TENSORS))]
        widths = nest.memories.widths
        if (
            widths.packed
            or nest.memories.grouped
            or nest.gaps
            or operands_travel(nest)
            or not nest.keep[-1].all()
            or any(pairs for t, pairs in enumerate(windows) if TENSORS[t] != "inputs")
            or any(temporal[k] or nest.keep[k].any() for k in between)
            or any(sum(k < fans[0] for k in levels) > 1 for levels in kept)
            or math.prod(len(extents(n)) for n in sizes) > MOST
        ):
            return None
        return cls(
            nest,
            sizes,
            tuple(singles),
            tuple(windows),
            tuple(relevant),
            tuple(longer - own for own in relevant),
            tuple(temporal),
            tuple(tuple(d for d in (DIMS.index(d) for d in rule.spatial) if d in longer) for rule in rules),
            tuple(kept),
            fans[0],
            fans[-1],
        )

    def words(self, tensor: int, tile: Sequence[Floats]) -> Floats:
        """Words of a tensor in the tile with these extents, by dimension."""
        words = np.ones(())
        for d, step in self.singles[tensor]:
            words = words * (1 + step * (tile[d] - 1))
        for (d, step), (e, other) in self.windows[tensor]:
            words = words * (1 + step * (tile[d] - 1) + other * (tile[e] - 1))
        return words

    def room_for(self, k: int, tile: Sequence[Floats]) -> Bools:
        """Whether the tensors that level k keeps of a tile fit it."""
        words, memories = np.zeros(()), self.nest.memories
        for t in range(len(TENSORS)):
            if self.nest.keep[k, t]:
                words = words + self.words(t, tile) * float(memories.widths.sums[k, t, 0])
        return np.asarray(words <= float(memories.room[k, 0]))

    def prices(self, k: int) -> tuple[float, float, float]:
        """Energies of a word that is read from level k, written to it, and updated in it, with the toll."""
        m, toll = self.nest.memories, self.toll if k == len(self.temporal) - 1 else 0.0
        read, write, update = (float(energy[k, 0]) / float(m.block[k, 0]) for energy in (m.read, m.write, m.update))
        return read + toll, write, update + toll

    @functools.cached_property
    def outputs(self) -> float:
        """Words of the outputs."""
        return float(math.prod(self.sizes[d] for d, _ in self.singles[OUTPUTS]))


@functools.cache
def extents(size: int) -> tuple[int, ...]:
    """The smallest extent for each number of passes over a dimension, ascending."""
    return tuple(sorted({-(-size // passes) for passes in range(1, size + 1)}))


def lopsided(batch: Batch) -> Bools:
    """Which mappings have a spatial loop whose last pass has one instance, around ragged loops of its dimension, [batch]."""
    found, ragged = np.zeros(batch.size, dtype=np.bool_), np.zeros(batch.temporal.shape[1:], dtype=np.bool_)
    if batch.temporal_last is None or batch.spatial_last is None:
        return found
    for k in range(len(batch.temporal)):
        alone = (batch.spatial[k] > 1) & (batch.spatial_last[k] == 1)
        found |= (alone & ragged).any(axis=0)
        ragged |= (batch.spatial[k] != batch.spatial_last[k]) | (batch.temporal[k] != batch.temporal_last[k])
    return found


def swept(
    passes: tuple[Floats, Floats], tile: tuple[Floats, Floats], moves: tuple[Floats, Floats], pair: tuple[Term, Term], size: int
) -> Floats:
    """Words along a window's axis that a tile is sent in one sweep over all its positions, if the innermost loop that moves the
    tile moves it along this axis.

    With loops of one dimension alone outside the tile, every step sends what it renews, and returning to the start sends a
    whole tile. With loops of both, only the first loop's own steps are sure to renew anything, for other loops can undo its
    motion. If it is a loop of the first dimension, these are half of its steps for every pass of the second, so as many as
    without the second. If it is one of the second, they are half of these; but where a tile is more than twice as far from the
    next as all loops of the second dimension reach, no motion is undone or repeated, and each step of the first dimension sends
    a whole tile.

    Args:
        passes: over the two dimensions; `tile`: its extents along them; `moves`: how far their innermost loops move it.
        size: of the second dimension.
    """
    (n, m), (x, y), (_, (_, b)) = passes, tile, pair
    a = pair[0].step
    side = 1 + a * (x - 1) + b * (y - 1)
    first, second = (n - 1) * np.minimum(moves[0], side), (m - 1) * np.minimum(moves[1], side)
    own = np.floor(m / 2) * n * np.minimum(b * y, side)
    beside = np.where(a * x > 2 * b * size, np.maximum(own, (n - 1) * side), own)
    both = np.minimum((n - 1) * np.minimum(a * x, side), beside)
    return np.asarray(side + np.where(m == 1, first, np.where(n == 1, second, both)))


def boxes(sizes: Sequence[int], of: Sequence[Ints]) -> list[Floats]:
    """One-dimensional arrays, by dimension, as arrays over all their combinations."""
    return [
        np.asarray(column, dtype=np.float64).reshape([-1 if d == e else 1 for e in range(len(sizes))])
        for d, column in enumerate(of)
    ]
