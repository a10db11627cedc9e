"""Capacities, bandwidths and access energies of an accelerator's memories, as arrays over its levels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hwflow.arrays import Floats, Ints
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.energy_table import EnergyTable
from hwflow.hardware.stored_bits import moved_bits, packed, stored_bits
from hwflow.layers import TENSORS, Layer

Column = Floats
"""One number for each level, from the innermost outwards, [level, 1]."""


@dataclass(frozen=True)
class Widths:
    """Bits of a layer's elements in each memory, [level, tensor, 1]; see `hwflow.hardware.stored_bits.StoredBits`.

    Attributes:
        word, row: bits of a memory's word and of an access, [level, 1, 1].
        packed: whether any element is no word.
    """

    own: Ints
    sums: Ints
    word: Ints
    row: Ints
    packed: bool

    @classmethod
    def of(cls, accelerator: Accelerator, layer: Layer) -> Widths:
        """Those of a layer in the memories of the chip that serves it."""
        rows, some = [], False
        for level in reversed(accelerator.levels):
            memory = level.memory
            if memory is None:
                rows.append([1] * (2 * len(TENSORS) + 2))
                continue
            stored = stored_bits(memory, layer)
            some = some or packed(memory, stored)
            rows.append([*stored.own, *stored.sums, memory.word_bits, memory.width_bits])
        columns = np.array(rows, dtype=np.int64)[:, :, None]
        own, sums, word, row = np.split(columns, [len(TENSORS), 2 * len(TENSORS), -1], axis=1)
        return cls(own, sums, word, row, some)

    def words(self, reads: Floats, fills: Floats, updates: Floats) -> tuple[Floats, Floats, Floats]:
        """Elements that are read, filled and updated, [level, tensor, batch], as words of the memories."""
        read, filled, updated = moved_bits(self.own, self.sums, reads, fills, updates)
        return read / self.word, filled / self.word, updated / self.word

    def accesses(self, reads: Floats, fills: Floats, updates: Floats) -> tuple[Floats, Floats, Floats]:
        """The same as whole accesses."""
        read, filled, updated = moved_bits(self.own, self.sums, reads, fills, updates)
        return np.ceil(read / self.row), np.ceil(filled / self.row), np.ceil(updated / self.row)

    def share(self, level: int, tensor: int) -> float:
        """A complete element as a share of the memory's word."""
        return float(self.own[level, tensor, 0] / self.word[level, 0, 0])

    def growth(self, level: int, tensor: int) -> float:
        """How many times as wide as a complete element a partial sum is."""
        return float(self.sums[level, tensor, 0] / self.own[level, tensor, 0])


@dataclass(frozen=True)
class Memories:
    """The memories of an accelerator; levels without a memory have no cost and no limits.

    Attributes:
        read, write, update, leak: energies per access, and of an instance per cycle.
        block: words per access.
        groups: how many groups of instances share their accesses, or infinity; `grouped`: whether any do.
        room: capacity of an instance for tiles, in bits.
        widths: of the layer's elements.
        fanout: instances below one.
        limits: words per cycle that an instance can read, can write, and can transfer in total.
        edges: cycles that the networks between all of them add to a layer.
    """

    read: Column
    write: Column
    update: Column
    leak: Column
    block: Column
    groups: Column
    grouped: bool
    room: Column
    widths: Widths
    fanout: Column
    limits: tuple[Column, Column, Column]
    edges: int

    @classmethod
    def of(cls, accelerator: Accelerator, table: EnergyTable, layer: Layer) -> Memories:
        """Those of the chip that serves a layer, with the energies of a table."""
        rows = []
        for level in reversed(accelerator.levels):
            energies, block, groups, room = (0.0, 0.0, 0.0, 0.0), 1, math.inf, math.inf
            limits: tuple[float, ...] = (math.inf, math.inf, math.inf)
            memory = level.memory
            if memory is not None:
                part = table.parts[memory.name]
                energies, block = (part.read, part.write, part.update, part.leak), memory.block_words
                if level.cluster > 1:
                    groups = level.instances // level.cluster
                if memory.words is not None:
                    room = int(memory.words // memory.buffering) * memory.word_bits
                given = memory.read_words_per_cycle, memory.write_words_per_cycle, accelerator.words_per_cycle(memory)
                limits = tuple(math.inf if limit is None else limit for limit in given)
            rows.append((*energies, block, groups, room, level.fanout, *limits))
        read, write, update, leak, block, groups, room, fanout, reads, writes, both = np.array(rows, dtype=np.float64).T[
            :, :, None
        ]
        grouped = bool(np.isfinite(groups).any())
        widths = Widths.of(accelerator, layer)
        limited = (reads, writes, both)
        edges = sum(memory.network_fill_latency + memory.network_drain_latency for memory in accelerator.memories)
        return cls(read, write, update, leak, block, groups, grouped, room, widths, fanout, limited, edges)
