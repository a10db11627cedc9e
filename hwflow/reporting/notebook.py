"""Reports of results that are at hand: the page as a file, its figures as objects."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hwflow.reporting.estimates.configuration import configuration
from hwflow.reporting.estimates.layer_costs import Side, layer_costs
from hwflow.reporting.estimates.layer_rows import NORMALIZED, split_of
from hwflow.reporting.page.blocks import Block, Choice, Figure, Page, axis, label
from hwflow.reporting.page.notebook_figures import plotly_figures
from hwflow.reporting.page.palette import parts
from hwflow.reporting.page.values import prefix, prefixed, quantity
from hwflow.reporting.report import costs_page, write_costs
from hwflow.results import LayerCost, NetworkCost


def write_network_costs(costs: Sequence[NetworkCost], path: str | Path) -> Path:
    """Write the report of one estimate, or of several side by side; gives the file.

    Raises:
        MissingDependency: where plotly is not installed.
    """
    return write_costs([configuration(cost, cost.chip, cost.tables) for cost in costs], path)


def network_cost_figures(costs: Sequence[NetworkCost]) -> dict[str, Any]:
    """The figures of that report as Plotly's, by title."""
    return plotly_figures(costs_page([configuration(cost, cost.chip, cost.tables) for cost in costs]))


def pruning_figures(costs: Mapping[str, tuple[NetworkCost, NetworkCost]]) -> dict[str, Any]:
    """Energy and latency per layer before and after pruning, at each level, as Plotly's figures."""
    options: dict[str, list[Block]] = {}
    for level, pair in costs.items():
        before, after = (configuration(cost).costs for cost in pair)
        colours = parts(split_of(row) for row in (*before.layers, *after.layers))
        options[level] = layer_costs([Side("before", before, "@before", 0.45), Side("after", after, "@after")], colours)
    return plotly_figures(Page("", "", [Choice("Level", options)]))


def mapping_figures(cost: LayerCost) -> dict[str, Any]:
    """The energy of one layer by part of the chip, as Plotly's figure."""
    scale = 1e-12 if cost.energy_unit == "pJ" else 1.0
    unit = "J" if cost.energy_unit == "pJ" else NORMALIZED
    energies = {name: energy * scale for name, energy in cost.energy_by_level.items()}
    divisor, letter = prefix(list(energies.values()))
    colours = parts([energies])
    data = {
        "type": "bar",
        "x": [label(name) for name in energies],
        "y": [energy / divisor for energy in energies.values()],
        "marker": {"color": [colours[name] for name in energies]},
        "hovertext": [f"{label(name)}<br>{quantity(energy, unit)}" for name, energy in energies.items()],
        "hoverinfo": "text",
    }
    layout = {"yaxis": axis(f"energy ({prefixed(letter, unit)})", rangemode="tozero")}
    return plotly_figures(Page("", "", [Figure(f"Energy of {cost.layer.name} per part", [data], layout)]))


def width_figures(layer: str, width: str, unit: str, sizes: Sequence[int], entries: Sequence[Any]) -> dict[str, Any]:
    """Energy, latency and utilization of one layer over one of its widths, as Plotly's figures.

    Args:
        width: what is varied, in words; `sizes` are its values, `entries` their costs (`hwflow.cost.cost_grid.Entry`).
        unit: of the energies, "pJ" or "normalized".
    """
    energies = [entry.energy * (1e-12 if unit == "pJ" else 1.0) for entry in entries]
    curves = {
        "Energy": (energies, "J" if unit == "pJ" else NORMALIZED),
        "Latency": ([entry.latency_s for entry in entries], "s"),
        "Utilization": ([100 * entry.utilization for entry in entries], "%"),
    }
    figures: list[Block] = []
    for name, (values, shown) in curves.items():
        if any(map(math.isnan, values)):
            continue
        divisor, letter = (1.0, "") if shown == "%" else prefix(values)
        points = {"type": "scatter", "mode": "lines+markers", "x": list(sizes), "y": [v / divisor for v in values]}
        layout = {
            "xaxis": axis(width),
            "yaxis": axis(f"{name.lower()} ({prefixed(letter, shown)})", rangemode="tozero"),
        }
        figures.append(Figure(f"{name} of {layer} over {width}", [{**points, "line": {"color": "@after"}}], layout))
    return plotly_figures(Page("", "", figures))


__all__ = ["mapping_figures", "network_cost_figures", "pruning_figures", "width_figures", "write_network_costs"]
