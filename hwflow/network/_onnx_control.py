"""ONNX's control flow: resolved where conditions are constant, explored where they depend on data."""

from __future__ import annotations

import contextlib
import math
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from onnx import TensorProto

from hwflow.layers import Layer
from hwflow.network._onnx_node import Node
from hwflow.network._onnx_values import (
    SMALL,
    Items,
    Nothing,
    Origin,
    Other,
    Tensor,
    Value,
    constant,
    known,
    of_type,
    type_of,
    unified,
)

Values = list[Value | None]
Scope = ChainMap[str, Value | None]
"""The values that a node can see, by name: those of its graph, then those of the graphs around it."""


class Run(Protocol):
    """What control flow asks of the walk through a model that meets it; see `hwflow.network._onnx_graph.Execution`."""

    rows: list[Any]

    def graph(self, graph: Any, scope: Scope, opsets: Mapping[str, int], prefix: str) -> Values: ...

    def stored(self, graph: Any, outer: Node | None = None) -> dict[str, Value | None]: ...

    def step(self, count: int = 1) -> None: ...

    def afford(self, count: int) -> None: ...

    def uncounted(self, node: Node) -> None: ...

    def undecided(self, node: Node) -> contextlib.AbstractContextManager[None]: ...


def _if(run: Run, node: Node, scope: Scope, opsets: Mapping[str, int], prefix: str) -> Values:
    condition = _scalar(node, 0)
    if condition is not None:
        chosen = _subgraph(node, "then_branch" if condition else "else_branch")
        return run.graph(chosen, scope.new_child(run.stored(chosen, node)), opsets, prefix)
    fixed = constant(node.value(0))
    both = []
    with run.undecided(node):
        for name in ("then_branch", "else_branch"):
            branch = _subgraph(node, name)
            both.append(run.graph(branch, scope.new_child(run.stored(branch, node)), opsets, prefix))
    results: Values = []
    for pair in zip(*both, strict=False):
        values = [v if v is not None else Other(None) for v in pair]
        results.append(unified(values, constant=fixed and all(map(constant, values))))
    return _unfollowed(run, node, results)


def _loop(run: Run, node: Node, scope: Scope, opsets: Mapping[str, int], prefix: str) -> Values:
    body = _subgraph(node, "body")
    carried = [v if v is not None else Other(None) for v in node.inputs[2:]]
    if len(body.input) != len(carried) + 2 or len(body.output) < len(carried) + 1:
        raise node.failure(
            f"its body has {len(body.input)} inputs and {len(body.output)} outputs for {len(carried)} values that it carries"
        )
    held = run.stored(body, node)

    def once(iteration: Value, condition: Value, state: Sequence[Value]) -> Values:
        run.step()
        given: dict[str, Value | None] = dict(zip((v.name for v in body.input), (iteration, condition, *state), strict=True))
        return run.graph(body, scope.new_child(held | given), opsets, prefix)

    trips, condition = _scalar(node, 0), _scalar(node, 1)
    decided = (trips is not None or not node.has(0)) and (condition is not None or not node.has(1))
    begun, state, iteration = len(run.rows), carried, 0
    collected: list[Values] = [[] for _ in body.output[len(carried) + 1 :]]
    going: Value = known(np.array(True))
    if decided and condition is not None:
        going = known(np.array(bool(condition)))
    if decided and _true(going) and _hands_on(body):
        if trips is None:
            raise node.failure("it never ends: it has no trip count, and its body does not change the condition")
        run.afford(max(trips, 0) * (1 + _least_nodes(body, scope.new_child(held))))
    while decided and (trips is None or iteration < trips) and _true(going):
        results = once(known(np.array(iteration, dtype=np.int64)), going, state)
        going = results[0] or Other(None)
        decided = isinstance(going, Tensor) and going.data is not None and going.data.size == 1
        state = [v or Other(None) for v in results[1 : len(carried) + 1]]
        for row, value in zip(collected, results[len(carried) + 1 :], strict=True):
            row.append(value)
        iteration += 1
        if not decided and iteration == trips:
            decided = True  # whether to continue after the last iteration does not matter
            break
    if decided:
        ends = body.output[len(carried) + 1 :]
        return [*state, *(_stacked(values, end) for values, end in zip(collected, ends, strict=True))]
    hidden = next((row for _, row in run.rows[begun:] if isinstance(row, Layer)), None)
    del run.rows[begun:]
    if hidden is not None:
        raise _undecidable(node, hidden.name)
    fixed = all(constant(v) for v in node.inputs[:2])
    with run.undecided(node):
        state, results = _settled(
            carried, lambda s: once(Tensor(TensorProto.INT64, (), fixed), Tensor(TensorProto.BOOL, (), fixed), s)[1:]
        )
    scans = [_any_length(value) for value in results[len(carried) :]]
    return _unfollowed(run, node, [*state, *scans])


def _scan(run: Run, node: Node, scope: Scope, opsets: Mapping[str, int], prefix: str) -> Values:
    if opsets.get("", 9) < 9:
        raise node.failure("Scan of operator set 8 is not followed; convert the model (onnx.version_converter) to 9 or later")
    body = _subgraph(node, "body")
    held = run.stored(body, node)
    count = node.positive("num_scan_inputs")
    first = len(node.inputs) - count
    if first < 0 or len(body.input) != len(node.inputs) or len(body.output) < first:
        raise node.failure(
            f"its body has {len(body.input)} inputs and {len(body.output)} outputs, the node {len(node.inputs)} inputs, of "
            f"which {count} are scanned"
        )
    axes = node.ints("scan_input_axes", [0] * count)
    backwards = node.ints("scan_input_directions", [0] * count)
    placed = node.ints("scan_output_axes", [0] * (len(body.output) - first))
    scanned = [node.tensor(first + i) for i in range(count)]
    lengths = set()
    for value, axis in zip(scanned, axes, strict=False):
        if value.shape is not None and not -len(value.shape) <= axis < len(value.shape):
            raise node.failure(f"it scans axis {axis} of a tensor with {len(value.shape)} axes")
        lengths.add(value.shape[axis] if value.shape is not None else None)
    if len(lengths) > 1 and None not in lengths:
        raise node.failure(f"what it scans has different lengths: {', '.join(map(str, lengths))}")
    state: list[Value] = [v if v is not None else Other(None) for v in node.inputs[:first]]

    def once(values: Sequence[Value], position: int | None) -> Values:
        run.step()
        slices = [
            _slice(v, axis, position if position is None or not back else -1 - position)
            for v, axis, back in zip(scanned, axes, backwards, strict=False)
        ]
        given: dict[str, Value | None] = dict(zip((v.name for v in body.input), (*values, *slices), strict=False))
        return run.graph(body, scope.new_child(held | given), opsets, prefix)

    length = next(iter(lengths - {None}), None)
    if length is None:
        with run.undecided(node):
            state, results = _settled(state, lambda s: once(s, None))
        return _unfollowed(run, node, [*state, *(_any_length(v) for v in results[first:])])
    collected: list[Values] = [[] for _ in body.output[first:]]
    for position in range(length):
        results = once(state, position)
        state = [v or Other(None) for v in results[:first]]
        for row, result in zip(collected, results[first:], strict=True):
            row.append(result)
    ends = body.output[first:]
    return [*state, *(_stacked(v, end, axis) for v, end, axis in zip(collected, ends, placed, strict=False))]


def _sequence_map(run: Run, node: Node, scope: Scope, opsets: Mapping[str, int], prefix: str) -> Values:
    body = _subgraph(node, "body")
    held = run.stored(body, node)

    def once(values: Sequence[Value | None]) -> Values:
        run.step()
        return run.graph(
            body, scope.new_child(held | dict(zip((v.name for v in body.input), values, strict=False))), opsets, prefix
        )

    mapped = node.value(0)
    if not isinstance(mapped, Items) or not all(isinstance(v, (Items, Tensor)) for v in node.inputs):
        with run.undecided(node):
            once([v if isinstance(v, Tensor) else _element(v) for v in node.inputs])
        return _unfollowed(run, node, [Other(None) for _ in body.output])
    columns: list[Values] = [[] for _ in body.output]
    for position in range(len(mapped.items)):
        values: Values = []
        for value in node.inputs:
            if isinstance(value, Items) and position >= len(value.items):
                raise node.failure("the sequences that it maps have different lengths")
            values.append(value.items[position] if isinstance(value, Items) else value)
        for column, result in zip(columns, once(values), strict=True):
            column.append(result)
    return [_sequence(column) for column in columns]


OPERATORS: dict[str, Callable[[Run, Node, Scope, Mapping[str, int], str], Values]] = {
    "If": _if,
    "Loop": _loop,
    "Scan": _scan,
    "SequenceMap": _sequence_map,
}


# Helpers -------------------------------------------------------------------------------------------------------------


def _subgraph(node: Node, name: str) -> Any:
    if name not in node.attributes or not node.attributes[name].HasField("g"):
        raise node.failure(f"its {name} is missing, so this is no whole ONNX file; export the model again")
    return node.attributes[name].g


def _scalar(node: Node, position: int) -> int | None:
    """The value of a condition or trip count; None where it is omitted or depends on data."""
    value = node.inputs[position] if node.has(position) else None
    if not isinstance(value, Tensor) or value.data is None or value.data.size != 1 or value.data.dtype.kind not in "biu":
        return None
    return int(value.data.ravel()[0])


def _true(value: Value) -> bool:
    return isinstance(value, Tensor) and value.data is not None and bool(value.data.ravel()[0])


def _undecidable(node: Node, inner: str) -> Exception:
    return node.failure(
        f"it runs a subgraph with layer {inner!r}, and how often that runs depends on data, so its multiply-accumulates cannot "
        "be counted. Export the model without control flow"
    )


def _hands_on(body: Any) -> bool:
    """Whether a loop's body returns the condition that it received."""
    same = {n.output[0]: n.input[0] for n in body.node if n.op_type == "Identity" and n.input and n.output and not n.domain}
    name = body.output[0].name
    while name in same:  # each once, since a damaged graph may have a cycle
        name = same.pop(name)
    return bool(name == body.input[1].name)


def _least_nodes(body: Any, values: Mapping[str, Value | None]) -> int:
    """A lower bound on the nodes that one run of a body follows: its own, and those of inner loops with stored trip counts.

    Args:
        values: the values visible to the body, by name.
    """
    stored: dict[str, Value | None] = {name: known(np.array(number)) for name, number in _numbers(body)}
    seen = ChainMap(stored, dict(values))
    count = len(body.node)
    for node in body.node:
        inner = next((a.g for a in node.attribute if a.name == "body"), None) if node.op_type == "Loop" else None
        if inner is None or node.domain or not (inner.output and len(inner.input) > 1 and _hands_on(inner)):
            continue
        trips, going = (seen.get(name) if name else None for name in (*node.input, "", "")[:2])
        if isinstance(trips, Tensor) and trips.data is not None and trips.data.size == 1 and (going is None or _true(going)):
            count += max(int(trips.data.ravel()[0]), 0) * (1 + _least_nodes(inner, seen))
    return count


def _numbers(graph: Any) -> Iterator[tuple[str, int]]:
    """The stored integer scalars of a graph, by name."""
    held = [(tensor.name, tensor) for tensor in graph.initializer]
    held += [(n.output[0], a.t) for n in graph.node if n.op_type == "Constant" for a in n.attribute if a.name == "value"]
    for name, tensor in held:
        if tensor.data_type == TensorProto.INT64 and math.prod(tensor.dims) == 1 and not tensor.external_data:
            numbers = tensor.int64_data or np.frombuffer(tensor.raw_data, "<i8", len(tensor.raw_data) // 8)
            if len(numbers) == 1:
                yield name, int(numbers[0])


def _unfollowed(run: Run, node: Node, results: Values) -> Values:
    node.outputs = results
    if not all(constant(v) for v in results):
        run.uncounted(node)
    return results


def _settled(state: list[Value], once: Callable[[list[Value]], Values]) -> tuple[list[Value], Values]:
    """What is known of the carried values for any number of iterations, and the body's results under that."""
    state = [_content_dropped(value) for value in state]
    while True:
        results = once(state)
        after = [
            unified([a, b or Other(None)], constant=constant(a) and constant(b))
            for a, b in zip(state, results[: len(state)], strict=False)
        ]
        if all(_same(a, b) for a, b in zip(state, after, strict=True)):
            return state, results
        state = after


def _content_dropped(value: Value) -> Value:
    if isinstance(value, Tensor):
        return Tensor(value.dtype, value.shape, value.constant)
    return Other(type_of(value), constant(value)) if isinstance(value, (Items, Nothing)) else value


def _same(a: Value, b: Value) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return (a.shape, a.constant) == (b.shape, b.constant)
    return type(a) is type(b) and constant(a) == constant(b)


def _slice(value: Tensor, axis: int, position: int | None) -> Tensor:
    """A scanned tensor at one position of its axis, or at any."""
    shape = value.shape
    if shape is not None:
        axis %= len(shape)
        shape = (*shape[:axis], *shape[axis + 1 :])
    data = value.data.take(position, axis) if value.data is not None and position is not None else None
    origin = value.origin and Origin(value.origin.parameters, (value.origin.identity, axis, position))
    return Tensor(value.dtype, shape, value.constant, data, origin)


def _stacked(values: Values, end: Any, axis: int = 0) -> Value:
    """The iterations' values of one output along a new axis; `end` describes that output where there was no iteration."""
    if not values:
        one = of_type(end.type, constant=True)
    else:
        one = unified([v or Other(None) for v in values], constant=all(map(constant, values)))
    if not isinstance(one, Tensor):
        return one
    shape = None
    if one.shape is not None:
        axis %= len(one.shape) + 1
        shape = (*one.shape[:axis], len(values), *one.shape[axis:])
    data = [v.data for v in values if isinstance(v, Tensor) and v.data is not None]
    if values and len(data) == len(values) and one.sizes is not None and one.elements * len(values) <= SMALL:
        return known(np.stack(data, axis))
    return Tensor(one.dtype, shape, one.constant)


def _any_length(value: Value | None) -> Value:
    if not isinstance(value, Tensor):
        return Other(None)
    return Tensor(value.dtype, None if value.shape is None else (None, *value.shape), value.constant)


def _element(value: Value | None) -> Value:
    if isinstance(value, Other) and value.type is not None and value.type.HasField("sequence_type"):
        return of_type(value.type.sequence_type.elem_type)
    return Other(None)


def _sequence(column: Values) -> Value:
    tensors = tuple(v for v in column if isinstance(v, Tensor))
    return Items(tensors) if len(tensors) == len(column) else Other(None)
