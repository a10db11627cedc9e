"""`hwflow levels`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwflow.cli import arguments as args
from hwflow.cli import training_options as shared
from hwflow.cli.points import PointsOption, units_for
from hwflow.cli.training_session import training_session
from hwflow.errors import InputError

if TYPE_CHECKING:
    from hwflow.cli.console import Page, Table
    from hwflow.cost.options import CostOptions
    from hwflow.dynamic.level_run import Levels
    from hwflow.dynamic.level_table import LevelTable
    from hwflow.training.recipe import Recipe


MeasureOption = Annotated[
    str | None,
    typer.Option(
        "--measure", metavar="THREADS[,THREADS]", help="Also measure each level on this CPU with these numbers of threads."
    ),
]


def levels(
    network: shared.ModuleArgument,
    *,
    data: args.DataOption,
    output: shared.FolderOption,
    groups: Annotated[int, typer.Option("--groups", metavar="G", help="How many groups of channels, and so levels.")] = 4,
    accelerator: args.AcceleratorOption = None,
    points: PointsOption = None,
    changes: args.SetOption = None,
    level: shared.CostLevelOption = "mid",
    objective: args.ObjectiveOption = "edp",
    dataflow: args.DataflowOption = None,
    energy: args.EnergyOption = "auto",
    epochs: Annotated[
        int | None,
        typer.Option("--epochs", metavar="N", help="Epochs of each group; by default those of 'hwflow train' by the groups."),
    ] = None,
    learning_rate: shared.LearningRateOption = None,
    seed: shared.SeedOption = 0,
    measure: MeasureOption = None,
    jobs: args.JobsOption = None,
    device: args.DeviceOption = "auto",
    precision: args.PrecisionOption = "auto",
    threads: args.ThreadsOption = None,
    resume: shared.ResumeOption = False,
) -> None:
    """Train a network in groups of channels that can be dropped at run time, and tabulate every level at every clock.

    Group by group, with earlier groups frozen: the weights of level 4 contain those of levels 1 to 3. The folder is what
    'hwflow manage' and a device's runtime manager read.
    """
    from hwflow.cli.console import deliver, remark, say
    from hwflow.datasets import load_data
    from hwflow.dynamic.level_run import default_level_recipe, train_levels
    from hwflow.errors import check_whole
    from hwflow.network.load import load_module

    check_whole("--groups", groups, 64)
    units = units_for(points, accelerator, changes)
    loaded = load_data(data)
    module = load_module(network, num_classes=loaded.classes, in_channels=loaded.input_shape[0])
    usual = default_level_recipe(loaded, module, groups)
    recipe = recipe_of(usual, device, precision, seed, epochs=epochs, learning_rate=learning_rate)
    options = costs_asked(level, dataflow, objective, energy, jobs)
    with training_session(f"{network} in {groups} groups on {data}", module, loaded, recipe.batch_size, threads, output) as bar:
        found = train_levels(
            network,
            loaded,
            units,
            groups=groups,
            recipe=recipe,
            options=options,
            measure=thread_counts(measure),
            output=output,
            resume=resume,
            progress=bar,
            notify=say,
        )
    deliver(_page(network, found))
    remark(f"wrote {output}")


def recipe_of(
    usual: Recipe, device: str, precision: str, seed: int, *, epochs: int | None, learning_rate: float | None
) -> Recipe:
    """A recipe with what the command line says of it."""
    given: dict[str, Any] = {"device": device, "precision": precision, "seed": seed}
    given |= {"epochs": epochs, "learning_rate": learning_rate}
    return replace(usual, **{name: value for name, value in given.items() if value is not None})


def costs_asked(level: str, dataflow: str | None, objective: str, energy: str, jobs: int | None) -> CostOptions:
    """What points are costed with."""
    from hwflow.cost.options import CostOptions

    asked: dict[str, Any] = {"level": level, "dataflow": dataflow, "objective": objective, "energy": energy}
    return CostOptions(**asked, jobs=args.cores(jobs))


def thread_counts(text: str | None) -> tuple[int, ...]:
    """The numbers of `--measure`."""
    parts = args.listed("--measure", text) if text is not None else []
    if not all(part.isdecimal() and len(part) <= 4 and int(part) for part in parts):
        raise InputError(f"--measure is {text!r}; it must be a number of threads, or several with commas between them: 1,2.")
    return tuple(int(part) for part in parts)


def _page(network: str, found: Levels) -> Page:
    from hwflow.cli.console import Page, Table, counted, number

    rows = [
        [
            str(level.number),
            number(100 * level.accuracy, 2),
            number(100 * level.held_accuracy, 2),
            number(level.macs / 1e6),
            f"{level.params:,}",
        ]
        for level in found.levels
    ]
    tables = [
        Table(["level", "test accuracy (%)", "held-out accuracy (%)", "MACs (M)", "parameters"], rows, left=frozenset()),
        *cost_tables(found.table, found.measured),
    ]
    return Page(f"{network} in {counted(len(found.levels), 'level')}", tables, cost_lines(found.table))


def cost_lines(table: LevelTable) -> list[str]:
    """How many rows buy nothing, what answered, and what a reader must know of the costs."""
    from hwflow.cli.console import counted

    dropped = len(table.rows) - len(table.kept)
    lines = [f"{dropped} of {counted(len(table.rows), 'row')} buy nothing and are dropped from what a manager chooses."]
    lines += [f"Costs on {unit}: {level}." for unit, level in table.about["answered"].items()]
    return [*lines, *table.about["notes"]]


def cost_tables(modelled: LevelTable, measured: LevelTable | None) -> list[Table]:
    """Every level at every operating point, and what was measured."""
    from hwflow.cli.console import Table, number

    tables = [_costs(modelled)]
    if measured is not None:
        timings = measured.about["timings"]
        loads = [timings[row.unit][str(row.level)]["load"] for row in measured.rows]
        timed = [
            [row.unit, str(row.level), number(row.latency_s * 1e3, 3), number(load, 1)]
            for row, load in zip(measured.rows, loads, strict=True)
        ]
        tables.append(Table(["measured on", "level", "median latency (ms)", "load of the machine"], timed, left=frozenset({0})))
    return tables


def _costs(table: LevelTable) -> Table:
    from hwflow.cli.console import Table, number

    rows = []
    for row, by in zip(table.rows, table.dominators, strict=True):
        energy, power = (None if value is None else value * s for value, s in ((row.energy_j, 1e6), (row.power_w, 1e3)))
        rows.append(
            [
                row.unit,
                str(row.level),
                f"{row.clock_mhz:g}",
                "-" if row.voltage_v is None else f"{row.voltage_v:g}",
                number(row.latency_s * 1e3, 3),
                number(energy),
                number(power, 1),
                number(row.memory_bytes / 1e3, 1),
                "" if by is None else f"level {by.level} at {by.clock_mhz:g} MHz",
            ]
        )
    headings = ["unit", "level", "clock (MHz)", "voltage (V)", "latency (ms)", "energy (uJ)", "power (mW)", "weights (kB)"]
    return Table([*headings, "buys nothing against"], rows, left=frozenset({0, 8}))


__all__ = ["MeasureOption", "cost_lines", "cost_tables", "costs_asked", "levels", "recipe_of", "thread_counts"]
