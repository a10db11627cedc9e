"""Totals of a run by metric: values with units, shares of the uncompressed network's, and whether budgets hold."""

from __future__ import annotations

from hwflow.metrics import BY_NAME, REPORTED, SLACK
from hwflow.reporting.estimates.layer_rows import energy_of
from hwflow.reporting.pruning.cost_details import Known
from hwflow.reporting.pruning.run_records import BudgetRecord, Run, Totals
from hwflow.results import LevelName

NAMES = {name: BY_NAME[name].label for name in REPORTED}
"""What a report shows, and what it calls it."""


def compared(run: Run) -> list[str]:
    """The metrics that tables comparing plans show: the usual ones, and those that the budget or the reward names."""
    settings = run.config.settings
    asked = {settings.metric, *(budget.metric for budget in settings.budgets)}
    return [name for name in NAMES if BY_NAME[name].compared or name in asked]


def accuracy_of(run: Run) -> str:
    """What the run's score is called."""
    return "mean IoU" if run.config.task == "segmentation" else "accuracy"


def sides(run: Run, level: LevelName, metric: str) -> list[tuple[Known, str]]:
    """A metric before and after, each with its unit."""
    return [value_of(totals, metric) for totals in totals_at(run, level)]


def share(run: Run, level: LevelName, metric: str) -> float | None:
    """What is left of a metric; None where it is not known."""
    (before, _), (after, _) = sides(run, level, metric)
    return None if before is None or after is None or not before else after / before


def holds(left: float | None, budget: BudgetRecord) -> bool | None:
    """Whether this share keeps a budget; None where it is not known."""
    return None if left is None else left <= budget.share * (1 + SLACK)


def totals_at(run: Run, level: LevelName) -> tuple[Totals, Totals]:
    """Before and after, at a level that answered."""
    before, after = run.metrics.before.at(level), run.metrics.after.at(level)
    assert before is not None
    assert after is not None
    return before, after


def mark(good: bool | None) -> str:
    """How a tile or a cell with this answer looks."""
    return {True: "good", False: "bad", None: ""}[good]


def value_of(totals: Totals, metric: str) -> tuple[Known, str]:
    """One metric with its unit."""
    if metric == "energy":
        return energy_of(totals.energy_pj, totals.energy_normalized)
    if metric == "edp":
        energy, unit = value_of(totals, "energy")
        return (None if energy is None or totals.latency_s is None else energy * totals.latency_s), f"{unit} s"
    found = BY_NAME[metric]
    return totals.of(found.field), found.unit
