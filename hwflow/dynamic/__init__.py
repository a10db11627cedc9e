"""Networks whose size, unit and clock are chosen while they run.

    from hwflow.dynamic import Limits, Manager, read_table

    manager = Manager([read_table("runs/levels")])
    row = manager.decide(Limits(latency_s=0.004)).rows["resnet20"]

`Manager`, `Limits` and `read_table` import nothing but the standard library; the rest is imported when it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hwflow.dynamic.contest_curves import add_curves
    from hwflow.dynamic.grouped_network import GroupedNetwork, grouped
    from hwflow.dynamic.level_run import Levels, load_levels, train_levels
    from hwflow.dynamic.level_table import LevelTable, Row, read_table
    from hwflow.dynamic.library_folder import load_library
    from hwflow.dynamic.library_options import LibrarySettings
    from hwflow.dynamic.library_run import Library, build_library
    from hwflow.dynamic.manager import Decision, Manager
    from hwflow.dynamic.operating_points import load_units
    from hwflow.dynamic.placement import Limits
    from hwflow.dynamic.point_costs import point_costs
    from hwflow.dynamic.simulation import simulate
    from hwflow.dynamic.trace import load_trace

_HOME = {
    "add_curves": "contest_curves",
    "GroupedNetwork": "grouped_network",
    "grouped": "grouped_network",
    "Levels": "level_run",
    "load_levels": "level_run",
    "train_levels": "level_run",
    "LevelTable": "level_table",
    "Row": "level_table",
    "read_table": "level_table",
    "Library": "library_run",
    "LibrarySettings": "library_options",
    "build_library": "library_run",
    "load_library": "library_folder",
    "Decision": "manager",
    "Manager": "manager",
    "load_units": "operating_points",
    "Limits": "placement",
    "point_costs": "point_costs",
    "simulate": "simulation",
    "load_trace": "trace",
}

__all__ = [
    "Decision",
    "GroupedNetwork",
    "LevelTable",
    "Levels",
    "Library",
    "LibrarySettings",
    "Limits",
    "Manager",
    "Row",
    "add_curves",
    "build_library",
    "grouped",
    "load_levels",
    "load_library",
    "load_trace",
    "load_units",
    "point_costs",
    "read_table",
    "simulate",
    "train_levels",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: the manager must not bring anything else with it."""
    if name not in _HOME:
        raise AttributeError(f"module 'hwflow.dynamic' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"hwflow.dynamic.{_HOME[name]}"), name)
    globals()[name] = value
    return value
