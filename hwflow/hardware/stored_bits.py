"""Widths of a layer's elements in the memories of a chip.

A memory has one word, the widest element that it keeps. Elements of narrower tensors are packed: those of one tensor lie side
by side in rows of `width_bits`, so room, accesses and bandwidth are taken in proportion to the bits.

Where a layer asks for widths, sums of its products are kept whole, up to 32 bits, wherever they are stored before they are
complete; a complete output leaves the accumulators at the width of outputs. Accumulators, the memories for outputs alone, are
built for it as the multiplier is: as many words as described and as many a cycle, each as wide as the sums, at energies that
grow in proportion (`widened`). A layer that asks for none takes the chip as it is described, whose accumulators may round
(those of Eyeriss do).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.components import Memory
from hwflow.hardware.energy_table import EnergyTable
from hwflow.layers import TENSORS, Bits, Layer, Tensor

WIDEST_SUM = 32
"""Bits: accumulators of more are not built for integers of up to 16 bits."""

Widths = tuple[int, int, int]
"""Bits of an element of each tensor, in the order of `TENSORS`."""

Amount = TypeVar("Amount")
"""A number or an array of them."""


class StoredBits(NamedTuple):
    """Bits that one element takes in a memory, by tensor.

    Attributes:
        own: of a complete element.
        sums: of one that is still a partial sum, which only outputs are. That is also the room set aside for an element, since
            outputs grow in place.
    """

    own: Widths
    sums: Widths


def stored_bits(memory: Memory, layer: Layer) -> StoredBits:
    """The widths in one memory of the chip that serves a layer (`Accelerator.serving`); in an accumulator all are its words."""
    word, bits = memory.word_bits, layer.bits
    if bits is None or accumulates(memory):
        return StoredBits((word, word, word), (word, word, word))
    sums = max(bits.outputs, sum_bits(layer, bits))
    operands = bits.weights, bits.inputs
    return StoredBits((*operands, bits.outputs), (*operands, sums))


def accumulates(memory: Memory) -> bool:
    """Whether a memory is for outputs alone."""
    return memory.keeps == ("outputs",)


def widened(table: EnergyTable, accelerator: Accelerator, layer: Layer) -> EnergyTable:
    """The energies and areas with accumulators as wide as the layer's sums, or as their own words where these are wider.

    That they grow with the bits is ours: for registers the fitted models say so, too; for RAMs, which only grow from sums of 24
    bits or more, it is a little too much.
    """
    if layer.bits is None:
        return table
    sums, parts = sum_bits(layer, layer.bits), dict(table.parts)
    for memory in accelerator.memories:
        if accumulates(memory) and sums > memory.word_bits:
            factor, part = sums / memory.word_bits, parts[memory.name]
            parts[memory.name] = replace(
                part,
                **{action: getattr(part, action) * factor for action in ("read", "write", "update", "leak")},
                area_um2=None if part.area_um2 is None else part.area_um2 * factor,
            )
    return replace(table, parts=parts)


def packed(memory: Memory, stored: StoredBits) -> bool:
    """Whether an element of a tensor that a memory keeps is narrower or wider than the memory's word."""
    kept = [TENSORS.index(t) for t in memory.keeps]
    return any(widths[t] != memory.word_bits for widths in stored for t in kept)


def packs(accelerator: Accelerator, layer: Layer) -> bool:
    """Whether that is so in any memory of the chip that serves a layer."""
    return any(packed(memory, stored_bits(memory, layer)) for memory in accelerator.memories)


def moved_bits(own: Any, sums: Any, reads: Amount, fills: Amount, updates: Amount) -> tuple[Amount, Amount, Amount]:
    """The bits that reads, fills and updates move, given in elements; numbers, or arrays that go together.

    An output that is read or filled is a partial sum. So is every update that is read again later, and only the last one of an
    element is complete: there are as many of the others as reads. (Elements of other tensors are as wide either way.)
    """
    counts: Any = (reads, fills, updates)
    read, filled, updated = counts
    again = (read + updated - abs(read - updated)) / 2  # the lesser of the two, of numbers and arrays alike
    return read * sums, filled * sums, updated * own + again * (sums - own)


def moved_bytes(memory: Memory, layer: Layer, accesses: Mapping[Tensor, Mapping[str, float]]) -> float:
    """Bytes that cross the ports of a memory, from the counts of elements that results have (`LayerCost.accesses`)."""
    stored = stored_bits(memory, layer)
    moved = [
        moved_bits(stored.own[t], stored.sums[t], **accesses[tensor]) for t, tensor in enumerate(TENSORS) if tensor in accesses
    ]
    return sum(sum(bits) for bits in moved) / 8


def accesses(memory: Memory, layer: Layer, tensor: Tensor, counts: Mapping[str, float]) -> tuple[int, int, int]:
    """Whole accesses of an instance that read, fill and update a tensor's elements; `counts` are by these names."""
    stored, t = stored_bits(memory, layer), TENSORS.index(tensor)
    reads, fills, updates = moved_bits(stored.own[t], stored.sums[t], **counts)
    return math.ceil(reads / memory.width_bits), math.ceil(fills / memory.width_bits), math.ceil(updates / memory.width_bits)


def sum_bits(layer: Layer, bits: Bits) -> int:
    """Bits that hold any sum of C R S products of the layer's operands, at most 32; of a single product the output's own.

    A product of a and b bits has a + b, and n of them add up to ceil(log2 n) more.
    """
    products = layer.C * layer.R * layer.S
    if products == 1:
        return bits.outputs
    return min(WIDEST_SUM, bits.weights + bits.inputs + math.ceil(math.log2(products)))


def accelerator_for_timeloop(accelerator: Accelerator, layer: Layer, *, judging: bool) -> Accelerator:
    """The chip with memories of as many words as Timeloop may take where elements are no words; its energies are given apart.

    Args:
        judging: whether a mapping that is known to fit is to be judged: then every element may take a word. Otherwise a mapping
            is to be found, and must fit if every element is as wide as the widest.
    """
    changes: dict[str, int] = {}
    for memory in accelerator.memories:
        stored = stored_bits(memory, layer)
        if memory.depth is None or not packed(memory, stored):
            continue
        widths = [stored.sums[TENSORS.index(t)] for t in memory.keeps]
        rows = memory.depth * memory.word_bits / (min(widths) if judging else max(widths))
        rows = math.ceil(rows) if judging else max(1, math.floor(rows))
        changes[f"{memory.name}.size_words"] = rows * memory.block_words
    return accelerator.with_(changes) if changes else accelerator
