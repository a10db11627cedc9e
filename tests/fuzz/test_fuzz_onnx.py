"""ONNX functions, control flow, sequences and onnxruntime's operators, broken: the importer answers or raises hwflow's errors.

Beside `test_onnx` in test_fuzz_parsers.py, which breaks a plain network. The limit of nodes is lowered, so that a trip count
that became huge is refused within the second that an input may take; test_network_onnx_limits.py holds the limit itself.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from mutations import damaged, garbled
from test_fuzz_parsers import SEEDS, alarm, fuzzed, survives

from hwflow.network import Network

__all__ = ["alarm"]  # a fixture, by its import

onnx = pytest.importorskip("onnx", reason="comes with the extra onnx")
make = onnx.helper
FLOAT, INT64, BOOL = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64, onnx.TensorProto.BOOL
STORED = [
    make.make_tensor("w", FLOAT, [4, 4, 3, 3], [0.0] * 144),
    make.make_tensor("k", FLOAT, [8, 8], [0.0] * 64),
    make.make_tensor("three", INT64, [], [3]),
    make.make_tensor("one", INT64, [1], [1]),
    make.make_tensor("halves", INT64, [2], [2, 2]),
    make.make_tensor("s", FLOAT, [], [0.5]),
]


def whole(nodes: list[Any], functions: Any = (), opset: int = 18) -> bytes:
    """A model of these nodes on an image, from "x" to "y"."""
    values = [make.make_tensor_value_info("x", FLOAT, [1, 4, 8, 8]), make.make_tensor_value_info("y", FLOAT, None)]
    imports = [make.make_opsetid(domain, version) for domain, version in (("", opset), ("mine", 1), ("com.microsoft", 1))]
    graph = make.make_graph(nodes, "g", values[:1], values[1:], STORED)
    return bytes(make.make_model(graph, opset_imports=imports, functions=list(functions), ir_version=8).SerializeToString())


def conv(x: str, y: str) -> Any:
    return make.make_node("Conv", [x, "w"], [y], pads=[1, 1, 1, 1])


def body(nodes: list[Any], outputs: list[str], inputs: dict[str, int]) -> Any:
    """A subgraph."""
    given_ = [make.make_tensor_value_info(name, kind, None) for name, kind in inputs.items()]
    return make.make_graph(nodes, "body", given_, [make.make_tensor_value_info(name, FLOAT, None) for name in outputs])


def functions() -> bytes:
    """Two functions, one of which calls the other, with an attribute and a branch."""
    opsets = [make.make_opsetid("", 18), make.make_opsetid("mine", 1)]
    strided = make.make_node("Conv", ["a", "v"], ["z"], pads=[1, 1, 1, 1])
    strided.attribute.add(name="strides", ref_attr_name="step", type=onnx.AttributeProto.INTS)
    inner = make.make_function("mine", "Inner", ["a", "v"], ["z"], [strided], opsets, ["step"])
    condition = make.make_node("Equal", ["n", "n"], ["c"])
    twice = body([make.make_node("Inner", ["b", "v"], ["t"], domain="mine", step=[2, 2])], ["t"], {})
    once = body([make.make_node("Identity", ["b"], ["e"])], ["e"], {})
    nodes = [
        make.make_node("Inner", ["a", "v"], ["b"], domain="mine", step=[1, 1]),
        condition,
        make.make_node("If", ["c"], ["z"], then_branch=twice, else_branch=once),
    ]
    outer = make.make_function("mine", "Outer", ["a", "v", "n"], ["z"], nodes, opsets)
    calls = [make.make_node("Outer", ["x", "w", "three"], ["h"], domain="mine"), make.make_node("Relu", ["h"], ["y"])]
    return whole(calls, [inner, outer])


def control() -> bytes:
    """A loop whose body branches by its iteration, a scan of its results, and shape arithmetic before."""
    less = make.make_node("Less", ["i", "three"], ["c"])
    branch = make.make_node(
        "If", ["c"], ["o"], then_branch=body([conv("h", "t")], ["t"], {}), else_branch=body([conv("h", "e")], ["e"], {})
    )
    inner = [less, branch, make.make_node("Identity", ["go"], ["go_on"]), make.make_node("Relu", ["o"], ["each"])]
    step = [make.make_node("MatMul", ["q", "k"], ["p"]), make.make_node("Add", ["p", "r"], ["u"])]
    nodes = [
        make.make_node("Shape", ["x"], ["shape"]),
        make.make_node("Gather", ["shape", "one"], ["n"]),
        make.make_node(
            "Loop",
            ["n", "", "x"],
            ["last", "all"],
            body=body(inner, ["go_on", "o", "each"], {"i": INT64, "go": BOOL, "h": FLOAT}),
        ),
        make.make_node(
            "Scan",
            ["last", "all"],
            ["y", "ys"],
            num_scan_inputs=1,
            body=body([*step, make.make_node("Identity", ["u"], ["v"])], ["u", "v"], {"r": FLOAT, "q": FLOAT}),
        ),
    ]
    return whole(nodes)


def sequences() -> bytes:
    """Sequences and optionals that decide a trip count and a branch."""
    nodes = [
        make.make_node("SplitToSequence", ["x", "halves"], ["parts"], axis=1),
        make.make_node(
            "SequenceMap", ["parts"], ["mapped"], body=body([make.make_node("Relu", ["a"], ["b"])], ["b"], {"a": FLOAT})
        ),
        make.make_node("SequenceAt", ["mapped", "one"], ["second"]),
        make.make_node("SequenceInsert", ["mapped", "second", "one"], ["more"]),
        make.make_node("SequenceErase", ["more", "one"], ["less"]),
        make.make_node("ConcatFromSequence", ["less"], ["joined"], axis=1),
        make.make_node("SequenceLength", ["less"], ["n"]),
        make.make_node("Optional", ["joined"], ["maybe"]),
        make.make_node("OptionalHasElement", ["maybe"], ["there"]),
        make.make_node(
            "If",
            ["there"],
            ["h"],
            then_branch=body([make.make_node("OptionalGetElement", ["maybe"], ["t"])], ["t"], {}),
            else_branch=body([make.make_node("Identity", ["x"], ["e"])], ["e"], {}),
        ),
        make.make_node(
            "Loop",
            ["n", "", "h"],
            ["y"],
            body=body(
                [conv("g", "o"), make.make_node("Identity", ["go"], ["on"])], ["on", "o"], {"i": INT64, "go": BOOL, "g": FLOAT}
            ),
        ),
    ]
    return whole(nodes)


def microsoft() -> bytes:
    """Operators that onnxruntime writes, an Einsum, and constants that are folded."""

    def node(op: str, inputs: str, output: str, **attributes: Any) -> Any:
        return make.make_node(op, inputs.split(), [output], domain="com.microsoft", **attributes)

    nodes = [
        node("FusedConv", "x w", "a", activation="Relu", pads=[1, 1, 1, 1]),
        node("QLinearAdd", "a s s x s s s s", "b"),
        node("QLinearConcat", "s s b s s a s s", "c", axis=1),
        node("QLinearAveragePool", "c s s s s", "d", kernel_shape=[2, 2], channels_last=0),
        make.make_node("Range", ["three", "three", "three"], ["r"]),
        make.make_node("Tile", ["one", "one"], ["t"]),
        make.make_node("ConstantOfShape", ["halves"], ["v"]),
        make.make_node("Einsum", ["b", "k"], ["e"], equation="...c,cd->...d"),
        node("FusedMatMul", "e k", "f", transB=1, alpha=0.5),
        make.make_node("Reshape", ["f", "flat"], ["g"]),
        node("Attention", "g p", "h", num_heads=2),
        node("SkipLayerNormalization", "h h k", "i"),
        node("MatMulNBits", "i w s", "j", K=8, N=4, bits=4, block_size=16),
        node("MultiHeadAttention", "i i i", "y", num_heads=4),
    ]
    before = [
        make.make_node("Constant", [], ["flat"], value_ints=[4, 8, 8]),
        make.make_node("Concat", ["k", "k", "k"], ["p"], axis=1),
    ]
    return whole([*before, *nodes])


WHOLE: dict[str, Callable[[], bytes]] = {
    "onnx_functions": functions,
    "onnx_control": control,
    "onnx_sequences": sequences,
    "onnx_microsoft": microsoft,
}


def changed(content: bytes, seed: int) -> bytes:
    """Bytes garbled, or fields of the model damaged."""
    if seed % 4 == 0:
        return garbled(content, seed)
    from google.protobuf import json_format

    model = onnx.ModelProto.FromString(content)
    try:
        return bytes(
            json_format.ParseDict(damaged(json_format.MessageToDict(model), seed), onnx.ModelProto()).SerializeToString()
        )
    except Exception:  # what protobuf itself cannot hold cannot be in a file
        return garbled(content, seed)


@pytest.mark.parametrize("name", sorted(WHOLE))
@fuzzed
@given(seed=SEEDS)
def test_onnx_graphs(name: str, seed: int, tmp_path: Path) -> None:
    from hwflow.network import _onnx_functions

    content = changed(WHOLE[name](), seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_onnx_functions, "MOST_NODES", 500)
        assert survives(Network.from_onnx, tmp_path / "fuzz.onnx", content)


@pytest.mark.parametrize("name", sorted(WHOLE))
def test_what_the_mutations_start_from_is_whole(name: str, tmp_path: Path) -> None:
    path = tmp_path / "whole.onnx"
    path.write_bytes(WHOLE[name]())
    assert Network.from_onnx(path).macs
