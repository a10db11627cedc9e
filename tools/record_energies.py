"""`python -m tools.record_energies`: ask Accelergy for every part of every preset; writes
`arch_templates/energy/recorded.yaml`.

What is recorded is found again by what a part *is* (`hwflow.hardware.energy_table.part_key`), so variants that share parts
share energies.
"""

from __future__ import annotations

import argparse
import datetime
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from hwflow.errors import HwflowError, InputError
from hwflow.files import folder, write_text
from hwflow.hardware.accelerator import Accelerator, MacUnit, Memory, presets
from hwflow.hardware.energy_table import PartEnergy, part_key
from hwflow.layers import Bits
from hwflow.timeloop.accelergy import characterise
from hwflow.timeloop.engine import Engine, Native, plugin_versions

COMMAND = "python -m tools.record_energies"


def record(engine: Engine) -> dict[str, PartEnergy]:
    """Energies, in pJ an action, and areas of all parts of all presets, and of their variants with 8-bit words, by part key.

    Raises:
        ToolMissing, ToolError: as `characterise`.
    """
    found: dict[str, PartEnergy] = {}
    for accelerator in _chips():
        parts: tuple[Memory | MacUnit, ...] = (*accelerator.memories, accelerator.mac)
        if all(part_key(part, accelerator) in found for part in parts):
            continue
        table = characterise(accelerator, engine)
        found.update({part_key(part, accelerator): table.parts[part.name] for part in parts})
    return found


def document(parts: dict[str, PartEnergy], provenance: dict[str, Any]) -> str:
    """The text of recorded.yaml."""
    entries = {key: _fields(part) for key, part in sorted(parts.items())}
    head = (
        f"# Recorded from Accelergy by `{COMMAND}`; energies in pJ an action on one vector of `width` bits, leakage in\n"
        "# pJ a cycle, areas in square micrometres of one instance. Do not edit: record again.\n"
    )
    text = yaml.safe_dump({"provenance": provenance, "parts": entries}, sort_keys=False, width=200)
    return head + text


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=folder("arch_templates") / "energy" / "recorded.yaml")
    parser.add_argument("--note", default="", help="a remark for the provenance, such as the commits the tools were built from")
    options = parser.parse_args(arguments)
    try:
        engine = Native()
        parts = record(engine)
        provenance = {
            "tool": "Accelergy",
            "versions": plugin_versions(),
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "estimators": sorted({name for part in parts.values() for name in part.estimator.split("+")}),
            "command": COMMAND,
        }
        if options.note:
            provenance["note"] = options.note
        write_text(options.output, document(parts, provenance))
    except HwflowError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(f"{len(parts)} parts recorded in {options.output}")
    return 0


def _chips() -> list[Accelerator]:
    chips = []
    for name in presets():
        accelerator = Accelerator.load(name)
        chips.append(accelerator)
        try:
            chips.append(accelerator.with_bits(Bits(8, 8, 8)))
        except InputError:
            continue  # A word of 8 bit does not divide some width: the variant does not exist.
    return chips


def _fields(part: PartEnergy) -> dict[str, Any]:
    return {name: value for name, value in asdict(part).items() if value != 0.0 or name == "area_um2"}


if __name__ == "__main__":
    raise SystemExit(main())
