"""A chip's side of Timeloop's and Accelergy's input: rendered from hwflow's description, or as a user's files have it.

`architecture_of` is the only place that asks which of the two a chip is.
"""

from __future__ import annotations

from collections.abc import Mapping as MappingABC
from collections.abc import Sequence
from functools import singledispatch
from typing import Any, Protocol

from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.components import Memory
from hwflow.hardware.energy_table import EnergyTable, costed_parts
from hwflow.hardware.storage_level import Level, LevelConstraint
from hwflow.hardware.timeloop_accelerator import TimeloopAccelerator
from hwflow.layers import DIMS, TENSORS, Dim, Layer
from hwflow.mapping import TIMELOOP_TENSORS, Mapping
from hwflow.timeloop import permutations
from hwflow.timeloop.accelergy_parts import accelergy_files, entry_of
from hwflow.timeloop.importer.written_architecture import WrittenArchitecture
from hwflow.timeloop.sparse_optimizations import index_attributes
from hwflow.timeloop.templates import fill

_CLASSES = {"dram": "DRAM", "sram": "SRAM", "regfile": "regfile"}
_NAMED: tuple[Dim, ...] = ("C", "M", "R", "S", "N", "P", "Q", "G")


class Architecture(Protocol):
    """What Timeloop and Accelergy are told of a chip, and what their answers mean for it."""

    @property
    def text(self) -> str:
        """The architecture as YAML."""

    @property
    def extra(self) -> MappingABC[str, str]:
        """Further input of Timeloop, by file."""

    @property
    def places(self) -> list[permutations.Place]:
        """The storage levels that Timeloop sees, outermost first."""

    def targets(self, constraints: Sequence[LevelConstraint], layer: Layer) -> list[dict[str, Any]]:
        """The constraints for timeloop-mapper, of few enough loop orders for it."""

    def energies(self, table: EnergyTable) -> list[dict[str, Any]]:
        """One entry a component, levels that store nothing included: for a missing one Timeloop takes numbers of its own."""

    def directives(self, mapping: Mapping) -> list[dict[str, Any]]:
        """A mapping in Timeloop's words."""

    def mapping(self, entries: list[dict[str, Any]]) -> Mapping:
        """The mapping that Timeloop's words say."""

    def accelergy_files(self) -> dict[str, str]:
        """Accelergy's input, one instance of each part."""

    def undefined(self) -> str:
        """A sentence about classes that nothing defines, for where Accelergy fails; or nothing."""


class RenderedArchitecture:
    """The `Architecture` of a chip that hwflow describes."""

    extra: MappingABC[str, str] = {}

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator

    @property
    def text(self) -> str:
        """The template, filled in."""
        accelerator = self._accelerator
        mac = accelerator.mac
        x, y = self._mac_mesh
        unit = {
            "component": _component(mac.name, x * y),
            "class": "intmac",
            "attributes": {"datawidth": mac.multiplier_bits, "meshX": x, "meshY": y},
        }
        levels = [*(self._level(level) for level in accelerator.levels), unit]
        content = {"technology_nm": accelerator.technology_nm, "cycle_s": accelerator.cycle_s, "levels": levels}
        return fill("architecture.yaml.j2", content)

    @property
    def places(self) -> list[permutations.Place]:
        """The chip's levels."""
        axes = {"X": (1, 0), "Y": (0, 1), None: (0, 0)}
        return [
            permutations.Place(level.name, (max(level.fanout * x, 1), max(level.fanout * y, 1)))
            for level in self._accelerator.levels
            for x, y in [axes[level.axis]]
        ]

    def targets(self, constraints: Sequence[LevelConstraint], layer: Layer) -> list[dict[str, Any]]:
        """What the dataflow allows; orders that cannot matter are fixed only where they are too many."""
        found = targets_of(constraints)
        if permutations.size(found, layer, self.places) >= permutations.LARGEST:
            return permutations.fixed(found, layer, self.places)
        return found

    def energies(self, table: EnergyTable) -> list[dict[str, Any]]:
        """Levels that store nothing cost nothing."""
        entries = []
        for level in self._accelerator.levels:
            actions, area = dict.fromkeys(("read", "write", "update", "leak"), 0.0), 0.0
            if level.memory is not None:
                part = table.parts[level.name]
                actions = {"read": part.read, "write": part.write, "update": part.update, "leak": part.leak}
                area = part.area_um2 or 0.0
                if "metadata_storage_width" in index_attributes(self._accelerator, level.memory):
                    actions |= {f"metadata_{name}": actions[name] for name in ("read", "write", "update")}
            entries.append({"component": _component(level.name, level.instances), "actions": actions, "area": area})
        x, y = self._mac_mesh
        mac = table.parts[self._accelerator.mac.name]
        entries.append(
            {
                "component": _component(self._accelerator.mac.name, x * y),
                "actions": {"compute": mac.compute, "leak": mac.leak},
                "area": mac.area_um2 or 0.0,
            }
        )
        return entries

    def directives(self, mapping: Mapping) -> list[dict[str, Any]]:
        """Without the spatial directives of fan-outs of 1, for which Timeloop knows no spatial level."""
        spread = {level.name for level in self._accelerator.levels if level.fanout > 1}
        return [d for d in mapping.directives() if d["type"] != "spatial" or d["target"] in spread]

    def mapping(self, entries: list[dict[str, Any]]) -> Mapping:
        """Levels have the same names on both sides."""
        return Mapping.from_directives(entries, self._accelerator)

    def accelergy_files(self) -> dict[str, str]:
        """Of hwflow's own components."""
        accelerator = self._accelerator
        entries = [entry_of(part) for part in costed_parts(accelerator)]
        return accelergy_files(entries, accelerator.technology_nm, accelerator.cycle_s)

    def undefined(self) -> str:
        """Nothing: components.yaml defines all of them."""
        return ""

    def _level(self, level: Level) -> dict[str, Any]:
        mesh = {"meshX": level.mesh_x, "meshY": level.mesh_y}
        name = _component(level.name, level.instances)
        if level.memory is None:
            attributes: dict[str, Any] = {"depth": 1, "width": 1, "datawidth": 1, "block_size": 1}
            return {"component": name, "class": "dummy_storage", "attributes": attributes | mesh}
        memory = level.memory
        attributes = {
            "width": memory.width_bits,
            "datawidth": memory.word_bits,
            "block_size": memory.block_words,
            "n_banks": memory.banks,
            "n_ports": memory.ports,
        }
        if memory.depth is not None:
            attributes = {"depth": memory.depth} | attributes | {"multiple_buffering": memory.buffering}
        attributes |= self._bandwidths(memory) | index_attributes(self._accelerator, memory)
        edges = {name: getattr(memory, name) for name in ("network_fill_latency", "network_drain_latency")}
        attributes |= {name: cycles for name, cycles in edges.items() if cycles}
        return {"component": name, "class": _CLASSES[memory.kind], "attributes": attributes | mesh}

    def _bandwidths(self, memory: Memory) -> dict[str, float]:
        """Words per cycle and instance; what is not given is no bound."""
        words = {
            "read_bandwidth": memory.read_words_per_cycle,
            "write_bandwidth": memory.write_words_per_cycle,
            "shared_bandwidth": self._accelerator.words_per_cycle(memory),
        }
        return {name: value for name, value in words.items() if value is not None}

    @property
    def _mac_mesh(self) -> tuple[int, int]:
        """Columns and rows of all MAC units together."""
        last = self._accelerator.levels[-1]
        x = last.mesh_x * (last.fanout if last.axis == "X" else 1)
        y = last.mesh_y * (last.fanout if last.axis == "Y" else 1)
        return x, y


@singledispatch
def architecture_of(accelerator: Accelerator) -> Architecture:
    """The chip as Timeloop and Accelergy see it."""
    return RenderedArchitecture(accelerator)


@architecture_of.register
def _(accelerator: TimeloopAccelerator) -> Architecture:
    return WrittenArchitecture(accelerator)


def targets_of(constraints: Sequence[LevelConstraint]) -> list[dict[str, Any]]:
    """The constraints of a dataflow on the levels of hwflow's, in Timeloop's words."""
    targets: list[dict[str, Any]] = []
    for rule in constraints:
        kept, free = (rule.level.memory.keeps, rule.level.memory.may_bypass) if rule.level.memory else ((), ())
        keep = [TIMELOOP_TENSORS[t] for t in TENSORS if t in kept and t not in free]  # Timeloop searches what it is not told
        bypass = [TIMELOOP_TENSORS[t] for t in TENSORS if t not in kept]
        targets.append({"target": rule.level.name, "type": "bypass", "keep": keep, "bypass": bypass})
    for rule in constraints:
        temporal: dict[str, Any] = {"target": rule.level.name, "type": "temporal", **_ones(rule.temporal)}
        if rule.innermost:
            temporal["permutation"] = "".join(rule.innermost)
        if len(temporal) > 2:
            targets.append(temporal)
        if rule.level.fanout > 1:
            split = len(DIMS) if rule.level.axis == "X" else 0
            targets.append({"target": rule.level.name, "type": "spatial", **_ones(rule.spatial), "split": split})
    return targets


def _ones(allowed: tuple[Dim, ...]) -> dict[str, str]:
    fixed = " ".join(f"{d}=1" for d in _NAMED if d not in allowed)
    return {"factors": fixed} if fixed else {}


def _component(name: str, instances: int) -> str:
    return name if instances == 1 else f"{name}[1..{instances}]"
