"""Lower bounds on the cost of every mapping of a layer."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from hwflow.hardware.dataflow import LevelConstraint
from hwflow.layers import TENSORS
from hwflow.loopnest.nest import OUTPUTS, Nest
from hwflow.loopnest.tiles import touched
from hwflow.mapper.array_utilization import ArrayUtilization
from hwflow.mapper.tile_lattice import divisors

OMITTED = 0.01
"""The largest share of a ragged mapping's energy that may be lost to Timeloop's truncation of instances; hwflow's own limit."""


def operands_travel(nest: Nest) -> bool:
    """Whether MACs can forward operands to each other, so that reads of the memory above have no bound by multicast.

    They can where a fan-out is directly above them: in a step in which an operand is stationary, neighbours already hold it.
    """
    return nest.levels[0].fanout > 1


def lower_bound(
    nest: Nest, constraints: Sequence[LevelConstraint], objective: str, *, array: ArrayUtilization | None = None
) -> float:
    """A lower bound on energy, cycles, or their product for every mapping within the constraints.

    With the result of `hwflow.mapper.array_utilization` it also holds for ragged mappings whose omitted energy is within
    `OMITTED`; otherwise for perfect factors only.
    """
    energy, cycles = least_costs(nest, constraints, None if array is None else array.least)
    return {"energy": energy, "latency": cycles, "edp": energy * cycles}[objective]


def least_costs(nest: Nest, constraints: Sequence[LevelConstraint], passes: float | None) -> tuple[float, float]:
    """Lower bounds on energy and on cycles; for ragged mappings, too, where the fewest `passes` over the fan-outs are given.

    Energy: every MAC; every operand read from the innermost memory that keeps it, shared by at most the fan-out below (nothing
    of that where operands travel between MACs); every word that the layer touches moved once from or to the outermost memory
    that keeps its tensor. Cycles: MACs over the largest parallelism that divides (ragged: the fewest passes over the fan-outs),
    or the words that DRAM keeps over its bandwidth; and what the networks' fill and drain add.
    """
    layer, table, widths = nest.layer, nest.table, nest.memories.widths
    cycles = even_cycles(nest, constraints) if passes is None else passes
    cycles, energy = max(cycles, streaming_cycles(nest)) + nest.memories.edges, nest.mac_energy
    for t, tensor in enumerate(TENSORS):
        inner = int(np.flatnonzero(nest.keep[:, t])[0])
        shared = math.prod(level.fanout for level in nest.levels[: inner + 1])
        memory = nest.levels[inner].memory
        assert memory is not None
        part, block = table.parts[memory.name], memory.block_words * nest.levels[inner].cluster
        if not operands_travel(nest):
            energy += layer.macs / shared / block * widths.share(inner, t) * (part.update if tensor == "outputs" else part.read)
        outermost = int(np.flatnonzero(nest.keep[:, t])[-1])
        outer = nest.levels[outermost].memory
        if outer is not None and outer is not memory:
            store = table.parts[outer.name]
            energy += (
                _touched(nest, t)
                / outer.block_words
                * widths.share(outermost, t)
                * (store.update if tensor == "outputs" else store.read)
            )
    return energy if passes is None else energy * (1 - OMITTED), cycles


def even_cycles(nest: Nest, constraints: Sequence[LevelConstraint]) -> float:
    """The fewest compute cycles if all loops over fan-outs divide their dimensions."""
    parallel = 1
    for constraint in constraints:
        evenly = {1}
        for d in constraint.spatial:
            evenly = {n * f for n in evenly for f in divisors(nest.layer.dims[d]) if n * f <= constraint.level.fanout}
        parallel *= max(evenly)
    return nest.layer.macs / parallel


def streaming_cycles(nest: Nest) -> float:
    """The fewest cycles in which DRAM can move each word that the layer touches, of the tensors that it keeps, once."""
    bandwidth = nest.accelerator.words_per_cycle(nest.accelerator.dram)
    if bandwidth is None:
        return 0.0
    kept = [int(t) for t in np.flatnonzero(nest.keep[-1])]
    return sum(_touched(nest, t) * nest.memories.widths.share(-1, t) for t in kept) / bandwidth


def _touched(nest: Nest, t: int) -> int:
    """Words of a tensor that cross DRAM's boundary at least once: outputs all do, inputs in gaps between windows need not."""
    if t == OUTPUTS:
        return nest.layer.words("outputs")
    return touched(nest.layer, TENSORS[t])
