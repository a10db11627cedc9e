"""Mappings with imperfect factors: a perfect mapping of a slightly larger layer, with residuals, is one of the layer.

`hwflow.mapper.search` finds mappings whose loops divide their dimensions. With them 37 channels cannot use 12 columns, but 40
can, in four passes of 10, and residuals reduce these to 10, 10, 10 and 7. Such a mapping takes the cycles of the padded layer
and moves the data of the true one. The sizes worth padding to follow from the array utilization that they reach and from
quotients with few divisors; the most promising padded layers are searched together with a narrow beam; the results are trimmed
to the least bounds that cover the layer and ranked by an estimate of the analysis, and the best few are evaluated exactly. This
procedure is hwflow's own.

Timeloop truncates the average number of active instances to a whole number before it multiplies energies by it. A mapping whose
energy is reduced by more than the share `OMITTED` in this way is rejected; otherwise searches would favour such mappings.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from hwflow.arrays import Ints
from hwflow.hardware.dataflow import LevelConstraint
from hwflow.loopnest.nest import Batch, Nest, Verdict
from hwflow.mapper.array_utilization import ArrayUtilization, array_utilization, passes
from hwflow.mapper.bounds import OMITTED, even_cycles, lower_bound, streaming_cycles
from hwflow.mapper.objective import Found, scores, value
from hwflow.mapper.search import glance, narrow
from hwflow.mapper.search import search as perfect_search
from hwflow.mapper.tile_lattice import divisors, together
from hwflow.types import Objective

Judged = tuple[Batch, Verdict]
"""A mapping, as a batch of one, with its exact verdict."""
_TRIES, _FEWER = 3, 2  # padded layers searched per unit of effort: of sizes with few divisors, and of others
_JUDGED = 2  # mappings evaluated exactly, per unit of effort
_FULLER = 0.99  # a search of its own pays where padding takes less than this share of the perfect mapping's cycles
_APART = 2.5  # sizes whose neighbouring divisors differ by at most this factor have enough tiles
_FAST, _TILED = 1.5, 0.1  # exponents of cycles and of tiles in the ranking of padded layers, beside their waste
_TILES = 20_000  # tiles of all padded layers together, per unit of effort; with more, only the best layer is searched
_LARGEST = 1 << 16  # tiles of one padded layer, and half of those of all together: bounds memory use at any effort


def search(
    nest: Nest, constraints: Sequence[LevelConstraint], *, objective: Objective, effort: int = 1, keep: int = 1
) -> Found | None:
    """The best mapping found, with perfect or imperfect factors, and a bound that holds for both; None where not even the
    smallest tiles fit.

    The most promising search comes first; the others follow only where they could improve on its result.

    Args:
        keep: how many of the best mappings with perfect factors are given beside the best one; 1: none.
    """
    array = array_utilization(nest, constraints)

    def ragged(perfect: Verdict | None) -> Judged | None:
        """The best mapping from padded layers that is better than the perfect one; None where there is none."""
        limit = math.inf if perfect is None else value(perfect, objective)
        padded = _paddings(nest, array, objective, perfect, effort)
        return _best(nest, constraints, objective, effort, padded, limit) if padded else None

    asked = functools.partial(
        perfect_search, nest, constraints, objective=objective, effort=effort, prove_more=False, keep=keep
    )
    best: Judged | None = None
    if any(_smooth(int(n), effort > 1) != n for n in nest.sizes):
        best = ragged(None)
        perfect = asked(limit=math.inf if best is None else value(best[1], objective))
    elif array.cycles.min() <= even_cycles(nest, constraints) * _FULLER and _tiles(nest.sizes.tolist()) <= _LARGEST:
        first, limit = glance(nest, constraints, objective=objective, effort=effort), math.inf
        if first.verdict is not None:
            best = ragged(first.verdict)
            limit = value(first.verdict if best is None else best[1], objective)
        perfect = asked(limit=limit, first=first)
    else:
        perfect = asked()
        best = None if perfect is None else ragged(perfect.verdict)
    if perfect is not None and (best is None or value(perfect.verdict, objective) <= value(best[1], objective)):
        best = perfect.batch, perfect.verdict
    if best is None:
        return None
    least, bound = value(best[1], objective), lower_bound(nest, constraints, objective, array=array)
    several = None if perfect is None else perfect.several
    return Found(*best, least <= bound * (1 + 2e-9), min(bound, least), several)


def trimmed(batch: Batch, sizes: Ints) -> Batch:
    """The mappings with the smallest bounds that cover `sizes` in the same number of passes of the outer loops."""
    temporal, spatial = batch.temporal.copy(), batch.spatial.copy()
    loops = [(bounds, np.asarray((bounds > 1).any(axis=2))) for bounds in (spatial, temporal)]
    for d, size in enumerate(sizes):
        left = np.full(batch.size, size)
        for k in range(len(temporal)):
            for bounds, used in loops:
                if used[k, d]:
                    times = -(-left // bounds[k, d])
                    bounds[k, d] = -(-left // times)
                    left = times
    return replace(batch, temporal=temporal, spatial=spatial)


def _best(
    nest: Nest,
    constraints: Sequence[LevelConstraint],
    objective: Objective,
    effort: int,
    padded: Sequence[tuple[int, ...]],
    limit: float,
) -> Judged | None:
    """The best mapping from padded layers, as a batch of one, with its exact verdict; None where none is below `limit`."""
    batch = narrow(nest, constraints, objective, padded[: together(padded)], effort=effort, cut=limit)
    if batch is None:
        return None
    batch, legal = trimmed(batch, nest.sizes).with_residuals(nest.sizes)
    assert legal.all()
    for count, exact in ((_JUDGED * effort, False), (1, True)):
        verdict = nest.evaluate(batch, with_links=exact)
        whole = verdict.energy + verdict.omitted if exact else verdict.energy
        honest = verdict.fits & (verdict.omitted <= OMITTED * whole)
        values, index = np.unique(np.where(honest, scores(verdict, objective)[0], np.inf), return_index=True)
        chosen = index[:count][values[:count] < limit]
        batch, verdict = batch.take(chosen), verdict.take(chosen)
        if batch.size == 0:
            return None
    return batch, verdict


# What to pad to ------------------------------------------------------------------------------------------------------


def _paddings(
    nest: Nest, array: ArrayUtilization, objective: Objective, perfect: Verdict | None, effort: int
) -> list[tuple[int, ...]]:
    """The most promising sizes to pad to: few cycles, little waste, and many tiles to choose from. The ranking is hwflow's own,
    chosen by the gains on layers of random widths on the presets.

    Where the best perfect mapping is known, padding can pay only by a higher array utilization, and only if compute cycles
    limited that mapping.
    """
    limit = math.inf
    if perfect is not None:
        busiest = float(perfect.cycles[0]) - nest.memories.edges
        limit = busiest * _FULLER
        if objective == "energy" or perfect.compute_cycles[0] < busiest or streaming_cycles(nest) > limit:
            return []
    some = array.cycles <= limit
    factors, least = array.factors[some], array.cycles[some]
    quotients = passes(nest.sizes, factors)
    smooth = {q: _smooth(q, effort > 1) for q in np.unique(quotients).tolist()}
    even = np.array([smooth[q] for q in quotients.ravel().tolist()], dtype=np.int64).reshape(quotients.shape)
    sizes = np.concatenate([factors * quotients, factors * even])
    least = np.concatenate([least, least * (even / quotients).prod(axis=1)])
    worth = (least <= limit) & (sizes != nest.sizes).any(axis=1)
    sizes, least = sizes[worth], least[worth]
    sizes, index = np.unique(sizes, axis=0, return_index=True)
    tiles = np.array([_tiles(n) for n in sizes.tolist()], dtype=np.int64)
    sizes, least, tiles = sizes[tiles <= _LARGEST], least[index][tiles <= _LARGEST], tiles[tiles <= _LARGEST]
    ranked = np.argsort(least**_FAST * (sizes / nest.sizes).prod(axis=1) / tiles**_TILED, kind="stable")
    chosen: list[int] = []
    room, most = min(_TILES * effort, 2 * _LARGEST), (_TRIES if perfect is None else _FEWER) * effort
    for i in ranked.tolist():
        if not chosen or (len(chosen) < most and tiles[i] <= room):
            chosen.append(i)
            room -= tiles[i]
    return [tuple(n) for n in sizes[chosen].tolist()]


def _tiles(sizes: Iterable[int]) -> int:
    """The number of tiles of a layer."""
    return math.prod(len(divisors(n)) for n in sizes)


@functools.cache
def _smooth(n: int, small: bool) -> int:
    """n, or where its divisors are far apart a slightly larger number with enough more divisors that tiles fit better (hwflow's
    own heuristic); `small`: the same for the odd numbers up to 7."""
    if small and n in (3, 5, 7):
        return n + 1
    if all(b <= _APART * a for a, b in itertools.pairwise(divisors(n))):
        return n

    def worth(m: int) -> float:
        return len(divisors(m)) * (n / m) ** 4

    best = max(range(n, n + min(n // 6, 64) + 1), key=worth)
    return best if worth(best) >= 1.4 * worth(n) else n
