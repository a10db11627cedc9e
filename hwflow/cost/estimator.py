"""From networks and accelerators to costs: distinct layers, the store, the pool, and the rule that levels never mix.

A `Plan` is one network on one accelerator. Equal layers of all plans are computed once; where another program answers, a plan
in which one layer fails is answered at the fallback level as a whole.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hwflow.cost import coarse, energy_sources
from hwflow.cost.backend import BACKENDS, CostBackend, Job, backend_of
from hwflow.cost.chip import Chip
from hwflow.cost.levels import MAPPER, mapping_of
from hwflow.cost.options import CostOptions
from hwflow.cost.serialization import cost_from_data, cost_to_data, is_cost, stored_key
from hwflow.errors import HwflowError, InputError, NotMappable, ToolError
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.dataflow import constrain
from hwflow.hardware.energy_table import EnergyTable, chip_area_um2
from hwflow.hardware.stored_bits import widened
from hwflow.layers import Bits, Layer
from hwflow.network import Network
from hwflow.progress import Progress
from hwflow.results import LayerCost, NetworkCost
from hwflow.store import Store, pool
from hwflow.store.pool import Task

if TYPE_CHECKING:
    from hwflow.cost.mid import MapResult

ASSUMPTION = "totals assume that every layer reads its inputs from and writes its outputs to DRAM"

LayerKey = tuple[object, ...]
"""`Layer.key`: what equal layers have in common."""


@dataclass(frozen=True)
class Plan:
    """One network on one accelerator, with what its layers are computed on, by their word widths."""

    network: Network
    accelerator: Accelerator | None
    chips: Mapping[Bits | None, Chip]

    def __post_init__(self) -> None:
        if self.accelerator is not None and self.accelerator.own_bits is not None:
            object.__setattr__(self, "network", self.network.with_bits(*self.accelerator.own_bits))

    def chip(self, layer: Layer) -> Chip:
        """The accelerator at the layer's word widths, its constraints and its energies."""
        return self.chips[self.layer(layer).bits]

    def layer(self, layer: Layer) -> Layer:
        """A layer as the plan's accelerator runs it: at the widths of its PEs where it states none."""
        return layer if self.accelerator is None else self.accelerator.typed(layer)


def evaluate(
    pairs: Sequence[tuple[Network, Accelerator | None]],
    options: CostOptions,
    store: Store | None,
    progress: Progress | None,
    notify: Callable[[str], None],
) -> list[NetworkCost]:
    """The costs of all pairs, in their order. `notify` is told of every fallback, with all that is known of why."""
    plans = [plan_for(network, accelerator, options, store) for network, accelerator in pairs]
    return carry_out(plans, options, store, progress, notify)


def carry_out(
    plans: Sequence[Plan],
    options: CostOptions,
    store: Store | None,
    progress: Progress | None,
    notify: Callable[[str], None],
) -> list[NetworkCost]:
    """The costs of all plans, in their order."""
    numbered = dict(enumerate(plans))
    costs = _costs(numbered, _Run(options, store, progress, notify))
    return [costs[i] for i in numbered]


def best_mapping(
    layer: Layer, accelerator: Accelerator, options: CostOptions, store: Store | None, notify: Callable[[str], None]
) -> MapResult:
    """mid's best mapping of one layer."""
    from hwflow.cost.mid import MapResult

    plan = plan_for(Network(layer.name, (layer,)), accelerator, options, store)
    layer = plan.layer(layer)
    found = _mappings({0: plan}, _Run(options, store, None, notify))[0, layer.key]
    cost = replace(found, layer=layer)
    return MapResult(mapping_of(cost, plan.chip(layer)), cost, bool(cost.proven_optimal), cost.bound)


def mapped_plan(
    network: Network,
    accelerator: Accelerator,
    options: CostOptions,
    *,
    store: Store | None,
    progress: Progress | None,
    notify: Callable[[str], None],
) -> tuple[Plan, dict[LayerKey, LayerCost] | None]:
    """The plan of a network, and mid's answer for each of its layers (by key) where mid is the mapper."""
    plan = plan_for(network, accelerator, options, store)
    if options.mapper != "hwflow":
        return plan, None
    found = _mappings({0: plan}, _Run(options, store, progress, notify))
    return plan, {key: answer for (_, key), answer in found.items()}


_Plans = Mapping[int, Plan]
_Place = tuple[int, LayerKey]
"""A layer, by its key, of a plan, by its number."""


@dataclass(frozen=True)
class _Run:
    options: CostOptions
    store: Store | None
    progress: Progress | None
    notify: Callable[[str], None]


def plan_for(network: Network, accelerator: Accelerator | None, options: CostOptions, store: Store | None) -> Plan:
    """What the layers of a network are computed on: word widths, the dataflow's constraints, energies.

    Raises:
        InputError: where the level needs an accelerator and there is none, or dataflow or energies do not fit it.
    """
    if accelerator is None:
        if backend_of(options.level).needs_chip:
            free = " and ".join(name for name, backend in BACKENDS.items() if not backend.needs_chip)
            raise InputError(
                f"level {options.level} needs an accelerator: the name of a preset ('hwflow list accelerators') or a file. "
                f"Only {free} answers without one."
            )
        return Plan(network, None, {})
    sized: dict[Bits | None, Accelerator] = {}
    for layer in map(accelerator.typed, network):
        if layer.bits not in sized:
            sized[layer.bits] = accelerator.serving(layer)
    tables = energy_sources.energy_tables(list(sized.values()), options.energy, engine=options.engine, store=store)
    chips = {}
    for bits, chip in sized.items():
        constraints = constrain(chip, options.dataflow)
        chips[bits] = Chip(chip, constraints, tables[chip.fingerprint])
    return Plan(network, accelerator, chips)


# Layers --------------------------------------------------------------------------------------------------------------


def _answers(plans: _Plans, backend: CostBackend, run: _Run, *, apart: bool = False) -> dict[_Place, LayerCost | HwflowError]:
    """What a backend, which is ready, answers for each layer, or the error that it fails with; equal layers once.

    `apart`: a failure is one of its plan alone; else nothing more is begun after the first.
    """
    judged = backend.judges(run.options)
    before = {} if judged is None else _found(plans, backend_of(judged).ready(run.options), run)
    seconds = backend.seconds(run.options)
    answers: dict[_Place, LayerCost | HwflowError] = {}
    tasks: dict[str, Task] = {}
    keys: dict[_Place, tuple[str, Layer]] = {}
    for index, plan in plans.items():
        for layer in plan.network:
            place = (index, layer.key)
            if place in keys or place in answers:
                continue
            job = backend.job(layer, plan.chip(layer) if plan.accelerator else None, run.options, before.get(place))
            if seconds == 0:
                answers[place] = job.cost()
                continue
            key = stored_key(job.key)
            groups = tasks[key].groups if key in tasks else frozenset()
            accepts = functools.partial(is_cost, level=backend.name, mapped=backend.maps)
            tasks[key] = Task(
                backend.name,
                key,
                layer.name,
                _data,
                (job,),
                groups=groups | {index if apart else 0},
                seconds=seconds,
                accepts=accepts,
            )
            keys[place] = key, layer
    if tasks:
        told = pool.run(list(tasks.values()), jobs=run.options.jobs, store=run.store, progress=run.progress)
        for place, (key, layer) in keys.items():
            if key in told:  # pieces of a plan that has failed are not begun
                answers[place] = told[key] if isinstance(told[key], HwflowError) else cost_from_data(told[key], layer)
    return answers


def _data(job: Job) -> dict[str, Any]:
    """A layer's cost as plain data; runs in a worker process."""
    return cost_to_data(job.cost())


def _found(plans: _Plans, backend: CostBackend, run: _Run) -> dict[_Place, LayerCost]:
    """The answers; the first layer that has none is an error."""
    found = {}
    for place, answer in _answers(plans, backend, run).items():
        if isinstance(answer, HwflowError):
            raise answer
        found[place] = answer
    return found


def _mappings(plans: _Plans, run: _Run) -> dict[_Place, LayerCost]:
    """The answers of the level that searches mappings."""
    return _found(plans, backend_of(MAPPER).ready(run.options), run)


# Networks ------------------------------------------------------------------------------------------------------------


def _costs(plans: _Plans, run: _Run) -> dict[int, NetworkCost]:
    """At the level that is asked for; each plan in which it fails is answered at the fallback level as a whole."""
    falls_back = _falls_back(run.options)
    try:
        backend = backend_of(run.options.level).ready(run.options)
    except ToolError as error:
        return _fall_back(plans, dict.fromkeys(plans, error), run)
    answers = _answers(plans, backend, run, apart=falls_back)
    failures: dict[int, HwflowError] = {}
    for (index, _), answer in answers.items():
        if isinstance(answer, HwflowError):
            failures.setdefault(index, answer)
    if failures and not falls_back:
        raise next(iter(failures.values()))
    found = {place: answer for place, answer in answers.items() if not isinstance(answer, HwflowError)}
    costs = {i: _assemble(plan, run.options, backend, found, i) for i, plan in plans.items() if i not in failures}
    return {**costs, **_fall_back({i: plans[i] for i in plans if i in failures}, failures, run)}


def _falls_back(options: CostOptions) -> bool:
    return backend_of(options.level).external and options.fallback != "none"


def _fall_back(plans: _Plans, failures: Mapping[int, HwflowError], run: _Run) -> dict[int, NetworkCost]:
    """The whole of each plan at the fallback level, where the user allows it. What mid cannot map either stays an error."""
    options, reasons = run.options, {}
    fallback = backend_of(options.fallback) if _falls_back(options) else None
    for index in plans:
        error = failures[index]
        if fallback is None or not isinstance(error, (ToolError, NotMappable)):
            raise error
        if fallback.maps and (chip := plans[index].accelerator) is not None and not chip.mid_answers:
            raise error  # mid could only say that Timeloop should answer
        # Rows carry the first sentence only: the rest names folders that differ from run to run.
        reasons[index] = f"answered at {fallback.name} instead of {options.level}: {str(error).split('. ')[0].rstrip('.')}"
    if fallback is None or not plans:
        return {}
    for text in dict.fromkeys(str(failures[index]) for index in plans):
        run.notify(
            f"{options.level} cannot answer; {fallback.name} answers instead, in every row (--strict, in Python "
            f"fallback='none', makes this an error). {text}"
        )
    if not fallback.maps:
        _mappings({i: p for i, p in plans.items() if isinstance(failures[i], NotMappable)}, run)
    backend = fallback.ready(options)
    found = _found(plans, backend, run)
    return {i: _assemble(plan, options, backend, found, i, reasons[i]) for i, plan in plans.items()}


# The answer ----------------------------------------------------------------------------------------------------------


def _assemble(
    plan: Plan,
    options: CostOptions,
    backend: CostBackend,
    found: Mapping[_Place, LayerCost],
    index: int,
    reason: str = "",
) -> NetworkCost:
    network, accelerator = plan.network, plan.accelerator
    answers = [found[index, layer.key] for layer in network]
    notes = ["; ".join(filter(None, [answer.note, reason])) for answer in answers]
    rows = [replace(answer, layer=layer, note=note) for answer, layer, note in zip(answers, network, notes, strict=True)]
    batches = {layer.N for layer in network}
    return NetworkCost(
        network=network.name,
        accelerator=accelerator.label if accelerator else None,
        level=backend.name,
        batch=batches.pop() if len(batches) == 1 else network.layers[0].N,
        rows=tuple(rows),
        params_other=network.params_other,
        params_by_kind=network.params_by_kind,
        not_counted=network.not_counted,
        other_traffic_bytes=None if backend.maps else _other_traffic_bytes(plan),
        mac_units=accelerator.mac_units if accelerator else None,
        area_um2=_area_um2(plan),
        peak_activation_bytes=coarse.peak_activation_bytes(network, accelerator),
        chip=accelerator,
        tables=tuple(plan.chip(layer).table for layer in network) if accelerator else (),
        provenance=_provenance(plan, options, backend, rows, reason),
    )


def _other_traffic_bytes(plan: Plan) -> float:
    """Of operators without a row, beside the compulsory traffic of the rows: at a level without mappings."""
    width = max(coarse.bits_of(layer, plan.accelerator).inputs for layer in plan.network)
    return coarse.other_traffic_bytes(plan.network.other, width)


def _area_um2(plan: Plan) -> float | None:
    """The chip's area; where layers differ in word widths, of the chip that serves the widest, its accumulators included."""
    areas = []
    for layer in plan.network if plan.accelerator else ():
        chip = plan.chip(layer)
        areas.append(chip_area_um2(chip.accelerator, widened(chip.table, chip.accelerator, layer)))
    known = [area for area in areas if area is not None]
    return max(known) if known and len(known) == len(areas) else None


def _provenance(
    plan: Plan, options: CostOptions, backend: CostBackend, rows: Sequence[LayerCost], reason: str
) -> dict[str, Any]:
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
    if backend.maps and plan.accelerator is not None:
        content |= {
            "dataflow": options.dataflow or plan.accelerator.dataflow,
            "objective": options.objective,
            "effort": options.effort,
            "ragged": options.ragged,
        }
    if backend.external:
        content["mapper"] = options.mapper
    return content


def _energy_provenance(plan: Plan, rows: Sequence[LayerCost]) -> dict[str, Any]:
    tables: dict[str, EnergyTable] = {chip.accelerator.fingerprint: chip.table for chip in plan.chips.values()}
    details = next((dict(t.provenance) for t in tables.values() if t.provenance), {})
    return {"sources": sorted({row.energy_source for row in rows}), "unit": rows[0].energy_unit, **details}
