"""Sections of a sweep's report that compare accelerators and dataflows, levels, and layers of the best designs."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from hwflow.ranking import spearman
from hwflow.reporting.estimates.configuration import split_of_part
from hwflow.reporting.estimates.layer_costs import Side, layer_costs
from hwflow.reporting.estimates.rank_agreement import Cloud, agreement_figure
from hwflow.reporting.page.blocks import Beside, Block, Cell, Choice, Figure, Table, Text, label, percent_cell, wide_axis
from hwflow.reporting.page.palette import parts, several
from hwflow.reporting.page.traces import LEGEND, lines_axis, marks
from hwflow.reporting.page.values import quantity
from hwflow.reporting.pruning.run_records import CostRecord, LayerRecord, Totals
from hwflow.reporting.sweeps.pareto import EDP, ENERGY, LATENCY, Metric, Panel, amounts, area_of, drawn, scaled, told
from hwflow.reporting.sweeps.sweep_folder import Point, Sweep


def kinds(sweep: Sweep, panel: Panel) -> list[Block]:
    """All designs of each accelerator and dataflow, and the best of each by energy-delay product."""
    by = panel.known(EDP, LATENCY, ENERGY)
    if by is None:
        return [Text("Neither energy nor latency is known of all these designs.")]
    names = list(dict.fromkeys(point.kind for point in panel.points))
    best = [min((p for p in panel.points if p.kind == name), key=lambda p: by.of(p) or 0.0) for name in names]
    rows = [_kind(sweep, panel, point) for point in best]
    headings = ["accelerator, dataflow", "designs", "energy", "latency", "EDP", "area", "utilization (%)", "the best design"]
    table = Table(f"The best by {by.name} of each", headings, rows, left=frozenset({0, 7}))
    return [_kinds_figure(sweep, panel, by, names, best), table]


def _kind(sweep: Sweep, panel: Panel, best: Point) -> list[str | Cell]:
    """One kind: how many designs it has, and the best of them."""
    count = sum(point.kind == best.kind for point in panel.points)
    return [
        best.kind,
        Cell(f"{count:,}", count),
        *(_amount(metric.of(best), metric, panel) for metric in (ENERGY, LATENCY, EDP)),
        Cell(area_of(best.area_m2), best.area_m2),
        percent_cell(best.row.utilization),
        sweep.configuration(best),
    ]


def _kinds_figure(sweep: Sweep, panel: Panel, by: Metric, names: Sequence[str], best: Sequence[Point]) -> Figure:
    """One line a kind, its designs along it; the best of each is larger."""
    values = [by.of(point) for point in panel.points]
    divisor, unit = scaled(values, by, panel)
    champions = {id(point) for point in best}
    others = [point for point in drawn(panel) if id(point) not in champions]
    champion_points = [point for point in panel.points if id(point) in champions]
    data = []
    faint, strong = {"color": "@before", "size": 7, "opacity": 0.5}, {"color": "@after", "size": 12, "opacity": 1}
    for title, those, marker in (("designs", others, faint), ("the best", champion_points, strong)):
        hints = [told(sweep, panel, point) for point in those]
        data.append(marks(title, amounts(those, by, divisor), [label(point.kind) for point in those], hints, marker))
    layout = {
        "xaxis": wide_axis(f"{by.name} ({unit})", values),
        "yaxis": lines_axis([label(name) for name in names], type="category", range=[-0.6, len(names) - 0.4]),
        "legend": LEGEND,
    }
    return Figure(f"{by.name} of all designs by kind, {panel.name}", data, layout, height=130 + 40 * len(names))


def level_agreement(sweep: Sweep) -> list[Block]:
    """The same designs at two levels: what each says, and whether both order them alike."""
    options: dict[str, list[Block]] = {}
    rows: list[list[str | Cell]] = []
    for low, high in itertools.combinations(sweep.levels, 2):
        both, pairs = f"{low} and {high}", _pairs(sweep, low, high)
        figures: list[Block] = []
        units = list(dict.fromkeys(one.unit for one, _ in pairs))
        for metric, unit in (*((ENERGY, unit) for unit in units), (LATENCY, "s")):
            clouds = _clouds(sweep, pairs, metric, unit)
            if clouds:
                title = f"{metric.name.capitalize()} of every design, {both}"
                figures.append(agreement_figure(title, clouds, (low, high), metric.name, unit))
            rows += [_correlation(both, metric, cloud) for cloud in clouds]
        if figures:
            options[both] = [Beside(figures)]
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


def _clouds(sweep: Sweep, pairs: Sequence[tuple[Point, Point]], metric: Metric, unit: str) -> list[Cloud]:
    """The pairs by network, where two designs of one are known."""
    networks = list(dict.fromkeys(one.row.network for one, _ in pairs))
    each = [[pair for pair in pairs if pair[0].row.network == network] for network in networks]
    found = [_cloud(sweep, those, metric, unit, shade) for those, shade in zip(each, several(len(networks)), strict=True)]
    return [cloud for cloud in found if cloud is not None]


def _correlation(levels: str, metric: Metric, cloud: Cloud) -> list[str | Cell]:
    rank = spearman(cloud.x, cloud.y)
    known = Cell("-" if rank is None else f"{rank:.3f}", rank)
    return [levels, cloud.name, metric.name, Cell(f"{len(cloud.x):,}", len(cloud.x)), known]


def best_layers(sweep: Sweep, found: Sequence[Panel]) -> dict[str, list[Block]]:
    """Layer by layer, each network's design of least energy and that of least latency, at the finest level that answered."""
    chosen = {panel.name: _least(panel) for panel in found if panel.level == found[-1].level}
    rows = sweep.layers(point for named in chosen.values() for point in named.values())
    colours = parts(split_of_part(row) for layers in rows.values() for row in layers)
    shown: dict[str, list[Block]] = {}
    for name, named in chosen.items():
        looks = (("@before", 0.45), ("@after", 1.0)) if len(named) > 1 else (("@after", 1.0),)
        sides, texts = [], []
        for (title, point), look in zip(named.items(), looks, strict=False):
            sides.append(Side(title, _costs(point, rows[point.row.point]), *look))
            texts.append(Text(f"{title.capitalize()}: {sweep.configuration(point)}."))
        if all(side.costs.layers for side in sides):
            shown[name] = [*texts, *layer_costs(sides, colours)]
    return shown


def _least(panel: Panel) -> dict[str, Point]:
    """The design of least energy and that of least latency, which can be one."""
    named: dict[str, Point] = {}
    for name, metric in (("least energy", ENERGY), ("least latency", LATENCY)):
        point = panel.least(metric)
        if point is not None and point in named.values():
            return {"least energy and latency": point}
        if point is not None:
            named[name] = point
    return named


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
