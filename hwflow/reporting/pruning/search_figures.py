"""Figures of a search: its episodes, what its plans cost and are worth, how levels rank them, and where the time went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate, chain
from statistics import mean
from typing import Any

from hwflow.reporting.page.blocks import Figure, axis, label
from hwflow.reporting.page.palette import METHODS
from hwflow.reporting.page.traces import LEGEND, line, lines_axis, marks, upright
from hwflow.reporting.page.values import capital, number, percent
from hwflow.reporting.pruning.run_records import BudgetRecord, Candidate, Episode, Ranked

SEARCHES = ("agent", "random", "agent on MACs")
KINDS = {"costs": "@part-3", "accuracy": "@part-5", "the agent": "@part-1"}
"""What time goes into, and its colour."""


def learning_curve(episodes: Sequence[Episode], field: str, title: str, unit: str) -> Figure:
    """Every episode's accuracy or reward as a dot, the best so far as a line: of several seeds the mean, within their range."""
    searches = [name for name in SEARCHES if any(e.by == name for e in episodes)]
    data = [trace for by in searches for trace in _search([e for e in episodes if e.by == by], field, unit)]
    layout = {
        "xaxis": axis("episode (plans tried)", rangemode="tozero"),
        "yaxis": axis(f"{title}{f' ({unit})' if unit else ''}"),
        "legend": LEGEND,
    }
    several = len({e.seed for e in episodes}) > 1
    spread = "the mean over seeds of the best so far, the band its range" if several else "the best so far"
    return Figure(f"{capital(title)} by episode", data, layout, f"Dots are plans; lines are {spread}.", height=400)


def _search(dots: Sequence[Episode], field: str, unit: str) -> list[dict[str, Any]]:
    """One search: its plans, the best so far and, of several seeds, the band."""
    by, factor = dots[0].by, 100 if unit == "%" else 1
    runs = [[e for e in dots if e.seed == seed] for seed in sorted({e.seed for e in dots})]
    numbers, columns = [e.number for e in min(runs, key=len)], _columns(runs, field, factor)
    hidden = {"legendgroup": by, "showlegend": False}
    middle = [mean(c) if c else None for c in columns]
    told = [f"{by}, best of the first {n}: {_best_text(v, factor, unit)}" for n, v in zip(numbers, middle, strict=True)]
    style = {"color": METHODS[by], "width": 2.5, "shape": "hv"}
    band = _band(numbers, columns, METHODS[by], hidden) if len(runs) > 1 else []
    plans = _plans(list(chain.from_iterable(runs)), field, unit, factor, hidden)
    return [*band, plans, line(numbers, middle, style, told, name=by, legendgroup=by)]


def _columns(runs: Sequence[Sequence[Episode]], field: str, factor: int) -> list[list[float]]:
    """For each episode that all runs have, the best so far of those in which anything is known."""
    best = [_best([_scaled(getattr(e, field), factor) for e in run]) for run in runs]
    return [[v for v in column if v is not None] for column in zip(*best, strict=False)]


def _plans(dots: Sequence[Episode], field: str, unit: str, factor: int, hidden: Mapping[str, Any]) -> dict[str, Any]:
    """Every plan of a search as a dot."""
    by, values = dots[0].by, [getattr(e, field) for e in dots]
    hints = [f"{by}, seed {e.seed}, episode {e.number}: {_shown(v, unit)}" for e, v in zip(dots, values, strict=True)]
    y = [_scaled(value, factor) for value in values]
    marker = {"color": METHODS[by], "size": 5, "opacity": 0.35}
    return marks(f"{by}, each plan", [e.number for e in dots], y, hints, marker, **hidden)


def _scaled(value: float | None, factor: int) -> float | None:
    return None if value is None else factor * value


def _band(
    numbers: Sequence[int], columns: Sequence[Sequence[float]], colour: str, hidden: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The range over seeds, as two lines without width and what is between them."""
    style = {"width": 0, "color": colour, "shape": "hv"}
    low, high = ([end(c) if c else None for c in columns] for end in (min, max))
    between = {"fill": "tonexty", "fillcolor": f"{colour}/0.18"}
    return [line(numbers, low, style, **hidden), line(numbers, high, style, **hidden, **between)]


def _best_text(value: float | None, factor: int, unit: str) -> str:
    return "-" if value is None else _shown(value / factor, unit)


def cost_and_accuracy(
    candidates: Sequence[Candidate], metric: str, name: str, budget: BudgetRecord | None, accuracy: str
) -> Figure:
    """Where each plan of the comparison lies between cost and accuracy."""
    known = [c for c in candidates if metric in c.shares]
    data: list[dict[str, Any]] = []
    for by in (name for name in METHODS if any(c.by == name for c in known)):
        found = [c for c in known if c.by == by]
        data.append(_plans_of(by, found, metric, name, accuracy))
    layout: dict[str, Any] = {
        "xaxis": axis(f"{name} (% of unpruned)", rangemode="tozero"),
        "yaxis": axis(f"{accuracy}, judged (%)"),
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


def _plans_of(by: str, found: Sequence[Candidate], metric: str, name: str, accuracy: str) -> dict[str, Any]:
    """One method's plans between cost and accuracy."""
    hints = [
        f"{by}{_seed_text(c)}<br>{name}: {percent(c.shares[metric])} of unpruned<br>{accuracy}: {percent(c.judged, 2)}"
        for c in found
    ]
    marker = {"color": METHODS[by], "size": 12, "symbol": _SYMBOLS[by], "line": {"width": 1, "color": "@panel"}}
    return marks(by, [100 * c.shares[metric] for c in found], [100 * c.judged for c in found], hints, marker)


def _seed_text(candidate: Candidate) -> str:
    return "" if candidate.seed is None else f", seed {candidate.seed}"


_SYMBOLS = {"unpruned": "square", "uniform": "diamond", "random": "triangle-up", "agent on MACs": "x", "agent": "circle"}


def ranks(refined: Sequence[Ranked], levels: Sequence[str], accuracy: str) -> Figure:
    """How the best plans' ranks moved from level to level: one line a plan, the applied one's in colour."""
    applied = _way(refined, levels)
    places = range(1, max(max(row.was, row.rank) for row in refined) + 1)
    data: list[dict[str, Any]] = []
    for row in refined:
        at = levels.index(row.level)
        chosen = (row.level, row.rank) in applied
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers+text",
                "showlegend": False,
                "x": [at - 1, at],
                "y": [row.was, row.rank],
                "text": ["", f"  {percent(row.accuracy)}{', applied' if chosen and row.level == levels[-1] else ''}"],
                "textposition": "middle right",
                "textfont": {"color": "@ink"},
                "cliponaxis": False,
                "line": {
                    "color": "@after" if chosen else "@before",
                    "width": 4 if chosen else 2,
                    "dash": "dot" if row.cut else "solid",
                },
                "marker": {"size": 10 if chosen else 8},
                "hovertext": [
                    f"rank {row.was} at {levels[at - 1]}",
                    f"rank {row.rank} at {row.level}<br>{accuracy}: {percent(row.accuracy, 2)}"
                    + "".join(f"<br>{label(name)}: {percent(share)}" for name, share in row.shares.items()),
                ],
                "hoverinfo": "text",
            }
        )
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


def time_spent(seconds: Mapping[str, float]) -> Figure:
    """Wall-clock seconds by part of the work, coloured by what they went into."""
    names = list(seconds)
    data = []
    for kind, colour in KINDS.items():
        found = [name for name in names if kind_of(name) == kind]
        data.append(
            {
                "type": "bar",
                "orientation": "h",
                "name": kind,
                "y": [label(name) for name in found],
                "x": [seconds[name] for name in found],
                "text": [f"{number(seconds[name], 3)} s" for name in found],
                "textposition": "outside",
                "cliponaxis": False,
                "hoverinfo": "y+text",
                "marker": {"color": colour},
            }
        )
    layout = {
        "barmode": "overlay",
        "xaxis": axis("wall clock (s)", rangemode="tozero"),
        "yaxis": lines_axis([label(name) for name in names]),
        "legend": LEGEND,
        "margin": {"r": 70},
    }
    return Figure("Time by part of the work", data, layout, height=120 + 36 * len(names))


def kind_of(part: str) -> str:
    """What a part of the work is about: costs, accuracy, or the agent itself."""
    if part.startswith(("tables at ", "refining at ")):
        return "costs"
    return "accuracy" if part in ("accuracy of plans", "judging") else "the agent"


def _way(refined: Sequence[Ranked], levels: Sequence[str]) -> set[tuple[str, int]]:
    """The applied plan's rank at each level, traced back from the last."""
    way, rank = set(), 1
    for level in reversed(levels[1:]):
        way.add((level, rank))
        rank = next((row.was for row in refined if row.level == level and row.rank == rank), rank)
    return way


def _best(values: Sequence[float | None]) -> list[float | None]:
    """The largest so far; None before anything is known."""
    return list(accumulate(values, lambda a, b: max((v for v in (a, b) if v is not None), default=None)))


def _shown(value: float | None, unit: str) -> str:
    return percent(value, 2) if unit == "%" else number(value)
