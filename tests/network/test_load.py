"""The command line's NETWORK: every form, and what is said where it is none."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import onnx
import pytest

from hwflow.errors import ImportFailed, InputError
from hwflow.network import zoo
from hwflow.network.from_yaml import write
from hwflow.network.load import load

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


@pytest.fixture
def user_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module in the current folder, as a user has it."""
    (tmp_path / "users_nets.py").write_text(
        "from torch import nn\n"
        "def small(): return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())\n"
        "class Nested:\n    @staticmethod\n    def make(): return nn.Linear(3, 2)\n"
        "ready = nn.Linear(3, 2)\n"
        "def broken(): raise KeyError('weights.pt')\n"
        "def wrong(): return 3\n"
        "def needs(argument): return nn.Linear(3, 2)\n",
        encoding="utf-8",
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "users_nets", raising=False)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return "users_nets"


def test_zoo_names() -> None:
    assert load("resnet20") == zoo("resnet20")
    assert load("resnet20", batch=4) == zoo("resnet20", input_shape=(4, 3, 32, 32))
    assert load("resnet20", input_shape=(1, 1, 8, 8)) == zoo("resnet20", input_shape=(1, 1, 8, 8))
    assert load("resnet20", input_shape=(2, 1, 8, 8), batch=2).layers[0].N == 2


def test_onnx_files() -> None:
    assert load(str(LIGHT / "light_squeezenet.onnx"), batch=2).layers[0].N == 2


def test_yaml_files_and_their_batch(tmp_path: Path) -> None:
    path = tmp_path / "net.yml"
    path.write_text(
        "layers:\n"
        "  - {name: a, N: 3, C: 3, M: 8, P: 5, Q: 5, R: 3, S: 3}\n"
        "  - {name: b, type: matmul, G: 8, P: 5, C: 4, M: 5}\n",
        encoding="utf-8",
    )
    assert [(layer.N, layer.G) for layer in load(str(path))] == [(3, 1), (1, 8)]
    assert [(layer.N, layer.G) for layer in load(str(path), batch=2)] == [(2, 1), (1, 16)]
    with pytest.raises(InputError, match=r"net\.yml is a layer list, which has its sizes written in it: leave --input"):
        load(str(path), input_shape=(1, 3, 8, 8))


def test_a_written_network_is_loaded(tmp_path: Path) -> None:
    write(zoo("alexnet"), tmp_path / "net.yaml")
    assert load(str(tmp_path / "net.yaml")) == zoo("alexnet")


@pytest.mark.parametrize(("attribute", "shape"), [("small", (1, 3, 8, 8)), ("Nested.make", (1, 3)), ("ready", (1, 3))])
def test_callables(user_module: str, attribute: str, shape: tuple[int, ...]) -> None:
    before = list(sys.path)
    net = load(f"{user_module}:{attribute}", input_shape=shape)
    assert (net.name, len(net)) == (attribute, 1)
    assert sys.path == before


@pytest.mark.parametrize(
    ("attribute", "text"),
    [
        ("broken", r"users_nets:broken failed: KeyError: 'weights\.pt'"),
        ("wrong", r"users_nets:wrong returned int; it must return a torch\.nn\.Module"),
        ("needs", r"users_nets:needs failed: TypeError: .*must need no arguments"),
    ],
)
def test_callables_that_fail(user_module: str, attribute: str, text: str) -> None:
    with pytest.raises(ImportFailed, match=text) as caught:
        load(f"{user_module}:{attribute}", input_shape=(1, 3))
    assert caught.value.exit_code == 2
    if attribute == "broken":
        assert isinstance(caught.value.__cause__, KeyError)


def test_callables_that_do_not_exist(user_module: str) -> None:
    with pytest.raises(InputError, match=r"unknown name in users_nets 'smal'\. Did you mean 'small'\?"):
        load(f"{user_module}:smal", input_shape=(1, 3))
    with pytest.raises(ImportFailed, match=r"nowhere\.nets:make failed: ModuleNotFoundError: No module named 'nowhere'"):
        load("nowhere.nets:make", input_shape=(1, 3))


def test_a_callable_needs_an_input_shape(user_module: str) -> None:
    with pytest.raises(InputError, match=r"users_nets:small needs the shape of its input, batch first: --input 1x3x224x224"):
        load(f"{user_module}:small")
    with pytest.raises(InputError, match=r"unknown name in users_nets 'smal'\. Did you mean 'small'\?"):
        load(f"{user_module}:smal")


@pytest.mark.parametrize("spec", ["resnet20", "missing.onnx", "missing.yaml", "a.b:c"])
def test_batch_and_input_shape_in_conflict(spec: str) -> None:
    with pytest.raises(InputError, match="batch is 2, but the input shape 1x3x32x32 begins with 1, which is its batch"):
        load(spec, input_shape=(1, 3, 32, 32), batch=2)


@pytest.mark.parametrize("batch", [0, -1, 1.5, True])
def test_a_wrong_batch(batch: Any) -> None:
    with pytest.raises(InputError, match=r"batch is .*; it must be a whole number of at least 1"):
        load("resnet20", batch=batch)


@pytest.mark.parametrize("spec", ["missing.onnx", "missing.yaml", "no/such/folder/net.yml"])
def test_missing_files(spec: str) -> None:
    with pytest.raises(InputError, match="there is no such file"):
        load(spec)


@pytest.mark.parametrize("spec", ["resnet19", "net.pt", "", "a b:c"])
def test_what_is_no_network_lists_the_forms(spec: str) -> None:
    with pytest.raises(
        InputError, match=r"unknown network .* Known: alexnet, .*vgg16\. NETWORK may also be an \.onnx file, a \.yaml"
    ):
        load(spec)
