"""What every searcher promises: plans within the budgets, equal ones for equal seeds, and to go on where it was interrupted."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from hwflow.compression.budget import Budget
from hwflow.compression.plan_costs import PlanCosts
from hwflow.compression.search.baselines import uniform_plan
from hwflow.compression.search.ddpg import Hyperparameters
from hwflow.compression.search.environment import PruningEnv
from hwflow.compression.search.policy_searcher import PolicySearcher
from hwflow.compression.search.registry import SCORED, SEARCHERS
from hwflow.compression.search.search import Episode, best_of, explore
from hwflow.compression.search.searcher import Measured, Searcher
from tests.compression.policies.toy_policies import untrained
from tests.compression.toys import MixedChain, by_bits, chain_costs, nearness

SETTINGS = Hyperparameters(warmup=4, hidden=8, updates=1, imagined=4)
BUDGETS = [(Budget("macs", 0.5),), (Budget("macs", 0.6), Budget("params", 0.5)), ()]


class Halving:
    """A toy: begins with the uniform plan, then narrows one group after the other."""

    def __init__(self, problem: PruningEnv, settings: Hyperparameters, seed: int) -> None:
        self.turn = seed

    @property
    def identity(self) -> list[Any]:
        return ["halving"]

    noise: float | None = None

    def ask(self, problem: PruningEnv) -> dict[str, int]:
        plan, group = uniform_plan(problem), problem.costs.groups[self.turn % len(problem.costs.groups)]
        return {**plan, group.name: group.widths[0]}

    def tell(self, choice: dict[str, int], accuracy: float, reward: float) -> None:
        self.turn += 1

    def state(self) -> dict[str, Any]:
        return {"turn": self.turn}

    def restore(self, state: dict[str, Any], measured: Sequence[Measured]) -> None:
        self.turn = state["turn"]


def kept(problem: PruningEnv, settings: Hyperparameters, seed: int) -> Searcher:
    """The agent that starts from a policy."""
    return PolicySearcher(problem, settings, seed, untrained(problem))


ALL: dict[str, Callable[[PruningEnv, Hyperparameters, int], Searcher]] = {**SEARCHERS, "policy": kept, "toy": Halving}


def problem(budgets: tuple[Budget, ...] = BUDGETS[0], measured: list[Mapping[str, int]] | None = None) -> PruningEnv:
    costs = chain_costs((64, 32, 64, 128))
    targets = {group.name: 0.5 for group in costs.groups}
    near = nearness(targets, {group.name: group.channels for group in costs.groups})

    def accuracy(plan: dict[str, int]) -> float:
        if measured is not None:
            measured.append(plan)
        return float(near(plan))

    scores = {group.name: [1.0 / (1 + unit) for unit in range(group.channels)] for group in costs.groups}
    return PruningEnv(costs, accuracy, budgets, metric="macs", scores=scores)


def mixed_problem() -> PruningEnv:
    """Channels and bits; bits have no scores, but losses."""
    costs = PlanCosts(MixedChain((16, 24)), by_bits)
    near = nearness({group.name: 0.5 for group in costs.groups}, {group.name: group.channels for group in costs.groups})
    losses = {group.name: [-math.log(width / group.channels) for width in group.widths] for group in costs.groups}
    return PruningEnv(costs, near, [Budget("energy", 0.3)], losses=losses)


@pytest.mark.parametrize("name", [name for name in ALL if name not in SCORED])
def test_channels_and_bits_are_searched_together(name: str, tmp_path: Path) -> None:
    env = mixed_problem()
    whole = explore(env, ALL[name](env, SETTINGS, 0), 8)
    for episode in whole:
        assert all(episode.plan[group.name] in group.widths for group in env.costs.groups)
        assert env.affordable(episode.plan)
    explore(env, ALL[name](env, SETTINGS, 0), 5, checkpoint=tmp_path / "c.pt")
    assert explore(env, ALL[name](env, SETTINGS, 0), 8, checkpoint=tmp_path / "c.pt") == whole


@pytest.mark.parametrize("budgets", BUDGETS)
@pytest.mark.parametrize("name", ALL)
def test_every_plan_is_one_of_the_problem_and_keeps_its_budgets(name: str, budgets: tuple[Budget, ...]) -> None:
    env = problem(budgets)
    for episode in explore(env, ALL[name](env, SETTINGS, 0), 12):
        assert list(episode.plan) == [group.name for group in env.costs.groups]
        assert all(episode.plan[group.name] in group.widths for group in env.costs.groups)
        assert env.affordable(episode.plan)


@pytest.mark.parametrize("name", ALL)
def test_a_seed_gives_the_same_plans_and_one_plan_is_measured_an_episode(name: str) -> None:
    runs, measured = [], []
    for _ in range(2):
        measured = []
        env = problem(measured=measured)
        runs.append(explore(env, ALL[name](env, SETTINGS, 3), 10))
    assert runs[0] == runs[1]
    assert measured == [episode.plan for episode in runs[1]]


@pytest.mark.parametrize("name", ALL)
def test_what_was_interrupted_goes_on_to_the_same_plans(name: str, tmp_path: Path) -> None:
    env = problem()
    whole = explore(env, ALL[name](env, SETTINGS, 1), 10)

    class Stop(Exception):
        pass

    def stop(episode: Episode) -> None:
        if episode.number == 6:
            raise Stop

    with pytest.raises(Stop):
        explore(env, ALL[name](env, SETTINGS, 1), 10, checkpoint=tmp_path / "c.pt", on_episode=stop)
    assert explore(env, ALL[name](env, SETTINGS, 1), 10, checkpoint=tmp_path / "c.pt") == whole


@pytest.mark.parametrize("name", ALL)
def test_its_identity_is_plain_data(name: str) -> None:
    env = problem()
    first, second = (ALL[name](env, SETTINGS, 2).identity for _ in range(2))
    assert json.loads(json.dumps(first)) == json.loads(json.dumps(second))


@pytest.mark.parametrize("name", ["ddpg", "toy"])
def test_what_searches_is_no_worse_than_its_first_plan(name: str) -> None:
    env = problem()
    episodes = explore(env, ALL[name](env, SETTINGS, 0), 12)
    assert best_of(episodes).reward >= episodes[0].reward
