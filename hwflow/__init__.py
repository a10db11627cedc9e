"""hwflow: energy and latency of every layer of a CNN on an accelerator, at three levels of abstraction.

import hwflow

cost = hwflow.estimate("resnet18", "eyeriss", level="mid")
print(cost.energy_pj, cost.latency_s)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from hwflow.version import __version__ as __version__

if TYPE_CHECKING:
    from hwflow.certificate.check import verify
    from hwflow.cost import (
        Comparison,
        CostOptions,
        CostTable,
        HwflowWarning,
        analyse,
        compare,
        cost_table,
        estimate,
        estimate_many,
        map_layer,
    )
    from hwflow.datasets import Data, from_datasets, load_data
    from hwflow.errors import (
        HwflowError,
        ImportFailed,
        InputError,
        MissingDependency,
        NotCertified,
        NotMappable,
        ToolError,
        ToolMissing,
    )
    from hwflow.hardware.accelerator import Accelerator
    from hwflow.hardware.dataflow import Dataflow, load_dataflow
    from hwflow.hardware.energy_table import EnergyTable
    from hwflow.layers import Bits, Densities, Layer
    from hwflow.mapping import Mapping
    from hwflow.network import Network, zoo
    from hwflow.network.densities import weight_densities
    from hwflow.pruning import (
        Budget,
        Contest,
        PruneResult,
        compress,
        compress_many,
        load_compressed,
        load_pruned,
        prune,
        search_network,
    )
    from hwflow.results import LayerCost, NetworkCost
    from hwflow.store import Store
    from hwflow.sweeping import sweep
    from hwflow.timeloop.importer.importer import from_timeloop
    from hwflow.training import Recipe, load_weights, train

_HOME = {
    "hwflow.hardware.accelerator": ("Accelerator",),
    "hwflow.certificate.check": ("verify",),
    "hwflow.cost": (
        "Comparison",
        "CostOptions",
        "CostTable",
        "HwflowWarning",
        "analyse",
        "compare",
        "cost_table",
        "estimate",
        "estimate_many",
        "map_layer",
    ),
    "hwflow.hardware.dataflow": ("Dataflow", "load_dataflow"),
    "hwflow.datasets": ("Data", "from_datasets", "load_data"),
    "hwflow.hardware.energy_table": ("EnergyTable",),
    "hwflow.errors": (
        "HwflowError",
        "ImportFailed",
        "InputError",
        "MissingDependency",
        "NotCertified",
        "NotMappable",
        "ToolError",
        "ToolMissing",
    ),
    "hwflow.layers": ("Bits", "Densities", "Layer"),
    "hwflow.mapping": ("Mapping",),
    "hwflow.network": ("Network", "zoo"),
    "hwflow.network.densities": ("weight_densities",),
    "hwflow.pruning": (
        "Budget",
        "Contest",
        "PruneResult",
        "compress",
        "compress_many",
        "load_compressed",
        "load_pruned",
        "prune",
        "search_network",
    ),
    "hwflow.results": ("LayerCost", "NetworkCost"),
    "hwflow.store": ("Store",),
    "hwflow.sweeping": ("sweep",),
    "hwflow.timeloop.importer.importer": ("from_timeloop",),
    "hwflow.training": ("Recipe", "load_weights", "train"),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "Accelerator",
    "Bits",
    "Budget",
    "Comparison",
    "Contest",
    "CostOptions",
    "CostTable",
    "Data",
    "Dataflow",
    "Densities",
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
    "NotCertified",
    "NotMappable",
    "PruneResult",
    "Recipe",
    "Store",
    "ToolError",
    "ToolMissing",
    "analyse",
    "compare",
    "compress",
    "compress_many",
    "cost_table",
    "estimate",
    "estimate_many",
    "from_datasets",
    "from_timeloop",
    "load_compressed",
    "load_data",
    "load_dataflow",
    "load_pruned",
    "load_weights",
    "map_layer",
    "prune",
    "search_network",
    "sweep",
    "train",
    "verify",
    "weight_densities",
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
