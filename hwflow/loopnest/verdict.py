"""`Verdict`: what the analysis says of a batch of mappings, and how it follows from the words that their memories see."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np

from hwflow.arrays import Bools, Floats, Ints, Places
from hwflow.layers import TENSORS
from hwflow.loopnest.memories import Memories
from hwflow.loopnest.spans import Spans

OUTPUTS = TENSORS.index("outputs")


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

    @classmethod
    def blank(cls, levels: int, size: int) -> Verdict:
        """One to be filled: no words, no energy, no cycles; everything fits."""
        reads, fills, updates = (np.zeros((levels, len(TENSORS), size)) for _ in range(3))
        tiles, instances = np.zeros((levels, len(TENSORS), size), dtype=np.int64), np.ones((levels, size), dtype=np.int64)
        energies = np.zeros((levels, size)), np.zeros(size), np.zeros(size)
        cycles = np.zeros(size), np.zeros((levels, size)), np.zeros(size)
        return cls(reads, fills, updates, tiles, instances, *energies, *cycles, np.ones(size, dtype=np.bool_))

    def take(self, index: Places | slice) -> Verdict:
        """The verdict on the mappings at `index`; of a slice a view."""
        return Verdict(*(getattr(self, field.name)[..., index] for field in fields(self)))

    @cached_property
    def energy(self) -> Floats:
        """Total energy, [batch]."""
        return np.asarray(self.level_energy.sum(axis=0) + self.mac_energy)

    def price(self, memories: Memories, nest: Spans, kept: Sequence[Sequence[int]], macs: int, each: float) -> None:
        """Fill in instances, energies and cycles from the words.

        Args:
            kept: by level, the tensors that it keeps.
            macs: multiply-accumulates of the layer; `each`: the energy of one.
        """
        self.instances[...] = nest.instances
        self.compute_cycles[...] = nest.compute_cycles
        self._limit(memories, nest, kept)
        np.max(self.level_cycles, axis=0, out=self.cycles)  # of which parts leak; what the networks add is not, as in Timeloop
        for k, spent in enumerate(self._spent(memories, nest, kept)):
            leakage = memories.leak[k, 0] * self.cycles
            if nest.several[k]:
                np.add(spent * nest.at_work[k], leakage * nest.at_work[k], out=self.level_energy[k])
            else:
                np.add(spent, leakage, out=self.level_energy[k])
            if nest.passes is not None:
                self.omitted[...] += spent * nest.cut_off[k] + leakage * nest.cut_off[k]
        self.mac_energy[...] = nest.computes(macs) * each
        if nest.exact:
            self.omitted[...] += macs * each - self.mac_energy
        self.cycles[...] += memories.edges

    def _spent(self, memories: Memories, nest: Spans, kept: Sequence[Sequence[int]]) -> Iterator[Floats | float]:
        """By level, the energy of the accesses of one instance, [batch]."""
        words = (self.reads, self.fills, self.updates)
        accesses = memories.widths.accesses(*words) if memories.widths.packed else words
        for k, tensors in enumerate(kept):
            block = 1.0 if memories.widths.packed else memories.block[k, 0]
            spent: Floats | float = 0.0
            for some, price in zip(accesses, (memories.read, memories.write, memories.update), strict=True):
                rows = [some[k, t] for t in tensors if price is not memories.update or t == OUTPUTS]
                if rows and price[k, 0]:
                    spent = spent + _sum(rows if block == 1 else [np.ceil(row / block) for row in rows]) * price[k, 0]
            if memories.grouped:  # whose accesses the instances at work in one array share
                spent = spent * (np.minimum(nest.most[k], memories.groups[k, 0]) / nest.most[k])
            yield spent

    def _limit(self, memories: Memories, nest: Spans, kept: Sequence[Sequence[int]]) -> None:
        """Fill in each level's cycles at its bandwidths."""
        compute, widths = nest.compute_cycles, memories.widths
        read, written = self.reads, self.fills
        if widths.packed:
            shared = [np.stack([nest.shared(some[k], k) for k in range(len(kept))]) for some in (read, written, self.updates)]
            read, filled, updated = widths.words(*shared)
            written = filled + updated
        for k, tensors in enumerate(kept):
            limits = [float(limit[k, 0]) for limit in memories.limits]
            self.level_cycles[k] = compute
            if not tensors or not np.isfinite(limits).any():
                continue
            reads, writes = [read[k, t] for t in tensors], [written[k, t] for t in tensors]
            if not widths.packed:
                writes = [row + self.updates[k, t] if t == OUTPUTS else row for t, row in zip(tensors, writes, strict=True)]
                reads, writes = ([nest.shared(row, k) for row in rows] for rows in (reads, writes))
            demands = [_sum([row / compute for row in rows]) for rows in (reads, writes)]
            greatest: dict[float, Floats] = {}
            for limit, demand in zip(limits, (*demands, demands[0] + demands[1]), strict=True):
                if np.isfinite(limit):
                    greatest[limit] = np.maximum(demand, greatest.get(limit, limit))
            slowdown = functools.reduce(np.minimum, [limit / demand for limit, demand in greatest.items()])
            np.ceil(compute / slowdown, out=self.level_cycles[k])


def _sum(rows: Sequence[Floats]) -> Floats:
    return functools.reduce(np.add, rows)
