"""What figures are drawn with: Plotly's traces, axes and legends as plain objects, each written once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Values = Sequence[float | str | None] | range

LEGEND: Mapping[str, Any] = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0}
"""Above the figure, side by side."""
IN_ORDER: Mapping[str, Any] = {**LEGEND, "traceorder": "normal"}
"""The same for stacked bars, whose order Plotly would turn around."""


def hover(hints: Sequence[str]) -> dict[str, Any]:
    """What is shown of each mark under the pointer."""
    return {"hovertext": hints, "hoverinfo": "text"}


def marks(name: str, x: Values, y: Values, hints: Sequence[str], marker: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """A scatter of marks."""
    drawn = {"type": "scatter", "mode": "markers", "name": name, "x": list(x), "y": list(y), "marker": marker}
    return {**drawn, **hover(hints), **more}


def line(x: Values, y: Values, style: Mapping[str, Any], hints: Sequence[str] | None = None, **more: Any) -> dict[str, Any]:
    """A line through points; without hints it tells nothing under the pointer."""
    told = {"hoverinfo": "skip"} if hints is None else hover(hints)
    return {"type": "scatter", "mode": "lines", "x": list(x), "y": list(y), "line": style, **told, **more}


def curve(name: str, x: Values, y: Values, style: Mapping[str, Any], size: int) -> dict[str, Any]:
    """A line with marks of that size, which tells its values under the pointer."""
    drawn = {"type": "scatter", "mode": "lines+markers", "name": name, "x": list(x), "y": list(y)}
    return {**drawn, "line": style, "marker": {"size": size}}


def bars(
    name: str, x: Values, y: Values, hints: Sequence[str] | None, marker: Mapping[str, Any], **more: Any
) -> dict[str, Any]:
    """Bars; with `orientation="h"` one a line, from left to right. Without hints `hoverinfo` says what the pointer shows."""
    told = {} if hints is None else hover(hints)
    return {"type": "bar", "name": name, "x": list(x), "y": list(y), "marker": marker, **told, **more}


def lines_axis(names: Sequence[str], **more: Any) -> dict[str, Any]:
    """The axis of names, one a line, the first on top."""
    return {"automargin": True, "categoryorder": "array", "categoryarray": list(names)[::-1], "ticksuffix": "  ", **more}


def upright(at: float, style: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """A line across the figure, from bottom to top; `yref` says of what."""
    return {"type": "line", "x0": at, "x1": at, "y0": 0, "y1": 1, "line": style, **more}


def stack(x_axis: Mapping[str, Any], y_axis: Mapping[str, Any], gap: float = 0.25, **more: Any) -> dict[str, Any]:
    """The layout of stacked bars; `gap` is the share of a bar's place that stays free."""
    return {"barmode": "stack", "bargap": gap, "xaxis": x_axis, "yaxis": y_axis, "legend": IN_ORDER, **more}


def divided(values: Sequence[float | None], divisor: float) -> list[float | None]:
    """In the unit of an axis."""
    return [None if value is None else value / divisor for value in values]
