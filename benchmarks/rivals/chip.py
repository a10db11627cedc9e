"""The chip that all mappers are given, and how it is told to those that run in an interpreter of their own.

It is the preset eyeriss with 1.6 GB/s of DRAM bandwidth (one 64-bit access a cycle, where ZigZag takes whole bits only) and
with no constraint on the mapping, since neither rival knows row_stationary's. Energies are the recorded ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.components import Fanout, Memory
from hwflow.hardware.energy_table import EnergyTable, recorded
from hwflow.layers import Layer, Tensor
from hwflow.mapping import Loop, Mapping


def shared_chip() -> tuple[Accelerator, EnergyTable]:
    """The chip and its energies."""
    chip = Accelerator.load("eyeriss").with_({"dram.bandwidth_gb_s": 1.6, "dataflow": "flexible"})
    table = recorded(chip)
    assert table is not None
    return chip, table


def to_request(
    chip: Accelerator,
    table: EnergyTable,
    layers: Sequence[Layer],
    mappings: Sequence[Mapping],
    settings: dict[str, Any],
) -> dict[str, Any]:
    """Plain data: sizes in bits, energies in pJ an access (leakage in pJ a cycle), bandwidths in bits a cycle.

    `mappings` are hwflow's, one a layer, for the rival to judge by its own model.
    """
    (array,) = [p for p in chip.hierarchy if isinstance(p, Fanout)]
    above = chip.hierarchy[: chip.hierarchy.index(array)]
    return {
        "chip": {
            "name": chip.name,
            "word_bits": chip.mac.multiplier_bits,
            "memories": [_memory(m, chip, table, m in above) for m in chip.memories],
            "rows": array.rows,
            "columns": array.columns,
            "mac_energy": table.parts[chip.mac.name].compute,
        },
        "layers": [
            {
                "name": layer.name,
                "dims": dict(layer.dims),
                "strides": layer.strides,
                "dilations": layer.dilations,
                "nest": _nest(mapping, layer, chip),
            }
            for layer, mapping in zip(layers, mappings, strict=True)
        ],
        "settings": settings,
    }


def _memory(memory: Memory, chip: Accelerator, table: EnergyTable, above_array: bool) -> dict[str, Any]:
    energy = table.parts[memory.name]
    shared = chip.words_per_cycle(memory)
    if shared is not None:
        words = {"shared": shared}
    else:
        assert memory.read_words_per_cycle is not None
        assert memory.write_words_per_cycle is not None
        words = {"read": memory.read_words_per_cycle, "write": memory.write_words_per_cycle}
    return {
        "name": memory.name,
        "keeps": list(memory.keeps),
        "size_bits": memory.size_bits,
        "access_bits": memory.width_bits,
        "bits_per_cycle": {kind: n * memory.word_bits for kind, n in words.items()},
        "read_energy": energy.read,
        "write_energy": energy.write,
        "leak": energy.leak,
        "above_array": above_array,
    }


def _nest(mapping: Mapping, layer: Layer, chip: Accelerator) -> list[list[Any]]:
    """What memories keep and loops with their bounds, outermost first; shorter last passes are left to the reader.

    AccelForge fills a memory anew in every pass of the loops outside it, so each stands outside the loops that do not change
    what it keeps, and the array outside the loops of the memory above it, which registers can then stand among.
    """
    spread = next(k for k, level in enumerate(mapping.levels) if level.axis is not None)
    memories = {m.name for m in chip.memories}
    outer: list[Loop] = []
    inner: list[Loop] = []
    above: list[tuple[int, str, Tensor]] = []
    below: list[tuple[int, str, Tensor]] = []
    for k, level in enumerate(mapping.levels):
        loops, kept = (outer, above) if k <= spread else (inner, below)
        if level.level in memories:
            kept += [(_outermost(tensor, loops, layer), level.level, tensor) for tensor in level.keeps]
        (outer if k < spread else inner).extend(level.temporal)
    array = [
        ["spatial", "columns" if level.axis == "X" else "rows", loop.dim, loop.bound]
        for level in mapping.levels
        for loop in level.spatial
    ]
    return [*_path(outer, above), *array, *_path(inner, below)]


def _outermost(tensor: Tensor, loops: Sequence[Loop], layer: Layer) -> int:
    """How many of `loops`, all outside what is kept of `tensor`, must stay outside."""
    place, relevant = len(loops), layer.relevant(tensor)
    while place and loops[place - 1].dim not in relevant:
        place -= 1
    return place


def _path(loops: Sequence[Loop], kept: Sequence[tuple[int, str, Tensor]]) -> list[list[Any]]:
    path: list[list[Any]] = []
    for i in range(len(loops) + 1):
        here = [(name, tensor) for place, name, tensor in kept if place == i]
        path += [["storage", name, [t for n, t in here if n == name]] for name in dict.fromkeys(n for n, _ in here)]
        path += [["temporal", loop.dim, loop.bound] for loop in loops[i : i + 1]]
    return path
