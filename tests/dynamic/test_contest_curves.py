"""`add_curves`: networks of other folders in a contest's report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import hwflow
from hwflow.compression.settings import Settings
from hwflow.cost.backend import BACKENDS
from hwflow.cost.options import CostOptions
from hwflow.datasets import Data, from_datasets
from hwflow.dynamic import add_curves, load_levels, load_units, train_levels
from hwflow.errors import InputError
from hwflow.reporting.compression import contest_report
from hwflow.reporting.compression.contest_records import read_contest
from hwflow.training import Recipe, score

RECIPE = Recipe(epochs=1, batch_size=40, learning_rate=0.05, precision="float32", device="cpu")
SETTINGS = Settings(levels=("coarse",), tuning=RECIPE)
LEVEL = "coarse"


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))


def samples(seed: int) -> Data:
    images = torch.randn(80, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    found = torch.utils.data.TensorDataset(images, (images.mean((1, 2, 3)) > 0).long())
    return from_datasets("halves", found, found, classes=2)


@pytest.fixture(scope="module")
def data() -> Data:
    return samples(0)


@pytest.fixture(scope="module")
def folders(data: Data, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Levels, and a pruned network."""
    place = tmp_path_factory.mktemp("folders")
    (unit,) = load_units({"units": [{"name": "npu", "accelerator": "eyeriss", "points": [{"clock_mhz": 100}]}]})
    quiet: dict[str, Any] = {"store": False, "progress": False, "notify": lambda _: None}
    options = CostOptions(level="coarse")
    train_levels(network(), data, (unit,), groups=2, recipe=RECIPE, options=options, output=place / "levels", **quiet)
    patch = pytest.MonkeyPatch()
    patch.setattr("hwflow.compression.run.export_onnx", lambda model, shape, path: None)  # most of the time
    patch.setattr("hwflow.compression.level_costs.BACKENDS", {LEVEL: BACKENDS[LEVEL]})
    more: dict[str, Any] = {"level": LEVEL, "round_to": 2, "epochs": 1, "output": place / "pruned"}
    hwflow.compress(network(), data, "eyeriss", method="l1", budget=0.7, **more, **quiet)
    patch.undo()
    return place / "levels", place / "pruned"


def begun(folder: Path) -> Path:
    """A contest, as `hwflow compress` leaves one with one budget."""
    folder.mkdir()
    about = {"network": "Sequential", "data": "halves", "accelerator": "eyeriss", "level": LEVEL, "methods": ["l1"]}
    about |= {"reference": "l1", "seeds": [0], "budgets": ["energy=0.5"], "epochs": 1}
    run = {"name": "l1", "method": "l1", "seed": 0, "budget": "energy=0.5", "before": 0.9, "accuracy": 0.8, "keeps": True}
    run["shares"] = {LEVEL: {"energy_pj": 0.49, "latency_s": 0.55, "macs": 0.4}}
    (folder / "contest.json").write_text(json.dumps(about))
    (folder / "results.json").write_text(json.dumps([run]))
    return folder


@pytest.fixture(scope="module")
def contest(folders: tuple[Path, Path], data: Data, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With curves."""
    place = begun(tmp_path_factory.mktemp("contests") / "contest")
    added(place, folders, data)
    return place


def added(contest: Path, folders: tuple[Path, ...], data: Data, **more: Any) -> None:
    models = {folder.name: network() for folder in folders}
    add_curves(contest, folders, network(), data, "eyeriss", SETTINGS, models=models, store=False, **more)


def test_other_networks_are_judged_and_costed_as_the_methods_are(contest: Path, folders: tuple[Path, Path], data: Data) -> None:
    levels, pruned = read_contest(contest).curves
    assert [one.name for one in levels.networks] == ["level 1", "level 2"]
    assert [(pruned.name, one.name) for one in pruned.networks] == [("pruned", "network")]
    kept = json.loads((folders[1] / "metrics.json").read_text())  # which says the same of this network
    assert pruned.networks[0].accuracy == kept["after"]["accuracy"]
    for metric in ("energy_pj", "latency_s", "macs"):
        share = kept["after"][LEVEL][metric] / kept["before"][LEVEL][metric]
        assert pruned.networks[0].shares[LEVEL][metric] == pytest.approx(share, rel=1e-12)
    level = load_levels(folders[0], network()).at_level(1)
    options: dict[str, Any] = {"level": LEVEL, "store": False, "progress": False}
    own, whole = (hwflow.estimate(one, "eyeriss", input_shape=(1, 1, 8, 8), **options) for one in (level, network()))
    assert levels.networks[0].shares[LEVEL]["latency_s"] == pytest.approx(own.latency_s / whole.latency_s, rel=1e-12)  # type: ignore[operator]
    assert levels.networks[0].accuracy == score(level, data.test, device="cpu", precision="float32").accuracy


def test_the_report_shows_them_against_energy_and_latency(contest: Path) -> None:
    found = read_contest(contest)
    energy, latency, table = contest_report._curves(found)
    assert (energy.title, latency.title) == ("Accuracy against energy", "Accuracy against latency")  # type: ignore[union-attr]
    assert [trace["name"] for trace in latency.data] == ["l1", "levels (folder)", "pruned (folder)"]  # type: ignore[union-attr]
    assert latency.data[0]["x"] == pytest.approx([55])  # type: ignore[union-attr]
    costs = sorted(100 * one.shares[LEVEL]["latency_s"] for one in found.curves[0].networks)  # type: ignore[operator]
    assert latency.data[1]["x"] == pytest.approx(costs)  # type: ignore[union-attr]
    assert [row[:2] for row in table.rows] == [["levels", "level 1"], ["levels", "level 2"], ["pruned", "network"]]  # type: ignore[union-attr]
    assert "Networks of other folders" in (contest / "report.html").read_text()


def test_what_cannot_be_compared_is_refused_or_told(folders: tuple[Path, Path], data: Data, tmp_path: Path) -> None:
    told, contest = list[str](), begun(tmp_path / "contest")
    assert "Networks of other folders" not in contest_report.page(read_contest(contest)).html()
    added(contest, folders[:1], samples(1), notify=told.append)
    assert [text.partition(" learned from")[0] for text in told] == [f"the networks of {folders[0]}"]
    with pytest.raises(InputError, match=r"two of .* have the same name"):
        added(contest, (folders[0], folders[0]), data)
    with pytest.raises(InputError, match="holds no networks: it is not what 'hwflow levels', 'library'"):
        added(contest, (contest,), data)
    with pytest.raises(InputError, match="holds no contest; 'hwflow compress' with several methods makes one"):
        added(folders[0], folders, data)
    images = torch.utils.data.TensorDataset(torch.zeros(8, 1, 8, 8), torch.arange(8) % 3)
    with pytest.raises(InputError, match=r"are for classes 2, and the contest's for 3\."):
        added(contest, folders[:1], from_datasets("thirds", images, images, classes=3))
