"""Loop-nest analysis: the cost of mappings, vectorised over a batch of one or a hundred thousand.

The counts are Timeloop's, derived in closed form from the semantics of its source (NVlabs/timeloop: `loop-analysis/
nest-analysis.cpp`, `loop-analysis/tiling.cpp`, `model/buffer.cpp`, `model/topology.cpp`), which are:

* A tile is the hyper-rectangle of data that one instance of a level holds. Whenever a loop outside it steps, the words that
  were not in the tile before are delivered (the *delta*).
* Timeloop runs only the first two iterations of each temporal loop and weighs the second with the number of the remaining ones.
  It forgets what a tile held when its motion changes direction or distance. Both are followed here: a step of the innermost
  loop that moves the tile (loop m) costs the part not overlapped; a step of an outer loop costs nothing if the tile returns to
  its previous position, the part not overlapped if it moves exactly like m, and the whole tile otherwise.
* Instances of a fan-out that need the same tile at the same time share one read (multicast); partly overlapping tiles do not.
* A tensor that bypasses a level is served by the next level above that keeps it.
* Partial sums: the first write of an element needs no read. Updates count at the level that accumulates.
* A transposed convolution whose kernel is smaller than its stride leaves gaps in its output, which are zero (or the bias). They
  are part of the tensor, so every level that keeps it writes at least as many words as its share has. Timeloop assumes this
  (`reads = updates - share`) and aborts at an assertion where a mapping has fewer updates; here the missing ones are added.
* Neighbouring instances along a fan-out can forward a tile (link transfers), where that saves reads above. Timeloop has no
  energy for links, adders of address generation or temporal reduction (its PAT tables are zero for them); neither has this.
* Ragged loops (see `hwflow.loopnest.imperfect_factors` for how Timeloop walks them): cycles are the product of the bounds, that
  is, those of the padded size; counts are those of the smaller tiles in the last passes. Timeloop averages the active instances
  over the passes and truncates the average to a whole number before it multiplies the energies of one instance by it (7 of 8
  columns in one of five passes: 7.8, so 7). This is followed, although up to half of the energy is lost where two passes use 2
  and 1 instances.

Index conventions: levels run from the innermost (0) outwards; arrays end in the batch axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np

from hwflow.arrays import Bools, Floats, Ints, Places
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.energy_table import EnergyTable
from hwflow.hardware.stored_bits import widened
from hwflow.layers import DIMS, TENSORS, Layer, Tensor
from hwflow.loopnest import links
from hwflow.loopnest.batch import Batch
from hwflow.loopnest.disjoint_tiles import DisjointWalk
from hwflow.loopnest.imperfect_factors import Walk
from hwflow.loopnest.memories import Memories
from hwflow.loopnest.spans import Spans
from hwflow.loopnest.tiles import Shape, shape_of, unreached
from hwflow.mapping import LevelMapping, Loop, Mapping

__all__ = ["OUTPUTS", "Batch", "Bools", "Floats", "Ints", "Keeps", "Nest", "Verdict"]

OUTPUTS = TENSORS.index("outputs")

_PIECE = 4096  # mappings analysed at once: their arrays fit a processor's cache


@dataclass(frozen=True)
class Verdict:
    """The results of the analysis, arrays [..., batch]; tensors in the order of `TENSORS`, levels from the innermost outwards.

    Attributes:
        reads, fills, updates: words per instance, [level, tensor, batch].
        tiles: words of a tensor's tile in one instance, [level, tensor, batch], 0 where it is bypassed.
        instances: instances in use, [level, batch]; with ragged loops their average, truncated to a whole number.
        level_energy: energy of each level, all instances and leakage included, [level, batch]; `mac_energy` apart, [batch].
        omitted: energy of the truncated fractions of instances, which exact energies do not include, [batch].
        compute_cycles, cycles: [batch]; `level_cycles` is each level's bandwidth-bound count, [level, batch].
        fits: whether every tile fits its memory and every fan-out its array, [batch].
    """

    reads: Floats
    fills: Floats
    updates: Floats
    tiles: Ints
    instances: Ints
    level_energy: Floats
    mac_energy: Floats
    omitted: Floats
    compute_cycles: Floats
    level_cycles: Floats
    cycles: Floats
    fits: Bools

    def take(self, index: Places) -> Verdict:
        """The verdict on the mappings at `index`."""
        return Verdict(*(getattr(self, field.name)[..., index] for field in fields(self)))

    @classmethod
    def joined(cls, parts: Sequence[Verdict]) -> Verdict:
        """The verdicts on several batches as one."""
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts], axis=-1) for field in fields(cls)))

    @cached_property
    def energy(self) -> Floats:
        """Total energy, [batch]."""
        return np.asarray(self.level_energy.sum(axis=0) + self.mac_energy)


class Nest:
    """Everything about a layer and an accelerator that does not depend on the mapping, and the analysis itself."""

    def __init__(self, layer: Layer, accelerator: Accelerator, table: EnergyTable, keeps: Keeps | None = None) -> None:
        accelerator.check()
        self.layer, self.accelerator = layer, accelerator
        self.table = table = widened(table, accelerator, layer)
        self.levels = accelerator.levels[::-1]
        self.sizes = np.array([layer.dims[d] for d in DIMS], dtype=np.int64)
        kept = keeps or tuple(lv.memory.keeps if lv.memory else () for lv in self.levels)
        self.keep = np.array([[t in k for t in TENSORS] for k in kept])
        self.shapes = [shape_of(layer, t) for t in TENSORS]
        self.compute_energy = table.parts[accelerator.mac.name].compute
        self.mac_energy = layer.macs * self.compute_energy
        self.memories = Memories.of(accelerator, table, layer)
        self.gaps = unreached(layer) > 0

    # From and to mappings --------------------------------------------------------------------------------------------

    def batch_of(self, mapping: Mapping) -> Batch:
        """One mapping as a batch of one."""
        count = len(self.levels)
        temporal = np.ones((count, len(DIMS), 1), dtype=np.int64)
        spatial, temporal_last, spatial_last = np.ones_like(temporal), np.ones_like(temporal), np.ones_like(temporal)
        order = np.empty((count, len(DIMS), 1), dtype=np.int8)
        spatial_order = []
        for k, mapped in enumerate(reversed(mapping.levels)):
            for loops, bounds, last in ((mapped.temporal, temporal, temporal_last), (mapped.spatial, spatial, spatial_last)):
                for loop in loops:
                    bounds[k, DIMS.index(loop.dim), 0], last[k, DIMS.index(loop.dim), 0] = loop.bound, loop.residual
            inner_first = [DIMS.index(loop.dim) for loop in reversed(mapped.temporal)]
            order[k, :, 0] = inner_first + [i for i in range(len(DIMS)) if i not in inner_first]
            spatial_order.append(tuple(DIMS.index(loop.dim) for loop in mapped.spatial))
        batch = Batch(temporal, spatial, order, tuple(spatial_order))
        return replace(batch, temporal_last=temporal_last, spatial_last=spatial_last) if mapping.ragged else batch

    def mapping_of(self, batch: Batch, index: int) -> Mapping:
        """One mapping of a batch, as the public `Mapping`."""
        temporal, spatial = batch.temporal[:, :, index], batch.spatial[:, :, index]
        time = temporal if batch.temporal_last is None else batch.temporal_last[:, :, index]
        space = spatial if batch.spatial_last is None else batch.spatial_last[:, :, index]
        levels = []
        for k, level in reversed(list(enumerate(self.levels))):
            order = [d for d in batch.order[k, ::-1, index] if temporal[k, d] > 1]
            loops = tuple(Loop(DIMS[d], int(temporal[k, d]), int(time[k, d])) for d in order)
            across = [d for d in batch.spatial_order[k] if spatial[k, d] > 1]
            over = tuple(Loop(DIMS[d], int(spatial[k, d]), int(space[k, d])) for d in across)
            keeps = tuple(t for t, kept in zip(TENSORS, self.keep[k], strict=True) if kept)
            levels.append(LevelMapping(level.name, loops, over, keeps, level.axis))
        return Mapping(tuple(levels))

    # The analysis ----------------------------------------------------------------------------------------------------

    def evaluate(self, batch: Batch, *, with_links: bool = True) -> Verdict:
        """Evaluate every mapping of the batch.

        `with_links=False` is for searches: it leaves out link transfers between neighbours, which is an upper bound, and
        estimates ragged mappings by the averages over their passes, with fractions of instances.
        """
        if batch.size > _PIECE and batch.temporal_last is None:
            pieces = [batch.take(slice(start, start + _PIECE)) for start in range(0, batch.size, _PIECE)]
            return Verdict.joined([self.evaluate(piece, with_links=with_links) for piece in pieces])
        count, size = len(self.levels), batch.size
        nest = Spans(batch, self.sizes, exact=with_links)
        shape = (count, len(TENSORS), size)
        reads, fills, updates = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        tiles, padded = np.zeros(shape, dtype=np.int64), np.zeros((count, size), dtype=np.int64)
        for t, projection in enumerate(self.shapes):
            footprints = np.stack([projection.words(e) for e in nest.tiles])
            traffic = self._traffic(t, nest, with_links)
            keep = self.keep[:, t]
            kept = keep.nonzero()[0].tolist()
            outermost = kept[-1]
            partition = self._partitions(projection, footprints, nest) if t == OUTPUTS else None
            for k in kept:
                tiles[k, t] = footprints[k]
                full = footprints[k] if nest.passes is None else projection.words(nest.outer[k])
                padded[k] += full * self.memories.widths.sums[k, t]
                content, peer, arriving = traffic.content[k], traffic.peer[k], traffic.arriving[k] + traffic.peer[k]
                if partition is None:
                    reads[k, t] = _round(content + peer)
                    fills[k, t] = np.floor(arriving) if k != outermost else np.floor(traffic.peer[k])
                else:
                    updates[k, t] = _round(content)
                    if self.gaps:
                        updates[k, t] += np.maximum(partition[k] - _round(content + peer), 0)
                    reads[k, t] = np.maximum(_round(content + peer - partition[k]), 0)
                    fills[k, t] = np.maximum(_round(arriving - partition[k]), 0) if k != outermost else _round(peer)
        return self._cost(_Counts(reads, fills, updates, tiles, padded), nest)

    def priced(self, batch: Batch, reads: Floats, fills: Floats, updates: Floats) -> Verdict:
        """The verdict on mappings whose counts are known, in words per instance, [level, tensor, batch]."""
        tiles = np.zeros(reads.shape, dtype=np.int64)
        return self._cost(_Counts(reads, fills, updates, tiles, tiles.sum(axis=1)), Spans(batch, self.sizes, exact=True))

    def short_of_updates(self, mapping: Mapping) -> tuple[str, int, int] | None:
        """The innermost memory with fewer updates than words in its share of the outputs, at which Timeloop aborts: its name,
        the updates (including those from neighbours) and the words."""
        if not self.gaps:
            return None
        nest = Spans(self.batch_of(mapping), self.sizes, exact=True)
        projection = self.shapes[OUTPUTS]
        traffic = self._traffic(OUTPUTS, nest, with_links=True)
        partition = self._partitions(projection, np.stack([projection.words(e) for e in nest.tiles]), nest)
        for k in self.keep[:, OUTPUTS].nonzero()[0].tolist():
            updates, share = int(traffic.content[k, 0] + traffic.peer[k, 0]), int(partition[k, 0])
            if updates < share:
                return self.levels[k].name, updates, share
        return None

    def _traffic(self, t: int, nest: Spans, with_links: bool) -> _Traffic:
        """Words of one tensor that cross each boundary; boundary k is between level k and the instances below it."""
        projection, count, size = self.shapes[t], len(self.levels), nest.batch.size
        content, weighted, link = np.zeros((count, size)), np.zeros((count, size)), np.zeros((count, size))
        arriving = np.zeros((count, size))
        # The arithmetic has no memory: every iteration asks for its operands anew. How often those ask that hand all on to the
        # level below does not matter: what that level asks for replaces it.
        uneven = nest.ragged.nonzero()[0].tolist()
        deliveries = {0: nest.iterations, **projection.delivered(nest.below, nest.loops, self.keep[:-1, t].nonzero()[0] + 1)}
        for k in range(count):
            each = deliveries.get(k, 1.0)
            content[k] = weighted[k] = each
            if nest.spreads[k]:
                content[k] *= projection.distinct(nest.across[k], nest.inner[k])
                weighted[k] *= nest.fan[k] if nest.passes is None else nest.across[k].prod(axis=0)
            if with_links:
                for b in uneven:
                    if k == 0 and nest.fan[0, b] == 1:
                        continue  # every iteration asks
                    if k == 0 or self.keep[k - 1, t] or nest.fan[k, b] > 1:  # otherwise the bypass below replaces it
                        way = Walk if k == 0 or projection.windows else DisjointWalk
                        walk = way(nest.nesting(int(b)), projection.coefficients, k)
                        content[k, b], weighted[k, b], link[k, b] = walk.crossing()
            if with_links and nest.spreads[k]:
                shared = links.transfers(projection, nest, k, ((nest.fan[k] > 1) & ~nest.ragged).nonzero()[0])
                content[k, shared.index], weighted[k, shared.index] = shared.reads, shared.delivered
                link[k, shared.index] = shared.links
            if k > 0:
                arriving[k - 1] = weighted[k] / nest.fan[k]
        for k in range(count - 1):
            if not self.keep[k, t]:  # bypassed: the level above serves what this one would have
                asked = content[k] * nest.fan[k + 1]
                ratio = np.divide(asked, weighted[k + 1], out=np.zeros(size), where=weighted[k + 1] > 0)
                content[k + 1] = content[k + 1] * ratio
                weighted[k + 1] = weighted[k + 1] * ratio
                link[k + 1] = 0.0
        peer = np.zeros((count, size))
        for k in range(1, count):
            peer[k - 1] = link[k] / nest.instances[k - 1]
        return _Traffic(content, arriving, peer)

    def _partitions(self, projection: Shape, footprints: Ints, nest: Spans) -> Ints:
        """Share of the whole tensor that one instance is responsible for, in words; integer division as in Timeloop."""
        partition = np.empty_like(footprints)
        partition[-1] = footprints[-1]
        for k in reversed(range(len(self.levels) - 1)):
            if not nest.spreads[k + 1]:
                partition[k] = partition[k + 1]
                continue
            union = np.where(nest.fan[k + 1] > 1, projection.words(nest.unions[k + 1]), footprints[k])
            partition[k] = partition[k + 1] * footprints[k] // union
        return partition

    def _cost(self, counts: _Counts, nest: Spans) -> Verdict:
        reads, fills, updates, memory = counts.reads, counts.fills, counts.updates, self.memories
        compute_cycles, widths = nest.compute_cycles, memory.widths
        fits = (nest.fan <= memory.fanout).all(axis=0) & (counts.padded <= memory.room).all(axis=0)
        if widths.packed:
            read, filled, updated = widths.accesses(reads, fills, updates)
        else:
            read, filled, updated = (np.ceil(words / memory.block[:, :, None]) for words in (reads, fills, updates))
        per_instance = read.sum(axis=1) * memory.read + filled.sum(axis=1) * memory.write + updated.sum(axis=1) * memory.update
        if memory.grouped:  # whose accesses the instances at work in one array share
            per_instance *= np.minimum(nest.most, memory.groups) / nest.most
        if widths.packed:
            read, filled, updated = widths.words(nest.shared(reads), nest.shared(fills), nest.shared(updates))
            written = filled + updated
        else:
            read, written = nest.shared(reads), nest.shared(fills + updates)
        read_demand, write_demand = ((words / compute_cycles).sum(axis=1) for words in (read, written))
        slowdown = np.ones(per_instance.shape)
        for limit, demand in zip(memory.limits, (read_demand, write_demand, read_demand + write_demand), strict=True):
            np.minimum(slowdown, np.divide(limit, demand, out=np.ones(demand.shape), where=demand > limit), out=slowdown)
        level_cycles = np.ceil(compute_cycles / slowdown)
        cycles = level_cycles.max(axis=0)  # of which parts leak; what networks add at the edges is not, as in Timeloop
        leakage = memory.leak * cycles
        level_energy = per_instance * nest.at_work + leakage * nest.at_work
        omitted = (per_instance * nest.cut_off + leakage * nest.cut_off).sum(axis=0)
        mac_energy = nest.computes(self.layer.macs) * self.compute_energy
        if nest.exact:
            omitted += self.mac_energy - mac_energy
        return Verdict(
            reads,
            fills,
            updates,
            counts.tiles,
            nest.instances,
            level_energy,
            mac_energy,
            omitted,
            compute_cycles,
            level_cycles,
            cycles + memory.edges,
            fits,
        )


Keeps = tuple[tuple[Tensor, ...], ...]
"""For each level, from the innermost outwards, the tensors that it keeps."""


@dataclass(frozen=True)
class _Counts:
    """What each memory sees of each tensor, [level, tensor, batch]; `padded`: bits of all its full tiles, [level, batch]."""

    reads: Floats
    fills: Floats
    updates: Floats
    tiles: Ints
    padded: Ints


@dataclass(frozen=True)
class _Traffic:
    """Per level and mapping: words requested of an instance from below, delivered from above, forwarded by neighbours."""

    content: Floats
    arriving: Floats
    peer: Floats


def _round(values: Floats) -> Floats:
    """Round to the nearest integer, halves away from zero, as C++ `std::round` does for the positive numbers here."""
    return np.floor(values + 0.5)
