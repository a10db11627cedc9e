"""What is known of a value in an ONNX graph: type, shape, dependence on an input, and the content of small constants."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from onnx import TypeProto, helper

SMALL = 4096
"""Largest number of elements of constants that are evaluated as shapes, indices or scales; larger ones are weights."""

Size = int | None
Array = npt.NDArray[Any]


class Origin(NamedTuple):
    """Where a constant comes from.

    Attributes:
        parameters: names of the tensors in the file that it is computed from.
        identity: equal for constants that hold the same values.
    """

    parameters: tuple[str, ...]
    identity: Hashable


@dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor.

    Attributes:
        dtype: the element type, as `TensorProto` numbers it.
        shape: None in place of a size that depends on data; None altogether if the rank does.
        constant: whether it depends on no input of the graph.
        data: the content of a constant, if it is known and small.
        origin: the origin of a constant, once it is known.
    """

    dtype: int
    shape: tuple[Size, ...] | None
    constant: bool = False
    data: Array | None = None
    origin: Origin | None = None

    @property
    def sizes(self) -> tuple[int, ...] | None:
        """The complete shape; None where any part is unknown."""
        known = [n for n in self.shape or () if n is not None]
        return tuple(known) if self.shape is not None and len(known) == len(self.shape) else None

    @property
    def elements(self) -> int:
        """Number of elements; 0 where the shape depends on data."""
        sizes = self.sizes
        return 0 if sizes is None else math.prod(sizes)


@dataclass(frozen=True, eq=False)
class Items:
    """A sequence whose elements are known individually."""

    items: tuple[Tensor, ...]
    dtype: int = 0


@dataclass(frozen=True, eq=False)
class Nothing:
    """An empty optional."""

    type: Any


@dataclass(frozen=True, eq=False)
class Other:
    """A sequence of unknown length, an optional that may be empty, a map; `type` is None where even that is unknown."""

    type: Any
    constant: bool = False


Value = Tensor | Items | Nothing | Other


def constant(value: Value | None) -> bool:
    """Whether a value depends on no input of the graph, as an omitted input does not."""
    match value:
        case Tensor() | Other():
            return value.constant
        case Items():
            return all(item.constant for item in value.items)
    return True


def known(array: Any) -> Tensor:
    """A constant with this content."""
    array = np.asarray(array)
    return Tensor(helper.np_dtype_to_tensor_dtype(array.dtype), array.shape, True, array)


def elements(value: Value | None) -> int:
    """Number of elements of a tensor, or of all tensors of a sequence; 0 where that depends on data."""
    match value:
        case Tensor():
            return value.elements
        case Items():
            return sum(item.elements for item in value.items)
    return 0


def unified(values: Iterable[Value], *, constant: bool) -> Value:
    """What holds for all of these values, of which the running model takes one."""
    first, *rest = values
    if not isinstance(first, Tensor) or not all(isinstance(v, Tensor) for v in rest):
        return Other(type_of(first), constant)
    shape = first.shape
    for v in rest:
        assert isinstance(v, Tensor)
        if shape is None or v.shape is None or len(shape) != len(v.shape):
            shape = None
        else:
            shape = tuple(a if a == b else None for a, b in zip(shape, v.shape, strict=True))
    return Tensor(first.dtype, shape, constant)


def broadcast(*shapes: tuple[Size, ...] | None) -> tuple[Size, ...] | None:
    """The shape that results from NumPy's broadcasting; sizes that depend on data are assumed to fit.

    Raises:
        ValueError: where two sizes do not fit.
    """
    if any(s is None for s in shapes):
        return None
    rank = max((len(s) for s in shapes if s is not None), default=0)
    result: list[Size] = []
    for axis in range(-rank, 0):
        sizes = {s[axis] for s in shapes if s is not None and len(s) >= -axis} - {1}
        if len(sizes - {None}) > 1:
            raise ValueError(f"the sizes {sorted(n for n in sizes if n is not None)} do not broadcast")
        result.append(next(iter(sizes - {None} or sizes or {1})))
    return tuple(result)


def type_of(value: Value) -> Any:
    """The value's type as ONNX writes it; None where it is unknown."""
    match value:
        case Tensor():
            return helper.make_tensor_type_proto(value.dtype, value.shape) if value.dtype else None
        case Items():
            element = unified(value.items, constant=False) if value.items else Tensor(value.dtype or 1, None)
            inner = type_of(element)
            return helper.make_sequence_type_proto(inner) if inner is not None else None
    return value.type


def of_type(kind: TypeProto, *, constant: bool = False) -> Value:
    """The value that such a type describes."""
    if not kind.HasField("tensor_type"):
        return Other(kind, constant)
    tensor = kind.tensor_type
    shape = None
    if tensor.HasField("shape"):
        shape = tuple(d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim)
    return Tensor(tensor.elem_type, shape, constant)
