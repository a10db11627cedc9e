"""Rows of layers whose densities are known, on chips that do something about zeros; see `hwflow.hardware.counted_zeros`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from hwflow.cost.position_rows import differs
from hwflow.errors import ToolError
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.counted_zeros import PACKED, counts_zeros, skips_zeros
from hwflow.layers import TENSORS
from hwflow.loopnest.nest import Batch, Nest, Verdict
from hwflow.loopnest.sparse_verdict import SparseVerdict, sparse_verdict, why_dense
from hwflow.mapper.objective import Found
from hwflow.results import LayerCost
from hwflow.timeloop.stats import Stats
from hwflow.types import Objective, Tensor

ALONE = "zeros are counted"
COUNTED = f"{ALONE}; the mapping is the best with them of those that are best without, so another may cost less"
MEAN = "positions of Winograd tiles are taken to have the mean of their densities"
ALL_CYCLES = "ragged loops take all their cycles, whatever is skipped"
TAKEN = "a gated product takes its cycle, which Timeloop leaves out"
LEFT_OUT = "cycles are Timeloop's, which leave out gated products"
WRITTEN = f"zeros are counted as the files say; {LEFT_OUT}, and DRAM bytes are those of data, without indices"
"""Of a chip from Timeloop's files."""


def best_with_zeros(nest: Nest, found: Found, objective: Objective) -> tuple[Batch, Verdict]:
    """Of the mappings that a search ranks best without zeros, the one of least objective with them; as a batch of one."""
    layer = nest.layer
    assert layer.densities is not None
    best, verdict = found.batch, found.verdict
    if found.several is None or why_dense(nest, best):
        return best, verdict
    least = _objective(sparse_verdict(nest, best, verdict, layer.densities), objective)
    dense = nest.evaluate(found.several)
    for i in range(found.several.size):
        own, judged = found.several.take(np.array([i])), dense.take(np.array([i]))
        value = _objective(sparse_verdict(nest, own, judged, layer.densities), objective)
        if value < least:
            best, verdict, least = own, judged, value
    return best, verdict


def _objective(found: SparseVerdict, objective: Objective) -> tuple[float, float]:
    """With a tie-breaker, as of mappings without zeros."""
    energy, cycles = found.energy, float(found.cycles)
    return {"energy": (energy, cycles), "latency": (cycles, energy), "edp": (energy * cycles, energy)}[objective]


def sparse_row(dense: LayerCost, nest: Nest, batch: Batch, verdict: Verdict) -> LayerCost:
    """mid's row with zeros; the dense one with a note where they are not counted for its mapping."""
    layer, chip = nest.layer, nest.accelerator
    assert layer.densities is not None
    if why := why_dense(nest, batch):
        return replace(dense, note=f"dense: {why}")
    found = sparse_verdict(nest, batch, verdict, layer.densities)
    energies = {
        level.memory.name: float(found.level_energy[k])
        for k, level in reversed(list(enumerate(nest.levels)))
        if level.memory is not None
    }
    accesses = {name: {tensor: _counts(found, nest, name, tensor) for tensor in of} for name, of in dense.accesses.items()}
    return replace(
        _timed(dense, found, nest),
        energy=found.energy,
        energy_by_level={**energies, chip.mac.name: found.mac_energy},
        dram_bytes=dram_bytes(chip, accesses, float(found.index_bits[:, -1].sum())),
        accesses=accesses,
        note=_counted(nest, batch),
    )


def judged_row(row: LayerCost, stats: Stats, nest: Nest, batch: Batch, *, searched: bool = False) -> LayerCost:
    """fine's row with zeros, and with a cycle for each gated product where hwflow knows how Timeloop came by its cycles.

    Args:
        searched: whether Timeloop has found the mapping itself, with the zeros.

    Raises:
        ToolError: where Timeloop's cycles are not those that hwflow's analysis has for it.
    """
    layer, chip = nest.layer, nest.accelerator
    if not counts_zeros(layer, chip):
        return replace(row, note="; ".join(filter(None, [row.note, f"dense: {PACKED}"])))
    assert chip.sparsity is not None
    row = replace(row, dram_bytes=dram_bytes(chip, row.accesses, _index_bits(stats, chip)))
    note = _counted(nest, batch, searched=searched)
    if not chip.sparsity.gates:
        return replace(row, note=note)
    assert layer.densities is not None
    found = None if why_dense(nest, batch) else sparse_verdict(nest, batch, nest.evaluate(batch), layer.densities)
    if found is None or (searched and found.timeloop_cycles != stats.cycles):
        return replace(row, note=f"{note}; {LEFT_OUT}")
    if found.timeloop_cycles != stats.cycles:
        raise ToolError(
            f"layer {layer.name}: Timeloop says {stats.cycles} cycles, and hwflow's analysis expects it to say "
            f"{found.timeloop_cycles} without those of gated products: the two do not count zeros alike. Use --level mid."
        )
    later = found.leakage - found.timeloop_leakage
    more = {level.name: float(later[k]) for k, level in enumerate(nest.levels)}
    energies = {name: energy + more.get(name, 0.0) for name, energy in row.energy_by_level.items()}
    timed = _timed(row, found, nest)
    return replace(timed, energy=sum(energies.values()), energy_by_level=energies, note=f"{note}; {TAKEN}")


def _counted(nest: Nest, batch: Batch, *, searched: bool = False) -> str:
    told = [ALONE if searched else COUNTED]
    if differs(nest.layer):
        told.append(MEAN)
    if skips_zeros(nest.accelerator) and bool(batch.ragged[0]):
        told.append(ALL_CYCLES)
    return "; ".join(told)


def _timed(row: LayerCost, found: SparseVerdict, nest: Nest) -> LayerCost:
    busiest = found.cycles - nest.memories.edges
    slowest = max(k for k, cycles in enumerate(found.level_cycles) if cycles == busiest)
    return replace(
        row,
        cycles=found.cycles,
        latency_s=found.cycles * nest.accelerator.cycle_s,
        bound_by="compute" if found.compute_cycles >= busiest else nest.levels[slowest].name,
        utilization=nest.layer.macs / (found.cycles * nest.accelerator.mac_units),
    )


def _index_bits(stats: Stats, accelerator: Accelerator) -> float:
    """Bits of indices and pointers that cross the DRAM's ports, from Timeloop's counts."""
    dram = accelerator.dram.name
    stored = accelerator.sparsity.compressed.get(dram) if accelerator.sparsity else None
    if stored is None:
        return 0.0
    tensors = stats.levels[dram].tensors
    return sum(
        tensors[t].indices * stored.bits(t) + tensors[t].pointers * stored.offset_bits for t in stored.encodings if t in tensors
    )


def dram_bytes(
    accelerator: Accelerator, accesses: Mapping[str, Mapping[Tensor, Mapping[str, float]]], index_bits: float
) -> float:
    """Bytes that cross the DRAM's ports, indices included."""
    words = sum(sum(counts.values()) for counts in accesses[accelerator.dram.name].values())
    return (words * accelerator.dram.word_bits + index_bits) / 8


def _counts(found: SparseVerdict, nest: Nest, name: str, tensor: Tensor) -> dict[str, float]:
    level = next(k for k, one in enumerate(nest.levels) if one.name == name)
    reads, fills, updates = (float(n) for n in found.actual[:, level, TENSORS.index(tensor)])
    return {"reads": reads, "fills": fills, "updates": updates}


__all__ = [
    "ALL_CYCLES",
    "COUNTED",
    "LEFT_OUT",
    "MEAN",
    "TAKEN",
    "WRITTEN",
    "best_with_zeros",
    "dram_bytes",
    "judged_row",
    "sparse_row",
]
