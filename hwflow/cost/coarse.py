"""The coarse level: closed formulas that need little or no description of the chip.

Sources of the formulas:

* MACs and parameters are the definitions of a convolution (`hwflow.layers`).
* Compulsory traffic, every tensor moved exactly once, is the least that a chip which starts from DRAM can do; latency as the
  larger of compute and transfer time is the roofline model (Williams, Waterman, Patterson, CACM 52(4), 2009).
* Energy as MACs e_mac + traffic e_dram is hwflow's own model. The normalised unit energies (MAC 1, DRAM 200 per 16-bit
  word) are those of Chen, Emer, Sze, "Eyeriss", ISCA 2016, Table IV. On-chip memories are left out.

With the same energies, coarse is a lower bound on mid and fine, except for strided layers whose kernel is smaller than the
stride: their input is counted here by its hull, as Timeloop counts it untiled, and a tiled mapping may skip the gaps.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from typing import Any

from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.energy_table import EnergyTable
from hwflow.layers import TENSORS, Bits, Layer, Tensor
from hwflow.network import Network, OtherOp
from hwflow.results import LayerCost
from hwflow.types import EnergyUnit

VERSION = "coarse-2"
"""Changes whenever a number that coarse answers can change."""

NORMALIZED_SOURCE = "normalized (Eyeriss ISCA 2016, Table IV; MAC = 1)"
DEFAULT_BITS = Bits(16, 16, 16)
"""Word widths where neither the layer nor an accelerator states any."""

_DRAM_PER_WORD = 200.0
_NORMALIZED: EnergyUnit = "normalized"


def analyse(layer: Layer, accelerator: Accelerator | None = None, table: EnergyTable | None = None) -> LayerCost:
    """Cost of one layer from its shape alone, or with the peak rate, DRAM bandwidth and energies of an accelerator.

    Args:
        accelerator: at the layer's word widths already; without it, cycles are None.
        table: energies of `accelerator`; without it, they are normalised.
    """
    start = time.perf_counter()
    bits = bits_of(layer, accelerator)
    words = dict(zip(TENSORS, (layer.words(t) for t in TENSORS), strict=True))
    sizes = {t: words[t] * width / 8 for t, width in zip(TENSORS, bits, strict=True)}
    dram_bytes = sum(sizes.values())
    dram = accelerator.dram.name if accelerator else "dram"
    accesses = {
        dram: {
            t: {"reads": 0.0 if t == "outputs" else float(n), "fills": 0.0, "updates": float(n) if t == "outputs" else 0.0}
            for t, n in words.items()
        }
    }
    if accelerator is None or table is None:
        energy = {dram: _DRAM_PER_WORD * dram_bytes / 2, "mac": layer.macs * (bits.weights / 16) * (bits.inputs / 16)}
        unit, source = _NORMALIZED, NORMALIZED_SOURCE
    else:
        mac = accelerator.mac.name
        energy = {dram: _dram_energy(sizes, accelerator, table), mac: layer.macs * table.parts[mac].compute}
        unit, source = table.unit, table.source
    found: dict[str, Any] = {"cycles": None, "latency_s": None, "bound_by": None, "utilization": None}
    if accelerator is not None:
        compute, transfer = math.ceil(layer.macs / accelerator.mac_units), _transfer_cycles(sizes, accelerator)
        cycles = max(compute, transfer)
        found = {
            "cycles": cycles,
            "latency_s": cycles * accelerator.cycle_s,
            "bound_by": dram if transfer > compute else "compute",
            "utilization": layer.macs / (cycles * accelerator.mac_units),
        }
    return LayerCost(
        layer=layer,
        level="coarse",
        engine=f"hwflow {VERSION}",
        energy=sum(energy.values()),
        energy_unit=unit,
        energy_source=source,
        energy_by_level=energy,
        dram_bytes=dram_bytes,
        accesses=accesses,
        **found,
        seconds=time.perf_counter() - start,
    )


def bits_of(layer: Layer, accelerator: Accelerator | None) -> Bits:
    """The layer's own word widths, else the accelerator's (that of its DRAM), else 16."""
    if layer.bits is not None:
        return layer.bits
    return DEFAULT_BITS if accelerator is None else Bits(*[accelerator.dram.word_bits] * 3)


def peak_activation_bytes(network: Network, accelerator: Accelerator | None) -> int | None:
    """The most memory that activations take at once; None where the network's data flow is not known."""
    if network.graph is None:
        return None
    return network.graph.peak_bytes([bits_of(layer, accelerator) for layer in network])


def other_traffic_bytes(operators: Iterable[OtherOp], bits: int) -> float:
    """Memory traffic of pooling, additions, normalisation and the like, each reading and writing DRAM on its own."""
    return sum(op.words_in + op.words_out for op in operators) * bits / 8


def _transfer_cycles(sizes: dict[Tensor, float], accelerator: Accelerator) -> int:
    """Cycles that DRAM needs for the compulsory traffic; 0 where it has no bandwidth stated."""
    dram = accelerator.dram
    words, bounds = {t: size * 8 / dram.word_bits for t, size in sizes.items()}, [0.0]
    if dram.bandwidth_gb_s is not None:
        bounds.append(sum(sizes.values()) / (dram.bandwidth_gb_s * 1e9 * accelerator.cycle_s))
    if dram.read_words_per_cycle is not None:
        bounds.append((words["weights"] + words["inputs"]) / dram.read_words_per_cycle)
    if dram.write_words_per_cycle is not None:
        bounds.append(words["outputs"] / dram.write_words_per_cycle)
    return math.ceil(round(max(bounds), 6))


def _dram_energy(sizes: dict[Tensor, float], accelerator: Accelerator, table: EnergyTable) -> float:
    """Whole accesses of the DRAM's width: weights and inputs read, outputs written (an update, as Timeloop counts it)."""
    part, width = table.parts[accelerator.dram.name], accelerator.dram.width_bits
    accesses = {t: math.ceil(size * 8 / width) for t, size in sizes.items()}
    return (accesses["weights"] + accesses["inputs"]) * part.read + accesses["outputs"] * part.update
