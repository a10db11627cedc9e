"""Sizes that an ONNX file leaves open, shape arithmetic that folds, and shapes that contradict each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from hwflow.errors import ImportFailed, InputError
from hwflow.layers import Layer
from hwflow.network import Network
from hwflow.network.from_onnx import read
from tests.network.onnx_files import ints, save, weights

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "net.onnx"


def flattening(path: Path, batch: int | str = "N", height: int | str = 8) -> Path:
    """Conv, then the flatten that PyTorch used to export: Shape, Gather, Concat, Reshape; then a linear layer."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="conv"),
        helper.make_node("Shape", ["a"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["n"]),
        helper.make_node("Unsqueeze", ["n", "axis"], ["n1"]),
        helper.make_node("Concat", ["n1", "rest"], ["to"], axis=0),
        helper.make_node("Reshape", ["a", "to"], ["f"]),
        helper.make_node("Gemm", ["f", "g"], ["y"], name="fc"),
    ]
    zero = numpy_helper.from_array(np.array(0, dtype=np.int64), "zero")
    stored = [weights("w", 4, 3, 3, 3), weights("g", 144, 10), zero, ints("axis", 0), ints("rest", -1)]
    return save(path, nodes, {"x": [batch, 3, height, 8]}, stored)


def test_a_dynamic_batch_is_given_and_shape_arithmetic_folds(path: Path) -> None:
    net = read(flattening(path), batch=5)
    assert net.layers == (Layer("conv", N=5, C=3, M=4, P=6, Q=6, R=3, S=3), Layer("fc", type="linear", N=5, C=144, M=10))
    assert net.other == ()
    assert read(path, input_shape=(5, 3, 8, 8)) == net == read(path, input_shape=(5, 3, 8, 8), batch=5)


def test_a_fixed_batch_can_be_changed_where_the_graph_allows_it(path: Path) -> None:
    assert read(flattening(path, batch=1), batch=4).layers[1].N == 4
    assert Network.from_onnx(path).layers[1].N == 1


def test_a_batch_that_the_graph_fixes_is_an_error_naming_the_node() -> None:
    with pytest.raises(ImportFailed, match=r"\(Reshape\) turns 4x\w+ into 1x\d+, which the file fixes"):
        read(LIGHT / "light_zfnet512.onnx", batch=4)


def test_open_dimensions_are_named_with_the_option(path: Path) -> None:
    flattening(path)
    with pytest.raises(ImportFailed, match=r"dimension 0 \('N'\) of input 'x', Nx3x8x8, is left open .* --batch 1 .* 1x3x8x8"):
        read(path)
    flattening(path, height="H")
    with pytest.raises(
        ImportFailed,
        match=r"dimensions 0 \('N'\), 2 \('H'\) of input 'x', Nx3xHx8, are left open .* give all with --input 1x3x224x8",
    ):
        read(path)
    with pytest.raises(
        ImportFailed, match=r"dimension 2 \('H'\) of input 'x', 2x3xHx8, is left open .* --input 2x3x224x8 \(input_shape=\)"
    ):
        read(path, batch=2)
    save(path, [helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": None}, [weights("w", 6, 2)])
    with pytest.raises(ImportFailed, match=r"input 'x' has no shape in the file; give it with --input"):
        read(path)
    assert read(path, input_shape=(3, 6)).macs == 36


def test_a_symbol_has_its_size_in_every_input(path: Path) -> None:
    save(path, [helper.make_node("MatMul", ["x", "z"], ["y"])], {"x": ["N", 4, "K"], "z": ["N", "K", 3]})
    expected = (Layer("y", type="matmul", G=2, P=4, C=5, M=3),)
    assert read(path, input_shape=(2, 4, 5)).layers == expected
    assert read(path, input_shape=((2, 4, 5), (2, 5, 3))).layers == expected
    with pytest.raises(InputError, match=r"gives dimension 'K' .* two sizes: 5 and 6"):
        read(path, input_shape=((2, 4, 5), (2, 6, 3)))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"input_shape": (1, 3, 8, 8), "batch": 2}, "batch is 2, but the input shape 1x3x8x8 begins with 1.*write 2x3x8x8"),
        ({"input_shape": (1, 3, 8, 9)}, "input_shape is 1x3x8x9; .* fixes dimension 3 of input 'x' at 8: Nx3x8x8"),
        ({"input_shape": (1, 3, 8)}, "input_shape is 1x3x8; input 'x' of .* has 4 axes"),
        ({"input_shape": ((1, 3, 8, 8), (1, 3))}, "input_shape has 2 shapes; .* has 1 inputs: x"),
        ({"input_shape": (1, 3, -8, 8)}, "whole numbers of at least 1, batch first"),
        ({"batch": 0}, "batch is 0; it must be a whole number of at least 1"),
    ],
)
def test_sizes_that_contradict_the_file(path: Path, options: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text):
        read(flattening(path), **options)


def test_shapes_that_contradict_each_other(path: Path) -> None:
    save(path, [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")], {"x": [2, 5]}, [weights("w", 6, 2)])
    with pytest.raises(
        ImportFailed, match=r"net\.onnx: node 'product' \(MatMul\): the shapes contradict each other: .*; inputs: x 2x5, w 6x2"
    ):
        read(path)


def test_a_shape_that_depends_on_data_names_the_node(path: Path) -> None:
    nodes = [helper.make_node("NonZero", ["x"], ["i"]), helper.make_node("Cast", ["i"], ["f"], to=1)]
    nodes += [helper.make_node("Transpose", ["f"], ["t"]), helper.make_node("MatMul", ["t", "w"], ["y"], name="late")]
    save(path, nodes, {"x": [4, 4]}, [weights("w", 2, 3)])
    with pytest.raises(ImportFailed, match=r"node 'late' \(MatMul\): the shape of 't' is .*depends on data"):
        read(path)
