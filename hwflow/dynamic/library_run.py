"""`build_library`: of the sub-networks of an elastic network, or of the plans of a search, those few that a device needs.

After Dynamic-OFA (Lou et al., CVPRW 2021, arXiv:2105.03596): a network whose sub-networks share their weights is searched once,
some of them are stored with the statistics of their normalisations, and a manager (`hwflow.dynamic.Manager`) switches between
them. Training, search and choice are described where they are carried out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hwflow.compression.decision import Choice
from hwflow.cost.options import CostOptions
from hwflow.cost.session import opened
from hwflow.datasets import Data, load_data
from hwflow.datasets.samples import derived
from hwflow.dynamic.elastic_network import ElasticNetwork, Sandwich, sorted_network
from hwflow.dynamic.elastic_space import ElasticSpace, elastic_space, space_with
from hwflow.dynamic.hypervolume import Kept, kept_points
from hwflow.dynamic.level_folder import LevelFolder, module_of, place_of
from hwflow.dynamic.level_table import MEASURED, TABLE, LevelTable
from hwflow.dynamic.library_folder import (
    ARCHIVE,
    ELASTIC,
    LIBRARY,
    STATISTICS,
    LibraryNetworks,
    Member,
    choices_digest,
    library_folder,
    save_statistics,
    statistics_of,
)
from hwflow.dynamic.library_options import LibrarySettings
from hwflow.dynamic.library_search import Allowed, ChoiceCosts, Found, Judge, criterion_of, limits_of, plans_of, search
from hwflow.dynamic.measurement import check_threads, measured_rows
from hwflow.dynamic.modelled_rows import FLOAT_BYTES, exact_options, modelled_costs, modelled_table
from hwflow.dynamic.operating_points import Unit
from hwflow.errors import InputError, MissingDependency
from hwflow.files import write_text
from hwflow.network import Network
from hwflow.progress import Progress, Shown, headed, shown
from hwflow.ranking import undominated
from hwflow.reporting import write_report
from hwflow.store import Store
from hwflow.training.checkpoint import digest
from hwflow.training.loop import fit
from hwflow.training.recipe import Recipe, default_recipe
from hwflow.training.weights import load_weights, record_training, save_weights

Notify = Callable[[str], None]

_BEYOND = 1.1
"""Times the whole network's costs, up to which volumes count."""


@dataclass(frozen=True)
class Library(LibraryNetworks):
    """What `build_library` gives.

    Attributes:
        table: modelled rows, of which a member is a level.
        measured: measured rows; None where none were asked for.
        archive: every sub-network that was measured, in this order.
        kept: how much of the front's hypervolume the members keep.
    """

    table: LevelTable
    measured: LevelTable | None
    archive: tuple[Found, ...]
    kept: Kept


def build_library(
    model: str | nn.Module,
    data: str | Data,
    units: Sequence[Unit],
    *,
    settings: LibrarySettings | None = None,
    recipe: Recipe | None = None,
    weights: str | Path | None = None,
    plans: str | Path | None = None,
    options: CostOptions | None = None,
    measure: Sequence[int] = (),
    output: str | Path | None = None,
    resume: bool = False,
    store: Store | bool = True,
    progress: Shown = None,
    notify: Notify | None = None,
) -> Library:
    """Make a network elastic, search it under limits on several units at once, and keep the sub-networks that are worth most.

    The network is trained as a whole, its channels are sorted, and then all sub-networks are trained together
    (`hwflow.dynamic.elastic_network.Sandwich`). Members are those of the measured front of accuracy and costs on every unit
    that keep most of its hypervolume (`hwflow.dynamic.hypervolume`), up to 1.1 times the whole network's costs and above the
    accuracy of guessing. Equal arguments give equal bytes on one machine with one number of threads, interrupted or not;
    measured latencies differ.

    Args:
        model: a zoo name, `package.module:callable`, or a module.
        data: a name or folder as `load_data` takes it, or a `Data`.
        units: where members run, from `load_units`.
        recipe: of each of the two trainings; by default `default_library_recipe`.
        weights: a file of trained weights of the whole network, which is then not trained as a whole.
        plans: the folder of a search of channels (`hwflow prune`): its plans are taken instead of an elastic training and an
            evolution, and cut from these weights; those on the front of the accuracies that it recorded are measured anew.
        options: of the costs of accelerators; there is no fallback.
        measure: numbers of threads with which each member's latency is measured on this machine's CPU.
        output: the folder of results; None keeps nothing.
        resume: continue an interrupted run with the same arguments, but for the number of members.

    Raises:
        InputError: for a network without sub-networks, or arguments or a folder that cannot be used.
        ToolMissing, ToolError: at fine, before anything is trained.
        Diverged: where the loss of a training is not finite.
    """
    loaded = load_data(data) if isinstance(data, str) else data
    asked, used, name = (
        options or CostOptions(),
        settings or LibrarySettings(),
        model if isinstance(model, str) else type(model).__name__,
    )
    check_threads(measure)
    exact_options(asked, "a library")
    if not units:
        raise InputError("a library needs a unit on which its members run; give one at least.")
    taught = (recipe or default_library_recipe(loaded)).resolved()
    shape = (1, *loaded.input_shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived("weights", taught.seed))
        module = module_of(model, loaded)
    if weights is not None:
        load_weights(weights, module)
    if plans is not None and weights is None and isinstance(model, str):
        raise InputError("plans are cut from a trained network: give the weights (--weights) that the search began with.")
    tried = None if plans is None else plans_of(Path(plans))
    if tried is None:
        space = elastic_space(module, shape, shares=used.shares, depth=used.depth, name=name)
    else:
        names = dict.fromkeys(group for plan, _ in tried for group in plan)
        widths = {group: [plan[group] for plan, _ in tried if group in plan] for group in names}
        space = space_with(module, shape, widths, name=name)
    trained = weights is not None or plans is not None
    criterion = "l1" if plans is None else criterion_of(Path(plans))
    config = {
        "network": name,
        "module": isinstance(model, nn.Module),
        "begun_with": digest(module),
        "trained": trained,
        "criterion": criterion,
        "plans": None if tried is None else [[list(plan.items()), accuracy] for plan, accuracy in tried],
        "data": loaded.name,
        "data_identity": loaded.identity,
        "classes": loaded.classes,
        "input_shape": list(loaded.input_shape),
        "space": {
            "groups": {group.name: list(group.widths) for group in space.grouping.groups},
            "stages": {stage.name: list(stage.options) for stage in space.stages},
        },
        **used.to_dict(),
        "recipe": asdict(taught),
        "units": [unit.model_dump(mode="json", exclude_none=True) for unit in units],
        "options": {key: value for key, value in asdict(asked).items() if key != "jobs"},
        "measure": list(measure),
    }
    title = f"library of {name} on {loaded.name}"
    with place_of(output) as place, opened(store, notify) as (cache, tell), shown(progress, title) as bar:
        folder = library_folder(place)
        with folder.opened(config, resume=resume, free=("members",)):
            for samples in (loaded.train, loaded.test):
                samples.check()
            priced = _Priced(space, units, used, asked, cache or False, tell)  # before the training: a level may be missing
            if not trained:
                _train_whole(module, loaded, taught, folder, bar)
            network = _network(module, space, criterion, loaded, taught)
            if tried is None:
                _train_all(network, loaded, taught, used.drawn, folder, bar)
            run = _Run(network, name, loaded, priced, used, taught, asked, config, folder, cache or False, bar, tell)
            if tried is None:
                search(
                    space,
                    run.judge,
                    run.costs,
                    run.allowed,
                    steps=used.steps,
                    most=min([1.0, *(budget.share for budget in used.budgets if budget.metric == used.metric)]),
                    settings=used.evolution,
                    seed=taught.seed,
                    progress=headed(bar, "searching"),
                )
            else:
                run.remeasure(tried)
            found = run.finish(measure)
        if output is not None:
            try:
                write_report(place)
            except MissingDependency as error:
                tell(f"report.html was not written: {error}")
        return found


def default_library_recipe(data: Data) -> Recipe:
    """`default_recipe` with half of its epochs, rounded up: of the training of the whole and of that of all sub-networks."""
    recipe = default_recipe(data)
    return replace(recipe, epochs=-(-recipe.epochs // 2))


def _train_whole(module: nn.Module, data: Data, recipe: Recipe, folder: LevelFolder, progress: Progress | None) -> None:
    """Train the network as a whole; where that is done, it is taken from its checkpoint."""
    told = headed(progress, "training the whole network")
    fit(module, *data.hold_out(), recipe, task=data.task, checkpoint=folder.checkpoints / "whole.pt", progress=told)


def _network(module: nn.Module, space: ElasticSpace, criterion: str, data: Data, recipe: Recipe) -> ElasticNetwork:
    """The elastic network of a trained one."""
    train, _ = data.hold_out()
    in_order = sorted_network(module, space, criterion, train, seed=derived("criterion", recipe.seed))
    network = ElasticNetwork(in_order, space, (1, *data.input_shape))
    record_training(network, data.identity)
    network.eval()
    return network


def _train_all(
    network: ElasticNetwork, data: Data, recipe: Recipe, drawn: int, folder: LevelFolder, progress: Progress | None
) -> None:
    """Train all sub-networks; where that is done, they are taken from the checkpoint."""
    told, file = headed(progress, "training all sub-networks"), folder.checkpoints / "elastic.pt"
    hooks = [Sandwich(drawn, recipe.seed)]
    fit(network, *data.hold_out(), recipe, task=data.task, hooks=hooks, checkpoint=file, progress=told)
    network.eval()


class _Priced:
    """Costs of sub-networks on the units, and whether they keep the budgets.

    The whole and the smallest network are costed at once, the smallest at every operating point: what is missing is told before
    anything is trained.

    Raises:
        InputError: where the level does not know a metric on a unit, or nothing keeps the budgets.
        ToolMissing, ToolError: at fine.
    """

    def __init__(
        self,
        space: ElasticSpace,
        units: Sequence[Unit],
        settings: LibrarySettings,
        options: CostOptions,
        store: Store | bool,
        notify: Notify,
    ) -> None:
        def priced(metric: str) -> ChoiceCosts:
            return ChoiceCosts(space, units, metric, options, store=store, notify=notify)

        self.costs = priced(settings.metric)
        smallest = space.canonical(space.smallest)
        for choice in (space.canonical(space.whole), smallest):
            self.costs(choice)
        network = Network(f"{space.grouping.network.name} smallest", space.layers(smallest))
        modelled_costs([network], units, options, store=store, progress=False, notify=notify)
        budgets = settings.budgets
        self.allowed: Allowed = limits_of(space, budgets, [priced(budget.metric) for budget in budgets])


class _Run:
    """What follows from a trained network: measurements, members, files."""

    def __init__(
        self,
        network: ElasticNetwork,
        name: str,
        data: Data,
        priced: _Priced,
        settings: LibrarySettings,
        recipe: Recipe,
        options: CostOptions,
        config: Mapping[str, Any],
        folder: LevelFolder,
        store: Store | bool,
        progress: Progress | None,
        notify: Notify,
    ) -> None:
        self.network, self.name, self.data, self.settings = network, name, data, settings
        self.units, self.costs, self.allowed = priced.costs.units, priced.costs, priced.allowed
        self.options, self.config, self.folder = options, config, folder
        self.store, self.progress, self.notify = store, progress, notify
        train, held = data.hold_out()
        file = folder.path / ARCHIVE
        count = min(settings.statistics, len(train))
        self.judge = Judge(network, train, held, task=data.task, statistics=count, recipe=recipe, file=file)

    def remeasure(self, tried: Sequence[tuple[Choice, float]]) -> None:
        """Measure the plans that are on the front by the accuracies that are known of them."""
        plans = [(self.network.space.canonical(plan), accuracy) for plan, accuracy in tried]
        plans = [(plan, accuracy) for plan, accuracy in plans if self.allowed(plan)]
        if not plans:
            raise InputError("no plan keeps the budget on every unit; raise it.")
        front = undominated([(-accuracy, *self.costs(plan)) for plan, accuracy in plans])
        for (plan, _), on in zip(plans, front, strict=True):
            if on:
                self.judge(plan)

    def finish(self, measure: Sequence[int]) -> Library:
        """Members, their files, and `library.json`, which marks the run as complete."""
        archive = tuple(Found(choice, self.judge(choice), self.costs(choice)) for choice in self.judge.order)
        self.judge.finish()
        front, kept = _members(
            archive, self.costs(self.network.space.canonical(self.network.space.whole)), self.settings, self.data
        )
        chosen = [front[place] for place in kept.places]
        modules = [self.judge.module(one.choice) for one in chosen]
        rows = [Network.from_torch(module, self.network.input_shape, name=f"{self.name} member") for module in modules]
        order = sorted(range(len(chosen)), key=lambda i: (rows[i].macs, chosen[i].accuracy))
        modules, rows, chosen = [modules[i] for i in order], [rows[i] for i in order], [chosen[i] for i in order]
        names = [unit.name for unit in self.units]
        members = tuple(
            Member(
                number,
                one.choice,
                one.accuracy,
                self.judge.score(module, self.data.test),
                network.macs,
                network.params_total,
                dict(zip(names, one.costs, strict=True)),
            )
            for number, (one, module, network) in enumerate(zip(chosen, modules, rows, strict=True), start=1)
        )
        costs = modelled_costs(
            rows,
            self.units,
            self.options,
            store=self.store,
            progress=headed(self.progress, "costing") or False,
            notify=self.notify,
        )
        choices = choices_digest(members)
        table = modelled_table(
            self.name, members, costs, self.units, self.options, self.data.name, choices=choices, notify=self.notify
        )
        place = self.folder.path
        self.folder.rewrite(self.config)  # here, where members are chosen: their files are written over from now on
        write_text(place / TABLE, table.to_json())
        measured = None
        if measure:
            plain = {member.number: module for member, module in zip(members, modules, strict=True)}
            known = {member.number: (member.held_accuracy, member.params * FLOAT_BYTES) for member in members}
            told = headed(self.progress, "measuring")
            measured = measured_rows(self.name, plain, known, self.data.input_shape, measure, notify=self.notify, progress=told)
            measured = replace(measured, about={**measured.about, "choices": choices})
            write_text(place / MEASURED, measured.to_json())
        statistics = {member.number: statistics_of(module) for member, module in zip(members, modules, strict=True)}
        save_statistics(place / STATISTICS, statistics, choices)
        about = {"network": self.name, "classes": self.data.classes, "data_identity": self.data.identity}
        save_weights(place / ELASTIC, self.network.whole, about)
        self.folder.write(LIBRARY, self._record(members, archive, front, kept))
        return Library(self.network, members, statistics, table, measured, archive, kept)

    def _record(
        self, members: Sequence[Member], archive: Sequence[Found], front: Sequence[Found], kept: Kept
    ) -> dict[str, Any]:
        return {
            "network": self.name,
            "metric": self.settings.metric,
            "units": [unit.name for unit in self.units],
            "members": [asdict(member) for member in members],
            "front": len(front),
            "measured": [[one.accuracy, list(one.costs)] for one in archive],
            "hypervolume": {"members": kept.volume, "front": kept.all_volume, "bound": kept.bound},
        }


def _members(
    archive: Sequence[Found], whole: Sequence[float], settings: LibrarySettings, data: Data
) -> tuple[list[Found], Kept]:
    """The front of what was measured, and which of it are kept."""
    points = [(-one.accuracy, *(cost / most for cost, most in zip(one.costs, whole, strict=True))) for one in archive]
    on = undominated(points)
    front = [one for one, keep in zip(archive, on, strict=True) if keep]
    if settings.members > len(front):
        raise InputError(
            f"{settings.members} members are asked for, but only {len(front)} of {len(archive)} measured sub-networks are on "
            f"the front of accuracy and {settings.metric}. Ask for {len(front)} with --resume, which measures nothing anew; or "
            "search longer."
        )
    reference = (-1 / data.classes, *(_BEYOND for _ in whole))
    return front, kept_points([p for p, keep in zip(points, on, strict=True) if keep], reference, settings.members)


__all__ = ["Library", "build_library", "default_library_recipe"]
