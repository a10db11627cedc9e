"""Capacities, bandwidths and access energies of an accelerator's memories, as arrays over its levels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hwflow.arrays import Floats
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.energy_table import EnergyTable

Column = Floats
"""One number for each level, from the innermost outwards, [level, 1]."""


@dataclass(frozen=True)
class Memories:
    """Levels that are no memory cost nothing and bound nothing.

    Attributes:
        read, write, update, leak: energies of an access, and of an instance in a cycle.
        block: words an access.
        groups: how many groups of instances share their accesses, or infinity; `grouped`: whether any do.
        room: words of an instance for tiles.
        fanout: instances below one.
        limits: words in a cycle that an instance reads, that it writes, and of both together.
    """

    read: Column
    write: Column
    update: Column
    leak: Column
    block: Column
    groups: Column
    grouped: bool
    room: Column
    fanout: Column
    limits: tuple[Column, Column, Column]

    @classmethod
    def of(cls, accelerator: Accelerator, table: EnergyTable) -> Memories:
        """Those of an accelerator, with the energies of a table."""
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
                    room = int(memory.words // memory.buffering)
                given = memory.read_words_per_cycle, memory.write_words_per_cycle, accelerator.words_per_cycle(memory)
                limits = tuple(math.inf if limit is None else limit for limit in given)
            rows.append((*energies, block, groups, room, level.fanout, *limits))
        read, write, update, leak, block, groups, room, fanout, reads, writes, both = np.array(rows, dtype=np.float64).T[
            :, :, None
        ]
        grouped = bool(np.isfinite(groups).any())
        return cls(read, write, update, leak, block, groups, grouped, room, fanout, (reads, writes, both))
