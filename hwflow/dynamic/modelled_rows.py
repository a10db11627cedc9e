"""`modelled_table`: what each of some networks costs on each unit at each operating point, as a table for a manager."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

from hwflow.cost.options import CostOptions
from hwflow.cost.session import Notify
from hwflow.dynamic.level_table import LevelTable, Row
from hwflow.dynamic.operating_points import Unit
from hwflow.dynamic.point_costs import PointCost, point_costs
from hwflow.network import Network
from hwflow.progress import Shown
from hwflow.store import Store

FLOAT_BYTES = 4


class Sized(Protocol):
    """A level or a member of a library: its number, accuracy on held-out samples, and parameters."""

    @property
    def number(self) -> int: ...

    @property
    def held_accuracy(self) -> float: ...

    @property
    def params(self) -> int: ...


def modelled_table(
    name: str,
    levels: Sequence[Sized],
    networks: Sequence[Network],
    units: Sequence[Unit],
    options: CostOptions,
    data: str,
    *,
    store: Store | bool,
    progress: Shown,
    notify: Notify,
) -> LevelTable:
    """The table of some levels, and their networks in the same order.

    Args:
        data: whose held-out samples the accuracies are of.

    Raises:
        InputError: as `point_costs`.
    """
    costs = point_costs(networks, units, options, store=store, progress=progress, notify=notify)
    for note in dict.fromkeys(f"{cost.unit}: {cost.note}." for level in costs for cost in level if cost.note):
        notify(note)
    about = {
        "data": data,
        "accuracy": "held-out samples",
        "level": options.level,
        "units": {u.name: dict(u.sources) for u in units},
    }
    rows = tuple(_row(name, level, cost, units) for level, own in zip(levels, costs, strict=True) for cost in own)
    return LevelTable(name, "modelled", rows, about)


def _row(name: str, level: Sized, cost: PointCost, units: Sequence[Unit]) -> Row:
    unit = next(unit for unit in units if unit.name == cost.unit)
    return Row(
        network=name,
        level=level.number,
        unit=cost.unit,
        clock_mhz=cost.clock_mhz,
        voltage_v=cost.voltage_v,
        accuracy=level.held_accuracy,
        latency_s=cost.latency_s,
        energy_j=cost.energy_j,
        memory_bytes=math.ceil(level.params * _weight_bits(unit) / 8),
        static_w=cost.static_w,
        stages=cost.stages,
    )


def _weight_bits(unit: Unit) -> int:
    """An accelerator's word in DRAM, or that of its PE type; 32 of a processor."""
    chip = unit.accelerator
    if chip is None:
        return 8 * FLOAT_BYTES
    return chip.dram.word_bits if chip.own_bits is None else chip.own_bits[0]


__all__ = ["FLOAT_BYTES", "Sized", "modelled_table"]
