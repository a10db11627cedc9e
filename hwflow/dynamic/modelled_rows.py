"""`modelled_table`: what each of some networks costs on each unit at each operating point, as a table for a manager.

There is no fallback: rows of one table are compared with each other, and all of an accelerator are of the level that is asked.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from hwflow.cost.options import CostOptions, check_each_alone
from hwflow.cost.session import Notify
from hwflow.dynamic.level_table import LevelTable, Row
from hwflow.dynamic.operating_points import Unit
from hwflow.dynamic.point_costs import PointCost, point_costs
from hwflow.errors import InputError
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


def exact_options(options: CostOptions, what: str) -> CostOptions:
    """The options without a fallback, as rows that are compared need them.

    Raises:
        InputError: where they ask for a fallback to coarse, or make layers depend on one another.
    """
    check_each_alone(options, what)
    if options.fallback == "coarse":
        raise InputError(f"fallback is 'coarse', and every row of {what} is of the level that is asked for; leave it out.")
    return replace(options, fallback="none")


def modelled_costs(
    networks: Sequence[Network],
    units: Sequence[Unit],
    options: CostOptions,
    *,
    store: Store | bool,
    progress: Shown,
    notify: Notify,
) -> list[list[PointCost]]:
    """For each network its costs at every point of every unit, none of them by a fallback.

    Raises:
        InputError: as `exact_options` and `point_costs`.
        ToolMissing, ToolError: at fine.
    """
    exact = exact_options(options, "a table of levels")
    return point_costs(networks, units, exact, store=store, progress=progress, notify=notify)


def modelled_table(
    name: str,
    levels: Sequence[Sized],
    costs: Sequence[Sequence[PointCost]],
    units: Sequence[Unit],
    options: CostOptions,
    data: str,
    *,
    choices: str | None = None,
    notify: Notify,
) -> LevelTable:
    """The table of some levels, and their costs in the same order, from `modelled_costs`.

    Args:
        data: whose held-out samples the accuracies are of.
        choices: of a library's members, the digest of what they keep.
    """
    notes = list(dict.fromkeys(f"{cost.unit}: {cost.note}." for level in costs for cost in level if cost.note))
    for note in notes:
        notify(note)
    about = {
        "data": data,
        "accuracy": "held-out samples",
        "level": options.level,
        "answered": {cost.unit: cost.level for level in costs for cost in level},
        "notes": notes,
        "units": {u.name: dict(u.sources) for u in units},
        **({} if choices is None else {"choices": choices}),
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


__all__ = ["FLOAT_BYTES", "Sized", "exact_options", "modelled_costs", "modelled_table"]
