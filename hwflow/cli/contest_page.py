"""What `hwflow compress` prints of a contest."""

from __future__ import annotations

from statistics import mean

from hwflow.cli.console import Page, Table, number
from hwflow.compression.contest.contest import Contest
from hwflow.compression.settings import Settings
from hwflow.reporting.compression.contest_records import read_contest
from hwflow.reporting.compression.contest_report import differences
from hwflow.reporting.page.values import spread


def contest_page(contest: Contest, settings: Settings, network: str) -> Page:
    """A table for each budget, and what failed."""
    found = read_contest(contest.folder)
    tables = []
    for budget in found.budgets:
        apart, rows = differences(found, budget), []
        whole = next((run.before for run in found.runs if run.budget == budget and run.before is not None), None)
        if whole is not None:
            rows.append(["unpruned", "-", number(100 * whole, 2), "-", "-", "-"])
        for name in found.names:
            runs = found.of(budget, name)
            if values := [run.accuracy for run in runs if run.accuracy is not None]:
                difference = apart.get(name)
                trained = mean(run.images_trained for run in runs)
                kept = "yes" if all(run.keeps for run in runs) else "no"
                told = "-" if difference is None else difference.text()
                rows.append([name, str(len(runs)), spread(values, 2), told, kept, number(trained, 0)])
        headings = [budget, "seeds", "test accuracy (%)", f"against {found.config.reference}", "in budget", "images trained"]
        tables.append(Table(headings, rows, left=frozenset({0})))
    lines = ["A ± is the standard deviation over the seeds, and for a difference its standard error."] * (
        len(found.config.seeds) > 1
    )
    lines += [f"{folder} failed: {why}" for folder, why in contest.failed.items()]
    where = f" on {found.config.accelerator}" if found.config.accelerator else ""
    return Page(f"contest of {network}{where}, budgets at {settings.levels[0]}", tables, lines)
