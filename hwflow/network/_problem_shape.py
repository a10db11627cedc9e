"""A layer from Timeloop's problem shape, recognised by which dimensions index which data spaces, not by their names.

One of the three data spaces is written. A dimension that indexes all three is a group; one that indexes both operands is summed
over; one of the weights and the outputs is an output channel; one of the inputs and the outputs is a position. An axis indexed
by the sum of a position and a kernel dimension is a sliding window, over the inputs of a convolution or the outputs of a
transposed one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from hwflow.errors import InputError
from hwflow.layers import DIMS, Dim, Layer, LayerType


class Term(NamedTuple):
    """A dimension, and the name of its coefficient or None."""

    dim: str
    coefficient: str | None = None


@dataclass(frozen=True)
class DataSpace:
    """A tensor: for each axis the terms whose sum is the index."""

    name: str
    axes: tuple[tuple[Term, ...], ...]
    written: bool


@dataclass(frozen=True)
class Shape:
    """`shape:` of a problem; `coefficients` are the default values."""

    name: str
    dims: tuple[str, ...]
    coefficients: Mapping[str, int]
    spaces: tuple[DataSpace, ...]


CNN_LAYER = Shape(
    "cnn_layer",
    tuple("RSPQCKN"),
    {"Wstride": 1, "Hstride": 1, "Wdilation": 1, "Hdilation": 1},
    (
        DataSpace("Weights", tuple((Term(d),) for d in "CKRS"), written=False),
        DataSpace(
            "Inputs",
            (
                (Term("N"),),
                (Term("C"),),
                (Term("R", "Wdilation"), Term("P", "Wstride")),
                (Term("S", "Hdilation"), Term("Q", "Hstride")),
            ),
            written=False,
        ),
        DataSpace("Outputs", tuple((Term(d),) for d in "NKQP"), written=True),
    ),
)
"""Timeloop's shape for `shape: cnn-layer`, and where a problem states none."""
GEMM = Shape(
    "gemm_ABZ",
    ("M", "N", "K"),
    {},
    (
        DataSpace("A", ((Term("M"),), (Term("K"),)), written=False),
        DataSpace("B", ((Term("N"),), (Term("K"),)), written=False),
        DataSpace("Z", ((Term("M"),), (Term("N"),)), written=True),
    ),
)
"""Timeloop's shape for `shape: gemm_ABZ`."""

_SLOTS: tuple[tuple[Dim, Dim], ...] = (("P", "R"), ("Q", "S"))


class _Step(NamedTuple):
    dim: str
    coefficient: int


class _Window(NamedTuple):
    position: _Step | None
    kernel: _Step | None


def layer_of(name: str, shape: Shape, sizes: Mapping[str, int], coefficients: Mapping[str, int]) -> tuple[Layer, list[str]]:
    """The layer with these sizes, and notes on how it was interpreted. Dimensions of size 1 do not matter.

    Raises:
        InputError: naming the shape and what hwflow has no layer for.
    """
    weights, inputs, outputs = _roles(shape)
    axes = {space.name: list(_axes(shape, space, sizes, coefficients)) for space in shape.spaces}
    where: dict[str, str] = {}
    for dim in (d for d in shape.dims if sizes[d] > 1):
        where[dim] = "".join(
            letter
            for letter, space in zip("WIO", (weights, inputs, outputs), strict=True)
            if any(step.dim == dim for axis in axes[space.name] for step in axis)
        )
    if any(map(_slides, axes[weights.name])):  # the other operand is the one that the kernel slides over, whatever its name
        if any(map(_slides, axes[inputs.name])):
            raise _refused(shape, f"windows slide over both {weights.name} and {inputs.name}")
        weights, inputs = inputs, weights
        swap = str.maketrans("WI", "IW")
        where = {dim: "".join(sorted(place.translate(swap), key="WIO".index)) for dim, place in where.items()}
    for dim, place in where.items():
        if place not in _CLASSES:
            spaces = {"W": weights.name, "I": inputs.name, "O": outputs.name}
            told = " and ".join(spaces[letter] for letter in place) or "no data space"
            raise _refused(shape, f"dimension {dim} (={sizes[dim]}) indexes {told} only")
    transposed = any(map(_slides, axes[outputs.name]))
    if transposed and any(map(_slides, axes[inputs.name])):
        raise _refused(shape, f"windows slide over both {inputs.name} and {outputs.name}")
    space = outputs if transposed else inputs
    windows = [_window(shape, space, axis, where, transposed) for axis in axes[space.name] if _slides(axis)]
    named = {s.name.lower() for s in shape.spaces} == {"weights", "inputs", "outputs"}
    product = not windows and not named
    placed = _placed(shape, windows, where, product=product)
    together: dict[Dim, list[str]] = {}
    for dim, slot in placed.items():
        together.setdefault(slot, []).append(dim)
    found = {slot: math.prod(sizes[dim] for dim in dims) for slot, dims in together.items()}
    steps = {placed[step.dim]: step.coefficient for window in windows for step in window if step}
    kind: LayerType = "conv"
    if transposed:
        kind = "conv_transpose"
    elif not windows and not any(found.get(d, 1) > 1 for d in ("Q", "R", "S")):
        kind = "linear" if named else "matmul"
    extents: dict[str, Any] = {dim: found.get(dim, 1) for dim in DIMS}
    strides, dilations = (steps.get("P", 1), steps.get("Q", 1)), (steps.get("R", 1), steps.get("S", 1))
    layer = Layer(name, **extents, strides=strides, dilations=dilations, type=kind)
    several = [(slot, dims) for slot, dims in together.items() if len(dims) > 1]
    return layer, [f"{' and '.join(dims)} of {shape.name} are taken together, as {slot}" for slot, dims in several]


_CLASSES = ("WIO", "WI", "WO", "IO")


def _refused(shape: Shape, what: str) -> InputError:
    return InputError(
        f"problem shape {shape.name!r}: {what}; hwflow has no such layer. It has convolutions of one or two axes (grouped, "
        "strided, dilated, transposed) and matrix products."
    )


def _roles(shape: Shape) -> tuple[DataSpace, DataSpace, DataSpace]:
    """The data spaces as weights, inputs and outputs: by name, else by order."""
    written = [s for s in shape.spaces if s.written]
    read = [s for s in shape.spaces if not s.written]
    if len(written) != 1 or len(read) != 2:
        names = ", ".join(f"{s.name} (written)" if s.written else s.name for s in shape.spaces)
        raise _refused(shape, f"its data spaces are {names or 'none'}; a layer has two that are read and one that is written")
    read.sort(key=lambda s: {"weights": 0, "inputs": 2}.get(s.name.lower(), 1))
    return read[0], read[1], written[0]


def _axes(
    shape: Shape, space: DataSpace, sizes: Mapping[str, int], coefficients: Mapping[str, int]
) -> Iterator[tuple[_Step, ...]]:
    """The axes of a data space without dimensions of size 1, and without axes that are then empty."""
    seen: set[str] = set()
    for axis in space.axes:
        steps = [_Step(t.dim, coefficients[t.coefficient] if t.coefficient else 1) for t in axis if sizes[t.dim] > 1]
        for step in steps:
            if step.dim in seen:
                raise _refused(shape, f"dimension {step.dim} appears twice in {space.name}")
            seen.add(step.dim)
        if len(steps) > 2:
            raise _refused(shape, f"an axis of {space.name} sums {', '.join(s.dim for s in steps)}")
        if steps:
            yield tuple(steps)


def _slides(axis: Sequence[_Step]) -> bool:
    return len(axis) > 1 or axis[0].coefficient != 1


def _window(shape: Shape, space: DataSpace, axis: Sequence[_Step], where: Mapping[str, str], transposed: bool) -> _Window:
    """Position and kernel dimension of a sliding axis."""
    kernel = [step for step in axis if where[step.dim] == ("WO" if transposed else "WI")]
    position = [step for step in axis if where[step.dim] == "IO"]
    if len(kernel) > 1 or len(position) > 1 or len(kernel) + len(position) < len(axis):
        raise _refused(
            shape,
            f"an axis of {space.name} is made of {', '.join(s.dim for s in axis)}, which are not one position and one "
            "dimension of a kernel",
        )
    return _Window(position[0] if position else None, kernel[0] if kernel else None)


def _placed(shape: Shape, windows: Sequence[_Window], where: Mapping[str, str], *, product: bool) -> dict[str, Dim]:
    """The dimension of hwflow's to which each dimension corresponds; its own letter is preferred where it fits."""
    placed: dict[str, Dim] = {}
    free = list(_SLOTS)
    if len(windows) > len(free):
        raise _refused(shape, f"{len(windows)} windows slide")
    for window in sorted(windows, key=lambda w: not any(s and s.dim in "PQRS" for s in w)):
        letters = [step.dim for step in window if step]
        slot = next((slot for slot in free if set(letters) & set(slot)), free[0])
        free.remove(slot)
        for step, one in zip(window, slot, strict=True):
            if step:
                placed[step.dim] = one
    for dim, place in where.items():
        if dim not in placed:
            placed[dim] = _alone(dim, place, free, product=product)
    return placed


def _alone(dim: str, place: str, free: list[tuple[Dim, Dim]], *, product: bool) -> Dim:
    """The role of a dimension without a sliding window; it may take one of the `free` dimensions."""
    if place == "IO":
        if product:
            return "P"
        for slot in sorted(free, key=lambda slot: slot[0] != dim) if dim != "N" else ():
            free.remove(slot)
            return slot[0]
        return "N"
    if place == "WI":
        for slot in free:
            if slot[1] == dim:
                free.remove(slot)
                return slot[1]
        return "C"
    return "G" if place == "WIO" else "M"
