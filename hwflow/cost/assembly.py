"""Assembly of a network's cost from the answers for its layers: rows, totals, provenance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

from hwflow.cost import coarse
from hwflow.cost.assignment import value_of
from hwflow.cost.backend import CostBackend
from hwflow.cost.edge_cycles import delayed, edge_cycles
from hwflow.cost.executed_network import EXECUTIONS, REST, Asked
from hwflow.cost.network_choice import Chosen
from hwflow.cost.options import CostOptions
from hwflow.cost.plan import Plan
from hwflow.cost.zeros import zeros_remark
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.energy_table import EnergyTable, chip_area_um2
from hwflow.hardware.stored_bits import widened
from hwflow.layers import DIRECT
from hwflow.network import Network
from hwflow.results import LayerCost, NetworkCost
from hwflow.types import Objective

ASSUMPTION = "totals assume that every layer reads its inputs from and writes its outputs to DRAM"

_ROUNDING = 1e-8


def assemble(
    plan: Plan,
    options: CostOptions,
    backend: CostBackend,
    answers: Sequence[LayerCost],
    reason: str = "",
    chosen: Chosen | None = None,
) -> NetworkCost:
    """The cost of a network.

    Args:
        answers: of its layers, in their order, from `backend`.
        reason: why this backend answers, if another was asked.
        chosen: what stays on the chip and what other operators cost, where that was asked.
    """
    network, accelerator = plan.network, plan.accelerator
    zeros = [zeros_remark(layer, accelerator, maps=backend.maps) for layer in plan.owners()]
    notes = ["; ".join(filter(None, [answer.note, more, reason])) for answer, more in zip(answers, zeros, strict=True)]
    rows = [replace(answer, layer=layer, note=note) for answer, layer, note in zip(answers, network, notes, strict=True)]
    edges: list[int] = []
    if options.latency == "with_fill" and backend.maps:
        edges = [edge_cycles(row, plan.chip(row.layer).accelerator) for row in rows]
        rows = [delayed(row, plan.chip(row.layer).accelerator, more) for row, more in zip(rows, edges, strict=True)]
        edges = plan.sums(edges)
    rows, plan = plan.united(rows), plan.undivided()
    network = plan.network
    operators = chosen.operators if chosen else ()
    if chosen and chosen.rounds > 1:
        edges = [more * chosen.rounds for more in edges]
        rows = [repeated(row, chosen.rounds, plan.chip(row.layer).accelerator, options.objective) for row in rows]
        operators = (*chosen.once, *(operator.times(chosen.rounds) for operator in operators))
    batches = {layer.N for layer in network}
    return NetworkCost(
        network=network.name,
        accelerator=accelerator.label if accelerator else None,
        level=backend.name,
        batch=batches.pop() if len(batches) == 1 else network.layers[0].N,
        rows=tuple(rows),
        params_other=network.params_other,
        params_by_kind=network.params_by_kind,
        not_counted={} if chosen and options.operators == "all" else network.not_counted,
        other_traffic_bytes=None if backend.maps else _other_traffic_bytes(plan),
        mac_units=accelerator.mac_units if accelerator else None,
        area_um2=area_um2(plan),
        peak_activation_bytes=coarse.peak_activation_bytes(chosen.network if chosen else network, accelerator),
        chip=accelerator,
        tables=tuple(plan.chip(layer).table for layer in network) if accelerator else (),
        provenance=_provenance(plan, options, backend, rows, reason, chosen, edges),
        operators=operators,
        occupancy=chosen.occupancy if chosen and options.activations == "resident" else None,
    )


def repeated(row: LayerCost, rounds: int | Fraction, accelerator: Accelerator, objective: Objective) -> LayerCost:
    """A layer's cost in all rounds of a batch, from that in one, or the other way round; the mapping is that of one."""
    factor = rounds**2 if objective == "edp" else rounds
    cycles = int((row.cycles or 0) * rounds)
    return replace(
        row,
        energy=(row.energy or 0.0) * rounds,
        energy_by_level={part: energy * rounds for part, energy in row.energy_by_level.items()},
        cycles=cycles,
        latency_s=cycles * accelerator.cycle_s,
        utilization=row.layer.macs / (cycles * accelerator.mac_units),
        dram_bytes=row.dram_bytes * rounds,
        accesses={
            level: {tensor: {kind: n * rounds for kind, n in counts.items()} for tensor, counts in tensors.items()}
            for level, tensors in row.accesses.items()
        },
        bound=None if row.bound is None else row.bound * factor,
        perfect_bound=None if row.perfect_bound is None else row.perfect_bound * factor,
    )


def _other_traffic_bytes(plan: Plan) -> float:
    """Of operators without a row, beside the compulsory traffic of the rows: at a level without mappings."""
    width = max(coarse.bits_of(layer, plan.accelerator).inputs for layer in plan.network)
    return coarse.other_traffic_bytes(plan.network.other, width)


def area_um2(plan: Plan) -> float | None:
    """The chip's area; where layers differ in word widths, of the chip that serves the widest, its accumulators included."""
    areas = []
    for layer in plan.network if plan.accelerator else ():
        chip = plan.chip(layer)
        areas.append(chip_area_um2(chip.accelerator, widened(chip.table, chip.accelerator, layer)))
    known = [area for area in areas if area is not None]
    return max(known) if known and len(known) == len(areas) else None


def _provenance(
    plan: Plan,
    options: CostOptions,
    backend: CostBackend,
    rows: Sequence[LayerCost],
    reason: str,
    chosen: Chosen | None,
    edges: Sequence[int],
) -> dict[str, Any]:
    from hwflow.version import __version__

    content: dict[str, Any] = {
        "hwflow": __version__,
        "asked_level": options.level,
        "engines": sorted({row.engine for row in rows}),
        "energy": _energy_provenance(plan, rows),
        "assumption": _assumption(options, chosen),
        "fallback": reason or None,
    }
    if plan.accelerator is not None:
        content["accelerator"] = {
            "name": plan.accelerator.name,
            "fingerprint": plan.accelerator.fingerprint,
            "changes": plan.accelerator.changes,
        }
    if plan.network.notes:
        content["network_notes"] = list(plan.network.notes)
    if plan.accelerator is not None:
        content |= plan.accelerator.origin
    if backend.maps and plan.accelerator is not None:
        content |= {
            "dataflow": options.dataflow or plan.accelerator.dataflow,
            "objective": options.objective,
            "effort": options.effort,
            "ragged": options.ragged,
        }
        if options.proof != "off":
            content |= {"proof": options.proof, "gap": options.gap, "proven": _proven(rows, options)}
    if not backend.maps and options.mapped_only:
        content["without"] = list(options.mapped_only)
    if chosen is not None:
        content |= {"activations": options.activations, "operators": options.operators}
        if chosen.rounds > 1:
            content["rounds"] = chosen.rounds
    if options.latency == "with_fill" and backend.maps:
        content |= {"latency": options.latency, "edge_cycles": list(edges)}
    if options.execution != DIRECT:
        content["execution"] = _executions(plan.network, options.execution)
    if backend.external:
        content["mapper"] = options.mapper
    if options.ppa_model is not None:
        from hwflow.ppa.model_file import read_model

        model = read_model(options.ppa_model)
        content["ppa_model"] = {"checksum": model.identity, "remark": model.remark, **model.provenance}
        content["extrapolate"] = options.extrapolate
    return content


def _executions(network: Network, asked: Asked) -> dict[str, Any]:
    """What was asked for, and why layers run directly that were meant by the name of one execution for all."""
    rest = asked if isinstance(asked, str) else asked.get(REST, DIRECT)
    named = () if isinstance(asked, str) else asked
    skipped = {}
    if rest in EXECUTIONS:
        skipped = {la.name: EXECUTIONS[rest].why_not(la) for la in network if la.execution == DIRECT and la.name not in named}
    return {"asked": asked if isinstance(asked, str) else dict(asked), "skipped": skipped}


def _proven(rows: Sequence[LayerCost], options: CostOptions) -> dict[str, Any]:
    """What is proven of mappings with perfect factors, and where they were searched, of all with imperfect ones."""
    proven = _near([(row, row.perfect_bound) for row in rows], options)
    return proven | ({"imperfect": _near([(row, row.bound) for row in rows], options)} if options.ragged else {})


def _near(bounded: Sequence[tuple[LayerCost, float | None]], options: CostOptions) -> dict[str, Any]:
    """How many rows are proven near enough to the best mapping, how far a row can be from it, and how far the network can be,
    where the objective of layers adds up."""
    rows = [row for row, _ in bounded]
    known = [
        (value_of(row.energy, row.cycles, options.objective), bound)
        for row, bound in bounded
        if bound and row.energy is not None and row.cycles is not None
    ]
    gaps = [1 - bound / value for value, bound in known]
    adds = options.objective != "edp" and len(known) == len(rows)
    total = sum(value for value, _ in known)
    return {
        "within_gap": sum(gap <= options.gap + _ROUNDING for gap in gaps),
        "of": len(rows),
        "largest_gap": max(gaps) if len(known) == len(rows) else None,
        "network_gap": 1 - sum(bound for _, bound in known) / total if adds else None,
    }


def _assumption(options: CostOptions, chosen: Chosen | None) -> str:
    if chosen is None or options.activations == "dram":
        return ASSUMPTION
    occupancy = chosen.occupancy
    count, stayed = len(occupancy.tensors), len(occupancy.stayed)
    if occupancy.why:
        return f"nothing can stay on the chip ({occupancy.why}): {ASSUMPTION}"
    if not stayed and chosen.rounds == 1:
        return f"nothing stays on the chip: {ASSUMPTION}"
    proof = "" if occupancy.proven else " (not proven to be the best choice)"
    rounds, weights = "", "the weights"
    if chosen.rounds > 1:
        images = chosen.network.layers[0].N
        rounds = f"the batch runs in {chosen.rounds} rounds of {images} image{'s' * (images > 1)} through all layers; "
    if kept := occupancy.weights:
        proof += f", the weights of {len(kept)} of {len(chosen.placed)} layers in {kept[0].memory}, read once"
        weights = "all other weights"
    apart = {tensor.memory for tensor in kept} - {tensor.memory for tensor in occupancy.stayed}
    homes = " and ".join(memory for memory in occupancy.memories if memory not in apart)
    return (
        f"{rounds}{stayed} of {count} tensors between operations stay in {homes}{proof}; the others, {weights}, and the "
        "network's inputs and results are read from or written to DRAM by every layer"
    )


def _energy_provenance(plan: Plan, rows: Sequence[LayerCost]) -> dict[str, Any]:
    tables: dict[str, EnergyTable] = {chip.accelerator.fingerprint: chip.table for chip in plan.chips.values()}
    details = next((dict(t.provenance) for t in tables.values() if t.provenance), {})
    return {"sources": sorted({row.energy_source for row in rows}), "unit": rows[0].energy_unit, **details}


__all__ = ["assemble", "repeated"]
