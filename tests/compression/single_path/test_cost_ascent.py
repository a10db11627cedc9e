"""The cost in the loss: exact at every corner, its gradient that of the bilinear form, and what it does to thresholds."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import hwflow
from hwflow.compression.budget import Budget
from hwflow.compression.channels.groups import Widths
from hwflow.compression.decision import Decision
from hwflow.compression.plan_costs import PlanCosts
from hwflow.compression.single_path.block_rows import BlockRows
from hwflow.compression.single_path.blocks import chosen, find_blocks, gated
from hwflow.compression.single_path.cost_ascent import CostAscent, corner_cost
from hwflow.compression.single_path.gates import GatedNetwork, step, widths_of
from hwflow.compression.single_path.options import SinglePathSettings
from hwflow.cost.cost_grid import cost_table
from hwflow.errors import InputError
from hwflow.training import ParameterGroup, Recipe, fit
from tests.compression.single_path.nets import SHAPE, network, searched
from tests.training.nets import stripes

RECIPE = Recipe(epochs=3, batch_size=32, learning_rate=0.05, precision="float32", device="cpu", warmup_epochs=0)
METRICS = {"energy": "", "latency": "latency_s", "macs": "macs", "params": "params", "dram_bytes": "dram_bytes"}


def costs_of(rows: BlockRows, level: str = "mid") -> PlanCosts:
    chip = None if level == "coarse" else "eyeriss"
    table = cost_table(rows.network, chip, level=level, fill=False, store=False)  # type: ignore[arg-type]
    return PlanCosts(rows, table.__getitem__, fill=lambda layers: table.fill(layers, progress=False))


def prices(costs: PlanCosts, metric: str = "energy") -> object:
    return lambda plans: [float(costs.metric(totals, metric)) for totals in costs.totals_of(plans)]


@pytest.mark.parametrize("level", ["coarse", "mid"])
def test_costs_at_all_corners_of_a_block_are_those_of_the_chosen_networks(level: str) -> None:
    """The table's entries, and an estimate of the traced network, for every metric."""
    model = network(1)
    blocks, rows, _ = searched(model)
    costs = costs_of(rows, level)
    for bits in itertools.product((1.0, 0.0), repeat=3):
        gates = torch.tensor(bits)
        widths = widths_of(rows.groups, gates.tolist())
        small = chosen(model, blocks, costs.plan(widths))
        chip = None if level == "coarse" else "eyeriss"
        wanted = hwflow.estimate(small, chip, input_shape=SHAPE, level=level, store=False)  # type: ignore[arg-type]
        for metric, field in METRICS.items():
            if level == "coarse" and metric == "latency":
                continue
            found = corner_cost(gates, rows.groups, prices(costs, metric))  # type: ignore[arg-type]
            cost = getattr(wanted, field or ("energy_normalized" if level == "coarse" else "energy_pj"))
            assert float(found) == pytest.approx(cost, rel=1e-12), (bits, metric)
        if level == "mid":
            product = corner_cost(gates, rows.groups, prices(costs, "edp"))  # type: ignore[arg-type]
            assert float(product) == pytest.approx(wanted.edp_pj_s, rel=1e-12)


def test_the_gradient_is_that_of_the_bilinear_form_with_the_sigmoids_derivative() -> None:
    """By finite differences of R(d) = d50 [(1-d5)((1-d100) R33 + d100 R36) + d5((1-d100) R53 + d100 R56)] at every corner,
    each d moved by its sigmoid."""
    entries = {(3, 3): 2.0, (3, 6): 3.5, (5, 3): 2.75, (5, 6): 6.0}
    variables = [Decision("b.kernel", (3, 5), ()), Decision("b.expansion", (3, 6), ()), Decision("b.depth", (0, 1), ())]

    def price(plans: Sequence[Widths]) -> list[float]:
        return [1.0 + depth * entries[kernel, expansion] for kernel, expansion, depth in plans]

    def bilinear(d5: float, d100: float, d50: float) -> float:
        inner = (1 - d5) * ((1 - d100) * entries[3, 3] + d100 * entries[3, 6])
        return 1.0 + d50 * (inner + d5 * ((1 - d100) * entries[5, 3] + d100 * entries[5, 6]))

    small = 1e-5
    for signs in itertools.product((1, -1), repeat=3):
        norms = torch.tensor([0.3, 0.7, 0.2]) * torch.tensor(signs)
        thresholds = torch.zeros(3, requires_grad=True)
        gates = step(norms - thresholds)
        cost = corner_cost(gates, variables, price)
        cost.backward()
        corner = gates.tolist()
        assert float(cost.detach()) == bilinear(*corner)
        for i in range(3):
            slope = (1 / (1 + math.exp(-float(norms[i]) + small)) - 1 / (1 + math.exp(-float(norms[i]) - small))) / (2 * small)
            up, down = ([*corner[:i], corner[i] + sign * small, *corner[i + 1 :]] for sign in (1, -1))
            wanted = (bilinear(*up) - bilinear(*down)) / (2 * small) * slope
            assert thresholds.grad is not None
            assert float(thresholds.grad[i]) == pytest.approx(wanted, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("seed", range(6))
def test_thresholds_find_the_optimum_of_a_separable_toy(seed: int) -> None:
    """Three blocks of four options each: what thresholds leave has the least loss + cost of all 64."""
    random = np.random.default_rng(seed)
    worth, price_of = random.uniform(0.05, 1, 6), random.uniform(0.05, 1, 6)
    variables = [Decision(f"{b}.{kind}", (0, 1), ()) for b in range(3) for kind in ("kernel", "expansion")]

    def price(plans: Sequence[Widths]) -> list[float]:
        return [3.0 + float(np.dot(plan, price_of)) for plan in plans]

    best = min(
        itertools.product((0, 1), repeat=6), key=lambda plan: float(np.dot(1 - np.array(plan), worth)) + price([plan])[0]
    )
    thresholds = torch.zeros(6, requires_grad=True)
    optimizer = torch.optim.SGD([thresholds], lr=50.0)
    for _ in range(150):
        gates = step(1 - thresholds)
        loss = ((1 - gates) * torch.tensor(worth)).sum() + corner_cost(gates, variables, price)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            thresholds.clamp_(min=0)
    assert step(1 - thresholds).tolist() == list(best)


def trained(asked: SinglePathSettings, budgets: Sequence[Budget] = (), epochs: int = 3) -> tuple[GatedNetwork, CostAscent]:
    model = network()
    blocks = find_blocks(model, "small")
    rows = BlockRows(model, blocks, SHAPE, "small")
    costs = costs_of(rows, "coarse")
    whole = float(costs.metric(costs.totals(costs.full), "macs"))
    limits = {"macs": whole * (budgets[0].share if budgets else 1.0)}
    hook = CostAscent(costs, limits, bool(budgets), asked, epochs)
    gates = GatedNetwork(model, gated(blocks, rows.groups))
    train, held = stripes(48, 20).hold_out()
    group = ParameterGroup("thresholds", asked.threshold_rate)
    fit(gates, train, held, replace(RECIPE, epochs=epochs, groups=(group,)), hooks=[hook])
    return gates, hook


def test_a_huge_strength_leaves_the_cheapest_network() -> None:
    _, hook = trained(SinglePathSettings(strength=1e6, warmup_share=0))
    assert hook.widths == tuple(one.widths[0] for one in hook.costs.groups)


def test_without_strength_nothing_is_dropped_where_thresholds_stay_at_zero() -> None:
    gates, hook = trained(SinglePathSettings(strength=0.0, warmup_share=0, gate_dropout=0, threshold_rate=1e-9), epochs=1)
    assert float(gates.thresholds.detach().abs().max()) < 1e-6
    assert hook.widths == hook.costs.full


def test_lambda_follows_the_budget_and_never_falls_below_its_first_value() -> None:
    """Above the budget it rises by (cost / budget)^ascent an epoch; costs do not count in the first share of the steps."""
    asked = SinglePathSettings(strength=1e-9, warmup_share=0.5, gate_dropout=0, ascent=2.0, threshold_rate=1e-9)
    _, hook = trained(asked, [Budget("macs", 0.5)], epochs=2)
    assert hook.left == [hook.costs.plan(hook.costs.full)] * 2
    assert [one["macs"] for one in hook.strengths] == [1e-9, pytest.approx(4e-9)]
    _, hook = trained(SinglePathSettings(strength=0.5, warmup_share=0), [Budget("macs", 1.0)], epochs=1)
    assert hook.strengths[-1]["macs"] == 0.5


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        (
            "strength",
            -1,
            r"strength \(lambda, the factor on the logarithm of the cost\) is -1; it must be a number of at least 0",
        ),
        ("strength", math.inf, r"strength .* is inf; it must be a number"),
        ("strength", "0.1", r"strength .* is '0\.1'; it must be a number"),
        ("ascent", 0, r"ascent is 0; it must be a number above 0"),
        ("warmup_share", 1.0, r"warmup_share is 1\.0; it must be a share, at least 0 and below 1"),
        ("gate_dropout", -0.1, r"gate_dropout is -0\.1; it must be a share"),
        ("search_epochs", 0, r"search_epochs is 0"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(name: str, value: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        SinglePathSettings(**{name: value})  # type: ignore[arg-type]


def test_the_cost_moves_thresholds_and_no_weights() -> None:
    model = network()
    _, rows, gates = searched(model)
    hook = CostAscent(costs_of(rows, "coarse"), {"macs": 1.0}, False, SinglePathSettings(warmup_share=0), 1)
    hook.start(gates, 10)
    images: Tensor = torch.zeros(2, *SHAPE[1:])
    loss = hook.loss((images, images, images), gates.thresholds.sum() * 0)  # type: ignore[arg-type]
    loss.backward()
    assert gates.thresholds.grad is not None
    assert bool((gates.thresholds.grad < 0).all())  # descent raises thresholds
    assert all(parameter.grad is None for parameter in gates.inner.parameters())
    assert isinstance(gates.inner, nn.Module)
