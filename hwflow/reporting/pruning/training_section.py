"""The section on a training that prunes: accuracy and the cost of what is left, epoch by epoch."""

from __future__ import annotations

from hwflow.reporting.page.blocks import Beside, Block, Cell, Figure, Table, Text, axis, percent_cell
from hwflow.reporting.page.palette import parts
from hwflow.reporting.page.values import counted, number
from hwflow.reporting.pruning.run_records import Run
from hwflow.reporting.pruning.totals import NAMES, accuracy_of

_LEGEND = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0}
SEARCH = "singlepath"
"""The method whose result is trained from fresh weights after a search."""
_SHOWN = ("energy", "latency", "macs", "params")


def training(run: Run) -> list[Block]:
    """Both halves: towards the cut, and after it."""
    epochs, score, level = run.training, accuracy_of(run), run.decisive
    first = sum(epoch.stage == "preparation" for epoch in epochs)
    names = [name for name in _SHOWN if any(name in epoch.shares for epoch in epochs)]
    factors = list(dict.fromkeys(name for epoch in epochs for name in epoch.strengths))
    searched = run.config.settings.method == SEARCH
    colours = parts([names])
    common = {"type": "scatter", "mode": "lines+markers", "x": [e.number for e in epochs], "marker": {"size": 5}}
    dotted = {"color": "@muted", "dash": "dot"}
    cut = {"type": "line", "x0": first + 0.5, "x1": first + 0.5, "y0": 0, "y1": 1, "yref": "paper", "line": dotted}
    layout = {"xaxis": axis("epoch"), "shapes": [cut], "legend": _LEGEND}
    held = [None if e.accuracy is None else 100 * e.accuracy for e in epochs]
    costs = [
        {
            **common,
            "name": NAMES[name],
            "y": [None if (share := e.shares.get(name)) is None else 100 * share for e in epochs],
            "line": {"color": colours[name]},
        }
        for name in names
    ]
    rows: list[list[str | Cell]] = [
        [
            str(e.number),
            e.stage,
            Cell(number(e.loss), e.loss),
            percent_cell(e.accuracy, 2),
            *(percent_cell(e.shares.get(name)) for name in names),
            *(_factor(e.strengths.get(name)) for name in factors),
        ]
        for e in epochs
    ]
    told = (
        f"{counted(first, 'epoch')} towards the cut, {len(epochs) - first} after it (the cut is dotted). Costs are of the "
        f"network with the units that are left after each epoch, at {level}, as shares of the unpruned one's; its widths "
        "are rounded up to those that can be kept. Accuracy is of the network as it is then, on held-out samples."
    )
    if searched:
        told = (
            f"{counted(first, 'epoch')} of the search; then (dotted) the network that was found is trained from fresh weights "
            f"for {len(epochs) - first}. Costs are of what the thresholds leave after each epoch, at {level}, as shares of the "
            "whole network's. Accuracy is of the network as it is then, on held-out samples."
        )
    return [
        Text(told),
        Beside(
            [
                Figure(
                    f"Held-out {score} by epoch of the training",
                    [{**common, "name": "held out", "y": held, "line": {"color": "@after"}}],
                    {**layout, "yaxis": axis(f"{score} (%)"), "showlegend": False},
                    height=320,
                ),
                Figure(
                    f"Cost of what {'thresholds leave' if searched else 'is left'} by epoch",
                    costs,
                    {**layout, "yaxis": axis("share (%)", rangemode="tozero")},
                    height=320,
                ),
            ]
        ),
        Table(
            "Every epoch of the training",
            [
                *("epoch", "stage", "training loss", f"held-out {score} (%)"),
                *(f"{NAMES[name]} (%)" for name in names),
                *(f"lambda of {NAMES[name]}" for name in factors),
            ],
            rows,
            left=frozenset({1}),
            folded=True,
        ),
    ]


def _factor(value: float | None) -> Cell:
    return Cell(number(value, 3), value)


__all__ = ["SEARCH", "training"]
