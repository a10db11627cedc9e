"""`hwflow library`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwflow.cli import arguments as args
from hwflow.cli import training_options as shared
from hwflow.cli.levels import cost_lines, cost_tables, costs_asked, recipe_of, thread_counts
from hwflow.cli.points import PointsOption, units_for
from hwflow.cli.training_session import training_session
from hwflow.errors import InputError

if TYPE_CHECKING:
    from hwflow.cli.console import Page
    from hwflow.dynamic.library_run import Library


def library(
    network: shared.ModuleArgument,
    *,
    data: args.DataOption,
    output: shared.FolderOption,
    members: Annotated[int, typer.Option("--members", metavar="K", help="How many sub-networks are kept.")] = 6,
    accelerator: args.AcceleratorOption = None,
    points: PointsOption = None,
    changes: args.SetOption = None,
    metric: Annotated[
        str, typer.Option("--metric", metavar="latency|energy|edp", help="What sub-networks cost on each unit.")
    ] = "latency",
    budget: Annotated[
        str | None,
        typer.Option(
            "--budget",
            metavar="SHARE|METRIC=SHARE,...",
            help="Of the whole network's metric: what every sub-network keeps on every unit.",
        ),
    ] = None,
    level: shared.CostLevelOption = "mid",
    objective: args.ObjectiveOption = "edp",
    dataflow: args.DataflowOption = None,
    energy: args.EnergyOption = "auto",
    weights: Annotated[
        Path | None,
        typer.Option("--weights", metavar="FILE", help="Weights of the whole network, which is then not trained as a whole."),
    ] = None,
    plans: Annotated[
        Path | None,
        typer.Option(
            "--plans",
            metavar="DIR",
            help="Take the plans of a search, 'hwflow prune', cut from --weights, instead of an elastic training.",
        ),
    ] = None,
    shares: Annotated[
        str, typer.Option("--widths", metavar="SHARE[,SHARE]", help="Shares of a group's channels that can be kept.")
    ] = "0.25,0.5,0.75",
    depth: Annotated[bool, typer.Option("--depth/--no-depth", help="Whether blocks can be left out.")] = True,
    epochs: Annotated[
        int | None,
        typer.Option(
            "--epochs",
            metavar="N",
            help="Of each of the two trainings, of the whole and of all sub-networks; by default half those of 'hwflow train'.",
        ),
    ] = None,
    learning_rate: shared.LearningRateOption = None,
    steps: Annotated[int, typer.Option("--steps", metavar="N", help="Limits under which the evolution searches.")] = 6,
    population: Annotated[int, typer.Option("--population", metavar="N", help="Sub-networks of a generation.")] = 20,
    generations: Annotated[int, typer.Option("--generations", metavar="N", help="Under each limit.")] = 10,
    statistics: Annotated[
        int,
        typer.Option("--statistics", metavar="N", help="Training samples on which normalisations of each are measured."),
    ] = 2000,
    seed: shared.SeedOption = 0,
    measure: Annotated[
        str | None,
        typer.Option(
            "--measure", metavar="THREADS[,THREADS]", help="Also measure each member on this CPU with these numbers of threads."
        ),
    ] = None,
    jobs: args.JobsOption = None,
    device: args.DeviceOption = "auto",
    precision: args.PrecisionOption = "auto",
    threads: args.ThreadsOption = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Continue an interrupted run of the same command; --members may be another number."),
    ] = False,
) -> None:
    """Train a network whose width and depth can be chosen, and keep the sub-networks that are worth most on your units.

    All sub-networks share their weights; each member has its own statistics of normalisations. Members are chosen by accuracy
    and cost on every unit. The folder is what 'hwflow manage' and a device's runtime manager read.
    """
    from hwflow.cli.console import deliver, remark, say
    from hwflow.compression.budget import parse_budgets
    from hwflow.datasets import load_data
    from hwflow.dynamic.choice_evolution import EvolutionSettings
    from hwflow.dynamic.library_options import LibrarySettings
    from hwflow.dynamic.library_run import build_library, default_library_recipe
    from hwflow.network.load import load_module

    settings = LibrarySettings(
        members=members,
        metric=metric,
        budgets=() if budget is None else parse_budgets(budget, metric),
        shares=_shares(shares),
        depth=depth,
        statistics=statistics,
        steps=steps,
        evolution=EvolutionSettings(population=population, generations=generations),
    )
    units = units_for(points, accelerator, changes)
    loaded = load_data(data)
    usual = default_library_recipe(loaded)
    recipe = recipe_of(usual, device, precision, seed, epochs=epochs, learning_rate=learning_rate)
    options = costs_asked(level, dataflow, objective, energy, jobs)
    module = load_module(network, num_classes=loaded.classes, in_channels=loaded.input_shape[0])
    with training_session(f"library of {network} on {data}", module, loaded, recipe.batch_size, threads, output) as bar:
        found = build_library(
            network,
            loaded,
            units,
            settings=settings,
            recipe=recipe,
            weights=weights,
            plans=plans,
            options=options,
            measure=thread_counts(measure),
            output=output,
            resume=resume,
            progress=bar,
            notify=say,
        )
    deliver(_page(network, metric, found))
    remark(f"wrote {output}")


def _shares(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in args.listed("--widths", text))
    except ValueError:
        raise InputError(f"--widths is {text!r}; it must be shares with commas between them: 0.25,0.5,0.75.") from None


_SCALES = {"latency": (1e3, "latency (ms)"), "energy": (1e6, "energy (uJ)"), "edp": (1e9, "energy x latency (nJ s)")}


def _page(network: str, metric: str, found: Library) -> Page:
    from hwflow.cli.console import Page, Table, counted, number

    scale, words = _SCALES[metric]
    units = list(found.members[0].costs)
    rows = [
        [
            str(member.number),
            number(100 * member.accuracy, 2),
            number(100 * member.held_accuracy, 2),
            number(member.macs / 1e6),
            f"{member.params:,}",
            *(number(member.costs[unit] * scale, 3) for unit in units),
        ]
        for member in found.members
    ]
    headings = ["member", "test accuracy (%)", "held-out accuracy (%)", "MACs (M)", "parameters"]
    headings += [f"{words}, {unit}" for unit in units]
    tables = [Table(headings, rows, left=frozenset()), *cost_tables(found.table, found.measured)]
    kept = found.kept
    share = number(100 * kept.volume / kept.all_volume if kept.all_volume else 100.0, 2)
    more = "" if kept.proven else f" than {number(kept.bound / kept.volume, 4)} times that"
    how = f"no other choice keeps more{more}"
    lines = [
        f"{counted(len(found.archive), 'sub-network')} measured. The members keep {share} % of the front's hypervolume; {how}.",
        *cost_lines(found.table),
    ]
    return Page(f"library of {network}, {counted(len(found.members), 'member')}", tables, lines)
