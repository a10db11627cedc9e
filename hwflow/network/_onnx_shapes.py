"""Shapes of every tensor of an ONNX graph: onnx's own inference, again and again while constant parts are folded."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import external_data_helper, inliner, numpy_helper, shape_inference
from onnx.reference import ReferenceEvaluator

from hwflow.errors import ImportFailed
from hwflow.network._onnx_ops import CONTROL, RANDOM
from hwflow.network._rows import shown

_SMALL = 4096
"""Elements up to which a constant may be a shape, an index or a scale, and is kept and folded; larger ones are weights."""

Size = int | None


@dataclass
class Shapes:
    """What is known of a graph's tensors.

    Attributes:
        nodes: those that are left when what could be computed has been.
        of: for each tensor its sizes, None where a size is unknown.
        constant: names of the tensors that depend on no input of the graph.
        folded: nodes whose results became initializers, in an order in which they can be computed.
    """

    nodes: list[Any]
    of: dict[str, tuple[Size, ...]] = field(default_factory=dict)
    constant: set[str] = field(default_factory=set)
    folded: list[Any] = field(default_factory=list)

    def known(self, name: str) -> tuple[int, ...] | None:
        """The whole shape; None where any part is unknown."""
        shape = self.of.get(name)
        sizes = [n for n in shape if n is not None] if shape is not None else []
        return tuple(sizes) if shape is not None and len(sizes) == len(shape) else None

    def elements(self, name: str) -> int:
        """Elements of a tensor; 0 where its shape depends on data."""
        shape = self.known(name)
        return 0 if shape is None else math.prod(shape)


def infer(model: Any, path: Path) -> Shapes:
    """Shapes of a model whose inputs have their sizes.

    Args:
        model: an onnx ModelProto; it is changed (weights lose their data, constant nodes become initializers).

    Raises:
        ImportFailed: naming the node whose inputs contradict each other.
    """
    if model.functions:
        model = inliner.inline_local_functions(model)
    graph = model.graph
    model.ir_version = max(model.ir_version, 4)  # before, inference looks at no initializer that is not an input as well
    del graph.value_info[:]  # what a tool wrote there holds for the batch size that it saw
    for output in graph.output:
        output.type.tensor_type.ClearField("shape")
    values = _small_values(graph, path)
    folded: list[Any] = []
    while True:
        try:
            inferred = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
        except Exception as error:
            raise ImportFailed(f"{path}: the shapes contradict each other: {' '.join(str(error).split())}") from error
        shapes = _collect(graph, inferred)
        if not (just := _fold(model, shapes, values)):
            break
        folded += just
    shapes.folded = folded
    _check_reshapes(shapes, path)
    return shapes


def _small_values(graph: Any, path: Path) -> dict[str, npt.NDArray[Any]]:
    """Values of small initializers; the others are emptied, since only their shapes matter."""
    values = {}
    for tensor in graph.initializer:
        small = math.prod(tensor.dims) <= _SMALL
        if small and external_data_helper.uses_external_data(tensor):
            try:
                external_data_helper.load_external_data_for_tensor(tensor, str(path.parent))
                tensor.data_location = onnx.TensorProto.DEFAULT
            except (OSError, ValueError, RuntimeError, onnx.checker.ValidationError):
                small = False  # a weight whose file was not given along
        if small:
            try:
                values[tensor.name] = numpy_helper.to_array(tensor)
            except Exception as error:  # what onnx raises on damaged tensors is not bounded
                raise ImportFailed(f"{path}: the initializer {tensor.name!r} is damaged: {error}.") from error
        else:
            bare = onnx.TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
            tensor.CopyFrom(bare)
    return values


def _collect(graph: Any, inferred: Any) -> Shapes:
    shapes = Shapes(list(graph.node))
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        kind = value.type.tensor_type
        if value.type.HasField("tensor_type") and kind.HasField("shape"):
            shapes.of[value.name] = tuple(d.dim_value if d.HasField("dim_value") else None for d in kind.shape.dim)
    for tensor in graph.initializer:
        shapes.of[tensor.name] = tuple(tensor.dims)
        shapes.constant.add(tensor.name)
    for sparse in graph.sparse_initializer:
        shapes.of[sparse.values.name] = tuple(sparse.dims)
        shapes.constant.add(sparse.values.name)
    for node in shapes.nodes:
        if node.op_type not in CONTROL and all(name in shapes.constant for name in node.input if name):
            shapes.constant.update(name for name in node.output if name)
    return shapes


def _fold(model: Any, shapes: Shapes, values: dict[str, npt.NDArray[Any]]) -> list[Any]:
    """Turns nodes whose results are known into initializers; gives copies of those nodes."""
    graph = model.graph
    kept: list[Any] = []
    folded: list[Any] = []
    for node in graph.node:
        results = _computed(node, model, shapes, values)
        if results is None:
            kept.append(node)
            continue
        folded.append(onnx.NodeProto.FromString(node.SerializeToString()))
        for name, value in zip(node.output, results, strict=True):
            values[name] = value
            graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value).reshape(value.shape), name))
    if folded:
        nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in kept]
        del graph.node[:]
        graph.node.extend(nodes)
    return folded


def _computed(node: Any, model: Any, shapes: Shapes, values: dict[str, npt.NDArray[Any]]) -> list[npt.NDArray[Any]] | None:
    """The results of a node where its inputs, or for `Shape` and `Size` their sizes, are known; else None."""
    if node.op_type in ("Shape", "Size") and node.input[0] not in values:
        shape = shapes.known(node.input[0])
        if shape is None:
            return None
        if node.op_type == "Size":
            return [np.array(math.prod(shape), dtype=np.int64)]
        bounds = {a.name: a.i for a in node.attribute}
        return [np.array(shape[bounds.get("start", 0) : bounds.get("end", len(shape))], dtype=np.int64)]
    if node.op_type in RANDOM | CONTROL or any(name not in values for name in node.input if name):
        return None
    if any(not name or not 0 <= _elements(shapes, name) <= _SMALL for name in node.output):
        return None
    feeds = {name: values[name] for name in node.input if name}
    graph = onnx.helper.make_graph(
        [node],
        "constant",
        [
            onnx.helper.make_tensor_value_info(k, onnx.helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
            for k, v in feeds.items()
        ],
        [onnx.ValueInfoProto(name=name) for name in node.output],
    )
    single = onnx.helper.make_model(graph, opset_imports=model.opset_import)
    try:
        results = ReferenceEvaluator(single).run(None, feeds)
    except Exception:
        return None  # the reference has no such kernel: the node stays, its constancy is known all the same
    return [np.asarray(r) for r in results] if all(isinstance(r, (np.ndarray, np.generic)) for r in results) else None


def _elements(shapes: Shapes, name: str) -> int:
    shape = shapes.known(name)
    return -1 if shape is None else math.prod(shape)


def _check_reshapes(shapes: Shapes, path: Path) -> None:
    """onnx's inference takes a constant target shape at its word, also where another batch size was asked for."""
    for node in shapes.nodes:
        if node.op_type != "Reshape":
            continue
        before, after = shapes.known(node.input[0]), shapes.known(node.output[0])
        if before is not None and after is not None and math.prod(before) != math.prod(after):
            raise ImportFailed(
                f"{path}: node {node.name or node.output[0]!r} (Reshape) turns {shown(before)} into {shown(after)}, which the "
                "file fixes: it was exported for another input size. Leave --batch and --input out, or export it with dynamic "
                "axes."
            )
