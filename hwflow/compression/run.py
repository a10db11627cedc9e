"""`prune`: what all compression methods share, from opening the folder to scores, costs, files and the report."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from torch import nn

from hwflow.compression.allocation import ALLOCATIONS
from hwflow.compression.channels.groups import Grouping
from hwflow.compression.fine_tuning import default_tuning, export_onnx
from hwflow.compression.folder import PLAN, Folder, prolonged, records_dataflow
from hwflow.compression.given_network import (
    budgets_explained,
    given_network,
    given_rows,
    had_zeros,
    refuse_codes,
    with_structural_budgets,
    with_what_is_left,
)
from hwflow.compression.kernels.measured_times import measured
from hwflow.compression.level_costs import LevelCosts
from hwflow.compression.method import Compressed, Method, Task
from hwflow.compression.plan_files import plan_data
from hwflow.compression.quantization.folded_normalization import fold
from hwflow.compression.recorded_rows import RecordedRows
from hwflow.compression.registry import method_name, method_named
from hwflow.compression.result import PruneResult
from hwflow.compression.run_config import network_name, run_config
from hwflow.compression.search.policy import SHIPPED
from hwflow.compression.settings import Settings, changed, settings_of
from hwflow.compression.winograd.winograd_method import tiles_of
from hwflow.compression.zero_budgets import tell_exceeded
from hwflow.cost.backend import backend_of, check_used
from hwflow.cost.inputs import accelerator_of
from hwflow.cost.options import CostOptions
from hwflow.cost.session import opened
from hwflow.datasets import Data, load_data
from hwflow.datasets.holdout import with_holdout
from hwflow.datasets.samples import Samples
from hwflow.errors import HwflowError, InputError, MissingDependency, not_found
from hwflow.hardware.accelerator import Accelerator
from hwflow.network import Network
from hwflow.network.from_torch import Rows, record_rows
from hwflow.network.load import load_module
from hwflow.network.replica import replica
from hwflow.progress import Progress, Shown, headed, shown
from hwflow.reporting import write_report
from hwflow.results import NetworkCost
from hwflow.store import Store
from hwflow.training.loop import History
from hwflow.training.recipe import Recipe
from hwflow.training.runs import train
from hwflow.training.score import score
from hwflow.training.weights import check_values, load_weights, save_weights, trained_on
from hwflow.types import Objective

if TYPE_CHECKING:
    from hwflow.cost.inputs import AcceleratorLike

Notify = Callable[[str], None]


def prune(
    model: str | nn.Module,
    data: str | Data,
    accelerator: AcceleratorLike | None = None,
    *,
    level: str | Sequence[str] = "mid",
    metric: str = "energy",
    budget: float | str | Mapping[str, float] | None = 0.5,
    seed: int | Sequence[int] = 0,
    plan: str | Path | Mapping[str, int] | None = None,
    weights: str | Path | None = None,
    training: Recipe | None = None,
    settings: Settings | None = None,
    output: str | Path | None = None,
    resume: bool = False,
    store: Store | bool = True,
    progress: Shown = None,
    notify: Notify | None = None,
    holdout: str | Samples | None = None,
    **changes: Any,
) -> PruneResult:
    """Compress a network to a budget, by default by pruning channels, fine-tune it, and cost it at every level that answers.

    Args:
        model: a trained module; or a zoo name or `package.module:callable`, which is trained first unless `weights` are given.
        data: a name or folder as `load_data` takes it, or a `Data`. Plans are compared on a part of the training samples that
            `hwflow.train` holds out; the test samples are used for the two scores of the result only.
        accelerator: None at coarse only.
        level: where plans are costed; several: the search's, then those at which the best plans are ranked again.
        metric: what a single budget is of: energy, latency, edp, macs, params, dram_bytes or
            peak_activation_bytes.
        budget: at most this share of the unpruned network's metric; or shares by metric, as `{"energy": 0.5, "latency": 0.6}`
            or `"energy=0.5,latency=0.6"`; None for AMC's soft budget.
        seed: of the searches; several give the comparison its spread, and the best plan of all is applied.
        plan: a plan to apply instead of a search: channels by group, a file or folder that holds one, or `"uniform"`.
        weights: a file, from `hwflow train`.
        training: how a network without weights is trained; by default `hwflow.training.default_recipe`.
        settings: everything else, and instead of `level`, `metric`, `budget` and `seed` where given.
        output: the folder to write; see `hwflow.compression.folder`. Without one nothing is kept but the store's answers.
        resume: go on in a folder where the same run was interrupted; the result is that of an uninterrupted one. With more
            episodes than the folder's run had, its search goes on, too, with the warm-up that it was begun with: the result is
            that of an uninterrupted run with `begun_with=` the first number of episodes.
        store: for costs and for accuracies of plans, as in `hwflow.estimate`.
        progress: told what is done of the work at hand; None shows it in a terminal and in a notebook, False nowhere.
        notify: told in a sentence what a user should know.
        holdout: images that the network has not seen, to compare plans on: `"train:0.1"` or `"test:0.3"`, a share of a part of
            the data; a data set, whose test part is used; or samples. By default a tenth of the training part, on which only
            networks that hwflow trained are known not to have been trained.
        changes: fields of the settings with other values, and of the fine-tuning's recipe: `episodes=60, epochs=10`; among them
            `method="channels"`, of `hwflow.compression.registry.METHODS`, and `searcher="ddpg"`. Without settings,
            and where neither a searcher nor a policy is named, the agent starts from the policy that is shipped with hwflow.

    Raises:
        InputError: where names, sizes, the plan or the folder cannot be used, or a budget cannot be reached: what can.
        ImportFailed: where the network cannot be traced.
        Diverged: where the loss of a training is not finite; the last whole epoch is kept in the folder.
        NotMappable, ToolMissing, ToolError: as `hwflow.estimate`.
    """
    loaded = load_data(data) if isinstance(data, str) else data
    loaded = loaded if holdout is None else with_holdout(loaded, holdout)
    asked = settings or settings_of(level, metric, budget, seed)
    asked = changed(asked, changes, lambda: default_tuning(loaded, _module(model, loaded)))
    asked = replace(asked, method=method_name(asked.method))
    if settings is None and plan is None and asked.method == method_name("agent") and not {"searcher", "policy"} & set(changes):
        asked = replace(asked, policy=SHIPPED)
    method = _method(asked, plan)
    chip = _chip(accelerator, asked)
    with (
        _place(output) as place,
        opened(store, notify) as (cache, tell),
        shown(progress, f"{network_name(model)} on {loaded.name}") as bar,
    ):
        folder = Folder(place)
        if resume and plan is None and (first := prolonged(place, asked.to_data())):
            asked = replace(asked, begun_with=first)
        config = run_config(model, loaded, chip, asked, plan, weights, training)
        if resume and not records_dataflow(place):
            del config["dataflow"]
        if isinstance(model, nn.Module) and (rows := given_rows(model)) is not None:
            config["given"] = {"zeros": had_zeros(rows)}
        if holdout is not None:
            config["holdout"] = holdout if isinstance(holdout, str) else "samples"
        with folder.opened(config, resume=resume):
            for samples in filter(None, (loaded.train, loaded.test, loaded.held)):  # a bad file shows now, not hours later
                samples.check()
            task = _task(model, loaded, chip, asked, plan, weights, folder, config, cache, bar, tell)
            passed = with_structural_budgets(task)
            with budgets_explained(task, passed):
                method.prepare(passed)
            if isinstance(model, str) and weights is None:
                _train(model, task, training)
            start = time.monotonic()
            found = with_what_is_left(task, method.compress(passed))
            return _finish(task, method, found, time.monotonic() - start)


def check(
    model: str | nn.Module,
    data: Data,
    accelerator: AcceleratorLike | None,
    settings: Settings,
    *,
    store: Store | bool = True,
    notify: Notify | None = None,
) -> None:
    """Raise what `prune` would raise before it trains: a budget out of reach, a plan that does not fit, too few epochs."""
    method, chip = _method(settings, None), _chip(accelerator, settings)
    with _place(None) as place, opened(store, notify) as (cache, tell):
        task = _task(model, data, chip, settings, None, None, Folder(place), {}, cache, None, tell)
        passed = with_structural_budgets(task)
        with budgets_explained(task, passed):
            method.prepare(passed)


def _method(asked: Settings, plan: str | Path | Mapping[str, int] | None) -> Method:
    if asked.objective is not None and asked.objective not in get_args(Objective):
        raise not_found("objective", asked.objective, get_args(Objective))
    method = method_named(asked.method)
    if plan is not None and not method.takes_plan:
        raise InputError(
            f"the method {asked.method} takes no plan, it chooses one itself: leave out the plan {plan}, or take a "
            "method that applies one, such as channels or l1."
        )
    if asked.policy is not None and asked.method != method_name("agent"):
        raise InputError(
            f"the policy {asked.policy} is what the agent's search starts from, and the method {asked.method} has none: "
            "leave it out, or take the method channels."
        )
    if asked.policy is not None and plan is not None:
        raise InputError(f"the policy {asked.policy} changes nothing beside a plan that is given: leave out one of the two.")
    if asked.reconstruct != "none" and not method.refits:
        raise InputError(
            f"reconstruct is {asked.reconstruct!r}, and the method {asked.method} refits no layer; leave it out, or take the "
            "method channels, which does with a given plan, too."
        )
    allocated = method.follows_allocation and asked.allocate != "uniform" and asked.allocate in ALLOCATIONS  # by scores
    if asked.criterion != Settings.criterion and not method.ranks and not allocated:
        raise InputError(
            f"criterion is {asked.criterion!r}, and the method {asked.method} does not choose channels by it; leave it out, or "
            "take a method that does, such as channels or l1."
        )
    return method


def _chip(accelerator: AcceleratorLike | None, asked: Settings) -> Accelerator | None:
    chip = None if accelerator is None else accelerator_of(accelerator)
    if chip is None and (free := [level for level in asked.levels if not backend_of(level).needs_chip]):
        own = {name: getattr(asked, name) for name in ("dataflow", "energy", "mapper", "engine", "effort")}
        check_used(CostOptions(**own), free)
    return chip


def _task(
    model: str | nn.Module,
    data: Data,
    chip: Accelerator | None,
    asked: Settings,
    plan: str | Path | Mapping[str, int] | None,
    weights: str | Path | None,
    folder: Folder,
    config: Mapping[str, Any],
    store: Store | None,
    progress: Progress | None,
    notify: Notify,
) -> Task:
    whole, rows = _with_weights(model, data, weights)
    return Task(
        model=whole,
        name=network_name(model),
        data=data,
        costs=LevelCosts(chip, asked, store=store or False, notify=notify, progress=headed(progress, "costing")),
        recipe=(asked.tuning or default_tuning(data, whole)).resolved(),
        settings=asked,
        plan=plan,
        folder=folder,
        config=config,
        store=store,
        progress=progress,
        notify=notify,
        given=rows,
    )


def _with_weights(model: str | nn.Module, data: Data, weights: str | Path | None) -> tuple[nn.Module, Rows | None]:
    """The uncompressed network, on the CPU; with its weights where there are any yet, and then how its rows run where an
    earlier run compressed it."""
    made = replica(model) if isinstance(model, nn.Module) else _module(model, data)
    if weights is not None:
        load_weights(weights, made)
    if isinstance(model, nn.Module):
        check_values(made, type(model).__name__)
    refuse_codes(made, network_name(model))
    rows = given_rows(made) if isinstance(model, nn.Module) or weights is not None else None  # training fills zeros
    record_rows(made, None)
    return made, rows


def _train(model: str, task: Task, recipe: Recipe | None) -> None:
    """Fill the uncompressed network with weights that the folder keeps."""
    file = task.folder.path / "base.pt"
    if not file.exists():
        train(model, task.data, recipe=recipe, output=file, progress=task.stage("training") or False)
    load_weights(file, task.model)


def _finish(task: Task, method: Method, found: Compressed, seconds: float) -> PruneResult:
    """Scores on the test set and costs at every level, before and after; then everything is written."""
    whole, data, recipe = task.model, task.data, task.recipe
    network, small = (n.network(task.input_shape, task.name) for n in (Compressed(whole, {}), found))
    before_rows = given_network(task)
    times = None
    if method.zeroes:
        task.tell("timing layers on this processor")
        times = measured(whole, found.model, task.input_shape)
    task.tell("scoring on the test set")
    before, after = (
        score(m, data.test, task=data.task, device=recipe.device, precision=recipe.precision) for m in (whole, found.model)
    )
    full, missing = task.costs.networks(before_rows)
    less, also = task.costs.networks(small)
    costs = {level: (full[level], less[level]) for level in full if level in less}
    if method.zeroes:
        tell_exceeded(task, costs)
    whole_again, small_again = task.costs.remapped(before_rows), task.costs.remapped(small)
    remapped = {name: (whole_again[name], small_again[name]) for name in whole_again if name in small_again}
    result = PruneResult(
        found.model.eval(),
        found.plan,
        found.grouping or Grouping(network, (), (), (), {}),
        found.comparison,
        before,
        after,
        costs,
        missing | also,
        found.tuning or History((), 0, False, 0, 0.0),
        task.settings.mapping_objective,
        remapped,
        dict(found.summary),
        times,
    )
    _write(task, found, network, result, seconds)
    tiles = {} if task.given is None else tiles_of(found.model)
    record_rows(found.model, RecordedRows(task.settings.method, found.plan, found.bits, found.densities, tiles))
    return result


def _write(task: Task, found: Compressed, network: Network, result: PruneResult, seconds: float) -> None:
    """Write the results; `metrics.json` is the last file before the report, and marks the run as complete."""
    folder, comparison = task.folder, found.comparison
    folder.write(PLAN, plan_data(network, found.grouping, found.decisions or (), found.plan, found.bits, found.policy))
    if comparison is not None:
        names = ("candidates", "refined", "finalists")
        folder.write("comparison.json", {name: getattr(comparison, name) for name in names})
    parts = {**found.seconds, **(comparison.seconds if comparison else {})}
    own = {} if result.measured is None else {"cpu": result.measured.to_data()}
    folder.write("times.json", {"seconds": parts, "total": seconds, **_images(task, found), **own})
    if found.summary:
        folder.write("summary.json", dict(found.summary))
    folder.write("tuning.json", {"epochs": result.tuning.epochs, "kept": result.tuning.kept})
    folder.write(
        "costs.json",
        {level: {"before": _timeless(pair[0]), "after": _timeless(pair[1])} for level, pair in result.costs.items()},
    )
    about = {"plan": dict(result.plan), "accuracy": result.after.accuracy, "data_identity": trained_on(result.model) or ""}
    save_weights(folder.path / "model.pt", result.model, about)
    try:
        task.tell("exporting to ONNX")
        export_onnx(fold(result.model, task.input_shape), task.data.input_shape, folder.path / "model.onnx")
    except HwflowError as error:
        task.notify(f"model.onnx was not written: {error}")
    folder.write("metrics.json", result.metrics())
    try:
        write_report(folder.path)
    except MissingDependency as error:
        task.notify(f"report.html was not written: {error}")


def _images(task: Task, found: Compressed) -> dict[str, int]:
    """How many images were trained on, and how many were looked at to measure plans, each as often as it was."""
    proxy, plans = task.settings.proxy, found.evaluated
    if found.comparison is not None:
        plans += sum(candidate.evaluations for candidate in found.comparison.candidates)
    train, held = task.data.hold_out()
    each = min(proxy.samples, len(held)) + proxy.epochs * proxy.tuned_on
    each += proxy.batches * min(proxy.batch_size, len(train)) if proxy.statistics == "training" else 0
    epochs = len(found.tuning.epochs) if found.tuning else 0
    return {"images_trained": found.trained + epochs * len(train), "images_evaluated": plans * each}


def _module(model: str | nn.Module, data: Data) -> nn.Module:
    """The network, made for the data where it is a name."""
    if isinstance(model, nn.Module):
        return model
    return load_module(model, num_classes=data.classes, in_channels=data.input_shape[0])


def _timeless(cost: NetworkCost) -> dict[str, Any]:
    """A network's costs without how long they took, which differs between equal runs."""
    content = cost.to_dict()
    for row in content["layers"]:
        del row["seconds"]
    return content


@contextlib.contextmanager
def _place(output: str | Path | None) -> Iterator[Path]:
    if output is not None:
        yield Path(output)
        return
    with tempfile.TemporaryDirectory(prefix="hwflow-prune-") as folder:
        yield Path(folder)
