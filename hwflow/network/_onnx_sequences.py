"""Sequences and optionals of ONNX graphs, element by element where known, otherwise by onnx's inference."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onnx import TensorProto, TypeProto

from hwflow.network._onnx_node import Node
from hwflow.network._onnx_values import SMALL, Items, Nothing, Size, Tensor, Value, constant, known, unified

MOST_ITEMS = 10_000
"""Largest number of elements for which the sequence that a split returns is followed element by element."""


def _construct(node: Node) -> Value:
    return Items(tuple(node.tensor(i) for i in range(len(node.inputs))))


def _insert(node: Node) -> Value | None:
    sequence, tensor = node.value(0), node.tensor(1)
    position = _position(node, 2, sequence, one_more=True)
    if not isinstance(sequence, Items) or position is None:
        return None
    return Items((*sequence.items[:position], tensor, *sequence.items[position:]))


def _erase(node: Node) -> Value | None:
    sequence = node.value(0)
    position = _position(node, 1, sequence)
    if not isinstance(sequence, Items) or position is None:
        return None
    return Items((*sequence.items[:position], *sequence.items[position + 1 :]), sequence.dtype)


def _at(node: Node) -> Value | None:
    sequence = node.value(0)
    position = _position(node, 1, sequence)
    if not isinstance(sequence, Items):
        return None
    if position is not None:
        return sequence.items[position]
    return unified(sequence.items, constant=constant(sequence) and constant(node.value(1))) if sequence.items else None


def _length(node: Node) -> Value | None:
    sequence = node.value(0)
    return known(np.array(len(sequence.items), dtype=np.int64)) if isinstance(sequence, Items) else None


def _concatenated(node: Node) -> Value | None:
    sequence = node.value(0)
    if not isinstance(sequence, Items) or not sequence.items:
        return None
    one = unified(sequence.items, constant=constant(sequence))
    shapes = [item.shape for item in sequence.items if item.shape is not None]
    if not isinstance(one, Tensor) or one.shape is None or len(shapes) != len(sequence.items):
        return None
    axis, stacked = node.integer("axis"), bool(node.integer("new_axis"))
    rank = len(one.shape) + stacked
    if not -rank <= axis < rank:
        raise node.failure(f"it joins along axis {axis} of {rank}")
    axis %= rank
    data = [item.data for item in sequence.items if item.data is not None]
    if len(data) == len(sequence.items) and sum(d.size for d in data) <= SMALL:
        try:
            return known(np.stack(data, axis) if stacked else np.concatenate(data, axis))
        except ValueError as error:
            raise node.failure(f"its sequence cannot be joined: {error}") from error
    if stacked:
        return Tensor(one.dtype, (*one.shape[:axis], len(shapes), *one.shape[axis:]), one.constant)
    along = [shape[axis] for shape in shapes]
    lengths = [n for n in along if n is not None]
    total: Size = sum(lengths) if len(lengths) == len(along) else None
    return Tensor(one.dtype, (*one.shape[:axis], total, *one.shape[axis + 1 :]), one.constant)


def _split(node: Node) -> Value | None:
    tensor = node.tensor(0)
    axis, shape = node.integer("axis"), tensor.shape
    if shape is None or not -len(shape) <= axis < len(shape):
        return None
    axis %= len(shape)
    length = shape[axis]
    if length is None or (node.has(1) and node.tensor(1).data is None):
        return None
    given = node.content(1)
    if given is None:
        sizes: list[int] | None = None
        count = length
    elif node.tensor(1).shape == ():
        step = given[0]
        if step < 1:
            raise node.failure(f"it splits into pieces of {step}; they must have at least 1 element")
        count = -(-length // step)
        sizes = [min(step, length - i * step) for i in range(count)] if count <= MOST_ITEMS else []
    else:
        sizes, count = given, len(given)
        if sum(given) != length or min(given, default=0) < 0:
            raise node.failure(f"it splits {length} elements into {given}")
    if count > MOST_ITEMS:
        return None
    if sizes is None and not node.integer("keepdims", 1):
        return Items(tuple(Tensor(tensor.dtype, (*shape[:axis], *shape[axis + 1 :]), tensor.constant) for _ in range(count)))
    pieces = [1] * count if sizes is None else sizes
    return Items(tuple(Tensor(tensor.dtype, (*shape[:axis], n, *shape[axis + 1 :]), tensor.constant) for n in pieces))


def _optional(node: Node) -> Value | None:
    if node.has(0):
        return node.value(0)
    kind = TypeProto()
    if "type" in node.attributes:
        kind.optional_type.elem_type.CopyFrom(node.attributes["type"].tp)
    return Nothing(kind)


def _element(node: Node) -> Value | None:
    value = node.value(0)
    if isinstance(value, Nothing):
        raise node.failure("it takes the content of an optional that is empty")
    return value if isinstance(value, (Tensor, Items)) else None


def _has_element(node: Node) -> Value | None:
    value = node.inputs[0] if node.inputs else None
    if value is None or isinstance(value, (Tensor, Items, Nothing)):
        return known(np.array(isinstance(value, (Tensor, Items))))
    return Tensor(TensorProto.BOOL, ())


OPERATORS: dict[str, Callable[[Node], Value | None]] = {
    "ConcatFromSequence": _concatenated,
    "Optional": _optional,
    "OptionalGetElement": _element,
    "OptionalHasElement": _has_element,
    "SequenceAt": _at,
    "SequenceConstruct": _construct,
    "SequenceEmpty": lambda node: Items((), node.integer("dtype", TensorProto.FLOAT)),
    "SequenceErase": _erase,
    "SequenceInsert": _insert,
    "SequenceLength": _length,
    "SplitToSequence": _split,
}
"""The result of each operator; None where it depends on data."""


def _position(node: Node, at: int, sequence: Value, *, one_more: bool = False) -> int | None:
    """An index into a sequence, by default the last (for an insertion, the end); None where it depends on data."""
    if not isinstance(sequence, Items):
        return None
    length = len(sequence.items)
    if not length and not one_more:
        raise node.failure("its sequence is empty")
    if not node.has(at):
        return length if one_more else length - 1
    data = node.tensor(at).data
    if data is None or data.size != 1:
        return None
    position = int(data.ravel()[0])
    if not -length <= position < length + one_more:
        raise node.failure(f"its position is {position} in a sequence of {length}")
    return position + length if position < 0 else position


__all__ = ["MOST_ITEMS", "OPERATORS"]
