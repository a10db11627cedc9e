"""Methods that prune while training, from end to end: what they lose by the cut, what they log, and what they refuse."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import hwflow
from hwflow.compression.plan_files import refuse_other_network
from hwflow.datasets import Data, from_datasets
from hwflow.errors import InputError
from hwflow.pruning import find_groups, prune_model
from hwflow.training import Recipe, train
from hwflow.training.score import score

TUNING = Recipe(epochs=6, batch_size=8, learning_rate=0.05, warmup_epochs=0.5, precision="float32", device="cpu")
GIVEN: dict[str, Any] = {
    "level": "coarse",
    "budget": 0.6,
    "tuning": TUNING,
    "interval": 1,
    "store": False,
    "progress": False,
    "notify": print,
}


@pytest.fixture(autouse=True)
def no_export(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most of the time of a run of so small a network."""
    monkeypatch.setattr("hwflow.compression.run.export_onnx", lambda model, shape, path: None)


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 24, 3), nn.BatchNorm2d(24)]
    return nn.Sequential(*layers, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 2))


@pytest.fixture(scope="module")
def data() -> Data:
    images = torch.randn(200, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    samples = torch.utils.data.TensorDataset(images, (images.mean((1, 2, 3)) > 0).long())
    return from_datasets("halves", samples, samples, classes=2)


class Stop(Exception):
    """The process is killed."""


@pytest.mark.parametrize("method", ["asrfp", "increg", "greg2"])  # each hook once
def test_a_run_killed_before_the_cut_ends_as_an_uninterrupted_one(method: str, data: Data, tmp_path: Path) -> None:
    def kill(done: int, total: int, text: str) -> None:
        if text.startswith("training with") and done > 0.8 * total:
            raise Stop

    hwflow.compress(network(), data, method=method, output=tmp_path / "whole", **GIVEN)
    with pytest.raises(Stop):
        hwflow.compress(network(), data, method=method, output=tmp_path / "killed", **{**GIVEN, "progress": kill})
    hwflow.compress(network(), data, method=method, output=tmp_path / "killed", resume=True, **GIVEN)
    for name in ("plan.json", "model.pt", "metrics.json", "log.jsonl", "summary.json", "tuning.json"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "killed" / name).read_bytes(), name


def test_every_epoch_is_logged_with_the_cost_of_what_is_left(data: Data, tmp_path: Path) -> None:
    found = hwflow.compress(network(), data, method="asfp", round_to=4, output=tmp_path, **{**GIVEN, "budget": 0.4})
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["number"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert [line["stage"] for line in lines] == ["preparation"] * 3 + ["fine-tuning"] * 3
    shares = [line["shares"]["energy"] for line in lines]
    assert shares == sorted(shares, reverse=True)
    before, after = found.costs["coarse"]
    assert shares[-1] == pytest.approx(after.energy_normalized / before.energy_normalized)  # type: ignore[operator]
    assert all(0 <= line["accuracy"] <= 1 for line in lines)
    report = (tmp_path / "report.html").read_text()
    assert "Cost of what is left by epoch" in report
    assert "3 epochs towards the cut, 3 after it" in report


@pytest.mark.slow
@pytest.mark.parametrize("method", ["greg1", "greg2", "increg"])
def test_the_cut_itself_loses_less_than_half_a_point_on_digits(method: str, tmp_path: Path) -> None:
    """And one-shot pruning to the same plan loses far more."""
    digits = hwflow.load_data("digits")
    torch.manual_seed(0)

    def block(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]

    layers = [*block(1, 16, 1), *block(16, 32, 2), *block(32, 32, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    model = nn.Sequential(*layers, nn.Linear(32, 10))
    recipe = Recipe(epochs=12, batch_size=32, precision="float32", device="cpu")
    train(model, digits, recipe=recipe, progress=False)
    tuning = replace(recipe, learning_rate=0.02)
    found = hwflow.compress(
        model, digits, method=method, round_to=4, **{**GIVEN, "budget": 0.5, "interval": 5, "tuning": tuning}
    )
    told = re.search(r"([\d.]+) % before it, ([\d.]+) % after it", found.summary["Cut"])
    assert told is not None
    before, after = map(float, told.groups())
    assert after > before - 0.5
    held = digits.hold_out()[1]
    once = prune_model(model, find_groups(model, (1, 1, 8, 8), round_to=4), found.plan)
    cut = score(once, held, device="cpu", precision="float32").accuracy
    whole = score(model, held, device="cpu", precision="float32").accuracy
    assert whole - cut > 0.1
    left = float(found.summary["Left of the removed units"].split()[0])
    assert left < 1e-3


def test_the_plan_of_another_network_is_refused(tmp_path: Path) -> None:
    """Also where all of its groups are those of this network, as ResNet-20's are of ResNet-56."""
    text = '{"network": "resnet20", "groups": [{"name": "a", "kept": 4}]}'
    (tmp_path / "plan.json").write_text(text)
    for path in (tmp_path, tmp_path / "plan.json"):
        with pytest.raises(
            InputError, match=r"is a plan of resnet20, and this network is resnet56, 1 of whose 2 groups it does"
        ):
            refuse_other_network(path, "resnet56", ["a", "b"])
        refuse_other_network(path, "resnet20", ["a", "b"])  # b is left whole
        refuse_other_network(path, "CifarResNet", ["a"])  # another name of the same network


def test_the_plan_of_another_run_allocates(data: Data, tmp_path: Path) -> None:
    first = hwflow.compress(network(), data, method="sfp", output=tmp_path / "a", **GIVEN)
    again = hwflow.compress(network(), data, method="l1", allocate=tmp_path / "a", **GIVEN)
    assert again.plan == first.plan
    mapping = hwflow.compress(network(), data, method="l1", allocate={"0": 8}, **GIVEN)
    assert mapping.plan == {"0": 8, "3": 24}


def test_what_cannot_work_is_refused_before_training(data: Data, tmp_path: Path) -> None:
    def refused(message: str, method: str = "greg1", **changes: Any) -> None:
        with pytest.raises(InputError, match=message):
            hwflow.compress(network(), data, method=method, output=tmp_path / "run", **{**GIVEN, **changes})
        assert not (tmp_path / "run" / "model.pt").exists()

    one = replace(TUNING, epochs=2, batch_size=32)
    refused(r"regularisation cannot grow in 5 steps.*Train for at least 7 epochs.*now 1\)\.$", tuning=one)
    refused("at least 14 epochs.*or lower the interval", tuning=one, interval=7)
    refused("increg would remove its first unit after .* 10 are needed.*Train for at least", "increg", tuning=one)
    refused("ramp_steps is 600, and the training towards the cut has 66 steps in 3 epochs.*at least 28 epochs", ramp_steps=600)
    refused("ramp_steps is 9; lambda grows every 1 steps", ramp_steps=9)
    refused(r"growth is 5; .* at most 0\.\d+ for 20 steps: above that the weights would oscillate", ramp_steps=20, growth=5.0)
    refused(r"limit is 9.0; .* at most 2", "increg", limit=9.0)
    refused("optimizer is 'adam'; regularisation that grows needs 'sgd'", tuning=replace(TUNING, optimizer="adam"))
    refused("patience is 2, but sfp changes which weights are zero", "sfp", tuning=replace(TUNING, patience=2))
    refused("the criterion is 'l2', but sfp ranks by the magnitudes", "sfp", criterion="l2")
    refused(r"ratio_start is 0.9; it must be .* below three quarters of the ratio at the end", "asfp", ratio_start=0.9)
    refused(r"unknown group .*'conv9'", "sfp", allocate={"conv9": 8})
    refused("the method agent chooses how many channels are kept itself", "agent", allocate="runs/a")
    refused("unknown allocation or file of a plan 'unifrom'", "sfp", allocate="unifrom")
    refused("unknown method 'gerg1'. Did you mean 'greg1'", "gerg1")


def test_the_agent_is_prune(data: Data, tmp_path: Path) -> None:
    given = {**GIVEN, "episodes": 2, "samples": 4}
    one = hwflow.compress(network(), data, method="agent", output=tmp_path / "a", **given)
    two = hwflow.prune(network(), data, output=tmp_path / "b", **given)
    assert one.plan == two.plan
    assert (tmp_path / "a" / "model.pt").read_bytes() == (tmp_path / "b" / "model.pt").read_bytes()
