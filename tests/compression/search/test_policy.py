"""The file of a policy, and the agent that starts from one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from hwflow.compression.budget import Budget
from hwflow.compression.search.ddpg import Hyperparameters
from hwflow.compression.search.environment import PruningEnv
from hwflow.compression.search.exact import ExactSearcher
from hwflow.compression.search.policy import FILE, SHIPPED, Policy
from hwflow.compression.search.policy_searcher import PolicySearcher
from hwflow.compression.search.search import explore
from hwflow.compression.settings import Settings
from hwflow.errors import InputError
from hwflow.training import checkpoint
from tests.compression.policies.toy_policies import toy_problem, untrained

PROBLEM = toy_problem((32, 16, 32), 0.4)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    untrained(PROBLEM).save(tmp_path / FILE)
    return tmp_path / FILE


def test_a_file_or_its_folder_gives_the_policy_back(file: Path) -> None:
    found = Policy.load(file)
    assert found.digest == Policy.load(file.parent).digest == untrained(PROBLEM).digest
    assert found.about == untrained(PROBLEM).about
    assert found.name == str(file)
    assert found.told.endswith("trained on 2026-01-01 on 1 network and 0 accelerators")
    first = PolicySearcher(PROBLEM, Hyperparameters(), 0, found).ask(PROBLEM)
    assert first == PolicySearcher(PROBLEM, Hyperparameters(), 7, untrained(PROBLEM)).ask(PROBLEM), "it depends on no seed"


def test_files_that_are_no_policy_are_refused(file: Path, tmp_path: Path) -> None:
    content = checkpoint.read(file, "")

    def refused(message: str, **changes: Any) -> None:
        other = tmp_path / "other.pt"
        checkpoint.save(other, {name: value for name, value in {**content, **changes}.items() if value is not None})
        with pytest.raises(InputError, match=message):
            Policy.load(other)

    refused("has the format 99, and this version of hwflow reads 1: train it anew with 'hwflow train-policy'", format=99)
    refused("has the features 'group-features-0', and this version of hwflow reads", features="group-features-0")
    refused("holds something else than a policy", kind=None)
    refused(r"is damaged: .*Train it anew", hidden=9)
    refused("is damaged: .*Train it anew", actor=None)
    refused("is damaged: .*Train it anew", about="{")
    refused("is damaged: some of its numbers are not finite", mean=content["mean"] * float("nan"))
    refused("is damaged: .*Train it anew", mean=content["mean"][:-1])
    file.write_bytes(file.read_bytes()[:400])
    with pytest.raises(InputError, match="is damaged, or no file of tensors"):
        Policy.load(file)
    with pytest.raises(InputError, match=r"nowhere\.pt: there is no such file"):
        Policy.load(tmp_path / "nowhere.pt")


def test_evaluations_refine_the_plan_within_the_budget() -> None:
    searcher = PolicySearcher(PROBLEM, Hyperparameters(), 3, untrained(PROBLEM))
    episodes = explore(PROBLEM, searcher, 8)
    assert len({tuple(episode.plan.values()) for episode in episodes}) > 2
    assert all(PROBLEM.affordable(episode.plan) for episode in episodes)
    assert [episode.noise is None for episode in episodes] == [False, True, True, True, False, True, False, True]
    assert (episodes[0].noise, episodes[4].noise) == (0.0, pytest.approx(0.15 * 0.95**4))


def test_the_planner_takes_turns_and_is_told_what_the_agent_measured() -> None:
    searcher = PolicySearcher(PROBLEM, Hyperparameters(), 3, untrained(PROBLEM))
    plans = [episode.plan for episode in explore(PROBLEM, searcher, 6)]
    guide = ExactSearcher(PROBLEM, Hyperparameters(), 3)
    for plan in plans[:3]:
        guide.tell(plan, PROBLEM.accuracy(plan), 0.0)
    assert plans[3] == guide.ask(PROBLEM)
    product = PruningEnv(PROBLEM.costs, PROBLEM.accuracy, [Budget("edp", 0.5)], scores=PROBLEM.scores)
    noises = [
        episode.noise for episode in explore(product, PolicySearcher(product, Hyperparameters(), 3, untrained(product)), 5)
    ]
    assert None not in noises
    late = PolicySearcher(PROBLEM, Hyperparameters(), 3, untrained(PROBLEM))
    late.ask(PROBLEM)
    turns = []
    for _ in range(72):
        turns.append(late.noise is None)
        late.tell(plans[0], 0.5, 0.0)
    assert [count for count, guided in enumerate(turns) if guided and count >= 45] == [45, 47, 49, 51, 61, 71]


def test_another_policy_is_another_search(tmp_path: Path) -> None:
    one, other = untrained(PROBLEM), replace(untrained(PROBLEM), mean=untrained(PROBLEM).mean + 1)
    explore(PROBLEM, PolicySearcher(PROBLEM, Hyperparameters(), 0, one), 2, checkpoint=tmp_path / "c.pt")
    with pytest.raises(InputError, match="belongs to another search"):
        explore(PROBLEM, PolicySearcher(PROBLEM, Hyperparameters(), 0, other), 3, checkpoint=tmp_path / "c.pt")


def test_only_the_agent_starts_from_a_policy_and_only_with_one_are_no_episodes_enough() -> None:
    with pytest.raises(InputError, match=r"the searcher is 'exact': leave out the policy a\.pt, or take the agent"):
        Settings(searcher="exact", policy="a.pt")
    with pytest.raises(InputError, match="episodes is 0; it must be a whole number of at least 1"):
        Settings(episodes=0)
    assert Settings(searcher="agent", policy=SHIPPED, episodes=0).learner.warmup == 0
    assert "policy" not in Settings().to_data()


def test_the_shipped_policy_is_small_and_says_where_it_comes_from() -> None:
    policy = Policy.load(SHIPPED)
    assert {"begun", "command", "versions", "data", "networks", "accelerators", "options", "accuracy_models", "reached"} <= set(
        policy.about
    )
    assert policy.about["reached"]["policy"] > policy.about["reached"]["uniform"]
    assert sum(value.numel() for part in policy.networks.values() for value in part.values()) < 50_000
    plan = PolicySearcher(PROBLEM, Hyperparameters(), 0, policy).ask(PROBLEM)
    assert PROBLEM.affordable(plan)
    assert torch.is_tensor(policy.mean)
