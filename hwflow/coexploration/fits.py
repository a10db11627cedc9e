"""`fit`: from a characterisation's folder to a model, with errors on configurations that neither fit nor choice has seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from hwflow.arrays import Bools, Floats
from hwflow.coexploration.records import Records, read
from hwflow.coexploration.samples import Samples, base_of, layers_of, samples_of
from hwflow.errors import InputError
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.energy_fit.polynomials import Error
from hwflow.layers import Layer
from hwflow.ppa.model import (
    AREA,
    CYCLES,
    DRAM_BYTES,
    ENERGY,
    ON_CHIP,
    POWER,
    PpaModel,
    Quality,
    TypeModel,
)
from hwflow.ppa.model_file import write_model
from hwflow.ppa.polynomials import Basis, Family
from hwflow.ppa.selection import Split, fitted, split
from hwflow.ppa.variables import LAYER_VARIABLES, layer_logs, layer_ranges
from hwflow.ranking import spearman

MODEL = "model.json"
_HELD_OUT = 0.2


def fit(folder: str | Path, output: str | Path | None = None, *, seed: int = 0, command: str = "") -> PpaModel:
    """Fit a model to a characterisation, which may be of a part of its configurations, and write it.

    Args:
        folder: what `characterise` wrote.
        output: the file; by default `model.json` in the folder.
        seed: of the choice of configurations that are held out, and of the folds.
        command: kept in the file, as where it comes from.

    Raises:
        InputError: where the folder holds no characterisation, or too few configurations of a PE type were answered.
        HwflowError: where the file cannot be written.
    """
    place = Path(folder)
    model = model_of(read(place), seed=seed, command=command)
    return write_model(model, place / MODEL if output is None else output)


def model_of(records: Records, *, seed: int = 0, command: str = "") -> PpaModel:
    """The model that fits the records; see `fit`."""
    from hwflow.version import __version__

    header = records.header
    base, layers = base_of(header), layers_of(header)
    found = {}
    for place, pe_type in enumerate(header["pe_types"]):
        samples = samples_of(records, pe_type)
        try:
            parts = split(samples.numbers, [seed, place], _HELD_OUT)
            found[pe_type] = samples, parts.held_out, _type(samples, parts, tuple(header["fields"]), layers, base)
        except InputError as error:
            raise InputError(f"{records.path.parent}, PE type {pe_type}: {error}") from None
    answered = [record for record in records.answers.values() if record.rows]
    units = {record.unit for record in answered}
    provenance = {
        "hwflow": __version__,
        "command": command,
        "seed": seed,
        "hypercube_seed": header["seed"],
        "chips_of_a_type": header["chips"],
        "configurations": len(header["configurations"]),
        "answered": len(answered),
        "failed": len(records.answers) - len(answered),
        "layers": len(layers),
        "points": len(answered) * len(layers),
        "objective": header["objective"],
        "held_out": _HELD_OUT,
    }
    model = PpaModel(
        name=MODEL,
        base=base,
        fields={name: (low, high) for name, (low, high) in header["fields"].items()},
        layers=layer_ranges(layers),
        transposed=layers[0].type == "conv_transpose",
        types={pe_type: one for pe_type, (_, _, one) in found.items()},
        level=header["level"],
        level_version=header["level_version"],
        energies=header["energy"],
        energy_unit="pJ" if units == {"pJ"} else "normalized",
        provenance=provenance,
        identity="",
    )
    types = {
        pe_type: replace(one, quality=_quality(model, pe_type, samples, held_out, layers))
        for pe_type, (samples, held_out, one) in found.items()
    }
    return replace(model, types=types)


def _type(samples: Samples, parts: Split, fields: tuple[str, ...], layers: tuple[Layer, ...], base: Accelerator) -> TypeModel:
    """The polynomials of one PE type, of what is not held out."""
    seen, count = ~parts.held_out, len(layers)
    chips = np.log(samples.values)
    logs = np.concatenate([np.repeat(chips, count, axis=0), np.tile(layer_logs(layers), (len(chips), 1))], axis=1)
    targets = {**_positive(samples.energies), ON_CHIP: samples.on_chip_cycles, DRAM_BYTES: samples.dram_bytes}
    rows = np.repeat(seen, count)
    wanted = {name: values.ravel()[rows] for name, values in targets.items()}
    family = fitted((*fields, *LAYER_VARIABLES), logs[rows], wanted, np.repeat(parts.folds, count)[rows])
    area = Family(Basis.of(fields, chips), {})
    if samples.area_um2 is not None:
        area = fitted(fields, chips[seen], {AREA: samples.area_um2[seen]}, parts.folds[seen])
    return TypeModel(family, area, {}, int(seen.sum()), int(parts.held_out.sum()), samples.source)


def _positive(energies: Mapping[str, Floats]) -> dict[str, Floats]:
    """The energies of parts that use any: a logarithm of 0 is none.

    Raises:
        InputError: where a part uses some in some layers only.
    """
    for part, values in energies.items():
        if values.any() and not values.all():
            raise InputError(
                f"{part} uses no energy in some layers and some in others, which no polynomial in logarithms fits."
            )
    return {part: values for part, values in energies.items() if values.any()}


def _quality(model: PpaModel, pe_type: str, samples: Samples, held_out: Bools, layers: tuple[Layer, ...]) -> dict[str, Quality]:
    """Of each quantity on the configurations that are held out, a layer on a chip being a point; of the area a chip."""
    told = model.predict(pe_type, samples.values[held_out], layers)
    energy, cycles = np.asarray(sum(told.energy.values())), told.cycles
    known_energy, known_cycles = samples.energy[held_out], samples.cycles[held_out]
    pairs = {
        ENERGY: (energy, known_energy),
        CYCLES: (cycles, known_cycles),
        POWER: (energy / cycles, known_energy / known_cycles),
        ON_CHIP: (told.on_chip_cycles, samples.on_chip_cycles[held_out]),
        DRAM_BYTES: (told.dram_bytes, samples.dram_bytes[held_out]),
    }
    if told.area_um2 is not None and samples.area_um2 is not None:
        pairs[AREA] = (told.area_um2, samples.area_um2[held_out])
    return {name: _compared(predicted.ravel(), known.ravel()) for name, (predicted, known) in pairs.items()}


def _compared(predicted: Floats, known: Floats) -> Quality:
    errors = np.abs(predicted / known - 1)
    return Quality(
        Error(float(np.median(errors)), float(np.quantile(errors, 0.95))), spearman(predicted.tolist(), known.tolist())
    )
