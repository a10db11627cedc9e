"""What plans may be bounds to reach before they are measured, and the search that measures the most promising ones only."""

from __future__ import annotations

import numpy as np
import pytest

from hwflow.compression.search.accuracy_model import AccuracyModel
from hwflow.compression.search.ddpg import Hyperparameters
from hwflow.compression.search.environment import PruningEnv
from hwflow.compression.search.search import best_of, explore
from hwflow.compression.search.walks import DdpgSearcher
from tests.compression.toys import at_most, chain_costs, nearness


def sampled(count: int, groups: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Shares kept, and a smooth accuracy of them."""
    shares = np.random.default_rng(seed).uniform(0.1, 1.0, (count, groups))
    wanted = np.linspace(0.3, 0.9, groups)
    return shares, 0.9 - 0.3 * np.square(np.log(shares / wanted)).mean(axis=1)


def test_measured_plans_are_predicted() -> None:
    shares, accuracies = sampled(80)
    model = AccuracyModel(shares.tolist(), accuracies.tolist())
    assert [model.upper_confidence_bound(s) for s in shares] == pytest.approx(accuracies, abs=0.03)


def test_it_ranks_plans_that_were_not_measured() -> None:
    model = AccuracyModel(*sampled(80))
    shares, accuracies = sampled(200, seed=1)
    bounds = [model.upper_confidence_bound(s) for s in shares]
    assert np.corrcoef(bounds, accuracies)[0, 1] > 0.95


def test_the_bound_is_higher_where_nothing_was_measured() -> None:
    shares = np.full((20, 3), 0.5)
    shares[:, 0] = np.linspace(0.4, 0.6, 20)
    accuracies = 0.5 + 0.01 * np.random.default_rng(0).standard_normal(20)
    model = AccuracyModel(shares.tolist(), accuracies.tolist())
    assert model.upper_confidence_bound([0.5, 0.05, 0.05]) > max(model.upper_confidence_bound(s) for s in shares)


def test_more_measurements_than_it_looks_at_leave_the_best_ones() -> None:
    shares, accuracies = sampled(600)
    all_of_them, best = AccuracyModel(shares, accuracies), np.sort(np.argsort(-accuracies)[:400])
    the_best = AccuracyModel(shares[best], accuracies[best])
    assert all_of_them.upper_confidence_bound(shares[0]) == the_best.upper_confidence_bound(shares[0])


@pytest.mark.parametrize("count", [1, 4])
def test_equal_measurements_are_no_trouble(count: int) -> None:
    shares, _ = sampled(count)
    assert AccuracyModel(shares.tolist(), [0.25] * count).upper_confidence_bound([0.5] * 5) == 0.25


def test_bounds_above_one_are_told_apart() -> None:
    """Where nearly all is right already, the search must not take the first walk for want of a difference."""
    model = AccuracyModel([[0.1], [0.2], [0.3]], [0.5, 0.9, 1.0])
    assert model.upper_confidence_bound([0.4]) > model.upper_confidence_bound([0.3]) > 1.0


@pytest.mark.slow
def test_imagined_walks_find_better_plans_with_as_many_measurements() -> None:
    """Ten groups under a budget: most of what the plain agent misses is found. No plan is measured twice, and only plans that
    became episodes are measured."""
    shares = (0.9, 0.2, 0.7, 0.4, 0.5, 1.0, 0.15, 0.6, 0.3, 0.8)
    costs = chain_costs((64,) * len(shares))
    targets = dict(zip((g.name for g in costs.groups), shares, strict=True))
    accuracy = nearness(targets, {g.name: g.channels for g in costs.groups})
    missed: dict[int, float] = {}
    for imagined in (1, 16):
        measured: list[tuple[int, ...]] = []

        def counted(plan: dict[str, int], measured: list[tuple[int, ...]] = measured) -> float:
            measured.append(tuple(plan.values()))
            return accuracy(plan)

        env = PruningEnv(costs, counted, (at_most(costs, (0.875, 0.25, 0.75, 0.375, 0.5, 1.0, 0.125, 0.625, 0.25, 0.75)),))
        settings = Hyperparameters(warmup=30, hidden=32, updates=1, imagined=imagined)
        episodes = [explore(env, DdpgSearcher(env, settings, seed), 80) for seed in range(2)]
        assert len(measured) == 2 * 80
        assert measured[:80] == [tuple(e.plan.values()) for e in episodes[0]]
        assert imagined == 1 or len(set(measured[30:80])) == 50
        missed[imagined] = float(np.mean([1 - best_of(found).accuracy for found in episodes]))
    assert missed[16] < 0.6 * missed[1]
