"""`hwflow verify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwflow.cli.inputs import load_network
from hwflow.metrics import MAPPED

if TYPE_CHECKING:
    from hwflow.certificate.check import Verified


def verify(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Certificates that 'hwflow map --certificate' wrote.")],
    network: Annotated[
        str | None, typer.Option("--network", metavar="NETWORK", help="Refuse certificates of another layer than its --layer.")
    ] = None,
    layer: Annotated[str | None, typer.Option("--layer", metavar="NAME", help="The layer of --network.")] = None,
    accelerator: Annotated[
        str | None, typer.Option("--accelerator", "-a", metavar="ACC", help="Refuse certificates of another accelerator.")
    ] = None,
    objective: Annotated[
        str | None, typer.Option("--objective", metavar="|".join(MAPPED), help="Refuse certificates of another objective.")
    ] = None,
    dataflow: Annotated[
        str | None, typer.Option("--dataflow", metavar="NAME", help="Refuse certificates of another dataflow, or YAML file.")
    ] = None,
) -> None:
    """Check certificates of mappings without the search: that they cover all mappings, every bound, the mapping's cost.

    A certificate answers the question in it; options say which one you asked. The digest only guards against accidental
    changes. What is trusted is the code of the bounds, which issue and check share.
    """
    from hwflow.certificate.check import verify as check
    from hwflow.cli.console import deliver_text, say
    from hwflow.errors import HwflowError, InputError, not_found
    from hwflow.hardware.accelerator import Accelerator

    if (network is None) != (layer is None):
        raise InputError("--network and --layer go together: give both, or neither.")
    if objective is not None and objective not in MAPPED:
        raise not_found("objective", objective, MAPPED)
    asked = None if network is None or layer is None else load_network(network, None, None, None)[layer]
    chip = None if accelerator is None else Accelerator.load(accelerator)
    failed = 0
    for file in files:
        try:
            found = check(file, layer=asked, accelerator=chip, objective=objective, dataflow=dataflow)
        except HwflowError as error:
            if len(files) == 1:
                raise
            say(f"{file}: {error}")
            failed = max(failed, error.exit_code)
        else:
            deliver_text(f"{file}: {_told(found)}\n")
    if failed:
        raise typer.Exit(failed)


def _told(found: Verified) -> str:
    unit = {"energy": found.unit, "latency": "cycles", "edp": f"{found.unit} x cycles"}[found.objective]
    named = _plain(found.about.get("layer", "a layer").partition(" (")[0])  # which no option pins and nothing checks
    layer = f"The layer {str(found.layer).partition(' ')[2]}, which the file calls {named},"
    chip = f"a chip that calls itself {_plain(found.accelerator)}" if found.own_chip else found.accelerator
    energies = f"of its own, said to be {_plain(found.energies)}" if found.own_energies else found.energies
    return (
        f"holds. {layer} on {chip}, dataflow {_plain(found.dataflow)}, energies {energies}: the mapping costs "
        f"{found.value:.6g} {unit}, and no mapping with perfect factors costs less than {found.bound:.6g} {unit}: "
        f"{gap_text(found.gap)}. "
        f"{found.spreads} choices of spatial loops, {found.leaves} with a leaf of their own."
    )


def _plain(text: str) -> str:
    """A text of the file, quoted where it could pass for more than a name."""
    return text if text.isprintable() and len(text) <= _NAME else repr(text[:_NAME])


_NAME = 100  # characters


def gap_text(gap: float) -> str:
    """A gap in words."""
    return "no gap" if abs(gap) < 1e-8 else f"gap {100 * gap:.2g} %"
