"""`hwflow live`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwflow.cli import arguments as args
from hwflow.errors import InputError

if TYPE_CHECKING:
    from hwflow.cli.console import Page
    from hwflow.dynamic.live_run import LiveRun


def live(
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="What 'hwflow levels' or 'library' wrote with --measure.", show_default=False),
    ],
    *,
    data: args.DataOption,
    limit: Annotated[float, typer.Option("--limit", metavar="MS", help="The latency that every frame should keep.")],
    threads: Annotated[int, typer.Option("--threads", metavar="N", help="Threads; of those that were measured with.")] = 1,
    frames: Annotated[int, typer.Option("--frames", metavar="N", help="Test images, one after the other.")] = 600,
    rival: Annotated[
        str | None,
        typer.Option("--rival", metavar="FROM:TO", help="Let other processes compute from one frame to another."),
    ] = None,
    rivals: Annotated[int, typer.Option("--rivals", metavar="N", help="How many of them.")] = 2,
    hold: Annotated[
        int,
        typer.Option("--hold", metavar="N", help="Frames during which a better choice must be possible before it is taken."),
    ] = 10,
    margin: Annotated[
        float, typer.Option("--margin", metavar="SHARE", help="By which share the better choice must keep the limit.")
    ] = 0.05,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FILE.yaml", help="Keep what the manager was told, for 'hwflow manage --measured'."
        ),
    ] = None,
    allow_import: args.AllowImportOption = None,
) -> None:
    """Run the levels of a network on this machine, switching by what frames really take.

    The runtime manager is told the limit divided by how slow the last frames were, so that it goes down when other processes
    take the processor, and up again when they are gone.
    """
    import itertools

    import yaml

    from hwflow.cli.console import deliver, deliver_text
    from hwflow.datasets import load_data
    from hwflow.dynamic.live_run import networks_of, run_live

    allowed = [part for text in allow_import or () for part in args.listed("--allow-import", text)]
    networks, table = networks_of(folder, allow_import=allowed)
    loaded = load_data(data)
    samples = [(images, int(labels[0])) for images, labels in itertools.islice(loaded.test.batches(1), frames)]
    found = run_live(
        networks,
        table,
        samples,
        limit / 1e3,
        threads=threads,
        frames=frames,
        rival=None if rival is None else _range(rival),
        rivals=rivals,
        hold=hold,
        margin=margin,
    )
    deliver(_page(found))
    if output is not None:
        deliver_text(yaml.safe_dump(found.trace(), sort_keys=False), output)


def _range(text: str) -> tuple[int, int]:
    first, colon, last = text.partition(":")
    if not colon or not first.strip().isdecimal() or not last.strip().isdecimal():
        raise InputError(f"--rival is {text!r}; it must be two frames with a colon between them: 200:400.")
    return int(first), int(last)


def _page(found: LiveRun) -> Page:
    from hwflow.cli.console import Page, Table, number

    rows = [
        [
            f"{phase.start} to {phase.start + phase.frames - 1}",
            str(phase.rivals),
            ", ".join(f"{level} ({number(100 * count / phase.frames, 0)} %)" for level, count in phase.levels.items()),
            number(phase.median_s * 1e3, 3),
            str(phase.late),
            number(100 * phase.accuracy, 2),
        ]
        for phase in found.phases
    ]
    headings = ["frames", "rival processes", "levels", "median latency (ms)", "frames over the limit", "accuracy (%)"]
    title = f"{found.network} on this machine, {found.unit}: {len(found.frames)} frames within {found.limit_s * 1e3:g} ms each"
    return Page(title, [Table(headings, rows, left=frozenset({0, 2}))], [])
