"""Parallel coordinates: each design is a line through the values of its fields and what it costs.

Drawn with lines, not with Plotly's own trace of that name: that one needs WebGL, which browsers without a graphics processor
don't have, and saves no vector graphics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hwflow.reporting.page.blocks import Figure, label
from hwflow.reporting.page.traces import LEGEND, line, upright
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
    by = panel.known(EDP, ENERGY, LATENCY)
    shown = drawn(panel)
    if by is None or not sweep.choices or len(shown) < 2:
        return None
    order = sorted(range(len(shown)), key=lambda i: by.of(shown[i]) or 0.0)
    ranks = {place: rank / (len(shown) - 1) for rank, place in enumerate(order)}
    axes = _axes(sweep, panel, shown, ranks)
    hints = [_hint(panel, point) for point in shown]
    groups: list[list[int]] = [[] for _ in FIFTHS]
    for i in order:
        groups[min(int(ranks[i] * len(FIFTHS)), len(FIFTHS) - 1)].append(i)
    data = [_fifth(fifth, axes, groups[fifth], hints) for fifth in reversed(range(len(FIFTHS)))]
    note = (
        f"One line a design, in fifths by {by.name}; a click in the legend hides a fifth. Designs with the same value run side "
        "by side, the best lowest."
    )
    return Figure(f"Designs by fields and costs, {panel.name}", data, _layout(axes), note, height=480)


def _axes(sweep: Sweep, panel: Panel, shown: Sequence[Point], ranks: Mapping[int, float]) -> list[_Axis]:
    """Those of the fields, then those of the costs that are known of all designs."""
    fields = [_beside(_choice(name, [sweep.value(point, name) for point in shown]), ranks) for name in sweep.choices]
    return [*fields, *(_cost(metric, shown, panel) for metric in (ENERGY, LATENCY, AREA) if metric in panel.metrics)]


def _layout(axes: Sequence[_Axis]) -> dict[str, Any]:
    return {
        "xaxis": {
            "tickvals": list(range(len(axes))),
            "ticktext": [one.title for one in axes],
            "range": [-0.15, len(axes) - 1 + 0.45],
            "showgrid": False,
            "zeroline": False,
            "automargin": True,
            "side": "bottom",
        },
        "yaxis": {"visible": False, "range": [-0.06, 1.06]},
        "shapes": [upright(at, {"color": "@muted", "width": 1}) for at in range(len(axes))],
        "annotations": [_tick(at, place, text) for at, one in enumerate(axes) for place, text in one.ticks],
        "legend": {**LEGEND, "traceorder": "reversed"},
    }


def _beside(one: _Axis, ranks: Mapping[int, float]) -> _Axis:
    """The axis with designs of the same value side by side, in the order of their ranks."""
    places = [None if place is None else place + _SPREAD * (ranks[i] - 0.5) for i, place in enumerate(one.places)]
    return _Axis(one.title, places, one.ticks)


def _fifth(fifth: int, axes: Sequence[_Axis], those: Sequence[int], hints: Sequence[str]) -> dict[str, Any]:
    """The designs of a fifth as one trace, with a gap after each."""
    x: list[float | None] = []
    y: list[float | None] = []
    told: list[str] = []
    for i in those:
        x += [*range(len(axes)), None]
        y += [*(one.places[i] for one in axes), None]
        told += [hints[i]] * len(axes) + [""]
    style = {"color": f"@fifth-{fifth + 1}", "width": 1.4}
    return line(x, y, style, told, name=FIFTHS[fifth], opacity=0.8 if fifth == 0 else 0.5)


def _tick(at: int, place: float, text: str) -> dict[str, Any]:
    """A value beside its place on an axis."""
    look = {"showarrow": False, "xanchor": "left", "xshift": 5, "font": {"size": 11}, "bgcolor": "@panel/0.7"}
    return {"x": at, "y": place, "text": label(text), **look}


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
