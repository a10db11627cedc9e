"""Representations of results: one line at a prompt, a table in a notebook, figures and HTML pages on request."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwflow.errors import not_found

if TYPE_CHECKING:
    from hwflow.hardware.accelerator import Accelerator
    from hwflow.results import NetworkCost

_ROWS = 60  # rows of a table in a notebook; to_frame() has all


def network_cost_line(cost: NetworkCost) -> str:
    """`resnet18 on eyeriss, level mid, batch 1: 9,041.20 uJ, 41.310 ms, 21 layers`."""
    return f"{cost.title}: {', '.join(totals_of(cost))}, {len(cost.rows)} layers"


def totals_of(cost: NetworkCost) -> list[str]:
    """A network's energy and latency with their units; what the level does not know is left out."""
    told = []
    if cost.energy_pj is not None:
        told.append(f"{cost.energy_pj * 1e-6:,.2f} uJ")
    elif cost.energy_normalized is not None:
        told.append(f"{cost.energy_normalized * 1e-6:,.2f} M units")
    if cost.latency_s is not None:
        told.append(f"{latency_text(cost.latency_s)}")
    return told or [f"{cost.macs * 1e-6:,.2f} M MACs"]


def latency_text(seconds: float) -> str:
    """In milliseconds, or in the unit in which it is no row of zeros."""
    for unit, scale in (("ms", 1e3), ("us", 1e6)):
        if seconds * scale >= 0.1 or not seconds:
            return f"{seconds * scale:,.3f} {unit}"
    return f"{seconds * 1e9:,.3f} ns"


def network_cost_html(cost: NetworkCost) -> str:
    """The table of layers, with totals."""
    unit, scale = ("uJ", 1e-6) if cost.rows[0].energy_unit == "pJ" else ("M units", 1e-6)
    headings = ["layer", "MACs (M)", f"energy ({unit})", "cycles", "util. (%)", "DRAM (kB)", "bound by"]
    rows = [
        [
            row.layer.name,
            _number(row.layer.macs, 1e-6),
            _number(row.energy, scale),
            _number(row.cycles, digits=0),
            _number(row.utilization, 100, 1),
            _number(row.dram_bytes, 1e-3, 1),
            row.bound_by or "-",
        ]
        for row in cost.rows
    ]
    energy = cost.energy_pj if cost.energy_pj is not None else cost.energy_normalized
    totals = ["total", _number(cost.macs, 1e-6), _number(energy, scale), _number(cost.cycles, digits=0)]
    totals += [_number(cost.utilization, 100, 1), _number(cost.dram_bytes, 1e-3, 1), ""]
    notes = dict.fromkeys(row.note for row in cost.rows if row.note)
    return table_html(cost.title, headings, rows, totals, [*totals_of(cost), *cost.energy_sources, *notes])


def accelerator_html(chip: Accelerator) -> str:
    """The hierarchy, outermost first."""
    rows = []
    for part in chip.hierarchy:
        given = part.model_dump(exclude_none=True, exclude={"name", "kind", "role"}, exclude_defaults=True)
        rows.append([part.name, part.kind, ", ".join(f"{name} {_value(value)}" for name, value in given.items())])
    lines = [f"{chip.mac_units:,} MAC units, {chip.clock_mhz:g} MHz, {chip.technology_nm:g} nm, dataflow {chip.dataflow}"]
    return table_html(f"Accelerator {chip.label}", ["part", "kind", "fields"], rows, None, lines, left=3)


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


def _number(value: float | None, scale: float = 1.0, digits: int = 2) -> str:
    return "-" if value is None else f"{value * scale:,.{digits}f}"


def _value(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


# Figures and pages ---------------------------------------------------------------------------------------------------


def write_costs_page(costs: Sequence[NetworkCost], path: str | Path) -> Path:
    """Write the report of one estimate, or of several side by side; gives the file.

    Raises:
        MissingDependency: where plotly is not installed.
    """
    from hwflow.reporting.report import write_costs

    return write_costs(_ways(costs), path)


def costs_figures(costs: Sequence[NetworkCost]) -> dict[str, Any]:
    """The figures of that report as Plotly's, by title."""
    from hwflow.reporting.page.notebook_figures import plotly_figures
    from hwflow.reporting.report import costs_page

    return plotly_figures(costs_page(_ways(costs)))


def chosen_figure(figures: dict[str, Any], title: str | None) -> Any:
    """One of the figures: the first, or the first whose title has the words given."""
    if title is None:
        return next(iter(figures.values()))
    for name, figure in figures.items():
        if title.lower() in name.lower():
            return figure
    raise not_found("figure", title, figures)


def _ways(costs: Sequence[NetworkCost]) -> list[Any]:
    from hwflow.reporting.estimates.configuration import way

    return [way(cost, cost.chip, cost.tables) for cost in costs]


__all__ = [
    "accelerator_html",
    "chosen_figure",
    "costs_figures",
    "latency_text",
    "network_cost_html",
    "network_cost_line",
    "table_html",
    "totals_of",
    "write_costs_page",
]
