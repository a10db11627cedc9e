"""Timeloop's input about zeros: `sparse_optimizations`, and the attributes of memories that store indices."""

from __future__ import annotations

from typing import Any

from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.components import Memory
from hwflow.hardware.sparsity import Compressed, Encoding
from hwflow.layers import DIMS, Layer, Tensor
from hwflow.mapping import TIMELOOP_TENSORS, Mapping

WRITTEN_ZEROS = "sparse.yaml"
"""The file with `sparse_optimizations` as a user has written them."""

_FORMATS: dict[Encoding, str] = {"rle": "RLE", "coordinates": "CP", "bitmask": "B"}


def index_attributes(accelerator: Accelerator, memory: Memory) -> dict[str, Any]:
    """Of a memory on a chip that compresses: rows of indices beside those of data, and as many as any tile can need.

    Every memory may expand what comes compressed from the one outside it, and compress what it sends there.
    """
    if accelerator.sparsity is None or not accelerator.sparsity.compressed:
        return {}
    found: dict[str, Any] = {}
    if memory is not accelerator.dram:
        found = {"decompression_supported": True, "compression_supported": True}
    stored = accelerator.sparsity.compressed.get(memory.name)
    if stored is None:
        return found
    row, widest = stored.row_bits(memory), max(stored.bits(tensor) for tensor in stored.encodings)
    found |= {"metadata_storage_width": row, "metadata_datawidth": widest}
    if memory.words is not None:
        found["metadata_storage_depth"] = -(-memory.words * 2 * max(widest, stored.offset_bits) // row) + 2
    return found


def optimizations(accelerator: Accelerator, layer: Layer, mapping: Mapping | None) -> list[dict[str, Any]]:
    """The targets of `sparse_optimizations`, one a memory that saves or compresses.

    Args:
        mapping: what is to be judged, if it is known: a rank for tiles of the next memory is left out where such a tile is a
            single element, for then Timeloop takes that rank for the one of elements.
    """
    chip = accelerator.sparsity
    assert chip is not None
    savings = chip.savings(accelerator.hierarchy)
    targets = []
    for memory in accelerator.memories:
        target: dict[str, Any] = {"name": memory.name}
        if stored := chip.compressed.get(memory.name):
            spaces = [
                {"name": TIMELOOP_TENSORS[tensor], "ranks": _ranks(accelerator, stored, memory, tensor, layer, mapping)}
                for tensor in stored.encodings
                if mapping is None or tensor in _level(mapping, memory.name).keeps
            ]
            if spaces:
                target["representation_format"] = {"data_spaces": spaces}
        if own := [saving for saving in savings if saving.memory == memory.name]:
            target["action_optimization"] = [
                {
                    "type": "skipping" if saving.skips else "gating",
                    "options": [
                        {
                            "target": TIMELOOP_TENSORS[saving.tensor],
                            "condition_on": [TIMELOOP_TENSORS[operand] for operand in saving.zeros_of],
                        }
                    ],
                }
                for saving in own
            ]
        if len(target) > 1:
            targets.append(target)
    return targets


def _ranks(
    accelerator: Accelerator, stored: Compressed, memory: Memory, tensor: Tensor, layer: Layer, mapping: Mapping | None
) -> list[dict[str, Any]]:
    """Outermost first: the tiles of each compressed memory further in, those of an uncompressed one, and the elements."""
    chip = accelerator.sparsity
    assert chip is not None
    inner = accelerator.memories[accelerator.memories.index(memory) + 1 :]
    kept = [m for m in inner if tensor in m.keeps and not _single(m, tensor, layer, mapping)]
    compressed = [m for m in kept if chip.encoding(m.name, tensor)]
    count = len(compressed) + (1 if len(kept) > len(compressed) else 0)
    tiles = {"format": "UOP", "payload_word_bits": stored.offset_bits}
    elements = {"format": _FORMATS[stored.encodings[tensor]], "metadata_word_bits": stored.bits(tensor)}
    return [{**rank, "flattened_rankIDs": [list(DIMS)]} for rank in (*[tiles] * count, elements)]


def _single(memory: Memory, tensor: Tensor, layer: Layer, mapping: Mapping | None) -> bool:
    """Whether a tile is known to be one element."""
    if mapping is None:
        return False
    names = [level.level for level in mapping.levels]
    inside = mapping.levels[names.index(memory.name) :]
    own = layer.relevant(tensor)
    return not any(loop.bound > 1 and loop.dim in own for level in inside for loop in level.loops)


def _level(mapping: Mapping, name: str) -> Any:
    return next(level for level in mapping.levels if level.level == name)


__all__ = ["WRITTEN_ZEROS", "index_attributes", "optimizations"]
