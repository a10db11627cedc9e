"""`hwflow verify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from hwflow.certificate.check import Verified


def verify(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Certificates that 'hwflow map --certificate' wrote.")],
) -> None:
    """Check certificates of mappings without the search: that they cover all mappings, every bound, the mapping's cost."""
    from hwflow.certificate.check import verify as check
    from hwflow.cli.console import deliver_text

    for file in files:
        deliver_text(f"{file}: {_told(check(file))}\n")


def _told(found: Verified) -> str:
    unit = {"energy": "energy", "latency": "cycles", "edp": "energy x cycles"}[found.objective]
    return (
        f"holds. {found.layer} on {found.accelerator}, dataflow {found.dataflow}, energies {found.energies}: the mapping has "
        f"{found.value:.6g} ({unit}), and no mapping with perfect factors is below {found.bound:.6g}, {_less(found.gap)}. "
        f"{found.spreads} choices of spatial loops, {found.leaves} with a leaf of their own."
    )


def _less(gap: float) -> str:
    return "the same" if abs(gap) < 1e-8 else f"{100 * gap:.2g} % less"
