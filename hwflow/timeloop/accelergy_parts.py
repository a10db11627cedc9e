"""A part of a chip as Accelergy is asked for it: class, attributes and actions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from hwflow.files import folder, read_text
from hwflow.hardware.arithmetic import REFERENCE, is_plain
from hwflow.hardware.components import MacUnit, Memory
from hwflow.hardware.energy_table import RAM_ROWS
from hwflow.timeloop.templates import fill

STORAGE = ("read", "write", "update", "leak")
COMPUTE = ("compute", "leak")


def accelergy_files(
    entries: Sequence[Mapping[str, Any]], technology_nm: float, cycle_s: float, components: str | None = None
) -> dict[str, str]:
    """Accelergy's input; `components` are the classes as YAML, by default hwflow's own."""
    process = {"technology_nm": f"{technology_nm:g}", "cycle_s": cycle_s}
    if components is None:
        components = read_text(folder("arch_templates") / "timeloop" / "components.yaml", "components")
    return {"accelergy.yaml": fill("accelergy.yaml.j2", {**process, "parts": entries}), "components.yaml": components}


def entry_of(part: Memory | MacUnit) -> dict[str, Any]:
    """A part of hwflow's description; the classes are those of components.yaml, DRAM is a primitive.

    Of arithmetic that Accelergy has no class for it is asked what that is priced against.
    """
    asked = REFERENCE if isinstance(part, MacUnit) and not is_plain(part) else part
    return {"name": part.name, **_component(asked)}


def _component(part: Memory | MacUnit) -> dict[str, Any]:
    if isinstance(part, MacUnit):
        attributes: dict[str, Any] = {"multiplier_bits": part.multiplier_bits, "adder_bits": part.adder_bits}
        return {"class": "hwflow_mac", "attributes": attributes, "actions": COMPUTE}
    if part.kind == "dram":
        return {"class": "DRAM", "attributes": {"type": part.dram_type, "width": part.width_bits}, "actions": STORAGE}
    rows = part.depth
    assert rows is not None
    attributes = {"row_bits": part.width_bits}
    if part.kind == "regfile" and rows == 1:
        return {"class": "hwflow_register", "attributes": attributes, "actions": STORAGE}
    attributes |= {"rows": rows, "address_bits": max(1, math.ceil(math.log2(rows)))}
    if part.kind == "regfile" and rows < RAM_ROWS:
        return {"class": "hwflow_registers", "attributes": attributes, "actions": STORAGE}
    attributes |= {"banks": part.banks, "ports": part.ports}
    return {"class": "hwflow_sram", "attributes": attributes, "actions": STORAGE}
