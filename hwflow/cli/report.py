"""`hwflow report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that 'hwflow prune -o' wrote.", show_default=False)],
    *,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE.html", help="The file to write; by default DIR/report.html."),
    ] = None,
) -> None:
    """Write a finished run's results as one HTML page, with figures and tables, which can be read and sent around alone."""
    from hwflow.console import say
    from hwflow.reporting import write_report

    say(f"wrote {write_report(folder, output)}")
