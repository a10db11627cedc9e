"""A certificate for a mapping: for each choice of spatial loops the cheapest bound that is large enough."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from hwflow.certificate.bounds import Bounds, Way
from hwflow.certificate.check import ROUNDING, WAYS, contradicts, cost_of, gap_of, least_bound, lowered
from hwflow.certificate.document import FORM, Document, LeafEntry, Others, Problem, question_of
from hwflow.certificate.leaves import found_leaves
from hwflow.certificate.recursion import Rate
from hwflow.certificate.space import Space, Spread
from hwflow.errors import InputError
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.energy_table import EnergyTable
from hwflow.layers import DIMS, Layer
from hwflow.loopnest.nest import Nest
from hwflow.mapping import Mapping
from hwflow.types import Objective

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
            f"a certificate covers mappings with perfect factors only, and that of {layer.name!r} has imperfect ones: "
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
    leaves = found_leaves(bounds, enough, _level_cycles(problem, mapping))
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


def _level_cycles(problem: Problem, mapping: Mapping) -> Sequence[float]:
    """Cycles that each level takes, from the innermost outwards."""
    nest = Nest(problem.layer, problem.accelerator, problem.table)
    used: list[float] = nest.evaluate(nest.batch_of(mapping)).level_cycles[:, 0].tolist()
    return used


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
