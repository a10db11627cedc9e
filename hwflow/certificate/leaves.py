"""The leaves of a certificate: for each choice of spatial loops the cheapest bound that is large enough."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from hwflow.certificate.bounds import Bounds, Way
from hwflow.certificate.check import least_bound
from hwflow.certificate.recursion import Rate
from hwflow.certificate.space import Space, Spread
from hwflow.certificate.states import Counted
from hwflow.types import Objective

_WEIGHTS = (1.0, 0.5, 0.75)  # of one bandwidth in a sum of cycles, tried in this order
_DECISIVE = 2  # bandwidths that the mapping uses most: the others are tried where these are not enough


def proven_bound(space: Space, objective: Objective, enough: float, level_cycles: Sequence[float], *, most: int) -> float:
    """A lower bound on the objective of all mappings, `enough` if it can be; 0 where there are more than `most` choices of
    spatial loops. `level_cycles`: see `found_leaves`."""
    bounds = Bounds(space, objective)
    if len(bounds.spreads) > most:
        return 0.0
    leaves = found_leaves(bounds, enough, level_cycles)
    return least_bound(bounds, [(spread, bound) for spread, bound, _ in leaves])[0]


def found_leaves(bounds: Bounds, enough: float, level_cycles: Sequence[float]) -> list[tuple[Spread, float, Way]]:
    """The spatial mappings whose simple bound is below `enough`: each with the first way whose bound is not, or the best.

    Args:
        level_cycles: cycles that each level takes under a good mapping; bandwidths that it uses most are tried first.
    """
    rates = sorted(bounds.rates, key=lambda rate: -level_cycles[rate.level])
    simple = dict(zip(bounds.spreads, bounds.simple.tolist(), strict=True))
    best = {spread: (bound, Way("nothing")) for spread, bound in simple.items() if bound < enough}

    def improve(ways: Sequence[tuple[Spread, Way]]) -> list[float]:
        found = bounds.of(ways)
        for (spread, way), bound in zip(ways, found, strict=True):
            if bound > best[spread][0]:
                best[spread] = bound, way
        return found

    def left() -> list[Spread]:
        return [spread for spread, (bound, _) in best.items() if bound < enough]

    energy = bounds.objective != "latency"
    decisive = rates[:0] if bounds.objective == "energy" else rates[:_DECISIVE]
    cheapest_first: list[tuple[Counted, Sequence[Rate]]] = [("nothing", decisive), ("longest", decisive), ("every", rates)]
    alone: dict[Spread, dict[Rate, float]] = {}
    for counted, some in cheapest_first:
        if energy:
            improve([(spread, Way(counted)) for spread in left()])
        for rate in some:
            ways = [(spread, Way(counted, (rate,))) for spread in left()]
            for (spread, _), bound in zip(ways, improve(ways), strict=True):
                alone.setdefault(spread, {})[rate] = bound
    slowest = {spread: sorted(found, key=lambda rate: -found[rate]) for spread, found in alone.items()}
    for number in (2, len(rates)):  # several bandwidths, in each state the one that takes most
        improve([(spread, Way("every", tuple(slowest[spread][:number]))) for spread in left()])
    # A certificate is as good as its weakest leaf, so what that one cannot reach need not be reached by the others.
    while (weak := left()) and bounds.objective != "energy":
        worst = min(weak, key=lambda spread: best[spread][0])
        for weight, other in itertools.product(_WEIGHTS, (None, *slowest[worst][1:2])):
            improve([(worst, _mixed(slowest[worst], other, weight))])
        enough = min(enough, best[worst][0])
    return [(spread, bound, way) for spread, (bound, way) in best.items()]


def _mixed(slowest: Sequence[Rate], other: Rate | None, weight: float) -> Way:
    """The bandwidth that takes most cycles, mixed with compute or with another one."""
    if other is None:
        return Way("every", tuple(slowest), ((slowest[0], weight),))
    return Way("every", tuple(slowest), ((slowest[0], weight), (other, 1 - weight)))
