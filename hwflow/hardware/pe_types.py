"""Types of processing elements: an arithmetic, the widths of its operands, and registers that follow them.

QUIDAM (Inci et al., "QUIDAM: A Framework for Quantization-Aware DNN Accelerator and Model Co-Exploration", arXiv:2206.15463)
compares such types; the widths of LightPEs, int8 and xnor are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator

from hwflow.errors import not_found


@dataclass(frozen=True)
class PeType:
    """One type.

    Attributes:
        arithmetic: as of `MacUnit`.
        weights, activations: bits of the operands, at which layers run that state no widths.
        adder: bits of the adder; `sums`: of an accumulator.
    """

    description: str
    arithmetic: str
    weights: int
    activations: int
    adder: int
    sums: int


_NARROWEST = 4
"""Bits of a row: the energies of narrower RAMs are not known."""

PE_TYPES = {
    "fp32": PeType("single-precision multiplier and adder", "fp", 32, 32, 32, 32),
    "int16": PeType("16-bit multiplier, 32-bit sums", "int", 16, 16, 32, 32),
    "int8": PeType("8-bit multiplier, 24-bit sums", "int", 8, 8, 24, 24),
    "lightpe1": PeType("weights of one power of two (4 bits), a shift; 24-bit sums", "shift1", 4, 8, 24, 24),
    "lightpe2": PeType(
        "weights of two powers of two (8 bits), two shifts and an addition; 24-bit sums", "shift2", 8, 8, 24, 24
    ),
    "xnor": PeType("weights and activations of one bit, XNOR and popcount; 16-bit sums", "xnor", 1, 1, 32, 16),
}
"""By name, the dearest arithmetic first."""


def pe_type(name: str) -> PeType:
    """The type of a name.

    Raises:
        InputError: naming those that there are.
    """
    if name not in PE_TYPES:
        raise not_found("PE type", name, PE_TYPES)
    return PE_TYPES[name]


def _known(name: str) -> str:
    if name not in PE_TYPES:
        raise ValueError(str(not_found("PE type", name, PE_TYPES)).rstrip("."))
    return name


PeTypeName = Annotated[str, AfterValidator(_known)]
"""A name of `PE_TYPES`, as a field."""


def set_pe_type(hierarchy: Sequence[dict[str, Any]], name: str) -> None:
    """Give plain parts a type's arithmetic and words, outermost first.

    Register files and memories for outputs alone keep the number of their words and of words an access; they become as wide as
    these need, but for rows of 4 bits at least, which then hold several words. Other memories keep their bytes, and have words
    of the widest tensor that they keep.
    """
    kind = pe_type(name)
    width = {"weights": kind.weights, "inputs": kind.activations, "outputs": kind.activations}
    for part in hierarchy:
        if part["kind"] == "mac":
            part |= {"arithmetic": kind.arithmetic, "multiplier_bits": kind.activations, "adder_bits": kind.adder}
        elif part["kind"] != "fanout":
            old, sums = part["word_bits"], set(part["keeps"]) == {"outputs"}
            new = kind.sums if sums else max(width[t] for t in part["keeps"])
            if part["kind"] == "regfile" or sums:
                part["width_bits"] = row = max(part["width_bits"] // old * new, _NARROWEST)
                words = part["size_words"] if "size_words" in part else int(part.pop("size_kib") * 8192) // old
                part["size_words"] = -(-words * new // row) * (row // new)
            else:
                if part["width_bits"] % new:
                    part["width_bits"] = part["width_bits"] // old * new
                if "size_words" in part:
                    part["size_words"] = part["size_words"] * old // part["width_bits"] * (part["width_bits"] // new)
                for field in ("read_words_per_cycle", "write_words_per_cycle"):
                    if field in part:
                        part[field] *= old / new
            part["word_bits"] = new
