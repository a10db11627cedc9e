"""`EnergyTable`: energy and area per action of every part of a chip, with its source.

Entries are what Accelergy calls an energy reference table (ERT) and an area reference table (ART). One entry of a memory pays
for one access of `width_bits`, not for one word.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from hwflow.errors import InputError
from hwflow.files import folder, read_yaml
from hwflow.hardware.accelerator import Accelerator, MacUnit, Memory
from hwflow.hardware.arithmetic import is_plain, relative_energy
from hwflow.hardware.dram_energies import derived_drams, dram_provenance
from hwflow.hardware.part_energy import PartEnergy
from hwflow.types import EnergyUnit

RAM_ROWS = 64
"""Register files of at least so many rows are costed as RAM: CACTI models arrays from this depth on."""


_DERIVED = "derived from"


@dataclass(frozen=True)
class EnergyTable:
    """Energies of all parts of one accelerator, by part name.

    `source` is what rows carry: "recorded", "fitted", "accelergy" or "normalized", with the estimators that answered.
    """

    unit: EnergyUnit
    source: str
    parts: Mapping[str, PartEnergy]
    provenance: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def content(self) -> dict[str, Any]:
        """Everything that can change a result, as plain data (for keys and for the store)."""
        return {"unit": self.unit, "parts": {name: asdict(part) for name, part in sorted(self.parts.items())}}


def part_key(part: Memory | MacUnit, accelerator: Accelerator) -> str:
    """What the energy of a part depends on, as text: two parts with the same key have the same energies."""
    process = f"technology={accelerator.technology_nm:g}nm cycle={accelerator.cycle_s:.6g}s"
    if isinstance(part, MacUnit):
        kind = "" if is_plain(part) else f"{part.arithmetic} by {part.energies} "
        return f"mac {kind}multiplier={part.multiplier_bits} adder={part.adder_bits} {process}"
    if part.kind == "dram":
        return f"dram type={part.dram_type} width={part.width_bits}"
    return f"{part.kind} depth={part.depth} width={part.width_bits} banks={part.banks} ports={part.ports} {process}"


def normalized(accelerator: Accelerator) -> EnergyTable:
    """Energies in units of one 16-bit multiply-accumulate: register file 1, global buffer 6, DRAM 200 per 16-bit word.

    Source: Y.-H. Chen, J. Emer, V. Sze, "Eyeriss: A Spatial Architecture for Energy-Efficient Dataflow for Convolutional
    Neural Networks", ISCA 2016, Table IV. Scaling with the width (linear for memories, with the product of the operand
    widths for the multiplier) is Timeloop's, from its built-in table (pat-public). The array network (2 in the same table) is
    not charged: Timeloop's networks cost nothing by default, and all levels follow Timeloop.
    """
    per_word = {"dram": 200.0, "sram": 6.0, "regfile": 1.0}
    parts: dict[str, PartEnergy] = {}
    for memory in accelerator.memories:
        access = per_word[memory.kind] * memory.width_bits / 16
        parts[memory.name] = PartEnergy(access, access, access, estimator="Eyeriss ISCA 2016 Table IV")
    mac = accelerator.mac
    parts[mac.name] = PartEnergy(compute=(mac.multiplier_bits / 16) ** 2, estimator="Eyeriss ISCA 2016 Table IV")
    if not is_plain(mac):
        parts[mac.name] = PartEnergy(compute=relative_energy(mac), estimator=f"{mac.energies}'s ratio to 16-bit integers")
    return EnergyTable("normalized", "normalized (Eyeriss ISCA 2016, Table IV; MAC = 1)", parts)


def recorded(accelerator: Accelerator) -> EnergyTable | None:
    """The shipped energies, recorded from Accelergy, or None where any part of the accelerator was never recorded."""
    parts: dict[str, PartEnergy] = {}
    for part in costed_parts(accelerator):
        found = recorded_part(part, accelerator)
        if found is None:
            return None
        parts[part.name] = found
    provenance = {**recorded_provenance(), **derived_provenance(accelerator)}
    return EnergyTable("pJ", f"recorded ({estimators_text(parts)})", parts, provenance)


def recorded_part(part: Memory | MacUnit, accelerator: Accelerator) -> PartEnergy | None:
    """What was recorded of one part, or derived of a DRAM that Accelergy does not know; or None.

    Entries are found by what a part *is* (`part_key`), not by its name: a variant that only changes the number of PEs or a
    bandwidth keeps recorded energies, and one that changes a memory's size does not.
    """
    return derived_part(part) or _library()[0].get(part_key(part, accelerator))


def derived_part(part: Memory | MacUnit) -> PartEnergy | None:
    """Energy of one access of a DRAM whose energy per bit is derived from currents, in pJ; None for all other parts."""
    memory = derived_drams().get(part.dram_type or "") if isinstance(part, Memory) else None
    if memory is None or not isinstance(part, Memory):
        return None
    read, write = (memory["pj_per_bit"][way] * part.width_bits for way in ("read", "write"))
    return PartEnergy(read, write, write, estimator=f"{part.dram_type} {_DERIVED} {memory['basis']}")


def derived_provenance(accelerator: Accelerator) -> dict[str, Any]:
    """Where the energies of the chip's DRAM are derived from, as an entry `dram`; nothing where they are Accelergy's."""
    kind = accelerator.dram.dram_type
    return {"dram": dram_provenance(kind)} if kind is not None and kind in derived_drams() else {}


def recorded_provenance() -> Mapping[str, Any]:
    """When, with what and by which command the shipped energies were recorded."""
    return _library()[1]


def unrecorded(accelerator: Accelerator) -> list[str]:
    """The parts of `accelerator` for which no energy was recorded, by name."""
    return [part.name for part in costed_parts(accelerator) if recorded_part(part, accelerator) is None]


def estimators_of(parts: Mapping[str, PartEnergy]) -> str:
    """The estimators that answered for any of the parts, each once, joined by "+"."""
    return "+".join(sorted({name for part in parts.values() for name in part.estimator.split("+")}))


def estimators_text(parts: Mapping[str, PartEnergy]) -> str:
    """Who answered, for a source: Accelergy's estimators, and the DRAM whose energies are not Accelergy's."""
    derived = {name: part for name, part in parts.items() if f" {_DERIVED} " in part.estimator}
    text = f"Accelergy: {estimators_of({name: part for name, part in parts.items() if name not in derived})}"
    return "; ".join([text, *(f"{name}: {part.estimator}" for name, part in derived.items())])


def chip_area_um2(accelerator: Accelerator, table: EnergyTable) -> float | None:
    """Area of all memories and MAC units on the chip, in square micrometres, or None where the area of one is unknown.

    The sum over parts of instances x area of one; DRAM is off the chip; wires, control and pads are in no table.
    """
    instances = {level.name: level.instances for level in accelerator.levels if level.memory is not None}
    instances[accelerator.mac.name] = accelerator.mac_units
    areas = [(table.parts[p.name].area_um2, instances[p.name]) for p in costed_parts(accelerator) if p is not accelerator.dram]
    return None if any(one is None for one, _ in areas) else sum(one * count for one, count in areas if one is not None)


def costed_parts(accelerator: Accelerator) -> tuple[Memory | MacUnit, ...]:
    """What has energies: memories, outermost first, and the MAC unit."""
    return (*accelerator.memories, accelerator.mac)


@functools.cache
def _library() -> tuple[dict[str, PartEnergy], Mapping[str, Any]]:
    path = folder("arch_templates") / "energy" / "recorded.yaml"
    content = read_yaml(path, "recorded energies")
    try:
        return {key: PartEnergy(**entry) for key, entry in content["parts"].items()}, dict(content["provenance"])
    except (TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path} is no table of recorded energies: {error}.") from error


__all__ = [
    "RAM_ROWS",
    "EnergyTable",
    "PartEnergy",
    "chip_area_um2",
    "costed_parts",
    "estimators_of",
    "normalized",
    "part_key",
    "recorded",
    "recorded_part",
    "recorded_provenance",
    "unrecorded",
]
