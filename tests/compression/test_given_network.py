"""Networks that are compressed once more: what they cost as they were given, what is left of it, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import hwflow
from hwflow.compression.budget import Budget
from hwflow.compression.quantization.quantized_layers import Code, quantize
from hwflow.compression.settings import Settings
from hwflow.datasets import Data, from_datasets
from hwflow.errors import InputError
from hwflow.training import Recipe

TUNING = Recipe(epochs=1, batch_size=32, learning_rate=0.02, precision="float32", device="cpu")
SETTINGS = Settings(levels=("mid",), budgets=(), tuning=TUNING, round_to=2, objective="edp")
SHAPE = (1, 1, 8, 8)


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 2))


@pytest.fixture(scope="module", autouse=True)
def quick(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """No fine level, no export and no report, which would take most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(tmp_path_factory.mktemp("empty")))
        patch.setattr("hwflow.compression.run.export_onnx", lambda model, shape, path: None)
        patch.setattr("hwflow.compression.run.write_report", lambda folder: None)
        yield


@pytest.fixture(scope="module")
def data() -> Data:
    images = torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    samples = torch.utils.data.TensorDataset(images, (images.mean((1, 2, 3)) > 0).long())
    return from_datasets("halves", samples, samples, classes=2)


@pytest.fixture(scope="module")
def chip() -> hwflow.Accelerator:
    return hwflow.Accelerator.load("eyeriss").with_({"sparsity.skips": "weights"})


def compressed(model: nn.Module, data: Data, chip: hwflow.Accelerator | None, method: str, **more: Any) -> hwflow.PruneResult:
    settings = replace(SETTINGS, levels=("mid" if chip else "coarse",))
    settings = replace(settings, budgets=(Budget("energy", budget),)) if (budget := more.pop("budget", None)) else settings
    return hwflow.prune(model, data, chip, settings=settings, method=method, **more)


@pytest.fixture(scope="module")
def sparse(data: Data, chip: hwflow.Accelerator) -> hwflow.PruneResult:
    return compressed(network(), data, chip, "sparse", sparsity=0.9)


def rows(model: nn.Module) -> list[Any]:
    return list(hwflow.Network.from_torch(model, SHAPE))


def test_before_is_the_network_with_its_zeros(sparse: hwflow.PruneResult, data: Data, chip: hwflow.Accelerator) -> None:
    """Its budget is a share of that, too; training fills the zeros again, and the rows afterwards say so."""
    again = compressed(sparse.model, data, chip, "l1", budget=0.6)
    (_, given), (before, after) = sparse.costs["mid"], again.costs["mid"]
    assert [row.energy for row in before.rows] == [row.energy for row in given.rows if row.layer.densities]
    assert before.energy_pj == given.energy_pj
    assert after.energy_pj <= 0.6 * before.energy_pj  # type: ignore[operator]
    assert again.before.accuracy == sparse.after.accuracy
    assert after.rows[1].layer.densities is None or after.rows[1].layer.densities.weights > 0.5


def test_a_budget_out_of_reach_says_what_it_is_a_share_of(
    sparse: hwflow.PruneResult, data: Data, chip: hwflow.Accelerator
) -> None:
    with pytest.raises(InputError, match=r"energy=0\.01 is 0\.00\d+ of its structure without zeros"):
        compressed(sparse.model, data, chip, "l1", budget=0.01)


def test_zeros_that_outlive_another_method_are_costed(sparse: hwflow.PruneResult, data: Data, tmp_path: Path) -> None:
    """Rounding after training leaves zeros zero; also when the network is loaded."""
    quantized = compressed(sparse.model, data, None, "int8", post_training=True, output=tmp_path)
    after = quantized.costs["coarse"][1]
    counted = hwflow.weight_densities(quantized.model)["2"]["weights"]
    assert counted <= 0.1 + 1e-3
    assert after.rows[1].layer.densities == (counted, 1.0, 1.0)
    loaded = hwflow.load_compressed(tmp_path, network())
    assert rows(loaded) == rows(quantized.model) == [row.layer for row in after.rows]


def test_winograd_layers_stay_products(data: Data, tmp_path: Path) -> None:
    """With the zeros by position before, and as what they run afterwards."""
    first = compressed(network(), data, None, "winograd-magnitude", sparsity=0.6)
    positions = first.costs["coarse"][1].rows[1].layer.position_densities
    again = compressed(first.model, data, None, "int8", post_training=True, output=tmp_path)
    before, after = again.costs["coarse"]
    assert before.rows[1].layer.position_densities == positions is not None
    assert [row.layer.execution for row in after.rows] == ["winograd4", "winograd4", "direct"]
    loaded = hwflow.load_compressed(tmp_path, first.model)
    assert rows(loaded) == rows(again.model) == [row.layer for row in after.rows]


def test_quantized_layers_are_refused(data: Data) -> None:
    model = network()
    quantize(model, "2", Code("integer", 8))
    with pytest.raises(InputError, match=r"Sequential has quantized layers \(2\), .* Quantize last"):
        compressed(model, data, None, "l1")
