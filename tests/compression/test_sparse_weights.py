"""The method that zeroes single weights: how many, what is refused, and that the network is timed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import hwflow
from hwflow import pruning
from hwflow.cli.pruning_page import pruned_page
from hwflow.compression.budget import Budget
from hwflow.compression.kernels.layer_choice import ExecutedConv2d
from hwflow.compression.run import check
from hwflow.compression.settings import Settings
from hwflow.compression.winograd.winograd_options import WinogradSettings
from hwflow.compression.winograd.zeros import MagnitudeZeros
from hwflow.datasets import Data, from_datasets
from hwflow.errors import InputError
from hwflow.training import Recipe

TUNING = Recipe(epochs=2, batch_size=16, learning_rate=0.02, precision="float32", device="cpu")
SETTINGS = Settings(levels=("coarse",), budgets=(), tuning=TUNING)


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))


@pytest.fixture(scope="module")
def data() -> Data:
    images = torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    samples = torch.utils.data.TensorDataset(images, (images.mean((1, 2, 3)) > 0).long())
    return from_datasets("halves", samples, samples, classes=2)


def test_its_result_is_timed_and_runs_without_its_zeros(data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hwflow.compression.run.export_onnx", lambda model, shape, path: None)
    monkeypatch.setattr("hwflow.compression.kernels.layer_choice.libraries", lambda: ("torch",))
    found = hwflow.compress(network(), data, method="sparse", settings=SETTINGS, output=tmp_path, store=False, sparsity=0.8)
    weight = found.model.get_submodule("2").weight
    assert torch.count_nonzero(weight) == found.plan["weights of 2"] == pytest.approx(0.2 * 576, abs=1)  # type: ignore[arg-type]
    assert found.measured is not None
    assert set(found.measured.networks) == {"before", "dense", "executed"}
    assert [layer.name for layer in found.measured.layers] == ["0", "2"]
    written = json.loads((tmp_path / "times.json").read_text())["cpu"]
    assert (written["threads"], written["images"]) == (1, 1)
    assert written["layers"][1]["zeros"] == pytest.approx(0.8, abs=0.01)
    assert {"dense", "im2col (torch)"} == set(written["layers"][1]["times"])
    lines = pruned_page(found, replace(SETTINGS, method="sparse")).lines
    (told,) = [line for line in lines if line.startswith("CPU time on this machine, one image in one thread, least of")]
    assert "ms (median" in told
    assert "of the time before (" in told
    loaded = hwflow.load_compressed(tmp_path, network(), execute="im2col")
    assert isinstance(loaded.get_submodule("2"), ExecutedConv2d)
    images = torch.randn(3, 1, 8, 8)
    assert (loaded(images) - found.model(images)).abs().max() < 1e-5
    assert hwflow.load_compressed(tmp_path, network()).get_submodule("2").weight.requires_grad
    assert pruning.execute(found.model, (1, 1, 8, 8), "dense").layers[0].way == "dense"


def test_zeros_rise_and_stay() -> None:
    model = network()
    hook = MagnitudeZeros({"2": 0.75})
    weight: torch.Tensor = model.get_submodule("2").weight  # type: ignore[assignment]
    hook.start(model, 100)
    shares = []
    for step in range(100):
        zero = weight == 0
        weight.grad = torch.randn_like(weight)
        hook.before_step(step)
        assert not weight.grad[zero].any()
        with torch.no_grad():
            weight -= 0.01 * weight.grad
        hook.after_step(step)
        shares.append(float((weight == 0).double().mean()))
    assert shares == sorted(shares)
    assert 0 < shares[19] < 0.75
    assert shares[50:] == [0.75] * 50


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"budgets": (Budget("energy", 0.5),)}, "the budget energy=0.5 cannot be reached: the layers take 1 of the energy"),
        ({"tuning": replace(TUNING, patience=2)}, "patience is 2, but sparse changes which weights are zero while it trains"),
        ({"exclude": ("0", "2")}, "Sequential has no convolution left whose weights could be zeroed"),
    ],
)
def test_what_cannot_be_done_is_refused_before_training(changes: dict[str, object], text: str, data: Data) -> None:
    with pytest.raises(InputError, match=text):
        hwflow.compress(network(), data, method="sparse", settings=replace(SETTINGS, **changes), store=False)  # type: ignore[arg-type]


def test_a_budget_is_of_the_zeros_that_are_asked_for_where_the_chip_sees_them(
    data: Data, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # fine has nothing to add
    dense = hwflow.Accelerator.load("eyeriss")
    chip = dense.with_({"sparsity": {"skips": "weights", "compressed": {"dram": {"weights": "rle", "index_bits": 4}}}})
    asked = replace(SETTINGS, method="sparse", levels=("mid",), winograd=WinogradSettings(sparsity=0.9))

    def refused(accelerator: hwflow.Accelerator, method: str, share: float) -> str:
        try:
            check(network(), data, accelerator, replace(asked, method=method, budgets=(Budget("energy", share),)), store=False)
        except InputError as error:
            return str(error)
        return ""

    assert not refused(chip, "sparse", 0.9)
    assert "cannot be reached: the layers take 1 of the energy at mid, and zeros save nothing" in refused(dense, "sparse", 0.9)
    assert "with these zeros take" in refused(chip, "sparse", 0.01)
    assert "Raise the budget or the sparsity" in refused(chip, "sparse", 0.01)
    assert "cannot be reached: winograd4 products with these zeros take" in refused(chip, "winograd-native", 0.01)
