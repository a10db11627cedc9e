"""The cheapest execution of each layer, by what its rows cost at the level that is asked for.

Executions are compared layer by layer, exactly, with everything through DRAM: by the layer's own energy, cycles, or the product
of the two, as mappings are. Where all operators have a price, those of an execution count with it. Equal costs leave a layer
to run directly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from hwflow.cost import coarse
from hwflow.cost.assignment import value_of
from hwflow.cost.backend import backend_of
from hwflow.cost.executed_network import AUTO, EXECUTIONS, exact_executions, executed
from hwflow.cost.operators import Share, check_priced, operations_of, operator_cost
from hwflow.cost.options import CostOptions
from hwflow.cost.plan import Plan
from hwflow.cost.position_rows import parts_of
from hwflow.cost.residency import homes_of
from hwflow.errors import HwflowError, InputError
from hwflow.layers import DIRECT, Layer
from hwflow.network import OtherOp
from hwflow.results import LayerCost

Searched = Callable[[Sequence[Layer]], Sequence[LayerCost | HwflowError]]
"""Costs of layers on the plan's chip, or the errors that they fail with."""


class _Candidate(NamedTuple):
    name: str
    rows: tuple[Layer, ...]
    other: tuple[OtherOp, ...] = ()


def cheapest(plan: Plan, names: Mapping[str, str], options: CostOptions, search: Searched) -> dict[str, str]:
    """Executions by name of the layer, with what costs least where `names` says `auto`.

    Raises:
        InputError: where the objective needs cycles and there is no accelerator, or an operator has no price.
    """
    if plan.accelerator is None and options.objective != "energy":
        raise InputError(
            f"execution is 'auto' and the objective is {options.objective}, which needs cycles, and without an accelerator "
            "there are none. Name an accelerator, or take the objective energy."
        )
    wanted = [layer for layer in plan.network if names.get(layer.name) == AUTO]
    candidates = {layer.name: _candidates(plan, layer, options) for layer in wanted}
    rows = {(row.type, row.key): row for some in candidates.values() for one in some for row in one.rows}
    answers = dict(zip(rows, search(list(rows.values())), strict=True))

    def value(layer: Layer, candidate: _Candidate) -> float:
        found = [answers[row.type, row.key] for row in candidate.rows]
        costs = [one for one in found if isinstance(one, LayerCost)]
        if len(costs) < len(found):
            return math.inf  # what cannot be mapped is no choice
        energy, cycles = (sum(getattr(one, field) or 0 for one in costs) for field in ("energy", "cycles"))
        for op in candidate.other:
            more = _operator(plan, layer, op)
            energy, cycles = energy + more[0], cycles + more[1]
        return value_of(energy, cycles, options.objective)

    best = {
        layer.name: min(candidates[layer.name], key=lambda one, layer=layer: value(layer, one)).name  # type: ignore[misc]
        for layer in wanted
    }
    return {layer: best.get(layer, name) for layer, name in names.items()}


def _candidates(plan: Plan, layer: Layer, options: CostOptions) -> list[_Candidate]:
    found = [_Candidate(DIRECT, (layer,))]
    for name, execution in exact_executions(layer):
        other: tuple[OtherOp, ...] = ()
        if options.operators == "all":
            other = executed(plan.network, {layer.name: EXECUTIONS[name]}).other[len(plan.network.other) :]
        found.append(_Candidate(name, execution.rows(layer), other))
    if backend_of(options.level).maps:
        found = [
            one._replace(rows=tuple(part for row in one.rows for part in parts_of(row, plan.accelerator))) for one in found
        ]
    return found


def _operator(plan: Plan, layer: Layer, op: OtherOp) -> tuple[float, int]:
    """Energy and cycles of an operator of an execution, which reads and writes DRAM."""
    assert plan.accelerator is not None
    chip, bits = plan.chip(layer), coarse.bits_of(layer, plan.accelerator)
    check_priced(plan.network, plan.accelerator.name, plan.accelerator.vector_unit)
    read, written = Share(op.words_in * bits.inputs, stays=False), Share(op.words_out * bits.outputs, stays=False)
    cost = operator_cost(op, operations_of(op, 1), [read], [written], chip, homes_of(plan.accelerator))
    return cost.energy, cost.cycles


__all__ = ["Searched", "cheapest"]
