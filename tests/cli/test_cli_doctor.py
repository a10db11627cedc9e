"""`hwflow doctor`."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from terminal import Run

from hwflow import doctor, optional
from hwflow.errors import ToolMissing
from hwflow.timeloop.engine import Pytimeloop

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.usefixtures("no_timeloop")
def test_doctor_says_what_answers_and_the_next_command(hw: Run) -> None:
    code, out, err = hw("doctor")
    assert (code, err) == (0, "")
    for part in ("numpy ", "timeloop-model   not on PATH", "native ", "pytimeloop ", "container ", "eyeriss_256 ", "writable"):
        assert part in out
    assert re.search(r"eyeriss +recorded \(Accelergy: ", out)
    why, next_command = out.splitlines()[-2:]
    assert why == "Next (the fine level needs Timeloop; coarse and mid work):"
    assert next_command.strip().startswith("sudo apt-get install")


def test_doctor_sees_a_cache_that_cannot_be_written(hw: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    code, out, _ = hw("doctor", "--quick")
    assert code == 0
    assert re.search(r"writable +no", out)
    assert out.splitlines()[-1].strip().startswith("export XDG_CACHE_HOME=")


def optional_packages() -> set[str]:
    """The packages of all extras in pyproject.toml that are for users."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [
        line for extra, lines in project["optional-dependencies"].items() if extra not in ("dev", "docs") for line in lines
    ]
    return {match[0].lower() for line in lines if (match := re.match(r"[\w.-]+", line))} - {"hwflow"}


def test_doctor_looks_at_every_optional_package(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = optional_packages()
    assert {"pymoo", "scipy", "ray", "torch", "onnx"} <= wanted
    findings = doctor.examine(live=False)
    assert wanted <= set(findings.packages)
    lists = optional.extras()
    assert wanted == {name for names in lists.values() for name in names}
    ready = replace(findings, engines={"native": "1"}, packages=dict.fromkeys(findings.packages, "1"))
    assert ready.next_command()[0] == "nothing is missing"
    for name in sorted(wanted):
        why, command = replace(ready, packages={**ready.packages, name: None}).next_command()
        extra = next(e for e, names in lists.items() if name in names)
        assert why.startswith(f"{name} is not installed: ")
        assert command == f'pip install "hwflow[{extra}]"'
    why, _ = replace(ready, packages={**ready.packages, "pymoo": None, "scipy": None}).next_command()
    assert why == "pymoo, scipy are not installed: sweeps need them"


def test_an_uninstalled_source_tree_is_no_complete_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optional, "_requirements", lambda: ())
    findings = replace(doctor.examine(live=False), engines={"native": "1"})
    why, command = findings.next_command()
    assert why.startswith("hwflow is not installed here")
    assert command == f'pip install "{ROOT}"'
    assert optional.install_command("sweep") == f'pip install "{ROOT}[sweep]"'


def test_pip_installs_an_extra_of_an_installed_hwflow_without_an_index_that_has_it() -> None:
    """What every message about a missing package advises. `docs` is all here, so that nothing need be downloaded."""
    argv = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-index", "hwflow[docs]"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if "No module named pip" in done.stderr:
        pytest.skip("this environment has no pip")
    assert done.returncode == 0, done.stderr


def test_pytimeloop_that_is_absent_is_called_not_installed(tmp_path: Path) -> None:
    with pytest.raises(ToolMissing, match=rf"pytimeloop is not installed in {re.escape(sys.executable)}\. It is not on"):
        Pytimeloop(sys.executable).version("timeloop-model")
