"""From networks and accelerators to costs: distinct layers, the store, the pool, and the rule that levels never mix.

A `Plan` is one network on one accelerator. Equal layers of all plans are computed once; a plan in which one layer fails at fine
is answered at the fallback level as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from hwflow.accelerator import Accelerator, presets
from hwflow.cost import coarse, energies, pool, work
from hwflow.cost.pool import Progress, Task
from hwflow.cost.records import cost_from_data, mapping_from_data
from hwflow.dataflow import constrain
from hwflow.energy import EnergyTable
from hwflow.errors import HwflowError, InputError, NotMappable, ToolError, not_found
from hwflow.layers import Layer
from hwflow.network import Network
from hwflow.results import LEVELS, LayerCost, LevelName, NetworkCost
from hwflow.store import Store

if TYPE_CHECKING:
    from hwflow.cost.mid import MapResult
    from hwflow.timeloop.engine import Engine

Fallback = Literal["mid", "coarse", "none"]
ENGINES = ("native", "container", "pytimeloop")
ASSUMPTION = "totals assume that every layer reads its inputs from and writes its outputs to DRAM"


@dataclass(frozen=True)
class Options:
    """What an estimate is asked for; see `hwflow.estimate`."""

    level: LevelName = "mid"
    dataflow: str | None = None
    objective: Literal["energy", "latency", "edp"] = "edp"
    energy: str = "auto"
    mapper: Literal["hwflow", "timeloop"] = "hwflow"
    engine: str | None = None
    effort: int = 1
    fallback: Fallback = "none"
    jobs: int = 1
    ragged: bool = True

    def __post_init__(self) -> None:
        allowed = {
            "level": LEVELS,
            "objective": ("energy", "latency", "edp"),
            "mapper": ("hwflow", "timeloop"),
            "fallback": get_args(Fallback),
            "energy": (*energies.SOURCES, "fitted"),
        }
        for name, choices in allowed.items():
            if getattr(self, name) not in choices:
                raise not_found(name, str(getattr(self, name)), choices)
        if self.engine is not None and self.engine not in ENGINES:
            raise not_found("engine", self.engine, ENGINES)
        for name in ("effort", "jobs"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(f"{name} is {value!r}; it must be a whole number of at least 1.")
        if not isinstance(self.ragged, bool):
            raise InputError(f"ragged is {self.ragged!r}; it must be True or False.")


@dataclass(frozen=True)
class Plan:
    """One network on one accelerator, with what each of its distinct layers is computed on."""

    index: int
    network: Network
    accelerator: Accelerator | None
    chips: Mapping[tuple[object, ...], work.Chip]

    def chip(self, layer: Layer) -> work.Chip:
        """The accelerator at the layer's word widths, its constraints and its energies."""
        return self.chips[layer.key]


def evaluate(
    pairs: Sequence[tuple[Network, Accelerator | None]],
    options: Options,
    store: Store | None,
    progress: Progress | None,
    notify: Callable[[str], None],
) -> list[NetworkCost]:
    """The costs of all pairs, in their order. `notify` is told of every fallback, with all that is known of why."""
    run = _Run(options, store, progress, notify)
    plans = [_plan(i, network, accelerator, options, store) for i, (network, accelerator) in enumerate(pairs)]
    if options.level == "coarse":
        costs = {p.index: _coarse(p, options) for p in plans}
    elif options.level == "mid":
        costs = _mid(plans, run)
    else:
        costs = _fine(plans, run)
    return [costs[p.index] for p in plans]


def best_mapping(
    layer: Layer, accelerator: Accelerator, options: Options, store: Store | None, notify: Callable[[str], None]
) -> MapResult:
    """mid's best mapping of one layer."""
    from hwflow.cost.mid import MapResult

    plan = _plan(0, Network(layer.name, (layer,)), accelerator, options, store)
    found = _search([plan], _Run(options, store, None, notify))[_mid_key(plan, layer, options)]
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
    plan = _plan(0, network, accelerator, options, store)
    if options.mapper != "hwflow":
        return plan, None
    found = _search([plan], _Run(options, store, progress, notify))
    return plan, {layer.key: found[_mid_key(plan, layer, options)]["mapping"] for layer in network}


@dataclass(frozen=True)
class _Run:
    options: Options
    store: Store | None
    progress: Progress | None
    notify: Callable[[str], None]

    def __call__(self, tasks: dict[str, Task]) -> dict[str, Any]:
        return pool.run(list(tasks.values()), jobs=self.options.jobs, store=self.store, progress=self.progress)


def _plan(index: int, network: Network, accelerator: Accelerator | None, options: Options, store: Store | None) -> Plan:
    if accelerator is None:
        if options.level != "coarse":
            raise InputError(
                f"level {options.level} needs an accelerator: the name of a preset ('hwflow list accelerators') or a file. "
                "Only coarse answers without one."
            )
        return Plan(index, network, None, {})
    sized = {layer.bits: accelerator.with_bits(layer.bits) if layer.bits else accelerator for layer in network}
    tables = energies.energy_tables(list(sized.values()), options.energy, engine=options.engine, store=store)
    chips = {}
    for bits, chip in sized.items():
        constraints = constrain(chip, options.dataflow)
        chips[bits] = work.Chip(chip, constraints, tables[chip.fingerprint])
    return Plan(index, network, accelerator, {layer.key: chips[layer.bits] for layer in network})


# Levels --------------------------------------------------------------------------------------------------------------


def _coarse(plan: Plan, options: Options, reason: str = "") -> NetworkCost:
    rows = []
    for layer in plan.network:
        chip = plan.chip(layer) if plan.accelerator else None
        cost = coarse.analyse(layer, chip.accelerator, chip.table) if chip else coarse.analyse(layer)
        rows.append(replace(cost, note=reason))
    widths = [coarse.bits_of(row.layer, plan.accelerator).inputs for row in rows]
    other = coarse.other_traffic_bytes(plan.network.other, max(widths))
    return _assemble(plan, options, "coarse", rows, reason, other=other)


def _mid(plans: Sequence[Plan], run: _Run, reasons: Mapping[int, str] | None = None) -> dict[int, NetworkCost]:
    searched = _search(plans, run)
    costs = {}
    for plan in plans:
        reason = (reasons or {}).get(plan.index, "")
        rows = []
        for layer in plan.network:
            answer = searched[_mid_key(plan, layer, run.options)]
            rows.append(cost_from_data(answer["cost"], layer, energy_source=plan.chip(layer).table.source, note=reason))
        costs[plan.index] = _assemble(plan, run.options, "mid", rows, reason)
    return costs


def _mid_key(plan: Plan, layer: Layer, options: Options) -> str:
    return work.mid_key(layer, plan.chip(layer), options.objective, options.effort, options.ragged)


def _search(plans: Sequence[Plan], run: _Run) -> dict[str, dict[str, Any]]:
    """mid's best mappings and their costs, by key; the first layer that has none is an error."""
    tasks: dict[str, Task] = {}
    for plan in plans:
        for layer in plan.network:
            task = work.mid_task(layer, plan.chip(layer), run.options.objective, run.options.effort, run.options.ragged)
            tasks.setdefault(task.key, task)
    answers = run(tasks)
    for key in tasks:
        if isinstance(answers.get(key), HwflowError):
            raise answers[key]
    return answers


def _fine(plans: Sequence[Plan], run: _Run) -> dict[int, NetworkCost]:
    from hwflow.timeloop.engine import find_engine

    try:
        engine = find_engine(run.options.engine)
    except ToolError as error:
        return _fall_back(plans, dict.fromkeys((p.index for p in plans), error), run)
    mappings = _search(plans, run) if run.options.mapper == "hwflow" else {}
    tasks: dict[str, Task] = {}
    keys: dict[tuple[int, tuple[object, ...]], str] = {}
    for plan in plans:
        for layer in plan.network:
            if (plan.index, layer.key) not in keys:
                task = _fine_task(plan, layer, mappings, engine, run.options)
                known = tasks.get(task.key)
                tasks[task.key] = replace(task, groups=(known.groups if known else frozenset()) | {plan.index})
                keys[plan.index, layer.key] = task.key
    answers = run(tasks)
    failures: dict[int, HwflowError] = {}
    for (index, _), key in keys.items():
        if isinstance(answers.get(key), HwflowError):
            failures.setdefault(index, answers[key])
    costs = {}
    for plan in plans:
        if plan.index not in failures:
            rows = [cost_from_data(answers[keys[plan.index, layer.key]], layer) for layer in plan.network]
            costs[plan.index] = _assemble(plan, run.options, "fine", rows)
    return {**costs, **_fall_back([p for p in plans if p.index in failures], failures, run)}


def _fine_task(plan: Plan, layer: Layer, mappings: Mapping[str, Any], engine: Engine, options: Options) -> Task:
    chip = plan.chip(layer)
    if options.mapper == "hwflow":
        return work.judge_task(layer, chip, mappings[_mid_key(plan, layer, options)]["mapping"], engine)
    return work.search_task(layer, chip, options.objective, options.effort, engine)


def _fall_back(plans: Sequence[Plan], failures: Mapping[int, HwflowError], run: _Run) -> dict[int, NetworkCost]:
    """The whole of each plan at the fallback level, where the user allows it. What mid cannot map either stays an error."""
    options, reasons = run.options, {}
    for plan in plans:
        error = failures[plan.index]
        if options.fallback == "none" or not isinstance(error, (ToolError, NotMappable)):
            raise error
        # Rows carry the first sentence only: the rest names folders that differ from run to run.
        reasons[plan.index] = f"answered at {options.fallback} instead of fine: {str(error).split('. ')[0].rstrip('.')}"
    for text in dict.fromkeys(str(failures[p.index]) for p in plans):
        run.notify(
            f"fine cannot answer; {options.fallback} answers instead, in every row (--strict makes this an error). {text}"
        )
    if options.fallback == "mid":
        return _mid(plans, run, reasons)
    _search([p for p in plans if isinstance(failures[p.index], NotMappable)], run)
    return {p.index: _coarse(p, options, reasons[p.index]) for p in plans}


# The answer ----------------------------------------------------------------------------------------------------------


def _assemble(
    plan: Plan, options: Options, level: LevelName, rows: Sequence[LayerCost], reason: str = "", *, other: float | None = None
) -> NetworkCost:
    network, accelerator = plan.network, plan.accelerator
    batches = {layer.N for layer in network}
    return NetworkCost(
        network=network.name,
        accelerator=accelerator.name if accelerator else None,
        level=level,
        batch=batches.pop() if len(batches) == 1 else network.layers[0].N,
        rows=tuple(rows),
        params_other=network.params_other,
        not_counted=network.not_counted,
        other_traffic_bytes=other,
        mac_units=accelerator.mac_units if accelerator else None,
        provenance=_provenance(plan, options, level, rows, reason),
    )


def _provenance(plan: Plan, options: Options, level: LevelName, rows: Sequence[LayerCost], reason: str) -> dict[str, Any]:
    from hwflow import __version__

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
            "changes": _changes(plan.accelerator),
        }
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


def _changes(accelerator: Accelerator) -> dict[str, Any]:
    """What a variant changes of the preset whose name it bears."""
    if accelerator.name not in presets():
        return {}
    return accelerator.differences(Accelerator.load(accelerator.name))


def _energy_provenance(plan: Plan, rows: Sequence[LayerCost]) -> dict[str, Any]:
    tables: dict[str, EnergyTable] = {chip.accelerator.fingerprint: chip.table for chip in plan.chips.values()}
    details = next((dict(t.provenance) for t in tables.values() if t.provenance), {})
    return {"sources": sorted({row.energy_source for row in rows}), "unit": rows[0].energy_unit, **details}
