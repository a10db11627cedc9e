"""Layers as rows of figures and tables: their names on an axis, their energies with a unit, their cells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from hwflow import results
from hwflow.reporting.page.blocks import Cell, axis, label
from hwflow.reporting.page.values import number
from hwflow.reporting.pruning.cost_details import Known
from hwflow.reporting.pruning.run_records import LayerRecord

NORMALIZED = " normalized"  # units of one 16-bit multiply-accumulate
Key = tuple[str, int]
"""A layer: its name, and how often that name stood before."""

UNKNOWN = "unknown"
_WIDE = 24  # layers from which on names are written upright


def energy_of(pj: float | None, normalized: float | None) -> tuple[float | None, str]:
    """An energy in joule, or in normalised units where it is in those, and the unit."""
    if pj is None and normalized is not None:
        return normalized, NORMALIZED
    return (None if pj is None else pj * 1e-12), "J"


def scaled_cell(value: Known, divisor: float) -> Cell:
    """A number under a heading that bears its unit; sorted by the number itself."""
    return Cell(number(None if value is None else value / divisor), value)


def by_name(layers: Sequence[LayerRecord]) -> dict[Key, LayerRecord]:
    """Rows by name, and by how often the name stood before: a network may use one module twice."""
    seen: Counter[str] = Counter()
    found = {}
    for row in layers:
        found[row.name, seen[row.name]] = row
        seen[row.name] += 1
    return found


def name_of(key: Key) -> str:
    """What readers call it: `conv1`, the second of that name `conv1 (2)`."""
    return key[0] if not key[1] else f"{key[0]} ({key[1] + 1})"


def names_axis(keys: Sequence[Key]) -> dict[str, Any]:
    """An axis of layers; numbers inside, so that two layers of one name keep apart."""
    angle = {"tickangle": -90} if len(keys) > _WIDE else {}
    names = [label(name_of(key)) for key in keys]
    return axis(
        "layer", tickvals=list(range(len(keys))), ticktext=names, range=[-0.6, len(keys) - 0.4], showgrid=False, **angle
    )


def height_of(least: int, keys: Sequence[Key]) -> int:
    """Upright names take room from the bars."""
    return least + (120 if len(keys) > _WIDE else 0)


def limit_of(row: LayerRecord) -> str:
    """What limits a layer's latency, as `hwflow.results.limit_of` says it."""
    return results.limit_of(row.bound_by, row.utilization) or UNKNOWN


def energy_in(row: LayerRecord) -> float | None:
    """A layer's energy, in the unit of `unit_of`."""
    return energy_of(row.energy_pj, row.energy_normalized)[0]


def unit_of(rows: Sequence[LayerRecord]) -> str:
    """Of the energies, which are all in one."""
    return NORMALIZED if any(row.energy_normalized is not None for row in rows) else "J"


def split_of(row: LayerRecord) -> dict[str, float]:
    """A layer's energy by part of the chip, in the unit of `energy_of`."""
    found = {name: energy_of(value, None)[0] for name, value in (row.energy_by_level_pj or {}).items()}
    known = {**found, **(row.energy_by_level_normalized or {})}
    return {name: value for name, value in known.items() if value is not None}
