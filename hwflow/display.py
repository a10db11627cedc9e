"""How results show themselves: one line for a prompt, a table for a notebook, figures and a page when they are asked for."""

from __future__ import annotations

import html
import importlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hwflow.errors import not_found

_ROWS = 60  # rows of a table in a notebook; to_frame() has all


def latency_text(seconds: float) -> str:
    """In milliseconds, or in the unit in which it is no row of zeros."""
    for unit, scale in (("ms", 1e3), ("us", 1e6)):
        if seconds * scale >= 0.1 or not seconds:
            return f"{seconds * scale:,.3f} {unit}"
    return f"{seconds * 1e9:,.3f} ns"


def accelerator_html(label: str, parts: Sequence[tuple[str, str, Mapping[str, Any]]], line: str) -> str:
    """A hierarchy, outermost first: each part's name, its kind and what is stated of it."""
    rows = [
        [name, kind, ", ".join(f"{field} {_value(value)}" for field, value in given.items())] for name, kind, given in parts
    ]
    return table_html(f"Accelerator {label}", ["part", "kind", "fields"], rows, None, [line], left=3)


def table_html(
    title: str,
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    totals: Sequence[str] | None = None,
    lines: Iterable[str] = (),
    *,
    left: int = 1,
) -> str:
    """A table as a notebook shows it; the first `left` columns and the last hold words. Whatever the cells hold is escaped."""

    def line(cells: Sequence[str], tag: str) -> str:
        sides = ["left" if i < left or i == len(headings) - 1 else "right" for i in range(len(headings))]
        inner = (f'<{tag} style="text-align:{s}">{html.escape(c)}</{tag}>' for c, s in zip(cells, sides, strict=True))
        return f"<tr>{''.join(inner)}</tr>"

    body = [line(row, "td") for row in rows[:_ROWS]]
    if len(rows) > _ROWS:
        body.append(f'<tr><td colspan="{len(headings)}">{len(rows) - _ROWS} more rows</td></tr>')
    foot = f"<tfoot>{line(totals, 'th')}</tfoot>" if totals is not None else ""
    below = "".join(f"<div>{html.escape(text)}</div>" for text in lines)
    return (
        f"<div><b>{html.escape(title)}</b></div><table><thead>{line(headings, 'th')}</thead><tbody>{''.join(body)}</tbody>"
        f"{foot}</table>{below}"
    )


def figure_text(value: float | None, scale: float = 1.0, digits: int = 2) -> str:
    """A scaled number with thousands apart; a dash where there is none."""
    return "-" if value is None else f"{value * scale:,.{digits}f}"


def _value(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


# Figures and pages ---------------------------------------------------------------------------------------------------


def write_costs_page(costs: Sequence[Any], path: str | Path) -> Path:
    """Write the report of one `NetworkCost`, or of several side by side; gives the file.

    Raises:
        MissingDependency: where plotly is not installed.
    """
    file: Path = _reports().write_network_costs(costs, path)
    return file


def costs_figures(costs: Sequence[Any]) -> dict[str, Any]:
    """The figures of that report as Plotly's, by title."""
    figures: dict[str, Any] = _reports().network_cost_figures(costs)
    return figures


def chosen_figure(figures: dict[str, Any], title: str | None) -> Any:
    """One of the figures: the first, or the first whose title has the words given."""
    if title is None:
        return next(iter(figures.values()))
    for name, figure in figures.items():
        if title.lower() in name.lower():
            return figure
    raise not_found("figure", title, figures)


def _reports() -> Any:
    """Reports are made of results, which show themselves by this module: so it names the module and does not import it."""
    return importlib.import_module("hwflow.reporting.notebook")


__all__ = [
    "accelerator_html",
    "chosen_figure",
    "costs_figures",
    "figure_text",
    "latency_text",
    "table_html",
    "write_costs_page",
]
