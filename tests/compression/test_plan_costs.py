"""Peak activation memory of plans: exact for every plan, as importing the pruned network anew says, and kept as a budget."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from hwflow.compression.budget import Budget
from hwflow.compression.channels.discovery import find_groups
from hwflow.compression.channels.groups import Grouping
from hwflow.compression.channels.surgery import prune_model
from hwflow.compression.plan_costs import Activations, PlanCosts
from hwflow.compression.search.environment import PruningEnv
from hwflow.errors import InputError
from hwflow.layers import Bits
from hwflow.network import Network, model_zoo
from tests.compression import nets
from tests.compression.toys import plain

SHAPE = (1, 3, 16, 16)


class Branches(nn.Module):
    """An early branch that is kept alive, a sum and a concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d = nets.conv(3, 24), nets.conv(24, 16), nets.conv(16, 16), nets.conv(40, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        early = self.a(x).relu()
        return self.d(torch.cat([early, self.c(y := self.b(early).relu()) + y], 1))


def zoo(name: str) -> Callable[[], nn.Module]:
    return lambda: model_zoo.load_model(name, num_classes=10)


MODELS: dict[str, tuple[Callable[[], nn.Module], bool]] = {
    "branches": (Branches, True),
    "branches without streams": (Branches, False),
    "resnet20": (zoo("resnet20"), False),
    "resnet20 with streams": (zoo("resnet20"), True),
    "mobilenet_v2": (zoo("mobilenet_v2"), True),
}


SIXTEEN = Bits(16, 16, 16)


def costs_of(grouping: Grouping, bits: Bits = SIXTEEN) -> PlanCosts:
    return PlanCosts(grouping, plain, Activations(grouping, [bits] * len(grouping.network)))


def peak(costs: PlanCosts, plan: dict[str, int]) -> float:
    return costs.metric(costs.totals(tuple(plan[group.name] for group in costs.groups)), "peak_activation_bytes")


_CASES = [pytest.param(name, marks=[pytest.mark.slow] if name == "mobilenet_v2" else []) for name in MODELS]


@pytest.mark.parametrize("name", _CASES)
def test_a_plan_needs_what_importing_the_pruned_network_says(name: str) -> None:
    make, streams = MODELS[name]
    model = make()
    grouping = find_groups(model, SHAPE, streams=streams, round_to=4)
    costs = costs_of(grouping)
    assert peak(costs, costs.plan(costs.full)) == Network.from_torch(model, SHAPE).peak_activation_bytes()
    chosen = random.Random(0)
    plans = [{g.name: chosen.choice(g.widths) for g in grouping.groups} for _ in range(3)]
    for plan in [{g.name: g.widths[0] for g in grouping.groups}, *plans]:
        pruned = Network.from_torch(prune_model(model, grouping, plan), SHAPE)
        assert peak(costs, plan) == pruned.peak_activation_bytes() == grouping.network_for(plan).peak_activation_bytes()
        assert grouping.network_for(plan).graph == pruned.graph


def test_word_widths_weigh_the_tensors() -> None:
    grouping = find_groups(Branches(), SHAPE, streams=True)
    for bits in (Bits(8, 8, 8), Bits(8, 4, 32), Bits(3, 3, 3)):
        costs = costs_of(grouping, bits)
        plan = {g.name: g.widths[0] for g in grouping.groups}
        network = grouping.network_for(plan)
        assert network.graph is not None
        assert peak(costs, plan) == network.graph.peak_bytes([bits] * len(network))


def reachable(costs: PlanCosts) -> float:
    """The least share that any plan needs: sizes only shrink with the widths."""
    least = {group.name: group.widths[0] for group in costs.groups}
    return peak(costs, least) / peak(costs, costs.plan(costs.full))


@pytest.mark.parametrize("other", [(), (Budget("macs", 0.6),), (Budget("energy", 0.5), Budget("params", 0.7))])
def test_no_plan_exceeds_its_budget(other: tuple[Budget, ...]) -> None:
    model = Branches()
    grouping = find_groups(model, SHAPE, streams=True, round_to=4)
    costs = costs_of(grouping)
    random_ = np.random.default_rng(0)
    full = peak(costs, costs.plan(costs.full))
    for share in (reachable(costs), 0.5, 0.75):
        env = PruningEnv(costs, lambda plan: 0.5, (*other, Budget("peak_activation_bytes", share)))
        cut = 0
        for _ in range(40):
            env.reset()
            for action in random_.uniform(0, 1, len(costs.groups)) ** 0.3:
                plan = env.step(np.array([action], np.float32))[4].get("plan")
            assert plan is not None
            assert peak(costs, plan) <= share * full
            cut += peak(costs, plan) > 0.8 * share * full
        assert cut or other  # alone, the budget binds: what is affordable is used
    real = Network.from_torch(prune_model(model, grouping, plan), SHAPE).peak_activation_bytes()
    assert real == peak(costs, plan)


def test_a_budget_below_the_least_peak_says_what_is_reachable() -> None:
    costs = costs_of(find_groups(Branches(), SHAPE, round_to=8))
    with pytest.raises(InputError, match=r"peak_activation_bytes=0.01 cannot be reached.*still needs peak_activation_bytes="):
        PruningEnv(costs, lambda plan: 0.5, (Budget("peak_activation_bytes", 0.01),))


def test_without_a_data_flow_the_peak_is_unknown_and_other_budgets_work() -> None:
    found = find_groups(Branches(), SHAPE, round_to=8)
    costs = costs_of(replace(found, network=replace(found.network, graph=None), tensor_steps=()))
    assert np.isnan(peak(costs, costs.plan(costs.full)))
    with pytest.raises(InputError, match=r"peak_activation_bytes is not known.*Name a budget of another metric"):
        PruningEnv(costs, lambda plan: 0.5, (Budget("peak_activation_bytes", 0.5),))
    least = costs.plan(tuple(group.widths[0] for group in costs.groups))
    assert PruningEnv(costs, lambda plan: 0.5, (Budget("macs", 0.6),)).affordable(least)
