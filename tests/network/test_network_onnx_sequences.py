"""Scans, sequences and optionals of ONNX graphs, followed element by element."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import helper
from onnx_files import FLOAT, IMAGE, MACS, body, choice, conv, ints, loop, save, scalar, weights

from hwflow.network.from_onnx import read


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "net.onnx"


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
