"""torch-pruning's plans: within the budget, as large as its shares allow, and streams left whole."""

from __future__ import annotations

import pytest

pytest.importorskip("torch_pruning")

from benchmarks import torch_pruning_plans
from benchmarks.torch_pruning_plans import IMPORTANCES, cut_plan
from hwflow.compression.budget import Budget
from hwflow.compression.channels.discovery import find_groups
from hwflow.compression.channels.plan_tables import PlanTables
from hwflow.compression.level_costs import LevelCosts
from hwflow.compression.search.environment import PruningEnv
from hwflow.compression.settings import Settings
from hwflow.hardware.accelerator import Accelerator
from hwflow.network.models.cifar_resnet import CifarResNet

SHAPE = (1, 1, 8, 8)


@pytest.fixture(scope="module")
def problem() -> tuple[PruningEnv, object]:
    module = CifarResNet(1, 4, 1)
    grouping = find_groups(module, SHAPE, streams=True, round_to=4)
    costs = LevelCosts(Accelerator.load("eyeriss"), Settings(levels=("coarse",)), store=None, notify=print, progress=None)
    return PruningEnv(PlanTables(grouping, costs).at("coarse"), lambda _: 0.0, (Budget("energy", 0.7),)), module


@pytest.mark.parametrize("title", IMPORTANCES)
def test_plans_keep_the_budget_and_the_streams(
    title: str, problem: tuple[PruningEnv, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    env, module = problem
    monkeypatch.setattr(torch_pruning_plans, "PARTS", 20)
    plan = cut_plan(title, env, module, SHAPE, 4)  # type: ignore[arg-type]
    assert plan is not None
    assert env.affordable(plan)
    assert not env.affordable(dict(env.costs.plan(env.costs.full)))
    for group in env.costs.groups:
        assert plan[group.name] % 4 == 0
        if len(group.producers) > 1:
            assert plan[group.name] == group.channels
    assert any(plan[group.name] < group.channels for group in env.costs.groups)


def test_a_budget_out_of_reach_has_no_plan(problem: tuple[PruningEnv, object], monkeypatch: pytest.MonkeyPatch) -> None:
    env, module = problem
    tight = PruningEnv(env.costs, lambda _: 0.0, (Budget("peak_activation_bytes", 0.5),))
    monkeypatch.setattr(torch_pruning_plans, "PARTS", 5)
    assert cut_plan("tp-lamp", tight, module, SHAPE, 4) is None  # type: ignore[arg-type]
