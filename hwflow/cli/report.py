"""`hwflow report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="DIR|FILE.json",
            help="What 'hwflow prune', 'compress' or 'sweep' wrote, or a file of 'hwflow estimate|compare --format json'.",
            show_default=False,
        ),
    ],
    *,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE.html", help="The page; by default DIR/report.html or FILE.html."),
    ] = None,
    static: Annotated[
        Path | None, typer.Option("--static", metavar="DIR", help="Also write every figure as PNG and SVG.")
    ] = None,
) -> None:
    """Write results as one self-contained HTML page with figures and tables."""
    from hwflow.cli.console import remark
    from hwflow.reporting import write_report

    remark(f"wrote {write_report(source, output, static=static)}{f', and its figures to {static}' if static else ''}")
