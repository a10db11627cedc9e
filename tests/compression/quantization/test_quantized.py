"""Methods that keep channels and store weights in fewer bits."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import hwflow
from hwflow.compression.budget import Budget
from hwflow.compression.fine_tuning import export_onnx
from hwflow.compression.quantization.integer_reference import Window, integer_conv, shift_add_conv
from hwflow.compression.quantization.integers import Scale, symmetric_integers
from hwflow.compression.quantization.options import QuantizationSettings
from hwflow.compression.quantization.powers import codes_of, power_sum, top_exponent
from hwflow.compression.quantization.quantized_layers import Code, QuantizedConv2d, quantizable, quantize, store_codes
from hwflow.compression.settings import Settings
from hwflow.datasets import Data, from_datasets
from hwflow.errors import InputError
from hwflow.layers import Bits
from hwflow.training import Recipe

TUNING = Recipe(epochs=1, batch_size=32, learning_rate=0.02, precision="float32", device="cpu")
SETTINGS = Settings(levels=("coarse",), budgets=(Budget("energy", 0.9),), tuning=TUNING)


@pytest.fixture(autouse=True)
def no_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    """No Timeloop, which would take its time."""
    monkeypatch.setenv("PATH", os.defpath)


def network() -> nn.Sequential:
    """Three convolutions, of which the first sees signed images, and a linear layer."""
    torch.manual_seed(0)
    first, last = (
        [nn.Conv2d(1, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU()],
        [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)],
    )
    return nn.Sequential(*first, nn.Conv2d(8, 8, 3, 1, 1, bias=False), nn.ReLU(), nn.Conv2d(8, 8, 1), nn.ReLU(), *last)


@pytest.fixture(scope="module")
def data() -> Data:
    images = torch.randn(160, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    samples = torch.utils.data.TensorDataset(images, (images.mean((1, 2, 3)) > 0).long())
    return from_datasets("halves", samples, samples, classes=2)


def compressed(
    data: Data, method: str, chip: str | None = None, output: Path | None = None, **more: object
) -> hwflow.PruneResult:
    """A run on a chip, or without one at coarse."""
    settings = replace(SETTINGS, method=method, **more)  # type: ignore[arg-type]
    return hwflow.prune(network(), data, chip, settings=settings, output=output, store=False, progress=False)


@pytest.mark.parametrize(("method", "weights"), [("int4", 4), ("lightnn2", 8)])
def test_weights_are_codes_and_rows_have_their_widths(
    method: str, weights: int, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hwflow.compression.run.export_onnx", lambda model, shape, path: None)
    result = compressed(data, method)
    assert result.plan == {"0": 8, "3": weights, "5": weights, "9": 8}
    rows = {row.layer.name: row.layer.bits for row in result.costs["coarse"][1].rows}
    assert rows == {name: Bits(bits, 8, 8) for name, bits in result.plan.items()}
    weight = result.model.get_submodule("3").weight.detach()
    assert isinstance(weight, torch.Tensor)
    if method == "int4":
        integers, steps = symmetric_integers(weight, 4)
        assert float((integers * steps - weight).abs().max()) <= 1e-6 * float(weight.abs().max())
        assert len(integers.unique()) <= 15
    else:
        assert torch.equal(power_sum(weight, 2, codes_of(weight, 2).top), weight)
    assert result.after.accuracy > 0.5
    before, after = result.costs["coarse"]
    assert before.peak_activation_bytes == 2 * after.peak_activation_bytes  # type: ignore[operator]


def test_a_chip_of_shifts_has_powers_of_two_at_the_edges_too(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hwflow.compression.run.export_onnx", lambda model, shape, path: None)
    result = compressed(data, "lightnn1", "lightpe1", budgets=(Budget("energy", 1.0),))
    assert set(result.plan.values()) == {4}
    weight = result.model.get_submodule("9").weight.detach()
    assert isinstance(weight, torch.Tensor)
    assert torch.equal(power_sum(weight, 1, top_exponent(weight)), weight)
    two = compressed(data, "lightnn2", "lightpe1", budgets=())
    rows = {row.layer.name: row.layer for row in two.costs["mid"][1].rows}
    assert (rows["3"].M, rows["3"].bits) == (16, Bits(4, 8, 4))  # two passes, whose results are written once
    assert two.costs["mid"][1].macs > 1.4 * result.costs["mid"][1].macs


def test_a_budget_out_of_reach_is_refused_before_training(data: Data) -> None:
    with pytest.raises(InputError, match=r"the budget macs=0\.5 cannot be reached: int8 leaves 1 of the macs at coarse"):
        compressed(data, "int8", budgets=(Budget("macs", 0.5),))


@pytest.mark.parametrize("energy", ["auto", "normalized"])
def test_budgets_of_memory_and_of_products_are_in_one_unit(energy: str, data: Data) -> None:
    both = (Budget("peak_activation_bytes", 0.4), Budget("edp", 0.9))
    with pytest.raises(InputError, match=r"peak_activation_bytes=0\.4 cannot be reached: int8 leaves 0\.5 of"):
        compressed(data, "int8", "eyeriss", budgets=both, energy=energy)
    with pytest.raises(InputError, match=r"edp=0\.001 cannot be reached: int8 leaves 0\.[0-9]+ of the edp at coarse"):
        compressed(data, "int8", "eyeriss", budgets=(Budget("edp", 0.001),), energy=energy)


def test_what_has_no_effect_beside_a_quantization_is_refused(data: Data) -> None:
    with pytest.raises(InputError, match="criterion is 'l2', and the method int8 does not choose channels by it; leave it out"):
        compressed(data, "int8", criterion="l2")
    with pytest.raises(InputError, match="reconstruct is 'plan', and the method int8 refits no layer; leave it out"):
        compressed(data, "int8", reconstruct="plan")


def test_a_metric_that_the_level_does_not_know_is_named(data: Data) -> None:
    with pytest.raises(InputError, match="latency is not known at this level"):
        compressed(data, "int8", budgets=(Budget("latency", 0.9),))


def test_a_folder_gives_the_network_back(data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hwflow.compression.run.export_onnx", lambda model, shape, path: None)
    result = compressed(data, "lightnn1", None, tmp_path / "run")
    assert "decisions" in json.loads((tmp_path / "run" / "plan.json").read_text())
    again = hwflow.load_pruned(tmp_path / "run", model=network())
    images = torch.randn(4, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(again.eval()(images), result.model.eval()(images))


@pytest.mark.parametrize("code", [Code("integer", 8), Code("powers", 1), Code("powers", 2)])
def test_a_layer_computes_what_integer_hardware_does(code: Code) -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(4, 6, 3, padding=1, bias=False))
    quantize(model, "0", code, Scale(2.0**-6, 128))
    store_codes(model)
    layer = model[0]
    assert isinstance(layer, QuantizedConv2d)
    images = torch.randn(2, 4, 7, 7)
    inputs, window = layer.scale.integers(images), Window(padding=(1, 1))
    if code.kind == "integer":
        integers, steps = symmetric_integers(layer.weight.detach().double(), 8)
        found = integer_conv(inputs, integers, window) * steps.reshape(1, -1, 1, 1)
    else:
        codes = codes_of(layer.weight.detach(), code.size)
        found = torch.ldexp(shift_add_conv(inputs, codes, window).double(), torch.tensor(codes.lowest))
    with torch.no_grad():
        expected = model(images).double()
    assert torch.allclose(found * layer.scale.step, expected, rtol=1e-5, atol=1e-6)
    if code.kind == "powers":  # every step is a power of two, so that float32 is exact
        assert torch.equal(found * layer.scale.step, expected)


def test_exported_layers_quantize_by_operators_of_onnx(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    if not hasattr(torch.onnx, "ops"):
        pytest.skip("this version of PyTorch has no symbolic ONNX operators")
    model = network().eval()
    for place, name in enumerate(list(quantizable(model))):
        bits = 4 if place == 1 else 8
        quantize(model, name, Code("powers", 1), Scale(0.02, 128 if place == 0 else 0), bits)
    store_codes(model)
    export_onnx(model, (1, 8, 8), tmp_path / "model.onnx")
    content = onnx.load(tmp_path / "model.onnx")
    kinds = [node.op_type for node in content.graph.node]
    assert (kinds.count("QuantizeLinear"), kinds.count("DequantizeLinear")) == (4, 8)  # inputs, and weights, too
    images = torch.rand(4, 1, 8, 8)
    found = onnx.reference.ReferenceEvaluator(content).run(None, {"images": images.numpy()})[0]
    with torch.no_grad():
        assert np.abs(found - model(images).numpy()).max() < 1e-4


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("scale", [Scale(0.1, 0), Scale(0.1, 128)])
def test_inputs_of_fewer_bits_keep_their_range(scale: Scale, bits: int) -> None:
    few = scale.at(bits)
    assert few.step * (2**bits - 1 - few.zero) == pytest.approx(scale.step * (255 - scale.zero))
    model = nn.Sequential(nn.Linear(1, 1, bias=False))
    quantize(model, "0", None, few, bits)
    nn.init.ones_(model[0].weight)  # type: ignore[arg-type]
    with torch.no_grad():
        found = model(torch.linspace(-60, 60, 5001)[:, None])
    assert len(found.unique()) == 2**bits
    assert float(found.max()) == pytest.approx(scale.step * (255 - scale.zero), rel=1e-5)


def test_inputs_of_no_bits_stay_as_they_are() -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    images = torch.randn(4, 3)
    with torch.no_grad():
        expected = model(images)
        quantize(model, "0", None, None, None)
        assert torch.equal(model(images), expected)


def test_gradients_pass_through_the_codes() -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 1))
    quantize(model, "0", Code("powers", 1), Scale(0.1, 0))
    values = torch.tensor([0.5, 100.0]).reshape(1, 2, 1, 1).requires_grad_()
    model(values).sum().backward()
    assert model[0].weight.grad is not None
    assert bool((model[0].weight.grad != 0).all())
    assert values.grad is not None
    assert values.grad[0, 1] == 0  # beyond the range
    assert values.grad[0, 0] != 0


@pytest.mark.parametrize("more", [{}, {"scheme": "affine", "granularity": "tensor", "activation_bits": 4}])
def test_integers_of_any_bits_are_trained_or_rounded(more: dict[str, Any], data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hwflow.compression.run.export_onnx", lambda model, shape, path: None)
    asked = QuantizationSettings(weight_bits=3, post_training=not more, **more)
    result = compressed(data, "int", quantization=asked)
    layer: Any = result.model.get_submodule("3")
    assert result.plan == {"0": 8, "3": 3, "5": 3, "9": 8} | ({"bits of activations": 4} if more else {})
    inputs = 4 if more else 8
    assert {row.layer.name: row.layer.bits for row in result.costs["coarse"][1].rows}["3"] == Bits(4, inputs, inputs)
    assert layer.scale.levels == 2**inputs
    codes = layer.integers
    assert (int(codes.min()), int(codes.max())) == ((0, 7) if more else (-3, 3))
    assert len(layer.weight_steps.unique()) == (1 if more else 8)
    assert len(result.tuning.epochs) == (1 if more else 0)
    how = (
        "affine, a step for each tensor; trained with rounding"
        if more
        else "symmetric, a step for each output channel; rounded"
    )
    assert f"weights of 3 bits, activations of {inputs}; {how}" in result.summary["integers"]


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("weight_bits", 9, "weight_bits is 9; it must be a whole number of at least 2, and at most 8"),
        ("activation_bits", 1, "activation_bits is 1"),
        ("scheme", "unsigned", "scheme is 'unsigned'; allowed: symmetric, affine"),
        ("granularity", "group", "granularity is 'group'; allowed: channel, tensor"),
        ("post_training", 1, "post_training is 1; it must be True or False"),
        ("mean_k", 2.5, "mean_k is 2.5; it must be a number of powers of two a filter, 1 to 2"),
        ("distribution_loss", -1, r"distribution_loss is -1; it must be the loss's weight, 0 \(without it\) or more"),
    ],
)
def test_options_that_cannot_be_used_are_named(field: str, value: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        QuantizationSettings(**{field: value})  # type: ignore[arg-type]


def test_weights_that_are_not_finite_are_refused(data: Data) -> None:
    model = network()
    with torch.no_grad():
        model[3].weight[0, 0, 0, 0] = float("inf")
    with pytest.raises(InputError, match=r"the weights of Sequential cannot be used: 3.weight holds 1 of 576 values"):
        hwflow.prune(model, data, None, settings=replace(SETTINGS, method="int4"), store=False, progress=False)
