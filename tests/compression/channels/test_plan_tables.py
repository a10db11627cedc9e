"""Costs of plans: what a search asks for is known before it begins, and who asks for a few plans waits for these only."""

from __future__ import annotations

import numpy as np
import pytest

from hwflow.compression.budget import Budget
from hwflow.compression.channels import plan_tables
from hwflow.compression.channels.discovery import find_groups
from hwflow.compression.channels.groups import Grouping
from hwflow.compression.channels.plan_tables import PlanTables
from hwflow.compression.level_costs import LevelCosts
from hwflow.compression.search.baselines import uniform_plan
from hwflow.compression.search.environment import PruningEnv
from hwflow.compression.settings import Settings
from hwflow.network.load import load_module

BUDGETS = (Budget("energy", 0.5),)
told: list[str] = []
shown: list[tuple[int, int]] = []


@pytest.fixture(scope="module")
def grouping() -> Grouping:
    return find_groups(load_module("resnet20", num_classes=10, in_channels=3), (1, 3, 8, 8), streams=True, round_to=2)


@pytest.fixture
def tables(grouping: Grouping) -> PlanTables:
    told.clear()
    shown.clear()
    costs = LevelCosts(
        None,
        Settings(levels=("coarse",), budgets=BUDGETS),
        store=False,
        notify=told.append,
        progress=lambda done, total, text: shown.append((done, total)),
    )
    return PlanTables(grouping, costs)


def test_a_search_finds_all_shapes_costed(tables: PlanTables) -> None:
    tables.fill("coarse")
    known = len(tables.tables["coarse"])
    env = PruningEnv(tables.at("coarse"), lambda plan: 0.5, BUDGETS)
    numbers = np.random.default_rng(0)
    for _ in range(10):
        env.project(list(numbers.uniform(0, 1, len(env.costs.groups))))
    assert len(tables.tables["coarse"]) == known
    assert told == []
    assert tables.seconds["coarse"] > 0


def test_without_a_search_only_what_is_asked_for_is_costed(tables: PlanTables) -> None:
    """The environment asks for two plans, and a uniform plan for a few: not for all widths of each group."""
    env = PruningEnv(tables.at("coarse"), lambda plan: 0.5, BUDGETS)
    first = len(tables.tables["coarse"])
    assert first <= 2 * len(env.costs.layers(env.costs.full))
    uniform_plan(env)
    few = len(tables.tables["coarse"])
    tables.fill("coarse")
    assert first < few < len(tables.tables["coarse"]) / 2


def test_what_is_missing_is_costed_in_one_go(tables: PlanTables, monkeypatch: pytest.MonkeyPatch) -> None:
    costs, asked = tables.at("coarse"), list[int]()
    table, fill = tables.tables["coarse"], tables.tables["coarse"].fill
    monkeypatch.setattr(table, "fill", lambda layers, progress=None: asked.append(len(found := list(layers))) or fill(found))
    costs.totals_of([costs.full, tuple(group.widths[0] for group in costs.groups)])
    assert len(asked) == 1
    assert asked[0] > len(costs.layers(costs.full))


def test_where_there_are_too_many_that_is_said(tables: PlanTables, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_tables, "_MOST", 20)
    tables.fill("coarse")
    assert len(tables.tables["coarse"]) == 0
    assert "have more than 20 sizes at the widths that plans can have: at coarse these are costed as" in told[0]
    assert "A larger --round-to leaves fewer." in told[0]
    env = PruningEnv(tables.at("coarse"), lambda plan: 0.5, BUDGETS)
    assert env.affordable(uniform_plan(env))
