"""What lies in a chip's memories while a network runs, and what operators beside its layers cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from hwflow.types import EnergyUnit


@dataclass(frozen=True)
class OperatorCost:
    """Cost of an operator that is no layer, or of a move between two memories.

    Attributes:
        name, type: as in `Network.other`; a move has the name of the operation that writes the tensor.
        operations: of the vector unit.
        energy: in `energy_unit`; `energy_by_part` splits it.
        cycles: the largest of the vector unit's and of every memory's.
        dram_bytes: read from and written to DRAM.
        note: why it costs nothing of its own (fused, folded), if so.
    """

    name: str
    type: str
    operations: int
    energy: float
    energy_unit: EnergyUnit
    energy_by_part: Mapping[str, float]
    cycles: int
    latency_s: float
    dram_bytes: float
    note: str = ""

    def times(self, count: int) -> OperatorCost:
        """Of so many runs."""
        return replace(
            self,
            operations=self.operations * count,
            energy=self.energy * count,
            energy_by_part={part: energy * count for part, energy in self.energy_by_part.items()},
            cycles=self.cycles * count,
            latency_s=self.latency_s * count,
            dram_bytes=self.dram_bytes * count,
        )

    @property
    def energy_pj(self) -> float | None:
        """Picojoule, or None where the energies are in normalised units."""
        return self.energy if self.energy_unit == "pJ" else None

    @property
    def energy_normalized(self) -> float | None:
        """Units of one 16-bit multiply-accumulate, or None where the energies are in picojoule."""
        return self.energy if self.energy_unit == "normalized" else None

    def row(self) -> dict[str, Any]:
        """The entry under `operators` in JSON."""
        return {
            "name": self.name,
            "type": self.type,
            "operations": self.operations,
            "energy_pj": self.energy_pj,
            "energy_normalized": self.energy_normalized,
            "cycles": self.cycles,
            "latency_s": self.latency_s,
            "dram_bytes": self.dram_bytes,
            "note": self.note,
        }


@dataclass(frozen=True)
class TensorStay:
    """A tensor between operations: where it is from the operation that writes it to the last one that reads it.

    Attributes:
        name: of the operation that writes it first.
        size_bytes: as it lies in the memory, in whole rows of it.
        first, last: places of these operations in the order of execution.
        memory: where it stays between them, or None: it goes through DRAM.
        written: the memory in which the first one writes it, from where it is moved, if that is another.
        reason: why it does not stay.
    """

    name: str
    size_bytes: int
    first: int
    last: int
    memory: str | None
    written: str | None = None
    reason: str = ""

    def place(self, operation: int) -> str | None:
        """The memory in which it is while an operation between its first and its last one runs."""
        return self.written if self.written and operation == self.first else self.memory


@dataclass(frozen=True)
class OperationTiles:
    """An operation in the order of execution, and what its own tiles take of each memory, in bytes.

    Of a tensor that stays and that the operation reads or writes, the tile is the tensor, and not in `tile_bytes`.
    """

    name: str
    tile_bytes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Occupancy:
    """The memories of a chip in the course of a network.

    Attributes:
        memories: size in bytes of each memory in which tensors can stay.
        operations: in order of execution.
        tensors: all tensors between operations, by the place of the one that writes them.
        proven: whether no other choice of what stays costs less, with the mappings that the search finds.
        dram_energy, dram_cycles: of the network with everything through DRAM.
        why: why there is no memory in which tensors can stay, if there is none.
        weights: that stay over all rounds of a batch.
    """

    memories: Mapping[str, int]
    operations: tuple[OperationTiles, ...]
    tensors: tuple[TensorStay, ...]
    proven: bool
    dram_energy: float
    dram_cycles: float
    why: str = ""
    weights: tuple[TensorStay, ...] = ()

    @property
    def stayed(self) -> tuple[TensorStay, ...]:
        """The tensors that stay on the chip."""
        return tuple(tensor for tensor in self.tensors if tensor.memory is not None)

    @property
    def spilled(self) -> tuple[TensorStay, ...]:
        """The tensors that go through DRAM."""
        return tuple(tensor for tensor in self.tensors if tensor.memory is None)

    def used_bytes(self, memory: str, place: int) -> int:
        """What an operation and the tensors that stay meanwhile take of a memory."""
        lying = (*self.stayed, *self.weights)
        held = sum(t.size_bytes for t in lying if t.first <= place <= t.last and t.place(place) == memory)
        return held + self.operations[place].tile_bytes.get(memory, 0)

    def to_dict(self) -> dict[str, Any]:
        """The object under `occupancy` in JSON."""
        return {
            "memories_bytes": dict(self.memories),
            "operations": [{"name": o.name, "tile_bytes": dict(o.tile_bytes)} for o in self.operations],
            "tensors": [asdict(tensor) for tensor in self.tensors],
            "weights": [asdict(tensor) for tensor in self.weights],
            "proven_optimal": self.proven,
        }


__all__ = ["Occupancy", "OperationTiles", "OperatorCost", "TensorStay"]
