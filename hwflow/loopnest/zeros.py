"""What tiles of sparse tensors hold, as Timeloop's sparse model has it: nonzero elements, and indices that say where they lie.

The counts are Timeloop's, followed to its last rounding (NVlabs/timeloop: `sparse-analysis/representation-analyzer.cpp`,
`loop-analysis/tiling-tile-info.cpp`, `workload/density-models/fixed-structured-distribution.cpp`, `workload/format-models/`;
the model is that of Wu et al., Sparseloop, MICRO 2022). Zeros are spread evenly (its distribution `fixed_structured`): a tile
of n elements of a tensor with density d has n d nonzero ones, or where that is no whole number the next lower or higher number
with the odds that make n d the mean.

A compressed tile is a tree of ranks: the tiles that the next memory asks for, the tiles within these, and the elements of the
innermost. Ranks of tiles have a pointer to each tile and one to the end, the rank of elements has the indices.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hwflow.hardware.components import Memory
from hwflow.hardware.sparsity import Encoding, Sparsity
from hwflow.layers import Tensor
from hwflow.loopnest.batch import Batch
from hwflow.loopnest.tiles import Shape


def empty(elements: float, density: float) -> float:
    """The probability that a tile of so many elements has no nonzero one."""
    mean = elements * density
    below = math.floor(mean)
    return 1 - (mean - below) if below == 0 else 0.0


class Tile(NamedTuple):
    """Elements of a tile, and those that a full pass of ragged loops would have, over which Timeloop spreads zeros."""

    elements: int
    padded: int


@dataclass(frozen=True)
class Occupancy:
    """How many nonzero elements a tile has.

    Attributes:
        odds: of each number that occurs.
        present: the share of the tiles that are there at all: an empty one is not sent from a memory that knows it to be.
    """

    elements: int
    odds: tuple[tuple[int, float], ...]
    present: float

    @classmethod
    def of(cls, tile: Tile, density: float, *, announced: bool) -> Occupancy:
        """`announced`: whether the memory above knows which tiles are empty."""
        mean = tile.padded * density
        below, above = math.floor(mean), math.ceil(mean)
        share = mean - below
        least = math.floor(below / tile.padded * tile.elements)  # which loses 1 to rounding now and then, as in Timeloop
        most = below if share == 0 else above
        numbers = {below: 1 - share} | ({above: share} if share else {})
        odds = [(number, numbers[number]) for number in range(least, most + 1) if numbers.get(number)]
        present = 1.0
        if announced and least == 0:
            present = 1.0 - odds[0][1]
            odds = [(odds[0][0], 0.0), *((number, odd / present) for number, odd in odds[1:])]
        return cls(tile.elements, tuple(odds), present)

    @property
    def mean(self) -> float:
        """Nonzero elements of a tile that is there."""
        return sum(odd * number for number, odd in self.odds)

    @property
    def density(self) -> float:
        """The share of the elements of a tile that is there."""
        return self.mean / self.elements


@dataclass(frozen=True)
class Rank:
    """One rank of a tile: `fibers` lie in it, each with `shape` places, each of which holds a tile of `below` elements."""

    fibers: int
    shape: int
    below: int


@dataclass(frozen=True)
class Stored:
    """How one tensor's tile lies in one memory: its ranks, the elements' one first; `encoding` is that of the elements."""

    tile: Tile
    ranks: tuple[Rank, ...]
    encoding: Encoding

    def units(self, occupied: int) -> list[tuple[float, float]]:
        """Indices and pointers of each rank, if so many elements of the tile are nonzero."""
        density = occupied / self.tile.elements
        found: list[tuple[float, float] | None] = []
        around = self.tile.padded
        for r, rank in reversed(list(enumerate(self.ranks))):
            if rank.shape == 1 and r != len(self.ranks) - 1:
                found.append(None)
            else:
                fibers = rank.fibers * (1 - empty(around, density))
                found.append(self._rank(r, rank, fibers, density))
            around = rank.below
        found.reverse()
        innermost = next((r for r, units in enumerate(found) if units is not None), None)
        return [
            (0.0, 0.0) if units is None else (units[0], 0.0 if r == innermost else units[1]) for r, units in enumerate(found)
        ]

    def _rank(self, r: int, rank: Rank, fibers: float, density: float) -> tuple[float, float]:
        if r > 0:
            return 0.0, fibers * (rank.shape + 1)
        nonzero = rank.shape * (1 - empty(rank.below, density))
        if self.encoding == "bitmask":
            return fibers * rank.shape, fibers * math.ceil(nonzero)
        if self.encoding == "coordinates":
            nonzero = math.ceil(nonzero)
        return nonzero * fibers, nonzero * fibers


class Tiles:
    """The tiles of one tensor in the memories that keep it, and how they are stored there.

    Attributes:
        kept: the levels that keep it, the innermost first.
        sizes: of a tile, by level; 0 where the tensor is not kept.
    """

    def __init__(
        self,
        tensor: Tensor,
        shape: Shape,
        batch: Batch,
        words: Sequence[int],
        memories: Sequence[Memory | None],
        chip: Sparsity,
    ) -> None:
        """`words` of the largest tile by level, 0 where the tensor is not kept; one mapping."""
        self._shape, self._bounds = shape, batch.temporal[:, :, 0] * batch.spatial[:, :, 0]
        padded = shape.words(self._bounds.cumprod(axis=0).T)
        self.sizes = [Tile(int(size), int(full) if size else 0) for size, full in zip(words, padded, strict=True)]
        self.kept = [k for k, size in enumerate(words) if size]
        self._encodings: dict[int, Encoding] = {}
        for k in self.kept:
            memory = memories[k]
            if memory is not None and (encoding := chip.encoding(memory.name, tensor)) is not None:
                self._encodings[k] = encoding

    def child(self, level: int) -> int | None:
        """The next memory inwards that keeps it."""
        place = self.kept.index(level)
        return self.kept[place - 1] if place else None

    def occupancy(self, level: int, density: float) -> Occupancy:
        """How full a tile is at a level."""
        place = self.kept.index(level)
        above = self.kept[place + 1] if place + 1 < len(self.kept) else None
        return Occupancy.of(self.sizes[level], density, announced=above in self._encodings)

    def stored(self, level: int) -> Stored | None:
        """How it is stored at a level; None where it lies there uncompressed."""
        if level not in self._encodings:
            return None
        shapes, sizes = self._ranks(level)
        fibers = [int(np.prod(shapes[r + 1 :])) for r in range(len(shapes))]
        ranks = tuple(Rank(fibers[r], shapes[r], sizes[r]) for r in range(len(shapes)))
        return Stored(self.sizes[level], ranks, self._encodings[level])

    def _ranks(self, level: int) -> tuple[list[int], list[int]]:
        """The shape of each rank's fibers, the elements' one first, and the elements of the tiles that it holds."""
        child = self.child(level)
        if level not in self._encodings or child is None or self.sizes[child].elements == 1:
            return [self.sizes[level].padded], [1]
        shapes, sizes = self._ranks(child)
        between = self._bounds[child + 1 : level + 1].prod(axis=0)
        return [*shapes, int(self._shape.words(between[:, None])[0])], [*sizes, self.sizes[child].padded]


__all__ = ["Occupancy", "Rank", "Stored", "Tile", "Tiles", "empty"]
