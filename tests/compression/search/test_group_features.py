"""How a kept policy sees problems: the same way whatever units, names and orders are."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from hwflow.compression.budget import Budget
from hwflow.compression.search.group_features import GroupFeatures
from hwflow.compression.search.plan_space import PlanSpace
from hwflow.cost.cost_grid import Entry
from hwflow.hardware.accelerator import Accelerator
from hwflow.layers import Layer
from tests.compression.toys import chain_costs, plain

CHANNELS = (64, 32, 64)
SCORES = {f"conv{i}": [1.0 / (1 + unit) for unit in range(channels)] for i, channels in enumerate(CHANNELS)}


def table(*budgets: Budget, price: Callable[[Layer], Entry] = plain, scores: dict[str, list[float]] = SCORES) -> np.ndarray:
    return GroupFeatures(PlanSpace(chain_costs(CHANNELS, price), budgets), scores).table


def in_joules(layer: Layer) -> Entry:
    entry = plain(layer)
    return entry._replace(energy=1e-12 * entry.energy)


def test_units_of_energy_and_of_scores_do_not_matter() -> None:
    budget = Budget("energy", 0.4)
    expected = table(budget)
    assert np.allclose(table(budget, price=in_joules), expected)
    larger = {name: [1000 * score for score in own] for name, own in SCORES.items()}
    assert np.allclose(table(budget, scores=larger), expected)
    shuffled = {name: own[::-1] for name, own in SCORES.items()}
    assert np.allclose(table(budget, scores=shuffled), expected)


def test_the_order_of_budgets_does_not_matter_and_one_that_binds_nothing_hardly_counts() -> None:
    one, other = Budget("energy", 0.4), Budget("params", 0.5)
    assert np.allclose(table(one, other), table(other, one))
    assert np.allclose(table(one, Budget("params", 1.0)), table(one), atol=1e-4)


def test_budgets_and_scores_are_seen() -> None:
    assert not np.allclose(table(Budget("energy", 0.4)), table(Budget("energy", 0.6)))
    assert not np.allclose(table(Budget("energy", 0.4)), table(Budget("energy", 0.4), scores=dict.fromkeys(SCORES, [1.0] * 64)))


def test_equal_problems_have_equal_features_and_chips_differ() -> None:
    budget = Budget("energy", 0.4)
    assert np.array_equal(table(budget), table(budget))
    seen = []
    for name in ("eyeriss", "tpu_like"):
        costs = chain_costs(CHANNELS)
        costs.accelerator = Accelerator.load(name)
        seen.append(GroupFeatures(PlanSpace(costs, [budget]), SCORES).table)
    assert np.isfinite(seen[0]).all()
    assert not np.allclose(*seen)


@pytest.mark.parametrize("share", [0.25, 0.5, 0.8])
def test_an_action_of_a_half_is_the_uniform_plan_and_actions_name_their_plan(share: float) -> None:
    space = PlanSpace(chain_costs(CHANNELS), [Budget("energy", share)])
    features = GroupFeatures(space, SCORES)
    wishes = features.wishes([0.5, 0.5, 0.5])
    assert len(set(wishes)) == 1
    kept = [width / channels for width, channels in zip(features.uniform, CHANNELS, strict=True)]
    assert wishes[0] == pytest.approx(float(np.exp(np.mean(np.log(kept)))))
    assert features.wishes(features.actions(features.uniform)) == pytest.approx(kept, rel=1e-6)


def test_all_scores_of_zero_count_as_equal_ones() -> None:
    budget = Budget("energy", 0.4)
    zeros, ones = ({f"conv{i}": [value] * c for i, c in enumerate(CHANNELS)} for value in (0.0, 1.0))
    assert np.allclose(table(budget, scores=zeros), table(budget, scores=ones))
