"""hwflow: energy and latency of every layer of a CNN on an accelerator, at three levels of abstraction.

import hwflow

network = hwflow.zoo("resnet18")
chip = hwflow.Accelerator.load("eyeriss")
cost = hwflow.estimate(network, chip, level="mid")
print(cost.energy_pj, cost.latency_s)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hwflow.accelerator import Accelerator
    from hwflow.cost import HwflowWarning, analyse, estimate, estimate_many, map_layer
    from hwflow.dataflow import Dataflow, load_dataflow
    from hwflow.energy import EnergyTable
    from hwflow.errors import (
        HwflowError,
        ImportFailed,
        InputError,
        MissingDependency,
        NotMappable,
        ToolError,
        ToolMissing,
    )
    from hwflow.layers import Bits, Layer
    from hwflow.mapping import Mapping
    from hwflow.network import Network, zoo
    from hwflow.results import LayerCost, NetworkCost
    from hwflow.store import Store

__version__ = "0.1.0"

_HOME = {
    "hwflow.accelerator": ("Accelerator",),
    "hwflow.cost": ("HwflowWarning", "analyse", "estimate", "estimate_many", "map_layer"),
    "hwflow.dataflow": ("Dataflow", "load_dataflow"),
    "hwflow.energy": ("EnergyTable",),
    "hwflow.errors": (
        "HwflowError",
        "ImportFailed",
        "InputError",
        "MissingDependency",
        "NotMappable",
        "ToolError",
        "ToolMissing",
    ),
    "hwflow.layers": ("Bits", "Layer"),
    "hwflow.mapping": ("Mapping",),
    "hwflow.network": ("Network", "zoo"),
    "hwflow.results": ("LayerCost", "NetworkCost"),
    "hwflow.store": ("Store",),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "Accelerator",
    "Bits",
    "Dataflow",
    "EnergyTable",
    "HwflowError",
    "HwflowWarning",
    "ImportFailed",
    "InputError",
    "Layer",
    "LayerCost",
    "Mapping",
    "MissingDependency",
    "Network",
    "NetworkCost",
    "NotMappable",
    "Store",
    "ToolError",
    "ToolMissing",
    "analyse",
    "estimate",
    "estimate_many",
    "load_dataflow",
    "map_layer",
    "zoo",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import hwflow` costs nothing."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'hwflow' has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
