"""The plan at the end of a search: within the budgets, and as near as options allow."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from hwflow.compression.budget import Budget
from hwflow.compression.search.plan_space import PlanSpace
from hwflow.compression.single_path.selection import selected
from tests.compression.single_path.nets import network, searched
from tests.compression.single_path.test_cost_ascent import costs_of


@pytest.fixture(scope="module")
def spaces() -> dict[float, PlanSpace]:
    _, rows, _ = searched(network())
    costs = costs_of(rows, "coarse")
    return {share: PlanSpace(costs, [Budget("macs", share)]) for share in (0.35, 0.5, 0.7, 0.9)}


@pytest.mark.parametrize("share", [0.35, 0.5, 0.7, 0.9])
def test_the_plan_keeps_the_budget_and_nothing_more_fits(share: float, spaces: dict[float, PlanSpace]) -> None:
    space, random = spaces[share], np.random.default_rng(0)
    groups = space.costs.groups
    for _ in range(20):
        widths = tuple(one.widths[random.integers(2)] for one in groups)
        margins = [
            random.uniform(0, 1) * (1 if width == one.widths[1] else -1) for one, width in zip(groups, widths, strict=True)
        ]
        plan = selected(space, widths, margins)
        assert space.fits(plan)
        larger = [(*plan[:i], one.widths[1], *plan[i + 1 :]) for i, one in enumerate(groups) if plan[i] != one.widths[1]]
        assert not any(space.within(larger))


def test_what_fits_and_cannot_grow_stays(spaces: dict[float, PlanSpace]) -> None:
    space = spaces[0.9]
    for plan in itertools.product(*(one.widths for one in space.costs.groups)):
        larger = [
            (*plan[:i], one.widths[1], *plan[i + 1 :]) for i, one in enumerate(space.costs.groups) if plan[i] != one.widths[1]
        ]
        if space.fits(plan) and not any(space.within(larger)):
            margins = [0.1 if width == one.widths[1] else -0.1 for one, width in zip(space.costs.groups, plan, strict=True)]
            assert selected(space, plan, margins) == plan
            return
    raise AssertionError


def test_what_is_least_above_its_threshold_for_its_cost_goes_first(spaces: dict[float, PlanSpace]) -> None:
    """Of two kernels of equal cost the one with the lesser margin."""
    space = spaces[0.9]
    names = [one.name for one in space.costs.groups]
    margins = [10.0] * len(names)
    margins[names.index("1.kernel")] = 0.001
    plan = dict(zip(names, selected(space, space.costs.full, margins), strict=True))
    assert plan["1.kernel"] == 3
    assert plan["1.depth"] == plan["3.depth"] == 1


def test_a_block_that_is_taken_up_again_is_taken_up_at_its_least() -> None:
    """Where there is no room for a block with its kernel and expansion, but with less."""
    _, rows, _ = searched(network())
    costs = costs_of(rows, "coarse")
    names, full = [one.name for one in rows.groups], costs.full
    small = tuple(one.widths[0] if one.name in ("3.kernel", "3.expansion") else one.widths[-1] for one in rows.groups)
    share = float(costs.metric(costs.totals(small), "macs") / costs.metric(costs.totals(full), "macs"))
    space = PlanSpace(costs, [Budget("macs", share + 1e-6)])
    without = tuple(0 if name == "3.depth" else width for name, width in zip(names, full, strict=True))
    margins = [-1.0 if name == "3.depth" else 1.0 for name in names]
    assert selected(space, without, margins) == without
    assert selected(space, without, margins, rows.settled) == small


def test_without_a_budget_thresholds_have_the_last_word() -> None:
    _, rows, _ = searched(network())
    space = PlanSpace(costs_of(rows, "coarse"), (), metric="macs")
    plan = tuple(one.widths[0] for one in space.costs.groups)
    assert selected(space, plan, [-1.0] * 8) == plan
