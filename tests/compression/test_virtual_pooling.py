"""Virtual pooling: the interpolation, which layers can be pooled, and what a run leaves."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import hwflow
from hwflow.compression.budget import Budget
from hwflow.compression.interpolation import Interpolation
from hwflow.compression.settings import Settings
from hwflow.compression.virtual_pooling import pool, poolable
from hwflow.datasets import Data, from_datasets
from hwflow.errors import InputError
from hwflow.network import Network
from hwflow.network.replica import replica
from hwflow.training import Recipe

TUNING = Recipe(epochs=4, batch_size=16, learning_rate=0.02, precision="float32", device="cpu")
SETTINGS = Settings(levels=("coarse",), budgets=(Budget("macs", 0.5),), tuning=TUNING)


def sampled(size: int, kind: str) -> torch.Tensor:
    """A smooth function on size x size pixels of a unit square, [1, 1, size, size]."""
    y, x = torch.meshgrid(*([torch.arange(size, dtype=torch.float64) / size] * 2), indexing="ij")
    return {"ramp": 3 * x - 2 * y + 1, "constant": 0 * x + 5, "wave": torch.sin(3 * x) * torch.cos(2 * y)}[kind][None, None]


@pytest.mark.parametrize("size", [1, 2, 5, 8, 9])
def test_computed_pixels_stay_constants_and_ramps_are_exact(size: int) -> None:
    layer = Interpolation((size % 2 == 1, size % 2 == 1))
    for kind in ("ramp", "constant", "wave"):
        whole = sampled(size, kind)
        found = layer(whole[:, :, ::2, ::2])
        assert found.shape == whole.shape
        assert torch.equal(found[:, :, ::2, ::2], whole[:, :, ::2, ::2])
        inside = size - 1 + size % 2  # the last row and column of even maps lie beyond what was computed
        if kind != "wave":
            wanted = whole if kind == "constant" else whole[:, :, :inside, :inside]
            assert torch.allclose(found[:, :, : wanted.shape[2], : wanted.shape[3]], wanted, atol=1e-14)
        if size % 2 == 0:
            assert torch.equal(found[:, :, -1], found[:, :, -2])
            assert torch.equal(found[..., -1], found[..., -2])


def test_it_is_the_transposed_convolution_that_the_paper_has() -> None:
    """With a kernel [1/4 1/2 1/4; 1/2 1 1/2; 1/4 1/2 1/4] and stride 2, of the map with its last row and column repeated."""
    kernel = torch.outer(*[torch.tensor([0.5, 1.0, 0.5], dtype=torch.float64)] * 2)[None, None]
    values = torch.randn(2, 1, 3, 4, dtype=torch.float64)
    padded = nn.functional.pad(values, (0, 1, 0, 1), mode="replicate")
    wanted = nn.functional.conv_transpose2d(padded, kernel, stride=2)[:, :, 1:7, 1:9]
    assert torch.allclose(Interpolation((False, False))(values), wanted, atol=1e-14)


def test_the_error_on_smooth_maps_is_bounded_and_falls_with_the_square_of_the_distance() -> None:
    errors = []
    for size in (33, 65):
        whole = sampled(size, "wave")
        error = (Interpolation((True, True))(whole[:, :, ::2, ::2]) - whole).abs().max()
        assert error <= 4 / 8 * (9 + 4) / size**2  # h^2 / 8 (max |f_xx| + max |f_yy|), a pixel being 1 / size
        errors.append(float(error))
    assert errors[0] / errors[1] == pytest.approx((65 / 33) ** 2, rel=0.05)


def test_gradients_pass_the_interpolation() -> None:
    values = torch.randn(1, 2, 3, 2, dtype=torch.float64, requires_grad=True)
    for odd in ((True, False), (False, True)):
        assert torch.autograd.gradcheck(Interpolation(odd), (values,))


class Block(nn.Module):
    """A layer with a ReLU of its own, one that is added to first, and two that share a ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.relu = nn.Conv2d(1, 4, 3, padding=1), nn.ReLU()
        self.bn, self.act = nn.BatchNorm2d(4), nn.ReLU()
        self.inner, self.added = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.down, self.fc = nn.Conv2d(4, 4, 3, 2, 1), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu(self.stem(x))
        x = self.relu(self.added(self.act(self.bn(self.inner(x)))) + x)
        return self.fc(self.down(x).mean((2, 3)))


def test_only_layers_with_a_relu_of_their_own_can_be_pooled() -> None:
    model = Block().eval()
    places, reasons = poolable(model, Network.from_torch(model, (1, 1, 8, 8)))
    assert [(place.conv, place.relu) for place in places.values()] == [("inner", "act")]
    assert reasons == {
        "stem": "its ReLU (relu) is that of other layers, too",
        "added": "no ReLU module follows it before anything else",
        "down": "its stride is 2 x 2",
    }


@pytest.mark.parametrize("size", [7, 8])
@pytest.mark.parametrize("padding", [1, "same"])
def test_a_pooled_layer_equals_the_convolution_at_every_second_pixel(size: int, padding: int | str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 3, padding=padding), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 2, 1)).eval()
    images = torch.randn(2, 2, size, size)
    network = Network.from_torch(model, (1, 2, size, size))
    pooled = replica(model)
    pool(pooled, poolable(model, network)[0]["0"])
    with torch.no_grad():
        before, after = model[:3](images), pooled[:3](images)  # type: ignore[index]
    assert after.shape == before.shape
    assert (after[:, :, ::2, ::2] - before[:, :, ::2, ::2]).abs().max() < 1e-6
    found = Network.from_torch(pooled, (1, 2, size, size))
    assert found.layers[0].key == hwflow.cost.executed_network.run_as(network, {"0": "vip"}).layers[0].key
    assert [op.type for op in found.other].count("Resize") == 1


# Runs ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def no_export(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most of the time of a run of so small a network."""
    monkeypatch.setattr("hwflow.compression.run.export_onnx", lambda model, shape, path: None)


def network(width: int = 8) -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, width, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 2))


@pytest.fixture(scope="module")
def data() -> Data:
    images = torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    samples = torch.utils.data.TensorDataset(images, (images.mean((1, 2, 3)) > 0).long())
    return from_datasets("halves", samples, samples, classes=2)


def test_every_round_is_a_point_of_the_curve(data: Data, tmp_path: Path) -> None:
    """Without a budget all layers are pooled, in two rounds of two epochs."""
    asked = replace(SETTINGS, budgets=(), metric="macs")
    found = hwflow.compress(network(), data, method="vip", settings=asked, output=tmp_path, store=False)
    assert found.plan == {"virtual pooling of 0": 1, "virtual pooling of 2": 1}
    curve = json.loads((tmp_path / "curve.json").read_text())
    assert sorted(name for one in curve for name in one["layers"]) == ["0", "2"]
    assert curve[0]["shares"]["macs"] > curve[1]["shares"]["macs"]
    before, after = found.costs["coarse"]
    assert curve[1]["shares"]["macs"] == pytest.approx(after.macs / before.macs)
    assert [row.layer.macs * 4 for row in after.rows[:2]] == [row.layer.macs for row in before.rows[:2]]
    assert [row.layer.execution for row in after.rows] == ["vip", "vip", "direct"]
    assert len(found.tuning.epochs) == 2
    times = json.loads((tmp_path / "times.json").read_text())
    assert times["images_trained"] == 4 * len(data.hold_out()[0])


def test_budgets_decide_how_many_layers_are_pooled(data: Data, tmp_path: Path) -> None:
    found = hwflow.compress(network(), data, method="vip", settings=SETTINGS, output=tmp_path, store=False)
    before, after = found.costs["coarse"]
    assert after.macs <= 0.5 * before.macs
    assert found.plan["virtual pooling of 2"] == 1
    with pytest.raises(InputError, match=r"budget macs=0.1 cannot be reached: with all 2 layers that can be pooled, 0\.2"):
        hwflow.compress(network(), data, method="vip", settings=replace(SETTINGS, budgets=(Budget("macs", 0.1),)), store=False)


def test_a_network_without_such_layers_is_refused(data: Data) -> None:
    plain = nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    with pytest.raises(InputError, match="no layer of Sequential can be pooled virtually: 0: no ReLU module follows it"):
        hwflow.compress(plain, data, method="vip", settings=SETTINGS, store=False)
    with pytest.raises(InputError, match="execution is 'winograd2', but vip chooses how layers run itself"):
        hwflow.compress(network(), data, method="vip", settings=replace(SETTINGS, execution="winograd2"), store=False)


def test_a_network_with_fewer_channels_is_pooled_like_any_other(data: Data) -> None:
    """Channels first, then pixels: the shares multiply."""
    narrow = hwflow.compress(network(16), data, method="l1", settings=replace(SETTINGS, round_to=4), store=False)
    again = hwflow.compress(
        narrow.model, data, method="vip", settings=replace(SETTINGS, budgets=(Budget("macs", 0.4),)), store=False
    )
    assert again.costs["coarse"][0].macs == narrow.costs["coarse"][1].macs
    assert again.costs["coarse"][1].macs <= 0.4 * 0.5 * narrow.costs["coarse"][0].macs
