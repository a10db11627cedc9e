"""What a network costs on a chip: one contract, three levels.

`estimate` answers for a network, `estimate_many` for several at once, `cost_table` for a network whose layers change their
widths, `map_layer` and `analyse` for one layer at mid.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from hwflow.accelerator import Accelerator
from hwflow.cost import energies
from hwflow.cost.evaluation import Fallback, Options, best_mapping, evaluate
from hwflow.cost.opening import HwflowWarning, Notify, opened
from hwflow.cost.pool import Progress
from hwflow.cost.table import CostTable, cost_table
from hwflow.layers import Layer
from hwflow.mapping import Mapping
from hwflow.network import Network
from hwflow.results import LayerCost, LevelName, NetworkCost
from hwflow.store import Store

if TYPE_CHECKING:
    from hwflow.cost.mid import MapResult

Objective = Literal["energy", "latency", "edp"]


def estimate(
    network: Network,
    accelerator: Accelerator | None = None,
    *,
    level: LevelName = "mid",
    dataflow: str | None = None,
    objective: Objective = "edp",
    energy: str = "auto",
    mapper: Literal["hwflow", "timeloop"] = "hwflow",
    engine: str | None = None,
    effort: int = 1,
    fallback: Fallback = "none",
    jobs: int = 1,
    ragged: bool = True,
    store: Store | bool = True,
    progress: Progress | None = None,
    notify: Notify | None = None,
) -> NetworkCost:
    """Energy, cycles, utilisation and DRAM traffic of every layer of a network, with totals.

    Args:
        accelerator: None at coarse only.
        level: coarse, mid or fine.
        dataflow: a name or a YAML file; None takes the accelerator's own.
        objective: what the mapping search minimises.
        energy: auto, recorded, fitted, accelergy or normalized; see `hwflow.cost.energies`.
        mapper: at fine, whose mapping Timeloop judges: hwflow's, or the one that timeloop-mapper searches.
        engine: at fine, native, container or pytimeloop; None takes the first that answers.
        effort: a factor on how long mappings are searched.
        fallback: what answers where fine cannot: mid, coarse, or none, which raises. The whole network falls back, every row
            notes why.
        jobs: layers computed at once; above 1 in worker processes (then call it below `if __name__ == "__main__":`).
        ragged: whether hwflow's search takes mappings whose loops don't divide; the mapper of Timeloop never does.
        store: True for the user's store, False for none, or a `Store`.
        progress: told what is done; see `hwflow.cost.pool.Progress`.
        notify: told in a sentence what a user should know: a fallback and why, a store that cannot be written. None warns
            (`HwflowWarning`).

    Raises:
        InputError: where an argument, or a pair of accelerator and dataflow, cannot be used.
        NotMappable: where a layer has no mapping.
        ToolMissing, ToolError: at fine without fallback.
    """
    options = Options(level, dataflow, objective, energy, mapper, engine, effort, fallback, jobs, ragged)
    with opened(store, notify) as (cache, tell):
        return evaluate([(network, accelerator)], options, cache, progress, tell)[0]


def estimate_many(
    pairs: Sequence[tuple[Network, Accelerator | None]],
    *,
    level: LevelName = "mid",
    dataflow: str | None = None,
    objective: Objective = "edp",
    energy: str = "auto",
    mapper: Literal["hwflow", "timeloop"] = "hwflow",
    engine: str | None = None,
    effort: int = 1,
    fallback: Fallback = "none",
    jobs: int = 1,
    ragged: bool = True,
    store: Store | bool = True,
    progress: Progress | None = None,
    notify: Notify | None = None,
) -> list[NetworkCost]:
    """`estimate` for several pairs of network and accelerator; layers that they share are computed once."""
    options = Options(level, dataflow, objective, energy, mapper, engine, effort, fallback, jobs, ragged)
    with opened(store, notify) as (cache, tell):
        return evaluate(pairs, options, cache, progress, tell)


def analyse(
    layer: Layer,
    accelerator: Accelerator,
    mapping: Mapping,
    *,
    energy: str = "auto",
    engine: str | None = None,
    store: Store | bool = True,
) -> LayerCost:
    """mid's verdict on one given mapping: the numbers that `timeloop-model` gives for it, accesses included.

    Raises:
        InputError: where the mapping is not one of this layer on this accelerator.
        NotMappable: where a tile does not fit its memory.
    """
    from hwflow.cost import mid

    chip = accelerator.serving(layer)
    with opened(store, None) as (cache, _):
        table = energies.energy_table(chip, energy, engine=engine, store=cache)
    return mid.analyse(layer, chip, mapping, table)


def map_layer(
    layer: Layer,
    accelerator: Accelerator,
    *,
    objective: Objective = "edp",
    dataflow: str | None = None,
    energy: str = "auto",
    effort: int = 1,
    ragged: bool = True,
    engine: str | None = None,
    store: Store | bool = True,
    notify: Notify | None = None,
) -> MapResult:
    """mid's search: the best mapping of one layer, its cost, whether it is proven optimal, and a lower bound.

    `ragged`: whether loops may be looked at that don't divide their dimension; what is proven holds for what was looked at.

    Raises:
        InputError: where the dataflow does not fit the accelerator.
        NotMappable: where no mapping fits.
    """
    options = Options("mid", dataflow, objective, energy, "hwflow", engine, effort, ragged=ragged)
    with opened(store, notify) as (cache, tell):
        return best_mapping(layer, accelerator, options, cache, tell)


__all__ = ["CostTable", "HwflowWarning", "analyse", "cost_table", "estimate", "estimate_many", "map_layer"]
