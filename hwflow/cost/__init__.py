"""The cost of a network on a chip, at three levels with one interface.

`estimate` costs a network, `estimate_many` several at once, `compare` puts accelerators, levels and dataflows side by side,
`cost_table` costs a network at many widths of its layers, `map_layer` and `analyse` cost one layer at mid. All of them accept
the same kinds of network and accelerator; see `estimate`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from hwflow.cost import energy_sources
from hwflow.cost.comparison import Comparison, compare
from hwflow.cost.cost_grid import CostTable, cost_table
from hwflow.cost.estimator import best_mapping, evaluate
from hwflow.cost.inputs import accelerator_of, network_of
from hwflow.cost.options import Fallback, Objective, Options, check_used
from hwflow.cost.session import HwflowWarning, Notify, opened
from hwflow.layers import Layer
from hwflow.mapping import Mapping
from hwflow.progress import Shown, shown
from hwflow.results import LayerCost, LevelName, NetworkCost
from hwflow.store import Store

if TYPE_CHECKING:
    from hwflow.cost.inputs import AcceleratorLike
    from hwflow.cost.mid import MapResult
    from hwflow.network.load import NetworkLike


def estimate(
    network: NetworkLike,
    accelerator: AcceleratorLike | None = None,
    *,
    level: LevelName = "mid",
    input_shape: Any = None,
    batch: int | None = None,
    bits: tuple[int, int] | None = None,
    dataflow: str | None = None,
    objective: Objective = "edp",
    energy: str = "auto",
    mapper: Literal["hwflow", "timeloop"] = "hwflow",
    engine: str | None = None,
    effort: int = 1,
    fallback: Fallback = "mid",
    jobs: int = 1,
    ragged: bool = True,
    store: Store | bool = True,
    progress: Shown = None,
    notify: Notify | None = None,
) -> NetworkCost:
    """Energy, cycles, utilisation and DRAM traffic of every layer of a network, with totals.

    Args:
        network: a `Network`; a `torch.nn.Module`, with `input_shape`; or what the command line takes: a zoo name, an `.onnx` or
            `.yaml` file, or `package.module:callable`.
        accelerator: an `Accelerator`, a preset's name, a YAML file of hwflow's or in Timeloop's format; None at coarse only.
        level: coarse, mid or fine.
        input_shape: of the network's input, batch included.
        batch: replaces the batch of the network's own input.
        bits: word widths of weights and activations, for layers that state none.
        dataflow: a name or a YAML file; None takes the accelerator's own.
        objective: what the mapping search minimises.
        energy: auto, recorded, fitted, accelergy or normalized; see `hwflow.cost.energy_sources`.
        mapper: at fine, whose mapping Timeloop judges: hwflow's, or the one that timeloop-mapper searches.
        engine: at fine, native, container or pytimeloop; None takes the first that answers.
        effort: a factor on how long mappings are searched.
        fallback: what answers where fine cannot: mid, coarse, or none, which raises. The whole network falls back; a warning
            says so (see `notify`), `NetworkCost.title` and every row say why, and `NetworkCost.level` is what answered.
        jobs: layers computed at once; above 1 in worker processes (then call it below `if __name__ == "__main__":`).
        ragged: whether hwflow's search takes mappings whose loops don't divide; the mapper of Timeloop never does.
        store: True for the user's store, False for none, or a `Store`.
        progress: told what is done; see `hwflow.progress.Progress`. None shows a bar in a terminal and a line in a notebook,
            and nothing elsewhere; False shows nothing.
        notify: told in a sentence what a user should know: a fallback and why, a store that cannot be written. None warns
            (`HwflowWarning`).

    Raises:
        InputError: where an argument, or a pair of accelerator and dataflow, cannot be used.
        NotMappable: where a layer has no mapping.
        ToolMissing, ToolError: at fine with `fallback="none"`.
    """
    options = Options(level, dataflow, objective, energy, mapper, engine, effort, fallback, jobs, ragged)
    check_used(options)
    net = network_of(network, input_shape=input_shape, batch=batch, bits=bits)
    chip = None if accelerator is None else accelerator_of(accelerator)
    with opened(store, notify) as (cache, tell), shown(progress, f"{net.name} at {level}") as bar:
        return evaluate([(net, chip)], options, cache, bar, tell)[0]


def estimate_many(
    pairs: Sequence[tuple[NetworkLike, AcceleratorLike | None]],
    *,
    level: LevelName = "mid",
    dataflow: str | None = None,
    objective: Objective = "edp",
    energy: str = "auto",
    mapper: Literal["hwflow", "timeloop"] = "hwflow",
    engine: str | None = None,
    effort: int = 1,
    fallback: Fallback = "mid",
    jobs: int = 1,
    ragged: bool = True,
    store: Store | bool = True,
    progress: Shown = None,
    notify: Notify | None = None,
) -> list[NetworkCost]:
    """`estimate` for several pairs of network and accelerator; layers that they share are computed once."""
    options = Options(level, dataflow, objective, energy, mapper, engine, effort, fallback, jobs, ragged)
    check_used(options)
    known = [(network_of(net), None if chip is None else accelerator_of(chip)) for net, chip in pairs]
    with opened(store, notify) as (cache, tell), shown(progress, f"{len(known)} networks at {level}") as bar:
        return evaluate(known, options, cache, bar, tell)


def analyse(
    layer: Layer,
    accelerator: AcceleratorLike,
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

    chip = accelerator_of(accelerator).serving(layer)
    with opened(store, None) as (cache, _):
        table = energy_sources.energy_table(chip, energy, engine=engine, store=cache)
    return mid.analyse(layer, chip, mapping, table)


def map_layer(
    layer: Layer,
    accelerator: AcceleratorLike,
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
    check_used(options)
    with opened(store, notify) as (cache, tell):
        return best_mapping(layer, accelerator_of(accelerator), options, cache, tell)


__all__ = [
    "Comparison",
    "CostTable",
    "HwflowWarning",
    "analyse",
    "compare",
    "cost_table",
    "estimate",
    "estimate_many",
    "map_layer",
]
