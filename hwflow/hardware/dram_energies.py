"""Energies of DRAMs that Accelergy's CACTI plug-in does not know, derived from currents of data sheets and measurements.

The currents, their sources and the derived energies per bit are in `arch_templates/energy/dram.yaml`; the formulas are in
`tools/dram_energies.py`, which writes that file.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from hwflow.errors import InputError
from hwflow.files import folder, read_yaml

DERIVED_DRAMS = ("DDR4", "DDR5", "LPDDR5", "LPDDR5X", "GDDR6", "HBM3")
"""The types in that file, which is read for these only."""


@functools.cache
def derived_drams() -> Mapping[str, Mapping[str, Any]]:
    """What is known of each derived DRAM, by its type; the fields are described in the file itself.

    Raises:
        InputError: the file is no table of DRAMs.
    """
    path = folder("arch_templates") / "energy" / "dram.yaml"
    content = read_yaml(path, "energies of DRAMs")
    try:
        return {kind: dict(memory) for kind, memory in content["memories"].items()}
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise InputError(f"{path} is no table of DRAM energies: {error}.") from error


def dram_provenance(kind: str) -> dict[str, Any]:
    """What a result's provenance holds of a derived DRAM: part, what is included, sources, and pJ per bit."""
    memory = derived_drams()[kind]
    fields = ("part", "basis", "includes", "note", "sources", "pj_per_bit")
    return {"type": kind, **{field: memory[field] for field in fields if field in memory}}
