"""`hwflow manage`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwflow.cli import arguments as args
from hwflow.errors import InputError, shown

if TYPE_CHECKING:
    from hwflow.cli.console import Page
    from hwflow.dynamic.simulation import Simulation


def manage(
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR...",
            help="What 'hwflow levels' or 'library' wrote, one for each network; or their files, table.json or measured.json.",
            show_default=False,
        ),
    ],
    *,
    trace: Annotated[Path, typer.Option("--trace", metavar="FILE.yaml", help="Limits, units and bandwidth over frames.")],
    hold: Annotated[
        int | None,
        typer.Option(
            "--hold",
            metavar="N",
            help="Frames during which a better choice must be possible before it is taken; by default the trace's, or 10.",
        ),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(
            "--margin",
            metavar="SHARE",
            help="By which share the better choice must keep the limits; by default the trace's, or 0.05.",
        ),
    ] = None,
    weight: Annotated[
        list[str] | None,
        typer.Option("--weight", metavar="NETWORK=W", help="Of a network among several; by default 1. Repeatable."),
    ] = None,
    measured: Annotated[
        bool, typer.Option("--measured", help="Use the latencies that were measured, measured.json, instead of the model's.")
    ] = False,
    form: args.FormatOption = None,
    output: args.OutputOption = None,
) -> None:
    """Play a trace of changing limits: which level, unit and clock the runtime manager chooses, beside four baselines.

    The baselines are the most accurate level at its unit's highest clock, on one unit while that is there; that level with unit
    and clock chosen (DVFS); the units' highest clocks with level and unit chosen; and an oracle that takes the best choice of
    each frame.
    """
    from hwflow.cli.console import progress, remark
    from hwflow.cli.output import Answer, Texts, form_of
    from hwflow.dynamic.level_table import MEASURED, TABLE, read_table
    from hwflow.dynamic.simulation import simulate
    from hwflow.dynamic.trace import load_trace
    from hwflow.reporting.report import write_trace

    shape = form_of(form, output, ("table", "json", "markdown", "html"))
    file = MEASURED if measured else TABLE
    tables = [read_table(folder / file if folder.is_dir() else folder) for folder in folders]
    units = tuple(dict.fromkeys(row.unit for table in tables for row in table.rows))
    played = load_trace(trace, units, tuple(table.network for table in tables))
    with progress(f"trace {played.name}", wanted=played.frames > _SHORT) as bar:
        found = simulate(tables, played, hold=hold, margin=margin, weights=_weights(weight), progress=bar or None)
    texts: Texts = {"json": lambda: json.dumps(found.to_dict(), indent=1) + "\n"}
    Answer(lambda: _page(found), texts, lambda html: remark(f"wrote {write_trace(found.to_dict(), html)}")).give(shape, output)


_SHORT = 50_000  # frames


def _weights(texts: Sequence[str] | None) -> dict[str, float]:
    weights = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        try:
            weights[name] = float(value) if equals and name else _refused(text)
        except ValueError:
            _refused(text)
    return weights


def _refused(text: str) -> float:
    raise InputError(f"--weight {shown(text)} must have the form NETWORK=W, for example --weight resnet20=2.") from None


def _page(found: Simulation) -> Page:
    from hwflow.cli.console import Page, Table, number
    from hwflow.dynamic.simulation import POLICIES

    rows = [
        [
            run.policy,
            POLICIES[run.policy],
            number(run.violations, 0),
            number(100 * run.accuracy, 2),
            number(None if run.energy_j is None else run.energy_j * 1e3, 3),
            number(run.switches, 0),
        ]
        for run in found.runs
    ]
    headings = ["policy", "what it does", "frames with a broken limit", "accuracy (%)", "energy (mJ)", "switches"]
    lines = ["Accuracies are means over frames and networks; switching takes no time and no energy here."]
    kinds = " and ".join(dict.fromkeys(found.kinds))
    title = f"trace {found.trace.name}: {', '.join(found.networks)}, {found.trace.frames:,} frames, {kinds} costs"
    return Page(title, [Table(headings, rows, left=frozenset({0, 1}))], lines)
