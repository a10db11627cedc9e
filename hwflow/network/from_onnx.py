"""A `Network` from an ONNX file. Only shapes are read: weights may be missing, stored outside, or made by nodes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwflow.data import checked
from hwflow.errors import ImportFailed, InputError, MissingDependency
from hwflow.layers import Layer
from hwflow.network import Network, OtherOp
from hwflow.network._onnx_ops import CONTROL, FREE, LEARNT, OTHER
from hwflow.network._rows import convolution, einsum, product

if TYPE_CHECKING:
    from hwflow.network._onnx_shapes import Shapes


def read(path: str | Path, *, input_shape: Any = None, batch: int | None = None) -> Network:
    """The layers of an ONNX model, in the file's (topological) order, named by its nodes.

    What depends on no input of the graph is a constant that is computed once: neither row nor operator.

    Args:
        input_shape: sizes of the first input, batch included, or a tuple of shapes for all inputs; needed where the file leaves
            sizes open other than the batch.
        batch: size of the first axis of the inputs. Where the file fixes it, it is changed, if the graph allows that.

    Raises:
        InputError: where the file does not exist, or `input_shape` and `batch` contradict the file or each other.
        ImportFailed: naming the node that cannot be expressed, or the input and dimension whose size is missing.
        MissingDependency: where onnx is not installed.
    """
    path = Path(path)
    model = _load(path)
    graph = model.graph
    if not graph.node:
        raise ImportFailed(f"{path} holds no ONNX graph with nodes in it.")
    _check_operators(model, path)
    from hwflow.network._onnx_inputs import fix_inputs
    from hwflow.network._onnx_shapes import infer

    fix_inputs(graph, path, input_shape, batch)
    shapes = infer(model, path)
    layers: list[Layer] = []
    other: list[OtherOp] = []
    for node in shapes.nodes:
        if all(name in shapes.constant for name in node.output if name):
            continue
        if node.op_type in _ROWS:
            layers.append(_row(node, shapes, path))
        elif node.op_type not in FREE:
            other.append(_other(node, shapes))
    if not layers:
        raise ImportFailed(f"{path} holds no convolution, linear layer or matrix product; there is nothing to cost.")
    return Network(path.stem, tuple(layers), tuple(other))


def _load(path: Path) -> Any:
    checked(path, "", "onnx", ": there is no such file. NETWORK may be an .onnx file; check the path")
    try:
        import onnx
    except ModuleNotFoundError as error:
        if error.name != "onnx":
            raise
        raise MissingDependency(
            f'reading {path} needs onnx, which is not installed here: pip install "hwflow[onnx]"'
        ) from error
    try:
        return onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf's DecodeError has moved between its versions
        raise ImportFailed(f"{path} cannot be read as ONNX: {' '.join(str(error).split())}") from error


# Operators -----------------------------------------------------------------------------------------------------------


def _check_operators(model: Any, path: Path) -> None:
    """Refuses what is unknown before any shape is worked out, since the shapes behind it would be unknown too."""
    functions = {(f.domain, f.name): f for f in model.functions}
    for node in (*model.graph.node, *(node for f in model.functions for node in f.node)):
        if (node.domain, node.op_type) in functions:
            continue
        label = f"{path}: node {_name(node)!r}"
        if node.domain not in ("", "ai.onnx"):
            raise ImportFailed(
                f"{label} is the operator {node.domain}::{node.op_type}, which is not ONNX's own; hwflow cannot know whether "
                "it holds multiply-accumulates. Export without custom operators, or describe the network as a YAML layer list."
            )
        if node.op_type in CONTROL:
            _check_subgraphs(node, node, label)
        elif node.op_type not in OTHER and node.op_type not in FREE and node.op_type not in _ROWS:
            raise ImportFailed(
                f"{label} is the operator {node.op_type}, which hwflow cannot express as convolution, linear layer or matrix "
                "product, and which is not known to be free of multiply-accumulates. Replace it, or describe the network as a "
                "YAML layer list."
            )


def _check_subgraphs(outer: Any, node: Any, label: str) -> None:
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                if inner.op_type in CONTROL:
                    _check_subgraphs(outer, inner, label)
                elif inner.domain not in ("", "ai.onnx") or inner.op_type not in OTHER | FREE:
                    raise ImportFailed(
                        f"{label} ({outer.op_type}) runs a subgraph with node {_name(inner)!r} ({inner.op_type}): how often "
                        "that runs depends on data, so its multiply-accumulates cannot be counted. Export the model without "
                        "control flow."
                    )


def _other(node: Any, shapes: Shapes) -> OtherOp:
    learnt = sum(
        shapes.elements(node.input[i])
        for i in LEARNT.get(node.op_type, ())
        if i < len(node.input) and node.input[i] in shapes.constant
    )
    words_in = sum(shapes.elements(name) for name in node.input if name and name not in shapes.constant)
    # Further results of poolings, normalisations and dropouts are there for training.
    outputs = [name for name in node.output if name]
    words_out = sum(map(shapes.elements, outputs if node.op_type in ("Split", "TopK", *CONTROL) else outputs[:1]))
    return OtherOp(_name(node), node.op_type, words_in, words_out, learnt)


# Rows ----------------------------------------------------------------------------------------------------------------


class _Node:
    """A node with what a row asks of it."""

    def __init__(self, node: Any, shapes: Shapes, path: Path) -> None:
        self.name = _name(node)
        self.op = node.op_type
        self.inputs: list[str] = list(node.input)
        self.outputs: list[str] = list(node.output)
        self._attributes = {a.name: a for a in node.attribute}
        self._shapes = shapes
        self._path = path

    def input(self, position: int) -> str:
        """The name of an input that must be there."""
        return self._tensor(self.inputs, position, "input")

    def output(self) -> str:
        """The name of the result."""
        return self._tensor(self.outputs, 0, "output")

    def _tensor(self, names: list[str], position: int, kind: str) -> str:
        if position >= len(names) or not names[position]:
            raise self.failure(f"its {kind} {position + 1} is missing, so this is no whole ONNX file; export the model again")
        return names[position]

    def shape(self, tensor: str) -> tuple[int, ...]:
        shape = self._shapes.known(tensor)
        if shape is None:
            raise self.failure(f"the shape of {tensor!r} is {self._shapes.of.get(tensor, 'unknown')}; it depends on data")
        return shape

    def fixed(self, tensor: str) -> bool:
        return tensor in self._shapes.constant

    def ints(self, name: str, default: Sequence[int]) -> list[int]:
        return list(self._attributes[name].ints) if name in self._attributes else list(default)

    def integer(self, name: str, default: int = 0) -> int:
        return int(self._attributes[name].i) if name in self._attributes else default

    def text(self, name: str) -> str:
        return self._attributes[name].s.decode(errors="replace") if name in self._attributes else ""

    def size(self, position: int) -> int:
        """Elements of an optional input that is a constant."""
        present = position < len(self.inputs) and self.inputs[position] and self.fixed(self.inputs[position])
        return math.prod(self.shape(self.inputs[position])) if present else 0

    def failure(self, why: str) -> ImportFailed:
        return ImportFailed(f"{self._path}: node {self.name!r} ({self.op}): {why}.")


def _row(node: Any, shapes: Shapes, path: Path) -> Layer:
    wrapped = _Node(node, shapes, path)
    try:
        return _ROWS[node.op_type](wrapped)
    except ImportFailed:
        raise
    except InputError as error:
        raise wrapped.failure(str(error).rstrip(".")) from error


def _conv(node: _Node, weights: int = 1, bias: int | None = 2) -> Layer:
    x, w = node.input(0), node.input(weights)
    if not node.fixed(w):
        raise node.failure("its weights are computed from the input")
    shape = node.shape(w)
    ones = [1] * (len(shape) - 2)
    return convolution(
        node.name,
        node.shape(x),
        node.shape(node.output()),
        shape,
        strides=node.ints("strides", ones),
        dilations=node.ints("dilations", ones),
        groups=node.integer("group", 1),
        bias=0 if bias is None else node.size(bias),
        transposed=node.op == "ConvTranspose",
    )


def _matmul(node: _Node, right: int = 1) -> Layer:
    a, b = node.input(0), node.input(right)
    return product(node.name, node.shape(a), node.shape(b), left_fixed=node.fixed(a), right_fixed=node.fixed(b))


def _gemm(node: _Node) -> Layer:
    a, b = node.input(0), node.input(1)
    left, right = node.shape(a), node.shape(b)
    return product(
        node.name,
        left[::-1] if node.integer("transA") else left,
        right[::-1] if node.integer("transB") else right,
        left_fixed=node.fixed(a),
        right_fixed=node.fixed(b),
        bias=node.size(2),
    )


def _einsum(node: _Node) -> Layer:
    equation = node.text("equation")
    if len(node.inputs) != 2:
        raise node.failure(f"{equation!r} has {len(node.inputs)} operands; hwflow expresses products of two")
    a, b = node.input(0), node.input(1)
    return einsum(node.name, equation, node.shape(a), node.shape(b), left_fixed=node.fixed(a), right_fixed=node.fixed(b))


_ROWS: dict[str, Callable[[_Node], Layer]] = {
    "Conv": _conv,
    "ConvTranspose": _conv,
    "ConvInteger": lambda node: _conv(node, bias=None),
    "QLinearConv": lambda node: _conv(node, weights=3, bias=8),
    "MatMul": _matmul,
    "MatMulInteger": _matmul,
    "QLinearMatMul": lambda node: _matmul(node, right=3),
    "Gemm": _gemm,
    "Einsum": _einsum,
}


def _name(node: Any) -> str:
    """The node's name; nodes need none, their results do."""
    return str(node.name or next((name for name in node.output if name), node.op_type))


__all__ = ["read"]
