"""`EnergyTable`: energy and area per action of every part of a chip, with its source.

Entries are what Accelergy calls an energy reference table (ERT) and an area reference table (ART). One entry of a memory pays
for one access of `width_bits`, not for one word.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from hwflow.accelerator import Accelerator, MacUnit, Memory
from hwflow.data import folder, read_yaml
from hwflow.errors import InputError

Unit = Literal["pJ", "normalized"]


@dataclass(frozen=True)
class PartEnergy:
    """Energy per action of one instance, in the table's unit; `leak` is per cycle. A MAC unit has `compute` only.

    `estimator` names what answered; `area_um2` is the area of one instance, or None where nothing is known of it.
    """

    read: float = 0.0
    write: float = 0.0
    update: float = 0.0
    compute: float = 0.0
    leak: float = 0.0
    area_um2: float | None = None
    estimator: str = ""


@dataclass(frozen=True)
class EnergyTable:
    """Energies of all parts of one accelerator, by part name.

    `source` is what rows carry: "recorded", "accelergy" or "normalized", with the estimators that answered.
    """

    unit: Unit
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
        return f"mac multiplier={part.multiplier_bits} adder={part.adder_bits} {process}"
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
    return EnergyTable("normalized", "normalized (Eyeriss ISCA 2016, Table IV; MAC = 1)", parts)


def recorded(accelerator: Accelerator) -> EnergyTable | None:
    """The shipped energies, recorded from Accelergy, or None where any part of the accelerator was never recorded.

    Entries are found by what a part *is* (`part_key`), not by its name: a variant that only changes the number of PEs or a
    bandwidth keeps recorded energies, and one that changes a memory's size does not.
    """
    library, provenance = _library()
    parts: dict[str, PartEnergy] = {}
    for part in _parts(accelerator):
        found = library.get(part_key(part, accelerator))
        if found is None:
            return None
        parts[part.name] = found
    estimators = "+".join(sorted({name for p in parts.values() for name in p.estimator.split("+")}))
    return EnergyTable("pJ", f"recorded (Accelergy: {estimators})", parts, provenance)


def unrecorded(accelerator: Accelerator) -> list[str]:
    """The parts of `accelerator` for which no energy was recorded, by name."""
    library, _ = _library()
    return [p.name for p in _parts(accelerator) if part_key(p, accelerator) not in library]


def _parts(accelerator: Accelerator) -> tuple[Memory | MacUnit, ...]:
    return (*accelerator.memories, accelerator.mac)


@functools.cache
def _library() -> tuple[dict[str, PartEnergy], Mapping[str, Any]]:
    path = folder("arch_templates") / "energies.yaml"
    content = read_yaml(path, "recorded energies")
    try:
        return {key: PartEnergy(**entry) for key, entry in content["parts"].items()}, dict(content["provenance"])
    except (TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path} is no table of recorded energies: {error}.") from error
