"""Energy and area of parts without recorded values, from models fitted on a grid of parts that Accelergy characterised.

The grid (`arch_templates/energy/grid.csv.gz`) holds RAMs by size, width, banks, ports and technology (CACTI), register files,
multipliers with adders (Aladdin's tables through the component library) and DRAM interfaces; `make characterise` records it and
fits the models (`arch_templates/energy/models.json`). The coefficients ship, not only the grid: a fit repeated on another
machine's linear algebra would differ in its last digits, and results must not. A test fits again and compares.

Polynomials in the logarithms of sizes, degree by cross-validation, per component. QUIDAM (Inci et al., "QUIDAM: A Framework for
Quantization-Aware DNN Accelerator and Model Co-Exploration", arXiv:2206.15463) fits such polynomials on synthesised designs;
these are fitted on modelled ones, so their errors are against Accelergy, and where Accelergy is wrong they are wrong, too.

Errors on sizes that were held out, at technologies of the grid (2026-11-21): a RAM's access 5.1 % median, 19 % at the 95th
percentile, its leakage 4.4 % median, 17 % at the 95th percentile, its area 3.5 % median, 13 % at the 95th percentile; energies
of register files, MAC units and DRAM below 0.2 % at the 95th percentile. CACTI's answers jump where it partitions an array
another way (65 nm, rows of 8 bits: a write costs 2.58 pJ with 256 rows, 2.12 pJ with 304), and no smooth model follows that.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from hwflow.hardware.accelerator import Accelerator, MacUnit, Memory
from hwflow.hardware.arithmetic import REFERENCE, is_plain, priced
from hwflow.hardware.energy_fit.points import component
from hwflow.hardware.energy_fit.polynomials import Error, Model, OutOfRange, shipped
from hwflow.hardware.energy_table import (
    EnergyTable,
    PartEnergy,
    costed_parts,
    derived_part,
    derived_provenance,
    estimators_text,
    recorded_part,
    recorded_provenance,
)

_NS = 1e9
_KEPT = 4096  # parts, which many chips of a sweep share


def fitted(accelerator: Accelerator) -> EnergyTable:
    """Energies and areas of all parts of an accelerator, from the fitted models; a derived DRAM keeps its derived energy.

    Raises:
        OutOfRange: an `InputError` that names the part, its size and the range, where a part is outside what was characterised.
    """
    parts = {part.name: fitted_part(part, accelerator) for part in costed_parts(accelerator)}
    errors = _errors(costed_parts(accelerator), accelerator)
    source = f"fitted ({estimators_text(parts)}; {_held_out(errors)})"
    return EnergyTable("pJ", source, parts, {**_provenance(errors), **derived_provenance(accelerator)})


def completed(accelerator: Accelerator) -> EnergyTable:
    """Recorded energies of the parts that were recorded, fitted ones of the others; the source names those that are fitted.

    So a part that a variant leaves alone keeps its energies to the last digit, whatever else the variant changes.

    Raises:
        OutOfRange: as `fitted`, for parts that were not recorded.
    """
    known = {part.name: recorded_part(part, accelerator) for part in costed_parts(accelerator)}
    others = [part for part in costed_parts(accelerator) if known[part.name] is None]
    if all(part in others or derived_part(part) for part in costed_parts(accelerator)):
        return fitted(accelerator)
    parts = {part.name: known[part.name] or fitted_part(part, accelerator) for part in costed_parts(accelerator)}
    errors = _errors(others, accelerator)
    source = f"recorded ({estimators_text(parts)})"
    if others:
        source += f", but {', '.join(errors)} fitted ({_held_out(errors)})"
    provenance = {**recorded_provenance(), **derived_provenance(accelerator), **(_provenance(errors) if others else {})}
    return EnergyTable("pJ", source, parts, provenance)


def fitted_part(part: Memory | MacUnit, accelerator: Accelerator) -> PartEnergy:
    """Energies and area of one part. Leakage is power times the chip's cycle. Raises as `fitted`."""
    if (derived := derived_part(part)) is not None:
        return derived
    technology, cycle_s = accelerator.technology_nm, accelerator.cycle_s
    if isinstance(part, MacUnit) and not is_plain(part):
        return priced_unit(part, _fitted(REFERENCE, technology, cycle_s), cycle_s)
    return _fitted(part, technology, cycle_s)


def priced_unit(unit: MacUnit, reference: PartEnergy, cycle_s: float) -> PartEnergy:
    """Energies and area of arithmetic without models of its own, from those of `REFERENCE` at the chip's technology."""
    return priced(unit, reference, _fitted(REFERENCE, 45.0, cycle_s))


@functools.lru_cache(_KEPT)
def _fitted(part: Memory | MacUnit, technology_nm: float, cycle_s: float) -> PartEnergy:
    model = _model(part)
    found = model.predict(component(part), technology_nm, part.name)
    leak, area = found.pop("leak") * cycle_s * _NS, found.pop("area_um2")
    return PartEnergy(**found, update=found["write"], leak=leak, area_um2=area or None, estimator=model.estimators)


def _model(part: Memory | MacUnit) -> Model:
    return shipped()[0][component(part).model]


def _errors(parts: Iterable[Memory | MacUnit], accelerator: Accelerator) -> dict[str, dict[str, Error]]:
    """The held-out errors of the models that answer for parts, by part and by what is fitted."""
    return {part.name: _model(part).errors_at(accelerator.technology_nm) for part in parts if not derived_part(part)}


def _held_out(errors: Mapping[str, Mapping[str, Error]]) -> str:
    """In words: the errors of energies per action; of several parts, the largest."""
    energy = [of_part["energy"] for of_part in errors.values()]
    return f"held-out error {Error(max(e.median for e in energy), max(e.p95 for e in energy))}"


def _provenance(errors: Mapping[str, Mapping[str, Error]]) -> dict[str, Any]:
    by_part = {part: {what: asdict(error) for what, error in of_part.items()} for part, of_part in errors.items()}
    return {"fitted": {**shipped()[1], "held_out_errors": by_part}}


__all__ = ["OutOfRange", "completed", "fitted", "fitted_part", "priced_unit"]
