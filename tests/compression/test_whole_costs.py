"""Costs of plans whose tensors may stay on the chip: those of estimates, and bounds and optima that are true."""

from __future__ import annotations

import functools
import itertools
import json
import random
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import hwflow
from hwflow.cli.pruning_page import pruned_page
from hwflow.compression.budget import Budget
from hwflow.compression.channels.discovery import find_groups
from hwflow.compression.channels.groups import Grouping, Widths
from hwflow.compression.channels.plan_tables import PlanTables
from hwflow.compression.level_costs import LevelCosts
from hwflow.compression.plan_costs import PlanTotals
from hwflow.compression.search.comparison import Splits, compare
from hwflow.compression.search.environment import PruningEnv
from hwflow.compression.search.planner import Planner
from hwflow.compression.settings import Settings
from hwflow.compression.whole_costs import WholePlanCosts
from hwflow.cost.assignment import value_of
from hwflow.datasets import load_data
from hwflow.errors import HwflowError, InputError
from hwflow.hardware.accelerator import Accelerator
from hwflow.reporting import write_report
from hwflow.types import Activations, Latency, Objective, Operators
from tests.compression import nets
from tests.compression.test_prune import SETTINGS, Small

SHAPE = (1, 3, 4, 4)


class Branches(nn.Module):
    """A branch that is kept alive beside others, a sum, a concatenation and a pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d = nets.conv(3, 16), nets.conv(16, 8), nets.conv(8, 8), nets.conv(24, 16)
        self.head = nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        early = self.a(x).relu()
        joined = torch.cat([early, self.c(y := self.b(early).relu()) + y], 1)
        return self.head(self.d(joined).relu().mean((2, 3)))


@dataclass(frozen=True)
class Case:
    """A chip so small that not everything stays, and what is asked of it."""

    chip: Accelerator
    settings: Settings
    grouping: Grouping

    @property
    def costs(self) -> PlanTotals:
        levels = LevelCosts(self.chip, self.settings, store=True, notify=None, progress=None)
        return PlanTables(self.grouping, levels).at("mid")

    def estimate(self, widths: Widths) -> hwflow.NetworkCost:
        plan = {group.name: width for group, width in zip(self.grouping.groups, widths, strict=True)}
        return hwflow.estimate(self.grouping.network_for(plan), self.chip, options=self.settings.cost_options("mid"))


_CHIPS: dict[str, dict[str, float]] = {
    "eyeriss": {"global_buffer.size_kib": 1},
    "shidiannao_like": {"nb_in.size_kib": 0.5, "nb_out.size_kib": 0.5},
}


def case_of(
    chip: str,
    objective: Objective,
    activations: Activations,
    operators: Operators,
    latency: Latency = "overlap",
    *,
    round_to: int = 4,
) -> Case:
    settings = Settings(objective=objective, activations=activations, operators=operators, latency=latency, energy="normalized")
    return Case(Accelerator.load(chip).with_(_CHIPS[chip]), settings, groups_of(round_to))


@functools.cache
def groups_of(round_to: int) -> Grouping:
    return find_groups(Branches(), SHAPE, streams=True, round_to=round_to)


_CASES: list[tuple[str, Objective, Activations, Operators, Latency]] = [
    ("eyeriss", "energy", "resident", "all", "overlap"),
    ("eyeriss", "latency", "resident", "mac", "with_fill"),
    ("shidiannao_like", "edp", "resident", "mac", "overlap"),
    ("eyeriss", "edp", "dram", "all", "with_fill"),
]


@pytest.mark.parametrize(("chip", "objective", "activations", "operators", "latency"), _CASES)
def test_plans_cost_what_estimates_of_their_networks_say(
    chip: str, objective: Objective, activations: Activations, operators: Operators, latency: Latency
) -> None:
    case = case_of(chip, objective, activations, operators, latency)
    costs, numbers = case.costs, random.Random(0)
    assert isinstance(costs, WholePlanCosts)
    plans = [costs.full, tuple(group.widths[0] for group in costs.groups)]
    plans += [tuple(numbers.choice(group.widths) for group in costs.groups) for _ in range(2)]
    totals, bounds = costs.totals_of(plans), costs.bounds_of(plans)
    stayed = set()
    for widths, own, bound in zip(plans, totals, bounds, strict=True):
        found = case.estimate(widths)
        expected = [
            found.energy_normalized,
            found.latency_s,
            found.macs,
            sum(row.layer.params for row in found.rows),
            found.dram_bytes,
        ]
        assert own[:5] == pytest.approx(expected, rel=1e-12)
        assert costs.confirmed(widths) == pytest.approx(own, rel=1e-12)
        assert own[5] == found.peak_activation_bytes
        assert (bound[:5] <= own[:5] * (1 + 1e-12)).all()
        stayed.add(len(found.occupancy.stayed) if found.occupancy else 0)
    if activations == "resident":
        assert len(stayed) > 1  # not the same in all plans
        rows = costs.rows(costs.full)
        assert rows[:, 1] == pytest.approx([row.latency_s for row in case.estimate(costs.full).rows])


def test_what_a_plan_costs_does_not_depend_on_the_plans_before() -> None:
    case, numbers = case_of("eyeriss", "energy", "resident", "mac"), random.Random(1)
    plans = [tuple(numbers.choice(group.widths) for group in case.grouping.groups) for _ in range(3)]
    forwards, backwards = case.costs.totals_of(plans), case.costs.totals_of(plans[::-1])[::-1]
    assert (forwards == backwards).all()


def test_a_fixed_choice_of_what_stays_is_an_upper_bound() -> None:
    case, numbers = case_of("eyeriss", "energy", "resident", "mac"), random.Random(2)
    costs = case.costs
    plans = [tuple(numbers.choice(group.widths) for group in costs.groups) for _ in range(3)]
    fixed, energies = costs.fixed(plans[0]), costs.totals_of(plans)[:, 0]
    assert fixed is not None
    sums = np.sum([fixed.row(row, plans)[:, 0] for row in range(len(fixed.dependence))], axis=0)
    assert sums[0] == pytest.approx(energies[0], rel=1e-12)
    assert (sums >= energies * (1 - 1e-12)).all()


@pytest.mark.parametrize(("metric", "share"), [("energy", 0.5), ("latency", 0.6), ("edp", 0.4)])
def test_the_planner_finds_what_trying_every_plan_finds(metric: str, share: float) -> None:
    case = case_of("eyeriss", metric, "resident", "mac", round_to=8)  # type: ignore[arg-type]
    env = PruningEnv(case.costs, lambda plan: 0.5, (Budget(metric, share),))
    groups = env.costs.groups
    for seed in range(3):
        numbers = np.random.default_rng(seed)
        losses = [np.sort(numbers.uniform(0, 1, len(group.widths)))[::-1] for group in groups]
        planned = Planner(env, gap=0).plan(losses)
        known = {
            widths: sum(float(loss[g.widths.index(w)] - loss.min()) for loss, g, w in zip(losses, groups, widths, strict=True))
            for widths in itertools.product(*(group.widths for group in groups))
            if env.space.fits(widths)
        }
        assert planned.bound <= min(known.values()) + 1e-9
        assert planned.loss >= min(known.values()) - 1e-9
        assert planned.loss == pytest.approx(known[tuple(planned.choice.values())])
        cost = case.estimate(tuple(planned.choice.values()))
        whole = case.estimate(env.costs.full)
        values = [value_of(one.energy_normalized or 0, one.latency_s or 0, metric) for one in (cost, whole)]  # type: ignore[arg-type]
        assert values[0] <= share * values[1] * (1 + 1e-9)
        if planned.gap == 0:
            assert planned.loss == pytest.approx(min(known.values()), abs=1e-9)


@pytest.mark.slow
def test_a_run_keeps_budgets_of_the_unpruned_network_under_the_same_rules(tmp_path: Path) -> None:
    torch.manual_seed(0)
    told: list[str] = []
    model, data = Small().eval(), load_data("digits")
    budgets = (Budget("energy", 0.6), Budget("latency", 0.7))
    asked = replace(SETTINGS, levels=("mid",), budgets=budgets, activations="resident", operators="all", searcher="exact")
    result = hwflow.prune(model, data, "eyeriss", settings=asked, output=tmp_path / "run", progress=False, notify=told.append)
    options = asked.cost_options("mid")
    before = hwflow.estimate(result.grouping.network, "eyeriss", options=options)
    after = hwflow.estimate(result.grouping.network_for(result.plan), "eyeriss", options=options)
    assert (result.costs["mid"][0].energy_pj, result.costs["mid"][1].energy_pj) == (before.energy_pj, after.energy_pj)
    assert (after.energy_pj or 0) <= 0.6 * (before.energy_pj or 0)
    assert (after.latency_s or 0) <= 0.7 * (before.latency_s or 0)
    assert before.energy_pj != hwflow.estimate(result.grouping.network, "eyeriss").energy_pj
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (config["settings"]["activations"], config["settings"]["operators"]) == ("resident", "all")
    assert ", activations resident, operators all" in pruned_page(result, asked).title
    report = (tmp_path / "run" / "report.html").read_text()
    assert "tensors between layers may stay on the chip (activations resident)" in report
    assert "Between the layers" in report
    assert "Operators beside the layers" in report
    file = tmp_path / "run" / "costs.json"
    content = json.loads(file.read_text())
    content["mid"]["before"]["totals"]["latency_s"] = 1.0
    file.write_text(json.dumps(content))
    with pytest.raises(InputError, match="the layers' and operators' sum is"):
        write_report(tmp_path / "run")


def test_usual_rules_are_not_written_and_begin_no_other_run() -> None:
    assert not {"activations", "operators", "latency"} & set(Settings().to_data())
    assert Settings().rules == ""
    assert Settings(activations="resident").to_data()["activations"] == "resident"
    assert Settings(activations="resident", latency="with_fill").rules == ", activations resident, latency with_fill"


def test_no_plan_is_applied_that_an_estimate_finds_above_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mapping search is no exhaustive one: in less room it may find what it missed in more."""
    case, splits = case_of("eyeriss", "energy", "resident", "mac"), Splits(*3 * [_Half()])  # type: ignore[arg-type]
    monkeypatch.setattr(WholePlanCosts, "confirmed", lambda self, widths: self.totals(self.full))
    settings = replace(case.settings, searcher="uniform", episodes=1, baselines="none")
    with pytest.raises(HwflowError, match=r"keeps the budget energy=0\.5 by the costs of its operations.*--effort 2"):
        compare(settings, lambda level: case.costs, splits)


class _Half:
    """Every plan is right half of the time."""

    seconds = 0.0

    def __call__(self, plan: dict[str, int]) -> float:
        return 0.5


def test_bad_input_is_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"activations \(--activations\) is 'resident', which changes nothing at level coarse"):
        Settings(levels=("coarse",), activations="resident")
    with pytest.raises(InputError, match=r"latency \(--latency\) is 'with_fill', which changes nothing at level coarse"):
        Settings(levels=("coarse",), latency="with_fill")
    with pytest.raises(InputError, match=r"activations 'on' .*dram, resident|no activations 'on'|activations.*'on'"):
        Settings(activations="on")  # type: ignore[arg-type]
    case = case_of("eyeriss", "energy", "resident", "mac", round_to=8)
    lost = replace(case.grouping, network=replace(case.grouping.network, graph=None), tensor_steps=())
    with pytest.raises(InputError, match=r"activations is 'resident'.*could not be followed.*Use 'dram' and 'mac'"):
        assert replace(case, grouping=lost).costs
    costs = case.costs
    assert isinstance(costs, WholePlanCosts)
    costs._table.judged = True
    with pytest.raises(InputError, match=r"exact planner cannot plan at mid.*--levels mid,fine"):
        costs.relaxed()


def test_word_widths_and_executions_are_not_decided_beside_it() -> None:
    case = case_of("eyeriss", "energy", "resident", "mac", round_to=8)
    levels = LevelCosts(case.chip, case.settings, store=True, notify=None, progress=None)
    decided = SimpleNamespace(network=case.grouping.network)
    with pytest.raises(InputError, match=r"activations is 'resident'.*word widths are decided, too.*Decide channels alone"):
        PlanTables(decided, levels, activations=lambda bits: None).at("mid")  # type: ignore[arg-type, return-value]
    with pytest.raises(InputError, match=r"execution is 'im2col' beside activations 'resident'.*Leave out execution"):
        assert replace(case, settings=replace(case.settings, execution="im2col")).costs
