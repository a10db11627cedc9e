"""The metrics of a network in one table, from which results, JSON, sweeps, budgets, searches and reports read what each is.

A new metric is one entry here, and a field or property of that name in `hwflow.results.NetworkCost`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from hwflow.types import Objective


@dataclass(frozen=True)
class Metric:
    """One number that a network has.

    Attributes:
        field: in `NetworkCost`, in JSON's totals and as a column of sweeps; the unit is in the name.
        name: what budgets and `--metric` call it; two fields in different units are one metric.
        label: what a report calls it.
        unit: what a report gives it in, with a prefix; empty for a plain number.
        heading, factor: the terminal's column, and what the field is multiplied by there; empty where it has none.
        kind: the column's type in Parquet files.
        additive: whether the network's is the sum of its rows'.
        budget: whether a pruning run can be given a budget of it.
        objective: whether a sweep's search can minimise it.
        front: whether sweeps' Pareto fronts look at it.
        swept: whether it is a column of a sweep's results.
        always: whether a sweep's record of an answered point has it even in folders of 0.1.
        compared: whether tables that compare plans show it where no budget names it.
    """

    field: str
    name: str
    label: str
    unit: str = ""
    heading: str = ""
    factor: float = 1.0
    kind: Literal["int64", "double"] = "double"
    additive: bool = False
    budget: bool = False
    objective: bool = False
    front: bool = False
    swept: bool = True
    always: bool = True
    compared: bool = True


TOTALS: tuple[Metric, ...] = (
    Metric("macs", "macs", "MACs", "", "MACs (M)", 1e-6, "int64", additive=True, budget=True),
    Metric("params", "params", "parameters", "", "params (k)", 1e-3, "int64", additive=True, budget=True),
    Metric("params_other", "params_other", "other parameters", kind="int64", swept=False),
    Metric("params_total", "params_total", "all parameters", kind="int64", swept=False),
    Metric("energy_pj", "energy", "energy", "J", "energy (uJ)", 1e-6, additive=True, budget=True, objective=True, front=True),
    Metric(
        "energy_normalized",
        "energy",
        "energy",
        "",
        "energy (normalized, M)",
        1e-6,
        additive=True,
        budget=True,
        objective=True,
        front=True,
    ),
    Metric("cycles", "cycles", "cycles", kind="int64", additive=True, objective=True),
    Metric("latency_s", "latency", "latency", "s", "latency (ms)", 1e3, additive=True, budget=True, objective=True, front=True),
    Metric("edp_pj_s", "edp", "EDP", "J s", "EDP (uJ ms)", 1e-3, budget=True, objective=True),
    Metric("dram_bytes", "dram_bytes", "DRAM traffic", "B", additive=True, budget=True, objective=True),
    Metric("utilization", "utilization", "utilization"),
    Metric("other_traffic_bytes", "other_traffic_bytes", "traffic of other operators", "B", swept=False),
    Metric("area_um2", "area", "area", objective=True, front=True),
    Metric(
        "peak_activation_bytes",
        "peak_activation_bytes",
        "peak activation memory",
        "B",
        "peak activations (kB)",
        1e-3,
        "int64",
        budget=True,
        always=False,
        compared=False,
    ),
)
"""Every metric, in the order of JSON's totals."""


def _ordered(names: Iterable[str], first: str) -> tuple[str, ...]:
    """Names, each once: those of `first` in its order, then the others in their own, so that columns keep their order."""
    given = tuple(dict.fromkeys(names))
    return (*(name for name in first.split() if name in given), *(name for name in given if name not in first.split()))


BY_FIELD: dict[str, Metric] = {metric.field: metric for metric in TOTALS}

BY_NAME: dict[str, Metric] = {metric.name: metric for metric in reversed(TOTALS)}
"""By the name in budgets; energy in picojoule represents both of its units."""

SWEPT = _ordered(
    (m.field for m in TOTALS if m.swept),
    "energy_pj energy_normalized cycles latency_s edp_pj_s area_um2 utilization dram_bytes macs params",
)
"""Columns of a sweep's results."""

BUDGETS = _ordered((m.name for m in TOTALS if m.budget), "energy latency edp macs params dram_bytes")
"""Metrics that a budget can be of, as they are listed to users."""

ADDITIVE = tuple(name for name in BUDGETS if BY_NAME[name].additive)
"""Of these the sums over rows, in the order in which arrays hold them."""

OBJECTIVES = _ordered(
    (m.field for m in TOTALS if m.objective), "energy_pj energy_normalized latency_s cycles edp_pj_s dram_bytes area_um2"
)
"""Columns of a sweep's results that its search can minimise."""

FRONT = tuple(field for field in SWEPT if BY_FIELD[field].front)
"""Columns that a sweep's Pareto fronts look at."""

REPORTED = (*BUDGETS, *dict.fromkeys(m.name for m in TOTALS if m.additive and m.name not in BUDGETS))
"""Metrics of a pruning report's totals."""

SLACK = 1e-9
"""By which a share may exceed a budget that holds: sums of the same rows in another order differ in their last digits."""

MAPPED: tuple[Objective, ...] = get_args(Objective)
"""What a mapping search can minimise."""
