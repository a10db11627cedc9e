"""Certificates of mappings that mid found; see `hwflow.certificate`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hwflow.cost.options import CostOptions
from hwflow.cost.plan import Plan
from hwflow.errors import InputError
from hwflow.files import write_text
from hwflow.types import Tensor

if TYPE_CHECKING:
    from hwflow.cost.mid import MapResult


def check_certified(options: CostOptions, resident: Sequence[Tensor]) -> None:
    """Refuse questions that no certificate can answer, before anything is searched."""
    if options.ragged:
        raise InputError("certificate: it covers mappings with perfect factors only; add --perfect (ragged=False).")
    if resident:
        raise InputError(f"certificate: resident is {', '.join(resident)}, and it covers layers whose tensors DRAM keeps only.")


def write_certificate(path: str | Path, found: MapResult, plan: Plan, options: CostOptions) -> None:
    """Write the certificate of a mapping.

    Raises:
        InputError: where certificates do not cover the layer or the chip.
    """
    from hwflow.certificate.issue import certificate

    layer = found.cost.layer
    chip = plan.chip(layer)
    document = certificate(
        layer, chip.accelerator, options.dataflow, chip.table, found.mapping, options.objective, gap=options.gap
    )
    write_text(path, document.text())
