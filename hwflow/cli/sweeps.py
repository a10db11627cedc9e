"""`hwflow sweep`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwflow.cli import arguments as args
from hwflow.errors import HwflowError, MissingDependency

if TYPE_CHECKING:
    from hwflow.console import Page
    from hwflow.sweeping import SweepResult

_REASONS = 5
_SMALL = 0.1  # below it, three decimals would say too little
_SHOWN = (
    ("energy_pj", "energy (uJ)", 1e-6),
    ("energy_normalized", "energy (normalized, M)", 1e-6),
    ("latency_s", "latency (ms)", 1e3),
    ("edp_pj_s", "EDP (uJ ms)", 1e-3),
)


def sweep(
    file: Annotated[
        Path, typer.Argument(metavar="SWEEP.yaml", help="What to cost, on which accelerators.", show_default=False)
    ],
    *,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="A folder; one that holds a part of this sweep is continued.")
    ],
    runner: Annotated[str, typer.Option("--runner", metavar="local|ray", help="Processes here, or a Ray cluster.")] = "local",
    address: Annotated[
        str | None, typer.Option("--address", metavar="A", help="Of the Ray cluster; by default one is started here.")
    ] = None,
    jobs: Annotated[int | None, typer.Option("--jobs", "-j", metavar="N", help="Processes; by default the cores.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="That so many points are meant.")] = False,
    allow_import: args.AllowImportOption = None,
) -> None:
    """Cost networks on many variants of accelerators, into tables; what was interrupted goes on."""
    from hwflow import sweeping
    from hwflow.console import InterruptError, deliver, progress, say
    from hwflow.reporting import write_report

    asked = sweeping.load_description(file)
    mapper = asked.mapper if "fine" in asked.levels else "hwflow"
    try:
        with progress(file.name) as bar:
            result = sweeping.run(
                file,
                output,
                runner=runner,
                address=address,
                jobs=args.cores(jobs, mapper),
                yes=yes,
                allow_import=args.modules(allow_import),
                progress=bar,
                notify=say,
            )
    except sweeping.Interrupted as stopped:
        result = stopped.result
        raise InterruptError(
            f"interrupted. {result.points:,} of {result.expected:,} points are finished, in {output}; the same command goes on "
            "from there."
        ) from None
    deliver(_page(file, result))
    try:
        write_report(output)
    except MissingDependency as error:
        say(f"report.html was not written: {error}")
    if result.points and result.failures.total() == result.points:
        raise HwflowError(f"all {result.points:,} points failed; {output / 'results.csv'} says why of each.")
    say(f"wrote {output}")


def _page(file: Path, result: SweepResult) -> Page:
    from hwflow.console import Page, Table, number

    frame, rows = result.frame(), []
    done = frame[frame["status"] == "ok"]
    for named, group in done.groupby(["network", "level"], sort=False):
        for column, heading, factor in _SHOWN:
            if group[column].notna().any():
                best = group[group[column] == group[column].min()].iloc[0]
                least = float(best[column]) * factor
                value = number(least, 3) if least >= _SMALL else f"{least:.3g}"
                rows.append([*map(str, named), heading, value, str(best["point"]), str(best["accelerator"])])
    headings = ["network", "level", "least", "value", "point", "accelerator"]
    counts = result.counts
    lines = [f"{result.points:,} points, {result.failures.total():,} failed."]
    lines += [f"{times:,} failed: {reason}" for reason, times in result.failures.most_common(_REASONS)]
    if len(result.failures) > _REASONS:
        lines.append(f"{len(result.failures) - _REASONS:,} more reasons are in results.csv.")
    if counts.layers:
        share = number(100 * (1 - counts.asked / counts.layers), 1)
        lines.append(
            f"This run finished {counts.points:,} points in {number(result.seconds, 1)} s, "
            f"{number(1e3 * result.seconds / counts.points, 0)} ms each. Of their {counts.layers:,} layers {share} % were "
            f"deduplicated, {counts.asked - counts.computed:,} came from the cache and {counts.computed:,} were computed."
        )
    tables = [Table(headings, rows, left=frozenset({0, 1, 2, 5}))] if rows else []
    return Page(f"{file.name} in {result.folder}", tables, lines)
