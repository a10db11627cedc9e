"""Do two levels agree? What one says against what the other says, with the correlation of the ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hwflow.ranking import spearman
from hwflow.reporting.page.blocks import Figure, label, wide_axis
from hwflow.reporting.page.traces import LEGEND, line, marks
from hwflow.reporting.page.values import prefix, prefixed, quantity


@dataclass(frozen=True)
class Cloud:
    """Things that two levels know: what each says of them, in joule, seconds or units, and what they are."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    texts: Sequence[str]
    colour: str


def agreement_figure(title: str, clouds: Sequence[Cloud], sides: tuple[str, str], metric: str, unit: str) -> Figure:
    """A scatter with the line on which both say the same, on equal axes."""
    every = [value for cloud in clouds for value in (*cloud.x, *cloud.y) if value > 0]
    divisor, letter = prefix(every)
    ends = [min(every, default=1.0) / divisor, max(every, default=1.0) / divisor]
    data = [line(ends, ends, {"color": "@muted", "width": 1, "dash": "dot"}, name="equal")]
    for cloud in clouds:
        x, y = ([value / divisor if value > 0 else None for value in values] for values in (cloud.x, cloud.y))
        hints = [
            f"{label(text)}<br>{label(sides[0])}: {quantity(one, unit)}<br>{label(sides[1])}: {quantity(other, unit)}"
            for text, one, other in zip(cloud.texts, cloud.x, cloud.y, strict=True)
        ]
        data.append(marks(label(cloud.name), x, y, hints, {"color": cloud.colour, "size": 8, "opacity": 0.75}))
    shown = prefixed(letter, unit)
    layout = {
        "xaxis": wide_axis(f"{metric} by {label(sides[0])} ({shown})", every),
        "yaxis": wide_axis(f"{metric} by {label(sides[1])} ({shown})", every),
        "showlegend": len(clouds) > 1,
        "legend": LEGEND,
    }
    note = "; ".join(f"{cloud.name} {_rank(cloud)}" for cloud in clouds)
    return Figure(title, data, layout, f"Spearman's rank correlation: {note}. Dotted: both say the same.", height=420)


def _rank(cloud: Cloud) -> str:
    found = spearman(cloud.x, cloud.y)
    return "none, for all are equal" if found is None else f"{found:.3f} over {len(cloud.x)}"
