"""The cost of a network on a chip, at three levels with one interface.

`estimate` costs a network, `estimate_many` several at once, `compare` puts accelerators, levels and dataflows side by side,
`cost_table` costs a network at many widths of its layers, `map_layer` and `analyse` cost one layer at mid. All of them accept
the same kinds of network and accelerator; see `estimate`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from hwflow.cost import energy_sources
from hwflow.cost.assembly import repeated
from hwflow.cost.backend import check_used
from hwflow.cost.certified import check_certified, write_certificate
from hwflow.cost.comparison import Comparison, compare
from hwflow.cost.cost_grid import CostTable, cost_table
from hwflow.cost.estimator import best_mapping, evaluate, map_result
from hwflow.cost.executed_network import wanted
from hwflow.cost.inputs import accelerator_of, network_of
from hwflow.cost.levels import MAPPER
from hwflow.cost.options import CostArguments, CostOptions, check_each_alone, options_of
from hwflow.cost.plan import plan_for
from hwflow.cost.session import HwflowWarning, Notify, opened
from hwflow.errors import InputError
from hwflow.errors import shown as shown_value
from hwflow.layers import DIRECT, Layer
from hwflow.mapping import Mapping
from hwflow.network import Network
from hwflow.progress import Shown, shown
from hwflow.results import LayerCost, NetworkCost
from hwflow.store import Store
from hwflow.types import Tensor

if TYPE_CHECKING:
    from hwflow.cost.inputs import AcceleratorLike
    from hwflow.cost.mid import MapResult
    from hwflow.network.load import NetworkLike


def estimate(
    network: NetworkLike,
    accelerator: AcceleratorLike | None = None,
    *,
    input_shape: Any = None,
    batch: int | None = None,
    bits: tuple[int, int] | None = None,
    options: CostOptions | None = None,
    store: Store | bool = True,
    progress: Shown = None,
    notify: Notify | None = None,
    **given: Unpack[CostArguments],
) -> NetworkCost:
    """Energy, cycles, utilisation and DRAM traffic of every layer of a network, with totals.

    Args:
        network: a `Network`; a `torch.nn.Module`, with `input_shape`; or what the command line takes: a zoo name, an `.onnx` or
            `.yaml` file, or `package.module:callable`.
        accelerator: an `Accelerator`, a preset's name, a YAML file of hwflow's or in Timeloop's format; None at coarse only.
        input_shape: of the network's input, batch included.
        batch: replaces the batch of the network's own input.
        bits: word widths of weights and activations, for layers that state none.
        options: a `CostOptions`: level, dataflow, objective, energy, mapper, engine, effort, fallback, jobs, ragged,
            activations, operators, execution.
        given: fields of `CostOptions` as keyword arguments, `level="fine", effort=2`; beside `options` they replace its own.
            Where another level answers than the one that was asked for, a warning says so (see `notify`), `NetworkCost.title`
            and every row say why, and `NetworkCost.level` is what answered.
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
    asked = options_of(options, given)
    check_used(asked)
    net = network_of(network, input_shape=input_shape, batch=batch, bits=bits)
    chip = None if accelerator is None else accelerator_of(accelerator)
    with opened(store, notify) as (cache, tell), shown(progress, f"{net.name} at {asked.level}") as bar:
        return evaluate([(net, chip)], asked, cache, bar, tell)[0]


def estimate_many(
    pairs: Sequence[tuple[NetworkLike, AcceleratorLike | None]],
    *,
    options: CostOptions | None = None,
    store: Store | bool = True,
    progress: Shown = None,
    notify: Notify | None = None,
    **given: Unpack[CostArguments],
) -> list[NetworkCost]:
    """`estimate` for several pairs of network and accelerator; layers that they share are computed once.

    Raises:
        InputError: as `estimate`, and for an entry of `pairs` that is no pair.
    """
    asked = options_of(options, given)
    check_used(asked)
    for position, pair in enumerate(pairs):
        if isinstance(pair, str) or not isinstance(pair, Sequence) or len(pair) != 2:
            raise InputError(
                f"pairs[{position}] is {shown_value(pair)}; it must be (network, accelerator), with None for no accelerator."
            )
    known = [(network_of(net), None if chip is None else accelerator_of(chip)) for net, chip in pairs]
    with opened(store, notify) as (cache, tell), shown(progress, f"{len(known)} networks at {asked.level}") as bar:
        return evaluate(known, asked, cache, bar, tell)


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

    described = accelerator_of(accelerator)
    layer = described.typed(layer)
    chip = described.serving(layer)
    with opened(store, None) as (cache, _):
        table = energy_sources.energy_table(chip, energy, engine=engine, store=cache)
    return mid.analyse(layer, chip, mapping, table)


def map_layer(
    layer: Layer,
    accelerator: AcceleratorLike,
    *,
    options: CostOptions | None = None,
    resident: Sequence[Tensor] = (),
    certificate: str | Path | None = None,
    store: Store | bool = True,
    notify: Notify | None = None,
    **given: Unpack[CostArguments],
) -> MapResult:
    """mid's search: the best mapping of one layer, its cost, whether it is proven optimal, and a lower bound.

    Args:
        resident: those of its tensors that stay on the chip, so that they bypass DRAM; they have all of the memory. What stays
            in a network, `estimate(network, activations="resident")` chooses.
        certificate: a file to write, with which others can check a bound on all mappings with perfect factors
            (`hwflow.verify`). Needs `ragged=False`; the bound is within `gap` of the mapping's value where its form allows.
        options, given: as in `estimate`. With `ragged=False`, loops that don't divide their dimension are not looked at; what
            is proven holds for what was looked at.

    Raises:
        InputError: where the dataflow does not fit the accelerator, or a certificate cannot be written.
        NotMappable: where no mapping fits.
    """
    asked = options_of(options, given)
    if asked.level != MAPPER:
        raise InputError(f"level is {asked.level!r}, and mappings of one layer are searched at {MAPPER} only; leave it out.")
    check_used(asked)
    check_each_alone(
        asked,
        "this",
        "For a layer as it runs in its network, take its row of hwflow.estimate, or hwflow map; `resident` names what stays of "
        "one layer.",
    )
    if certificate is not None:
        check_certified(asked, resident)
    with opened(store, notify) as (cache, tell):
        chip = accelerator_of(accelerator)
        found = best_mapping(layer, chip, asked, cache, tell, resident)
        if certificate is not None:
            write_certificate(certificate, found, plan_for(Network(layer.name, (layer,)), chip, asked, cache), asked)
        return found


def executed_layer(
    network: Network, layer: Layer, accelerator: AcceleratorLike, *, options: CostOptions, notify: Notify | None = None
) -> Layer:
    """What a layer of a network runs as: the row that `estimate` has for it with these options.

    Raises:
        InputError: where the layer itself cannot run as is asked of all, too.
    """
    asked = options.execution
    names = wanted(network, {layer.name: asked} if isinstance(asked, str) else asked)
    alone = Network(layer.name, (layer,))
    cost = estimate(alone, accelerator, options=replace(options, execution=names.get(layer.name, DIRECT)), notify=notify)
    return cost.rows[0].layer


def map_in_network(
    network: Network, layer: Layer, accelerator: AcceleratorLike, *, options: CostOptions, notify: Notify | None = None
) -> MapResult:
    """The mapping that a layer of a network has at mid where other layers decide on it, too (see `CostOptions.activations`).

    Where the batch runs in rounds, mapping and cost are those of one.
    """
    chip = accelerator_of(accelerator)
    cost = estimate(network, chip, options=options, notify=notify)
    row = next(row for row in cost.rows if row.layer.name == layer.name)
    with opened(True, notify) as (cache, _):
        seen = plan_for(network, chip, options, cache).chip(layer)
    if (rounds := cost.provenance.get("rounds", 1)) > 1:  # a mapping is that of one of them
        row = replace(row, layer=row.layer.with_(N=row.layer.N // rounds))
        row = repeated(row, Fraction(1, rounds), seen.accelerator, options.objective)
    return map_result(row, seen)


__all__ = [
    "Comparison",
    "CostOptions",
    "CostTable",
    "HwflowWarning",
    "analyse",
    "compare",
    "cost_table",
    "estimate",
    "estimate_many",
    "executed_layer",
    "map_in_network",
    "map_layer",
]
