"""`hwflow sweep`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwflow.cli import arguments as args
from hwflow.errors import HwflowError
from hwflow.metrics import BY_FIELD

if TYPE_CHECKING:
    import pandas

    from hwflow.cli.console import Page, Table
    from hwflow.sweeping import SweepResult

_REASONS = 5
_FRONT = 10  # points of a front that the terminal shows
_SMALL = 0.1  # below it, three decimals would say too little
_SHOWN = tuple(
    (field, BY_FIELD[field].heading, BY_FIELD[field].factor)
    for field in ("energy_pj", "energy_normalized", "latency_s", "edp_pj_s")
)


def sweep(
    file: Annotated[
        Path, typer.Argument(metavar="SWEEP.yaml", help="The sweep file: networks, accelerators, levels.", show_default=False)
    ],
    *,
    output: Annotated[
        Path,
        typer.Option(
            "-o", "--output", metavar="DIR", help="The folder of results; an unfinished run of the same sweep is continued."
        ),
    ],
    runner: Annotated[str, typer.Option("--runner", metavar="local|ray", help="Processes here, or a Ray cluster.")] = "local",
    address: Annotated[
        str | None, typer.Option("--address", metavar="A", help="Address of the Ray cluster; by default one is started here.")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", metavar="N", help="Processes; by default the number of cores.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Run a sweep with very many points without asking.")] = False,
    allow_import: args.AllowImportOption = None,
) -> None:
    """Cost networks on many variants of accelerators, and write tables; an interrupted sweep is continued."""
    from hwflow import sweeping
    from hwflow.cli.console import InterruptError, deliver, progress, remark, say

    asked = sweeping.load_description(file)
    try:
        with progress(file.name) as bar:
            result = sweeping.run(
                file,
                output,
                runner=runner,
                address=address,
                jobs=args.cores(jobs, asked.mapper, *asked.levels),
                yes=yes,
                allow_import=args.modules(allow_import),
                progress=bar,
                notify=say,
                description=asked,
            )
    except sweeping.Interrupted as stopped:
        result = stopped.result
        raise InterruptError(
            f"interrupted. {result.points:,} of {result.expected:,} points are finished, in {output}; the same command goes on "
            "from there."
        ) from None
    deliver(_page(file, result))
    if result.points and result.failures.total() == result.points:
        raise HwflowError(f"all {result.points:,} points failed; {output / 'results.csv'} says why of each.")
    remark(f"wrote {output}")


def _page(file: Path, result: SweepResult) -> Page:
    from hwflow.cli.console import Page, Table, number

    frame, rows = result.frame(), []
    done = frame[frame["status"] == "ok"]
    for named, group in done.groupby(["network", "level"], sort=False):
        for column, heading, factor in _SHOWN:
            if group[column].notna().any():
                best = group[group[column] == group[column].min()].iloc[0]
                least = float(best[column]) * factor
                value = number(least, 3) if least >= _SMALL else f"{least:.3g}"
                rows.append([*map(str, named), heading, value, str(best["point"]), str(best["accelerator"])])
    front = _front(done)
    headings = ["network", "level", "least", "value", "point", "accelerator"]
    counts = result.counts
    lines = [f"{result.points:,} points, {result.failures.total():,} failed."]
    lines += [f"{times:,} failed: {reason}" for reason, times in result.failures.most_common(_REASONS)]
    if len(result.failures) > _REASONS:
        lines.append(f"{len(result.failures) - _REASONS:,} more reasons are in results.csv.")
    if (proof := result.proof) is not None:
        lines.append(
            f"Proven by lower bounds: for each of {proof.designs:,} designs the front has one that is at most "
            f"{number(100 * proof.within, 1)} % worse in every objective. {proof.costed:,} of them were costed, "
            f"{proof.excluded:,} excluded (a costed design is as good as their bounds), and {proof.left:,} left."
            + (f" Of {proof.unknown:,} more no bound is known." if proof.unknown else "")
        )
    if counts.layers:
        share = number(100 * (1 - counts.asked / counts.layers), 1)
        lines.append(
            f"This run finished {counts.points:,} points in {number(result.seconds, 1)} s, "
            f"{number(1e3 * result.seconds / counts.points, 0)} ms each. Of their {counts.layers:,} layers {share} % were "
            f"deduplicated, {counts.asked - counts.computed:,} came from the cache and {counts.computed:,} were computed."
        )
    tables = [Table(headings, rows, left=frozenset({0, 1, 2, 5}))] if rows else []
    tables += [front] if front is not None else []
    return Page(f"{file.name} in {result.folder}", tables, lines)


def _front(done: pandas.DataFrame) -> Table | None:
    """The Pareto fronts, where a network and level have more than one design: at most ten points of each."""
    from hwflow.cli.console import Table, number

    rows = []
    for (network, level), group in done.groupby(["network", "level"], sort=False):
        on_front = group[group["pareto"].astype(bool)]
        if len(group) < 2:
            continue
        for _, point in on_front.sort_values("latency_s").head(_FRONT).iterrows():
            energy, unit = (point["energy_pj"], "uJ") if point.notna()["energy_pj"] else (point["energy_normalized"], "M units")
            known = point.notna()
            cells = [f"{number(energy * 1e-6, 3)} {unit}" if known["energy_pj"] or known["energy_normalized"] else "-"]
            cells += [number(point["latency_s"] * 1e3, 3) if known["latency_s"] else "-"]
            cells += [number(point["area_um2"] * 1e-6, 3) if known["area_um2"] else "-"]
            rows.append([str(network), str(level), *cells, str(point["point"]), str(point["accelerator"])])
        if len(on_front) > _FRONT:
            rows.append(
                [str(network), str(level), f"{len(on_front) - _FRONT} more", "", "", "", "in results.csv, column pareto"]
            )
    headings = ["Pareto front of", "level", "energy", "latency (ms)", "area (mm2)", "point", "accelerator"]
    return Table(headings, rows, left=frozenset({0, 1, 6})) if rows else None
