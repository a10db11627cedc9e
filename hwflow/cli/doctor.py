"""`hwflow doctor`."""

from __future__ import annotations

from typing import Annotated

import typer


def examine(
    quick: Annotated[bool, typer.Option("--quick", help="Do not run Accelergy on the presets.")] = False,
) -> None:
    """Show what is installed, what answers for each preset, what is missing, and what to install next."""
    from hwflow.cli import installation
    from hwflow.cli.console import deliver_text, interruptible

    with interruptible():
        deliver_text(installation.examine(live=not quick).text())
