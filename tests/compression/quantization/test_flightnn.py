"""Powers of two, of which each filter has as many as it needs."""

from __future__ import annotations

import itertools
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
from hwflow.compression.quantization.flexible_powers import FewerTerms, FlexibleTerms
from hwflow.compression.quantization.options import QuantizationSettings
from hwflow.compression.quantization.packed_codes import read_codes
from hwflow.compression.quantization.powers import codes_of, power_sum, top_exponent
from hwflow.compression.quantization.quantized_layers import REAL, quantize, store_codes
from hwflow.compression.settings import Settings
from hwflow.datasets import Data, from_datasets
from hwflow.errors import InputError
from hwflow.training import Recipe
from hwflow.training.hooks import Batch

TUNING = Recipe(epochs=2, batch_size=32, learning_rate=0.02, precision="float32", device="cpu")
SETTINGS = Settings(levels=("coarse",), budgets=(), tuning=TUNING, method="flightnn")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No Timeloop and no export, which take their time."""
    monkeypatch.setenv("PATH", os.defpath)
    monkeypatch.setattr("hwflow.compression.run.export_onnx", lambda model, shape, path: None)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 1, 1), nn.ReLU(), nn.Conv2d(16, 8, 1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))


@pytest.fixture(scope="module")
def data() -> Data:
    images = torch.randn(160, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    samples = torch.utils.data.TensorDataset(images, (images.mean((1, 2, 3)) > 0).long())
    return from_datasets("halves", samples, samples, classes=2)


def drawn(filters: int = 6) -> torch.Tensor:
    return torch.randn(filters, 4, 3, 3, generator=torch.Generator().manual_seed(0)) * 0.1


def run(data: Data, chip: Any = None, output: Path | None = None, mean: float = 1.3, **more: Any) -> hwflow.PruneResult:
    asked = replace(SETTINGS, quantization=QuantizationSettings(mean_k=mean), **more)
    return hwflow.prune(network(), data, chip, settings=asked, output=output, store=False, progress=False)


def test_without_thresholds_it_is_lightnn_2() -> None:
    weights, code = drawn(), FlexibleTerms(6)
    assert torch.equal(code(weights), power_sum(weights, 2, top_exponent(weights)))
    assert torch.equal(code.coded(weights).values, code(weights))
    assert code.terms_of(weights).tolist() == [2] * 6


def test_a_large_threshold_leaves_the_largest_filter_alone() -> None:
    """Where all would go, the layer would cut the network in two."""
    weights, code = drawn(), FlexibleTerms(6)
    weights[4] *= 3
    with torch.no_grad():
        code.thresholds.fill_(1e6)
    assert code.terms_of(weights).tolist() == [0, 0, 0, 0, 1, 0]
    assert torch.equal(code(weights)[4], power_sum(weights[4], 1, top_exponent(weights)))
    assert not bool(code(weights)[:4].any())


def test_each_filter_has_its_own_number_and_gradients_reach_weights_and_thresholds() -> None:
    weights, code = drawn(), FlexibleTerms(6)
    top = top_exponent(weights)
    weights[:3] = power_sum(weights[:3], 1, top)  # whose residuals are 0
    with torch.no_grad():
        code.thresholds[1] = 1e-3
    assert code.terms_of(weights).tolist() == [1, 1, 1, 2, 2, 2]
    weights.requires_grad_()
    (code(weights) * drawn()).sum().backward()
    assert weights.grad is not None
    assert torch.allclose(weights.grad, drawn(), atol=3e-3)  # straight through, and a little through the step
    thresholds: Any = code.thresholds
    assert bool((thresholds.grad != 0).all())


def test_the_step_has_the_gradient_of_the_sigmoid() -> None:
    weights, code = drawn(2), FlexibleTerms(2)
    with torch.no_grad():
        code.thresholds.fill_(0.05)
    norms = code.norms(weights)
    found, _, _ = code._sum(weights)
    found.sum().backward()
    thresholds: Any = code.thresholds
    soft = torch.sigmoid(10 * (norms - 0.05))
    first = power_sum(weights, 1, top_exponent(weights))
    terms = torch.stack([first, power_sum(weights, 2, top_exponent(weights)) - first]).flatten(2).sum(2)
    assert torch.allclose(thresholds.grad, -(soft * (1 - soft) * terms).sum(1), rtol=1e-4)


def test_fewer_powers_follow_from_a_stronger_penalty() -> None:
    """With 5 % slack; each strength trains the same layer for as long."""
    means = []
    for strength in (1e-6, 0.01, 0.03, 0.1):
        model = nn.Sequential(nn.Conv2d(4, 12, 3, bias=False))
        with torch.no_grad():
            model[0].weight.copy_(drawn(12))
        quantize(model, "0", FlexibleTerms(12), REAL)
        hook = FewerTerms(["0"], 1.3, strength=strength)
        hook.start(model, 60)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.002, momentum=0.9, nesterov=True)
        with torch.no_grad():
            model[0].code.thresholds.fill_(0.05)  # type: ignore[operator, union-attr]
        for step in range(60):
            optimizer.zero_grad()
            hook.loss(Batch(torch.zeros(1), torch.zeros(1), torch.zeros(1)), torch.zeros((), requires_grad=True)).backward()
            optimizer.step()
            hook.after_step(step)
        means.append(hook.mean)
    assert means[0] == 2
    assert means[-1] == 1
    assert all(later <= 1.05 * earlier for earlier, later in itertools.pairwise(means))


def test_the_mean_that_is_asked_for_is_reached_and_stored(data: Data, tmp_path: Path) -> None:
    result = run(data, None, tmp_path / "run")
    codes = read_codes(tmp_path / "run")
    terms = {name: codes[name].terms for name in ("2", "4")}
    counted = [k for one in terms.values() for k in one or ()]
    assert sum(counted) / 24 <= 1.3
    assert set(counted) == {1, 2}
    assert {name: sum(one or ()) for name, one in terms.items()} == {name: result.plan[name] for name in terms}
    assert "1.29 on average, at most 1.3 were asked for" in result.summary["powers of two a filter"]
    assert f"{(terms['2'] or ()).count(2)} of 2" in result.summary["filters by powers of two"].split(";")[0]
    weight: Any = result.model.get_submodule("2").weight
    top = round(float(torch.log2(result.model.get_submodule("2").weight_steps[0]))) + 6  # type: ignore[index, arg-type]
    second = codes_of(weight.detach(), 2, top).codes[1].flatten(1)
    assert [2 if bool(row.any()) else 1 for row in second] == list(terms["2"] or ())


def test_a_penalty_that_took_all_second_powers_gives_the_largest_residuals_theirs_back() -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(2, 6, 3)
    code: Any = FlexibleTerms(6)
    layer.code = code  # type: ignore[assignment]
    code.thresholds.data[1] = 1e9
    hook = FewerTerms(["0"], 1.5)
    hook.start(nn.Sequential(layer), 8)
    assert hook.mean == 1.0
    residuals = code.norms(layer.weight.detach())[1]
    hook.finish(nn.Sequential(layer))
    assert hook.mean == 1.5
    assert set(hook.terms["0"].argsort()[3:].tolist()) == set(residuals.argsort()[3:].tolist())


def test_its_cost_lies_between_one_and_two_powers(data: Data) -> None:
    """On PEs that shift once a cycle, filters of two powers run twice; everything else but their results is counted exactly."""
    one, some, two = (run(data, _lightpe1(), mean=mean) for mean in (1.0, 1.5, 2.0))
    for level in ("coarse", "mid"):
        costs = [r.costs[level][1] for r in (one, some, two)]
        low, middle, high = (cost.energy_pj or 0 for cost in costs)
        assert low < middle < high, level
        assert costs[0].macs < costs[1].macs < costs[2].macs
    row = next(row for row in some.costs["mid"][1].rows if row.layer.name == "2")
    assert (row.layer.M, row.layer.bits) == (some.plan["2"], (4, 8, 8))
    assert one.plan["2"] == 16


def _lightpe1() -> Any:
    return hwflow.Accelerator.load("eyeriss").with_({"pe_type": "lightpe1"})


def test_powers_are_taken_until_a_budget_holds(data: Data) -> None:
    """The uncompressed network of this chip has one power, so nothing but that keeps all of its energy."""
    result = run(data, _lightpe1(), mean=2.0, budgets=(Budget("energy", 1.0),))
    assert {name: result.plan[name] for name in ("2", "4")} == {"2": 16, "4": 8}
    with pytest.raises(InputError, match=r"the budget energy=0\.9 cannot be reached: flightnn leaves 1 of the energy"):
        run(data, _lightpe1(), budgets=(Budget("energy", 0.9),))


def test_rounding_without_training_is_refused(data: Data) -> None:
    asked = replace(SETTINGS, quantization=QuantizationSettings(post_training=True))
    with pytest.raises(InputError, match="post_training is True, but flightnn trains how many powers of two a filter has"):
        hwflow.prune(network(), data, None, settings=asked, store=False, progress=False)


def test_a_sweep_costs_a_folder_at_the_widest_filter(data: Data, tmp_path: Path) -> None:
    from hwflow.compression.quantization.flightnn import FlightNN
    from hwflow.network import Network

    run(data, None, tmp_path / "run", mean=1.0)
    plan = {one["name"]: one["chosen"] for one in json.loads((tmp_path / "run" / "plan.json").read_text())["decisions"]}
    costed = FlightNN().costed(Network.from_torch(network(), (1, 1, 8, 8)), plan)
    assert [layer.bits for layer in costed.layers] == [(8, 8, 8), (4, 8, 8), (4, 8, 8), (8, 8, 8)]
    wider = FlightNN().costed(Network.from_torch(network(), (1, 1, 8, 8)), plan | {"2": 17})
    assert wider["2"].bits == (8, 8, 8)


def test_stored_codes_do_not_move() -> None:
    model = nn.Sequential(nn.Conv2d(4, 6, 3, bias=False))
    quantize(model, "0", FlexibleTerms(6), REAL)
    code: Any = model[0].code
    code.fix(torch.tensor([0, 1, 2, 1, 2, 0]))
    expected = code(model[0].weight).detach()
    store_codes(model)
    assert torch.equal(model[0].weight, expected)
    assert [name for name in model.state_dict() if "code" in name] == []
