"""Lower bounds: what no mapping can undercut."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from hwflow.cost.nest import Nest
from hwflow.dataflow import LevelConstraint
from hwflow.layers import DIMS, TENSORS


def operands_travel(nest: Nest) -> bool:
    """Whether MACs can hand operands to one another, so that no share of the fan-out bounds what the memory above is asked for.

    That is so where a fan-out lies directly above them: at a step at which an operand stays, its neighbours have it already.
    """
    return nest.levels[0].fanout > 1


def lower_bound(nest: Nest, constraints: Sequence[LevelConstraint], objective: str) -> float:
    """What no mapping within the constraints can undercut: energy, cycles, or their product.

    Energy: every MAC; every operand read from the innermost memory that keeps it, shared by at most the fan-out below (nothing
    of that where operands travel between MACs); every word that the layer touches moved once from or to DRAM. Cycles: MACs
    over the largest parallelism that divides, or those words over DRAM's bandwidth.
    """
    layer, acc, table = nest.layer, nest.accelerator, nest.table
    parallel = 1
    for constraint in constraints:
        allowed = math.prod(layer.dims[d] for d in constraint.spatial)
        parallel *= max((n for n in range(1, constraint.level.fanout + 1) if allowed % n == 0), default=1)
    cycles = layer.macs / parallel
    energy, words = nest.mac_energy, 0
    for t, tensor in enumerate(TENSORS):
        inner = int(np.flatnonzero(nest.keep[:, t])[0])
        shared = math.prod(level.fanout for level in nest.levels[: inner + 1])
        memory = nest.levels[inner].memory
        assert memory is not None
        part = table.parts[memory.name]
        if not operands_travel(nest):
            energy += layer.macs / shared / memory.block_words * (part.update if tensor == "outputs" else part.read)
        touched = int(nest.shapes[t].distinct(nest.sizes[:, None], np.ones((len(DIMS), 1), dtype=np.int64))[0])
        words += touched
        if memory is not acc.dram:
            dram = table.parts[acc.dram.name]
            energy += touched / acc.dram.block_words * (dram.update if tensor == "outputs" else dram.read)
    bandwidth = acc.words_per_cycle(acc.dram)
    if bandwidth is not None:
        cycles = max(cycles, words / bandwidth)
    return {"energy": energy, "latency": cycles, "edp": energy * cycles}[objective]
