"""Results of one ONNX node: shapes by onnx's own inference, and values where they are small and constant."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper, shape_inference
from onnx.reference import ReferenceEvaluator

from hwflow.errors import ImportFailed
from hwflow.network._onnx_node import Node
from hwflow.network._onnx_stored import has_external
from hwflow.network._onnx_values import SMALL, Array, Items, Other, Tensor, Value, constant, known, of_type, type_of
from hwflow.network._rows import shown

_COUNTS = frozenset(["blocksize", "dilations", "group", "kernel_shape", "num_outputs", "strides"])
"""Attributes by which sizes are divided or multiplied, and which are therefore at least 1."""

_FOLDED = """
    Abs Add And BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast CastLike Ceil Clip Concat ConstantOfShape CumSum Div
    Equal Exp Expand Flatten Floor Gather GatherElements GatherND Greater GreaterOrEqual Identity Less LessOrEqual Log Max Mean
    Min Mod Mul Neg NonZero Not Or Pow Range Reciprocal ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum Relu Reshape Round
    ScatterElements ScatterND Sign Slice Split Sqrt Squeeze Sub Sum Tile Transpose Trilu Unsqueeze Where Xor
"""
FOLDED = frozenset(_FOLDED.split())
"""Operators that compute shapes, indices, scales and conditions. None needs memory beyond its inputs and results."""


def infer(node: Node, opsets: Mapping[str, int]) -> list[Value | None]:
    """What is known about the results of a node without subgraphs.

    Raises:
        ImportFailed: where the inputs contradict each other or the node.
    """
    fixed = all(constant(v) for v in node.inputs)
    for name in _COUNTS & set(node.attributes):
        attribute = node.attributes[name]
        if any(n < 1 for n in (attribute.ints or [attribute.i])):
            raise node.failure(f"its attribute {name} is {list(attribute.ints) or attribute.i}; it must be at least 1")
    if node.op in ("Shape", "Size"):
        return [_measured(node)]
    types = _inferred(node, opsets)
    results: list[Value | None] = []
    for name in node.proto.output:
        value = of_type(types[name], constant=fixed) if name in types else Other(None, fixed)
        if isinstance(value, Tensor) and any(n is not None and n < 0 for n in value.shape or ()):
            raise node.failure(f"its result would have the shape {shown(value.shape or ())}")
        results.append(value if name else None)
    if node.op == "Reshape":
        _check_reshape(node, results[0])
    if not fixed:
        return results
    contents = folded(node, opsets, results)
    if contents is not None:
        return [known(c) if r is not None else None for c, r in zip(contents, results, strict=True)]
    return results


def _inferred(node: Node, opsets: Mapping[str, int]) -> dict[str, Any]:
    """Types of the results by name, from a model of this node alone."""
    proto = onnx.NodeProto()
    proto.CopyFrom(node.proto)
    values: dict[str, Value] = {}
    for position, value in enumerate(node.inputs):
        if value is None:
            proto.input[position] = ""
        else:
            values[proto.input[position]] = value
    types = {name: type_of(value) for name, value in values.items()}
    if any(kind is None for kind in types.values()):
        return {}
    data = {n: v.data for n, v in values.items() if isinstance(v, Tensor) and v.data is not None and _is_size(v.data)}
    outputs = [onnx.ValueInfoProto(name=name) for name in proto.output if name]
    try:
        graph = helper.make_graph(
            [proto],
            "node",
            [helper.make_value_info(name, kind) for name, kind in types.items() if name not in data],
            outputs,
            [
                numpy_helper.from_array(np.ascontiguousarray(content).reshape(content.shape), name)
                for name, content in data.items()
            ],
        )
        model = helper.make_model(graph, opset_imports=_imports(opsets), ir_version=8)
        inferred = shape_inference.infer_shapes(model, strict_mode=True).graph
    except Exception as error:  # onnx raises its own exceptions, protobuf's and Python's
        shapes = ", ".join(f"{name} {_described(value)}" for name, value in values.items() if name in proto.input)
        raise node.failure(f"the shapes contradict each other: {_reason(error)}; inputs: {shapes or 'none'}") from error
    return {v.name: v.type for v in inferred.output if v.type.WhichOneof("value")}


def _is_size(data: Array) -> bool:
    """Whether a tensor's content can determine a shape: integers, or a few scales."""
    return data.dtype.kind in "biu" or data.size <= 64


def _reason(error: Exception) -> str:
    """The text of onnx's error without the operator's name in front."""
    return " ".join(str(error).split("[ShapeInferenceError]")[-1].split()).rstrip(".")


def _proto(content: Array, name: str) -> Any:
    return numpy_helper.from_array(np.ascontiguousarray(content).reshape(content.shape), name)


def _described(value: Value) -> str:
    if not isinstance(value, Tensor):
        return "a sequence" if isinstance(value, Items) else "no tensor"
    return "of unknown shape" if value.shape is None else shown(["?" if n is None else n for n in value.shape])


def _imports(opsets: Mapping[str, int]) -> list[Any]:
    return [helper.make_opsetid(domain, version) for domain, version in opsets.items()]


def _check_reshape(node: Node, result: Value | None) -> None:
    """Refuse a constant target shape that contradicts the requested batch size; onnx's inference accepts it."""
    before, after = node.tensor(0).sizes, result.sizes if isinstance(result, Tensor) else None
    if before is not None and after is not None and math.prod(before) != math.prod(after):
        raise ImportFailed(
            f"{node.path}: node {node.name!r} (Reshape) turns {shown(before)} into {shown(after)}, which the file fixes: it "
            "was exported for another input size. Leave --batch and --input out, or export it with dynamic axes."
        )


# Content -------------------------------------------------------------------------------------------------------------


def _measured(node: Node) -> Tensor:
    """`Shape` and `Size`, which depend on the shape only."""
    shape = node.tensor(0).shape
    if node.op == "Shape" and shape is not None:
        shape = shape[node.integer("start") : node.integer("end", len(shape))]
    if shape is None or None in shape:
        return Tensor(onnx.TensorProto.INT64, () if node.op == "Size" else None if shape is None else (len(shape),))
    sizes = [n for n in shape if n is not None]
    content = math.prod(sizes) if node.op == "Size" else sizes
    if any(n >= 2**63 for n in ([content] if isinstance(content, int) else sizes)):
        raise node.failure(f"the tensor that it measures has the shape {shown(sizes)}, more than 2^63 elements")
    return known(np.array(content, dtype=np.int64))


def folded(node: Node, opsets: Mapping[str, int], results: Sequence[Value | None]) -> list[Array] | None:
    """The content of the results; None where an input's is unknown, or a result is too large to be a shape."""
    if node.op not in FOLDED or has_external(node.proto) or _expanded(node) > SMALL:
        return None
    feeds: dict[str, Array] = {}
    for name, value in zip(node.proto.input, node.inputs, strict=True):
        if value is not None:
            if not isinstance(value, Tensor) or value.data is None:
                return None
            feeds[name] = value.data
    sizes = [v.sizes if isinstance(v, Tensor) else None for v in results if v is not None]
    if any(s is not None and math.prod(s) > SMALL for s in sizes):
        return None
    # Operators that repeat their inputs, by broadcasting or by indices, give at most as many elements as the inputs' product.
    if None in sizes and math.prod(max(1, d.size) for d in feeds.values()) > 16 * SMALL:
        return None
    proto = onnx.NodeProto()
    proto.CopyFrom(node.proto)
    for position, value in enumerate(node.inputs):
        if value is None:
            proto.input[position] = ""
    try:
        graph = helper.make_graph(
            [proto],
            "constant",
            [helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape) for k, v in feeds.items()],
            [onnx.ValueInfoProto(name=name) for name in proto.output if name],
        )
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            found = ReferenceEvaluator(helper.make_model(graph, opset_imports=_imports(opsets), ir_version=8)).run(None, feeds)
    except Exception:  # the reference has no such kernel: the result is constant, but its content stays unknown
        return None
    if not all(isinstance(r, (np.ndarray, np.generic)) for r in found):
        return None
    contents = iter(found)
    return [np.asarray(next(contents)) if name else np.zeros(0) for name in proto.output]


def _expanded(node: Node) -> int:
    """The number of elements of a result that a few numbers determine, as Python's integers, which cannot overflow."""
    data = [v.data for v in node.inputs if isinstance(v, Tensor) and v.data is not None]
    if len(data) != len(node.inputs) or any(d.dtype.kind not in "biuf" for d in data):
        return 0
    try:
        numbers = [d.ravel().tolist() for d in data]
        match node.op:
            case "Range":
                start, limit, delta = (n[0] for n in numbers)
                count: int = math.ceil((limit - start) / delta)
                return max(0, count)
            case "ConstantOfShape":
                return math.prod(int(n) for n in numbers[0])
            case "Expand":
                return math.prod(max(1, int(n)) for n in numbers[1]) * max(1, data[0].size)
            case "Tile":
                return math.prod(max(1, int(n)) for n in numbers[1]) * max(1, data[0].size)
    except (ArithmeticError, ValueError, IndexError):  # cannot be computed; onnx gives the reason
        return SMALL + 1
    return 0


__all__ = ["FOLDED", "folded", "infer"]
