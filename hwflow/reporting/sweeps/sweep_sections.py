"""Sections of a sweep's report that hold things side by side: accelerators and dataflows, levels, the layers of the best."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from hwflow.ranking import spearman
from hwflow.reporting.estimates.configuration import split_of_part
from hwflow.reporting.estimates.layer_costs import Side, layer_costs
from hwflow.reporting.estimates.rank_agreement import Cloud, agreement_figure
from hwflow.reporting.page.blocks import Beside, Block, Cell, Choice, Figure, Table, Text, label, percent_cell, wide_axis
from hwflow.reporting.page.palette import parts, several
from hwflow.reporting.page.values import quantity
from hwflow.reporting.pruning.run_records import CostRecord, LayerRecord, Totals
from hwflow.reporting.sweeps.pareto import EDP, ENERGY, LATENCY, Metric, Panel, area_of, drawn, scaled, told
from hwflow.reporting.sweeps.sweep_folder import Point, Sweep


def kinds(sweep: Sweep, panel: Panel) -> list[Block]:
    """All designs of each accelerator and dataflow, and the best of each by energy-delay product."""
    by = next((metric for metric in (EDP, LATENCY, ENERGY) if all(metric.of(p) is not None for p in panel.points)), None)
    if by is None:
        return [Text("Neither energy nor latency is known of all these designs.")]
    names = list(dict.fromkeys(point.kind for point in panel.points))
    divisor, unit = scaled([by.of(point) for point in panel.points], by, panel)
    shown = {id(point) for point in drawn(panel)}
    best = [min((p for p in panel.points if p.kind == name), key=lambda p: by.of(p) or 0.0) for name in names]
    champions = {id(point) for point in best}
    data: list[dict[str, Any]] = []
    for title, on, colour, size in (("designs", False, "@before", 7), ("the best", True, "@after", 12)):
        those = [p for p in panel.points if (id(p) in champions) == on and (on or id(p) in shown)]
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": title,
                "x": [(by.of(point) or 0.0) / divisor for point in those],
                "y": [label(point.kind) for point in those],
                "hovertext": [told(sweep, panel, point) for point in those],
                "hoverinfo": "text",
                "marker": {"color": colour, "size": size, "opacity": 1 if on else 0.5},
            }
        )
    layout = {
        "xaxis": wide_axis(f"{by.name} ({unit})", [by.of(point) for point in panel.points]),
        "yaxis": {
            "automargin": True,
            "categoryorder": "array",
            "categoryarray": [label(name) for name in names][::-1],
            "ticksuffix": "  ",
            "type": "category",
            "range": [-0.6, len(names) - 0.4],
        },
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    }
    rows: list[list[str | Cell]] = [
        [
            name,
            Cell(f"{count:,}", count),
            *(_amount(metric.of(point), metric, panel) for metric in (ENERGY, LATENCY, EDP)),
            Cell(area_of(point.area_m2), point.area_m2),
            percent_cell(point.row.utilization),
            sweep.configuration(point),
        ]
        for name, point in zip(names, best, strict=True)
        for count in [sum(p.kind == name for p in panel.points)]
    ]
    headings = ["accelerator, dataflow", "designs", "energy", "latency", "EDP", "area", "utilization (%)", "the best design"]
    figure = Figure(f"{by.name} of all designs by kind, {panel.name}", data, layout, height=130 + 40 * len(names))
    return [figure, Table(f"The best by {by.name} of each", headings, rows, left=frozenset({0, 7}))]


def level_agreement(sweep: Sweep) -> list[Block]:
    """The same designs at two levels: what each says, and whether both order them alike."""
    options: dict[str, list[Block]] = {}
    rows: list[list[str | Cell]] = []
    for low, high in itertools.combinations(sweep.levels, 2):
        pairs = _pairs(sweep, low, high)
        networks = list(dict.fromkeys(one.row.network for one, _ in pairs))
        shades = dict(zip(networks, several(len(networks)), strict=True))
        figures: list[Block] = []
        units = list(dict.fromkeys(one.unit for one, _ in pairs))
        for metric, unit in (*((ENERGY, unit) for unit in units), (LATENCY, "s")):
            each = [[pair for pair in pairs if pair[0].row.network == network] for network in networks]
            found = [_cloud(sweep, those, metric, unit, shades[those[0][0].row.network]) for those in each]
            clouds = [cloud for cloud in found if cloud is not None]
            if not clouds:
                continue
            title = f"{metric.name.capitalize()} of every design, {low} and {high}"
            figures.append(agreement_figure(title, clouds, (low, high), metric.name, unit))
            for cloud in clouds:
                rank = spearman(cloud.x, cloud.y)
                known = Cell("-" if rank is None else f"{rank:.3f}", rank)
                rows.append([f"{low} and {high}", cloud.name, metric.name, Cell(f"{len(cloud.x):,}", len(cloud.x)), known])
        if figures:
            options[f"{low} and {high}"] = [Beside(figures)]
    if not options:
        return [Text("No design was costed at two levels.")]
    table = Table(
        "Rank correlation of designs (Spearman)",
        ["levels", "network", "of", "designs", "correlation"],
        rows,
        left=frozenset({0, 1, 2}),
    )
    return [
        Text("Where marks rise with each other, both levels order the designs alike, whatever the ratio between them."),
        Choice("Levels", options),
        table,
    ]


def best_layers(sweep: Sweep, found: Sequence[Panel]) -> dict[str, list[Block]]:
    """Layer by layer, each network's design of least energy and that of least latency, at the finest level that answered."""
    level = found[-1].level
    chosen: dict[str, dict[str, Point]] = {}
    for panel in found:
        if panel.level != level:
            continue
        named: dict[str, Point] = {}
        for name, metric in (("least energy", ENERGY), ("least latency", LATENCY)):
            point = panel.least(metric)
            if point is not None and point in named.values():
                named = {"least energy and latency": point}
            elif point is not None:
                named[name] = point
        chosen[panel.name] = named
    rows = sweep.layers(point for named in chosen.values() for point in named.values())
    colours = parts(split_of_part(row) for layers in rows.values() for row in layers)
    shown: dict[str, list[Block]] = {}
    for name, named in chosen.items():
        sides = [
            Side(title, _costs(point, rows[point.row.point]), colour, opacity)
            for (title, point), colour, opacity in zip(named.items(), ("@before", "@after"), (0.45, 1.0), strict=False)
        ]
        if len(sides) == 1:
            sides = [Side(side.name, side.costs, "@after") for side in sides]
        texts = [Text(f"{title.capitalize()}: {sweep.configuration(point)}.") for title, point in named.items()]
        if all(side.costs.layers for side in sides):
            shown[name] = [*texts, *layer_costs(sides, colours)]
    return shown


def _amount(value: float | None, metric: Metric, panel: Panel) -> Cell:
    return Cell("-" if value is None else quantity(value, panel.unit_of(metric)), value)


def _pairs(sweep: Sweep, low: str, high: str) -> list[tuple[Point, Point]]:
    """Points of the same design at two levels; coarse, which has no mappings, knows no dataflows."""
    mapped = all(sweep.mapped(level) for level in (low, high))

    def key(point: Point) -> tuple[object, ...]:
        row = point.row
        flow = row.dataflow if mapped else None
        return row.network, row.batch, row.bits, row.base or row.accelerator, flow, *point.fields.values()

    first = {key(point): point for point in sweep.done if point.row.level == low}
    return [(first[key(point)], point) for point in sweep.done if point.row.level == high and key(point) in first]


def _cloud(sweep: Sweep, pairs: Sequence[tuple[Point, Point]], metric: Metric, unit: str, colour: str) -> Cloud | None:
    known = []
    for one, two in pairs:
        x, y = metric.of(one), metric.of(two)
        if x is not None and y is not None and (metric is not ENERGY or one.unit == two.unit == unit):
            known.append((x, y, sweep.configuration(two)))
    if len(known) < 2:
        return None
    return Cloud(pairs[0][0].row.network, [k[0] for k in known], [k[1] for k in known], [k[2] for k in known], colour)


def _costs(point: Point, layers: Sequence[LayerRecord]) -> CostRecord:
    row = point.row
    return CostRecord(
        network=row.network,
        accelerator=row.accelerator,
        level=row.level,
        batch=row.batch or 1,
        totals=Totals(macs=int(row.macs or 0), params=int(row.params or 0)),
        layers=tuple(layers),
    )
