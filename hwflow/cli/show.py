"""`hwflow show`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def show(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="A preset or a dataflow ('hwflow list'); or a policy: its file (.pt), the folder that holds it, or shipped.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE.yaml", help="Write to FILE instead of standard output.")
    ] = None,
) -> None:
    """Print the YAML of a preset or a dataflow, as a starting point for your own; of a kept policy, where it comes from."""
    from hwflow.cli.console import deliver_text
    from hwflow.errors import not_found
    from hwflow.files import read_text
    from hwflow.hardware.accelerator import presets
    from hwflow.hardware.dataflow import dataflows

    files = {**dataflows(), **presets()}
    if name == _SHIPPED or name.endswith(".pt") or Path(name).is_dir():
        from hwflow.pruning import Policy

        deliver_text(json.dumps(Policy.load(name).record, indent=1) + "\n", output)
        return
    if name not in files:
        raise not_found("preset, dataflow or policy", name, (*files, _SHIPPED))
    deliver_text(read_text(files[name], name), output)


_SHIPPED = "shipped"  # `hwflow.compression.search.policy.SHIPPED`, which needs torch
