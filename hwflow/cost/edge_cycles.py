"""Time at a layer's edges: until the first tiles are where they are used, and until the last results are where they belong.

Timeloop takes every transfer to overlap with the arithmetic, the first and the last ones included, but for constants that a
chip can state (`network_fill_latency`, `network_drain_latency`). What is computed here is hwflow's own; Timeloop has no such
number. Before the arithmetic can begin, each memory's first tiles of weights and inputs come from the memory outside that
keeps them, one memory after the other; after its end, each memory's tile of outputs goes back the same way. A transfer takes as
long as the bandwidth of the slower side lets it. An element that several instances need at the same time is read once.

A memory with a double buffer is left out: it can be filled, and emptied, while the layer before, or after, runs. What a memory
without one waits for between its first tile and its last is not counted.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import NamedTuple

from hwflow.cost.residency import hull, pace
from hwflow.errors import InputError
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.components import Memory
from hwflow.hardware.stored_bits import stored_bits
from hwflow.layers import DIMS, TENSORS, Dim, Layer, Tensor
from hwflow.mapping import Mapping
from hwflow.results import LayerCost

_DOUBLE = 2.0  # `Memory.buffering` from which on a tile can come while another one is in use


class Edges(NamedTuple):
    """Cycles before a layer's arithmetic begins and after it ends, by the memory that is filled or emptied."""

    fill: dict[str, int]
    drain: dict[str, int]

    @property
    def cycles(self) -> int:
        """All of them."""
        return sum(self.fill.values()) + sum(self.drain.values())


def edges_of(layer: Layer, accelerator: Accelerator, mapping: Mapping) -> Edges:
    """Those of a layer as a mapping runs it, on the chip that serves it. Ragged loops are taken at full passes."""
    memories = {memory.name: memory for memory in accelerator.memories}
    tiles, unions = _elements(layer, mapping)
    fill: dict[str, int] = {}
    drain: dict[str, int] = {}
    for name, memory in memories.items():
        if memory.buffering >= _DOUBLE:
            continue
        coming = _transfer(layer, accelerator, memories, name, ("weights", "inputs"), tiles, unions)
        going = _transfer(layer, accelerator, memories, name, ("outputs",), tiles, unions)
        fill |= {name: coming} if coming else {}
        drain |= {name: going} if going else {}
    return Edges(fill, drain)


def edge_cycles(cost: LayerCost, accelerator: Accelerator) -> int:
    """All cycles at the edges of a layer with the mapping of its cost; see `edges_in`."""
    return edges_in(cost, accelerator).cycles


def edges_in(cost: LayerCost, accelerator: Accelerator) -> Edges:
    """The edges of a layer with the mapping of its cost, on the chip that serves it.

    Raises:
        InputError: where the mapping is not known.
    """
    if cost.mapping is None:
        raise InputError(
            f"latency is 'with_fill', and the mapping of layer {cost.layer.name} is not known: what timeloop-mapper finds "
            "among ragged loops cannot be read back. Use mapper 'hwflow', or leave latency out."
        )
    mapping = Mapping.from_directives([dict(entry) for entry in cost.mapping], accelerator)
    return edges_of(accelerator.typed(cost.layer), accelerator, mapping)


def delayed(cost: LayerCost, accelerator: Accelerator, more: int) -> LayerCost:
    """A layer's cost with so many more cycles, in which nothing is computed or moved beside."""
    cycles = (cost.cycles or 0) + more
    busy = cost.layer.macs / (cycles * accelerator.mac_units)
    return replace(cost, cycles=cycles, latency_s=cycles * accelerator.cycle_s, utilization=busy)


_Elements = dict[tuple[str, Tensor], int]
_Unions = dict[tuple[str, Tensor], tuple[str, int]]


def _elements(layer: Layer, mapping: Mapping) -> tuple[_Elements, _Unions]:
    """Of each memory and tensor: elements of the tile in one instance; the memory outside, and elements that all instances
    below one of its instances hold together."""
    extents: dict[Dim, int] = dict.fromkeys(DIMS, 1)
    tiles: _Elements = {}
    unions: _Unions = {}
    open_: dict[Tensor, tuple[str, dict[Dim, int]]] = {}  # the last memory inside that keeps a tensor, and its tile's extents
    for mapped in reversed(mapping.levels):
        for loop in mapped.spatial:
            for _, spread in open_.values():
                spread[loop.dim] *= loop.bound
        for loop in mapped.loops:
            extents[loop.dim] *= loop.bound
        for tensor in mapped.keeps:
            if tensor in open_:
                inner, spread = open_[tensor]
                unions[inner, tensor] = mapped.level, hull(layer, tensor, spread)
            tiles[mapped.level, tensor] = hull(layer, tensor, extents)
            open_[tensor] = mapped.level, dict(extents)
    return tiles, unions


def _transfer(
    layer: Layer,
    accelerator: Accelerator,
    memories: dict[str, Memory],
    name: str,
    tensors: tuple[Tensor, ...],
    tiles: _Elements,
    unions: _Unions,
) -> int:
    """Cycles in which a memory's tiles come from the memories outside, or those of outputs go there."""
    own, outer = 0, defaultdict[str, int](int)
    for tensor in tensors:
        if (name, tensor) in unions:
            outside, elements = unions[name, tensor]
            own += _words(memories[name], layer, tensor, tiles[name, tensor])
            outer[outside] += _words(memories[outside], layer, tensor, elements)
    out = tensors == ("outputs",)
    times = [pace(accelerator, memories[name], own if out else 0, 0 if out else own)]
    times += [pace(accelerator, memories[o], 0 if out else words, words if out else 0) for o, words in outer.items()]
    return max(times)


def _words(memory: Memory, layer: Layer, tensor: Tensor, elements: int) -> int:
    return -(-elements * stored_bits(memory, layer).own[TENSORS.index(tensor)] // memory.word_bits)


__all__ = ["Edges", "delayed", "edge_cycles", "edges_in", "edges_of"]
