"""Binary networks: signs with a normalization before them, and the distribution loss."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

import hwflow
from hwflow.compression.quantization.distribution_loss import DistributionLoss, LatentWeights, distances
from hwflow.compression.quantization.executions import BitPlanes
from hwflow.compression.quantization.integer_reference import Window, signs, xnor_conv
from hwflow.compression.quantization.options import QuantizationSettings
from hwflow.compression.quantization.packed_codes import read_codes
from hwflow.compression.quantization.quantized_layers import SIGNS, Code, quantize, store_codes
from hwflow.compression.quantization.sign_inputs import sign_inputs
from hwflow.compression.settings import Settings
from hwflow.datasets import Data, from_datasets
from hwflow.errors import InputError
from hwflow.layers import Bits, Layer
from hwflow.network import Network
from hwflow.network.load import load_module
from hwflow.training import Recipe
from hwflow.training.hooks import Batch
from hwflow.training.recipe import ParameterGroup

TUNING = Recipe(epochs=2, batch_size=32, learning_rate=0.02, precision="float32", device="cpu")
SETTINGS = Settings(levels=("coarse",), budgets=(), tuning=TUNING, method="bnn")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No Timeloop and no export, which take their time."""
    monkeypatch.setenv("PATH", os.defpath)
    monkeypatch.setattr("hwflow.compression.run.export_onnx", lambda model, shape, path: None)


def block(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]


def network() -> nn.Sequential:
    """Four convolutions, of which the third and the fourth take signs; the pooling lies between normalization and sign."""
    torch.manual_seed(0)
    layers = [*block(1, 8), *block(8, 8), nn.MaxPool2d(2), *block(8, 8), *block(8, 8)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))


@pytest.fixture(scope="module")
def data() -> Data:
    images = torch.randn(160, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    samples = torch.utils.data.TensorDataset(images, (images.mean((1, 2, 3)) > 0).long())
    return from_datasets("halves", samples, samples, classes=2)


def run(data: Data, model: nn.Module | None = None, chip: Any = None, output: Path | None = None, **more: Any) -> Any:
    asked = replace(SETTINGS, **more)
    return hwflow.prune(model or network(), data, chip, settings=asked, output=output, store=False, progress=False)


def spread_of(mean: float, deviation: float) -> tuple[float, float]:
    """D1 and D2 of values whose every channel has this mean and deviation to the last bits."""
    values = torch.randn(64, 3, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    values = values - values.mean((0, 2, 3), keepdim=True)
    values = values / values.std((0, 2, 3), correction=0, keepdim=True)
    found = distances(values * deviation + mean)
    return float(found.spread), float(found.mean)


@pytest.mark.parametrize("deviation", [0.5, 1.9, 2.0, 3.0, 4.0, 5.5])
def test_the_loss_of_centred_values_has_its_closed_form(deviation: float) -> None:
    narrow, wide = max(2 - deviation, 0) ** 2, max(deviation - 4, 0) ** 2
    assert spread_of(0.0, deviation) == (pytest.approx(narrow + wide, abs=1e-12), 0.0)


def test_values_on_one_side_of_zero_are_pulled_back() -> None:
    spread, mean = spread_of(1.5, 0.25)
    assert mean == pytest.approx(1.5**2 - 0.25**2)
    assert spread == pytest.approx((2 - 1.5 - 0.25) ** 2)
    values = (torch.randn(64, 2, 4, 4, generator=torch.Generator().manual_seed(0)) * 0.25 + 1.5).requires_grad_()
    distances(values).mean.backward()
    assert values.grad is not None
    assert float(values.grad.mean()) > 0  # so that descent lowers the mean
    centred = torch.randn(64, 2, 4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    distances(centred).mean.backward()
    assert centred.grad is not None
    assert float(centred.grad.abs().max()) == 0


def test_without_weight_the_loss_is_the_tasks_to_the_bit() -> None:
    model, loss = nn.Sequential(nn.Conv2d(1, 2, 1)), torch.tensor(1.25, requires_grad=True)
    batch = Batch(torch.zeros(1), torch.zeros(1), torch.zeros(1))
    for weight, changes in ((0.0, False), (2.0, True)):
        hook = DistributionLoss(["0"], weight)
        hook.start(model.train(), 65)
        model(torch.ones(4, 1, 2, 2))
        found = hook.loss(batch, loss)
        assert (found is not loss) == changes
        hook.after_step(59)  # the last five of 65 steps are without it
        model(torch.ones(4, 1, 2, 2))
        assert hook.loss(batch, loss) is loss
        hook.after_epoch(1)
        assert hook.history == [(1.0, 1.0)]  # of ones: 2 - 1 - 0, and 1 - 0
        hook.finish(model)
    with pytest.raises(InputError, match=r"the weight of the distribution loss is -0\.5; it must be 0 or more"):
        DistributionLoss(["0"], -0.5)


def test_latent_weights_stay_where_signs_have_a_gradient() -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    hook = LatentWeights(("0",))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[3.0, -2.0, 0.5], [1.0, -1.0, 0.0]]))
    hook.start(model, 1)
    assert model[0].weight.tolist() == [[1, -1, 0.5], [1, -1, 0]]


def test_a_binary_layer_is_what_xnor_and_popcount_compute() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(5, 6, 3, 2, 1, bias=False))
    quantize(model, "0", Code("signs", 1), SIGNS)
    store_codes(model)
    images = torch.randn(2, 5, 7, 8)
    images[0, 0, 0, 0] = 0.0
    found = xnor_conv(signs(images), model[0].integers, Window((2, 2), (1, 1)))  # type: ignore[arg-type, operator]
    with torch.no_grad():
        assert torch.equal(found.float(), model(images))


def test_signs_have_gradients_inside_the_bounds() -> None:
    model = nn.Sequential(nn.Linear(3, 1, bias=False))
    quantize(model, "0", Code("signs", 1), SIGNS)
    values = torch.tensor([[0.5, -0.2, 7.0]], requires_grad=True)
    model(values).sum().backward()
    assert values.grad is not None
    assert (values.grad != 0).tolist() == [[True, True, False]]
    assert model[0].weight.grad is not None


def test_signs_follow_a_normalization(data: Data) -> None:
    found = sign_inputs(Network.from_torch(network(), (1, 1, 8, 8)), ["7", "10"])
    assert (found["7"].activations, found["7"].source, found["7"].normalization) == (("5",), "3", "4")
    bare = network()
    bare[8] = nn.Identity()
    with pytest.raises(InputError, match=r"10 would take the sign of values that no normalization precedes: they come from 9"):
        run(data, bare)
    two = nn.Sequential(*block(1, 8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
    with pytest.raises(InputError, match="has fewer than two layers without groups between its first and its last one"):
        run(data, two)


def test_a_residual_sum_counts_as_normalized() -> None:
    model = load_module("resnet20", num_classes=10, in_channels=1)
    trace = Network.from_torch(model, (1, 1, 14, 14))
    found = sign_inputs(trace, ["layer1.0.conv2", "layer1.1.conv1", "layer2.0.conv1"])
    assert found["layer1.0.conv2"].source == "layer1.0.conv1"
    assert found["layer1.1.conv1"].source is None  # its shortcut needs more than a sign
    assert found["layer2.0.conv1"].activations == ("layer1.2.relu2",)


class Functional(nn.Module):
    """Calls an activation as a function."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(*block(1, 8), nn.Conv2d(8, 8, 3, bias=False), nn.BatchNorm2d(8))
        self.last = nn.Conv2d(8, 8, 3, bias=False)
        self.fc = nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.last(functional.relu(self.body(x))).mean((2, 3)))


def test_an_activation_that_cannot_be_replaced_is_refused(data: Data) -> None:
    with pytest.raises(InputError, match=r"Functional calls the activation Relu as a function, or .*nn\.ReLU\(\)"):
        run(data, Functional())


def test_latent_weights_must_not_decay(data: Data) -> None:
    tuning = replace(TUNING, groups=(ParameterGroup("3.*", weight_decay=1e-4),))
    with pytest.raises(InputError, match=r"the recipe's group '3\.\*' has a weight_decay of 0\.0001, and names latent weights"):
        run(data, tuning=tuning)
    with pytest.raises(InputError, match="post_training is True, but signs have to be trained"):
        run(data, quantization=QuantizationSettings(post_training=True))


def test_a_binary_network_is_trained_stored_and_costed(data: Data, tmp_path: Path) -> None:
    result = run(data, output=tmp_path / "run")
    assert result.plan == {"0": 8, "3": 1, "7": 1, "10": 1, "15": 8}
    rows = {row.layer.name: row.layer.bits for row in result.costs["coarse"][1].rows}
    assert rows == {"0": Bits(8, 8, 8), "3": Bits(1, 8, 1), "7": Bits(1, 1, 1), "10": Bits(1, 1, 8), "15": Bits(8, 8, 8)}
    assert [type(result.model.get_submodule(name)).__name__ for name in ("2", "5", "9", "12")] == [
        "ReLU",
        "Hardtanh",
        "Hardtanh",
        "ReLU",
    ]
    for name in ("3", "7", "10"):
        weight: Any = result.model.get_submodule(name).weight
        assert set(weight.unique().tolist()) == {-1.0, 1.0}
    assert "weight 2; D1" in result.summary["distribution loss"]
    layer: Any = result.model.get_submodule("3")
    assert layer.scale.levels == 256  # measured after the training
    codes = read_codes(tmp_path / "run")
    assert torch.equal(codes["7"].coded.values, result.model.get_submodule("7").weight)
    assert (tmp_path / "run" / "codes.bin").stat().st_size == 72 + 72 + 72 + 72 + 16
    again = hwflow.load_pruned(tmp_path / "run", model=network())
    images = torch.randn(4, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(again(images), result.model(images))


def test_on_xnor_pes_layers_of_several_bits_run_as_bit_planes(data: Data) -> None:
    chip = hwflow.Accelerator.load("eyeriss").with_({"pe_type": "xnor"})
    result = run(data, chip=chip)
    rows = {row.layer.name: row.layer for row in result.costs["mid"][1].rows}
    assert all(layer.bits is not None and layer.bits[:2] == (1, 1) for layer in rows.values())
    assert (rows["0"].N, rows["0"].M) == (8, 64)
    assert (rows["3"].N, rows["3"].M) == (8, 8)
    assert "products of their bits" in result.summary["bit planes"]
    layer = Layer("c", C=4, M=6, P=5, Q=5, R=3, S=3, bits=Bits(8, 8, 8))
    (planes,) = BitPlanes(8, 8).rows(layer)
    assert planes.macs == 64 * layer.macs
    assert planes.words("weights") == 8 * layer.words("weights")
    assert planes.words("inputs") == 8 * layer.words("inputs")
