"""Sweep files, and runs that they name, from strangers: what they name is data, and code only where the user allows it."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

import hwflow
from hwflow import cli
from hwflow.errors import InputError
from hwflow.network import Network
from hwflow.network.load import load_module
from hwflow.pruning.finding import rebuild
from hwflow.training.weights import save_weights
from tests.sweeping.conftest import Sweep

MODULE = "stranger_nets"


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a module in it that leaves a mark when it is imported."""
    folder = tmp_path / "current"
    folder.mkdir()
    (folder / f"{MODULE}.py").write_text(
        "from pathlib import Path\nfrom torch import nn\n"
        f"Path({str(tmp_path / 'mark')!r}).touch()\n"
        "def net(): return nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 8, 1))\n",
        encoding="utf-8",
    )
    monkeypatch.chdir(folder)
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", str(folder))])
    return folder


def write_run(folder: Path, network: str, changes: Mapping[str, Any] | None = None) -> Path:
    """What of a pruning run's folder `load_pruned` reads; with weights where the network can be made."""
    folder.mkdir()
    content = {"network": network, "module": False, "classes": 10, "input_shape": [1, 8, 8], **(changes or {})}
    (folder / "config.json").write_text(json.dumps(content), encoding="utf-8")
    (folder / "plan.json").write_text(json.dumps({"groups": []}), encoding="utf-8")
    (folder / "model.pt").touch()
    if network == "resnet20":
        model = load_module(network, num_classes=10, in_channels=1)
        save_weights(folder / "model.pt", rebuild(model, (1, 1, 8, 8), {}), {})
    return folder


@pytest.mark.parametrize("form", ["yaml", "json"])
@pytest.mark.parametrize("runner", ["local", "ray"])
@pytest.mark.parametrize("spec", ["os:abort", f"{MODULE}:net", {"network": f"{MODULE}:net", "input": [1, 1, 8, 8]}])
def test_a_sweep_file_runs_no_code(
    stranger: Path, sweep_file: Sweep, tmp_path: Path, spec: Any, form: str, runner: Any
) -> None:
    path = sweep_file(networks=["tiny.yaml", spec])
    if form == "json":
        path.write_text(json.dumps(yaml.safe_load(path.read_text())), encoding="utf-8")
    name = spec if isinstance(spec, str) else spec["network"]
    with pytest.raises(InputError) as refused:
        hwflow.sweep(path, tmp_path / "out", runner=runner, store=False)
    assert str(refused.value).startswith(f"{path} names the network '{name}', which is Python code to be run.")
    assert f"--allow-import {name.split(':')[0]} (allow_import=" in str(refused.value)
    assert not (tmp_path / "mark").exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("network", ["os:abort", f"{MODULE}:net"])
def test_a_run_that_a_sweep_names_runs_no_code(stranger: Path, sweep_file: Sweep, tmp_path: Path, network: str) -> None:
    folder = write_run(tmp_path / "run", network)
    with pytest.raises(InputError) as refused:
        hwflow.sweep(sweep_file(networks=["tiny.yaml"], plans=["run"]), tmp_path / "out", store=False)
    assert str(refused.value).startswith(f"{folder / 'config.json'} names the network '{network}', which is Python code to be")
    with pytest.raises(InputError, match="--allow-import"):
        hwflow.load_pruned(folder)
    assert not (tmp_path / "mark").exists()


def test_an_allowed_module_is_swept(stranger: Path, sweep_file: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = {"network": f"{MODULE}:net", "input": [1, 1, 8, 8]}
    path = sweep_file(networks=[named], accelerators=["eyeriss"], levels=["coarse"])
    with pytest.raises(InputError, match="a file does not make the current folder importable"):
        hwflow.sweep(path, tmp_path / "out", allow_import=(MODULE,), store=False)
    monkeypatch.syspath_prepend(str(stranger))
    frame = hwflow.sweep(path, tmp_path / "out", allow_import=(MODULE,), store=False)
    assert list(frame["params"]) == [16 * 9 + 8 * 16]


def test_the_option_of_the_command_line(
    stranger: Path,
    sweep_file: Sweep,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    named = {"network": f"{MODULE}:net", "input": [1, 1, 8, 8]}
    path = sweep_file(networks=[named], accelerators=["eyeriss"], levels=["coarse"])
    monkeypatch.syspath_prepend(str(stranger))
    command = ["sweep", str(path), "-o", str(tmp_path / "out"), "--jobs", "1"]
    for options, code in (
        ([], 2),
        (["--allow-import", "os,json"], 2),
        (["--allow-import", "json", "--allow-import", f"os,{MODULE}"], 0),
    ):
        with pytest.raises(SystemExit) as ended:
            cli.main([*command, *options])
        assert (ended.value.code or 0) == code
        assert (f"--allow-import {MODULE}" in capsys.readouterr().err) is (code == 2)
        assert (tmp_path / "mark").exists() is (code == 0)


def test_a_network_of_the_zoo_is_made_again_without_permission(sweep_file: Sweep, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", "resnet20")
    network = Network.from_torch(hwflow.load_pruned(folder), (1, 1, 8, 8))
    path = sweep_file(networks=["tiny.yaml"], plans=["run"], accelerators=["eyeriss"], levels=["coarse"])
    frame = hwflow.sweep(path, tmp_path / "out", store=False)
    assert list(frame["macs"])[1] == network.macs


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"network": 3}, "network is 3: input should be a valid string"),
        ({"network": None}, "network is None"),
        ({"module": "no"}, "module is 'no': input should be a valid boolean"),
        ({"classes": 0}, "classes is 0: input should be greater than or equal to 1"),
        ({"classes": 10**12}, "classes is 1000000000000: input should be less than or equal to 100000"),
        ({"classes": "10"}, "classes is '10': input should be a valid integer"),
        ({"input_shape": [8, 8]}, r"input_shape is \[8, 8\]: list should have at least 3 items"),
        ({"input_shape": [1, 8, -8]}, r"input_shape\.2 is -8"),
        ({"input_shape": "1x8x8"}, "input_shape is '1x8x8'"),
    ],
)
def test_a_wrong_config_is_named(sweep_file: Sweep, tmp_path: Path, config: dict[str, Any], message: str) -> None:
    folder = write_run(tmp_path / "run", "resnet18", config)
    for read in (
        lambda: hwflow.load_pruned(folder),
        lambda: hwflow.sweep(sweep_file(networks=["tiny.yaml"], plans=["run"]), tmp_path / "out", store=False),
    ):
        with pytest.raises(InputError, match=rf"run.config\.json is damaged: {message}"):
            read()
