"""`LayerCost`: what one layer costs on one accelerator, and what limits its latency."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hwflow.layers import TENSORS, Layer
from hwflow.types import EnergyUnit, LevelName, Tensor

Accesses = Mapping[str, Mapping[Tensor, Mapping[str, float]]]
"""accesses[level][tensor] = {"reads", "fills", "updates"}: words, per instance."""


COMPUTE, ARRAY = "compute", "array utilization"
_WELL_USED = 0.5  # utilization from which on "compute" alone says what limits a layer


def limit_of(bound_by: str | None, utilization: float | None) -> str | None:
    """What limits a layer's latency: a memory, the MAC units, or the share of those that its mapping occupies; None if unknown.

    A layer that is bound by compute takes MACs / (MAC units x utilization) cycles: below a half, more of the latency is
    explained by idle MAC units than by the number of MACs.
    """
    idle = bound_by == COMPUTE and utilization is not None and utilization < _WELL_USED
    return ARRAY if idle else bound_by


@dataclass(frozen=True)
class LayerCost:
    """Cost of one layer on one accelerator. None means: this level does not know.

    Attributes:
        energy: in `energy_unit`; `energy_by_level` splits it by part of the chip.
        cycles: the largest of the compute cycles and every memory's bandwidth-bound cycles.
        bound_by: "compute", or the memory whose bandwidth sets `cycles`.
        utilization: MACs / (cycles x MAC units), stalls included.
        dram_bytes: bytes read from and written to DRAM.
        level, engine, energy_source: who answered, and with which energies.
        seconds: how long the answer took; not part of the result.
        mapping: the mapping that was judged, as Timeloop's directives, or None at coarse.
        note: what a reader must know of this row (a fallback, and why).
        proven_optimal, bound, perfect_bound: what the search for the mapping proved, as in `hwflow.cost.mid.MapResult`; None
            where there was none. Not part of the cost.
    """

    layer: Layer
    level: LevelName
    engine: str
    energy: float | None
    energy_unit: EnergyUnit
    energy_source: str
    energy_by_level: Mapping[str, float]
    cycles: int | None
    latency_s: float | None
    bound_by: str | None
    utilization: float | None
    dram_bytes: float
    seconds: float = field(default=0.0, compare=False)
    accesses: Accesses = field(default_factory=dict)
    utilized_instances: Mapping[str, float] = field(default_factory=dict)
    mapping: tuple[Mapping[str, Any], ...] | None = None
    note: str = ""
    proven_optimal: bool | None = field(default=None, compare=False)
    bound: float | None = field(default=None, compare=False)
    perfect_bound: float | None = field(default=None, compare=False)

    @property
    def limited_by(self) -> str | None:
        """`bound_by`, or "array utilization" where that explains more of the latency than the number of MACs does."""
        return limit_of(self.bound_by, self.utilization)

    @property
    def energy_pj(self) -> float | None:
        """Picojoule, or None where the energies are in normalised units."""
        return self.energy if self.energy_unit == "pJ" else None

    @property
    def energy_normalized(self) -> float | None:
        """Units of one 16-bit multiply-accumulate, or None where the energies are in picojoule."""
        return self.energy if self.energy_unit == "normalized" else None

    @property
    def resident(self) -> tuple[Tensor, ...]:
        """The tensors that stay on the chip: DRAM does not keep them in the mapping."""
        bypassed = self.mapping[0].get("bypass", ()) if self.mapping else ()
        return tuple(tensor for tensor in TENSORS if tensor.capitalize() in bypassed)

    def row(self) -> dict[str, Any]:
        """The row of the JSON contract (reference/result.md in the documentation)."""
        la = self.layer
        pj = self.energy_unit == "pJ"
        return {
            "name": la.name,
            "type": la.type,
            "shape": dict(la.dims),
            "strides": list(la.strides),
            "dilations": list(la.dilations),
            "macs": la.macs,
            "params": la.params,
            "params_shared": la.shared,
            "energy_pj": self.energy_pj,
            "energy_normalized": self.energy_normalized,
            "energy_by_level_pj": dict(self.energy_by_level) if pj else None,
            "energy_by_level_normalized": None if pj else dict(self.energy_by_level),
            "cycles": self.cycles,
            "latency_s": self.latency_s,
            "bound_by": self.bound_by,
            "utilization": self.utilization,
            "dram_bytes": self.dram_bytes,
            "level": self.level,
            "engine": self.engine,
            "energy_source": self.energy_source,
            "execution": la.execution,
            "note": self.note,
            "seconds": self.seconds,
            **({} if la.densities is None else {"densities": la.densities._asdict()}),
        }


__all__ = ["ARRAY", "COMPUTE", "Accesses", "LayerCost", "limit_of"]
