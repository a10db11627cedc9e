"""ONNX files as rows: onnx's own light graphs by independent arithmetic, kinds of layers, and refusals."""

from __future__ import annotations

import math
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_files import ints, save, weights

from hwflow.errors import HwflowError, ImportFailed, InputError, MissingDependency
from hwflow.layers import Layer
from hwflow.network import Network, OtherOp, zoo
from hwflow.network.from_onnx import read

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "net.onnx"


# onnx's light graphs -------------------------------------------------------------------------------------------------


def counted(file: Path) -> tuple[int, int]:
    """MACs and weights of a light graph by arithmetic of this test's own: none of onnx's shape inference."""
    graph = onnx.load(str(file)).graph
    stored = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    shape: dict[str, tuple[int, ...]] = {name: value.shape for name, value in stored.items()}
    for value in graph.input:
        shape[value.name] = tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
    macs = params = 0
    for node in graph.node:
        a = {x.name: helper.get_attribute_value(x) for x in node.attribute}
        x = shape.get(node.input[0], ()) if node.input else ()
        y = x
        if node.op_type == "ConstantOfShape":
            y = tuple(int(n) for n in stored[node.input[0]])
        elif node.op_type in ("Conv", "MaxPool", "AveragePool"):
            kernel = shape[node.input[1]][2:] if node.op_type == "Conv" else a["kernel_shape"]
            pads, strides = a.get("pads", [0] * 4), a.get("strides", [1, 1])
            spatial = [(x[2 + i] + pads[i] + pads[2 + i] - kernel[i]) // strides[i] + 1 for i in (0, 1)]
            y = (x[0], shape[node.input[1]][0] if node.op_type == "Conv" else x[1], *spatial)
            if node.op_type == "Conv":
                params += math.prod(shape[node.input[1]])
                macs += math.prod(shape[node.input[1]]) * math.prod(spatial)
        elif node.op_type == "GlobalAveragePool":
            y = (*x[:2], 1, 1)
        elif node.op_type == "Reshape":
            target = [x[i] if n == 0 else int(n) for i, n in enumerate(stored[node.input[1]])]
            y = tuple(math.prod(x) // -math.prod(target) if n == -1 else n for n in target)
        elif node.op_type == "Unsqueeze":
            y = tuple(np.zeros(x)[tuple(None if i in a["axes"] else slice(None) for i in range(len(x) + len(a["axes"])))].shape)
        elif node.op_type == "Transpose":
            y = tuple(x[i] for i in a["perm"])
        elif node.op_type == "Concat":
            parts = [shape[name] for name in node.input]
            y = (x[0], sum(p[1] for p in parts), *x[2:])
        elif node.op_type == "Gemm":
            w = shape[node.input[1]]
            macs, params = macs + math.prod(w), params + math.prod(w)
            y = (x[0], w[0] if a.get("transB") else w[1])
        for name in node.output:
            shape[name] = y
    return macs, params


@pytest.mark.parametrize("file", sorted(LIGHT.glob("light_*.onnx")), ids=lambda f: f.stem)
def test_light_graphs_equal_independent_arithmetic(file: Path) -> None:
    net = read(file)
    assert net.name == file.stem
    assert (net.macs, net.params) == counted(file)


@pytest.mark.parametrize(
    ("name", "macs", "params"),
    [  # published: densenet121 and vgg19 by torchvision (2.83, 19.63 GMAC; 7978856 and 143667240 parameters), squeezenet 1.0
        ("densenet121", 2.834e9, 7_978_856),
        ("vgg19", 19.63e9, 143_667_240),
        ("squeezenet", 0.349e9, 1_235_496),
    ],
)
def test_light_graphs_equal_published_figures(name: str, macs: float, params: int) -> None:
    net = read(LIGHT / f"light_{name}.onnx")
    assert net.macs == pytest.approx(macs, rel=0.001)
    weights_and_bias = net.params + sum(layer.params_other for layer in net)
    scales = sum(
        op.params for op in net.other if op.type in ("Mul", "Add")
    )  # densenet's normalisations come from Caffe, in halves
    assert weights_and_bias + scales == params


def test_resnet50_of_onnx_has_the_rows_of_the_zoo() -> None:
    def rows(net: Network) -> Counter[tuple[object, ...]]:
        return Counter(layer.key for layer in net)

    assert rows(read(LIGHT / "light_resnet50.onnx")) == rows(zoo("resnet50"))


def test_grouped_convolutions_of_light_graphs() -> None:
    assert [layer.G for layer in read(LIGHT / "light_bvlc_alexnet.onnx") if layer.G > 1] == [2, 2, 2]
    assert any(layer.G > 1 and layer.C == 1 for layer in read(LIGHT / "light_shufflenet.onnx"))


# Kinds of layers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attributes", "shape", "expected"),
    [
        ({"pads": [1, 0, 2, 3]}, (8, 4, 3, 5), {"C": 4, "M": 8, "P": 11, "Q": 11, "R": 5, "S": 3}),
        (
            {"auto_pad": "SAME_UPPER", "strides": [2, 3]},
            (8, 4, 3, 3),
            {"C": 4, "M": 8, "P": 4, "Q": 5, "R": 3, "S": 3, "strides": (3, 2)},
        ),
        (
            {"auto_pad": "VALID", "dilations": [2, 1]},
            (8, 4, 3, 3),
            {"C": 4, "M": 8, "P": 10, "Q": 6, "R": 3, "S": 3, "dilations": (1, 2)},
        ),
        ({"group": 2}, (6, 2, 1, 1), {"G": 2, "C": 2, "M": 3, "P": 12, "Q": 10}),
        ({"group": 4}, (8, 1, 1, 1), {"G": 4, "C": 1, "M": 2, "P": 12, "Q": 10}),
    ],
)
def test_convolutions(path: Path, attributes: dict[str, Any], shape: tuple[int, ...], expected: dict[str, Any]) -> None:
    channels = shape[1] * attributes.get("group", 1)
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], name="conv", **attributes)
    save(path, [node], {"x": [1, channels, 10, 12]}, [weights("w", *shape), weights("b", shape[0])])
    (layer,) = read(path)
    assert layer == Layer("conv", **expected)
    assert layer.params_other == shape[0]


def test_convolution_of_one_axis_and_transposed_convolution(path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], strides=[2]),
        helper.make_node("Unsqueeze", ["a", "axes"], ["b"]),
        helper.make_node("ConvTranspose", ["b", "v"], ["c"], name="up", strides=[1, 2], group=2, output_padding=[0, 1]),
    ]
    stored = [weights("w", 4, 3, 5), ints("axes", 2), weights("v", 4, 3, 1, 2)]
    save(path, nodes, {"x": [2, 3, 21]}, stored)
    first, second = read(path)
    assert first == Layer("a", N=2, C=3, M=4, P=9, R=5, strides=(2, 1))
    assert second == Layer("up", type="conv_transpose", N=2, G=2, C=2, M=3, P=9, R=2, strides=(2, 1))


def test_products(path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["q"], name="fixed"),
        helper.make_node("Transpose", ["q"], ["k"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["q", "k"], ["s"], name="scores"),
        helper.make_node("Softmax", ["s"], ["p"], name="softmax"),
        helper.make_node("Einsum", ["p", "q"], ["z"], name="mixed", equation="bij,bjk->bik"),
        helper.make_node("Flatten", ["z"], ["f"]),
        helper.make_node("Gemm", ["f", "g", "c"], ["y"], name="head", transB=1),
    ]
    save(path, nodes, {"x": [2, 5, 6]}, [weights("w", 6, 8), weights("g", 3, 40), weights("c", 3)])
    net = read(path)
    assert net.layers == (
        Layer("fixed", type="linear", N=2, P=5, C=6, M=8),
        Layer("scores", type="matmul", G=2, P=5, C=8, M=5),
        Layer("mixed", type="matmul", G=2, P=5, C=5, M=8),
        Layer("head", type="linear", N=2, C=40, M=3),
    )
    assert net["head"].params_other == 3
    assert net.other == (OtherOp("k", "Transpose", 80, 80), OtherOp("softmax", "Softmax", 50, 50))


def test_quantised_layers(path: Path) -> None:
    scale, zero = weights("s"), numpy_helper.from_array(np.array(0, dtype=np.uint8), "z")
    kernel = numpy_helper.from_array(np.zeros((4, 3, 3, 3), dtype=np.uint8), "w")
    matrix = numpy_helper.from_array(np.zeros((4, 5), dtype=np.uint8), "v")
    bias = numpy_helper.from_array(np.zeros(4, dtype=np.int32), "b")
    nodes = [
        helper.make_node("QLinearConv", ["x", "s", "z", "w", "s", "z", "s", "z", "b"], ["a"], name="conv"),
        helper.make_node("Reshape", ["a", "to"], ["m"]),
        helper.make_node("QLinearMatMul", ["m", "s", "z", "v", "s", "z", "s", "z"], ["n"], name="product"),
        helper.make_node("MatMulInteger", ["n", "u"], ["y"], name="integer"),
    ]
    square = numpy_helper.from_array(np.zeros((5, 5), dtype=np.uint8), "u")
    save(
        path,
        nodes,
        {"x": [1, 3, 8, 8]},
        [scale, zero, kernel, matrix, bias, square, ints("to", 36, 4)],
        dtype=TensorProto.UINT8,
    )
    net = read(path)
    assert [(layer.name, layer.type, layer.macs) for layer in net] == [
        ("conv", "conv", 36 * 27 * 4),
        ("product", "linear", 36 * 20),
        ("integer", "linear", 36 * 25),
    ]
    assert net["conv"].params_other == 4


def test_weights_behind_a_dequantisation_are_weights(path: Path) -> None:
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "s"], ["w"]),
        helper.make_node("Conv", ["x", "w"], ["y"], name="conv"),
    ]
    kernel = numpy_helper.from_array(np.zeros((4, 3, 3, 3), dtype=np.int8), "q")
    save(path, nodes, {"x": [1, 3, 8, 8]}, [kernel, weights("s")])
    net = read(path)
    assert net.params == 108
    assert net.other == ()


@pytest.mark.parametrize("maker", ["RandomNormal", "ConstantOfShape", "Constant"])
def test_weights_made_by_nodes(path: Path, maker: str) -> None:
    made = {
        "RandomNormal": helper.make_node("RandomNormal", [], ["w"], shape=[64, 32, 3, 3]),
        "ConstantOfShape": helper.make_node("ConstantOfShape", ["size"], ["w"]),
        "Constant": helper.make_node("Constant", [], ["w"], value=weights("", 64, 32, 3, 3)),
    }
    nodes = [made[maker], helper.make_node("Conv", ["x", "w"], ["y"], name="conv")]
    save(path, nodes, {"x": [1, 32, 8, 8]}, [ints("size", 64, 32, 3, 3)])
    net = read(path)
    assert net.layers == (Layer("conv", C=32, M=64, P=6, Q=6, R=3, S=3),)
    assert net.other == ()


# Refusals ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nodes", "text"),
    [
        (
            [helper.make_node("FusedConv", ["x", "w"], ["y"], name="fused", domain="com.example")],
            r"node 'fused' is the operator com\.example::FusedConv, which is not ONNX's own",
        ),
        (
            [helper.make_node("Frobnicate", ["x"], ["y"], name="odd")],
            "node 'odd' is the operator Frobnicate, which hwflow cannot express",
        ),
        ([helper.make_node("LSTM", ["x", "w", "w"], ["y"], name="rnn", hidden_size=3)], "node 'rnn' is the operator LSTM"),
        ([helper.make_node("DeformConv", ["x", "w", "x"], ["y"])], "node 'y' is the operator DeformConv"),
        ([helper.make_node("Conv", ["x", "x"], ["y"])], r"node 'y' \(Conv\): its weights are computed from the input"),
        ([helper.make_node("Conv", ["x"], ["y"])], r"node 'y' \(Conv\): its input 2 is missing"),
        ([helper.make_node("Relu", ["x"], ["y"])], "holds no convolution, linear layer or matrix product"),
    ],
)
def test_what_cannot_be_imported_names_the_node(path: Path, nodes: list[Any], text: str) -> None:
    save(path, nodes, {"x": [3, 3, 3, 3]}, [weights("w", 3, 3, 3, 3)], imports=[helper.make_opsetid("com.example", 1)])
    with pytest.raises(ImportFailed, match=text):
        read(path)


@pytest.mark.parametrize("content", [b"not a protobuf, at any rate", b""])
def test_a_file_that_is_no_onnx(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(ImportFailed, match=r"net\.onnx (cannot be read as ONNX|holds no ONNX graph)"):
        read(path)


def test_a_missing_file(path: Path) -> None:
    with pytest.raises(InputError, match=r"net\.onnx: there is no such file") as caught:
        read(path)
    assert (caught.value.exit_code, isinstance(caught.value, HwflowError)) == (2, True)


def test_without_onnx_it_says_what_to_install(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(b"")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingDependency, match=r'pip install "hwflow\[onnx\]"'):
        read(path)
