"""A lower bound for all mappings with imperfect factors, and better mappings that its tiles suggest.

All choices of spatial loops, with all tiles below them, have a bound that counts their crossing words with the passes outside
as if all choices had the least of these words. Those with the least bounds are then bounded by their own recursion
(`hwflow.mapper.ragged_outside`), until the next ones cannot be below what is already reached. Tiles at which the least was
reached become mappings, in the orders of loops that can matter, and the best of these are evaluated exactly.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from hwflow.arrays import Bools, Floats, Ints
from hwflow.hardware.dataflow import LevelConstraint
from hwflow.layers import DIMS, TENSORS
from hwflow.loopnest.nest import Batch, Nest, Verdict
from hwflow.mapper.bounds import OMITTED, streaming_cycles
from hwflow.mapper.objective import Found, scores, value
from hwflow.mapper.padding import trimmed
from hwflow.mapper.ragged_inside import Inside, Spread, spreads
from hwflow.mapper.ragged_outside import Outside
from hwflow.mapper.ragged_space import RaggedSpace, lopsided
from hwflow.types import Objective

VERSION = 1
"""Changes whenever a bound changes: a part of the keys under which proofs are kept."""

_MOST_PAIRS = 1 << 21  # choices of spatial loops and tiles below them: bounds memory and time
_BOUNDED = 300  # of these, bounded by their own recursion
_STARTS = 12  # tiles below the fan-outs that become mappings
_MAPPINGS = 1 << 15  # mappings estimated, and
_JUDGED = 16  # evaluated exactly
_SLACK = 1 - 1e-11  # sums in another order than the analysis'


class RaggedProof(NamedTuple):
    """A bound, 0 where there is none, and a mapping that is better than the known one, as a batch of one with its verdict."""

    bound: float
    better: tuple[Batch, Verdict] | None


def prove_ragged(
    nest: Nest, constraints: Sequence[LevelConstraint], objective: Objective, known: tuple[Batch, Verdict], *, gap: float = 0.0
) -> RaggedProof:
    """A lower bound on `objective` for mappings of both kinds of factors, or 0 where the layer or chip is not covered.

    Args:
        known: the best known mapping; nothing is said if it is lopsided, since such mappings are left out.
        gap: a better mapping is looked for if the bound is further from the known one than this share.
    """
    space = RaggedSpace.of(nest, constraints)
    if space is None or lopsided(known[0])[0]:
        return RaggedProof(0.0, None)
    best, better = value(known[1], objective), None
    search = _Search.of(space, objective, known[1])
    if search is None:
        return RaggedProof(0.0, None)
    bound, starts = search.bound(best)
    if bound < best * (1 - gap):
        found = search.mappings(starts, constraints, best)
        if found is not None:
            best, better = value(found[1], objective), found
            bound = max(bound, min(search.bound(best)[0], best))
    return RaggedProof(min(bound, best), better)


def proven_ragged(
    nest: Nest, constraints: Sequence[LevelConstraint], objective: Objective, found: Found, *, gap: float
) -> Found:
    """The result of a search of mappings of both kinds of factors, or a better mapping, with the larger bound."""
    if found.bound >= value(found.verdict, objective) * (1 - gap):
        return found
    proof = prove_ragged(nest, constraints, objective, (found.batch, found.verdict), gap=gap)
    if proof.better is not None:
        found = replace(found, batch=proof.better[0], verdict=proof.better[1])
    known, bound = value(found.verdict, objective), max(found.bound, proof.bound)
    return replace(found, bound=min(bound, known), proven_optimal=known <= bound * (1 + 2e-9))


class _Start(NamedTuple):
    """A tile below the fan-outs, the spatial loops, tiles of the levels outside, and the bound."""

    bound: float
    tile: Floats
    spread: Spread
    outside: list[tuple[int, ...]]


class _Priced:
    """Least energies of one layer under all choices of spatial loops, with a toll on words to and from DRAM or without."""

    def __init__(self, space: RaggedSpace, inside: Inside, some: Sequence[Spread]) -> None:
        self.space, self.outside, self.costs = space, Outside(space), inside.costs(space, some)
        self.places = inside.places(self.costs.spans, self.outside.extents)
        self.passes = [self.outside.counted(t, space.outer) for t in range(len(TENSORS))]

    def least(self, rows: slice) -> tuple[Floats, Ints]:
        """Bounds of the energy of some tiles, and the tensors that have the run directly outside, [tile].

        Of each tensor's crossing words the least of these tiles counts for each pass outside a run, the rest as for one.
        """
        outside, crossing = self.outside, self.costs.crossing[:, rows]
        places, counted = tuple(column[rows] for column in self.places), crossing.min(axis=1)

        def at(array: Floats) -> Floats:
            return np.asarray(np.broadcast_to(array, outside.shape)[places])

        passed = np.stack([cost * at(passes) for cost, passes in zip(crossing, self.passes, strict=True)])
        beyond = np.stack([at(outside.around(t, self.space.outer, float(c) * outside.one)) for t, c in enumerate(counted)])
        energies = passed.sum(axis=0) - passed + beyond + (crossing - counted[:, None])
        return energies.min(axis=0) + self.costs.fixed[rows] - outside.saved, energies.argmin(axis=0)

    def tiles(self, row: int, t: int) -> list[tuple[int, ...]]:
        """Tiles of the levels outside that have the least energy around a tile with a run of tensor t."""
        place = tuple(int(column[row]) for column in self.places)
        return self.outside.chosen(t, float(self.costs.crossing[t, row]) * self.outside.one, place)


@dataclass
class _Search:
    """Bounds of one layer under all choices of spatial loops.

    Attributes:
        priced: energies without a toll, and for EDP on a chip whose DRAM has a bandwidth with one.
        weight: the energy of a cycle at that bandwidth, by which the toll is chosen.
    """

    space: RaggedSpace
    objective: Objective
    spreads: list[Spread]
    priced: list[_Priced]
    weight: float

    @classmethod
    def of(cls, space: RaggedSpace, objective: Objective, known: Verdict) -> _Search | None:
        """None where there are too many choices of spatial loops and of tiles below them."""
        inside, some = Inside(space), spreads(space)
        if len(some) * len(inside.tiles) > _MOST_PAIRS:
            return None
        bandwidth = space.nest.accelerator.words_per_cycle(space.nest.accelerator.dram)
        weight = float(known.energy[0] / known.cycles[0])
        tolls = [weight / bandwidth] if objective == "edp" and bandwidth is not None else []
        return cls(space, objective, some, [_Priced(replace(space, toll=t), inside, some) for t in (0.0, *tolls)], weight)

    def bound(self, known: float) -> tuple[float, list[_Start]]:
        """The least over all choices, if no mapping above `known` is of interest, and the tiles that it was found for."""
        costs = self.priced[0].costs
        if not len(costs.spread):
            return 0.0, []
        cheap = np.full(len(self.spreads), np.inf)
        np.minimum.at(cheap, costs.spread, self._valued(slice(None), known)[0])
        order = np.argsort(cheap, kind="stable")
        starts: list[_Start] = []
        best, seen = math.inf, 0
        for i in order[:_BOUNDED].tolist():
            if cheap[i] >= min(best, known):
                break
            rows = slice(*np.searchsorted(costs.spread, [i, i + 1]).tolist())
            bounds, runs = self._valued(rows, known)
            best, seen = min(best, float(bounds.min())), seen + 1
            for j in np.argsort(bounds, kind="stable")[:_STARTS].tolist():
                if bounds[j] < known and (len(starts) < _STARTS or bounds[j] < starts[-1].bound):
                    row = rows.start + j
                    for priced, tensors in zip(self.priced, runs, strict=True):
                        tiles = priced.tiles(row, int(tensors[j]))
                        starts.append(_Start(float(bounds[j]), costs.tiles[row], self.spreads[i], tiles))
                    starts = sorted(starts, key=lambda start: start.bound)[: _STARTS * len(self.priced)]
        unseen = float(cheap[order[seen]]) if seen < len(order) else math.inf
        return min(best, unseen, known) * _SLACK, starts

    def _valued(self, rows: slice, known: float) -> tuple[Floats, list[Ints]]:
        """Bounds of the objective, [tile], infinite for tiles of which mappings below the known one omit too much; and for each
        price the tensors that have the run."""
        nest, costs = self.space.nest, self.priced[0].costs
        energies, runs = zip(*(priced.least(rows) for priced in self.priced), strict=True)
        energy = energies[0]
        cycles = np.maximum(costs.cycles[rows], streaming_cycles(nest)) + nest.memories.edges
        if self.objective == "latency":
            return np.where(np.isfinite(energy), cycles, np.inf), list(runs)
        # mappings below the known one, with so little omitted, have at most this energy, a hundredth of it more if all counts
        most = known / (cycles if self.objective == "edp" else 1.0) / (1 - OMITTED)
        bounds = energy if self.objective == "energy" else energy * cycles
        possible = np.isfinite(energy)
        for tolled in energies[1:]:
            # energy + weight x cycles is this at least; the product of two numbers is least where one is as small as it can be
            both = np.where(possible, tolled, 0.0) + self.weight * nest.memories.edges
            alone = np.where(possible, energy, 0.0)
            slower = alone * np.maximum(cycles, (both - alone) / self.weight)
            dearer = np.maximum(alone, both - self.weight * cycles) * cycles
            bounds = np.where(possible, np.maximum(bounds, np.minimum(slower, dearer)), np.inf)
        return np.where(costs.omitted[rows] <= OMITTED * most * (1 + 1e-9), bounds, np.inf), list(runs)

    # Mappings --------------------------------------------------------------------------------------------------------

    def mappings(
        self, starts: Sequence[_Start], constraints: Sequence[LevelConstraint], limit: float
    ) -> tuple[Batch, Verdict] | None:
        """The best mapping of those that the tiles suggest, below `limit`; None where there is none."""
        space = self.space
        rules = list(reversed(constraints))
        spatial_order = tuple(tuple(DIMS.index(d) for d in r.spatial) if r.level.fanout > 1 else () for r in rules)
        forced = [tuple(DIMS.index(d) for d in rule.innermost) for rule in rules]
        nests = list(itertools.islice(self._nests(starts), _MAPPINGS // 8))
        if not nests:
            return None
        temporal, spatial, orders = [], [], []
        for times, across in nests:
            for order in _orders(space, times, forced):
                temporal.append(times)
                spatial.append(across)
                orders.append(order)
        batch = Batch(
            np.stack(temporal[:_MAPPINGS], axis=2),
            np.stack(spatial[:_MAPPINGS], axis=2),
            np.stack(orders[:_MAPPINGS], axis=2).astype(np.int8),
            spatial_order,
        )
        sizes = space.nest.sizes
        batch, legal = trimmed(batch, sizes).with_residuals(sizes)
        batch = batch.take((legal & ~lopsided(batch)).nonzero()[0])
        for count, exact in ((_JUDGED, False), (1, True)):
            if batch.size == 0:
                return None
            verdict = space.nest.evaluate(batch, with_links=exact)
            whole = verdict.energy + verdict.omitted if exact else verdict.energy
            honest: Bools = verdict.fits & (verdict.omitted <= OMITTED * whole)
            values, index = np.unique(np.where(honest, scores(verdict, self.objective)[0], np.inf), return_index=True)
            chosen = index[:count][values[:count] < limit]
            batch, verdict = batch.take(chosen), verdict.take(chosen)
        return (batch, verdict) if batch.size else None

    def _nests(self, starts: Sequence[_Start]) -> Iterator[tuple[Ints, Ints]]:
        """Temporal and spatial bounds, [level, dimension] each, near the tiles of the least bounds."""
        space = self.space
        count = len(space.temporal)
        seen = set()
        for start in starts:
            spatial, inner = np.ones((count, len(DIMS)), dtype=np.int64), np.ones((count, len(DIMS)), dtype=np.int64)
            for k, factors in start.spread.levels.items():
                spatial[k] = factors
            for d, x in enumerate(start.tile.astype(np.int64).tolist()):
                if x > 1:
                    inner[next(k for k, temporal in enumerate(space.temporal) if d in temporal), d] = x
            span = inner.prod(axis=0) * spatial.prod(axis=0)
            options: list[list[tuple[int, ...]]] = []
            for d, size in enumerate(space.sizes):
                ways: list[tuple[int, ...]] = [()]
                for k, tile in zip(range(space.outer, count - 1), start.outside, strict=True):
                    longer = []
                    for way in ways:
                        inside = int(span[d]) * math.prod(way)
                        left = -(-size // inside)
                        near = {max(1, tile[d] // inside), -(-tile[d] // inside), left} if d in space.temporal[k] else {1}
                        longer += [(*way, b) for b in sorted(near) if b <= left]
                    ways = longer[:6]
                options.append(
                    [
                        (*way, -(-size // (int(span[d]) * math.prod(way))))
                        for way in ways
                        if d in space.temporal[-1] or int(span[d]) * math.prod(way) >= size
                    ]
                )
            for combination in itertools.islice(itertools.product(*options), 256):
                times = inner.copy()
                times[space.outer :] *= np.array(combination).T
                key = (times.tobytes(), spatial.tobytes())
                if key not in seen:
                    seen.add(key)
                    yield times, spatial


def _orders(space: RaggedSpace, times: Ints, forced: Sequence[tuple[int, ...]]) -> Iterator[Ints]:
    """Orders of the loops of each level, [level, p], the innermost first: each with one tensor's idle dimensions inside."""
    ways = []
    for k in range(len(times)):
        active = [d for d in range(len(DIMS)) if times[k, d] > 1]
        head = [d for d in forced[k] if d in active]
        rest = [d for d in active if d not in head]
        slides = [term.dim for pairs in space.windows for pair in pairs for term in pair]
        found = dict.fromkeys(
            (*head, *sorted(rest, key=lambda d: (d not in idle, d != lead)))
            for idle in space.idle
            for lead in [*(d for d in slides if d in rest), -1]
        )
        ways.append([(*way, *(d for d in range(len(DIMS)) if d not in way)) for way in found])
    for choice in itertools.product(*ways):
        yield np.array(choice)
