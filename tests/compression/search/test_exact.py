"""The exact searcher and its model: sums over groups are learned from few plans, and planned on."""

from __future__ import annotations

import numpy as np
import pytest

from hwflow.compression.allocation import ALLOCATIONS, allocate
from hwflow.compression.budget import Budget
from hwflow.compression.search.ddpg import Hyperparameters
from hwflow.compression.search.environment import PruningEnv
from hwflow.compression.search.exact import ExactSearcher
from hwflow.compression.search.planner import Planner
from hwflow.compression.search.search import best_of, explore
from hwflow.compression.search.sensitivity import AdditiveModel, importance_losses
from hwflow.errors import InputError
from tests.compression.toys import chain_costs

CHANNELS = (32, 64, 48, 64)
WEIGHTS = (0.2, 3.0, 0.5, 1.0)


def odds(accuracy: float) -> float:
    return float(np.log(accuracy / (1 - accuracy)))


def problem(budget: float = 0.4, seed: int = 0) -> PruningEnv:
    """Log-odds of the accuracy fall with the logarithm of each group's width, of some groups faster."""
    costs = chain_costs(CHANNELS)
    names = [group.name for group in costs.groups]

    def accuracy(plan: dict[str, int]) -> float:
        fall = sum(w * np.log(c / plan[n]) for w, c, n in zip(WEIGHTS, CHANNELS, names, strict=True))
        return float(1 / (1 + np.exp(fall - 3)))

    numbers = np.random.default_rng(seed)
    scores = {name: numbers.lognormal(size=c) for name, c in zip(names, CHANNELS, strict=True)}
    return PruningEnv(costs, accuracy, [Budget("macs", budget)], scores=scores)


def optimum(env: PruningEnv) -> float:
    curves = [w * -np.log(np.array(g.widths) / g.channels) for w, g in zip(WEIGHTS, env.costs.groups, strict=True)]
    return env.accuracy(Planner(env, gap=0.0).plan(curves).choice)


def test_the_first_plan_removes_the_least_importance() -> None:
    env = problem()
    losses = importance_losses(env.costs.groups, env.scores)
    searcher = ExactSearcher(env, Hyperparameters(), 0)
    assert searcher.ask(env) == Planner(env).plan(losses).choice == allocate("exact", env)
    assert searcher.planned is not None
    assert searcher.planned.gap <= 0.005
    for loss, group in zip(losses, env.costs.groups, strict=True):
        assert loss[-1] == 0
        assert (np.diff(loss) <= 0).all(), group.name


def test_a_sum_over_groups_is_solved_in_few_plans() -> None:
    env = problem()
    episodes = explore(env, ExactSearcher(env, Hyperparameters(), 0), 12)
    assert odds(best_of(episodes).accuracy) >= odds(optimum(env)) - 0.05
    plans = {tuple(episode.plan.values()) for episode in episodes}
    assert len(plans) == 12, "no plan is measured twice while others are left"


def test_the_model_predicts_plans_that_were_not_measured() -> None:
    env = problem()
    groups, numbers = env.costs.groups, np.random.default_rng(0)
    places = [[int(numbers.integers(len(g.widths))) for g in groups] for _ in range(80)]
    accuracies = [env.accuracy({g.name: g.widths[i] for g, i in zip(groups, plan, strict=True)}) for plan in places]
    model = AdditiveModel(groups, importance_losses(groups, env.scores), places[:60], accuracies[:60])
    said = [odds(model.accuracy(plan)) for plan in places[60:]]
    assert np.abs(np.array(said) - [odds(a) for a in accuracies[60:]]).max() < 0.5
    for loss, weight, group in zip(model.losses(), WEIGHTS, groups, strict=True):
        true = weight * -np.log(np.array(group.widths) / group.channels)
        assert np.abs((loss - loss[-1]) - true).max() < 0.5


def test_where_all_plans_were_measured_the_best_comes_again() -> None:
    costs = chain_costs((16, 16))
    env = PruningEnv(costs, lambda plan: plan["conv0"] / 20, [Budget("macs", 0.8)])
    episodes = explore(env, ExactSearcher(env, Hyperparameters(), 0), 6)
    assert episodes[-1].plan == best_of(episodes).plan


@pytest.mark.parametrize("name", ALLOCATIONS)
def test_every_allocation_keeps_the_budget(name: str) -> None:
    env = problem(0.3)
    for evaluations in (0, 6):
        plan = allocate(name, env, evaluations=evaluations)
        assert env.affordable(plan)
        assert list(plan) == [group.name for group in env.costs.groups]


def test_a_given_plan_is_taken_as_it_is_and_checked() -> None:
    env = problem()
    assert allocate({"conv1": 8}, env) == {"conv0": 32, "conv1": 8, "conv2": 48, "conv3": 64}
    with pytest.raises(InputError, match="the plan keeps 9 channels of 'conv1'; allowed: 8, 16"):
        allocate({"conv1": 9}, env)
    with pytest.raises(InputError, match="group 'conv9'"):
        allocate({"conv9": 8}, env)
    with pytest.raises(InputError, match="allocation or file of a plan 'uniformly'"):
        allocate("uniformly", env)
