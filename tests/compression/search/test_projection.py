"""The projection: wishes to plans that use the budgets up, whatever the order of the groups."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwflow.compression.budget import Budget
from hwflow.compression.channels.groups import Widths
from hwflow.compression.plan_costs import PlanCosts
from hwflow.compression.search.ddpg import Hyperparameters
from hwflow.compression.search.environment import PruningEnv
from hwflow.compression.search.plan_space import PlanSpace
from hwflow.compression.search.projection import AHEAD, project
from hwflow.compression.search.registry import SEARCHERS
from hwflow.errors import InputError
from tests.compression.toys import Blocks, chain_costs, plain, ragged

CHANNELS = (16, 32, 24, 64, 40, 64)


def blocks(count: int = 8, round_to: int = 8) -> PlanCosts:
    return PlanCosts(Blocks(count, 64, round_to), plain)  # type: ignore[arg-type]


def used_up(space: PlanSpace, widths: Widths) -> bool:
    """Whether no group can take any of its next widths within the budgets."""
    for place, group in enumerate(space.costs.groups):
        at = group.widths.index(widths[place])
        for wider in group.widths[at + 1 : at + 1 + AHEAD]:
            if space.fits((*widths[:place], wider, *widths[place + 1 :])):
                return False
    return True


def test_random_plans_treat_all_positions_alike() -> None:
    """Eight equal blocks, a quarter of their energy: means of the kept shares differ by no more than chance lets them."""
    env = PruningEnv(blocks(), lambda plan: 0.5, (Budget("energy", 0.25),))
    searcher = SEARCHERS["random"](env, Hyperparameters(hidden=4), 0)
    shares = []
    for _ in range(200):
        plan = searcher.ask(env)
        searcher.tell(plan, 0.5, 0.5)
        shares.append(env.shares(plan))
    means, errors = np.mean(shares, axis=0), np.std(shares, axis=0) / np.sqrt(len(shares))
    assert (abs(means - means.mean()) < 3.5 * errors).all(), means
    assert errors.min() > 0.005, "the plans differ"


def test_the_order_of_the_groups_changes_nothing() -> None:
    space = PlanSpace(blocks(), (Budget("energy", 0.3),))
    numbers = np.random.default_rng(0)
    for _ in range(20):
        wishes, order = numbers.uniform(0, 1, 8), numbers.permutation(8)
        plan = np.array(project(space, list(wishes)))
        assert (np.array(project(space, list(wishes[order]))) == plan[order]).all()


@pytest.mark.parametrize("price", [plain, ragged], ids=["plain", "ragged"])
@pytest.mark.parametrize(
    "budgets",
    [
        (Budget("energy", 0.3),),
        (Budget("latency", 0.5), Budget("params", 0.4)),
        (Budget("edp", 0.3), Budget("dram_bytes", 0.6), Budget("peak_activation_bytes", 0.7)),
    ],
    ids=lambda budgets: ",".join(map(str, budgets)),
)
def test_budgets_hold_and_are_used_up(budgets: tuple[Budget, ...], price: object) -> None:
    """Also where a wider layer can be cheaper, so that the cost does not rise with the factor."""
    space = PlanSpace(chain_costs(CHANNELS, price), budgets)  # type: ignore[arg-type]
    numbers = np.random.default_rng(1)
    for _ in range(40):
        widths = project(space, list(numbers.uniform(0, 1, len(CHANNELS)) ** numbers.choice([0.1, 1, 4])))
        assert space.fits(widths)
        assert used_up(space, widths)


def test_only_proportions_of_wishes_matter() -> None:
    space = PlanSpace(blocks(), (Budget("macs", 0.5),))
    wishes = [0.3, 0.9, 0.5, 0.2, 0.8, 0.4, 0.1, 0.6]
    plan = project(space, wishes)
    assert plan == project(space, [wish / 2 for wish in wishes]) == project(space, [3 * wish for wish in wishes])
    assert [plan[i] for i in np.argsort(wishes)] == sorted(plan)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=6, max_size=6), st.floats(0.15, 1))
def test_a_plan_is_its_own_projection(wishes: list[float], share: float) -> None:
    space = PlanSpace(chain_costs(CHANNELS), (Budget("energy", share),))
    plan = project(space, wishes)
    assert project(space, [width / group.channels for width, group in zip(plan, space.costs.groups, strict=True)]) == plan


def test_a_wider_layer_that_is_cheaper_is_found() -> None:
    """8 channels take as much as 32 here: the plan with the least widths is above the budget, and the next width, too."""
    costs = chain_costs((64, 64), ragged)
    dear = costs.metric(costs.totals((8, 8)), "energy") / costs.metric(costs.totals((64, 64)), "energy")
    cheap = costs.metric(costs.totals((16, 16)), "energy") / costs.metric(costs.totals((64, 64)), "energy")
    assert cheap < dear
    space = PlanSpace(costs, (Budget("energy", (cheap + dear) / 2),))
    assert space.fits(project(space, [1.0, 1.0]))
    assert used_up(space, project(space, [1.0, 1.0]))


def test_a_group_that_wishes_nothing_grows_last() -> None:
    space = PlanSpace(blocks(2), (Budget("macs", 0.6),))
    assert project(space, [0.0, 1.0]) == (8, 64)
    assert project(space, [1.0, 0.0]) == (64, 8)


def test_without_a_budget_every_group_gets_its_wish() -> None:
    space = PlanSpace(blocks(3))
    assert project(space, [0.0, 0.3, 1.0]) == (8, 16, 64)
    assert project(space, [0.31, 0.32, 0.99]) == (16, 24, 64)


@pytest.mark.parametrize("wishes", [[0.5] * 2, [0.5, float("nan"), 0.5], [0.5, -0.1, 0.5]])
def test_wishes_that_cannot_be_used(wishes: list[float]) -> None:
    with pytest.raises(InputError, match=r"wishes are .*give a finite share from 0 on for each of the 3 groups"):
        project(PlanSpace(blocks(3)), wishes)


def test_what_is_not_known_is_costed_at_once() -> None:
    """A wish asks for rows of many plans; the costs of all groups' next widths come in one call."""
    asked: list[int] = []
    grid = Blocks(8, 64)
    costs = PlanCosts(grid, plain, fill=lambda layers: asked.append(len(list(layers))))  # type: ignore[arg-type]
    space = PlanSpace(costs, (Budget("macs", 0.5),))
    project(space, [0.2, 0.9, 0.5, 0.2, 0.8, 0.4, 0.1, 0.6])
    assert max(asked) >= 16
    before = len(asked)
    project(space, [0.2, 0.9, 0.5, 0.2, 0.8, 0.4, 0.1, 0.6])
    assert len(asked) == before
