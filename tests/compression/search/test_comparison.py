"""What is applied: the best plan of all seeds and baselines, chosen on samples that no search saw."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from hwflow.cli.prune import SEARCHES, SEARCHING
from hwflow.compression.budget import Budget
from hwflow.compression.plan_costs import PlanCosts
from hwflow.compression.search.baselines import uniform_plan
from hwflow.compression.search.comparison import PlanComparison, Splits, compare, searches_of
from hwflow.compression.search.ddpg import Hyperparameters
from hwflow.compression.search.environment import PruningEnv
from hwflow.compression.search.registry import SEARCHERS, searcher_named
from hwflow.compression.settings import DECIDES, Settings
from hwflow.errors import InputError
from tests.compression.toys import Blocks, chain_costs, plain, ragged

SETTINGS = Settings(
    levels=("coarse",),
    budgets=(Budget("macs", 0.4),),
    episodes=5,
    seeds=(0, 1),
    agent=Hyperparameters(hidden=4, updates=1, imagined=2),
    keep=4,
)
COSTS = PlanCosts(Blocks(6, 64), plain)  # type: ignore[arg-type]


class Rigged:
    """As `hwflow.compression.accuracy.Proxy`."""

    seconds = 0.0

    def __init__(self, accuracy: Callable[[dict[str, int]], float]) -> None:
        self.accuracy, self.asked = accuracy, list[dict[str, int]]()

    def __call__(self, plan: dict[str, int]) -> float:
        self.asked.append(plan)
        return self.accuracy(plan)


def flat(plan: dict[str, int]) -> float:
    return 0.5


def run(settings: Settings, search: Any = flat, choice: Any = flat, held_out: Any = flat, **more: Any) -> PlanComparison:
    splits = Splits(Rigged(search), Rigged(choice), Rigged(held_out))  # type: ignore[arg-type]
    return compare(settings, more.pop("costs_at", lambda level: COSTS), splits, **more)


def plans_of(seed: int) -> list[dict[str, int]]:
    """What the agent of a seed tries, whatever the accuracies, since it draws at random at first."""
    tried: list[dict[str, int]] = []
    run(
        replace(SETTINGS, seeds=(seed,), episodes=3),
        on_episode=lambda by, of, episode: tried.append(episode.plan),
        search=lambda plan: 0.5,
    )
    return tried


def test_the_best_plan_of_all_seeds_is_applied() -> None:
    good = plans_of(1)[0]
    found = run(SETTINGS, lambda plan: 0.9 if plan == good else 0.5, lambda plan: 0.8 if plan == good else 0.5)
    assert (found.applied.by, found.applied.seed, found.plan) == ("agent", 1, good)
    assert (found.applied.searched, found.applied.chosen, found.applied.judged) == (0.9, 0.8, 0.5)


def test_a_baseline_that_is_better_is_applied() -> None:
    env = PruningEnv(COSTS, flat, SETTINGS.budgets)
    uniform = uniform_plan(env)

    def accuracy(plan: dict[str, int]) -> float:
        return 0.9 if plan == uniform else 0.5

    found = run(SETTINGS, accuracy, accuracy)
    assert (found.applied.by, found.applied.seed, found.plan) == ("uniform", None, uniform)
    without = run(replace(SETTINGS, baselines="none"), accuracy, accuracy)
    assert {finalist.by for finalist in without.finalists} == {"agent"}
    assert without.plan != uniform


def test_a_network_with_one_group_has_all_baselines_that_need_no_other() -> None:
    alone = PlanCosts(Blocks(1, 64), plain)  # type: ignore[arg-type]
    asked = replace(SETTINGS, seeds=(0,), episodes=2, baselines="all", budgets=(Budget("macs", 0.6),))
    scores = {group.name: [float(i) for i in range(group.channels)] for group in alone.groups}
    found = run(asked, costs_at=lambda level: alone, scores=scores)
    sources = {candidate.by for candidate in found.candidates}
    assert {"agent", "exact", "global", "greedy"} <= sources
    assert "legr" not in sources
    with pytest.raises(InputError, match="LeGR compares groups with one another, and this problem has one"):
        run(replace(asked, searcher="legr"), costs_at=lambda level: alone, scores=scores)


def test_the_choice_is_made_on_samples_that_no_search_saw() -> None:
    """The search's favourite is not the choice's: the latter is applied, if the search has it among its best few."""
    first, second = plans_of(0)[:2]
    search = {tuple(first.values()): 0.9, tuple(second.values()): 0.8}
    choice = {tuple(first.values()): 0.6, tuple(second.values()): 0.7}
    found = run(
        SETTINGS, lambda plan: search.get(tuple(plan.values()), 0.5), lambda plan: choice.get(tuple(plan.values()), 0.5)
    )
    assert found.plan == second
    assert [finalist.chosen for finalist in found.finalists] == [0.7, 0.6, 0.5, 0.5]
    assert len({tuple(finalist.plan.values()) for finalist in found.finalists}) == SETTINGS.keep
    alone = run(
        replace(SETTINGS, keep=1),
        lambda plan: search.get(tuple(plan.values()), 0.5),
        lambda plan: choice.get(tuple(plan.values()), 0.5),
    )
    assert alone.plan == first


def test_nothing_is_chosen_by_what_is_reported() -> None:
    """Searches see one split only, the choice another; the third changes no decision."""
    asked = [Rigged(flat), Rigged(flat), Rigged(flat)]
    first = compare(SETTINGS, lambda level: COSTS, Splits(*asked))  # type: ignore[arg-type]
    assert asked[1].asked != [] != asked[2].asked
    assert {tuple(plan.values()) for plan in asked[1].asked} == {tuple(f.plan.values()) for f in first.finalists}
    numbers = iter(range(1000))
    assert run(SETTINGS, held_out=lambda plan: next(numbers) / 1000).plan == first.plan


def test_what_exceeds_the_budgets_is_not_applied() -> None:
    """Plans of the agent on MACs can be dearer than the budget allows: they are compared, and never the choice's."""
    settings = replace(SETTINGS, budgets=(Budget("energy", 0.5),), baselines="all")
    costs = chain_costs((64,) * 6, ragged)
    found = run(settings, lambda plan: sum(plan.values()) / 1000, costs_at=lambda level: costs)
    env = PruningEnv(costs, flat, settings.budgets)
    over = [candidate for candidate in found.candidates if not candidate.keeps_budget]
    assert {candidate.by for candidate in over} == {"unpruned", "agent on MACs"}
    assert all(env.affordable(finalist.plan) for finalist in found.finalists)


def test_plans_are_fitted_to_the_budgets_of_a_further_level() -> None:
    """Dearer there: they are cut. Cheaper there: they are filled up."""
    levels = {"coarse": chain_costs((64,) * 6), "mid": chain_costs((64,) * 6, ragged)}
    settings = replace(SETTINGS, levels=("coarse", "mid"), budgets=(Budget("energy", 0.5),))
    found = run(settings, costs_at=levels.__getitem__)
    env = PruningEnv(levels["mid"], flat, settings.budgets)
    assert [row.rank for row in found.refined] == list(range(1, len(found.refined) + 1))
    assert found.plan in [row.plan for row in found.refined]
    for row in found.refined:
        assert env.affordable(row.plan)
        assert row.shares["energy"] > 0.4


def test_a_plan_that_comes_back_counts_once() -> None:
    found = run(replace(SETTINGS, searcher="uniform"))
    assert [(c.by, c.seed, c.evaluations) for c in found.candidates] == [
        ("unpruned", None, 0),
        ("uniform", 0, 1),
        ("uniform", 1, 1),
    ]


def test_the_command_names_all_searchers() -> None:
    assert {searcher_named(name) for name in SEARCHES} == set(SEARCHERS)
    assert list(SEARCHES) == sorted(SEARCHES)
    assert list(SEARCHING) == sorted(DECIDES.values())


def test_baselines_are_other_searchers() -> None:
    assert searches_of(SETTINGS) == searches_of(replace(SETTINGS, baselines="none")) == ("agent",)
    every = searches_of(replace(SETTINGS, baselines="all", budgets=(Budget("energy", 0.5),)))
    assert every[0] == "agent"
    assert every[-1] == "agent on MACs"
    assert set(every[1:-1]) <= set(SEARCHERS) - {"ddpg", "uniform"}
    assert "agent on MACs" not in searches_of(replace(SETTINGS, baselines="all"))
    assert searches_of(replace(SETTINGS, searcher="random", baselines="all"))[0] == "random"


@pytest.mark.parametrize("budgets", [(), (Budget("macs", 0.5), Budget("params", 0.6))])
def test_it_runs_with_all_baselines_whatever_the_budgets(budgets: tuple[Budget, ...]) -> None:
    settings = replace(SETTINGS, budgets=budgets, baselines="all", seeds=(0,), episodes=3)
    found = run(settings, lambda plan: sum(plan.values()) / 1000)
    assert [candidate.by for candidate in found.candidates][-1] == "agent"
    assert all(candidate.evaluations <= 3 for candidate in found.candidates)


def test_what_a_search_found_out_beside_its_plans_is_told_by_search() -> None:
    scores = {group.name: [float(1 + unit) for unit in range(group.channels)] for group in COSTS.groups}
    exact = run(replace(SETTINGS, searcher="exact", seeds=(1,)), scores=scores).outcomes["exact, seed 1"]
    assert exact.data["solved"] == 3  # of five plans, one is uniform and one the global cut
    assert exact.data["gap"] <= 0.005
    assert "3 plans were optimal" in exact.note
    found = run(replace(SETTINGS, searcher="legr"), scores=scores).outcomes
    assert list(found) == ["legr, seed 0", "legr, seed 1"]
    assert set(found["legr, seed 0"].data["ranking"]["alpha"]) == set(scores)
    assert run(replace(SETTINGS, searcher="random")).outcomes == {}
