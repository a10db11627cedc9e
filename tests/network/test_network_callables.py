"""Callables that a file names as a network: refused unless their module is allowed, and never found in the current folder."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hwflow.errors import ImportFailed, InputError
from hwflow.network.callables import NamedIn, module_of
from hwflow.network.load import load, load_module

FILE = Path("strange") / "sweep.yaml"
SHAPE = (1, 3, 8, 8)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package on Python's path, `borrowed_nets`, and a module in the current folder, `lying_nets`."""
    package, current = tmp_path / "site" / "borrowed_nets", tmp_path / "current"
    package.mkdir(parents=True)
    current.mkdir()
    (package / "__init__.py").write_text(
        "import os\nfrom os import abort\nimport functools\nfrom torch import nn\n"
        "def small(): return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())\n"
        "class Net(nn.Sequential):\n    def __init__(self): super().__init__(nn.Conv2d(3, 4, 3))\n"
        "    @staticmethod\n    def make(): return Net()\n"
        "ready = nn.Conv2d(3, 4, 3)\nstopping = functools.partial(os.abort)\n",
        encoding="utf-8",
    )
    (package / "deep.py").write_text("from borrowed_nets import small\n", encoding="utf-8")
    (current / "lying_nets.py").write_text("from borrowed_nets import small\ndef net(): return small()\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.chdir(current)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", str(current))])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    importlib.invalidate_caches()
    yield
    for name in [name for name in sys.modules if name.split(".")[0] in ("borrowed_nets", "lying_nets")]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("spec", "allowed"),
    [
        ("os:abort", ()),
        ("os:abort", ("borrowed_nets",)),
        ("lying_nets:net", ()),
        ("borrowed_nets:small", ()),
        ("borrowed_nets:small", ("borrowed_nets.deep",)),
        ("borrowed_nets:small", ("borrowed", "nets")),
        ("borrowed_nets2:small", ("borrowed_nets",)),
        ("torch.hub:load", ("os", "lying_nets")),
        ("builtins:exit", ()),
    ],
)
@pytest.mark.parametrize("how", ["module", "costed", "without a shape"])
def test_a_callable_of_a_file_is_not_even_imported(installed: None, spec: str, allowed: tuple[str, ...], how: str) -> None:
    before, path = set(sys.modules), list(sys.path)
    named_in = NamedIn(FILE, allowed)
    calls: dict[str, Callable[[], object]] = {
        "module": lambda: load_module(spec, num_classes=10, in_channels=3, named_in=named_in),
        "costed": lambda: load(spec, input_shape=SHAPE, named_in=named_in),
        "without a shape": lambda: load(spec, named_in=named_in),
    }
    with pytest.raises(InputError) as refused:
        calls[how]()
    module = spec.partition(":")[0]
    assert str(refused.value) == (
        f"{FILE} names the network '{spec}', which is Python code to be run. hwflow imports what a file names only where its "
        f'module is allowed: once you trust that code, add --allow-import {module} (allow_import=("{module}",) in Python).'
    )
    assert not {name for name in set(sys.modules) - before if name.split(".")[0] in ("borrowed_nets", "lying_nets")}
    assert sys.path == path


@pytest.mark.parametrize("spec", ["borrowed_nets:small", "borrowed_nets:Net", "borrowed_nets:Net.make", "borrowed_nets:ready"])
@pytest.mark.parametrize("allowed", [("borrowed_nets",), ("something", "borrowed_nets")])
def test_an_allowed_module_is_imported(installed: None, spec: str, allowed: tuple[str, ...]) -> None:
    network = load(spec, input_shape=SHAPE, named_in=NamedIn(FILE, allowed))
    assert [layer.M for layer in network] == [4]


def test_what_is_allowed_goes_for_modules_below(installed: None) -> None:
    assert load("borrowed_nets.deep:small", input_shape=SHAPE, named_in=NamedIn(FILE, ("borrowed_nets",))).layers
    with pytest.raises(
        InputError, match=r"'borrowed_nets\.deep:small', which is defined in borrowed_nets\. .*import borrowed_n"
    ):
        load("borrowed_nets.deep:small", input_shape=SHAPE, named_in=NamedIn(FILE, ("borrowed_nets.deep",)))


@pytest.mark.parametrize(
    ("attribute", "home"),
    [
        ("os.abort", "which is defined in (posix|nt)"),
        ("abort", "which is defined in (posix|nt)"),
        ("nn.Identity", "which is defined in torch.nn.modules.linear"),
        ("stopping", "which is defined in functools"),
        ("small.__globals__.clear", "which no module defines"),
        ("small.__call__", "which no module defines"),
        ("Net.__subclasses__", "which no module defines"),
        ("small.__class__", "which is defined in builtins"),
    ],
)
def test_what_an_allowed_module_only_imported_does_not_run(installed: None, attribute: str, home: str) -> None:
    with pytest.raises(InputError, match=home):
        module_of(f"borrowed_nets:{attribute}", NamedIn(FILE, ("borrowed_nets",)))


def test_the_current_folder_is_searched_for_what_the_user_typed_alone(installed: None) -> None:
    with pytest.raises(ImportFailed, match=r"No module named 'lying_nets'.*a file does not make the current folder importable"):
        load("lying_nets:net", input_shape=SHAPE, named_in=NamedIn(FILE, ("lying_nets",)))
    assert load("lying_nets:net", input_shape=SHAPE).layers


@pytest.mark.parametrize("wrong", ["borrowed_nets", ("",), ("a.b:c",), ("a b",), ("../a",), (1,), (".a",)])
def test_what_is_no_list_of_modules(wrong: Any) -> None:
    with pytest.raises(InputError, match=r"allow_import is .*; it must list modules by their dotted names"):
        NamedIn(FILE, wrong)


@pytest.mark.parametrize("spec", ["resnet20", "missing.yaml", "missing.onnx", "os.abort", "os:"])
def test_what_is_no_callable_needs_no_permission(spec: str) -> None:
    if spec == "resnet20":
        assert load(spec, named_in=NamedIn(FILE)) == load(spec)
        return
    with pytest.raises(InputError, match=r"there is no such file|unknown network"):
        load(spec, named_in=NamedIn(FILE))
