"""Optional packages: one sentence says what needs one that is missing, and how to install it."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import hwflow
from hwflow import optional
from hwflow.errors import MissingDependency
from hwflow.network import model_zoo
from hwflow.network.callables import module_of
from hwflow.network.from_onnx import read
from hwflow.run_folder import held
from hwflow.sweeping import result_tables, runners

PACKAGE = Path(hwflow.__file__).parent


def lock(folder: Path) -> None:
    with held(folder, folder / "lock", "sweep"):
        pass


def on_ray(_folder: Path) -> None:
    with runners.on_ray(None, 1):
        pass


def onnx_file(folder: Path) -> None:
    (folder / "a.onnx").write_bytes(b"x")
    read(folder / "a.onnx")


@pytest.mark.parametrize(
    ("module", "use", "told", "extra"),
    [
        ("torch", lambda _: model_zoo.load_model("vgg16"), "the module of vgg16 needs PyTorch", "prune"),
        ("torch", lambda _: module_of("a.b:c"), "the model a.b:c needs PyTorch", "prune"),
        ("onnx", onnx_file, r"reading \S+a\.onnx needs onnx", "onnx"),
        ("filelock", lock, r"the lock of \S+ needs filelock", "sweep"),
        ("pyarrow", lambda _: result_tables.check_installed(), "a sweep needs pyarrow", "sweep"),
        ("ray", on_ray, "the runner ray needs ray", "ray"),
    ],
)
def test_what_needs_a_missing_package_says_so(
    module: str, use: Callable[[Path], None], told: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    command = re.escape(f'pip install "hwflow[{extra}]"')
    with pytest.raises(MissingDependency, match=f"^{told}, which is not installed here: {command}$"):
        use(tmp_path)


def test_an_import_that_fails_inside_a_package_stays_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_package.py").write_text("import nowhere_to_be_found\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="nowhere_to_be_found") as caught:
        optional.needed("broken_package", "this test")
    assert not isinstance(caught.value, MissingDependency)


def test_the_sentence_has_one_home() -> None:
    """Elsewhere the error is caught, but made by none."""
    for path in PACKAGE.rglob("*.py"):
        calls = [node.func for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
        made = [call for call in calls if isinstance(call, ast.Name) and call.id == "MissingDependency"]
        assert not made or path.name == "optional.py", path
