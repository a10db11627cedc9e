"""From networks and accelerators to costs: distinct layers, the store, the pool, and the rule that levels never mix.

A `Plan` is one network on one accelerator. Equal layers of all plans are computed once; a plan in which one layer fails at fine
is answered at the fallback level as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hwflow.cost import coarse, energy_sources
from hwflow.cost import tasks as work
from hwflow.cost.options import Options
from hwflow.cost.serialization import cost_from_data, mapping_from_data
from hwflow.errors import HwflowError, InputError, NotMappable, ToolError
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.dataflow import constrain
from hwflow.hardware.energy_table import EnergyTable, chip_area_um2
from hwflow.layers import Bits, Layer
from hwflow.network import Network
from hwflow.progress import Progress
from hwflow.results import LayerCost, LevelName, NetworkCost
from hwflow.store import Store, pool
from hwflow.store.pool import Task

if TYPE_CHECKING:
    from hwflow.cost.mid import MapResult
    from hwflow.timeloop.engine import Engine

ASSUMPTION = "totals assume that every layer reads its inputs from and writes its outputs to DRAM"


@dataclass(frozen=True)
class Plan:
    """One network on one accelerator, with what its layers are computed on, by their word widths."""

    network: Network
    accelerator: Accelerator | None
    chips: Mapping[Bits | None, work.Chip]

    def chip(self, layer: Layer) -> work.Chip:
        """The accelerator at the layer's word widths, its constraints and its energies."""
        return self.chips[layer.bits]


def evaluate(
    pairs: Sequence[tuple[Network, Accelerator | None]],
    options: Options,
    store: Store | None,
    progress: Progress | None,
    notify: Callable[[str], None],
) -> list[NetworkCost]:
    """The costs of all pairs, in their order. `notify` is told of every fallback, with all that is known of why."""
    plans = [plan_for(network, accelerator, options, store) for network, accelerator in pairs]
    return carry_out(plans, options, store, progress, notify)


def carry_out(
    plans: Sequence[Plan],
    options: Options,
    store: Store | None,
    progress: Progress | None,
    notify: Callable[[str], None],
) -> list[NetworkCost]:
    """The costs of all plans, in their order."""
    run, numbered = _Run(options, store, progress, notify), dict(enumerate(plans))
    if options.level == "coarse":
        costs = {i: _coarse(p, options) for i, p in numbered.items()}
    elif options.level == "mid":
        costs = _mid(numbered, run)
    else:
        costs = _fine(numbered, run)
    return [costs[i] for i in numbered]


def best_mapping(
    layer: Layer, accelerator: Accelerator, options: Options, store: Store | None, notify: Callable[[str], None]
) -> MapResult:
    """mid's best mapping of one layer."""
    from hwflow.cost.mid import MapResult

    plan = plan_for(Network(layer.name, (layer,)), accelerator, options, store)
    found = _search({0: plan}, _Run(options, store, None, notify))[0, layer.key]
    cost = cost_from_data(found["cost"], layer, energy_source=plan.chip(layer).table.source)
    return MapResult(mapping_from_data(found["mapping"]), cost, found["proven_optimal"], found["bound"])


def mapped_plan(
    network: Network,
    accelerator: Accelerator,
    options: Options,
    *,
    store: Store | None,
    progress: Progress | None,
    notify: Callable[[str], None],
) -> tuple[Plan, dict[tuple[object, ...], list[dict[str, Any]]] | None]:
    """The plan of a network, and mid's mapping of each of its layers (by key) where mid is the mapper."""
    plan = plan_for(network, accelerator, options, store)
    if options.mapper != "hwflow":
        return plan, None
    found = _search({0: plan}, _Run(options, store, progress, notify))
    return plan, {key: answer["mapping"] for (_, key), answer in found.items()}


_Plans = Mapping[int, Plan]
_Place = tuple[int, tuple[object, ...]]
"""A layer, by its key, of a plan, by its number."""


@dataclass(frozen=True)
class _Run:
    options: Options
    store: Store | None
    progress: Progress | None
    notify: Callable[[str], None]

    def __call__(self, tasks: dict[str, Task]) -> dict[str, Any]:
        return pool.run(list(tasks.values()), jobs=self.options.jobs, store=self.store, progress=self.progress)


def plan_for(network: Network, accelerator: Accelerator | None, options: Options, store: Store | None) -> Plan:
    """What the layers of a network are computed on: word widths, the dataflow's constraints, energies.

    Raises:
        InputError: where the level needs an accelerator and there is none, or dataflow or energies do not fit it.
    """
    if accelerator is None:
        if options.level != "coarse":
            raise InputError(
                f"level {options.level} needs an accelerator: the name of a preset ('hwflow list accelerators') or a file. "
                "Only coarse answers without one."
            )
        return Plan(network, None, {})
    sized: dict[Bits | None, Accelerator] = {}
    for layer in network:
        if layer.bits not in sized:
            sized[layer.bits] = accelerator.serving(layer)
    tables = energy_sources.energy_tables(list(sized.values()), options.energy, engine=options.engine, store=store)
    chips = {}
    for bits, chip in sized.items():
        constraints = constrain(chip, options.dataflow)
        chips[bits] = work.Chip(chip, constraints, tables[chip.fingerprint])
    return Plan(network, accelerator, chips)


# Levels --------------------------------------------------------------------------------------------------------------


def _coarse(plan: Plan, options: Options, reason: str = "") -> NetworkCost:
    rows = []
    for layer in plan.network:
        chip = plan.chip(layer) if plan.accelerator else None
        cost = coarse.analyse(layer, chip.accelerator, chip.table) if chip else coarse.analyse(layer)
        rows.append(replace(cost, note=reason) if reason else cost)
    widths = [coarse.bits_of(row.layer, plan.accelerator).inputs for row in rows]
    other = coarse.other_traffic_bytes(plan.network.other, max(widths))
    return _assemble(plan, options, "coarse", rows, reason, other=other)


def _mid(plans: _Plans, run: _Run, reasons: Mapping[int, str] | None = None) -> dict[int, NetworkCost]:
    searched = _search(plans, run)
    costs = {}
    for index, plan in plans.items():
        reason = (reasons or {}).get(index, "")
        rows = [
            cost_from_data(searched[index, layer.key]["cost"], layer, energy_source=plan.chip(layer).table.source, note=reason)
            for layer in plan.network
        ]
        costs[index] = _assemble(plan, run.options, "mid", rows, reason)
    return costs


def _search(plans: _Plans, run: _Run) -> dict[_Place, dict[str, Any]]:
    """mid's best mappings and their costs, by plan and layer; the first layer that has none is an error."""
    tasks: dict[str, Task] = {}
    keys: dict[_Place, str] = {}
    for index, plan in plans.items():
        for layer in plan.network:
            if (index, layer.key) not in keys:
                asked = run.options
                task = work.mid_task(layer, plan.chip(layer), asked.objective, asked.effort, asked.ragged)
                keys[index, layer.key] = tasks.setdefault(task.key, task).key
    answers = run(tasks)
    for key in tasks:
        if isinstance(answers.get(key), HwflowError):
            raise answers[key]
    return {place: answers[key] for place, key in keys.items()}


def _fine(plans: _Plans, run: _Run) -> dict[int, NetworkCost]:
    from hwflow.timeloop.engine import find_engine

    try:
        engine = find_engine(run.options.engine)
    except ToolError as error:
        return _fall_back(plans, dict.fromkeys(plans, error), run)
    mappings = _search(plans, run) if run.options.mapper == "hwflow" else {}
    tasks: dict[str, Task] = {}
    keys: dict[_Place, str] = {}
    for index, plan in plans.items():
        for layer in plan.network:
            place = (index, layer.key)
            if place not in keys:
                task = _fine_task(plan, layer, mappings.get(place), engine, run.options)
                known = tasks.get(task.key)
                tasks[task.key] = replace(task, groups=(known.groups if known else frozenset()) | {index})
                keys[place] = task.key
    answers = run(tasks)
    failures: dict[int, HwflowError] = {}
    for (index, _), key in keys.items():
        if isinstance(answers.get(key), HwflowError):
            failures.setdefault(index, answers[key])
    costs = {}
    for index, plan in plans.items():
        if index not in failures:
            rows = [cost_from_data(answers[keys[index, layer.key]], layer) for layer in plan.network]
            costs[index] = _assemble(plan, run.options, "fine", rows)
    return {**costs, **_fall_back({i: p for i, p in plans.items() if i in failures}, failures, run)}


def _fine_task(plan: Plan, layer: Layer, searched: Mapping[str, Any] | None, engine: Engine, options: Options) -> Task:
    chip = plan.chip(layer)
    if searched is not None:
        return work.judge_task(layer, chip, searched["mapping"], engine)
    return work.search_task(layer, chip, options.objective, options.effort, engine)


def _fall_back(plans: _Plans, failures: Mapping[int, HwflowError], run: _Run) -> dict[int, NetworkCost]:
    """The whole of each plan at the fallback level, where the user allows it. What mid cannot map either stays an error."""
    options, reasons = run.options, {}
    for index in plans:
        error = failures[index]
        if options.fallback == "none" or not isinstance(error, (ToolError, NotMappable)):
            raise error
        if options.fallback == "mid" and (chip := plans[index].accelerator) is not None and not chip.mid_answers:
            raise error  # mid could only say that Timeloop should answer
        # Rows carry the first sentence only: the rest names folders that differ from run to run.
        reasons[index] = f"answered at {options.fallback} instead of fine: {str(error).split('. ')[0].rstrip('.')}"
    for text in dict.fromkeys(str(failures[index]) for index in plans):
        run.notify(
            f"fine cannot answer; {options.fallback} answers instead, in every row (--strict, in Python fallback='none', makes "
            f"this an error). {text}"
        )
    if options.fallback == "mid":
        return _mid(plans, run, reasons)
    _search({i: p for i, p in plans.items() if isinstance(failures[i], NotMappable)}, run)
    return {i: _coarse(p, options, reasons[i]) for i, p in plans.items()}


# The answer ----------------------------------------------------------------------------------------------------------


def _assemble(
    plan: Plan, options: Options, level: LevelName, rows: Sequence[LayerCost], reason: str = "", *, other: float | None = None
) -> NetworkCost:
    network, accelerator = plan.network, plan.accelerator
    batches = {layer.N for layer in network}
    return NetworkCost(
        network=network.name,
        accelerator=accelerator.label if accelerator else None,
        level=level,
        batch=batches.pop() if len(batches) == 1 else network.layers[0].N,
        rows=tuple(rows),
        params_other=network.params_other,
        params_by_kind=network.params_by_kind,
        not_counted=network.not_counted,
        other_traffic_bytes=other,
        mac_units=accelerator.mac_units if accelerator else None,
        area_um2=_area_um2(plan),
        peak_activation_bytes=coarse.peak_activation_bytes(network, accelerator),
        chip=accelerator,
        tables=tuple(plan.chip(layer).table for layer in network) if accelerator else (),
        provenance=_provenance(plan, options, level, rows, reason),
    )


def _area_um2(plan: Plan) -> float | None:
    """The chip's area; where layers differ in word widths, of the chip that serves the widest."""
    areas = [chip_area_um2(chip.accelerator, chip.table) for chip in plan.chips.values()]
    known = [area for area in areas if area is not None]
    return max(known) if known and len(known) == len(areas) else None


def _provenance(plan: Plan, options: Options, level: LevelName, rows: Sequence[LayerCost], reason: str) -> dict[str, Any]:
    from hwflow.version import __version__

    content: dict[str, Any] = {
        "hwflow": __version__,
        "asked_level": options.level,
        "engines": sorted({row.engine for row in rows}),
        "energy": _energy_provenance(plan, rows),
        "assumption": ASSUMPTION,
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
    if level != "coarse" and plan.accelerator is not None:
        content |= {
            "dataflow": options.dataflow or plan.accelerator.dataflow,
            "objective": options.objective,
            "effort": options.effort,
            "ragged": options.ragged,
        }
    if level == "fine":
        content["mapper"] = options.mapper
    return content


def _energy_provenance(plan: Plan, rows: Sequence[LayerCost]) -> dict[str, Any]:
    tables: dict[str, EnergyTable] = {chip.accelerator.fingerprint: chip.table for chip in plan.chips.values()}
    details = next((dict(t.provenance) for t in tables.values() if t.provenance), {})
    return {"sources": sorted({row.energy_source for row in rows}), "unit": rows[0].energy_unit, **details}
