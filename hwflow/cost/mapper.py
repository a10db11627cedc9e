"""Mapping search: a deterministic beam of mappings, improved by moving factors between levels and loops within them.

The space is what the dataflow's constraints allow: for every dimension all ways to split it into one factor a slot (a level's
temporal loops, or the fan-out below it), and for every level all orders of its loops. A fixed sample of it, spread over all
factorisations, starts the search; then the best few hundred mappings' neighbours are judged together, again and again, until
nothing improves. Ours; the analysis that judges is `hwflow.cost.nest`.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from hwflow.cost.nest import Batch, Floats, Ints, Nest, Verdict
from hwflow.dataflow import LevelConstraint
from hwflow.layers import DIMS, TENSORS

Objective = Literal["energy", "latency", "edp"]

_SAMPLE = 8192  # mappings that start the search, a unit of effort
_BEAM = 48  # mappings kept from one round to the next, a unit of effort
_ROUNDS = 80
_CHUNK = 32768  # mappings judged in one call: bounds the memory at any effort


@dataclass(frozen=True)
class Found:
    """The best mapping, as a batch of one, with what is proven of it."""

    batch: Batch
    proven_optimal: bool
    bound: float


def search(nest: Nest, constraints: Sequence[LevelConstraint], *, objective: Objective, effort: int = 1) -> Found | None:
    """The best mapping found, or None where not even the smallest tiles fit. Equal arguments give the equal result."""
    space = _Space(nest, constraints)
    beam = space.sample(_SAMPLE * effort)
    beam, _ = _best(nest, beam, objective, _BEAM * effort)
    if beam.size == 0:
        return None
    previous = (math.inf, math.inf)
    stale = 0
    for _ in range(_ROUNDS):
        candidates = _concatenate([beam, *space.neighbours(beam)])
        beam, score = _best(nest, space.canonical(candidates), objective, _BEAM * effort)
        stale = stale + 1 if score >= previous else 0
        previous = score
        if stale == 2:
            break
    final, score = _best(nest, beam, objective, 1, with_links=True)
    bound = lower_bound(nest, constraints, objective)
    return Found(final, score[0] <= bound * (1 + 1e-12), bound)


def lower_bound(nest: Nest, constraints: Sequence[LevelConstraint], objective: Objective) -> float:
    """What no mapping within the constraints can undercut: energy, cycles, or their product.

    Energy: every MAC, every operand read from the innermost memory that keeps it (shared by at most the fan-out below), every
    word that the layer touches moved once from or to DRAM. Cycles: MACs over the largest parallelism that divides, or those
    words over DRAM's bandwidth.
    """
    layer, acc, table = nest.layer, nest.accelerator, nest.table
    parallel = 1
    for constraint in constraints:
        allowed = math.prod(layer.dims[d] for d in constraint.spatial)
        parallel *= max((n for n in range(1, constraint.level.fanout + 1) if allowed % n == 0), default=1)
    cycles = layer.macs / parallel
    energy, words = nest.mac_energy, 0
    for t, tensor in enumerate(TENSORS):
        inner = int(np.flatnonzero(nest.keep[:, t])[0])
        shared = math.prod(level.fanout for level in nest.levels[: inner + 1])
        memory = nest.levels[inner].memory
        assert memory is not None
        part = table.parts[memory.name]
        energy += layer.macs / shared / memory.block_words * (part.update if tensor == "outputs" else part.read)
        touched = int(nest.shapes[t].distinct(nest.sizes[:, None], np.ones((len(DIMS), 1), dtype=np.int64))[0])
        words += touched
        if memory is not acc.dram:
            dram = table.parts[acc.dram.name]
            energy += touched / acc.dram.block_words * (dram.update if tensor == "outputs" else dram.read)
    bandwidth = acc.words_per_cycle(acc.dram)
    if bandwidth is not None:
        cycles = max(cycles, words / bandwidth)
    return {"energy": energy, "latency": cycles, "edp": energy * cycles}[objective]


def _scores(verdict: Verdict, objective: Objective) -> tuple[Floats, Floats]:
    """What is minimised, and what decides between equals."""
    if objective == "energy":
        return verdict.energy, verdict.cycles
    if objective == "latency":
        return verdict.cycles, verdict.energy
    return verdict.energy * verdict.cycles, verdict.energy


def _best(nest: Nest, batch: Batch, objective: Objective, count: int, *, with_links: bool = False) -> tuple[Batch, tuple[float, float]]:
    """The best `count` of the mappings that fit, and the best one's score."""
    firsts, seconds = np.full(batch.size, np.inf), np.full(batch.size, np.inf)
    for start in range(0, batch.size, _CHUNK):
        index = np.arange(start, min(start + _CHUNK, batch.size))
        verdict = nest.evaluate(batch.take(index), with_links=with_links)
        first, second = _scores(verdict, objective)
        firsts[index], seconds[index] = np.where(verdict.fits, first, np.inf), second
    ranked = np.lexsort((seconds, firsts))[:count]
    ranked = ranked[np.isfinite(firsts[ranked])]
    if ranked.size == 0:
        return batch.take(ranked), (math.inf, math.inf)
    return batch.take(ranked), (float(firsts[ranked[0]]), float(seconds[ranked[0]]))


@dataclass(frozen=True)
class _Slot:
    """A place for factors of one dimension: the temporal loops of a level, or the fan-out below it."""

    level: int
    spatial: bool


class _Space:
    """The mappings that the constraints allow for one layer."""

    def __init__(self, nest: Nest, constraints: Sequence[LevelConstraint]) -> None:
        self.nest = nest
        self.levels = len(nest.levels)
        self.slots: list[list[_Slot]] = [[] for _ in DIMS]
        self.forced: list[tuple[int, ...]] = []
        for k, constraint in enumerate(reversed(constraints)):
            for d, name in enumerate(DIMS):
                if name in constraint.temporal:
                    self.slots[d].append(_Slot(k, False))
                if name in constraint.spatial:
                    self.slots[d].append(_Slot(k, True))
            self.forced.append(tuple(DIMS.index(d) for d in constraint.innermost))
        self.spatial_order = tuple(
            tuple(DIMS.index(d) for d in c.spatial) if c.level.fanout > 1 else () for c in reversed(constraints)
        )
        self.factorizations = [self._factorizations(d) for d in range(len(DIMS))]

    def _factorizations(self, d: int) -> Ints:
        """Every way to split dimension d over its slots that alone overflows nothing, [way, slot]."""
        size, slots = int(self.nest.sizes[d]), self.slots[d]
        limits = [self.nest.levels[s.level].fanout if s.spatial else size for s in slots]
        ways = np.array(list(_splits(size, tuple(limits))), dtype=np.int64).reshape(-1, len(slots))
        alone = self._empty(len(ways))
        for s, slot in enumerate(slots):
            (alone.spatial if slot.spatial else alone.temporal)[slot.level, d] = ways[:, s]
        return ways[self._fits(alone)]

    def _empty(self, count: int) -> Batch:
        ones = np.ones((self.levels, len(DIMS), count), dtype=np.int64)
        order = np.broadcast_to(np.arange(len(DIMS), dtype=np.int8)[None, :, None], ones.shape)
        return Batch(ones, ones.copy(), order.copy(), self.spatial_order)

    def _fits(self, batch: Batch) -> npt.NDArray[np.bool_]:
        extents = np.ones((len(DIMS), batch.size), dtype=np.int64)
        fits = np.ones(batch.size, dtype=np.bool_)
        for k, level in enumerate(self.nest.levels):
            extents = extents * batch.spatial[k] * batch.temporal[k]
            fits &= batch.spatial[k].prod(axis=0) <= level.fanout
            if level.memory is not None and level.memory.words is not None:
                room = int(level.memory.words // level.memory.buffering)
                need = sum(shape.words(extents) for shape, kept in zip(self.nest.shapes, self.nest.keep[k], strict=True) if kept)
                fits &= need <= room
        return fits

    def sample(self, count: int) -> Batch:
        """A fixed sample, spread over all factorisations, with the mapping that leaves everything to the outermost level."""
        rng = np.random.default_rng(0)
        kept: list[Batch] = [self._outermost()]
        for _ in range(12):
            batch = self._empty(count)
            for d, ways in enumerate(self.factorizations):
                if len(ways) == 0:
                    continue
                spread = np.array([s.spatial for s in self.slots[d]])
                weight = np.where(spread, ways, 1).prod(axis=1).astype(np.float64)  # prefer parallel ones
                picks = ways[rng.choice(len(ways), size=count, p=weight / weight.sum())]
                for s, slot in enumerate(self.slots[d]):
                    (batch.spatial if slot.spatial else batch.temporal)[slot.level, d] = picks[:, s]
            batch.order[:] = rng.permuted(batch.order, axis=1)
            kept.append(batch.take(np.flatnonzero(self._fits(batch))))
            if sum(b.size for b in kept) >= count // 2:
                break
        return self.canonical(_concatenate(kept))

    def _outermost(self) -> Batch:
        batch = self._empty(1)
        for d, slots in enumerate(self.slots):
            outer = max((s.level for s in slots if not s.spatial), default=self.levels - 1)
            batch.temporal[outer, d] = self.nest.sizes[d]
        return batch

    def canonical(self, batch: Batch) -> Batch:
        """Loops of bound 1 last in each level's order, forced innermost loops first; then each mapping once."""
        order = batch.order
        for k in range(self.levels):
            trivial = np.take_along_axis(batch.temporal[k], order[k].astype(np.intp), 0) == 1
            rank = np.arange(len(DIMS))[:, None] + np.where(trivial, 100 + order[k], 0)
            for position, d in enumerate(self.forced[k]):
                rank = np.where((order[k] == d) & ~trivial, position - 100, rank)
            order[k] = np.take_along_axis(order[k], np.argsort(rank, axis=0, kind="stable"), 0)
        flat = np.concatenate([batch.temporal, batch.spatial, batch.order]).reshape(-1, batch.size).astype(np.int64)
        keys = np.random.default_rng(1).integers(1, 2**62, size=len(flat), dtype=np.int64) | 1
        _, index = np.unique(keys @ flat, return_index=True)
        return batch.take(np.sort(index))

    def neighbours(self, beam: Batch) -> Iterator[Batch]:
        """All mappings one step away: a factor moved to another slot, a loop moved within its level, two factors exchanged."""
        for d, slots in enumerate(self.slots):
            for source, target in itertools.permutations(slots, 2):
                yield from self._moved(beam, d, source, target)
        for k in range(self.levels):
            yield from self._reordered(beam, k)
        yield from self._exchanged(beam)

    def _moved(self, beam: Batch, d: int, source: _Slot, target: _Slot) -> Iterator[Batch]:
        held = (beam.spatial if source.spatial else beam.temporal)[source.level, d]
        for factor in _divisors(int(self.nest.sizes[d]))[1:]:
            index = np.flatnonzero(held % factor == 0)
            if index.size == 0:
                continue
            moved = self._shift(beam.take(index), d, source, target, factor)
            moved = moved.take(np.flatnonzero(self._fits(moved)))
            if moved.size == 0:
                continue
            yield moved
            if not target.spatial:  # as the innermost loop of its level, too
                inner = moved.take(np.arange(moved.size))
                place = np.where(inner.order[target.level] == d, -1, np.arange(len(DIMS))[:, None])
                inner.order[target.level] = np.take_along_axis(inner.order[target.level], np.argsort(place, axis=0, kind="stable"), 0)
                yield inner

    @staticmethod
    def _shift(batch: Batch, d: int, source: _Slot, target: _Slot, factor: int) -> Batch:
        (batch.spatial if source.spatial else batch.temporal)[source.level, d] //= factor
        (batch.spatial if target.spatial else batch.temporal)[target.level, d] *= factor
        return batch

    def _reordered(self, beam: Batch, k: int) -> Iterator[Batch]:
        active = int((beam.temporal[k] > 1).sum(axis=0).max(initial=0))
        for start, end in itertools.permutations(range(active), 2):
            moved = beam.take(np.arange(beam.size))
            positions = list(range(len(DIMS)))
            positions.insert(end, positions.pop(start))
            moved.order[k] = moved.order[k][positions]
            yield moved

    def _exchanged(self, beam: Batch) -> Iterator[Batch]:
        """Two dimensions trade the smallest factors that they can between the same two slots, for the best few of the beam."""
        few = beam.take(np.arange(min(8, beam.size)))
        for d, e in itertools.permutations([i for i in range(len(DIMS)) if self.nest.sizes[i] > 1], 2):
            shared = [s for s in self.slots[d] if s in self.slots[e]]
            for a, b in itertools.permutations(shared, 2):
                for f, g in itertools.product(_primes(int(self.nest.sizes[d])), _primes(int(self.nest.sizes[e]))):
                    gives = (few.spatial if a.spatial else few.temporal)[a.level, d] % f == 0
                    takes = (few.spatial if b.spatial else few.temporal)[b.level, e] % g == 0
                    index = np.flatnonzero(gives & takes)
                    if index.size == 0:
                        continue
                    moved = self._shift(self._shift(few.take(index), d, a, b, f), e, b, a, g)
                    moved = moved.take(np.flatnonzero(self._fits(moved)))
                    if moved.size:
                        yield moved


def _concatenate(batches: Sequence[Batch]) -> Batch:
    return Batch(
        np.concatenate([b.temporal for b in batches], axis=2),
        np.concatenate([b.spatial for b in batches], axis=2),
        np.concatenate([b.order for b in batches], axis=2),
        batches[0].spatial_order,
    )


@functools.cache
def _divisors(n: int) -> tuple[int, ...]:
    return tuple(d for d in range(1, n + 1) if n % d == 0)


@functools.cache
def _primes(n: int) -> tuple[int, ...]:
    return tuple(p for p in _divisors(n)[1:] if len(_divisors(p)) == 2)


@functools.cache
def _splits(n: int, limits: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Ordered factorisations of n into len(limits) factors, each at most its limit."""
    if not limits:
        return ((),) if n == 1 else ()
    return tuple((f, *rest) for f in _divisors(n) if f <= limits[0] for rest in _splits(n // f, limits[1:]))
