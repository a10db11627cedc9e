"""Methods that prune transformed weights: which layers, how many zeros, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import hwflow
from hwflow.compression.budget import Budget
from hwflow.compression.settings import Settings
from hwflow.compression.winograd.positions import output_norms, position_pattern
from hwflow.compression.winograd.winograd_conv import WinogradConv2d, transformed_weights
from hwflow.compression.winograd.winograd_method import VARIANTS, transform
from hwflow.compression.winograd.winograd_options import WinogradSettings
from hwflow.compression.winograd.zeros import SpatialZeros, TransformedZeros, gradient_importance
from hwflow.cost.position_rows import APART
from hwflow.datasets import Data, from_datasets
from hwflow.errors import InputError
from hwflow.network import Network
from hwflow.training import Recipe

TUNING = Recipe(epochs=2, batch_size=16, learning_rate=0.02, precision="float32", device="cpu")
SETTINGS = Settings(levels=("coarse",), budgets=(Budget("macs", 0.5),), tuning=TUNING)


@pytest.fixture(autouse=True)
def no_export(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most of the time of a run of so small a network."""
    monkeypatch.setattr("hwflow.compression.run.export_onnx", lambda model, shape, path: None)


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))


@pytest.fixture(scope="module")
def data() -> Data:
    images = torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    samples = torch.utils.data.TensorDataset(images, (images.mean((1, 2, 3)) > 0).long())
    return from_datasets("halves", samples, samples, classes=2)


@pytest.mark.parametrize("method", VARIANTS)
def test_a_share_of_the_transformed_weights_is_zero(method: str, data: Data, tmp_path: Path) -> None:
    found = hwflow.compress(network(), data, method=method, settings=SETTINGS, output=tmp_path, store=False, sparsity=0.65)
    densities = json.loads((tmp_path / "densities.json").read_text())
    assert list(densities) == ["0", "2"]
    for name, share in (("0", 0.2), ("2", 0.65)):  # of the first layer no more
        layer = found.model.get_submodule(name)
        assert isinstance(layer, WinogradConv2d)
        zeros = float((layer.weight == 0).double().mean())
        assert share - 1e-3 <= zeros <= share + 0.05
        assert 1 - sum(densities[name]) / 36 == pytest.approx(zeros, abs=1e-5)
    before, after = found.costs["coarse"]
    assert [row.layer.execution for row in after.rows] == ["winograd4", "winograd4", "direct", "direct"]
    assert after.rows[1].layer.macs == 36 * 4 * 8 * 8
    assert [row.layer.macs for row in before.rows[2:]] == [row.layer.macs for row in after.rows[2:]]
    assert found.summary["Winograd layers"].startswith("2 of 4, tiles of 4 x 4 outputs")


def test_a_chip_that_skips_zeros_is_costed_with_those_that_are_left(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before and after, and of the network that is loaded again: each layer's own density, by position of Winograd products."""
    monkeypatch.setenv("PATH", str(tmp_path))  # fine has nothing to add
    chip = hwflow.Accelerator.load("eyeriss").with_({"sparsity.skips": "weights"})
    asked = replace(SETTINGS, levels=("mid",), budgets=(), tuning=replace(TUNING, epochs=1))
    found = hwflow.compress(
        network(), data, chip, method="winograd-magnitude", settings=asked, output=tmp_path, store=False, sparsity=0.65
    )
    before, after = found.costs["mid"]
    assert {row.note for row in before.rows} == {"dense: no densities are given, and eyeriss would save zeros"}
    counted = hwflow.weight_densities(found.model)
    for row, name in zip(after.rows, ("0", "2", "4", "7"), strict=True):
        assert row.layer.densities == (counted[name]["weights"], 1.0, 1.0)
    assert after.rows[1].layer.position_densities == tuple(counted["2"]["positions"])
    assert APART in after.rows[1].note
    assert APART not in after.rows[2].note
    dense = hwflow.estimate(Network("net", tuple(la.with_(densities=None) for la in (r.layer for r in after.rows))), "eyeriss")
    assert after.rows[1].energy_by_level["mac"] == pytest.approx(0.35 * dense.rows[1].energy_by_level["mac"], rel=0.01)
    again = hwflow.load_compressed(tmp_path, network())
    cost = hwflow.estimate(Network.from_torch(again, (1, 1, 8, 8)), chip, objective="energy", store=False)
    assert [row.energy for row in cost.rows] == [row.energy for row in after.rows]


def test_masked_positions_are_exactly_zero_after_the_spatial_stage() -> None:
    model = network()
    hook = SpatialZeros({"2": 0.5}, m=4)
    hook.start(model, 9)
    shares = []
    for step in range(9):
        with torch.no_grad():
            model[2].weight += 0.01 * torch.randn_like(model[2].weight)  # type: ignore[index]
        hook.after_step(step)
        zero = transformed_weights(model[2].weight, 4) == 0  # type: ignore[index]
        shares.append(float(zero.double().mean()))
    assert shares == sorted(shares)
    assert len({round(share, 3) for share in shares}) == 3  # stages
    assert shares[-1] == pytest.approx(0.5, abs=0.01)
    kept = model[2].weight.detach().clone()  # type: ignore[index]
    transform(model, ["2"], 4)
    assert torch.equal(model[2].weight == 0, transformed_weights(kept, 4) == 0)  # type: ignore[index]


@pytest.mark.parametrize("returning", [False, True])
def test_zeros_rise_and_then_stay(returning: bool) -> None:
    model = network()
    transform(model, ["2"], 2)
    hook = TransformedZeros({"2": 0.6}, 2, "outputs", "spatial", first={"2": 0.1}, returning=returning)
    weight = model[2].weight  # type: ignore[index]
    hook.start(model, 80)
    shares, came_back = [float((weight == 0).double().mean())], False
    for step in range(80):
        zero = weight == 0
        weight.grad = torch.randn_like(weight)
        hook.before_step(step)
        with torch.no_grad():
            weight -= 0.05 * weight.grad
        hook.after_step(step)
        came_back |= bool(((weight != 0) & zero).any())
        shares.append(float((weight == 0).double().mean()))
    assert shares[0] == pytest.approx(0.1, abs=0.01)
    assert shares[41:] == pytest.approx([0.6] * 40, abs=0.01)
    assert came_back == returning
    again = TransformedZeros({"2": 0.6}, 2, "outputs", "spatial", first={"2": 0.1}, returning=returning)
    other = network()
    transform(other, ["2"], 2)
    again.start(other, 80)
    again.load_state_dict(hook.state_dict())
    assert torch.equal(again._masks["2"], hook._masks["2"])


@pytest.mark.parametrize("returning", [False, True])
def test_a_step_goes_downhill_whatever_the_loss_says_of_zeros(returning: bool) -> None:
    """The spatial gradient mixes positions: gradients of weights that are zero must not move the others."""
    model = network()
    transform(model, ["2"], 4)
    hook = TransformedZeros({"2": 0.9}, 4, "errors", "spatial", first={"2": 0.9}, returning=returning)
    hook.start(model, 40)
    weight, keep = model[2].weight, hook._masks["2"]  # type: ignore[index]
    torch.manual_seed(1)
    gradient = torch.randn_like(weight)
    moved = []
    for factor in (1.0, 100.0):
        weight.grad = torch.where(keep, gradient, factor * gradient)
        hook.before_step(0)
        moved.append(weight.grad * keep)
    assert torch.equal(*moved)
    assert float((gradient * moved[0]).sum()) > 0


def test_thresholds_by_gradient_are_lower_where_the_loss_is_steep() -> None:
    """As th = 1 / (|dL/dw| / th0 + 1 / (10 th0)) says, divided by the position's importance."""
    torch.manual_seed(0)
    weights, slopes, norms = torch.randn(36, 4, 5), 3 * torch.rand(36, 4, 5), output_norms(4).float()
    kept = position_pattern(weights, gradient_importance(norms, slopes), 0.6)
    scores = weights.abs() * norms[:, None, None]
    th0 = float((scores * (slopes + 0.1))[~kept].max()) * 1.0001
    assert torch.equal(scores > 1 / (slopes / th0 + 1 / (10 * th0)), kept)
    assert torch.equal(gradient_importance(norms, None), norms)
    model = network()
    transform(model, ["2"], 4)
    hook = TransformedZeros({"2": 0.5}, 4, "magnitude", "spatial", returning=True, thresholds="gradient")
    hook.start(model, 4)
    weight = model[2].weight  # type: ignore[index]
    whole = 1 + torch.rand_like(weight)
    for step in range(3):
        weight.grad = torch.zeros_like(weight)
        weight.grad[:, :4] = 100.0
        hook.before_step(step)
        with torch.no_grad():
            weight.copy_(whole)
        hook.after_step(step)
    assert torch.count_nonzero(weight[:, :4]) == weight[:, :4].numel()
    assert not torch.count_nonzero(weight[:, 4:])


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"winograd": WinogradSettings(thresholds="gradient")},
            "thresholds is 'gradient', and winograd has none for single weights.*winograd-native",
        ),
        (
            {"budgets": (Budget("macs", 0.01),)},
            "the budget macs=0.01 cannot be reached: dense winograd4 products take 0.[0-9]+ of the",
        ),
        ({"budgets": (Budget("latency", 0.5),)}, "latency"),
        ({"tuning": replace(TUNING, patience=2)}, "patience is 2, but winograd changes which weights are zero while it trains"),
        ({"tuning": replace(TUNING, epochs=1)}, "winograd trains in two stages and has 1 epoch; give it at least 2"),
        ({"execution": "auto"}, "execution is 'auto', but winograd runs layers as Winograd products itself; leave it out"),
        (
            {"exclude": ("0", "2")},
            "no layer of Sequential can be a Winograd layer.*: 0: it is excluded; 2: it is excluded; 4: its",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_before_training(changes: dict[str, object], text: str, data: Data) -> None:
    with pytest.raises(InputError, match=text):
        hwflow.compress(network(), data, method="winograd", settings=replace(SETTINGS, **changes), store=False)  # type: ignore[arg-type]


def test_channels_are_pruned_of_a_network_that_runs_as_winograd_products(data: Data) -> None:
    """Widths are chosen by what products of that width cost, and so is the network before."""
    asked = replace(SETTINGS, execution="winograd4", round_to=2, budgets=(Budget("energy", 0.8),))
    before, after = hwflow.compress(network(), data, method="l1", settings=asked, store=False).costs["coarse"]
    for cost in (before, after):
        assert [row.layer.execution for row in cost.rows] == ["winograd4", "winograd4", "direct", "direct"]
    assert after.energy_normalized <= 0.8 * before.energy_normalized  # type: ignore[operator]
    assert after.rows[1].layer.G == 36
    with pytest.raises(InputError, match="execution is a mapping of layers, which change while a network is compressed"):
        Settings(execution={"0": "winograd4"})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"tile": 3}, "m is 3; Winograd tiles give 2 x 2 or 4 x 4 outputs"),
        ({"sparsity": 1}, "sparsity is 1; it must be a share of the weights, above 0 and below 1"),
        ({"gradient": "exact"}, "unknown gradient of transformed weights 'exact'.*spatial"),
        ({"thresholds": "layer"}, "unknown kind of thresholds 'layer'.*gradient, position"),
    ],
)
def test_wrong_options_are_named(options: dict[str, object], text: str) -> None:
    with pytest.raises(InputError, match=text):
        WinogradSettings(**options)  # type: ignore[arg-type]
