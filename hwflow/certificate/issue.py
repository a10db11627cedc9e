"""A certificate for a mapping: for each choice of spatial loops the cheapest bound that is large enough."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal

from hwflow.certificate.bounds import Bounds, Way
from hwflow.certificate.check import ROUNDING, WAYS, contradicts, cost_of, gap_of, least_bound, lowered
from hwflow.certificate.document import FORM, Document, LeafEntry, Others, Problem, question_of
from hwflow.certificate.recursion import Counted, Rate
from hwflow.certificate.space import Space, Spread
from hwflow.errors import InputError
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.energy_table import EnergyTable
from hwflow.layers import DIMS, Layer
from hwflow.loopnest.nest import Nest
from hwflow.mapping import Mapping
from hwflow.types import Objective

_WEIGHTS = (1.0, 0.5, 0.75)  # of one bandwidth in a sum of cycles, tried in this order
_DECISIVE = 2  # bandwidths that the mapping uses most: the others are tried where these are not enough
_NAMES = {number: name for name, number in WAYS.items()}


def certificate(
    layer: Layer,
    accelerator: Accelerator,
    dataflow: str | None,
    table: EnergyTable,
    mapping: Mapping,
    objective: Objective,
    *,
    gap: float = 0.0,
) -> Document:
    """A certificate that a mapping is within the share `gap` of the best, or of the larger gap that its bounds reach.

    Raises:
        InputError: where the mapping has imperfect factors, or certificates do not cover the layer or the chip.
    """
    if mapping.ragged:
        raise InputError(
            f"a certificate speaks of mappings with perfect factors, and that of {layer.name!r} has imperfect ones: "
            "search with --perfect (ragged=False)."
        )
    question = question_of(layer, accelerator, dataflow, table, objective)
    problem = Problem.of(question)
    if problem.accelerator.fingerprint != accelerator.fingerprint:
        raise InputError(f"a certificate cannot describe {accelerator.label}: its fields do not make the same chip again.")
    bounds = Bounds(problem.space, objective)
    directives = mapping.directives()
    value, own = cost_of(problem, directives)
    enough = value * (1 - gap) * (1 - 1e-10)
    leaves = _leaves(bounds, enough, _by_use(problem, mapping, bounds))
    bound, rest, number = least_bound(bounds, [(spread, bound) for spread, bound, _ in leaves])
    of_own = dict(zip(bounds.spreads, bounds.simple.tolist(), strict=True))[own]
    of_own = max(of_own, *(found for spread, found, _ in leaves if spread == own), 0.0)
    if contradicts(of_own, value):
        raise AssertionError(f"the bound of {layer}'s mapping, {of_own}, is above its cost, {value}: please report this")
    bound = min(bound, value) * (1 - ROUNDING)
    document = Document(
        form=FORM,
        about={
            "layer": str(layer),
            "accelerator": accelerator.label,
            "claim": f"{objective} of no mapping is below {bound:.9g}",
        },
        question=question,
        digest="",
        mapping=directives,
        value=value,
        bound=bound,
        gap=gap_of(bound, value),
        others=Others(number=number, bound=lowered(rest)),
        leaves=[_entry(bounds.space, *leaf) for leaf in leaves],
    )
    return document.model_copy(update={"digest": document.hashed()})


def _by_use(problem: Problem, mapping: Mapping, bounds: Bounds) -> list[Rate]:
    """The bandwidths, those first of which the mapping uses most."""
    nest = Nest(problem.layer, problem.accelerator, problem.table)
    used = nest.evaluate(nest.batch_of(mapping)).level_cycles[:, 0]
    return sorted(bounds.rates, key=lambda rate: -float(used[rate.level]))


def _leaves(bounds: Bounds, enough: float, rates: Sequence[Rate]) -> list[tuple[Spread, float, Way]]:
    """The spatial mappings whose simple bound is below `enough`: each with the first way whose bound is not, or the best."""
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
    slowest: dict[Spread, tuple[float, Rate]] = {}
    decisive = rates[:0] if bounds.objective == "energy" else rates[:_DECISIVE]
    cheapest_first: list[tuple[Counted, Sequence[Rate]]] = [("nothing", decisive), ("longest", decisive), ("every", rates)]
    for counted, some in cheapest_first:
        if energy:
            improve([(spread, Way(counted)) for spread in left()])
        for rate in some:
            ways = [(spread, Way(counted, (rate,))) for spread in left()]
            for (spread, _), bound in zip(ways, improve(ways), strict=True):
                slowest[spread] = max(slowest.get(spread, (0.0, rate)), (bound, rate))
    # A certificate is as good as its weakest leaf, so what that one cannot reach need not be reached by the others.
    while (weak := left()) and bounds.objective != "energy":
        worst = min(weak, key=lambda spread: best[spread][0])
        for weight, other in itertools.product(_WEIGHTS, (None, *rates[:2])):
            improve([(worst, _mixed(slowest[worst][1], other, weight))])
        enough = min(enough, best[worst][0])
    return [(spread, bound, way) for spread, (bound, way) in best.items()]


def _mixed(slowest: Rate, other: Rate | None, weight: float) -> Way:
    """The bandwidth that takes most cycles, mixed with compute or with another one."""
    if other is None or other == slowest:
        return Way("every", (slowest,), ((slowest, weight),))
    return Way("every", (slowest,), ((slowest, weight), (other, 1 - weight)))


def _entry(space: Space, spread: Spread, bound: float, way: Way) -> LeafEntry:
    def named(rate: Rate) -> tuple[str, Literal["reads", "writes", "both"]]:
        return space.levels[rate.level].name, _NAMES[rate.way]

    return LeafEntry(
        spread={
            level.name: {DIMS[d]: n for d, n in enumerate(factors) if n > 1}
            for level, factors in zip(space.levels, spread, strict=True)
            if max(factors) > 1
        },
        counted=way.counted,
        rates=[named(rate) for rate in way.rates],
        mixed=[(*named(rate), weight) for rate, weight in way.mixed],
        bound=lowered(bound),
    )
