"""What an ONNX file cannot make the importer do: run without end, fill the memory, or read other files."""

from __future__ import annotations

import itertools
import resource
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from hwflow.errors import ImportFailed
from hwflow.layers import Layer
from hwflow.network.from_onnx import read
from tests.network.onnx_files import ints, save, weights

OPSETS = [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)]
MINE = {"imports": [helper.make_opsetid("mine", 1)]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "net.onnx"


@pytest.fixture
def little_memory() -> Iterator[None]:
    """2 GiB of address space more than now."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2**31, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


# Functions -----------------------------------------------------------------------------------------------------------


def function(name: str, body: Sequence[Any], inputs: str = "a", outputs: str = "z", attributes: Sequence[str] = ()) -> Any:
    return helper.make_function("mine", name, inputs.split(), outputs.split(), list(body), OPSETS, list(attributes))


def call(name: str, inputs: str, outputs: str, **attributes: Any) -> Any:
    return helper.make_node(name, inputs.split(), outputs.split(), name=f"call_{outputs}", domain="mine", **attributes)


def test_functions_of_the_model_are_looked_into(path: Path) -> None:
    dense = function("Dense", [helper.make_node("MatMul", ["a", "b"], ["c"]), helper.make_node("Relu", ["c"], ["z"])], "a b")
    nodes = [call("Dense", "x w", "h"), call("Dense", "h v", "y")]
    net = read(save(path, nodes, {"x": [2, 6]}, [weights("w", 6, 3), weights("v", 3, 5)], functions=[dense], **MINE))
    assert [(layer.name, layer.type, layer.macs) for layer in net] == [("call_h/c", "linear", 36), ("call_y/c", "linear", 30)]
    assert net.not_counted == {"Relu": 2}


def test_functions_take_attributes_optional_inputs_and_other_functions(path: Path) -> None:
    strided = helper.make_node("Conv", ["a", "w", "b"], ["z"], name="conv")
    attribute = onnx.AttributeProto(name="strides", ref_attr_name="step", type=onnx.AttributeProto.INTS)
    strided.attribute.append(attribute)
    inner = function("Strided", [strided], "a w b", attributes=["step"])
    forward = helper.make_node("Strided", ["a", "w"], ["z"], name="inner", domain="mine")
    forward.attribute.add(name="step", ref_attr_name="step", type=onnx.AttributeProto.INTS)
    outer = function("Outer", [forward], "a w", attributes=["step"])
    nodes = [call("Outer", "x w", "h", step=[2, 2]), call("Outer", "h w", "y")]
    net = read(save(path, nodes, {"x": [1, 4, 9, 9]}, [weights("w", 4, 4, 3, 3)], functions=[inner, outer], **MINE))
    assert [(layer.name, layer.P, layer.strides) for layer in net] == [
        ("call_h/inner/conv", 4, (2, 2)),
        ("call_y/inner/conv", 2, (1, 1)),
    ]


def test_a_constant_condition_may_be_an_argument_of_a_function(path: Path) -> None:
    def branch(name: str, count: int) -> Any:
        names = ["a", *(f"{name}{i}" for i in range(count))]
        nodes = [helper.make_node("MatMul", [x, "w"], [y]) for x, y in itertools.pairwise(names)]
        return helper.make_graph(nodes, name, [], [helper.make_tensor_value_info(names[-1], TensorProto.FLOAT, None)])

    choice = helper.make_node("If", ["c"], ["z"], then_branch=branch("t", 1), else_branch=branch("e", 3))
    nodes = [call("Choice", "x w no", "y")]
    stored = [weights("w", 4, 4), numpy_helper.from_array(np.array(False), "no")]
    net = read(save(path, nodes, {"x": [2, 4]}, stored, functions=[function("Choice", [choice], "a w c")], **MINE))
    assert net.macs == 3 * 32


@pytest.mark.parametrize("length", [1, 2, 5])
def test_functions_that_call_themselves_are_refused_by_name(path: Path, length: int) -> None:
    functions = [function(f"F{i}", [call(f"F{(i + 1) % length}", "a", "z")]) for i in range(length)]
    save(path, [call("F0", "x", "y")], {"x": [2, 4]}, functions=functions, **MINE)
    with pytest.raises(ImportFailed, match=r"the function mine::F0 calls itself, by way of the function mine::F\d"):
        read(path)


@pytest.mark.parametrize("inside", ["If", "Loop"])
def test_a_function_that_calls_itself_in_a_branch_is_refused(path: Path, inside: str) -> None:
    out = helper.make_tensor_value_info("r", TensorProto.FLOAT, None)
    graph = helper.make_graph([call("F", "a", "r")], "branch", [], [out])
    node = (
        helper.make_node("If", ["a"], ["z"], then_branch=graph, else_branch=graph)
        if inside == "If"
        else helper.make_node("Loop", ["", "", "a"], ["z"], body=graph)
    )
    save(path, [call("F", "x", "y")], {"x": [2, 4]}, functions=[function("F", [node])], **MINE)
    with pytest.raises(ImportFailed, match="the function mine::F calls itself"):
        read(path)


@pytest.mark.parametrize(("levels", "calls"), [(24, 2), (60, 2), (6, 10), (2, 400)])
def test_functions_are_counted_before_they_are_expanded(path: Path, levels: int, calls: int) -> None:
    functions = [function("F0", [helper.make_node("Relu", ["a"], ["z"])])]
    for level in range(1, levels + 1):
        names = ["a", *(f"t{i}" for i in range(1, calls)), "z"]
        body = [call(f"F{level - 1}", x, y) for x, y in itertools.pairwise(names)]
        functions.append(function(f"F{level}", body))
    save(path, [call(f"F{levels}", "x", "y")], {"x": [2, 4]}, functions=functions, **MINE)
    begun = time.process_time()
    with pytest.raises(
        ImportFailed, match=r"the function mine::F\d+ has \d+ nodes once its functions are expanded .* limit is 100000"
    ):
        read(path)
    assert time.process_time() - begun < 2


def test_functions_that_call_each_other_too_deep_are_refused(path: Path) -> None:
    functions = [function("F0", [helper.make_node("Relu", ["a"], ["z"])])]
    functions += [function(f"F{i}", [call(f"F{i - 1}", "a", "z")]) for i in range(1, 2000)]
    save(path, [call("F1999", "x", "y")], {"x": [2, 4]}, functions=functions, **MINE)
    with pytest.raises(ImportFailed, match=r"its functions call each other more than 100 deep, the last of them mine::F\d+"):
        read(path)


def looped(path: Path, trips: int | None, condition: list[Any], stop: str) -> Path:
    """A matrix product in a loop whose body says by `condition` whether to go on."""
    body = helper.make_graph(
        [*condition, helper.make_node("MatMul", ["a", "w"], ["z"])],
        "body",
        [helper.make_tensor_value_info(n, t, []) for n, t in (("i", TensorProto.INT64), ("on", TensorProto.BOOL))]
        + [helper.make_tensor_value_info("a", TensorProto.FLOAT, None)],
        [
            helper.make_tensor_value_info(stop, TensorProto.BOOL, []),
            helper.make_tensor_value_info("z", TensorProto.FLOAT, None),
        ],
    )
    node = helper.make_node("Loop", ["" if trips is None else "n", "true", "x"], ["y"], name="long", body=body)
    values = {"n": np.array(trips or 0), "true": np.array(True), "three": np.array(3)}
    stored = [numpy_helper.from_array(value, name) for name, value in values.items()]
    return save(path, [node], {"x": [2, 4]}, [*stored, weights("w", 4, 4)])


HANDED_ON = [
    pytest.param([], "on", id="the condition itself"),
    pytest.param([helper.make_node("Identity", ["on"], ["same"])], "same", id="a copy"),
    pytest.param(
        [helper.make_node("Identity", ["on"], ["b"]), helper.make_node("Identity", ["b"], ["same"])], "same", id="of a copy"
    ),
]


@pytest.mark.parametrize(("condition", "stop"), HANDED_ON)
@pytest.mark.parametrize(
    ("trips", "words"), [(2**40, r"the graph has [2-4]\d{12} nodes"), (None, "'long' .Loop.: it never ends")]
)
def test_loops_that_nothing_stops_are_counted_before_they_are_unrolled(
    path: Path, trips: int | None, words: str, condition: list[Any], stop: str
) -> None:
    begun = time.process_time()
    with pytest.raises(ImportFailed, match=words):
        read(looped(path, trips, condition, stop))
    assert time.process_time() - begun < 2


def test_a_long_loop_that_its_condition_ends_is_followed(path: Path) -> None:
    less = [helper.make_node("Less", ["i", "three"], ["go"])]
    assert [layer.macs for layer in read(looped(path, 2**40, less, "go")).layers] == [32] * 4


def test_functions_that_nothing_calls_do_not_matter(path: Path) -> None:
    endless = function("Endless", [call("Endless", "a", "z")])
    net = read(
        save(
            path,
            [helper.make_node("MatMul", ["x", "w"], ["y"])],
            {"x": [2, 6]},
            [weights("w", 6, 3)],
            functions=[endless],
            **MINE,
        )
    )
    assert net.macs == 36


# Constants -----------------------------------------------------------------------------------------------------------


def number(name: str, value: int) -> Any:
    return numpy_helper.from_array(np.array(value, dtype=np.int64), name)


@pytest.mark.parametrize(
    "node",
    [
        helper.make_node("Range", ["zero", "huge", "one"], ["r"]),
        helper.make_node("Range", ["least", "most", "one"], ["r"]),
        helper.make_node("ConstantOfShape", ["square"], ["r"]),
        helper.make_node("Expand", ["one", "square"], ["r"]),
        helper.make_node("Tile", ["two", "square1"], ["r"]),
        helper.make_node("Pad", ["two", "pads"], ["r"]),
        helper.make_node("Resize", ["image", "", "scales"], ["r"]),
        helper.make_node("OneHot", ["two", "huge", "two"], ["r"]),
        helper.make_node("EyeLike", ["filled"], ["r"]),
        helper.make_node("RandomNormal", [], ["r"], shape=[2**36, 2]),
        helper.make_node("CenterCropPad", ["two", "square1"], ["r"]),
        helper.make_node("MatMul", ["column", "row"], ["r"]),
        helper.make_node("Einsum", ["many", "many", "many"], ["r"], equation="i,j,k->ijk"),
        helper.make_node("Conv", ["image", "kernel"], ["r"], pads=[10**6] * 4, strides=[10**6] * 2),
        helper.make_node("MaxPool", ["image"], ["r"], kernel_shape=[10**6] * 2, pads=[10**6 - 1] * 4, strides=[10**6] * 2),
    ],
    ids=lambda node: f"{node.op_type}_{node.input[-1] if node.input else ''}",
)
def test_huge_constants_are_not_made(path: Path, node: Any, little_memory: None) -> None:
    numbers = {"zero": 0, "one": 1, "huge": 2**36, "least": -(2**63), "most": 2**63 - 1}
    stored = [*(number(k, v) for k, v in numbers.items()), ints("square", 2**36, 2**20), ints("square1", 2**40)]
    stored += [ints("two", 1, 2), ints("pads", 2**40, 0), weights("image", 1, 1, 8, 8), weights("kernel", 1, 1, 2, 2)]
    stored += [weights("column", 4096, 1), weights("row", 1, 4096), weights("many", 4096), weights("w", 6, 3)]
    stored += [numpy_helper.from_array(np.array([1, 1, 1e6, 1e6], dtype=np.float32), "scales"), ints("wide", 2**20, 2**20)]
    filled = helper.make_node("ConstantOfShape", ["wide"], ["filled"])
    begun = time.process_time()
    net = read(save(path, [filled, node, helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": [2, 6]}, stored, opset=18))
    assert net.macs == 36
    assert net.other == ()
    assert time.process_time() - begun < 5


def test_weights_too_large_to_be_made_are_counted_by_their_shape(path: Path, little_memory: None) -> None:
    nodes = [helper.make_node("ConstantOfShape", ["size"], ["w"]), helper.make_node("MatMul", ["x", "w"], ["y"])]
    net = read(save(path, nodes, {"x": [1, 2**20]}, [ints("size", 2**20, 2**20)]))
    assert net.layers == (Layer("y", type="linear", C=2**20, M=2**20),)


def test_a_shape_beyond_what_can_be_counted_names_the_node(path: Path) -> None:
    nodes = [
        helper.make_node("ConstantOfShape", ["size"], ["w"]),
        helper.make_node("MatMul", ["x", "w"], ["y"], name="product"),
    ]
    save(path, nodes, {"x": [1, 6]}, [ints("size", 6, 2**40)])
    with pytest.raises(ImportFailed, match=r"node 'product' \(MatMul\): .*M is 1099511627776; the largest that can be costed"):
        read(path)


# Attributes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "attributes", "name"),
    [
        ("Conv", {"group": 0}, "group"),
        ("Conv", {"group": -1}, "group"),
        ("ConvTranspose", {"group": 0}, "group"),
        ("Conv", {"strides": [0, 1]}, "strides"),
        ("Conv", {"strides": [-1, 1]}, "strides"),
        ("Conv", {"dilations": [1, 0]}, "dilations"),
        ("Conv", {"kernel_shape": [0, 3]}, "kernel_shape"),
        ("MaxPool", {"kernel_shape": [2, 2], "strides": [0, 0]}, "strides"),
        ("LpPool", {"kernel_shape": [0, 2]}, "kernel_shape"),
        ("DepthToSpace", {"blocksize": 0}, "blocksize"),
        ("SpaceToDepth", {"blocksize": -2}, "blocksize"),
        ("Split", {"num_outputs": 0}, "num_outputs"),
    ],
)
def test_counts_below_one_name_the_node_and_the_attribute(path: Path, op: str, attributes: dict[str, Any], name: str) -> None:
    inputs = ["x", "w"] if op.startswith("Conv") else ["x"]
    save(
        path,
        [helper.make_node(op, inputs, ["y"], name="odd", **attributes)],
        {"x": [1, 4, 8, 8]},
        [weights("w", 4, 4, 3, 3)],
        opset=18,
    )
    with pytest.raises(ImportFailed, match=rf"node 'odd' \({op}\): its attribute {name} is .*; it must be at least 1"):
        read(path)


def test_a_quantised_convolution_with_group_0(path: Path) -> None:
    zero = numpy_helper.from_array(np.array(0, dtype=np.uint8), "z")
    node = helper.make_node("QLinearConv", ["x", "s", "z", "w", "s", "z", "s", "z"], ["y"], name="odd", group=0)
    kernel = numpy_helper.from_array(np.zeros((4, 4, 3, 3), dtype=np.uint8), "w")
    save(path, [node], {"x": [1, 4, 8, 8]}, [weights("s"), zero, kernel], dtype=TensorProto.UINT8)
    with pytest.raises(ImportFailed, match="its attribute group is 0; it must be at least 1"):
        read(path)


def test_a_node_that_reads_what_nothing_makes(path: Path) -> None:
    save(path, [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")], {"x": [2, 6]})
    with pytest.raises(
        ImportFailed, match=r"node 'product' \(MatMul\) reads 'w', which is no input, no initializer and no result"
    ):
        read(path)


@pytest.mark.parametrize(
    ("node", "text"),
    [
        (helper.make_node("If", [], ["y"], name="odd"), "its input 1 is missing|its then_branch is missing"),
        (helper.make_node("If", ["x"], ["y"], name="odd"), "its then_branch is missing"),
        (helper.make_node("Loop", ["", "", "x"], ["y"], name="odd"), "its body is missing"),
        (helper.make_node("Scan", ["x"], ["y"], name="odd"), "its body is missing"),
        (helper.make_node("SequenceMap", ["x"], ["y"], name="odd"), "its body is missing"),
        (helper.make_node("Constant", [], ["y"], name="odd"), "it holds no value"),
        (helper.make_node("Identity", [], ["y"], name="odd"), "its input 1 is missing"),
        (helper.make_node("Einsum", [], ["y"], name="odd", equation="i"), "its input 1 is missing"),
        (helper.make_node("MatMul", ["x"], ["y"], name="odd"), "contradict each other|its input 2 is missing"),
    ],
    ids=lambda value: value.op_type if hasattr(value, "op_type") else "",
)
def test_nodes_that_are_not_whole(path: Path, node: Any, text: str) -> None:
    save(path, [node], {"x": [2, 6]})
    with pytest.raises(ImportFailed, match=rf"node 'odd' \({node.op_type}\): .*({text})"):
        read(path)


def test_constants_that_no_name_is_given_to(path: Path) -> None:
    nodes = [helper.make_node("Shape", ["w"], []), helper.make_node("Split", ["w"], ["", "b"], axis=0, num_outputs=2)]
    net = read(
        save(path, [*nodes, helper.make_node("MatMul", ["x", "b"], ["y"])], {"x": [2, 3]}, [weights("w", 6, 2)], opset=18)
    )
    assert net.macs == 12
