"""Operators of com.microsoft, as onnxruntime's quantiser and optimiser write them: rows, shapes and refusals.

The shapes of attention, turned products, embeddings and normalisations are those that onnxruntime 1.32 gave for the same files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from hwflow.errors import ImportFailed
from hwflow.layers import Bits, Layer
from hwflow.network import Network
from hwflow.network._onnx_microsoft import _REFUSED, _SHAPES, ROWS
from hwflow.network.from_onnx import read
from tests.network.onnx_files import ints, save, weights

MICROSOFT = [helper.make_opsetid("com.microsoft", 1)]
SCALES = [weights("s"), numpy_helper.from_array(np.array(0, dtype=np.uint8), "z")]


def node(op: str, inputs: str, outputs: str = "y", **attributes: Any) -> Any:
    """A node of com.microsoft; `-` is an input or output that is left out."""
    names = [["" if n == "-" else n for n in text.split()] for text in (inputs, outputs)]
    return helper.make_node(op, *names, name=op.lower(), domain="com.microsoft", **attributes)


def read_one(tmp_path: Path, nodes: Any, inputs: dict[str, Any], stored: Any = (), dtype: int = TensorProto.FLOAT) -> Network:
    nodes = nodes if isinstance(nodes, list) else [nodes]
    return read(save(tmp_path / "net.onnx", nodes, inputs, [*stored, *SCALES], dtype=dtype, imports=MICROSOFT))


def matmul(name: str, groups: int, rows: int, inner: int, columns: int) -> Layer:
    return Layer(name, type="matmul", G=groups, P=rows, C=inner, M=columns)


# Layers --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "shape", "stored", "expected"),
    [
        (
            node("FusedConv", "x w b", activation="Relu", pads=[1, 1, 1, 1], strides=[2, 2]),
            [1, 4, 8, 8],
            [weights("w", 6, 4, 3, 3), weights("b", 6)],
            Layer("fusedconv", C=4, M=6, P=4, Q=4, R=3, S=3, strides=(2, 2)),
        ),
        (
            node("NhwcFusedConv", "x w b", group=2, pads=[1, 1, 1, 1]),
            [1, 8, 9, 4],
            [weights("w", 6, 2, 3, 3), weights("b", 6)],
            Layer("nhwcfusedconv", G=2, C=2, M=3, P=9, Q=8, R=3, S=3),
        ),
        (
            node("QLinearConv", "x s z w s z s z", channels_last=1, strides=[1, 2]),
            [1, 8, 9, 4],
            [weights("w", 6, 4, 1, 1)],
            Layer("qlinearconv", C=4, M=6, P=5, Q=8, strides=(2, 1)),
        ),
        (
            node("ConvTransposeWithDynamicPads", "x w p b", strides=[2, 2]),
            [1, 4, 5, 5],
            [weights("w", 4, 6, 3, 3), ints("p", 1, 1, 1, 1), weights("b", 6)],
            Layer("convtransposewithdynamicpads", type="conv_transpose", C=4, M=6, P=5, Q=5, R=3, S=3, strides=(2, 2)),
        ),
        (node("FusedGemm", "x w b", transB=1, activation="Relu"), [2, 6], [weights("w", 3, 6), weights("b", 3)], (2, 1, 6, 3)),
        (node("QGemm", "x s z w s z b s z", transB=1), [2, 6], [weights("w", 3, 6), weights("b", 3)], (2, 1, 6, 3)),
        (node("GemmFloat8", "x w", transA=1), [6, 2], [weights("w", 6, 3)], (2, 1, 6, 3)),
        (node("GemmFastGelu", "x w b"), [2, 5, 6], [weights("w", 6, 3), weights("b", 3)], (2, 5, 6, 3)),
        (node("DynamicQuantizeMatMul", "x w s z b"), [2, 5, 6], [weights("w", 6, 3), weights("b", 3)], (2, 5, 6, 3)),
        (node("MatMulIntegerToFloat", "x w s s z z b"), [2, 5, 6], [weights("w", 6, 3), weights("b", 3)], (2, 5, 6, 3)),
        (node("MatMulInteger16", "x w"), [2, 5, 6], [weights("w", 6, 3)], (2, 5, 6, 3)),
        (node("QOrderedMatMul", "x s w s s b"), [2, 5, 6], [weights("w", 6, 3), weights("b", 3)], (2, 5, 6, 3)),
        (node("FusedMatMul", "x w", transB=1, alpha=0.5), [2, 5, 6], [weights("w", 3, 6)], (2, 5, 6, 3)),
        (node("TransposeMatMul", "x w", transA=1), [2, 6, 5], [weights("w", 6, 3)], (2, 5, 6, 3)),
        (
            node("MatMulNBits", "x w s - - b", K=64, N=3, bits=4, block_size=32),
            [2, 5, 64],
            [weights("w", 3, 2, 16), weights("b", 3)],
            (2, 5, 64, 3),
        ),
        (node("MatMulBnb4", "x w s", K=64, N=3, quant_type=1, block_size=64), [2, 5, 64], [weights("w", 96)], (2, 5, 64, 3)),
        (node("MatMulFpQ4", "x w d"), [2, 5, 64], [weights("w", 100), ints("d", 64, 3)], (2, 5, 64, 3)),
    ],
)
def test_layers(tmp_path: Path, made: Any, shape: list[int], stored: list[Any], expected: Any) -> None:
    if isinstance(expected, tuple):
        n, p, c, m = expected
        packed = Bits(4, 16, 16) if made.op_type in ("MatMulNBits", "MatMulBnb4", "MatMulFpQ4") else None
        expected = Layer(made.name, type="linear", N=n, P=p, C=c, M=m, bits=packed)
    net = read_one(tmp_path, [made, helper.make_node("Relu", ["y"], ["end"])], {"x": shape}, stored)
    assert net.layers == (expected,)
    assert net.layers[0].params_other == next((t.dims[0] for t in stored if t.name == "b"), 0)
    (relu,) = net.other  # so the shape of what follows is known
    outputs = (
        expected.words("outputs") if expected.type != "conv_transpose" else 6 * 9 * 9
    )  # (5 - 1) * 2 + 3, less 2 of padding
    assert relu.words_out == outputs


def test_a_fused_residual_is_listed(tmp_path: Path) -> None:
    net = read_one(tmp_path, node("FusedConv", "x w - x", pads=[1, 1, 1, 1]), {"x": [1, 4, 8, 8]}, [weights("w", 4, 4, 3, 3)])
    assert [(op.type, op.words_in, op.words_out) for op in net.other] == [("Add", 512, 256)]


@pytest.mark.parametrize(
    ("a", "b", "attributes"),
    [
        ([2, 3, 4, 5], [2, 3, 5, 6], {}),
        ([2, 3, 5, 4], [2, 3, 5, 6], {"transA": 1}),
        ([4, 2, 3, 5], [2, 3, 5, 6], {"transBatchA": 1}),
        ([5, 2, 3, 4], [2, 3, 5, 6], {"transBatchA": 1, "transA": 1}),
        ([2, 3, 4, 5], [6, 2, 3, 5], {"transBatchB": 1, "transB": 1}),
        ([2, 3, 4, 5], [5, 2, 3, 6], {"transBatchB": 1}),
    ],
)
def test_turned_operands_of_a_fused_product(tmp_path: Path, a: list[int], b: list[int], attributes: dict[str, int]) -> None:
    made = node("FusedMatMul", "a b", **attributes)
    net = read_one(tmp_path, [made, helper.make_node("Relu", ["y"], ["r"])], {"a": a, "b": b})
    assert net.layers == (matmul("fusedmatmul", 6, 4, 5, 6),)
    assert net.other[0].words_out == 2 * 3 * 4 * 6


@pytest.mark.parametrize(
    ("made", "inputs", "stored", "expected"),
    [
        (
            node("Attention", "x w b", num_heads=4),
            {"x": [2, 10, 64]},
            [weights("w", 64, 192), weights("b", 192)],
            [Layer("", type="linear", N=2, P=10, C=64, M=192), matmul("", 8, 10, 16, 10), matmul("", 8, 10, 10, 16)],
        ),
        (
            node("Attention", "x w - - p", "y kept", num_heads=4, qkv_hidden_sizes=[64, 64, 64], unidirectional=1),
            {"x": [2, 1, 32], "p": [2, 2, 4, 6, 16]},
            [weights("w", 32, 192)],
            [Layer("", type="linear", N=2, C=32, M=192), matmul("", 8, 1, 16, 7), matmul("", 8, 1, 7, 16)],
        ),
        (
            node("QAttention", "x w b s s - z z", num_heads=2),
            {"x": [1, 5, 8]},
            [weights("w", 8, 24), weights("b", 24)],
            [Layer("", type="linear", P=5, C=8, M=24), matmul("", 2, 5, 4, 5), matmul("", 2, 5, 5, 4)],
        ),
        (
            node("MultiHeadAttention", "x k v", num_heads=4),
            {"x": [2, 10, 64], "k": [2, 7, 64], "v": [2, 7, 32]},
            [],
            [matmul("", 8, 10, 16, 7), matmul("", 8, 10, 7, 8)],
        ),
        (
            node("MultiHeadAttention", "x", num_heads=4),
            {"x": [2, 10, 4, 3, 16]},
            [],
            [matmul("", 8, 10, 16, 10), matmul("", 8, 10, 10, 16)],
        ),
        (
            node("MultiHeadAttention", "x k v", num_heads=4),
            {"x": [2, 10, 64], "k": [2, 4, 7, 16], "v": [2, 4, 7, 16]},
            [],
            [matmul("", 8, 10, 16, 7), matmul("", 8, 10, 7, 16)],
        ),
        (
            node("GroupQueryAttention", "x k v pk pv l t", "y nk nv", num_heads=4, kv_num_heads=2),
            {"x": [2, 1, 64], "k": [2, 1, 32], "v": [2, 1, 32], "pk": [2, 2, 5, 16], "pv": [2, 2, 5, 16], "l": [2]},
            [numpy_helper.from_array(np.array(6, dtype=np.int32), "t")],
            [matmul("", 4, 2, 16, 6), matmul("", 4, 2, 6, 16)],
        ),
        (
            node("GroupQueryAttention", "x - - - - l t", num_heads=4, kv_num_heads=2),
            {"x": [2, 9, 128], "l": [2], "t": [1]},
            [],
            [matmul("", 4, 18, 16, 9), matmul("", 4, 18, 9, 16)],
        ),
    ],
)
def test_attention(tmp_path: Path, made: Any, inputs: dict[str, Any], stored: list[Any], expected: list[Layer]) -> None:
    net = read_one(tmp_path, made, inputs, stored)
    found = [layer.with_(name="") for layer in net]
    assert found == expected
    scores = expected[-2].words("outputs")
    assert [(op.type, op.words_out) for op in net.other] == [("Softmax", scores)]


def test_onnx_has_an_attention_of_its_own(tmp_path: Path) -> None:
    made = helper.make_node("Attention", ["q", "k", "v"], ["y"], name="att", q_num_heads=4, kv_num_heads=2)
    inputs = {"q": [2, 10, 64], "k": [2, 7, 32], "v": [2, 7, 16]}
    net = read(save(tmp_path / "net.onnx", [made], inputs, opset=23))
    assert [layer.with_(name="") for layer in net] == [matmul("", 4, 20, 16, 7), matmul("", 4, 20, 7, 8)]
    assert net.macs == 2 * 4 * 10 * 7 * (16 + 8)


# What is not counted -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (node("QLinearAdd", "c s z c s z s z"), 256),
        (node("QLinearMul", "c s z one s z s z"), 256),
        (node("QLinearLeakyRelu", "c s z s z", alpha=0.1), 256),
        (node("QLinearSigmoid", "c s z s z"), 256),
        (node("QLinearSoftmax", "c s z s z", axis=1, opset=13), 256),
        (node("QLinearGlobalAveragePool", "c s z s z"), 4),
        (node("QLinearGlobalAveragePool", "c s z s z", channels_last=1), 8),
        (node("QLinearAveragePool", "c s z s z", kernel_shape=[2, 2], strides=[2, 2]), 64),
        (node("QLinearAveragePool", "c s z s z", kernel_shape=[2, 4], strides=[2, 4], channels_last=1), 2 * 2 * 8),
        (node("QLinearReduceMean", "c s z s z", axes=[2, 3], keepdims=0), 4),
        (node("QLinearConcat", "s z c s z c s z", axis=1), 512),
        (node("QLinearWhere", "flag c s z one s z s z"), 256),
        (node("BiasGelu", "c eight"), 256),
        (node("FastGelu", "c"), 256),
        (node("Gelu", "c"), 256),
        (node("QuickGelu", "c"), 256),
        (node("BiasSplitGelu", "c eight"), 128),
        (node("SkipLayerNormalization", "c c eight eight eight", "y - - sum"), 512),
        (node("SkipSimplifiedLayerNormalization", "c c eight", "y"), 256),
        (helper.make_node("SimplifiedLayerNormalization", ["c", "eight"], ["y"]), 256),
        (node("GroupNorm", "c four four", groups=2, activation=0), 256),
        (node("MulInteger", "c z one z"), 256),
        (node("QuantizeLinear", "c s z"), 256),
        (node("DequantizeLinear", "c s z"), 256),
        (node("NhwcMaxPool", "c", kernel_shape=[2, 2], strides=[2, 2]), 2 * 4 * 8),
        (node("Pad", "c pads one1"), 4 * 10 * 8),
        (node("ExpandDims", "c axis"), 256),
        (node("Trilu", "c"), 256),
        (node("UnfoldTensor", "c", size=4, step=2), 4 * 8 * 3 * 4),
    ],
)
def test_operators_without_products_are_listed_and_have_their_shape(tmp_path: Path, made: Any, words: int) -> None:
    axis = numpy_helper.from_array(np.array([1], dtype=np.int32), "axis")
    stored = [weights("w", 4, 4, 1, 1), weights("one", 1, 4, 1, 1), weights("one1"), weights("four", 4), weights("eight", 8)]
    stored += [numpy_helper.from_array(np.array(True), "flag"), axis, ints("pads", 0, 0, 1, 0, 0, 0, 1, 0)]
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"]), made, helper.make_node("Abs", ["y"], ["end"])]
    net = read_one(tmp_path, nodes, {"x": [1, 4, 8, 8]}, stored)
    assert net.not_counted == {"Abs": 1, made.op_type: 1}
    assert net.other[0].words_out == words
    assert net.other[1].words_out == (words // 2 if made.op_type == "SkipLayerNormalization" else words)


def test_embeddings_and_what_they_learn(tmp_path: Path) -> None:
    stored = [weights("words", 100, 16), weights("places", 9, 16), weights("g", 16), weights("b", 16), weights("w", 16, 3)]
    nodes = [node("EmbedLayerNormalization", "x - words places - g b", "h mask"), helper.make_node("MatMul", ["h", "w"], ["y"])]
    net = read_one(tmp_path, nodes, {"x": [2, 7]}, stored, TensorProto.INT32)
    assert net.layers[0].macs == 14 * 48
    assert net.other[0].params == 100 * 16 + 9 * 16 + 32
    packed = numpy_helper.from_array(np.zeros((10, 32), dtype=np.uint8), "table")
    nodes = [
        node("GatherBlockQuantized", "table x scale", "h", bits=4, block_size=16),
        helper.make_node("MatMul", ["h", "w"], ["y"]),
    ]
    net = read_one(tmp_path, nodes, {"x": [2, 3]}, [packed, weights("scale", 10, 4), weights("w", 64, 5)], TensorProto.INT64)
    assert net.macs == 6 * 64 * 5


# Refusals ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", sorted(_REFUSED))
def test_what_cannot_be_counted_is_refused_by_name_and_with_the_reason(tmp_path: Path, op: str) -> None:
    with pytest.raises(
        ImportFailed, match=f"is the operator com.microsoft::{op}, whose multiply-accumulates cannot be counted: "
    ):
        read_one(tmp_path, node(op, "x"), {"x": [1, 4, 8, 8]})


def test_an_operator_that_no_list_has_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ImportFailed, match=r"com\.microsoft::Frobnicate, of which hwflow does not know whether it holds"):
        read_one(tmp_path, node("Frobnicate", "x"), {"x": [1, 4]})


@pytest.mark.parametrize("domain", ["com.microsoft.nchwc", "com.ms.internal.nhwc"])
def test_models_optimised_for_one_machine_say_which_level_to_save(tmp_path: Path, domain: str) -> None:
    made = helper.make_node("Conv", ["x", "w"], ["y"], name="conv", domain=domain)
    save(
        tmp_path / "net.onnx", [made], {"x": [1, 4, 8, 8]}, [weights("w", 4, 4, 3, 3)], imports=[helper.make_opsetid(domain, 1)]
    )
    with pytest.raises(ImportFailed, match=rf"{domain}::Conv, which onnxruntime writes only .* ORT_ENABLE_EXTENDED"):
        read(tmp_path / "net.onnx")


@pytest.mark.parametrize(
    ("made", "inputs", "text"),
    [
        (node("QLinearAdd", "x s z k s z s z"), {"x": [1, 4], "k": [1, 5]}, r"do not fit together \(the sizes \[4, 5\]"),
        (node("MatMulNBits", "x s s", K=8, N=3), {"x": [2, 6]}, "its weights have 8 rows; its input is 2x6"),
        (node("MatMulNBits", "x s s", K=8), {"x": [2, 8]}, "its attribute N is 0; it must be at least 1"),
        (node("Attention", "x s", num_heads=0), {"x": [2, 5, 8]}, "its attribute num_heads is 0"),
        (node("MultiHeadAttention", "x x x", num_heads=2), {"x": [2, 8]}, "the shape of its input does not fit"),
        (
            node("GroupQueryAttention", "x k k p p l t", num_heads=4, kv_num_heads=2),
            {"x": [2, 1, 64], "k": [2, 1, 32], "p": [2, 2, 5, 16], "l": [2], "t": [1]},
            "its input 't' depends on data",
        ),
        (
            node("GroupQueryAttention", "x - - - - l t", num_heads=4, kv_num_heads=2, local_window_size=4),
            {"x": [2, 9, 128], "l": [2], "t": [1]},
            "each query sees the last 4 of 9 keys",
        ),
    ],
)
def test_what_does_not_fit_names_the_node(tmp_path: Path, made: Any, inputs: dict[str, Any], text: str) -> None:
    with pytest.raises(ImportFailed, match=rf"node '{made.name}' \({made.op_type}\): .*{text}"):
        read_one(tmp_path, made, inputs)


def test_each_operator_is_in_one_table() -> None:
    assert set(ROWS) <= set(_SHAPES)
    assert not set(_SHAPES) & set(_REFUSED)
