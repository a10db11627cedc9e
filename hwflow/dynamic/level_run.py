"""`train_levels`: a network in groups, trained group by group, and the table of its levels at every operating point."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

from torch import nn

from hwflow.cost.options import CostOptions
from hwflow.cost.session import opened
from hwflow.datasets import Data, load_data
from hwflow.dynamic.grouped_network import GroupedNetwork, grouped
from hwflow.dynamic.level_folder import LEVELS, WEIGHTS, LevelFolder, model_again, module_of, place_of, read_origin
from hwflow.dynamic.level_table import MEASURED, TABLE, LevelTable
from hwflow.dynamic.measurement import check_threads, measured_rows
from hwflow.dynamic.modelled_rows import FLOAT_BYTES, exact_options, modelled_costs, modelled_table
from hwflow.dynamic.operating_points import Unit
from hwflow.dynamic.point_costs import PointCost
from hwflow.errors import InputError, MissingDependency
from hwflow.files import write_text
from hwflow.network import Network
from hwflow.progress import Progress, Shown, headed, shown
from hwflow.reporting import write_report
from hwflow.store import Store
from hwflow.training.loop import Epoch, fit
from hwflow.training.recipe import Recipe, default_recipe
from hwflow.training.score import score
from hwflow.training.weights import load_weights, record_training, save_weights

Notify = Callable[[str], None]


@dataclass(frozen=True)
class Level:
    """One level of a network.

    Attributes:
        number: how many groups it has.
        held_accuracy: on held-out samples, by which a manager chooses.
        accuracy: on the test set, by which nothing is chosen.
        macs, params: of the level as it runs; `params` are all parameters.
        epochs: of the training of its last group.
    """

    number: int
    held_accuracy: float
    accuracy: float
    macs: int
    params: int
    epochs: tuple[Epoch, ...]


@dataclass(frozen=True)
class Levels:
    """What `train_levels` gives.

    Attributes:
        network: all groups, in evaluation mode on the CPU.
        levels: the smallest first.
        table: modelled rows.
        measured: measured rows; None where none were asked for.
    """

    network: GroupedNetwork
    levels: tuple[Level, ...]
    table: LevelTable
    measured: LevelTable | None


def train_levels(
    model: str | nn.Module,
    data: str | Data,
    units: Sequence[Unit],
    *,
    groups: int = 4,
    recipe: Recipe | None = None,
    options: CostOptions | None = None,
    measure: Sequence[int] = (),
    output: str | Path | None = None,
    resume: bool = False,
    store: Store | bool = True,
    progress: Shown = None,
    notify: Notify | None = None,
) -> Levels:
    """Rebuild a network in groups, train one after the other with those before frozen, and cost every level.

    Equal arguments give equal weights and tables on one machine with one number of threads, interrupted or not; measured
    latencies differ.

    Args:
        model: a zoo name, `package.module:callable`, or a module; of a module its structure counts.
        data: a name or folder as `load_data` takes it, or a `Data`.
        units: where levels run, from `load_units`.
        groups: how many levels there are.
        recipe: of the training of each group; by default `default_level_recipe`.
        options: of the costs of accelerators; there is no fallback.
        measure: numbers of threads with which each level's latency is measured on this machine's CPU.
        output: the folder of results; None keeps nothing.
        resume: continue an interrupted run with the same arguments.

    Raises:
        InputError: for a network that cannot be rebuilt, or arguments or a folder that cannot be used.
        ToolMissing, ToolError: at fine, before anything is trained.
        Diverged: where the loss of a training is not finite.
    """
    loaded = load_data(data) if isinstance(data, str) else data
    asked, name = options or CostOptions(), model if isinstance(model, str) else type(model).__name__
    module = module_of(model, loaded)
    used = (recipe or default_level_recipe(loaded, module, groups)).resolved()
    check_threads(measure)
    exact_options(asked, "a table of levels")
    network = grouped(module, (1, *loaded.input_shape), groups, used.seed)
    config = {
        "network": name,
        "module": isinstance(model, nn.Module),
        "data": loaded.name,
        "data_identity": loaded.identity,
        "classes": loaded.classes,
        "input_shape": list(loaded.input_shape),
        "groups": groups,
        "recipe": asdict(used),
        "units": [unit.model_dump(mode="json", exclude_none=True) for unit in units],
        "options": {key: value for key, value in asdict(asked).items() if key != "jobs"},
        "measure": list(measure),
    }
    title = f"{name} in {groups} groups on {loaded.name}"
    with place_of(output) as place, opened(store, notify) as (cache, tell), shown(progress, title) as bar:
        folder = LevelFolder(place)
        with folder.opened(config, resume=resume):
            for samples in (loaded.train, loaded.test):
                samples.check()
            networks = [network_at(network, name, k) for k in range(1, groups + 1)]
            # Before the training, on which costs do not depend: a tool or a level may be missing.
            costs = modelled_costs(
                networks, units, asked, store=cache or False, progress=headed(bar, "costing") or False, notify=tell
            )
            stages = _trained(network, loaded, used, folder, bar)
            found = _finish(network, name, stages, networks, costs, loaded, units, asked, measure, folder, bar, tell)
        if output is not None:
            try:
                write_report(place)
            except MissingDependency as error:
                tell(f"report.html was not written: {error}")
        return found


def default_level_recipe(data: Data, model: nn.Module, groups: int) -> Recipe:
    """`default_recipe` with its epochs divided by the groups, rounded up: of the training of each."""
    recipe = default_recipe(data, model)
    return replace(recipe, epochs=math.ceil(recipe.epochs / groups))


class _Stage(NamedTuple):
    """What the training of a group gave: accuracies held out and on the test set, epochs."""

    held: float
    tested: float
    epochs: tuple[Epoch, ...]


def _trained(
    network: GroupedNetwork, data: Data, recipe: Recipe, folder: LevelFolder, progress: Progress | None
) -> list[_Stage]:
    """Train the groups; a finished group is taken from its checkpoint."""
    train, held = data.hold_out()
    stages = []
    for group in range(1, len(network.groups) + 1):
        network.begin(group)
        history = fit(
            network,
            train,
            held,
            recipe,
            task=data.task,
            checkpoint=folder.checkpoints / f"group-{group}.pt",
            progress=headed(progress, f"group {group} of {len(network.groups)}"),
        )
        tested = score(network, data.test, task=data.task, device=recipe.device, precision=recipe.precision)
        stages.append(_Stage(history.epochs[history.kept - 1].accuracy, tested.accuracy, history.epochs))
    network.end()
    record_training(network, data.identity)
    return stages


def network_at(network: GroupedNetwork, name: str, level: int) -> Network:
    """The rows of a level, as it runs."""
    return Network.from_torch(network.at_level(level), network.input_shape, name=f"{name} level {level}")


def _finish(
    network: GroupedNetwork,
    name: str,
    stages: Sequence[_Stage],
    networks: Sequence[Network],
    costs: Sequence[Sequence[PointCost]],
    data: Data,
    units: Sequence[Unit],
    options: CostOptions,
    measure: Sequence[int],
    folder: LevelFolder,
    progress: Progress | None,
    notify: Notify,
) -> Levels:
    """Tables and measurements; `levels.json` is the last file and marks the run as complete."""
    levels = [
        Level(k, stage.held, stage.tested, rows.macs, rows.params_total, stage.epochs)
        for k, (stage, rows) in enumerate(zip(stages, networks, strict=True), start=1)
    ]
    for before, after in itertools.pairwise(levels):
        if after.held_accuracy <= before.held_accuracy:
            notify(
                f"level {after.number} of {name} is no more accurate than level {before.number} on held-out samples "
                f"({100 * after.held_accuracy:.2f} and {100 * before.held_accuracy:.2f} %); a manager will not choose it."
            )
    measured = None
    table = modelled_table(name, levels, costs, units, options, data.name, notify=notify)
    write_text(folder.path / TABLE, table.to_json())
    if measure:
        plain = {level.number: network.at_level(level.number) for level in levels}
        accuracies = {level.number: (level.held_accuracy, level.params * FLOAT_BYTES) for level in levels}
        measured = measured_rows(
            name, plain, accuracies, data.input_shape, measure, notify=notify, progress=headed(progress, "measuring")
        )
        write_text(folder.path / MEASURED, measured.to_json())
    about_weights = {"network": name, "classes": data.classes, "groups": len(levels), "data_identity": data.identity}
    save_weights(folder.path / WEIGHTS, network.eval(), about_weights)
    folder.write(LEVELS, {"network": name, "levels": [asdict(level) for level in levels]})
    return Levels(network.eval(), tuple(levels), table, measured)


def load_levels(folder: str | Path, model: nn.Module | None = None, *, allow_import: Sequence[str] = ()) -> GroupedNetwork:
    """The trained network in groups of a finished run, in evaluation mode; `at_level(k)` of it is a plain module.

    Args:
        model: the network, where the run was given a module of one's own; its weights do not matter.
        allow_import: modules of which the folder may name a callable, `package.module:callable`, to be imported and called.

    Raises:
        InputError: where the folder holds no finished run, the network cannot be made anew, or the file does not fit it.
    """
    place = Path(folder)
    origin = read_origin(place)
    if not LevelFolder(place).finished:
        raise InputError(f"{place} holds levels that are not finished: it has no {LEVELS}. Continue with --resume.")
    model = model_again(place, origin, model, allow_import)
    network: GroupedNetwork = grouped(model, (1, *origin.input_shape), origin.groups)
    load_weights(place / WEIGHTS, network)
    network.eval()
    return network


__all__ = ["Level", "Levels", "default_level_recipe", "load_levels", "network_at", "train_levels"]
