"""Reports of results that are at hand, for `NetworkCost` and `Comparison`: the page as a file, its figures as objects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hwflow.reporting.estimates.configuration import way
from hwflow.reporting.page.notebook_figures import plotly_figures
from hwflow.reporting.report import costs_page, write_costs
from hwflow.results import NetworkCost


def write_network_costs(costs: Sequence[NetworkCost], path: str | Path) -> Path:
    """Write the report of one estimate, or of several side by side; gives the file.

    Raises:
        MissingDependency: where plotly is not installed.
    """
    return write_costs([way(cost, cost.chip, cost.tables) for cost in costs], path)


def network_cost_figures(costs: Sequence[NetworkCost]) -> dict[str, Any]:
    """The figures of that report as Plotly's, by title."""
    return plotly_figures(costs_page([way(cost, cost.chip, cost.tables) for cost in costs]))


__all__ = ["network_cost_figures", "write_network_costs"]
