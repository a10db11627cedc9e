"""`hwflow show`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A preset or a dataflow ('hwflow list').", show_default=False)],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE.yaml", help="Write to FILE instead of standard output.")
    ] = None,
) -> None:
    """Print the YAML of a preset or a dataflow, as a starting point for your own."""
    from hwflow.cli.console import deliver_text
    from hwflow.errors import not_found
    from hwflow.files import read_text
    from hwflow.hardware.accelerator import presets
    from hwflow.hardware.dataflow import dataflows

    files = {**dataflows(), **presets()}
    if name not in files:
        raise not_found("preset or dataflow", name, files)
    deliver_text(read_text(files[name], name), output)
