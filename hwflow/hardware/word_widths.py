"""Word widths of a chip's parts for tensors of other widths than it was described for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hwflow.layers import TENSORS, Bits

_WIDEST = 64
"""Bits: words of more are no values of a layer's."""


def set_word_widths(hierarchy: Sequence[dict[str, Any]], bits: Bits) -> dict[str, int]:
    """Change the words of plain parts, outermost first; sizes in bytes stay as they are.

    A memory for outputs alone holds sums, so its word never becomes narrower (see `hwflow.hardware.stored_bits`).

    Returns:
        The fields of memories that some words do not fill, each with the width asked for; nothing where all of them fit.
    """
    width = dict(zip(TENSORS, bits, strict=True))
    misfits: dict[str, int] = {}
    for part in hierarchy:
        if part["kind"] == "mac":
            shifts = part.get("arithmetic", "int") in ("shift1", "shift2")  # weights are codes, which say by how much
            part["multiplier_bits"] = bits.inputs if shifts else max(bits.weights, bits.inputs)
            part["adder_bits"] = max(part["adder_bits"], bits.outputs) if bits.outputs else part["adder_bits"]
        elif part["kind"] != "fanout":
            old, row = part["word_bits"], part["width_bits"]
            asked = {width[t] for t in part["keeps"]}
            if set(part["keeps"]) == {"outputs"}:
                asked = {max(old, bits.outputs)}
            wrong = [n for n in sorted(asked, reverse=True) if row % n]
            if wrong:
                misfits[f"{part['name']}.width_bits (={row})"] = wrong[0]
                continue
            part["word_bits"] = new = max(asked)
            if "size_words" in part:
                total = part["size_words"] * old
                part["size_words"] = total // row * (row // new)
            for field in ("read_words_per_cycle", "write_words_per_cycle"):
                if field in part:
                    part[field] *= old / new
    return misfits


def misfit_text(misfits: Mapping[str, int], common: int) -> str:
    """Why words do not fill the accesses of memories, given by their fields, and what would; `common` is the greatest common
    divisor of the chip's access widths."""
    asked = sorted(set(misfits.values()))
    fitting = [str(n) for n in range(1, common + 1) if common % n == 0 and n <= _WIDEST]
    words = " and ".join(map(str, asked))
    return (
        f"words of {words} bits do not fill {', '.join(misfits)}, for an access moves whole words. Ask for "
        f"{', '.join(fitting)} bits (--bits, or bits of the layer), in which narrower values can be stored; or make each "
        f"of these fields, and its memory's size, a multiple of {words} and of its word_bits."
    )
