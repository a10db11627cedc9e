"""The model that applies to a part of a chip, its variables, and the range in which it is valid.

A model's variables are logarithms (base 2) of sizes. Some of them bend where Accelergy's do: CACTI models rows of 32 bits or
more, banks of 64 rows or more and powers of two of banks, and its plug-in extrapolates below these; so a size counts in two
variables there, above the bend and below it. The positions of the bends follow from Accelergy's plug-ins; modelling them this
way is hwflow's own choice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from hwflow.hardware.components import MacUnit, Memory
from hwflow.hardware.energy_table import RAM_ROWS

_RAM_BITS = 32
_BANK_ROWS = 64


@dataclass(frozen=True)
class Component:
    """One part as its model sees it.

    Attributes:
        model: the name of the model that answers for it.
        variables: by name, logarithms of sizes.
        sizes: what must lie within the model's range, by what a user calls it.
    """

    model: str
    variables: dict[str, float]
    sizes: dict[str, float]


def component(part: Memory | MacUnit) -> Component:
    """What a part is to the models."""
    if isinstance(part, MacUnit):
        sizes: dict[str, float] = {"multiplier_bits": part.multiplier_bits, "adder_bits": part.adder_bits}
        square = part.multiplier_bits**2
        variables = {"multiplier": math.log2(square), "adder beside multiplier": math.log2(1 + part.adder_bits / square)}
        return Component("mac", variables, sizes)
    width = part.width_bits
    if part.kind == "dram":
        return Component(f"dram {part.dram_type}", _logs({"width_bits": width}), {"width_bits": width})
    rows = part.depth
    assert rows is not None
    if part.kind == "regfile" and rows == 1:
        return Component("register", _logs({"width_bits": width}), {"width_bits": width})
    if part.kind == "regfile" and rows < RAM_ROWS:
        address = math.ceil(math.log2(rows))
        variables = {
            "width_bits": math.log2(width),
            "rows": math.log2(rows),
            "compared beside read": math.log2(1 + rows * address / width),
            "address beside width": math.log2(1 + address / width),
        }
        return Component("registers", variables, {"width_bits": width})
    return _ram(rows, width, part.banks, part.ports)


def _ram(rows: int, width: int, banks: int, ports: int) -> Component:
    modelled_width, modelled_rows = max(width, _RAM_BITS), max(rows, _BANK_ROWS * banks)
    modelled_banks = 2 ** math.ceil(math.log2(banks))
    variables = {
        "width": math.log2(modelled_width / _RAM_BITS),
        "width below 32": math.log2(width / modelled_width),
        "rows": math.log2(modelled_rows / _BANK_ROWS),
        "rows below 64 a bank": math.log2(rows / modelled_rows),
        "banks": math.log2(modelled_banks),
        "banks below a power of two": math.log2(banks / modelled_banks),
        "ports": math.log2(ports),
    }
    sizes = {
        "width_bits": width,
        "banks": banks,
        "size_kib": rows * width / 8192,
        "number of rows (size / width_bits)": rows,
        "number of rows a bank": rows / banks,
    }
    return Component("ram", variables, sizes)


def _logs(sizes: dict[str, float]) -> dict[str, float]:
    return {name: math.log2(size) for name, size in sizes.items()}
