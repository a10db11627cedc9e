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

from dataclasses import replace

import numpy as np

from hwflow.arrays import Bools, Floats, Ints
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.energy_table import EnergyTable
from hwflow.hardware.stored_bits import widened
from hwflow.layers import DIMS, TENSORS, Layer, Tensor
from hwflow.loopnest.batch import Batch
from hwflow.loopnest.memories import Memories
from hwflow.loopnest.spans import Spans
from hwflow.loopnest.tiles import shape_of, unreached
from hwflow.loopnest.traffic import shares, traffic
from hwflow.loopnest.verdict import OUTPUTS, Verdict
from hwflow.mapping import LevelMapping, Loop, Mapping

__all__ = ["OUTPUTS", "Batch", "Bools", "Floats", "Ints", "Keeps", "Nest", "Verdict"]

_PIECE = 4096  # mappings analysed at once: their arrays fit a processor's cache


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
        self._kept = [levels.nonzero()[0].tolist() for levels in self.keep.T]
        self._keeps = [tensors.nonzero()[0].tolist() for tensors in self.keep]
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
        verdict = Verdict.blank(len(self.levels), batch.size)
        if batch.size <= _PIECE or batch.temporal_last is not None:
            self._evaluate(batch, verdict, with_links)
            return verdict
        for begin in range(0, batch.size, _PIECE):
            piece = slice(begin, begin + _PIECE)
            self._evaluate(batch.take(piece), verdict.take(piece), with_links)
        return verdict

    def _evaluate(self, batch: Batch, verdict: Verdict, with_links: bool) -> None:
        """Fill in the verdict on a batch."""
        nest = Spans(batch, self.sizes, exact=with_links)
        padded: dict[int, Ints] = {}
        for t, (shape, kept) in enumerate(zip(self.shapes, self._kept, strict=True)):
            footprints = {k: shape.words(nest.tiles[k]) for k in kept}
            crossing = traffic(shape, nest, kept, footprints, with_links=with_links)
            owned = shares(shape, nest, footprints, kept) if t == OUTPUTS else None
            for i, k in enumerate(kept):
                verdict.tiles[k, t] = footprints[k]
                if np.isfinite(self.memories.room[k, 0]):
                    full = footprints[k] if nest.passes is None else shape.words(nest.outer[k])
                    bits = full * self.memories.widths.sums[k, t]
                    padded[k] = padded[k] + bits if k in padded else bits
                content, arriving, peer = crossing[i]
                asked = content if peer is None else content + peer
                reads, fills, updates = verdict.reads[k, t], verdict.fills[k, t], verdict.updates[k, t]
                if owned is None:
                    _round(asked, reads)
                    if arriving is not None:
                        np.floor(arriving, out=fills)
                else:
                    _round(content, updates)
                    if self.gaps:
                        updates += np.maximum(owned[i] - np.floor(asked + 0.5), 0)
                    _round(asked - owned[i], reads)
                    np.maximum(reads, 0, out=reads)
                    if arriving is not None and k != kept[-1]:
                        _round(arriving - owned[i], fills)
                        np.maximum(fills, 0, out=fills)
                    elif arriving is not None:
                        _round(arriving, fills)
        for k in range(len(self.levels)):
            if nest.spreads[k]:
                verdict.fits[...] &= nest.fan[k] <= self.memories.fanout[k, 0]
            if k in padded:
                verdict.fits[...] &= padded[k] <= self.memories.room[k, 0]
        verdict.price(self.memories, nest, self._keeps, self.layer.macs, self.compute_energy)

    def priced(self, batch: Batch, reads: Floats, fills: Floats, updates: Floats) -> Verdict:
        """The verdict on mappings whose counts are known, in words per instance, [level, tensor, batch]."""
        verdict = replace(Verdict.blank(len(self.levels), batch.size), reads=reads, fills=fills, updates=updates)
        nest = Spans(batch, self.sizes, exact=True)
        verdict.price(self.memories, nest, self._keeps, self.layer.macs, self.compute_energy)
        verdict.fits[...] = (nest.fan <= self.memories.fanout).all(axis=0)
        return verdict

    def short_of_updates(self, mapping: Mapping) -> tuple[str, int, int] | None:
        """The innermost memory with fewer updates than words in its share of the outputs, at which Timeloop aborts: its name,
        the updates (including those from neighbours) and the words."""
        if not self.gaps:
            return None
        nest = Spans(self.batch_of(mapping), self.sizes, exact=True)
        shape, kept = self.shapes[OUTPUTS], self._kept[OUTPUTS]
        footprints = {k: shape.words(nest.tiles[k]) for k in kept}
        crossing = traffic(shape, nest, kept, footprints, with_links=True)
        for k, here, owned in zip(kept, crossing, shares(shape, nest, footprints, kept), strict=True):
            peer = 0.0 if here.peer is None else here.peer[0]
            updates, share = int(here.content[0] + peer), int(owned[0])
            if updates < share:
                return self.levels[k].name, updates, share
        return None


Keeps = tuple[tuple[Tensor, ...], ...]
"""For each level, from the innermost outwards, the tensors that it keeps."""


def _round(values: Floats, into: Floats) -> None:
    """Round to the nearest integer, halves away from zero, as C++ `std::round` does for the positive numbers here."""
    np.floor(values + 0.5, out=into)
