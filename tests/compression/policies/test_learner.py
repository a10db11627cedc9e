"""Training of a policy on toys: it gets better where it was not trained, and goes on where it was interrupted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hwflow.compression.policies.examples import AccuracyTable, Example, Subject, random_wishes
from hwflow.compression.policies.learner import learn
from hwflow.compression.policies.options import LEARNER
from hwflow.compression.search.policy import Policy
from hwflow.compression.search.policy_searcher import PolicySearcher
from hwflow.compression.search.sensitivity import importance_losses
from hwflow.errors import InputError
from tests.compression.policies.toy_policies import toy_example, toy_problem
from tests.compression.toys import chain_costs

SMALL = replace(
    LEARNER, warmup=40, hidden=16, batch_size=128, replay_episodes=80, noise_decay=0.98, actor_rate=4e-3, critic_rate=4e-3
)
CHAINS = ((32, 16, 32), (16, 32, 32))


def examples(*shares: float) -> list[Example]:
    return [toy_example(channels, share, seed) for seed, channels in enumerate(CHAINS) for share in shares]


def reward(policy: Policy, tried: list[Example]) -> float:
    """The mean over problems of the plans that it makes without measurements."""
    plans = [PolicySearcher(one.problem, LEARNER, 0, policy).ask(one.problem) for one in tried]
    assert all(one.problem.affordable(plan) for one, plan in zip(tried, plans, strict=True))
    return float(np.mean([one.reward(plan) for one, plan in zip(tried, plans, strict=True)]))


def test_a_trained_policy_beats_an_untrained_one_at_budgets_that_it_has_not_seen() -> None:
    known, unseen = examples(0.25, 0.6), examples(0.4)
    before, after = (reward(learn(known, episodes, SMALL, 0), unseen) for episodes in (1, 90))
    assert after > before + 0.3


def test_an_interrupted_training_gives_the_same_bytes(tmp_path: Path) -> None:
    known, settings = examples(0.4), replace(SMALL, warmup=10)
    learn(known, 20, settings, 1).save(tmp_path / "whole.pt")

    class Stop(Exception):
        pass

    def stop(done: int, total: int, text: str) -> None:
        if done == 15:
            raise Stop

    with pytest.raises(Stop):
        learn(known, 20, settings, 1, checkpoint=tmp_path / "c.pt", every=8, progress=stop)
    learn(known, 20, settings, 1, checkpoint=tmp_path / "c.pt", every=8).save(tmp_path / "again.pt")
    assert (tmp_path / "whole.pt").read_bytes() == (tmp_path / "again.pt").read_bytes()
    with pytest.raises(InputError, match="belongs to another training of a policy; remove it, or name another folder"):
        learn(known, 20, settings, 2, checkpoint=tmp_path / "c.pt")


def test_rewards_are_relative_to_random_plans_of_the_same_budget() -> None:
    for share in (0.3, 0.7):
        one = toy_example((32, 16, 32), share)
        generator = np.random.default_rng(5)
        found = [one.reward(one.problem.project(random_wishes(generator, 3))) for _ in range(60)]
        assert abs(np.mean(found)) < 0.4
        assert 0.5 < np.std(found) < 1.6


def test_the_accuracy_table_predicts_what_is_a_sum_over_groups() -> None:
    problem = toy_problem((32, 16, 32), 0.5)
    losses = importance_losses(problem.costs.groups, problem.scores)
    truth = AccuracyTable(problem.costs.groups, tuple(2 * loss for loss in losses), None)
    generator = np.random.default_rng(0)
    plans = [problem.project(random_wishes(generator, 3)) for _ in range(40)]
    accuracies = [1 / (1 + np.exp(-1 - truth.odds(plan))) for plan in plans]
    assert problem.scores is not None
    subject = Subject("toy", problem.costs.groups, problem.scores, {}, lambda _: 0.0)
    table = AccuracyTable.fitted(subject, plans, accuracies)
    assert table.agreement is not None
    assert table.agreement > 0.9


def test_budgets_out_of_reach_are_no_problems_of_a_subject() -> None:
    costs = chain_costs((64, 64))
    subject = Subject("toy", costs.groups, {}, {("chip", "macs"): costs}, lambda _: 0.0)
    assert [title for title, _ in subject.problems((0.0001, 0.5))] == ["toy on chip, macs=0.5"]


def test_features_that_never_vary_in_training_do_not_tell_anything_later() -> None:
    policy = learn(examples(0.4)[:1], 1, SMALL, 0)
    assert int((policy.scale > 1e6).sum()) > 0
    assert torch.isfinite(policy.scale).all()
