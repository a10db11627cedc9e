"""Control flow of ONNX graphs: decided where conditions, trip counts and positions are constants or follow from shapes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_files import ints, save, weights

from hwflow.errors import ImportFailed
from hwflow.network import Network, _onnx_functions
from hwflow.network.from_onnx import read

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "net.onnx"


def body(
    nodes: Sequence[Any], outputs: Sequence[str], inputs: Sequence[tuple[str, int]] = (), stored: Sequence[Any] = ()
) -> Any:
    """A subgraph; its values have no shapes."""
    return helper.make_graph(
        list(nodes),
        "body",
        [helper.make_tensor_value_info(name, kind, None) for name, kind in inputs],
        [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs],
        list(stored),
    )


def scalar(name: str, value: Any, dtype: Any) -> Any:
    return numpy_helper.from_array(np.array(value, dtype=dtype), name)


def conv(x: str, y: str, w: str = "w", name: str = "") -> Any:
    return helper.make_node("Conv", [x, w], [y], name=name or f"conv_{y}", pads=[1, 1, 1, 1])


def choice(condition: str, result: str, then: Any, other: Any) -> Any:
    return helper.make_node("If", [condition], [result], name=f"if_{result}", then_branch=then, else_branch=other)


def executed(net: Network) -> list[tuple[str, int]]:
    return [(layer.name, layer.macs) for layer in net]


IMAGE = {"x": [1, 4, 8, 8]}
MACS = 64 * 9 * 16  # a 3 x 3 convolution of 4 on 4 channels, 8 x 8


# If ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("condition", "expected"), [(True, MACS), (False, MACS + MACS // 9)])
def test_a_constant_condition_takes_one_branch(path: Path, condition: bool, expected: int) -> None:
    small = helper.make_node("Conv", ["a", "v"], ["b"], name="small")
    nodes = [choice("c", "y", body([conv("x", "t")], ["t"]), body([conv("x", "a"), small], ["b"]))]
    net = read(save(path, nodes, IMAGE, [scalar("c", condition, bool), weights("w", 4, 4, 3, 3), weights("v", 4, 4, 1, 1)]))
    assert net.macs == expected
    assert net.other == ()


def compared(x: str, y: str, axis: int, size: int) -> list[Any]:
    """Whether an axis of `x` has a size, as PyTorch's exporter asks before it squeezes."""
    return [
        helper.make_node("Shape", [x], [f"{y}_shape"]),
        helper.make_node("Constant", [], [f"{y}_axis"], value_int=axis),
        helper.make_node("Gather", [f"{y}_shape", f"{y}_axis"], [f"{y}_size"]),
        helper.make_node("Constant", [], [f"{y}_wanted"], value_int=size),
        helper.make_node("Equal", [f"{y}_size", f"{y}_wanted"], [y]),
    ]


@pytest.mark.parametrize(("height", "macs"), [(1, 4 * 3 * 3 * 16), (2, 4 * 3 * 3 * 3 * 2 * 16)])
def test_a_condition_on_a_shape_is_constant_once_the_sizes_are_given(path: Path, height: int, macs: int) -> None:
    squeezed = body([helper.make_node("Squeeze", ["x", "axes"], ["s"]), conv("s", "a", "w1")], ["a"])
    squeezed.node[1].attribute[0].ints[:] = [1, 1]
    whole = body([conv("x", "b", "w2")], ["b"])
    nodes = [*compared("x", "c", 2, 1), choice("c", "y", squeezed, whole)]
    stored = [ints("axes", 2), weights("w1", 4, 3, 3), weights("w2", 4, 3, 3, 3)]
    save(path, nodes, {"x": [1, 3, "H", 16]}, stored)
    assert read(path, input_shape=(1, 3, height, 16)).macs == macs


def test_a_branch_may_choose_the_weights(path: Path) -> None:
    nodes = [
        choice(
            "c",
            "k",
            body([helper.make_node("Identity", ["w"], ["t"])], ["t"]),
            body([helper.make_node("Identity", ["v"], ["e"])], ["e"]),
        ),
        helper.make_node("Conv", ["x", "k"], ["y"], name="conv"),
    ]
    stored = [weights("w", 4, 4, 3, 3), weights("v", 4, 4, 1, 1)]
    for condition, macs in ((True, 36 * 9 * 16), (False, 64 * 16)):
        net = read(save(path, nodes, IMAGE, [scalar("c", condition, bool), *stored]))
        assert (net.macs, net.params) == (macs, 144 if condition else 16)


def test_weights_in_a_branch_and_nested_branches(path: Path) -> None:
    inner = choice("d", "i", body([conv("x", "p", "u")], ["p"]), body([conv("x", "q", "w")], ["q"]))
    outer = choice(
        "c",
        "y",
        body([inner], ["i"], stored=[weights("u", 6, 4, 3, 3), scalar("d", True, bool)]),
        body([conv("x", "o")], ["o"]),
    )
    net = read(save(path, [outer], IMAGE, [scalar("c", True, bool), weights("w", 4, 4, 3, 3)]))
    assert executed(net) == [("conv_p", 64 * 9 * 24)]


def test_an_unknown_operator_in_the_branch_not_taken_does_not_matter(path: Path) -> None:
    odd = body([helper.make_node("Frobnicate", ["x"], ["t"])], ["t"])
    net = read(
        save(
            path,
            [choice("c", "y", odd, body([conv("x", "e")], ["e"]))],
            IMAGE,
            [scalar("c", 0, bool), weights("w", 4, 4, 3, 3)],
        )
    )
    assert net.macs == MACS


def test_a_condition_behind_constant_arithmetic_and_an_if_that_gives_a_condition(path: Path) -> None:
    flag = choice(
        "c",
        "f",
        body([helper.make_node("Not", ["c"], ["n"])], ["n"]),
        body([helper.make_node("Identity", ["c"], ["m"])], ["m"]),
    )
    nodes = [
        helper.make_node("Cast", ["number"], ["c"], to=BOOL),
        flag,
        choice("f", "y", body([conv("x", "t")], ["t"]), body([conv("x", "e1"), conv("e1", "e")], ["e"])),
    ]
    net = read(save(path, nodes, IMAGE, [scalar("number", 3, np.int64), weights("w", 4, 4, 3, 3)]))
    assert net.macs == 2 * MACS


# Loop ----------------------------------------------------------------------------------------------------------------


def loop(inner: Sequence[Any], carried: str, outputs: Sequence[str], inputs: Sequence[str], stored: Sequence[Any] = ()) -> Any:
    """A loop with one carried value, `h` in its body."""
    given = [("i", INT64), ("go", BOOL), ("h", FLOAT)]
    going = helper.make_node("Identity", ["go"], ["go_on"])
    return helper.make_node(
        "Loop",
        list(inputs),
        list(outputs),
        name="loop",
        body=body([*inner, going], ["go_on", carried, *outputs[1:]], given, stored),
    )


@pytest.mark.parametrize("trips", [1, 3, 7])
def test_a_constant_trip_count_runs_the_body_so_often(path: Path, trips: int) -> None:
    nodes = [loop([conv("h", "o", name="conv")], "o", ["y"], ["n", "", "x"])]
    net = read(save(path, nodes, IMAGE, [scalar("n", trips, np.int64), weights("w", 4, 4, 3, 3)]))
    assert net.macs == trips * MACS
    assert [layer.name for layer in net] == ["conv", *(f"conv#{i}" for i in range(2, trips + 1))]


def test_what_a_loop_carries_may_change_its_shape(path: Path) -> None:
    shrink = helper.make_node("Conv", ["h", "w"], ["o"], name="conv")
    net = read(
        save(
            path,
            [loop([shrink], "o", ["y"], ["n", "c", "x"])],
            IMAGE,
            [scalar("n", 3, np.int64), scalar("c", True, bool), weights("w", 4, 4, 3, 3)],
        )
    )
    assert [layer.P for layer in net] == [6, 4, 2]


def test_scan_outputs_of_a_loop_are_stacked(path: Path) -> None:
    nodes = [
        loop([conv("h", "o"), helper.make_node("Relu", ["o"], ["each"])], "o", ["last", "each"], ["n", "", "x"]),
        helper.make_node("MatMul", ["each", "m"], ["y"], name="product"),
    ]
    net = read(save(path, nodes, IMAGE, [scalar("n", 5, np.int64), weights("w", 4, 4, 3, 3), weights("m", 8, 2)]))
    assert net["product"].macs == 5 * 4 * 8 * 8 * 2
    assert net.macs == 5 * MACS + net["product"].macs


def test_a_loop_ends_by_its_condition_and_knows_its_iteration(path: Path) -> None:
    """Three iterations: it goes on while i < 2."""
    less = helper.make_node("Less", ["i", "two"], ["go_on"])
    given = [("i", INT64), ("go", BOOL), ("h", FLOAT)]
    node = helper.make_node("Loop", ["", "c", "x"], ["y"], body=body([conv("h", "o"), less], ["go_on", "o"], given))
    stored = [scalar("c", True, bool), scalar("two", 2, np.int64), weights("w", 4, 4, 3, 3)]
    assert read(save(path, [node], IMAGE, stored)).macs == 3 * MACS
    other = [
        conv("x", "z"),
        helper.make_node("Loop", ["", "c", "z"], ["y"], body=body([conv("h", "o"), less], ["go_on", "o"], given)),
    ]
    assert read(save(path, other, IMAGE, [scalar("c", False, bool), *stored[1:]])).macs == MACS


def test_the_iteration_may_choose_a_branch_and_the_weights(path: Path) -> None:
    nodes = [
        helper.make_node("Equal", ["i", "one"], ["second"]),
        choice("second", "o", body([conv("h", "p"), conv("p", "q")], ["q"]), body([conv("h", "r")], ["r"])),
    ]
    net = read(
        save(
            path,
            [loop(nodes, "o", ["y"], ["n", "", "x"])],
            IMAGE,
            [scalar("n", 3, np.int64), scalar("one", 1, np.int64), weights("w", 4, 4, 3, 3)],
        )
    )
    assert net.macs == 4 * MACS
    sliced = [
        helper.make_node("Gather", ["stack", "i"], ["k"]),
        helper.make_node("Conv", ["h", "k"], ["o"], name="conv", pads=[1, 1, 1, 1]),
    ]
    net = read(
        save(
            path, [loop(sliced, "o", ["y"], ["n", "", "x"])], IMAGE, [scalar("n", 3, np.int64), weights("stack", 3, 4, 4, 3, 3)]
        )
    )
    assert net.macs == 3 * MACS


def test_loops_in_loops_and_trip_counts_from_shapes(path: Path) -> None:
    inner = loop([conv("h", "o")], "o", ["z"], ["m", "", "h2"])
    outer = helper.make_node(
        "Loop",
        ["n", "", "x"],
        ["y"],
        body=body(
            [inner, helper.make_node("Identity", ["g2"], ["g3"])], ["g3", "z"], [("i2", INT64), ("g2", BOOL), ("h2", FLOAT)]
        ),
    )
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "one"], ["n"]),  # 4 channels
        outer,
    ]
    net = read(save(path, nodes, IMAGE, [scalar("m", 2, np.int64), scalar("one", 1, np.int64), weights("w", 4, 4, 3, 3)]))
    assert net.macs == 8 * MACS


def test_a_loop_without_iterations_passes_its_values_on(path: Path) -> None:
    nodes = [conv("x", "a"), loop([conv("h", "o")], "o", ["b"], ["n", "", "a"]), helper.make_node("Relu", ["b"], ["y"])]
    net = read(save(path, nodes, IMAGE, [scalar("n", 0, np.int64), weights("w", 4, 4, 3, 3)]))
    assert (net.macs, net.not_counted) == (MACS, {"Relu": 1})


@pytest.mark.parametrize("trips", [400, 10**6, 2**62])
def test_a_loop_that_runs_too_often_is_refused(path: Path, trips: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _onnx_functions.MOST_NODES == 100_000
    monkeypatch.setattr(_onnx_functions, "MOST_NODES", 500)
    nodes = [conv("x", "a"), loop([], "h", ["y"], ["n", "", "a"])]
    with pytest.raises(ImportFailed, match=r"the graph has 501 nodes once .* its loops unrolled; the limit is 500"):
        read(save(path, nodes, IMAGE, [scalar("n", trips, np.int64), weights("w", 4, 4, 3, 3)]))


# Scan, sequences, optionals ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1, -3])
def test_a_scan_runs_once_for_each_element_of_its_axis(path: Path, axis: int) -> None:
    inner = [helper.make_node("MatMul", ["e", "m"], ["p"], name="product"), helper.make_node("Add", ["s", "p"], ["t"])]
    node = helper.make_node(
        "Scan",
        ["zero", "x"],
        ["last", "y"],
        num_scan_inputs=1,
        scan_input_axes=[axis],
        body=body([*inner, helper.make_node("Identity", ["t"], ["u"])], ["t", "u"], [("s", FLOAT), ("e", FLOAT)]),
    )
    save(
        path,
        [node, helper.make_node("MatMul", ["y", "k"], ["z"], name="after")],
        {"x": [5, 7, 6]},
        [weights("zero", 1, 3), weights("m", 6, 3), weights("k", 3, 2)],
    )
    trips, rows = (7, 5) if axis == 1 else (5, 7)
    net = read(path)
    assert [layer.macs for layer in net] == [rows * 18] * trips + [trips * rows * 6]


def test_sequences_are_followed_element_by_element(path: Path) -> None:
    nodes = [
        helper.make_node("SplitToSequence", ["x", "sizes"], ["parts"], axis=1),
        helper.make_node("SequenceAt", ["parts", "last"], ["p"]),
        conv("p", "a", "v"),
        helper.make_node("SequenceInsert", ["parts", "a"], ["more"]),
        helper.make_node("SequenceErase", ["more", "zero"], ["less"]),
        helper.make_node("SequenceLength", ["less"], ["n"]),
        helper.make_node("ConcatFromSequence", ["less"], ["joined"], axis=1),  # 3 + 5 channels
        conv("joined", "b", "w"),
        loop([conv("h", "o", "u")], "o", ["y"], ["n", "", "b"]),
    ]
    stored = [ints("sizes", 1, 3), scalar("last", -1, np.int64), scalar("zero", 0, np.int64)]
    stored += [weights("v", 5, 3, 3, 3), weights("w", 4, 8, 3, 3), weights("u", 4, 4, 3, 3)]
    net = read(save(path, nodes, IMAGE, stored))
    assert [layer.macs for layer in net] == [64 * 9 * 15, 64 * 9 * 32, MACS, MACS]
    assert net.not_counted == {"ConcatFromSequence": 1, "SplitToSequence": 1}


def test_a_sequence_map_runs_once_for_each_element(path: Path) -> None:
    nodes = [
        helper.make_node("SplitToSequence", ["x"], ["parts"], axis=0),
        helper.make_node("SequenceMap", ["parts"], ["mapped"], body=body([conv("e", "o")], ["o"], [("e", FLOAT)])),
        helper.make_node("ConcatFromSequence", ["mapped"], ["y"], axis=0),
    ]
    net = read(save(path, nodes, {"x": [3, 4, 8, 8]}, [weights("w", 4, 4, 3, 3)]))
    assert net.macs == 3 * MACS


@pytest.mark.parametrize(("given", "convolutions"), [(True, 2), (False, 1)])
def test_an_optional_that_is_there_or_not(path: Path, given: bool, convolutions: int) -> None:
    nothing = helper.make_tensor_type_proto(FLOAT, [1, 4, 8, 8])
    made = helper.make_node("Optional", ["x"], ["o"]) if given else helper.make_node("Optional", [], ["o"], type=nothing)
    there = body([helper.make_node("OptionalGetElement", ["o"], ["t"]), conv("t", "u"), conv("u", "v")], ["v"])
    nodes = [made, helper.make_node("OptionalHasElement", ["o"], ["c"]), choice("c", "y", there, body([conv("x", "e")], ["e"]))]
    assert read(save(path, nodes, IMAGE, [weights("w", 4, 4, 3, 3)], opset=18)).macs == convolutions * MACS


# What depends on data ------------------------------------------------------------------------------------------------


def on_data(node: Any) -> list[Any]:
    """`node` after a condition `c` and a trip count `n` that depend on the input."""
    return [
        conv("x", "a"),
        helper.make_node("ReduceSum", ["a"], ["sum"], keepdims=0),
        helper.make_node("Cast", ["sum"], ["c"], to=BOOL),
        helper.make_node("Cast", ["sum"], ["n"], to=INT64),
        node,
    ]


RELU = helper.make_node("Relu", ["h"], ["o"])


@pytest.mark.parametrize(
    ("node", "text"),
    [
        (choice("c", "y", body([conv("a", "t")], ["t"]), body([], ["a"])), r"'if_y' \(If\): .*node 'conv_t' \(Conv\)"),
        (loop([conv("h", "o")], "o", ["y"], ["n", "", "a"]), r"'loop' \(Loop\): .*node 'conv_o' \(Conv\)"),
        (loop([conv("h", "o")], "o", ["y"], ["", "c", "a"]), r"'loop' \(Loop\): .*node 'conv_o' \(Conv\)"),
        (
            choice("c", "y", body([loop([conv("h", "o")], "o", ["z"], ["three", "", "a"])], ["z"]), body([], ["a"])),
            r"'if_y' \(If\): .*node 'conv_o' \(Conv\)",
        ),
    ],
)
def test_layers_that_run_as_data_says_are_refused(path: Path, node: Any, text: str) -> None:
    save(path, on_data(node), IMAGE, [weights("w", 4, 4, 3, 3), scalar("three", 3, np.int64)])
    with pytest.raises(ImportFailed, match=f"{text}, and how often that runs depends on data"):
        read(path)


@pytest.mark.parametrize(
    ("node", "kind"),
    [
        (choice("c", "o", body([helper.make_node("Relu", ["a"], ["t"])], ["t"]), body([], ["a"])), "If"),
        (loop([RELU], "o", ["o"], ["n", "", "a"]), "Loop"),
    ],
)
def test_control_flow_on_data_without_layers_keeps_the_shape(path: Path, node: Any, kind: str) -> None:
    nodes = [*on_data(node), helper.make_node("MatMul", ["o", "m"], ["y"], name="after")]
    net = read(save(path, nodes, IMAGE, [weights("w", 4, 4, 3, 3), weights("m", 8, 3)]))
    assert net["after"].macs == 4 * 64 * 3
    assert net.not_counted[kind] == 1


def test_a_loop_that_data_ends_in_the_middle(path: Path) -> None:
    """The first iteration is certain, the second is not."""
    given = [("i", INT64), ("go", BOOL), ("h", FLOAT)]
    inner = [
        conv("h", "o"),
        helper.make_node("ReduceSum", ["o"], ["sum"], keepdims=0),
        helper.make_node("Cast", ["sum"], ["go_on"], to=BOOL),
    ]
    node = helper.make_node("Loop", ["n", "c", "x"], ["y"], name="loop", body=body(inner, ["go_on", "o"], given))
    stored = [scalar("c", True, bool), weights("w", 4, 4, 3, 3)]
    with pytest.raises(
        ImportFailed, match=r"'loop' \(Loop\): it runs a subgraph with layer 'conv_o', and how often .* depends on data"
    ):
        read(save(path, [node], IMAGE, [scalar("n", 2, np.int64), *stored]))
    assert read(save(path, [node], IMAGE, [scalar("n", 1, np.int64), *stored])).macs == MACS


def test_a_shape_that_a_loop_on_data_changes_is_unknown(path: Path) -> None:
    grow = helper.make_node("Concat", ["h", "h"], ["o"], axis=0)
    nodes = [*on_data(loop([grow], "o", ["o"], ["n", "", "a"])), helper.make_node("MatMul", ["o", "m"], ["y"], name="after")]
    with pytest.raises(ImportFailed, match=r"node 'after' \(MatMul\): the shape of 'o' is \?x4x8x8; it depends on data"):
        read(save(path, nodes, IMAGE, [weights("w", 4, 4, 3, 3), weights("m", 8, 3)]))


# Names and parameters ------------------------------------------------------------------------------------------------


def test_weights_that_several_iterations_read_are_counted_once(path: Path) -> None:
    nodes = [loop([conv("h", "o", name="conv")], "o", ["z"], ["n", "", "x"]), conv("z", "y", "w", "last")]
    net = read(save(path, nodes, IMAGE, [scalar("n", 3, np.int64), weights("w", 4, 4, 3, 3)]))
    assert (net.macs, net.params) == (4 * MACS, 144)
    held = loop([conv("h", "o", "v")], "o", ["y"], ["n", "", "x"], [weights("v", 4, 4, 3, 3)])
    assert read(save(path, [held], IMAGE, [scalar("n", 3, np.int64)])).params == 144


def test_weights_of_each_iteration_are_counted_each(path: Path) -> None:
    sliced = [helper.make_node("Gather", ["stack", "i"], ["k"]), conv("h", "o", "k")]
    net = read(
        save(
            path,
            [loop(sliced, "o", ["y"], ["n", "", "x"])],
            IMAGE,
            [scalar("n", 3, np.int64), weights("stack", 3, 4, 4, 3, 3)],
        )
    )
    assert (net.macs, net.params) == (3 * MACS, 3 * 144)
