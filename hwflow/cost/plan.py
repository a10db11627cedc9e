"""`Plan`: one network on one accelerator, with all that its layers are computed on."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from hwflow.cost import energy_sources
from hwflow.cost.backend import BACKENDS, backend_of
from hwflow.cost.chip import Chip
from hwflow.cost.options import CostOptions
from hwflow.cost.position_rows import differs, merged, parts_of
from hwflow.errors import InputError
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.dataflow import constrain
from hwflow.layers import Bits, Layer
from hwflow.network import Network
from hwflow.results import LayerCost
from hwflow.store import Store

LayerKey = tuple[object, ...]
"""`Layer.key`: what equal layers have in common."""


@dataclass(frozen=True)
class Plan:
    """One network on one accelerator, with what its layers are computed on, by their word widths.

    Attributes:
        whole: where layers are computed in parts, the network as results have it, and how many rows of `network` each of its
            layers is.
    """

    network: Network
    accelerator: Accelerator | None
    chips: Mapping[Bits | None, Chip]
    whole: tuple[Network, tuple[int, ...]] | None = None

    def __post_init__(self) -> None:
        if self.accelerator is not None and self.accelerator.own_bits is not None:
            object.__setattr__(self, "network", self.network.with_bits(*self.accelerator.own_bits))

    def chip(self, layer: Layer) -> Chip:
        """The accelerator at the layer's word widths, its constraints and its energies."""
        return self.chips[self.layer(layer).bits]

    def layer(self, layer: Layer) -> Layer:
        """A layer as the plan's accelerator runs it: at the widths of its PEs where it states none."""
        return layer if self.accelerator is None else self.accelerator.typed(layer)

    def in_parts(self) -> Plan:
        """With the rows that are computed at a level with mappings, see `hwflow.cost.position_rows`."""
        if self.whole is not None or all(la.densities is None and not differs(la) for la in self.network):
            return self
        each = [parts_of(layer, self.accelerator) for layer in self.network]
        rows = tuple(part for parts in each for part in parts)
        return replace(self, network=replace(self.network, layers=rows), whole=(self.network, tuple(map(len, each))))

    def undivided(self) -> Plan:
        """The plan before `in_parts`."""
        return self if self.whole is None else replace(self, network=self.whole[0], whole=None)

    def owners(self) -> tuple[Layer, ...]:
        """Of each row that is computed the layer of which it is a part."""
        if self.whole is None:
            return self.network.layers
        return tuple(layer for layer, count in zip(*self.whole, strict=True) for _ in range(count))

    def united(self, rows: Sequence[LayerCost]) -> list[LayerCost]:
        """The rows of the network as results have it, from those that were computed."""
        if self.whole is None:
            return list(rows)
        assert self.accelerator is not None
        found, rest = [], list(rows)
        for layer, count in zip(*self.whole, strict=True):
            found.append(merged(layer, rest[:count], self.accelerator))
            del rest[:count]
        return found

    def sums(self, values: Sequence[int]) -> list[int]:
        """Of a number for each row that was computed, that of each layer."""
        if self.whole is None:
            return list(values)
        rest = iter(values)
        return [sum(itertools.islice(rest, count)) for count in self.whole[1]]


def plan_for(
    network: Network,
    accelerator: Accelerator | None,
    options: CostOptions,
    store: Store | None,
    word_widths: Iterable[Bits] = (),
) -> Plan:
    """What the layers of a network are computed on: word widths, the dataflow's constraints, energies.

    Args:
        word_widths: at which layers may be costed beside their own.

    Raises:
        InputError: where the level needs an accelerator and there is none, or dataflow or energies do not fit it.
    """
    if accelerator is None:
        if backend_of(options.level).needs_chip:
            free = " and ".join(name for name, backend in BACKENDS.items() if not backend.needs_chip)
            raise InputError(
                f"level {options.level} needs an accelerator: the name of a preset ('hwflow list accelerators') or a file. "
                f"Only {free} answers without one."
            )
        return Plan(network, None, {})
    sized: dict[Bits | None, Accelerator] = {}
    for layer in map(accelerator.typed, network):
        if layer.bits not in sized:
            sized[layer.bits] = accelerator.serving(layer)
    for widths in word_widths:
        if widths not in sized:
            sized[widths] = accelerator.with_bits(widths)
    tables = energy_sources.energy_tables(list(sized.values()), options.energy, engine=options.engine, store=store)
    chips: dict[Bits | None, Chip] = {}
    for bits, chip in sized.items():
        constraints = constrain(chip, options.dataflow)
        chips[bits] = Chip(chip, constraints, tables[chip.fingerprint])
    return Plan(network, accelerator, chips)


__all__ = ["LayerKey", "Plan", "plan_for"]
