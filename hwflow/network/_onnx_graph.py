"""Traversal of an ONNX graph in the order of execution, down to the layers and operators that run.

Every value's shape and every small constant's content is known where its node is reached, so that conditions, trip counts and
positions that are constants, or follow from shapes, decide which branch is taken and how often a loop's body runs.
"""

from __future__ import annotations

import contextlib
import math
from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto

from hwflow.errors import ImportFailed, InputError
from hwflow.layers import Layer
from hwflow.network import _onnx_control as control
from hwflow.network import _onnx_functions as functions
from hwflow.network import _onnx_microsoft as microsoft
from hwflow.network import _onnx_sequences as sequences
from hwflow.network._onnx_control import Scope
from hwflow.network._onnx_inference import infer
from hwflow.network._onnx_node import Node
from hwflow.network._onnx_ops import FREE, OTHER, SEVERAL_RESULTS
from hwflow.network._onnx_parameters import Constants
from hwflow.network._onnx_rows import ROWS, einsum_result
from hwflow.network._onnx_stored import sparse, stored
from hwflow.network._onnx_values import Items, Tensor, Value, constant, elements, known, of_type
from hwflow.network._onnx_widths import Widths
from hwflow.network.graph import Graph, GraphBuilder, Made
from hwflow.network.network import OtherOp

_WINDOWED = frozenset(["AveragePool", "LpPool", "MaxPool"])


class Execution:
    """What a model executes, as far as it has been followed.

    Attributes:
        rows: layers and operators that are not counted, each with its node, in order of execution.
        constants: where the constants come from that they read.
        flow: which of them reads what which other one writes.
    """

    def __init__(self, model: Any, path: Path) -> None:
        self.rows: list[tuple[Node, Layer | OtherOp]] = []
        self.constants = Constants()
        self.flow = GraphBuilder()
        self._widths = Widths()
        self.path = path
        self.unread: dict[str, str] = {}
        self._functions = functions.by_key(model)
        self._steps = 0
        self._depth = 0
        self._undecided: Node | None = None
        self._places: dict[
            int, tuple[int, Value]
        ] = {}  # in the graph, by the value's identity, which the value keeps from others
        functions.check_size(model, self._functions, path)
        imports = {("" if o.domain == "ai.onnx" else o.domain): o.version for o in model.opset_import}
        inputs: dict[str, Value | None] = {v.name: of_type(v.type) for v in model.graph.input}
        stored_in = self.stored(model.graph)
        given = [self._made(value) for name, value in inputs.items() if name not in stored_in]
        results = self.graph(model.graph, ChainMap(inputs | stored_in), imports, "")
        held = [place for value in results for place in self._read(value)]
        self.dataflow: Graph | None = self.flow.graph([place for places in given for place in places], held)

    # Graphs and nodes ------------------------------------------------------------------------------------------------

    def stored(self, graph: Any, outer: Node | None = None) -> dict[str, Value | None]:
        """What a graph holds in itself, by name; `outer` is the node whose subgraph it is."""
        held = {t.name: stored(t, self.path, self.unread, t.name) for t in graph.initializer}
        held.update({t.values.name: sparse(t, self.path) for t in graph.sparse_initializer})
        place = "" if outer is None else f"{outer.name}/{graph.name}/"
        return {name: self.constants.named(tensor, f"{place}{name}") for name, tensor in held.items()}

    def graph(self, graph: Any, scope: Scope, opsets: Mapping[str, int], prefix: str) -> list[Value | None]:
        """Follow a graph, whose inputs and initializers stand in `scope` already; its outputs."""
        self._nodes(graph.node, scope, opsets, prefix)
        return [scope.get(value.name) for value in graph.output]

    @contextlib.contextmanager
    def undecided(self, node: Node) -> Iterator[None]:
        """While a subgraph is followed that runs an unknown number of times: for its shapes only, and rows are refused."""
        outermost = self._undecided
        self._undecided = outermost or node
        self.flow.known = False
        try:
            yield
        finally:
            self._undecided = outermost

    def step(self, count: int = 1) -> None:
        """Count what is followed.

        Raises:
            ImportFailed: where that is more than any network has.
        """
        self.afford(count)
        self._steps += count

    def afford(self, count: int) -> None:
        """Refuse what would be more than any network has, before it is followed.

        Raises:
            ImportFailed: as `step`.
        """
        if self._steps + count > functions.MOST_NODES:
            raise functions.too_many(self.path, "the graph", self._steps + count)

    def _nodes(self, nodes: Iterable[Any], scope: Scope, opsets: Mapping[str, int], prefix: str) -> None:
        self._depth += 1
        if self._depth > functions.DEEPEST:
            raise ImportFailed(f"{self.path}: its functions, branches and loops are more than {functions.DEEPEST} deep.")
        for proto in nodes:
            self.step()
            inputs: list[Value | None] = []
            for name in proto.input:
                if name and name not in scope:
                    label = proto.name or (proto.output[0] if proto.output else proto.op_type)
                    raise ImportFailed(
                        f"{self.path}: node {label!r} ({proto.op_type}) reads {name!r}, which is no input, no initializer and "
                        "no result of a node before it; this is no whole ONNX file."
                    )
                inputs.append(scope[name] if name else None)
            node = Node(proto, inputs, self.path, prefix, self.unread)
            try:
                node.outputs = self._executed(node, scope, opsets, prefix)
                node.outputs = self.constants.derived(node, prefix)
                self._widths.note(node)
                self._record(node)
            except ImportFailed:
                raise
            except InputError as error:
                raise node.failure(str(error).rstrip(".")) from error
            for name, value in zip(proto.output, node.outputs, strict=False):
                if name:
                    scope[name] = value
        self._depth -= 1

    def _executed(self, node: Node, scope: Scope, opsets: Mapping[str, int], prefix: str) -> list[Value | None]:
        """The node's results; what it runs inside is recorded on the way."""
        called = functions.key(node.proto)
        if called in self._functions:
            return self._called(node, self._functions[called], prefix)
        domain = called[0]
        if domain == microsoft.DOMAIN:
            return microsoft.results(node)
        if domain:
            raise node.unknown(f"{domain}::{node.op}", _foreign(domain))
        if node.op in control.OPERATORS:
            return control.OPERATORS[node.op](self, node, scope, opsets, prefix)
        if node.op == "Einsum":
            return [einsum_result(node)]
        if node.op in sequences.OPERATORS:
            decided = sequences.OPERATORS[node.op](node)
            if decided is not None:
                return [decided]
        elif node.op == "Constant":
            return [self._constant(node)]
        elif node.op in ("Dropout", "Identity"):  # the mask of a dropout is there for training
            value = node.value(0)
            return [value, *(Tensor(TensorProto.BOOL, getattr(value, "shape", None)) for _ in node.proto.output[1:])]
        elif node.op in microsoft.IN_ONNX_DOMAIN:
            return microsoft.results(node)
        elif node.op not in OTHER and node.op not in FREE and node.op not in ROWS:
            raise node.unknown(
                node.op,
                "which hwflow cannot express as convolution, linear layer or matrix product, and which is not known to be free "
                "of multiply-accumulates. Replace it, or describe the network as a YAML layer list",
            )
        return infer(node, opsets)

    def _called(self, node: Node, function: Any, prefix: str) -> list[Value | None]:
        inner: dict[str, Value | None] = dict.fromkeys(function.input)
        inner.update(zip(function.input, node.inputs, strict=False))
        opsets = {("" if o.domain == "ai.onnx" else o.domain): o.version for o in function.opset_import}
        scope = ChainMap(inner)
        self._nodes(functions.body(function, node.proto), scope, opsets, f"{node.name}/")
        return [scope.get(name) for name in function.output]

    def _constant(self, node: Node) -> Value:
        for name, attribute in node.attributes.items():
            match name:
                case "value":
                    return stored(attribute.t, self.path, self.unread, node.proto.output[0] if node.proto.output else "")
                case "sparse_value":
                    return sparse(attribute.sparse_tensor, self.path)
                case "value_int":
                    return known(_int64([attribute.i]).reshape(()))
                case "value_ints":
                    return known(_int64(attribute.ints))
                case "value_float":
                    return known(_float32([attribute.f]).reshape(()))
                case "value_floats":
                    return known(_float32(attribute.floats))
                case "value_string" | "value_strings":
                    count = () if name == "value_string" else (len(attribute.strings),)
                    return Tensor(TensorProto.STRING, count, True)
        raise node.failure("it holds no value, so this is no whole ONNX file; export the model again")

    # What is recorded ------------------------------------------------------------------------------------------------

    def _record(self, node: Node) -> None:
        named = [v for name, v in zip(node.proto.output, node.outputs, strict=False) if name]
        domain = functions.key(node.proto)[0]
        runs_others = functions.key(node.proto) in self._functions or (not domain and node.op in control.OPERATORS)
        if runs_others or all(constant(v) for v in named):
            return
        if not domain and node.op in FREE:
            self._share(node, named)
            return
        rows = microsoft.ROWS if domain == microsoft.DOMAIN else ROWS
        if node.op not in rows:
            self.uncounted(node)
            return
        if self._undecided is not None:
            outer = self._undecided
            raise outer.failure(
                f"it runs a subgraph with node {node.name!r} ({node.op}), and how often that runs depends on data, so its "
                "multiply-accumulates cannot be counted. Export the model without control flow"
            )
        found = [self._widths.sized(node, row) if isinstance(row, Layer) else row for row in rows[node.op](node)]
        self.rows.extend((node, row) for row in found)
        self._connect(node, found, named)

    def uncounted(self, node: Node) -> None:
        """Record an operator without multiply-accumulates."""
        if self._undecided is not None:
            return
        words_in = sum(elements(value) for value in node.inputs if not constant(value))
        # Further results of poolings, normalisations and dropouts are there for training.
        outputs = [v for name, v in zip(node.proto.output, node.outputs, strict=False) if name]
        words_out = sum(map(elements, outputs if node.op in SEVERAL_RESULTS else outputs[:1]))
        kernel = node.ints("kernel_shape") if node.op in _WINDOWED else []
        window = math.prod(kernel) if kernel else 0
        op = OtherOp(node.name, node.op, words_in, words_out, window=window)
        self.rows.append((node, op))
        self._connect(node, [op], outputs)

    # Data flow -------------------------------------------------------------------------------------------------------

    def _made(self, value: Value | None) -> list[int]:
        """The places in the graph of a new value, a tensor or the tensors of a sequence; those of constants have none."""
        if value is None or constant(value):
            return []
        if isinstance(value, Items):
            return [place for item in value.items for place in self._made(item)]
        if not isinstance(value, Tensor) or value.sizes is None:
            self.flow.known = False  # its size depends on data
        if id(value) not in self._places:
            self._places[id(value)] = (self.flow.tensor(elements(value)), value)
        return [self._places[id(value)][0]]

    def _read(self, value: Value | None) -> list[int]:
        """The places of a value that is read."""
        if value is None or constant(value):
            return []
        if isinstance(value, Items):
            return [place for item in value.items for place in self._read(item)]
        if id(value) not in self._places:
            self.flow.known = False  # made by control flow that is not followed
            return []
        return [self._places[id(value)][0]]

    def _share(self, node: Node, outputs: Iterable[Value | None]) -> None:
        """The results are views of the inputs."""
        shown = [place for value in node.inputs for place in self._read(value)]
        for value in outputs:
            if value is not None and not constant(value) and not isinstance(value, Items) and id(value) not in self._places:
                if len(set(shown)) != 1:
                    self.flow.known = False
                self._places[id(value)] = (shown[0] if shown else self.flow.tensor(0), value)

    def _connect(self, node: Node, rows: Iterable[Layer | OtherOp], outputs: Iterable[Value | None]) -> None:
        reads = [place for value in node.inputs for place in self._read(value)]
        made = [
            Made("layers", row.type, row.words("outputs")) if isinstance(row, Layer) else Made("other", row.type, row.words_out)
            for row in rows
        ]
        self.flow.ran(made, reads, [place for value in outputs for place in self._made(value)])


def _foreign(domain: str) -> str:
    if domain in microsoft.LAYOUT_DOMAINS:
        return (
            "which onnxruntime writes only for the machine on which it optimised the model, with the weights in that machine's "
            "layout. Save the optimised model at the level ORT_ENABLE_EXTENDED, or give the model before optimisation"
        )
    return (
        "which is not ONNX's own; hwflow cannot know whether it holds multiply-accumulates. Export without custom operators, "
        "or describe the network as a YAML layer list"
    )


def _int64(values: Any) -> Any:
    return np.array(list(values), dtype=np.int64)


def _float32(values: Any) -> Any:
    return np.array(list(values), dtype=np.float32)


__all__ = ["Execution"]
