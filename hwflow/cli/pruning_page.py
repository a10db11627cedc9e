"""What `hwflow prune` and `hwflow compress` print of a finished run: plans, costs before and after, what was applied."""

from __future__ import annotations

from collections.abc import Collection

from hwflow.cli.console import Page, Table, counted, number
from hwflow.compression.result import PruneResult
from hwflow.compression.search.comparison import PlanComparison
from hwflow.compression.settings import DECIDES, Settings
from hwflow.cost.backend import backend_of
from hwflow.metrics import BUDGETS, BY_FIELD, BY_NAME, Metric
from hwflow.results import NetworkCost, without


def _found_by(settings: Settings) -> str:
    if settings.method not in DECIDES.values():
        return f"method {settings.method}"
    what = {"bits": " for bits", "channels": "", "mixed": " for channels and bits"}[settings.method]
    return f"search{what} at {settings.levels[0]}"


def pruned_page(result: PruneResult, settings: Settings) -> Page:
    """What a finished run shows."""
    tables = []
    if result.contest is not None:
        tables.append(_comparison(result.contest, {budget.metric for budget in settings.budgets}))
    rows = []
    costed = [
        (level, result.objective if backend_of(level).maps else "-", before, after)
        for level, (before, after) in result.costs.items()
    ]
    costed += [("mid", objective, before, after) for objective, (before, after) in result.remapped.items()]
    more = [m for b in settings.budgets if (m := BY_NAME[b.metric]).heading and m not in _METRICS]
    for level, objective, before, after in costed:
        name = f"{level}{without(before.provenance)}"
        for metric in (*_METRICS, *more):
            old, new = (_scaled(cost, metric) for cost in (before, after))
            share = None if not old or new is None else 100 * new / old
            if old is not None:
                rows.append([name, objective, metric.heading, number(old, 3), number(new, 3), number(share, 1)])
    headings = ["level", "mapped for", "metric", "before", "after", "left (%)"]
    tables.append(Table(headings, rows, left=frozenset({0, 1, 2})))
    tuned = counted(len(result.tuning.epochs), "epoch")
    trained = "training from fresh weights" if settings.method in ("singlepath", "scratch") else "fine-tuning"
    lines = [
        f"Test accuracy {number(100 * result.before.accuracy, 2)} % before, {number(100 * result.after.accuracy, 2)} % after "
        f"{trained} for {tuned}, on {result.after.samples:,} images used for nothing else."
    ]
    lines += [f"{line}." for line in result.plan_lines()]
    lines += [f"{heading}: {text}." for heading, text in result.summary.items()]
    if result.measured is not None:
        lines += [f"CPU time on this machine, one image in one thread, least of several rounds: {result.measured}."]
        for level, (before, after) in result.costs.items():
            if before.latency_s and after.latency_s:
                lines[-1] += f" Modelled latency on {before.accelerator} at {level}: {after.latency_s / before.latency_s:.2f}."
        lines += _zeros(result)
    lines += [f"{level} is missing: {reason}" for level, reason in result.not_available.items()]
    if result.contest is not None:
        seconds, applied = result.contest.seconds, result.contest.applied
        lines.append(
            f"Applied: the plan of {applied.by}{'' if applied.seed is None else f', seed {applied.seed}'}, the best of "
            f"{counted(len(result.contest.finalists), 'plan')} on images that no search saw; "
            f"{number(100 * applied.judged, 2)} % on the held-out split, by which nothing was chosen."
        )
        lines.append("Time: " + ", ".join(f"{name} {number(s, 1)} s" for name, s in seconds.items()) + ".")
    budget = ", ".join(map(str, settings.budgets)) or f"none, weighing {settings.metric}"
    chip = next((before.accelerator for before, _ in result.costs.values() if before.accelerator), None)
    where = f" on {chip}" if chip else ", no accelerator"
    mapped = f", mappings for {result.objective}" if any(backend_of(name).maps for name in settings.levels) else ""
    title = f"{result.grouping.network.name}{where}, budget {budget}, {_found_by(settings)}{mapped}{settings.rules}"
    return Page(title, tables, lines)


def _zeros(result: PruneResult) -> list[str]:
    """What the costs after say of the zeros that a method has left, at each level."""
    told: dict[str, list[str]] = {}
    for level, (_, after) in result.costs.items():
        for note in dict.fromkeys(row.note for row in after.rows if row.note):
            told.setdefault(note, []).append(level)
    return [f"Zeros after, at {' and '.join(levels)}: {note}." for note, levels in told.items()]


_METRICS = tuple(BY_FIELD[field] for field in ("energy_pj", "energy_normalized", "latency_s", "macs", "params"))


def _scaled(cost: NetworkCost, metric: Metric) -> float | None:
    value = getattr(cost, metric.field)
    return None if value is None else value * metric.factor


def _comparison(contest: PlanComparison, asked: Collection[str]) -> Table:
    shown = [name for name in BUDGETS if BY_NAME[name].compared or name in asked]
    names = [name for name in shown if name in contest.candidates[0].shares]
    rows = [
        [
            c.by if c.seed is None else f"{c.by}, seed {c.seed}",
            number(100 * c.searched, 2),
            number(100 * c.judged, 2),
            *(number(100 * c.shares[name], 1) for name in names),
            "yes" if c.keeps_budget else "no",
            str(c.evaluations),
        ]
        for c in contest.candidates
    ]
    headings = ["plan", "search split (%)", "held-out split (%)", *(f"{name} (%)" for name in names), "in budget", "tried"]
    return Table(headings, rows, left=frozenset({0}))
