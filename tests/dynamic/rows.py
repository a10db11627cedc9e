"""Rows and tables for the tests of what chooses among them."""

from __future__ import annotations

import random
from typing import Any

from hwflow.dynamic.level_table import LevelTable, Row


def row(
    level: int = 1, clock: float = 100, accuracy: float = 0.5, latency: float = 1.0, energy: float | None = 1.0, **more: Any
) -> Row:
    """A row of `net` on `u`."""
    fields: dict[str, Any] = {"network": "net", "unit": "u", "voltage_v": 1.0, "memory_bytes": 1, **more}
    return Row(
        level=level,
        clock_mhz=float(clock),
        accuracy=accuracy,
        latency_s=float(latency),
        energy_j=None if energy is None else float(energy),
        **fields,
    )


def table(*rows: Row, network: str = "net") -> LevelTable:
    """A modelled table."""
    return LevelTable(network, "modelled", rows)


def ladder() -> LevelTable:
    """Three levels at two clocks; the slow clock takes half the energy and twice the time: power a quarter."""
    return table(*(row(k, 100 * f, 0.5 + 0.1 * k, k / f, k * f / 2) for k in (1, 2, 3) for f in (1, 2)))


def drawn(seed: int, networks: int = 1, units: int = 2, levels: int = 3, clocks: int = 3) -> list[LevelTable]:
    """Random tables in which nothing is monotone."""
    draw = random.Random(seed)
    tables = []
    for n in range(networks):
        name, accuracies = f"net{n}", [round(draw.random(), 1) for _ in range(levels)]
        rows = [
            row(k + 1, 100 * (c + 1), accuracies[k], draw.uniform(1, 5), draw.uniform(1, 5), network=name, unit=f"u{u}")
            for k in range(levels)
            for u in range(units)
            for c in range(clocks)
        ]
        tables.append(LevelTable(name, "modelled", tuple(rows)))
    return tables
