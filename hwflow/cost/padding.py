"""Ragged mappings by padding: a perfect mapping of a slightly larger layer, given residuals, is a ragged one of the layer.

The search of `hwflow.cost.mapper` knows loops that divide. 37 channels have no use for 12 columns there, but 40 have: four
passes of 10, which residuals make 10, 10, 10 and 7. Such a mapping takes the padded layer's cycles and moves the true one's
data. So (ours): which sizes are worth padding to follows from how full the fan-outs can get and from which quotients have few
divisors; the most promising padded layers are searched narrowly, all at once; what comes out is trimmed to the least bounds
that cover the layer and ranked by the analysis' estimate, and the best few are judged exactly.

Timeloop cuts the average number of instances at work off to a whole number before it multiplies energies with it. A mapping
that owes more than the share `OMITTED` of its energy to that is not taken (ours), or searches would end with little else.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hwflow.cost.bounds import OMITTED, lower_bound, streaming_cycles
from hwflow.cost.filling import Fillings, fillings, passes
from hwflow.cost.lattice import divisors, together
from hwflow.cost.mapper import Found, Objective, narrow, scores
from hwflow.cost.nest import Batch, Bools, Floats, Ints, Nest, Verdict
from hwflow.dataflow import LevelConstraint

_TRIES = 3  # padded layers that are searched, a unit of effort
_JUDGED = 2  # mappings that are judged exactly, a unit of effort
_FULLER = 0.99  # cycles below this share of the perfect mapping's are worth a search of themselves
_APART = 2.5  # sizes of which no two neighbouring divisors are further apart offer tiles enough
_TILED = 0.2  # the power of the number of tiles by which padded layers are ranked
_TILES = 20_000  # that the padded layers have together, a unit of effort: more take too long for what they promise


def search(
    nest: Nest, constraints: Sequence[LevelConstraint], perfect: Found, *, objective: Objective, effort: int = 1
) -> Found:
    """The best ragged mapping found, or `perfect`, the best one whose loops divide, where none is better; with a bound that
    holds for both kinds."""
    best = perfect.batch, perfect.verdict
    value = float(scores(perfect.verdict, objective)[0][0])
    filled = fillings(nest, constraints)
    padded = _paddings(nest, filled, objective, perfect.verdict, effort)
    padded = padded[: together(padded)]
    found = _best(nest, constraints, objective, effort, padded, value) if padded else None
    if found is not None:
        best, value = found, float(scores(found[1], objective)[0][0])
    bound = lower_bound(nest, constraints, objective, filled=filled)
    return Found(*best, value <= bound * (1 + 2e-9), min(bound, value))


def trimmed(batch: Batch, sizes: Ints) -> Batch:
    """The mappings with the least bounds that cover `sizes` in as many passes of the loops outside."""
    temporal, spatial = batch.temporal.copy(), batch.spatial.copy()
    for d in np.flatnonzero((temporal > 1).any(axis=(0, 2)) | (spatial > 1).any(axis=(0, 2))):
        left = np.full(batch.size, sizes[d])
        for k in range(len(temporal)):
            for bounds in (spatial, temporal):
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
) -> tuple[Batch, Verdict] | None:
    """The best mapping by way of padded layers, as a batch of one, and its exact verdict; None where none is below `limit`."""
    batch = narrow(nest, constraints, objective, padded, effort=effort, cut=limit)
    if batch is None:
        return None
    batch, legal = trimmed(batch, nest.sizes).with_residuals(nest.sizes)
    assert legal.all()
    verdict = nest.evaluate(batch, with_links=False)
    estimates = np.where(_honest(verdict, verdict.energy), scores(verdict, objective)[0], np.inf)
    values, index = np.unique(estimates, return_index=True)
    chosen = index[: _JUDGED * effort][values[: _JUDGED * effort] < limit]
    if len(chosen) == 0:
        return None
    batch = batch.take(chosen)
    verdict = nest.evaluate(batch)
    exact = np.where(_honest(verdict, verdict.energy + verdict.omitted), scores(verdict, objective)[0], np.inf)
    best = np.argmin(exact, keepdims=True)
    return (batch.take(best), verdict.take(best)) if exact[best[0]] < limit else None


def _honest(verdict: Verdict, energy: Floats) -> Bools:
    """Which mappings fit, and owe little of `energy`, the whole of it, to what Timeloop cuts off."""
    return np.asarray(verdict.fits & (verdict.omitted <= OMITTED * energy))


# What to pad to ------------------------------------------------------------------------------------------------------


def _paddings(nest: Nest, filled: Fillings, objective: Objective, perfect: Verdict, effort: int) -> list[tuple[int, ...]]:
    """Sizes that promise most: few cycles, little waste, and many tiles to choose from (ours, by what layers of random widths
    on the presets gained).

    Where no size is rough only fuller fan-outs can pay, and these only if it was the arithmetic that took so long. Small odd
    sizes count as rough with effort above 1: they seldom gain more than a hundredth.
    """
    rough = any(_smooth(int(n), effort > 1) != n for n in nest.sizes)
    cycles = float(perfect.cycles[0])
    if not rough and (objective == "energy" or perfect.compute_cycles[0] < cycles):
        return []
    factors, least = filled.factors, filled.cycles
    if objective == "energy":
        limit = math.inf
    else:
        limit = cycles * (1.0 if rough and objective == "edp" else _FULLER)
        limit = limit if streaming_cycles(nest) <= limit else 0.0
    factors, least = factors[least <= limit], least[least <= limit]
    quotients = passes(nest.sizes, factors)
    smooth = {q: _smooth(q, effort > 1) for q in np.unique(quotients).tolist()}
    even = np.array([smooth[q] for q in quotients.ravel().tolist()], dtype=np.int64).reshape(quotients.shape)
    sizes = np.concatenate([factors * quotients, factors * even])
    least = np.concatenate([least, least * (even / quotients).prod(axis=1)])
    worth = (least <= limit) & (sizes != nest.sizes).any(axis=1)
    sizes, least = sizes[worth], least[worth]
    sizes, index = np.unique(sizes, axis=0, return_index=True)
    tiles = np.array([math.prod(len(divisors(m)) for m in n) for n in sizes.tolist()])
    ranked = np.argsort(least[index] * (sizes / nest.sizes).prod(axis=1) / tiles**_TILED, kind="stable")
    chosen: list[int] = []
    room = _TILES * effort
    for i in ranked.tolist():
        if len(chosen) < _TRIES * effort and tiles[i] <= room:
            chosen.append(i)
            room -= tiles[i]
    if not chosen and len(ranked):
        chosen = [int(tiles.argmin())]
    return [tuple(n) for n in sizes[chosen].tolist()]


@functools.cache
def _smooth(n: int, small: bool) -> int:
    """n, or where its divisors lie far apart a number little larger that has so many more that tiles fit better (ours);
    `small`: the same for the odd numbers up to 7."""
    if small and n in (3, 5, 7):
        return n + 1
    if all(b <= _APART * a for a, b in itertools.pairwise(divisors(n))):
        return n

    def worth(m: int) -> float:
        return len(divisors(m)) * (n / m) ** 4

    best = max(range(n, n + min(n // 6, 64) + 1), key=worth)
    return best if worth(best) >= 1.4 * worth(n) else n
