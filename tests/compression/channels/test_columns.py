"""Columns: what they are costed as, where that pays, and what a run with them leaves."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import hwflow
from hwflow.compression.channels.columns import HeldColumns
from hwflow.cost.execution import MatrixProduct, matrix_product
from hwflow.datasets import Data, from_datasets
from hwflow.errors import InputError
from hwflow.layers import Layer
from hwflow.training import Recipe

TUNING = Recipe(epochs=2, batch_size=16, learning_rate=0.05, precision="float32", device="cpu")


def test_a_convolution_becomes_the_product_of_its_columns() -> None:
    layer = Layer("conv", C=64, M=32, P=16, Q=8, R=3, S=3, strides=(2, 2))
    whole = matrix_product(layer, 64 * 9)
    assert (whole.macs, whole.params) == (layer.macs, layer.params)
    half = MatrixProduct(288).rows(layer)[0]
    assert (half.C, half.M, half.P, half.Q, half.R, half.S, half.strides) == (288, 32, 128, 1, 1, 1, (1, 1))
    assert (half.macs, half.params) == (layer.macs // 2, layer.params // 2)
    assert MatrixProduct(288).other(layer)[0].words_out == 288 * 128
    with pytest.raises(InputError, match="577 columns of 'conv' are to be kept; it has 576"):
        matrix_product(layer, 577)
    with pytest.raises(InputError, match="'dw' is a conv with 8 groups; columns are pruned of plain convolutions"):
        matrix_product(Layer("dw", C=1, M=1, G=8, P=4, Q=4, R=3, S=3), 4)


@pytest.mark.parametrize(
    ("layer", "energy", "kcycles"),
    [
        (Layer("a", C=64, M=64, P=56, Q=56, R=3, S=3), (1025, 651), (688, 695)),
        (Layer("c", C=256, M=256, P=14, Q=14, R=3, S=3), (1036, 622), (688, 376)),
        (Layer("d", C=16, M=16, P=32, Q=32, R=3, S=3), (24, 23), (21, 51)),
    ],
    ids=lambda value: value.name if isinstance(value, Layer) else "",
)
def test_half_of_the_columns_on_eyeriss(layer: Layer, energy: tuple[int, int], kcycles: tuple[int, int]) -> None:
    """What half of the columns costs beside the whole convolution run directly, in uJ and kcycles: time is saved only where
    channels are many. A regression test, with the project's own numbers."""
    half = matrix_product(layer, layer.C * layer.R * layer.S // 2)
    network = hwflow.Network("both", (layer, half.with_(name="half")))
    rows = hwflow.estimate(network, "eyeriss", level="mid", store=False).rows
    found = [(row.energy_pj / 1e6, row.cycles / 1e3) for row in rows]  # type: ignore[operator]
    assert [e for e, _ in found] == pytest.approx(energy, rel=0.03)
    assert [c for _, c in found] == pytest.approx(kcycles, rel=0.03)


@pytest.fixture(autouse=True)
def no_export(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most of the time of a run of so small a network."""
    monkeypatch.setattr("hwflow.compression.run.export_onnx", lambda model, shape, path: None)


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 2))


@pytest.fixture(scope="module")
def data() -> Data:
    images = torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    samples = torch.utils.data.TensorDataset(images, (images.mean((1, 2, 3)) > 0).long())
    return from_datasets("halves", samples, samples, classes=2)


def test_columns_are_pruned_to_the_budget_and_stay_zero(data: Data, tmp_path: Path) -> None:
    found = hwflow.compress(
        network(),
        data,
        method="sfp",
        unit="column",
        level="coarse",
        budget="macs=0.5",
        tuning=TUNING,
        output=tmp_path,
        store=False,
    )
    before, after = found.costs["coarse"]
    rows = {row.layer.name: row.layer for row in after.rows}
    kept = {name: found.plan[f"columns of {name}"] for name in ("0", "2")}
    assert after.macs <= 0.5 * before.macs
    assert (kept["2"], 16, 1, 1, 64) == (rows["2"].C, rows["2"].M, rows["2"].R, rows["2"].S, rows["2"].P)
    assert after.not_counted["Im2Col"] == 2
    for name, columns in kept.items():
        weight = found.model.get_submodule(name).weight.detach().flatten(1)  # type: ignore[operator, union-attr]
        assert int((weight.abs().sum(0) > 0).sum()) == columns
    again = hwflow.load_compressed(tmp_path, network())
    images, _ = next(data.test.batches(8))
    with torch.no_grad():
        assert torch.equal(again(images), found.model(images))
    assert "at coarse pruning columns does not pay, against the whole" in found.summary["Columns"]


def test_the_result_says_where_columns_do_not_pay(data: Data) -> None:
    found = hwflow.compress(network(), data, "eyeriss", method="sfp", unit="column", budget=0.95, tuning=TUNING, store=False)
    assert "at mid pruning columns does not pay, against the whole convolution run directly, of " in found.summary["Columns"]
    assert "of its energy" in found.summary["Columns"]


def test_what_columns_cannot_reach_is_refused(data: Data, tmp_path: Path) -> None:
    given = {"method": "greg1", "unit": "column", "level": "coarse", "tuning": TUNING, "store": False}
    with pytest.raises(
        InputError, match=r"the budget macs=0.01 cannot be reached.*as a matrix they are read several times over"
    ):
        hwflow.compress(network(), data, budget="macs=0.01", **given)
    with pytest.raises(InputError, match="unknown convolution of Sequential in a plan of columns 'columns of 7'"):
        hwflow.compress(network(), data, allocate={"columns of 7": 3}, **given)
    with pytest.raises(InputError, match="the plan keeps 10 columns of 0; allowed: 2, 3, 4"):
        hwflow.compress(network(), data, allocate={"columns of 0": 10}, **given)
    depthwise = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Conv2d(1, 2, 1), nn.Conv2d(2, 2, 8, groups=2), nn.Flatten())
    with pytest.raises(InputError, match="has no convolution with one group whose columns could be pruned"):
        hwflow.compress(nn.Sequential(*depthwise[2:]), _two_channels(), **given)


def _two_channels() -> Data:
    images = torch.randn(32, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    samples = torch.utils.data.TensorDataset(images, (images.mean((1, 2, 3)) > 0).long())
    return from_datasets("two", samples, samples, classes=2)


def test_held_columns_stay_zero_whatever_moves_them() -> None:
    model = network()
    hook = HeldColumns({"2": (0, 5)})
    hook.start(model, 1)
    with torch.no_grad():
        model[2].weight += 1  # type: ignore[index, operator, union-attr]
    hook.after_step(0)
    columns = model[2].weight.detach().flatten(1)  # type: ignore[index, operator, union-attr]
    assert float(columns[:, [0, 5]].abs().max()) == 0
    assert float(columns[:, 1].abs().min()) > 0
