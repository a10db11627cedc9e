"""`cost_unit`: one unit of a sweep, several layers on one chip at one level, costed in any process.

What goes in and comes out travels between processes and machines, so answers are without mappings and accesses; the store keeps
those, where it is used.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from hwflow.cost.assembly import area_um2
from hwflow.cost.backend import backend_of
from hwflow.cost.estimator import carry_out
from hwflow.cost.options import CostOptions
from hwflow.cost.plan import Plan, plan_for
from hwflow.errors import HwflowError, InputError, NotMappable, ToolError
from hwflow.hardware.accelerator import Accelerator
from hwflow.layers import Layer
from hwflow.network import Network
from hwflow.results import LayerCost, NetworkCost
from hwflow.store import Store

ON_CHIP = "on_chip_cycles"

_LEFT = ("layer", "accesses", "utilized_instances", "mapping", "proven_optimal", "bound")
_KEPT = tuple(f.name for f in fields(LayerCost) if f.name not in _LEFT)


@dataclass(frozen=True)
class Unit:
    """Layers on one chip, each with its own name and shape.

    Attributes:
        widths: a layer of each word width of the network, whose energies must all be in one unit.
        keep: whether answers are looked for, and kept, in the store of whoever costs them.
        network: where layers depend on one another the whole of it; the last of `layers` then stands for its other operators.
        on_chip: whether rows also say, as `ON_CHIP`, what cycles the mapping takes where DRAM never makes it wait; at levels
            with mappings only.
    """

    accelerator: Accelerator
    layers: tuple[Layer, ...]
    widths: tuple[Layer, ...]
    options: CostOptions
    keep: bool
    network: Network | None = None
    on_chip: bool = False

    @property
    def instant(self) -> bool:
        """Whether answers take so little time that no store keeps them, and the way to a worker is not worth it."""
        return backend_of(self.options.level).seconds(self.options) == 0


@dataclass(frozen=True)
class Costed:
    """A layer's row, as `hwflow.cost.serialization.cost_from_data` takes it, and the chip's area."""

    row: Mapping[str, Any]
    area_um2: float | None


@dataclass(frozen=True)
class Failure:
    """Why there is no answer. `transient`: the cause is the environment (a tool, a lost worker), not what was asked for."""

    reason: str
    transient: bool


@dataclass(frozen=True)
class Answer:
    """Of a unit, for each of its layers. `computed` counts those that no store knew, `notices` are for the user."""

    layers: tuple[Costed | Failure, ...]
    computed: int = 0
    notices: tuple[str, ...] = ()


def cost_unit(unit: Unit) -> Answer:
    """Cost the layers of a unit. What fails is a `Failure`, never an error: the rest of a sweep goes on."""
    store = _store() if unit.keep and not unit.instant else None
    try:
        plan = plan_for(Network("sweep", unit.widths), unit.accelerator, unit.options, store)
    except Exception as error:
        return lost(unit, failure(error))
    work = _Work(plan, unit, store)
    if unit.network is not None:
        try:
            return Answer(work.whole(unit.network), min(work.computed, len(unit.layers)), store.notices if store else ())
        except Exception as error:
            return lost(unit, failure(error))
    try:
        layers: tuple[Costed | Failure, ...] = work.costs(unit.layers)
    except Exception:
        layers = tuple(work.alone(layer) for layer in unit.layers)
    return Answer(layers, min(work.computed, len(layers)), store.notices if store else ())


def lost(unit: Unit, why: Failure) -> Answer:
    """The answer to a unit that no worker could complete."""
    return Answer((why,) * len(unit.layers))


def failure(error: Exception) -> Failure:
    """In words that are the same in every run: what tools say goes on with the names of temporary folders."""
    text = str(error)
    if isinstance(error, (InputError, NotMappable)):
        return Failure(text, transient=False)
    if isinstance(error, ToolError):
        return Failure(text.split(". ", maxsplit=1)[0].rstrip(".") + ".", transient=True)
    return Failure(text if isinstance(error, HwflowError) else f"{type(error).__name__}: {text}", transient=True)


@dataclass
class _Work:
    plan: Plan
    unit: Unit
    store: Store | None
    computed: int = 0

    def costs(self, layers: tuple[Layer, ...]) -> tuple[Costed, ...]:
        """All of them; the first that fails is an error."""
        rows = self._cost(Network("sweep", layers)).rows
        if self.unit.on_chip:
            return tuple(_costed(row, self._area(row), {ON_CHIP: self._on_chip(row)}) for row in rows)
        return tuple(_costed(row, self._area(row)) for row in rows)

    def _area(self, row: LayerCost) -> float | None:
        """Of the chip that serves this layer alone, so that it does not depend on what else is computed with it."""
        return area_um2(replace(self.plan, network=Network("sweep", (row.layer,))))

    def _on_chip(self, row: LayerCost) -> int:
        from hwflow.cost.levels import mapping_of
        from hwflow.cost.mid import on_chip_cycles

        chip, layer = self.plan.chip(row.layer), self.plan.layer(row.layer)
        return on_chip_cycles(layer, chip.accelerator, mapping_of(row, chip), chip.table)

    def whole(self, network: Network) -> tuple[Costed, ...]:
        """The layers of a network as they run in it, and the sum of its other operators."""
        cost = self._cost(network)
        rest = replace(
            cost.rows[0],
            energy=sum(operator.energy for operator in cost.operators),
            energy_by_level={},
            cycles=sum(operator.cycles for operator in cost.operators),
            latency_s=sum(operator.latency_s for operator in cost.operators),
            bound_by=None,
            utilization=None,
            dram_bytes=sum(operator.dram_bytes for operator in cost.operators),
            seconds=0.0,
        )
        return tuple(_costed(row, cost.area_um2) for row in (*cost.rows, rest))

    def _cost(self, network: Network) -> NetworkCost:
        begun: set[int] = set()

        def tell(done: int, total: int, text: str) -> None:
            if text:  # only what is computed is announced
                begun.add(done)

        try:
            plan = replace(self.plan, network=network)
            return carry_out([plan], self.unit.options, self.store, tell, lambda _: None)[0]
        finally:
            self.computed += len(network) if self.unit.instant else len(begun)

    def alone(self, layer: Layer) -> Costed | Failure:
        """One, or why not."""
        try:
            return self.costs((layer,))[0]
        except Exception as error:
            return failure(error)


def _costed(row: LayerCost, area: float | None, more: Mapping[str, int] | None = None) -> Costed:
    return Costed({**{name: getattr(row, name) for name in _KEPT}, **(more or {})}, area)


@functools.cache
def _store() -> Store:
    return Store()
