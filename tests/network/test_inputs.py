"""Inputs that are not one image: whole numbers, several of them, by order or by name, in Python and on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from hwflow import InputError, Network, cli, zoo
from hwflow.errors import ImportFailed
from hwflow.network._inputs import DTYPES, InputSpec, inputs_of, parsed_input, parsed_inputs

MODULE = '''
import torch
from torch import nn


class Encoder(nn.Module):
    """Token ids, and optionally where they are padding and of which segment they are."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(100, 8)
        self.kind = nn.Embedding(2, 8)
        self.head = nn.Linear(8, 4)

    def forward(self, input_ids, attention_mask=None, token_type_ids=None):
        x = self.embedding(input_ids)
        if token_type_ids is not None:
            x = x + self.kind(token_type_ids)
        if attention_mask is not None:
            x = x * attention_mask[..., None]
        return self.head(x)


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 4, 3), nn.Linear(5, 2)

    def forward(self, image, vector):
        return self.left(image).mean((1, 2, 3)) + self.right(vector).sum(1)
'''


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    (tmp_path / "inputs_example.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {}
    exec(MODULE, found)
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1x3x224x224", InputSpec((1, 3, 224, 224))),
        ("1X3X8", InputSpec((1, 3, 8))),
        ("7", InputSpec((7,))),
        ("int64:1x128", InputSpec((1, 128), "int64")),
        ("BOOL:1x2", InputSpec((1, 2), "bool")),
        ("input_ids=int64:1x128", InputSpec((1, 128), "int64", "input_ids")),
        ("x.1=2x3", InputSpec((2, 3), None, "x.1")),
        ("a/b = float16 : 2x3", InputSpec((2, 3), "float16", "a/b")),
    ],
)
def test_texts_of_inputs(text: str, expected: InputSpec) -> None:
    assert parsed_input(text) == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "must be whole numbers with x between them"),
        ("3by224", "must be whole numbers with x between them"),
        ("1x0x3", "must be whole numbers with x between them"),
        ("1x-3", "must be whole numbers with x between them"),
        ("int64:", "must be whole numbers with x between them"),
        ("=1x3", "must be whole numbers with x between them"),
        ("a=b=1x3", "must be whole numbers with x between them"),
        ("int63:1x128", "no element type 'int63'; there are float16,"),
        ("x=long:1x128", "no element type 'long'"),
        ("1x3:int64", "must be whole numbers with x between them"),
    ],
)
def test_texts_that_describe_no_input(text: str, problem: str) -> None:
    with pytest.raises(InputError, match=f"--input is .*{problem}"):
        parsed_input(text, "--input")


def test_what_input_shape_may_be() -> None:
    ids = torch.zeros(1, 128, dtype=torch.int64)
    assert inputs_of((1, 3, 8, 8)) == inputs_of([1, 3, 8, 8]) == inputs_of("1x3x8x8") == (InputSpec((1, 3, 8, 8)),)
    assert inputs_of(((1, 3), "int64:1x128")) == (InputSpec((1, 3)), InputSpec((1, 128), "int64"))
    assert inputs_of(ids)[0].tensor is ids
    assert inputs_of({"a": (1, 2), "b": "bool:1x2"}) == (InputSpec((1, 2), None, "a"), InputSpec((1, 2), "bool", "b"))
    assert [spec.name for spec in inputs_of(("a=1x2", (3, 4)))] == [None, "a"]  # those in order come first
    assert parsed_inputs(None) is parsed_inputs([]) is None
    assert parsed_inputs(["1x3x8x8"]) == (1, 3, 8, 8)
    assert parsed_inputs(["a=1x2", "3x4"]) == (InputSpec((1, 2), None, "a"), InputSpec((3, 4)))


@pytest.mark.parametrize("given", [{}, {"": (1, 2)}, {1: (1, 2)}, {"a": 3}, {"a": (0, 1)}, None, 3.5, [[]]])
def test_what_input_shape_may_not_be(given: Any) -> None:
    with pytest.raises(InputError, match="input_shape is "):
        inputs_of(given)


def test_an_input_is_given_once() -> None:
    with pytest.raises(InputError, match="input 'a' is given 2 times"):
        inputs_of(("a=1x2", "a=1x3"))
    with pytest.raises(InputError, match="names an input twice: 'a' and 'b'"):
        inputs_of({"a": "b=1x2"})


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_element_type_reaches_the_model(dtype: str) -> None:
    seen: list[torch.dtype] = []

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Any:
            seen.append(x.dtype)
            return self.head(x.to(torch.float32))

    assert Network.from_torch(Model(), f"{dtype}:1x4").macs == 8
    assert set(seen) == {getattr(torch, dtype)}


@pytest.mark.parametrize(
    "given",
    [
        "int64:1x16",
        ("int64:1x16",),
        ("int64:1x16", "1x16"),
        {"input_ids": "int64:1x16"},
        {"token_type_ids": "int64:1x16", "input_ids": "int64:1x16"},
        ("int64:1x16", "token_type_ids=int64:1x16"),
        {"input_ids": torch.ones(1, 16, dtype=torch.int64), "attention_mask": (1, 16)},
    ],
)
def test_token_ids_masks_and_segments(nets: dict[str, Any], given: Any) -> None:
    network = Network.from_torch(nets["Encoder"](), given)
    assert [(layer.name, layer.macs) for layer in network.layers] == [("head", 16 * 8 * 4)]


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ((1, 16), r"int64:1x128 for token ids"),
        ({"ids": "int64:1x16"}, r"unexpected keyword argument 'ids'"),
        ({"attention_mask": (1, 16)}, r"missing 1 required positional argument: 'input_ids'"),
    ],
)
def test_inputs_that_the_model_does_not_take(nets: dict[str, Any], given: Any, problem: str) -> None:
    with pytest.raises(ImportFailed, match=problem):
        Network.from_torch(nets["Encoder"](), given)


def asked(*argv: str) -> tuple[int, int]:
    """The exit code, and the MACs that the command says."""
    target = Path("out.json")
    with pytest.raises(SystemExit) as ended:
        cli.main(["estimate", *argv, "-o", str(target)])
    code = int(ended.value.code or 0)
    return code, json.loads(target.read_text())["totals"]["macs"] if code == 0 else 0


@pytest.mark.parametrize(
    "options",
    [
        ("--input", "int64:1x16"),
        ("--input", "input_ids=int64:1x16"),
        ("--input", "token_type_ids=int64:1x16", "--input", "input_ids=int64:1x16"),
        ("--input", "int64:1x16", "--input", "bool:1x16"),
    ],
)
def test_callables_on_the_command_line(nets: dict[str, Any], options: tuple[str, ...]) -> None:
    assert asked("inputs_example:Encoder", *options) == (0, 16 * 8 * 4)


def test_two_inputs_on_the_command_line(nets: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    macs = 4 * 3 * 9 * 36 + 10
    assert asked("inputs_example:Pair", "--input", "1x3x8x8", "--input", "1x5") == (0, macs)
    assert asked("inputs_example:Pair", "--input", "vector=1x5", "--input", "image=1x3x8x8") == (0, macs)
    assert asked("inputs_example:Pair", "--input", "int65:1x5")[0] == 2
    assert "no element type 'int65'" in capsys.readouterr().err


def embedding(path: Path, size: str | int) -> Path:
    """An ONNX graph of token ids and a mask."""
    table = helper.make_tensor("table", TensorProto.FLOAT, [10, 8], [0.0] * 80)
    head = helper.make_tensor("head", TensorProto.FLOAT, [8, 4], [0.0] * 32)
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["x"]),
        helper.make_node("Mul", ["x", "mask"], ["m"]),
        helper.make_node("MatMul", ["m", "head"], ["y"], name="head"),
    ]
    inputs = [
        helper.make_tensor_value_info("input_ids", TensorProto.INT64, [1, size]),
        helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1, f"{size}_m" if isinstance(size, str) else size, 1]),
    ]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    graph = helper.make_graph(nodes, "g", inputs, outputs, [table, head])
    path.write_bytes(helper.make_model(graph).SerializeToString())
    return path


@pytest.mark.parametrize(
    "given",
    [
        ((1, 16), (1, 16, 1)),
        ("int64:1x16", "1x16x1"),
        {"mask": (1, 16, 1), "input_ids": "int64:1x16"},
        ("mask=float32:1x16x1", (1, 16)),
    ],
)
def test_inputs_of_an_onnx_file(tmp_path: Path, given: Any) -> None:
    assert Network.from_onnx(embedding(tmp_path / "m.onnx", "n"), input_shape=given).macs == 16 * 8 * 4


def test_one_named_input_of_an_onnx_file_leaves_the_others_as_they_are(tmp_path: Path, monkeypatch: Any) -> None:
    path = embedding(tmp_path / "m.onnx", 6)
    assert Network.from_onnx(path, input_shape={"mask": (1, 6, 1)}).macs == 6 * 32
    monkeypatch.chdir(tmp_path)
    assert asked("m.onnx", "--input", "input_ids=int64:1x6") == (0, 6 * 32)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"inputids": (1, 16)}, r"no input in .*m\.onnx named 'inputids'.*input_ids|input_ids.*"),
        ("float32:1x16", r"says float32 for input 'input_ids'; .* fixes it at int64"),
        (((1, 16), (1, 16, 1), (1, 3)), r"has 3 shapes; .* has 2 inputs: input_ids, mask. Name the inputs"),
        ({"mask": (1, 16)}, r"input 'mask' of .* has 3 axes"),
        ({"mask": (1, 16, 1)}, r"dimension 1 \('n'\) of input 'input_ids'"),
    ],
)
def test_inputs_that_an_onnx_file_does_not_have(tmp_path: Path, given: Any, problem: str) -> None:
    with pytest.raises((InputError, ImportFailed), match=problem):
        Network.from_onnx(embedding(tmp_path / "m.onnx", "n"), input_shape=given)


@pytest.mark.parametrize(
    "use",
    [
        lambda: asked("resnet20", "--input", "int64:1x3x32x32"),
        lambda: asked("resnet20", "--input", "1x3x32x32", "--input", "1x3"),
        lambda: asked("resnet20", "--input", "x=1x3x32x32"),
    ],
)
def test_the_zoo_takes_one_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], use: Callable[[], tuple[int, int]]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert use()[0] == 2
    assert "resnet20 takes one input of its parameters' type" in capsys.readouterr().err
    assert zoo("resnet20").macs > 0
