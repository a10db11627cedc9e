"""`Chip`: what a layer is computed on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.dataflow import LevelConstraint
from hwflow.hardware.energy_table import EnergyTable
from hwflow.layers import Tensor
from hwflow.store import key_of


@dataclass(frozen=True)
class Chip:
    """An accelerator at its word widths, a dataflow's constraints, energies.

    `resident`: the layer's tensors that stay in an on-chip memory, so that DRAM does not keep them; see
    `hwflow.cost.residency`.
    """

    accelerator: Accelerator
    constraints: tuple[LevelConstraint, ...]
    table: EnergyTable
    resident: tuple[Tensor, ...] = ()

    @cached_property
    def identity(self) -> str:
        """Hash of all of it that a cost can depend on."""
        rules = [[c.level.name, c.temporal, c.innermost, c.spatial] for c in self.constraints]
        resident = [list(self.resident)] if self.resident else []
        return key_of(self.accelerator.fingerprint, rules, self.table.content(), *resident)

    @cached_property
    def portable(self) -> Chip:
        """Without provenance, which does not go to other processes."""
        return replace(self, table=replace(self.table, provenance={}))
