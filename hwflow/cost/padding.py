"""Ragged mappings by padding: a perfect mapping of a slightly larger layer, given residuals, is a ragged one of the layer.

The search of `hwflow.cost.mapper` knows loops that divide. 37 channels have no use for 12 columns there, but 40 have: four
passes of 10, which residuals make 10, 10, 10 and 7. Such a mapping takes the padded layer's cycles and moves the true one's
data. So (ours): which sizes are worth padding to follows from how full the fan-outs can get and from which quotients have few
divisors; the most promising padded layers are searched narrowly; what comes out is trimmed to the least bounds that cover the
layer and ranked by the analysis' estimate, and the best two are judged exactly.

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
from hwflow.cost.filling import fillings, passes
from hwflow.cost.lattice import divisors
from hwflow.cost.mapper import Found, Objective, narrow, scores
from hwflow.cost.nest import Batch, Bools, Floats, Ints, Nest, Verdict
from hwflow.dataflow import LevelConstraint
from hwflow.errors import InputError
from hwflow.layers import DIMS

_TRIES = 6  # padded layers that are searched, a unit of effort
_JUDGED = 2  # mappings of each that are judged exactly, a unit of effort
_PATIENCE = 2  # so many of them in a row that gain nothing end it, a unit of effort
_GAIN = 0.99  # what counts as a gain: a factor on the objective
_FULLER = 0.99  # cycles below this share of the perfect mapping's are worth a search of themselves
_APART = 2.5  # sizes of which no two neighbouring divisors are further apart offer tiles enough
_TILES = 1 << 15  # padded layers with more tiles than that take too long for what they promise


def search(
    nest: Nest,
    constraints: Sequence[LevelConstraint],
    perfect: Found,
    verdict: Verdict,
    *,
    objective: Objective,
    effort: int = 1,
) -> Found:
    """The best ragged mapping found, or `perfect`, the best one whose loops divide, where none is better than its `verdict`;
    with a bound that holds for both kinds."""
    value, batch = float(scores(verdict, objective)[0][0]), perfect.batch
    in_vain = 0
    for sizes in _paddings(nest, constraints, objective, verdict, effort)[: _TRIES * effort]:
        found = _best(nest, constraints, objective, effort, sizes, value)
        in_vain = 0 if found is not None and found[0] < value * _GAIN else in_vain + 1
        if found is not None and found[0] < value:
            value, batch = found
        if in_vain == _PATIENCE * effort:
            break
    bound = lower_bound(nest, constraints, objective, ragged=True)
    return Found(batch, value <= bound * (1 + 2e-9), min(bound, value))


def trimmed(batch: Batch, sizes: Ints) -> Batch:
    """The mappings with the least bounds that cover `sizes` in as many passes of the loops outside."""
    temporal, spatial = batch.temporal.copy(), batch.spatial.copy()
    for d, size in enumerate(sizes):
        left = np.full(batch.size, size)
        for k in range(len(temporal)):
            for bounds in (spatial, temporal):
                times = -(-left // bounds[k, d])
                bounds[k, d] = -(-left // times)
                left = times
    return replace(batch, temporal=temporal, spatial=spatial)


def _best(
    nest: Nest, constraints: Sequence[LevelConstraint], objective: Objective, effort: int, sizes: Ints, limit: float
) -> tuple[float, Batch] | None:
    """The best mapping by way of one padded layer, and its exact score; None where no estimate is below `limit`."""
    try:
        layer = nest.layer.with_(**{d: int(n) for d, n in zip(DIMS, sizes, strict=True)})
    except InputError:  # too large to cost
        return None
    more = math.prod(float(n) for n in sizes) / math.prod(float(n) for n in nest.sizes)
    batch = narrow(Nest(layer, nest.accelerator, nest.table), constraints, objective, effort=effort, cut=limit * more)
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
    best = int(np.argmin(exact))
    return float(exact[best]), batch.take(np.array([best]))


def _honest(verdict: Verdict, energy: Floats) -> Bools:
    """Which mappings fit, and owe little of `energy`, the whole of it, to what Timeloop cuts off."""
    return np.asarray(verdict.fits & (verdict.omitted <= OMITTED * energy))


# What to pad to ------------------------------------------------------------------------------------------------------


def _paddings(
    nest: Nest, constraints: Sequence[LevelConstraint], objective: Objective, perfect: Verdict, effort: int
) -> list[Ints]:
    """Sizes that could pay, the most promising first: those that fill the fan-outs best, then those that waste least.

    Where no size is rough only fuller fan-outs can pay, and these only if it was the arithmetic that took so long. Small odd
    sizes count as rough with effort above 1: they seldom gain more than a hundredth.
    """
    rough = any(_smooth(int(n), effort > 1) != n for n in nest.sizes)
    cycles = float(perfect.cycles[0])
    if not rough and (objective == "energy" or perfect.compute_cycles[0] < cycles):
        return []
    factors, least, _ = fillings(nest, constraints)
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
    ranked = np.lexsort(((sizes / nest.sizes).prod(axis=1), least))
    _, first = np.unique(sizes[ranked], axis=0, return_index=True)
    return [n for n in sizes[ranked[np.sort(first)]] if math.prod(len(divisors(m)) for m in n.tolist()) <= _TILES]


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
