"""Control flow of ONNX graphs: decided where conditions, trip counts and positions are constants or follow from shapes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from hwflow.errors import ImportFailed
from hwflow.network import Network, _onnx_functions
from hwflow.network._onnx_graph import Execution
from hwflow.network.from_onnx import read
from tests.network.onnx_files import BOOL, FLOAT, IMAGE, INT64, MACS, body, choice, conv, ints, loop, save, scalar, weights


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "net.onnx"


def executed(net: Network) -> list[tuple[str, int]]:
    return [(layer.name, layer.macs) for layer in net]


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
    with pytest.raises(ImportFailed, match=rf"the graph has {2 + 2 * trips} nodes once .* unrolled; the limit is 500"):
        read(save(path, nodes, IMAGE, [scalar("n", trips, np.int64), weights("w", 4, 4, 3, 3)]))


@pytest.mark.parametrize("where", ["outside", "in the body", "as a Constant"])
def test_nested_loops_are_multiplied_before_they_are_followed(path: Path, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    followed = 0

    def step(self: Any, count: int = 1, of: Any = Execution.step) -> None:
        nonlocal followed
        followed += count
        of(self, count)

    monkeypatch.setattr(Execution, "step", step)
    stored = [scalar("m", 1000, np.int64)] if where == "in the body" else []
    given = [helper.make_node("Constant", [], ["m"], value=scalar("m", 1000, np.int64))] if where == "as a Constant" else []
    nest = conv("h", "o")
    for depth in range(2):
        nest = loop([nest], "o", ["o" if depth else "p"], ["m", "", "h"])
        nest.attribute[0].g.output[1].name = "p" if depth else "o"
    nodes = [loop([*given, nest], "o", ["y"], ["n", "", "x"], stored)]
    known = [scalar("n", 1000, np.int64), *([] if stored or given else [scalar("m", 1000, np.int64)])]
    with pytest.raises(ImportFailed, match=r"the graph has 3\d{9} nodes once"):
        read(save(path, nodes, IMAGE, [*known, weights("w", 4, 4, 3, 3)]))
    assert followed < 10


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
