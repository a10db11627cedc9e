"""From networks and accelerators to costs: distinct layers, the store, the pool, and the rule that levels never mix.

A `Plan` is one network on one accelerator. Equal layers of all plans are computed once; where another program answers, a plan
in which one layer fails is answered at the fallback level as a whole.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from hwflow.cost.assembly import assemble
from hwflow.cost.backend import CostBackend, Job, backend_of
from hwflow.cost.batch_rounds import choose
from hwflow.cost.chip import Chip
from hwflow.cost.edge_cycles import delayed, edge_cycles
from hwflow.cost.executed_network import AUTO, run_as, wanted
from hwflow.cost.execution_choice import cheapest
from hwflow.cost.levels import MAPPER, mapping_of
from hwflow.cost.network_choice import Placed
from hwflow.cost.options import CostOptions
from hwflow.cost.plan import LayerKey, Plan, plan_for
from hwflow.cost.residency import home_of, homes_of
from hwflow.cost.serialization import cost_from_data, cost_to_data, is_cost, stored_key
from hwflow.cost.variant_prices import Searched
from hwflow.errors import HwflowError, InputError, NotMappable, ToolError, not_found
from hwflow.hardware.accelerator import Accelerator
from hwflow.layers import TENSORS, Layer, Tensor
from hwflow.network import Network
from hwflow.progress import Progress
from hwflow.results import LayerCost, NetworkCost
from hwflow.store import Store, pool
from hwflow.store.pool import Task

if TYPE_CHECKING:
    from hwflow.cost.mid import MapResult


def evaluate(
    pairs: Sequence[tuple[Network, Accelerator | None]],
    options: CostOptions,
    store: Store | None,
    progress: Progress | None,
    notify: Callable[[str], None],
) -> list[NetworkCost]:
    """The costs of all pairs, in their order. `notify` is told of every fallback, with all that is known of why."""
    for network, _ in pairs:
        wanted(network, options.execution)
    plans = [plan_for(network, accelerator, options, store) for network, accelerator in pairs]
    return carry_out(plans, options, store, progress, notify)


def carry_out(
    plans: Sequence[Plan],
    options: CostOptions,
    store: Store | None,
    progress: Progress | None,
    notify: Callable[[str], None],
) -> list[NetworkCost]:
    """The costs of all plans, in their order, with their layers run as the options say."""
    run = Run(options, store, progress, notify)
    numbered = dict(enumerate(_as_they_run(plan, run) for plan in plans))
    costs = _costs(numbered, run)
    return [costs[i] for i in numbered]


def best_mapping(
    layer: Layer,
    accelerator: Accelerator,
    options: CostOptions,
    store: Store | None,
    notify: Callable[[str], None],
    resident: Sequence[Tensor] = (),
) -> MapResult:
    """mid's best mapping of one layer, whose `resident` tensors stay on the chip; time at its edges where that is asked for.

    Raises:
        InputError: where no memory of the chip can hold them.
    """
    plan = plan_for(Network(layer.name, (layer,)), accelerator, options, store)
    layer = plan.layer(layer)
    if resident:
        if unknown := [tensor for tensor in resident if tensor not in TENSORS]:
            raise not_found("resident tensor", str(unknown[0]), TENSORS)
        for tensor in resident:
            home = home_of(accelerator, tensor)
            if why := homes_of(accelerator).why or (home if isinstance(home, str) else ""):
                raise InputError(f"resident is {', '.join(resident)}, and not all of it can stay: {why}.")
        kept = tuple(tensor for tensor in TENSORS if tensor in resident)
        plan = replace(plan, chips={bits: replace(chip, resident=kept) for bits, chip in plan.chips.items()})
    found = replace(_mappings({0: plan}, Run(options, store, None, notify))[0, layer.key], layer=layer)
    chip = plan.chip(layer)
    if options.latency == "with_fill":
        found = delayed(found, chip.accelerator, edge_cycles(found, chip.accelerator))
    return map_result(found, chip)


def map_result(cost: LayerCost, chip: Chip) -> MapResult:
    """A row of mid's as the result of a search."""
    from hwflow.cost.mid import MapResult

    return MapResult(mapping_of(cost, chip), cost, bool(cost.proven_optimal), cost.bound, cost.perfect_bound)


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
    run = Run(options, store, progress, notify)
    wanted(network, options.execution)
    plan = _as_they_run(plan_for(network, accelerator, options, store), run)
    if options.mapper != "hwflow":
        return plan, None
    found = _mappings({0: plan}, run)
    return plan, {key: answer for (_, key), answer in found.items()}


_Plans = Mapping[int, Plan]
_Place = tuple[int, LayerKey]
"""A layer, by its key, of a plan, by its number."""


@dataclass(frozen=True)
class Run:
    """What is asked of all layers, where answers are kept, and who is told."""

    options: CostOptions
    store: Store | None
    progress: Progress | None
    notify: Callable[[str], None]
    known: dict[str, Any] = field(default_factory=dict)  # by key, what was computed to choose executions


# Executions ----------------------------------------------------------------------------------------------------------


def _as_they_run(plan: Plan, run: Run) -> Plan:
    names = wanted(plan.network, run.options.execution, some=False)
    if AUTO in names.values():
        names = cheapest(plan, names, run.options, functools.partial(_alone_each, plan, run))
    if names:
        plan = replace(plan, network=run_as(plan.network, names))
    return plan.in_parts() if backend_of(run.options.level).maps and not run.options.whole_network else plan


def _alone_each(plan: Plan, run: Run, layers: Sequence[Layer]) -> list[LayerCost | HwflowError]:
    """What layers cost, each by itself, at the level that will answer; what was computed is kept for the network."""
    try:
        backend = backend_of(run.options.level).ready(run.options)
    except ToolError:
        if not _falls_back(run.options):
            raise
        backend = backend_of(run.options.fallback).ready(run.options)
    each = {i: replace(plan, network=Network(layer.name, (layer,))) for i, layer in enumerate(layers)}
    keys = {i: one.network.layers[0].key for i, one in each.items()}
    found: dict[_Place, LayerCost | HwflowError] = {}
    before = None
    if (judged := backend.judges(run.options)) is not None:
        found = _answers(each, backend_of(judged).ready(run.options), run, apart=True)
        before = {place: answer for place, answer in found.items() if isinstance(answer, LayerCost)}
        each = {i: one for i, one in each.items() if (i, keys[i]) in before}
    found = {**found, **_answers(each, backend, run, apart=True, before=before)}
    return [found[i, key] for i, key in keys.items()]


# Layers --------------------------------------------------------------------------------------------------------------


def _answers(
    plans: _Plans,
    backend: CostBackend,
    run: Run,
    *,
    apart: bool = False,
    before: Mapping[_Place, LayerCost] | None = None,
) -> dict[_Place, LayerCost | HwflowError]:
    """What a backend, which is ready, answers for each layer, or the error that it fails with; equal layers once.

    Args:
        apart: a failure is one of its plan alone; else nothing more is begun after the first.
        before: what the level that it judges answered, where that is known.
    """
    judged = backend.judges(run.options)
    if before is None:
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
        missing = [task for task in tasks.values() if task.key not in run.known]
        told = {key: run.known[key] for key in tasks if key in run.known}
        told |= pool.run(missing, jobs=run.options.jobs, store=run.store, progress=run.progress) if missing else {}
        if run.options.chooses_execution:
            run.known.update({key: answer for key, answer in told.items() if not isinstance(answer, HwflowError)})
        for place, (key, layer) in keys.items():
            if key in told:  # pieces of a plan that has failed are not begun
                answers[place] = told[key] if isinstance(told[key], HwflowError) else cost_from_data(told[key], layer)
    return answers


def _data(job: Job) -> dict[str, Any]:
    """A layer's cost as plain data; runs in a worker process."""
    return cost_to_data(job.cost())


def _found(plans: _Plans, backend: CostBackend, run: Run) -> dict[_Place, LayerCost]:
    """The answers; the first layer that has none is an error."""
    found = {}
    for place, answer in _answers(plans, backend, run).items():
        if isinstance(answer, HwflowError):
            raise answer
        found[place] = answer
    return found


def _mappings(plans: _Plans, run: Run) -> dict[_Place, LayerCost]:
    """The answers of the level that searches mappings."""
    return _found(plans, backend_of(MAPPER).ready(run.options), run)


# Networks ------------------------------------------------------------------------------------------------------------


def _costs(plans: _Plans, run: Run) -> dict[int, NetworkCost]:
    """At the level that is asked for; each plan in which it fails is answered at the fallback level as a whole."""
    falls_back = _falls_back(run.options)
    try:
        backend = backend_of(run.options.level).ready(run.options)
    except ToolError as error:
        return _fall_back(plans, dict.fromkeys(plans, error), run)
    if run.options.whole_network and backend.maps:
        costs, failures = _wholes(plans, backend, run)
        return {**costs, **_fall_back({i: plans[i] for i in failures}, failures, run)}
    answers = _answers(plans, backend, run, apart=falls_back)
    failures = {}
    for (index, _), answer in answers.items():
        if isinstance(answer, HwflowError):
            failures.setdefault(index, answer)
    if failures and not falls_back:
        raise next(iter(failures.values()))
    found = {place: answer for place, answer in answers.items() if not isinstance(answer, HwflowError)}
    costs = {i: _assembled(plan, run, backend, found, i) for i, plan in plans.items() if i not in failures}
    return {**costs, **_fall_back({i: plans[i] for i in plans if i in failures}, failures, run)}


def _wholes(
    plans: _Plans, backend: CostBackend, run: Run, reasons: Mapping[int, str] | None = None
) -> tuple[dict[int, NetworkCost], dict[int, HwflowError]]:
    """Networks whose layers depend on one another, and those that fail.

    What stays is chosen with the mappings of the level that searches them; another level that is asked for judges these.
    """
    costs, failures, search = {}, {}, searched(run)
    for index, plan in plans.items():
        chosen = choose(plan, run.options, search)
        answers = judged([chosen.placed[row] for row in range(len(plan.network))], backend, run)
        if failed := [answer for answer in answers if isinstance(answer, HwflowError)]:
            failures[index] = failed[0]
            continue
        told = [answer for answer in answers if isinstance(answer, LayerCost)]
        costs[index] = assemble(plan, run.options, backend, told, (reasons or {}).get(index, ""), chosen)
    return costs, failures


def searched(run: Run) -> Searched:
    """The search of mappings, of layers on chips."""
    mapper = backend_of(MAPPER).ready(run.options)

    def search(pairs: Sequence[tuple[Layer, Chip]]) -> list[LayerCost | HwflowError]:
        found = _answers({i: _alone(*pair) for i, pair in enumerate(pairs)}, mapper, run, apart=True)
        return [found[i, layer.key] for i, (layer, _) in enumerate(pairs)]

    return search


def judged(rows: Sequence[Placed], backend: CostBackend, run: Run) -> list[LayerCost | HwflowError]:
    """What a backend says of layers as they run: of the mappings that were found, where it judges these, else of its own."""
    if backend.name == MAPPER:
        return [row.cost for row in rows]
    found = {(i, row.layer.key): row.cost for i, row in enumerate(rows)}
    before = found if backend.judges(run.options) == MAPPER else None
    told = _answers({i: _alone(row.layer, row.chip) for i, row in enumerate(rows)}, backend, run, before=before)
    return [told[i, row.layer.key] for i, row in enumerate(rows) if (i, row.layer.key) in told]


def _alone(layer: Layer, chip: Chip) -> Plan:
    return Plan(Network(layer.name, (layer,)), chip.accelerator, {layer.bits: chip})


def _falls_back(options: CostOptions) -> bool:
    return backend_of(options.level).external and options.fallback != "none"


def _fall_back(plans: _Plans, failures: Mapping[int, HwflowError], run: Run) -> dict[int, NetworkCost]:
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
        plans = {i: plan.undivided() for i, plan in plans.items()}
    backend = fallback.ready(options)
    if options.whole_network and fallback.maps:
        costs, failed = _wholes(plans, backend, run, reasons)
        for error in failed.values():
            raise error
        return costs
    found = _found(plans, backend, run)
    return {i: _assembled(plan, run, backend, found, i, reasons[i]) for i, plan in plans.items()}


def _assembled(
    plan: Plan, run: Run, backend: CostBackend, found: Mapping[_Place, LayerCost], index: int, reason: str = ""
) -> NetworkCost:
    return assemble(plan, run.options, backend, [found[index, layer.key] for layer in plan.network], reason)
