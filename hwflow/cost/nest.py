"""Loop-nest analysis: what a mapping costs. Vectorised: one call judges one mapping or a hundred thousand.

The counts are Timeloop's, derived in closed form from the semantics of its source (NVlabs/timeloop: `loop-analysis/
nest-analysis.cpp`, `loop-analysis/tiling.cpp`, `model/buffer.cpp`, `model/topology.cpp`), which are:

* A tile is the hyper-rectangle of data that one instance of a level holds. Whenever a loop outside it steps, the words that were
  not in the tile before are delivered (the *delta*).
* Timeloop runs only the first two iterations of each temporal loop and weighs the second with the number of the remaining ones.
  It forgets what a tile held when its motion changes direction or distance. Both are followed here: a step of the innermost
  loop that moves the tile (loop m) costs the part not overlapped; a step of an outer loop costs nothing if the tile happens to
  land where it was, the overlapped remainder if it moves exactly like m, and the whole tile otherwise.
* Instances of a fan-out that need the same tile at the same time share one read (multicast); partly overlapping tiles do not.
* A tensor that bypasses a level is served by the next level above that keeps it.
* Partial sums: the first write of an element needs no read. Updates count at the level that accumulates.
* Neighbouring instances along a fan-out can hand a tile on (link transfers), where that saves reads above. Timeloop has no energy
  for links, adders of address generation or temporal reduction (its PAT tables are zero for them); neither has this.

Index conventions: levels run from the innermost (0) outwards; arrays end in the batch axis.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from hwflow.accelerator import Accelerator
from hwflow.cost import links
from hwflow.energy import EnergyTable
from hwflow.layers import DIMS, TENSORS, Layer, Tensor
from hwflow.mapping import LevelMapping, Mapping

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

OUTPUTS = TENSORS.index("outputs")


@dataclass(frozen=True)
class Batch:
    """Mappings of one layer on one accelerator.

    Attributes:
        temporal: loop bounds, [level, dimension, batch].
        spatial: loop bounds over the fan-out below the level, [level, dimension, batch].
        order: the dimension of the p-th temporal loop of a level, counted from the innermost, [level, p, batch].
        spatial_order: dimensions of the spatial loops, outermost first, the same for all mappings, one tuple a level.
    """

    temporal: Ints
    spatial: Ints
    order: npt.NDArray[np.int8]
    spatial_order: tuple[tuple[int, ...], ...]

    @property
    def size(self) -> int:
        """Number of mappings."""
        return int(self.temporal.shape[2])

    def take(self, index: npt.NDArray[np.intp]) -> Batch:
        """The mappings at `index`."""
        return Batch(self.temporal[:, :, index], self.spatial[:, :, index], self.order[:, :, index], self.spatial_order)


@dataclass(frozen=True)
class Verdict:
    """What the analysis finds, arrays [..., batch]; tensors in the order of `TENSORS`, levels from the innermost outwards.

    Attributes:
        reads, fills, updates: words per instance, [level, tensor, batch].
        tiles: words of a tensor's tile in one instance, [level, tensor, batch], 0 where it is bypassed.
        instances: instances in use, [level, batch].
        level_energy: energy of each level, all instances and leakage included, [level, batch]; `mac_energy` apart, [batch].
        compute_cycles, cycles: [batch]; `level_cycles` is each level's bandwidth-bound count, [level, batch].
        fits: whether every tile fits its memory and every fan-out its array, [batch].
    """

    reads: Floats
    fills: Floats
    updates: Floats
    tiles: Ints
    instances: Ints
    level_energy: Floats
    mac_energy: float
    compute_cycles: Floats
    level_cycles: Floats
    cycles: Floats
    fits: Bools

    @cached_property
    def energy(self) -> Floats:
        """Total energy, [batch]."""
        return np.asarray(self.level_energy.sum(axis=0) + self.mac_energy)


class Nest:
    """Everything about a layer and an accelerator that does not depend on the mapping, and the analysis itself."""

    def __init__(self, layer: Layer, accelerator: Accelerator, table: EnergyTable, keeps: Keeps | None = None) -> None:
        self.layer, self.accelerator, self.table = layer, accelerator, table
        self.levels = accelerator.levels[::-1]
        self.sizes = np.array([layer.dims[d] for d in DIMS], dtype=np.int64)
        kept = keeps or tuple(lv.memory.keeps if lv.memory else () for lv in self.levels)
        self.keep = np.array([[t in k for t in TENSORS] for k in kept])
        self.shapes = [_Shape(layer, t) for t in TENSORS]
        self.mac_energy = layer.macs * table.parts[accelerator.mac.name].compute

    # From and to mappings --------------------------------------------------------------------------------------------

    def batch_of(self, mapping: Mapping) -> Batch:
        """One mapping as a batch of one."""
        count = len(self.levels)
        temporal = np.ones((count, len(DIMS), 1), dtype=np.int64)
        spatial = np.ones_like(temporal)
        order = np.empty((count, len(DIMS), 1), dtype=np.int8)
        spatial_order = []
        for k, mapped in enumerate(reversed(mapping.levels)):
            for loops, target in ((mapped.temporal, temporal), (mapped.spatial, spatial)):
                for loop in loops:
                    target[k, DIMS.index(loop.dim), 0] = loop.bound
            inner_first = [DIMS.index(loop.dim) for loop in reversed(mapped.temporal)]
            order[k, :, 0] = inner_first + [i for i in range(len(DIMS)) if i not in inner_first]
            spatial_order.append(tuple(DIMS.index(loop.dim) for loop in mapped.spatial))
        return Batch(temporal, spatial, order, tuple(spatial_order))

    def mapping_of(self, batch: Batch, index: int) -> Mapping:
        """One mapping of a batch, as users see it."""
        levels = []
        for k, level in reversed(list(enumerate(self.levels))):
            bounds, spread = batch.temporal[k, :, index], batch.spatial[k, :, index]
            loops = tuple((DIMS[d], int(bounds[d])) for d in batch.order[k, ::-1, index] if bounds[d] > 1)
            over = tuple((DIMS[d], int(spread[d])) for d in batch.spatial_order[k] if spread[d] > 1)
            keeps = tuple(t for t, kept in zip(TENSORS, self.keep[k], strict=True) if kept)
            levels.append(LevelMapping(level.name, loops, over, keeps, level.axis))
        return Mapping(tuple(levels))

    # The analysis ----------------------------------------------------------------------------------------------------

    def evaluate(self, batch: Batch, *, with_links: bool = True) -> Verdict:
        """Judge every mapping of the batch.

        `with_links=False` leaves out link transfers between neighbours: an upper bound, for searches.
        """
        count, size = len(self.levels), batch.size
        inner = [np.ones((len(DIMS), size), dtype=np.int64)]  # extents below each level's spatial loops
        outer, spread = [], []
        for k in range(count):
            spread.append(inner[k] * batch.spatial[k])
            outer.append(spread[k] * batch.temporal[k])
            inner.append(outer[k])
        above = np.ones(size, dtype=np.int64)  # instances in use
        instances = np.empty((count, size), dtype=np.int64)
        fan = batch.spatial.prod(axis=1)
        for k in reversed(range(count)):
            instances[k] = above
            above = above * fan[k]
        compute_cycles = batch.temporal.prod(axis=(0, 1)).astype(np.float64)
        loops = [_Loops(batch, k, spread[k]) for k in range(count)]

        shape = (count, len(TENSORS), size)
        reads, fills, updates = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        tiles = np.zeros(shape, dtype=np.int64)
        for t, projection in enumerate(self.shapes):
            footprints = np.stack([projection.words(e) for e in outer])
            traffic = self._traffic(t, batch, inner, loops, fan, compute_cycles, instances, with_links)
            keep = self.keep[:, t]
            outermost = int(np.flatnonzero(keep)[-1])
            partition = self._partitions(projection, footprints, spread, fan) if t == OUTPUTS else None
            for k in np.flatnonzero(keep):
                tiles[k, t] = footprints[k]
                content, peer, arriving = traffic.content[k], traffic.peer[k], traffic.arriving[k] + traffic.peer[k]
                if partition is None:
                    reads[k, t] = _round(content + peer)
                    fills[k, t] = np.floor(arriving) if k != outermost else np.floor(traffic.peer[k])
                else:
                    updates[k, t] = _round(content)
                    # (A transposed convolution can leave holes in its hull; Timeloop gives up where they outnumber the updates.)
                    reads[k, t] = np.maximum(_round(content + peer - partition[k]), 0)
                    fills[k, t] = np.maximum(_round(arriving - partition[k]), 0) if k != outermost else _round(peer)
        return self._cost(reads, fills, updates, tiles, instances, fan, compute_cycles)

    def _traffic(
        self,
        t: int,
        batch: Batch,
        inner: list[Ints],
        loops: list[_Loops],
        fan: Ints,
        iterations: Floats,
        instances: Ints,
        with_links: bool,
    ) -> _Traffic:
        """Words that cross each boundary for one tensor; boundary k lies between level k and the instances below it."""
        projection, count, size = self.shapes[t], len(self.levels), batch.size
        content, weighted, link = np.zeros((count, size)), np.zeros((count, size)), np.zeros((count, size))
        arriving = np.zeros((count, size))
        for k in range(count):
            # The arithmetic has no memory: every iteration asks for its operands anew.
            each = iterations if k == 0 else projection.delivered(inner[k], loops[k:])
            distinct = projection.distinct(batch.spatial[k], inner[k])
            content[k], weighted[k] = distinct * each, fan[k] * each
            if with_links and batch.spatial_order[k]:
                for b in np.flatnonzero(fan[k] > 1):
                    found = links.transfers(projection.coefficients, batch, k, int(b), inner[k][:, b])
                    if found is not None:
                        content[k, b], weighted[k, b], link[k, b] = found
            if k > 0:
                arriving[k - 1] = weighted[k] / fan[k]
        for k in range(count - 1):
            if not self.keep[k, t]:  # bypassed: the level above serves what this one would have
                ratio = np.divide(content[k] * fan[k + 1], weighted[k + 1], out=np.zeros(size), where=weighted[k + 1] > 0)
                content[k + 1] = content[k + 1] * ratio
                weighted[k + 1] = weighted[k + 1] * ratio
                link[k + 1] = 0.0
        peer = np.zeros((count, size))
        for k in range(1, count):
            peer[k - 1] = link[k] / instances[k - 1]
        return _Traffic(content, arriving, peer)

    def _partitions(self, projection: _Shape, footprints: Ints, spread: list[Ints], fan: Ints) -> Ints:
        """Share of the whole tensor that one instance is responsible for, in words; integer division as in Timeloop."""
        partition = np.empty_like(footprints)
        partition[-1] = footprints[-1]
        for k in reversed(range(len(self.levels) - 1)):
            union = np.where(fan[k + 1] > 1, projection.words(spread[k + 1]), footprints[k])
            partition[k] = partition[k + 1] * footprints[k] // union
        return partition

    def _cost(
        self, reads: Floats, fills: Floats, updates: Floats, tiles: Ints, instances: Ints, fan: Ints, compute_cycles: Floats
    ) -> Verdict:
        count, size = instances.shape
        level_energy, level_cycles = np.zeros((count, size)), np.empty((count, size))
        fits = np.ones(size, dtype=np.bool_)
        for k, level in enumerate(self.levels):
            fits &= fan[k] <= level.fanout
            level_cycles[k] = compute_cycles
            memory = level.memory
            if memory is None:
                continue
            if memory.words is not None:
                fits &= tiles[k].sum(axis=0) <= int(memory.words // memory.buffering)
            part, block = self.table.parts[memory.name], memory.block_words
            per_instance = (
                np.ceil(reads[k] / block).sum(axis=0) * part.read
                + np.ceil(fills[k] / block).sum(axis=0) * part.write
                + np.ceil(updates[k] / block).sum(axis=0) * part.update
            )
            level_energy[k] = per_instance * instances[k]
            read_demand = (reads[k] / compute_cycles).sum(axis=0)
            write_demand = ((fills[k] + updates[k]) / compute_cycles).sum(axis=0)
            slowdown = np.ones(size)
            for limit, demand in (
                (memory.read_words_per_cycle, read_demand),
                (memory.write_words_per_cycle, write_demand),
                (self.accelerator.words_per_cycle(memory), read_demand + write_demand),
            ):
                if limit is not None:
                    slowdown = np.minimum(slowdown, np.divide(limit, demand, out=np.ones(size), where=demand > limit))
            level_cycles[k] = np.ceil(compute_cycles / slowdown)
        cycles = level_cycles.max(axis=0)
        for k, level in enumerate(self.levels):
            if level.memory is not None:
                level_energy[k] += self.table.parts[level.memory.name].leak * cycles * instances[k]
        return Verdict(
            reads, fills, updates, tiles, instances, level_energy, self.mac_energy, compute_cycles, level_cycles, cycles, fits
        )


Keeps = tuple[tuple[Tensor, ...], ...]
"""For each level, from the innermost outwards, the tensors that it keeps."""


@dataclass(frozen=True)
class _Traffic:
    """Per level and mapping: words asked of an instance from below, delivered to it from above, handed on by neighbours."""

    content: Floats
    arriving: Floats
    peer: Floats


class _Loops:
    """The temporal loops of one level in their order, the innermost first: dimension, bound and step, each [p, batch]."""

    def __init__(self, batch: Batch, level: int, spread: Ints) -> None:
        bounds = batch.temporal[level]
        used = [p for p in range(batch.order.shape[1]) if np.any(np.take_along_axis(bounds, _row(batch, level, p), 0) > 1)]
        self.count = len(used)
        self.dims = [batch.order[level, p].astype(np.intp) for p in used]
        self.bounds = [np.take_along_axis(bounds, _row(batch, level, p), 0)[0] for p in used]
        self.steps = [np.take_along_axis(spread, _row(batch, level, p), 0)[0] for p in used]


def _row(batch: Batch, level: int, p: int) -> npt.NDArray[np.intp]:
    return batch.order[level, p][None, :].astype(np.intp)


class _Shape:
    """The projection of one tensor, as coefficients [axis, dimension]."""

    def __init__(self, layer: Layer, tensor: Tensor) -> None:
        axes = layer.projections[tensor]
        self.coefficients = np.zeros((len(axes), len(DIMS)), dtype=np.int64)
        for a, axis in enumerate(axes):
            for term in axis:
                self.coefficients[a, DIMS.index(term.dim)] = term.coefficient
        self.relevant = self.coefficients.any(axis=0)
        self.windows = [a for a in range(len(axes)) if np.count_nonzero(self.coefficients[a]) > 1]
        in_window = self.coefficients[self.windows].any(axis=0) if self.windows else np.zeros(len(DIMS), dtype=np.bool_)
        self.other = self.relevant & ~in_window

    def sides(self, extents: Ints) -> Ints:
        """Words along each axis of the tile that spans `extents`, [axis, batch]."""
        return np.asarray(1 + self.coefficients @ (extents - 1))

    def words(self, extents: Ints) -> Ints:
        """Words of the tile that spans `extents`, [batch]."""
        return np.asarray(self.sides(extents).prod(axis=0))

    def distinct(self, spatial: Ints, inner: Ints) -> Ints:
        """How many different tiles the instances of a fan-out hold, [batch].

        Along an axis with one spatial loop that is its bound. With two, tiles coincide where a i + b j repeats: with a = g a',
        b = g b', gcd(a', b') = 1, that is f1 f2 - max(0, f1 - b') max(0, f2 - a') different sums (ours; counted by the
        representatives that no other pair precedes).
        """
        result = np.ones(spatial.shape[1], dtype=np.int64)
        for d in np.flatnonzero(self.other):
            result = result * spatial[d]
        for a in self.windows:
            first, second = np.flatnonzero(self.coefficients[a])
            f1, f2 = spatial[first], spatial[second]
            s1, s2 = self.coefficients[a, first] * inner[first], self.coefficients[a, second] * inner[second]
            g = np.gcd(s1, s2)
            result = result * (f1 * f2 - np.maximum(0, f1 - s2 // g) * np.maximum(0, f2 - s1 // g))
        return result

    def delivered(self, inner: Ints, levels: list[_Loops]) -> Floats:
        """Words delivered to one instance that holds the tile of extents `inner`, over the temporal loops of `levels`, [batch]."""
        sides = self.sides(inner)
        tile = sides.prod(axis=0).astype(np.float64)
        if not self.windows:
            total, moved = tile.copy(), np.zeros(tile.shape, dtype=np.bool_)
            for loops in levels:
                for dim, bound in zip(loops.dims, loops.bounds, strict=True):
                    moved |= self.relevant[dim] & (bound > 1)
                    total = np.where(moved, total * bound, total)
            return total
        return self._windowed(sides, tile, levels)

    def _windowed(self, sides: Ints, tile: Floats, levels: list[_Loops]) -> Floats:
        """The same for a tensor with sliding windows; see the module's docstring for the rule."""
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


def _round(values: Floats) -> Floats:
    """To the nearest integer, halves away from zero, as C++ `std::round` does for the positive numbers here."""
    return np.floor(values + 0.5)
