"""`CostTable`: the costs of a network's layers at every width that a search over channel counts may ask for.

Widths are rounded, so all pairs of a layer's input and output channels are a small grid. It is computed once, on a pool, and
kept in the store; from then on an answer is a look-up. Shapes off the grid are computed when they are asked for.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Unpack

from hwflow import display
from hwflow.cost.backend import check_used
from hwflow.cost.coarse import NORMALIZED_SOURCE
from hwflow.cost.estimator import carry_out
from hwflow.cost.executed_network import wanted
from hwflow.cost.inputs import accelerator_of, network_of
from hwflow.cost.options import CostArguments, CostOptions, check_each_alone, options_of
from hwflow.cost.plan import Plan, plan_for
from hwflow.cost.session import Notify, opened
from hwflow.errors import InputError, check_whole, not_found
from hwflow.layers import Bits, Layer
from hwflow.network import Network
from hwflow.progress import Progress, Shown, shown
from hwflow.results import LayerCost
from hwflow.store import Store

if TYPE_CHECKING:
    import pandas

    from hwflow.arrays import Floats
    from hwflow.cost.inputs import AcceleratorLike
    from hwflow.network.load import NetworkLike


Width = Literal["G", "C", "M"]
_Shape = tuple[int, int, int]
_Family = tuple[object, ...]

_INSTEAD = (
    "What a layer costs then depends on the rest of the network: cost each network as a whole with hwflow.estimate_many "
    "(searches of mappings are kept in the store), or search plans with hwflow.prune, which takes the option, too."
)
_BLOCK = 4096  # shapes whose full answers are in memory at once


class Axes(NamedTuple):
    """The widths of one layer's grid: groups, input and output channels per group, as in `Layer`."""

    G: tuple[int, ...]
    C: tuple[int, ...]
    M: tuple[int, ...]


class Entry(NamedTuple):
    """What one shape costs, as in `LayerCost`; NaN is what the level does not know (time, at coarse without an accelerator).

    `energy` is in the table's `energy_unit`, `dram_share` the part of it that goes to DRAM.
    """

    energy: float
    cycles: float
    latency_s: float
    dram_bytes: float
    utilization: float
    dram_share: float
    macs: float
    params: float


@dataclass(frozen=True)
class Grid:
    """One layer's costs over its widths: arrays [G, C, M], an axis of length 1 where a width is fixed; fields as of `Entry`."""

    layer: Layer
    G: tuple[int, ...]
    C: tuple[int, ...]
    M: tuple[int, ...]
    energy: Floats
    cycles: Floats
    latency_s: Floats
    dram_bytes: Floats
    utilization: Floats
    dram_share: Floats
    macs: Floats
    params: Floats


def cost_table(
    network: NetworkLike,
    accelerator: AcceleratorLike | None = None,
    *,
    input_shape: Any = None,
    round_to: int = 8,
    widths: Mapping[str, Mapping[Width, Sequence[int]]] | None = None,
    word_widths: Iterable[Bits] = (),
    fill: bool = True,
    options: CostOptions | None = None,
    store: Store | bool = True,
    progress: Shown = None,
    notify: Notify | None = None,
    **given: Unpack[CostArguments],
) -> CostTable:
    """The costs of all layers of a network at all their widths, for searches over channel counts.

    A layer's grid holds its own channels in and out and all smaller multiples of `round_to` (counted over all groups). The
    input of the first layer and the output of the last are fixed, since they are the data's; so are products of two
    activations. A depthwise layer has one width, its groups; other groups keep their number. A linear layer right behind a
    convolution whose channels times positions it reads takes its input in whole channels.

    Args:
        network, accelerator, input_shape: as in `estimate`.
        round_to: widths are multiples of it.
        widths: other widths of some layers, `{"fc": {"M": [10, 100]}}`: G, and C and M per group, as in `Layer`.
        word_widths: at which layers may be asked for beside their own, as `table[layer.with_(bits=bits)]`; no grid has them.
        fill: compute the grids now, or each shape when it is asked for. Large networks have large grids: ResNet-50 has one
            hundred thousand shapes in steps of 8. What is kept in the store is not computed again.
        options, given and the rest: as in `estimate`. There is no fallback: every answer of a table is of its level.

    Raises:
        InputError: where an argument, or a pair of accelerator and dataflow, cannot be used.
        NotMappable: where a shape has no mapping.
        ToolMissing, ToolError: at fine.
    """
    asked = options_of(options, given)
    check_used(asked)
    check_each_alone(asked, "a table of costs", _INSTEAD)
    if not isinstance(asked.execution, str):
        raise InputError(
            "execution is a mapping of layers, and a table of costs holds equal layers together: give one name for all of them."
        )
    if asked.fallback == "coarse":
        raise InputError("fallback is 'coarse', and every answer of a cost table is of its level; leave it out.")
    asked = replace(asked, fallback="none")
    network = network_of(network, input_shape=input_shape)
    accelerator = None if accelerator is None else accelerator_of(accelerator)
    check_whole("round_to", round_to)
    wanted(network, asked.execution)
    axes = _axes(network, round_to)
    for name, changed in (widths or {}).items():
        if stray := set(changed) - set(Axes._fields):
            raise not_found(f"width of layer {name}", str(stray.pop()), Axes._fields)
        layer = network[name]
        axes[name] = axes[layer.name]._replace(**{w: tuple(sorted(set(sizes))) for w, sizes in changed.items()})
    with opened(store, notify) as (cache, _):
        plan = plan_for(network, accelerator, asked, cache, word_widths)
    table = CostTable(plan, asked, axes, store, notify)
    if fill:
        table.fill(progress=progress)
    return table


class CostTable:
    """Costs of the layers of one network on one accelerator at one level, by shape; made by `cost_table`.

    Attributes:
        network, accelerator, level: whose costs these are.
        energy_unit, energy_source: what its energies mean, as in `LayerCost`.
    """

    def __init__(
        self, plan: Plan, options: CostOptions, axes: Mapping[str, Axes], store: Store | bool, notify: Notify | None
    ) -> None:
        self.network, self.accelerator, self.level = plan.network, plan.accelerator, options.level
        energies = [chip.table for chip in plan.chips.values()]
        self.energy_unit = energies[0].unit if energies else "normalized"
        self.energy_source = energies[0].source if energies else NORMALIZED_SOURCE
        self._plan, self._options, self._axes, self._store, self._notify = plan, options, axes, store, notify
        self._layers = {layer.name: layer for layer in plan.network}
        self._known: dict[_Family, dict[_Shape, Entry]] = defaultdict(dict)
        self._named = {name: self._known[_family(layer)] for name, layer in self._layers.items()}

    def __repr__(self) -> str:
        return f"<CostTable {self._summary()}>"

    def _repr_html_(self) -> str:
        headings = ["layer", "groups", "inputs a group", "outputs a group", "shapes known"]
        rows = [
            [name, *(_range_text(axis) for axis in self._axes[name]), f"{len(known):,}"] for name, known in self._named.items()
        ]
        return display.table_html(f"CostTable {self._summary()}", headings, rows)

    def figures(self, name: str | None = None) -> dict[str, Any]:
        """One layer's costs over its widths as `plotly.graph_objects.Figure`, by title (extra `report`).

        Args:
            name: the layer; by default the one with the most multiply-accumulates among those with several widths.
        """
        wide = [layer for layer in self._layers.values() if any(len(axis) > 1 for axis in self._axes[layer.name])]
        if name is None:
            name = max(wide or self._layers.values(), key=lambda layer: layer.macs).name
        own, axes = self._layers.get(name) or self.network[name], self._axes[name]
        width = next((w for w in ("M", "G", "C") if len(getattr(axes, w)) > 1), "M")
        sizes = getattr(axes, width)
        self.fill(_resized(own, (own.G, own.C, own.M)).with_(**{width: size}) for size in sizes)
        entries = [self.cost(name, **{width: size}) for size in sizes]
        return display.width_figures(name, _WIDTHS[width], self.energy_unit, sizes, entries)

    def plot(self, name: str | None = None, title: str | None = None) -> Any:
        """One of `figures` of a layer: energy, or the first whose title has these words ("latency")."""
        return display.chosen_figure(self.figures(name), title)

    def _summary(self) -> str:
        where = f" on {self.accelerator.label}" if self.accelerator else ", no accelerator"
        return f"{self.network.name}{where}, level {self.level}: {len(self._named)} layers, {len(self):,} shapes known"

    def __len__(self) -> int:
        """How many shapes are known."""
        return sum(map(len, self._known.values()))

    def __getitem__(self, layer: Layer) -> Entry:
        """The cost of a layer of this network at any width; microseconds where it is known, else it is computed and kept.

        Raises:
            InputError: for a layer with word widths that the network does not have.
            NotMappable, ToolMissing, ToolError: as `cost_table`.
        """
        layer = self._plan.layer(layer)
        family, shape = _family(layer), (layer.G, layer.C, layer.M)
        if shape not in self._known[family]:
            self.fill([layer])
        return self._known[family][shape]

    def cost(self, name: str, *, G: int | None = None, C: int | None = None, M: int | None = None) -> Entry:
        """The cost of the layer `name` with these groups and channels per group; its own where none are given."""
        own = self._layers.get(name) or self.network[name]
        shape = (own.G if G is None else G, own.C if C is None else C, own.M if M is None else M)
        found = self._named[name].get(shape)
        return self[_resized(own, shape)] if found is None else found

    def fill(self, layers: Iterable[Layer] | None = None, *, progress: Shown = None) -> None:
        """Compute what is not known of these layers, by default of all grids, `jobs` at once."""
        missing: dict[tuple[_Family, _Shape], Layer] = {}
        wanted = itertools.chain.from_iterable(map(self._grid, self._layers)) if layers is None else layers
        for layer in map(self._plan.layer, wanted):
            family, shape = _family(layer), (layer.G, layer.C, layer.M)
            if self.accelerator is not None and layer.bits not in self._plan.chips:
                raise InputError(
                    f"layer {layer.name!r} has bits={layer.bits}; no layer of {self.network.name} has these, and word_widths "
                    "does not name them."
                )
            if shape not in self._known[family]:
                missing.setdefault((family, shape), layer)
        work = list(missing.items())
        title = f"costs of {self.network.name}'s widths"
        with opened(self._store, self._notify) as (cache, tell), shown(progress if work else False, title) as bar:
            for start in range(0, len(work), _BLOCK):
                block = work[start : start + _BLOCK]
                plan = replace(self._plan, network=Network(self.network.name, tuple(_labelled(layer) for _, layer in block)))
                counted = None if bar is None else _shifted(bar, start, len(work))
                rows = carry_out([plan], self._options, cache, counted, tell)[0].rows
                for ((family, shape), _), row in zip(block, rows, strict=True):
                    self._known[family][shape] = self._entry(row)

    def grid(self, name: str) -> Grid:
        """All costs of one layer over its widths; what is not known yet is computed."""
        import numpy as np

        own, layers = self.network[name], list(self._grid(name))
        self.fill(layers)
        axes = self._axes[name]
        values = np.array([self[layer] for layer in layers], dtype=np.float64)
        return Grid(own, *axes, *values.T.reshape(len(Entry._fields), *map(len, axes)))

    def frame(self) -> pandas.DataFrame:
        """What is known, one row a layer and shape: its name, G, C and M, and the fields of `Entry` with the energy's unit."""
        import pandas as pd

        rows = [(name, *shape, *entry) for name, known in self._named.items() for shape, entry in sorted(known.items())]
        energy = f"energy_{self.energy_unit.lower()}"
        return pd.DataFrame(rows, columns=["layer", *Axes._fields, energy, *Entry._fields[1:]])

    def _grid(self, name: str) -> Iterator[Layer]:
        return (_resized(self._layers[name], shape) for shape in itertools.product(*self._axes[name]))

    def _entry(self, row: LayerCost) -> Entry:
        dram = row.energy_by_level.get(self.accelerator.dram.name if self.accelerator else "dram")
        share = None if dram is None or not row.energy else dram / row.energy
        known = (
            row.energy,
            row.cycles,
            row.latency_s,
            row.dram_bytes,
            row.utilization,
            share,
            row.layer.macs,
            row.layer.params,
        )
        return Entry(*(math.nan if v is None else v for v in known))


_WIDTHS = {"M": "output channels per group", "G": "groups", "C": "input channels per group"}

# Widths --------------------------------------------------------------------------------------------------------------


def _axes(network: Network, round_to: int) -> dict[str, Axes]:
    """The widths of every layer's grid; see `cost_table`."""
    first, last = network.layers[0], network.layers[-1]
    result, before = {}, None
    for layer in network:
        axes = Axes((layer.G,), (layer.C,), (layer.M,))
        if layer.G > 1 and layer.C == 1:
            axes = axes._replace(G=_steps(layer.G, round_to))
        elif layer.type != "matmul":
            step = round_to // math.gcd(round_to, layer.G)  # the channels of all groups are a multiple of round_to
            if layer is not first:
                axes = axes._replace(C=_steps(layer.C, step * _positions(layer, before)))
            if layer is not last:
                axes = axes._replace(M=_steps(layer.M, step))
        result[layer.name], before = axes, layer
    return result


def _steps(size: int, step: int) -> tuple[int, ...]:
    return (*range(step, size, step), size)


def _positions(layer: Layer, before: Layer | None) -> int:
    """How many inputs of a linear layer on a flattened image belong to each channel."""
    if layer.type != "linear" or before is None or before.type == "linear":
        return 1
    positions, rest = divmod(layer.C, before.G * before.M)
    return positions if rest == 0 and positions <= before.P * before.Q else 1


def _range_text(sizes: Sequence[int]) -> str:
    return str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]} ({len(sizes)})"


def _resized(layer: Layer, shape: _Shape) -> Layer:
    groups, inputs, outputs = shape
    return layer.with_(G=groups, C=inputs, M=outputs)


def _labelled(layer: Layer) -> Layer:
    """Named after its widths, because a table holds one layer at many widths."""
    return layer.with_(name=f"{layer.name} at {layer.G * layer.C}>{layer.G * layer.M}")


def _family(layer: Layer) -> _Family:
    """All of a layer but its widths and its name."""
    return (layer.type, layer.N, layer.P, layer.Q, layer.R, layer.S, layer.strides, layer.dilations, layer.bits)


def _shifted(progress: Progress, start: int, total: int) -> Progress:
    return lambda done, _, text: progress(start + done, total, text)
