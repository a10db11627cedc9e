"""Figures of a search: episodes, cost and accuracy of plans, their ranks at each level, and the time spent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from statistics import mean
from typing import Any

from hwflow.reporting.page.blocks import Figure, axis, label
from hwflow.reporting.page.palette import methods
from hwflow.reporting.page.traces import LEGEND, bars, line, lines_axis, marks, upright
from hwflow.reporting.page.values import capital, number, percent
from hwflow.reporting.pruning.run_records import BudgetRecord, Candidate, Episode, Ranked

KINDS = {"costs": "@part-3", "accuracy": "@part-5", "the searches": "@part-1"}
"""What time goes into, and its colour."""


def learning_curve(episodes: Sequence[Episode], field: str, title: str, unit: str) -> Figure:
    """Every episode's accuracy or reward as a dot, the best so far as a line: of several seeds the mean, within their range."""
    data: list[dict[str, Any]] = []
    for by, colour in reversed(methods(e.by for e in episodes).items()):
        seeds = sorted({e.seed for e in episodes if e.by == by})
        data += _searched(by, colour, [[e for e in episodes if e.by == by and e.seed == seed] for seed in seeds], field, unit)
    layout = {
        "xaxis": axis("episode (plans tried)", rangemode="tozero"),
        "yaxis": axis(f"{title}{f' ({unit})' if unit else ''}"),
        "legend": LEGEND,
    }
    several = len({e.seed for e in episodes}) > 1
    spread = "the mean over seeds of the best so far, the band its range" if several else "the best so far"
    return Figure(f"{capital(title)} by episode", data, layout, f"Dots are plans; lines are {spread}.", height=400)


def _searched(by: str, colour: str, runs: Sequence[Sequence[Episode]], field: str, unit: str) -> list[dict[str, Any]]:
    """One kind of search, a run a seed: the range of the best so far, every plan, and the mean of the best so far."""
    factor = 100 if unit == "%" else 1
    best = [_best([getattr(e, field) for e in run]) for run in runs]
    numbers = [e.number for e in min(runs, key=len)]
    columns = [[factor * v for v in column if v is not None] for column in zip(*best, strict=False)]
    shared: dict[str, Any] = {"legendgroup": by, "showlegend": False}
    data = []
    if len(runs) > 1:
        low, high = ([f(c) if c else None for c in columns] for f in (min, max))
        style = {"width": 0, "color": colour, "shape": "hv"}
        data += [line(numbers, low, style, **shared)]
        data += [line(numbers, high, style, **shared, fill="tonexty", fillcolor=f"{colour}/0.18")]
    dots = [e for run in runs for e in run]
    hints = [f"{by}, seed {e.seed}, episode {e.number}: {_shown(getattr(e, field), unit)}" for e in dots]
    y = [None if (v := getattr(e, field)) is None else factor * v for e in dots]
    marker = {"color": colour, "size": 5, "opacity": 0.35}
    data.append(marks(f"{by}, each plan", [e.number for e in dots], y, hints, marker, **shared))
    means = [mean(c) if c else None for c in columns]
    hints = [
        f"{by}, best of the first {n}: {'-' if v is None else _shown(v / factor, unit)}"
        for n, v in zip(numbers, means, strict=True)
    ]
    style = {"color": colour, "width": 2.5, "shape": "hv"}
    return [*data, line(numbers, means, style, hints, name=by, legendgroup=by)]


def cost_and_accuracy(
    candidates: Sequence[Candidate], metric: str, name: str, budget: BudgetRecord | None, accuracy: str
) -> Figure:
    """Where each plan of the comparison lies between cost and accuracy."""
    data: list[dict[str, Any]] = []
    for by, colour in methods(c.by for c in candidates if metric in c.shares).items():
        found = [c for c in candidates if c.by == by and metric in c.shares]
        hints = [
            f"{by}{'' if c.seed is None else f', seed {c.seed}'}<br>{name}: {percent(c.shares[metric])} of unpruned"
            f"<br>{accuracy}: {percent(c.judged, 2)}"
            for c in found
        ]
        marker = {"color": colour, "size": 12, "symbol": _SYMBOLS.get(by, "star"), "line": {"width": 1, "color": "@panel"}}
        data.append(marks(by, [100 * c.shares[metric] for c in found], [100 * c.judged for c in found], hints, marker))
    layout: dict[str, Any] = {
        "xaxis": axis(f"{name} (% of unpruned)", rangemode="tozero"),
        "yaxis": axis(f"{accuracy}, held-out split (%)"),
        "legend": LEGEND,
    }
    if budget is not None:
        at = 100 * budget.share
        layout["shapes"] = [upright(at, {"color": "@bad", "width": 1.5, "dash": "dash"}, yref="paper")]
        layout["annotations"] = [
            {"x": at, "y": 0, "yref": "paper", "text": "budget", "showarrow": False, "xanchor": "left", "yanchor": "bottom"}
            | {"xshift": 4, "font": {"color": "@bad"}}
        ]
    return Figure(f"{capital(accuracy)} against {name}", data, layout, height=400)


_SYMBOLS = {"unpruned": "square", "uniform": "diamond", "random": "triangle-up", "agent on MACs": "x", "agent": "circle"}
"""Of the others: a star."""


def ranks(refined: Sequence[Ranked], levels: Sequence[str], accuracy: str, plan: Mapping[str, int] | None) -> Figure:
    """How the best plans' ranks moved from level to level: one line a plan, that of the applied `plan` in colour."""
    applied = _way(refined, levels, plan)
    places = range(1, max(max(row.was, row.rank) for row in refined) + 1)
    data: list[dict[str, Any]] = []
    for row in refined:
        data.append(_step(row, levels, accuracy, chosen=(row.level, row.rank) in applied))
    layout = {
        "xaxis": {
            "tickvals": list(range(len(levels))),
            "ticktext": list(levels),
            "range": [-0.15, len(levels) - 0.6],
            "showgrid": False,
            "zeroline": False,
        },
        "yaxis": axis("rank (1 is best)", tickvals=list(places), range=[places[-1] + 0.5, 0.5], zeroline=False),
    }
    note = f"Numbers are {accuracy} on the samples that the search sees. Dotted: cut to fit the budget at the next level."
    return Figure("Ranks over levels", data, layout, note, height=max(280, 120 + 34 * places[-1]))


def _step(row: Ranked, levels: Sequence[str], accuracy: str, *, chosen: bool) -> dict[str, Any]:
    """A plan's line from the level before to this one; `chosen` plans lead to the one that was applied."""
    at = levels.index(row.level)
    colour, width, size = ("@after", 4, 10) if chosen else ("@before", 2, 8)
    shares = "".join(f"<br>{label(name)}: {percent(share)}" for name, share in row.shares.items())
    hints = [
        f"rank {row.was} at {levels[at - 1]}",
        f"rank {row.rank} at {row.level}<br>{accuracy}: {percent(row.accuracy, 2)}{shares}",
    ]
    return line(
        [at - 1, at],
        [row.was, row.rank],
        {"color": colour, "width": width, "dash": "dot" if row.cut else "solid"},
        hints,
        mode="lines+markers+text",
        showlegend=False,
        text=["", f"  {percent(row.accuracy)}{', applied' if chosen and row.level == levels[-1] else ''}"],
        textposition="middle right",
        textfont={"color": "@ink"},
        cliponaxis=False,
        marker={"size": size},
    )


def time_spent(seconds: Mapping[str, float]) -> Figure:
    """Wall-clock seconds by part of the work, coloured by what they went into."""
    names = list(seconds)
    data = []
    for kind, colour in KINDS.items():
        found = [name for name in names if kind_of(name) == kind]
        texts = [f"{number(seconds[name], 3)} s" for name in found]
        own = {"text": texts, "textposition": "outside", "cliponaxis": False, "hoverinfo": "y+text", "orientation": "h"}
        y = [label(name) for name in found]
        data.append(bars(kind, [seconds[name] for name in found], y, None, {"color": colour}, **own))
    layout = {
        "barmode": "overlay",
        "xaxis": axis("wall clock (s)", rangemode="tozero"),
        "yaxis": lines_axis([label(name) for name in names]),
        "legend": LEGEND,
        "margin": {"r": 70},
    }
    return Figure("Time by part of the work", data, layout, height=120 + 36 * len(names))


def kind_of(part: str) -> str:
    """What a part of the work is about: costs, accuracy, or the searches themselves."""
    if part.startswith(("tables at ", "refining at ")):
        return "costs"
    return "accuracy" if part in ("accuracy of plans", "judging", "choosing") else "the searches"


def _way(refined: Sequence[Ranked], levels: Sequence[str], plan: Mapping[str, int] | None) -> set[tuple[str, int]]:
    """The applied plan's rank at each level, traced back from the last; up to version 0.1 it was the first there."""
    way = set()
    rank = next((row.rank for row in refined if row.level == levels[-1] and row.plan == plan), 1)
    for level in reversed(levels[1:]):
        way.add((level, rank))
        rank = next((row.was for row in refined if row.level == level and row.rank == rank), rank)
    return way


def _best(values: Sequence[float | None]) -> list[float | None]:
    """The largest so far; None before anything is known."""
    return list(accumulate(values, lambda a, b: max((v for v in (a, b) if v is not None), default=None)))


def _shown(value: float | None, unit: str) -> str:
    return percent(value, 2) if unit == "%" else number(value)
