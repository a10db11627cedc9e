"""Parallel coordinates: each design is a line through the values of its fields and what it costs.

Drawn with lines, not with Plotly's own trace of that name: that one needs WebGL, which browsers without a graphics processor
don't have, and saves no vector graphics.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hwflow.reporting.page.blocks import Figure, label
from hwflow.reporting.page.values import number, quantity
from hwflow.reporting.sweeps.pareto import AREA, EDP, ENERGY, LATENCY, Metric, Panel, area_of, drawn, scaled
from hwflow.reporting.sweeps.sweep_folder import Point, Sweep

FIFTHS = ("best fifth", "second", "third", "fourth", "worst fifth")
_SPREAD = 0.05  # of an axis, over which designs with the same value are drawn side by side
_FEW = 9  # values that are all written beside their axis


@dataclass(frozen=True)
class _Axis:
    """`places` of the points, from 0 to 1, and what is written at which place."""

    title: str
    places: Sequence[float | None]
    ticks: Sequence[tuple[float, str]]


def coordinates(sweep: Sweep, panel: Panel) -> Figure | None:
    """All designs of a panel, the best fifth by energy-delay product on top; None where nothing is swept."""
    by = next((m for m in (EDP, ENERGY, LATENCY) if all(m.of(point) is not None for point in panel.points)), None)
    shown = drawn(panel)
    if by is None or not sweep.choices or len(shown) < 2:
        return None
    order = sorted(range(len(shown)), key=lambda i: by.of(shown[i]) or 0.0)
    ranks = {place: rank / (len(shown) - 1) for rank, place in enumerate(order)}
    axes = [_choice(name, [sweep.value(point, name) for point in shown]) for name in sweep.choices]
    spread = [
        _Axis(one.title, [None if p is None else p + _SPREAD * (ranks[i] - 0.5) for i, p in enumerate(one.places)], one.ticks)
        for one in axes
    ]
    spread += [_cost(metric, shown, panel) for metric in (ENERGY, LATENCY, AREA) if metric in panel.metrics]
    data: list[dict[str, Any]] = []
    for fifth in reversed(range(len(FIFTHS))):
        those = [i for i in order if min(int(ranks[i] * len(FIFTHS)), len(FIFTHS) - 1) == fifth]
        x: list[float | None] = []
        y: list[float | None] = []
        hints: list[str] = []
        for i in those:
            x += [*range(len(spread)), None]
            y += [*(one.places[i] for one in spread), None]
            hints += [_hint(panel, shown[i])] * len(spread) + [""]
        data.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": FIFTHS[fifth],
                "x": x,
                "y": y,
                "hovertext": hints,
                "hoverinfo": "text",
                "line": {"color": f"@fifth-{fifth + 1}", "width": 1.4},
                "opacity": 0.8 if fifth == 0 else 0.5,
            }
        )
    notes = [
        {
            "x": at,
            "y": place,
            "text": label(text),
            "showarrow": False,
            "xanchor": "left",
            "xshift": 5,
            "font": {"size": 11},
            "bgcolor": "@panel/0.7",
        }
        for at, one in enumerate(spread)
        for place, text in one.ticks
    ]
    lines = [
        {"type": "line", "x0": at, "x1": at, "y0": 0, "y1": 1, "line": {"color": "@muted", "width": 1}}
        for at in range(len(spread))
    ]
    layout = {
        "xaxis": {
            "tickvals": list(range(len(spread))),
            "ticktext": [one.title for one in spread],
            "range": [-0.15, len(spread) - 1 + 0.45],
            "showgrid": False,
            "zeroline": False,
            "automargin": True,
            "side": "bottom",
        },
        "yaxis": {"visible": False, "range": [-0.06, 1.06]},
        "shapes": lines,
        "annotations": notes,
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "traceorder": "reversed"},
    }
    note = (
        f"One line a design, in fifths by {by.name}; a click in the legend hides a fifth. Designs with the same value run side "
        "by side, the best lowest."
    )
    return Figure(f"Designs by fields and costs, {panel.name}", data, layout, note, height=480)


def _choice(name: str, values: Sequence[Any]) -> _Axis:
    """Numbers by their rank among the values that were tried, so that doublings lie evenly; words in alphabetical order."""
    known = sorted({v for v in values if v is not None}, key=lambda v: (isinstance(v, str), v))
    place = {value: (i / (len(known) - 1) if len(known) > 1 else 0.5) for i, value in enumerate(known)}
    step = max(1, -(-(len(known) - 1) // (_FEW - 1))) if len(known) > 1 else 1
    ticks = [(place[v], str(v)) for v in [*known[: len(known) - 1 : step], known[-1]]] if known else []
    title = label(name).replace(".", ".<br>", 1)
    return _Axis(title, [None if v is None else place[v] for v in values], ticks)


def _cost(metric: Metric, points: Sequence[Point], panel: Panel) -> _Axis:
    values = [metric.of(point) or 0.0 for point in points]
    low, high = min(values), max(values)
    divisor, unit = scaled(values, metric, panel)
    width = high - low
    places = [(value - low) / width if width else 0.5 for value in values]
    ticks = [(0.0, number(low / divisor)), (1.0, number(high / divisor))] if width else [(0.5, number(low / divisor))]
    return _Axis(f"{metric.name} ({unit})", places, ticks)


def _hint(panel: Panel, point: Point) -> str:
    """Short, for it stands once at each axis; the axes show the rest."""
    costs = [quantity(point.energy, panel.unit), quantity(point.row.latency_s, "s"), area_of(point.area_m2)]
    return f"point {point.row.point}<br>{', '.join(text for text in costs if text != '-')}"
