"""What the rivals print, as a `Nest`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from benchmarks.rivals.nest import Axis, Bound, Inexpressible, Nest, array_index
from hwflow.hardware.accelerator import Accelerator
from hwflow.layers import TENSORS, Dim, Layer, Tensor

ZIGZAG_AXES: dict[str, Axis] = {"D1": "columns", "D2": "rows"}


def from_zigzag(row: Mapping[str, Any], layer: Layer, chip: Accelerator) -> Nest:
    """ZigZag gives each operand's loops by memory, innermost memory and loop first; all operands have one order of loops.

    Its spatial loops have no place among the temporal ones.
    """
    orders = {t: [(d, n) for level in row["temporal"][t] for d, n in level][::-1] for t in TENSORS}
    temporal: list[Bound] = orders["weights"]
    if any(order != temporal for order in orders.values()):
        raise Inexpressible("the operands' loops are in different orders")
    places: dict[tuple[str, Tensor], int] = {}
    for tensor in TENSORS:
        outside = len(temporal)
        memories = [m.name for m in reversed(chip.memories) if tensor in m.keeps]
        for name, level in zip(memories, row["temporal"][tensor], strict=True):
            outside -= len(level)
            places[name, tensor] = outside
    spatial = {ZIGZAG_AXES[axis]: tuple((d, n) for d, n in loops) for axis, loops in row["spatial"].items()}
    return Nest(tuple(temporal), spatial, places, _array(temporal, places, layer, chip))


def from_accelforge(row: Mapping[str, Any], layer: Layer, chip: Accelerator) -> Nest:
    """AccelForge gives a path of nodes, outermost first; a loop states the size of the tile that is left inside it."""
    size = dict(layer.dims)
    temporal: list[Bound] = []
    spatial: dict[Axis, list[Bound]] = {axis: [] for axis in get_args(Axis)}
    places: dict[tuple[str, Tensor], int] = {}
    arrays: set[int] = set()
    for kind, *rest in row["nest"]:
        if kind == "storage":
            name, tensors = rest
            places |= {(name, tensor): len(temporal) for tensor in tensors}
        elif kind == "temporal":
            temporal.append(_bound(rest, size))
        elif kind == "spatial":
            spatial[rest[0]].append(_bound(rest[1:], size))
            arrays.add(len(temporal))
    if len(arrays) > 1:
        raise Inexpressible("temporal loops run between the axes of the array")
    array = max(_array(temporal, places, layer, chip), *arrays, 0)
    return Nest(tuple(temporal), {axis: tuple(loops) for axis, loops in spatial.items()}, places, array)


def _array(temporal: Sequence[Bound], places: Mapping[tuple[str, Tensor], int], layer: Layer, chip: Accelerator) -> int:
    """How many temporal loops can run outside the array: up to the first one that changes what a register of a PE holds.

    A loop that changes nothing that is held inside it costs the same outside the array, where hwflow's search has it.
    """
    registers = {m.name for m in chip.hierarchy[array_index(chip) :]}
    inner = []
    for (name, tensor), place in places.items():
        if name in registers:
            while place < len(temporal) and temporal[place][0] not in layer.relevant(tensor):
                place += 1  # noqa: PLW2901
            inner.append(place)
    return min(inner)


def _bound(loop: Sequence[Any], size: dict[Dim, int]) -> Bound:
    """How many tiles of the given size the present tile has, which the given one then becomes."""
    dim, tile = loop[0].upper(), int(loop[1])
    bound = -(-size[dim] // tile)
    size[dim] = tile
    return dim, bound
