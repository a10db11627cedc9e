"""Characterisations whose answers are formulas, so that a fit can be exact and takes milliseconds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hwflow.coexploration.characterisation import _header
from hwflow.coexploration.fits import model_of
from hwflow.coexploration.knobs import configurations, knobs_of
from hwflow.coexploration.records import Record, Records, Row
from hwflow.cost.options import CostOptions
from hwflow.hardware.accelerator import Accelerator
from hwflow.layers import Layer
from hwflow.ppa.model import PpaModel
from hwflow.ppa.model_file import write_model

EYERISS = Accelerator.load("eyeriss")
CONV, POINTWISE = Layer("a", C=4, M=8, P=6, Q=6, R=3, S=3), Layer("b", C=8, M=4, P=6, Q=6)
LAYERS = (
    CONV,
    POINTWISE,
    Layer("fc", C=32, M=10, P=1, Q=1, type="linear"),
    Layer("dw", G=8, C=1, M=1, P=5, Q=4, R=3, S=3),
)

Chip = dict[str, Any]


def monomial(chip: Chip, layer: Layer) -> Row:
    """Powers of sizes: a polynomial of degree 1 in their logarithms. DRAM is the limit of some layers on some chips."""
    rows, columns = chip["pe_array.rows"], chip["pe_array.columns"]
    moved = layer.C * layer.M * layer.G * layer.R * layer.S * chip["global_buffer.size_kib"] ** -0.5 * 40.0
    on_chip = 3.0 * layer.macs / (rows * columns) ** 0.9
    dram = moved / (chip["dram.bandwidth_gb_s"] * 1e9) * EYERISS.clock_mhz * 1e6
    energies = {
        "dram": 20.0 * moved,
        "global_buffer": layer.macs * chip["global_buffer.size_kib"] ** 0.3,
        "weight_spad": 0.5 * layer.macs * chip["weight_spad.size_words"] ** 0.2,
        "mac": 0.7 * layer.macs,
    }
    return Row(
        energies=energies,
        on_chip_cycles=max(1, math.ceil(on_chip * 1e6)),
        cycles=max(1, math.ceil(max(on_chip * 1e6, dram))),
        dram_bytes=moved,
        bound_by="compute" if on_chip * 1e6 >= dram else "dram",
    )


def area(chip: Chip) -> float:
    """A power of sizes."""
    return 900.0 * float(chip["pe_array.rows"]) ** 0.8 * float(chip["global_buffer.size_kib"]) ** 0.4


def records(
    folder: Path = Path("synthetic"),
    *,
    pe_types: Sequence[str] = ("own",),
    layers: Sequence[Layer] = LAYERS,
    chips: int = 30,
    row: Callable[[Chip, Layer], Row] = monomial,
    ranges: dict[str, Sequence[float]] | None = None,
) -> Records:
    """As `characterise` leaves them, in memory."""
    knobs = knobs_of(EYERISS, ranges or {})
    drawn = configurations(knobs, pe_types, chips, 0)
    header = _header(EYERISS, pe_types, knobs, layers, drawn, CostOptions(energy="fitted"), 0, chips)
    answers = {
        number: Record(
            configuration=number,
            area_um2=area(chip),
            unit="pJ",
            source="formulas",
            rows=tuple(row(chip, layer) for layer in layers),
        )
        for number, chip in enumerate(drawn)
    }
    return Records(folder / "records.jsonl", header, answers)


def model(path: Path, **given: Any) -> PpaModel:
    """Fitted to `records`, and written."""
    return write_model(model_of(records(path.parent, **given)), path)
