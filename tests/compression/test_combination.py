"""Channels are pruned and what is left is quantized, within budgets that hold for both together."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import hwflow
from hwflow.compression.budget import Budget
from hwflow.compression.contest.entries import entries
from hwflow.compression.quantization.options import QuantizationSettings
from hwflow.compression.registry import method_named
from hwflow.compression.settings import Settings
from hwflow.datasets import Data, from_datasets
from hwflow.errors import InputError
from hwflow.training import Recipe

TUNING = Recipe(epochs=2, batch_size=32, learning_rate=0.02, precision="float32", device="cpu")
SETTINGS = Settings(levels=("coarse",), budgets=(Budget("energy", 0.3),), tuning=TUNING, method="l1+int8")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No Timeloop and no export, which take their time."""
    monkeypatch.setenv("PATH", os.defpath)
    monkeypatch.setattr("hwflow.compression.run.export_onnx", lambda model, shape, path: None)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 1, 1), nn.ReLU(), nn.Conv2d(32, 16, 1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 2))


@pytest.fixture(scope="module")
def data() -> Data:
    images = torch.randn(160, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    samples = torch.utils.data.TensorDataset(images, (images.mean((1, 2, 3)) > 0).long())
    return from_datasets("halves", samples, samples, classes=2)


def run(data: Data, chip: Any = None, **more: Any) -> hwflow.PruneResult:
    options = {name: more.pop(name) for name in ("output", "resume", "progress") if name in more}
    asked = replace(SETTINGS, **more)
    return hwflow.prune(network(), data, chip, settings=asked, store=False, **{"progress": False, **options})


def test_the_budget_holds_for_both_together(data: Data, tmp_path: Path) -> None:
    result = run(data, output=tmp_path / "run")
    before, after = result.costs["coarse"]
    share = after.energy_normalized / before.energy_normalized  # type: ignore[operator]
    assert 0.2 < share <= 0.3  # bits alone leave a half
    assert {row.layer.bits for row in after.rows} == {(8, 8, 8)}
    assert result.plan["2"] < 32
    assert [result.plan[f"{name}.weights"] for name in ("0", "2", "4", "8")] == [8, 8, 8, 8]
    plan = json.loads((tmp_path / "run" / "plan.json").read_text())
    assert [one["name"] for one in plan["groups"]] == ["0", "2", "4"]
    assert [one["name"] for one in plan["decisions"]] == ["0.weights", "2.weights", "4.weights", "8.weights"]
    assert "both together keep energy=0.3" in result.summary["channels"]
    images = torch.randn(4, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(hwflow.load_pruned(tmp_path / "run", network())(images), result.model(images))


@pytest.mark.parametrize("level", ["coarse", "mid"])
def test_channels_are_chosen_by_what_rows_cost_as_they_run(level: str, data: Data) -> None:
    """On PEs that shift, with passes: the plan's own prices are those of the network that comes out."""
    chip = hwflow.Accelerator.load("eyeriss").with_({"pe_type": "lightpe1"})
    result = run(data, chip, method="l1+lightnn2", levels=(level,), budgets=(Budget("energy", 0.9),))
    before, after = result.costs[level]
    assert 0.6 < after.energy_pj / before.energy_pj <= 0.9  # type: ignore[operator]
    assert result.plan["2"] < 32  # lightnn2 alone takes more than the whole of one power


def test_rounding_leaves_all_epochs_to_the_pruned_network(data: Data) -> None:
    result = run(data, quantization=QuantizationSettings(post_training=True))
    assert not result.tuning.epochs
    assert "rounded after training" in result.summary["integers"]


class Stop(Exception):
    """The process is killed."""


def test_a_run_that_is_killed_while_it_quantizes_ends_as_another(data: Data, tmp_path: Path) -> None:
    """Both parts have checkpoints of their own."""
    settings = {"tuning": replace(TUNING, epochs=4), "method": "l1+int4"}
    run(data, output=tmp_path / "whole", **settings)
    seen = 0

    def kill(done: int, total: int, text: str) -> None:
        nonlocal seen
        seen += text.startswith("fine-tuning")
        if seen > 13:  # 2 epochs of 4 steps prune, so this is the second epoch of those that quantize
            raise Stop

    with pytest.raises(Stop):
        run(data, output=tmp_path / "again", progress=kill, **settings)
    assert {p.name for p in (tmp_path / "again" / "checkpoints").glob("*tuning.pt")} == {"channels-tuning.pt", "tuning.pt"}
    run(data, output=tmp_path / "again", resume=True, **settings)
    for name in ("plan.json", "metrics.json", "model.pt", "codes.bin", "costs.json"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "int8+l1",
            r"the method 'int8\+l1' is no method that prunes channels and one that quantizes, in this order",
        ),
        ("l1+sfp", r"behind the \+ can be int, int8, int4, lightnn1, lightnn2, flightnn, bnn"),
        ("l1+int8+int4", "in this order"),
        ("mixed+int8", "in this order"),
        ("winograd+int8", "in this order"),
        ("l1+int9", r"unknown method 'int9'.*Did you mean"),
    ],
)
def test_two_methods_that_do_not_go_together_are_refused(name: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        method_named(name)


def test_what_cannot_be_done_is_refused_before_training(data: Data) -> None:
    with pytest.raises(InputError, match=r"epochs is 1, and l1\+int8 trains twice; ask for 2 or more, or for post_training"):
        run(data, tuning=replace(TUNING, epochs=1))
    with pytest.raises(InputError, match=r"cannot be reached.*of the network at the widths of int8"):
        run(data, budgets=(Budget("energy", 0.01),))


def test_a_contest_takes_them_by_name() -> None:
    found = entries(["l1+int8", "exact+lightnn1"], "uniform", [0], [(Budget("energy", 0.2),)])
    assert [one.name for one in found][-2:] == ["l1+int8", "exact+lightnn1"]
    assert found[-1].folder == "runs/energy=0.2/exact+lightnn1-seed0"
