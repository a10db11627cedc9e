"""`Plan`: one network on one accelerator, with all that its layers are computed on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hwflow.cost import energy_sources
from hwflow.cost.backend import BACKENDS, backend_of
from hwflow.cost.chip import Chip
from hwflow.cost.options import CostOptions
from hwflow.errors import InputError
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.dataflow import constrain
from hwflow.layers import Bits, Layer
from hwflow.network import Network
from hwflow.store import Store

LayerKey = tuple[object, ...]
"""`Layer.key`: what equal layers have in common."""


@dataclass(frozen=True)
class Plan:
    """One network on one accelerator, with what its layers are computed on, by their word widths."""

    network: Network
    accelerator: Accelerator | None
    chips: Mapping[Bits | None, Chip]

    def __post_init__(self) -> None:
        if self.accelerator is not None and self.accelerator.own_bits is not None:
            object.__setattr__(self, "network", self.network.with_bits(*self.accelerator.own_bits))

    def chip(self, layer: Layer) -> Chip:
        """The accelerator at the layer's word widths, its constraints and its energies."""
        return self.chips[self.layer(layer).bits]

    def layer(self, layer: Layer) -> Layer:
        """A layer as the plan's accelerator runs it: at the widths of its PEs where it states none."""
        return layer if self.accelerator is None else self.accelerator.typed(layer)


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
