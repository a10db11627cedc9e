"""The report of a sweep: which designs are best, for what, and why; what failed, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from hwflow.reporting.page.blocks import (
    Block,
    Cell,
    Choice,
    Chooser,
    Design,
    Page,
    Section,
    Table,
    Text,
    Tile,
    Tiles,
    percent_cell,
)
from hwflow.reporting.page.values import capital, counted, listed, number, prefix, prefixed, quantity
from hwflow.reporting.sweeps.parallel_coordinates import coordinates
from hwflow.reporting.sweeps.pareto import AREA, DRAM, EDP, ENERGY, LATENCY, Metric, Panel, area_of, fronts, panels
from hwflow.reporting.sweeps.sweep_folder import Point, Sweep
from hwflow.reporting.sweeps.sweep_sections import best_layers, kinds, level_agreement

MOST_ROWS = 2000
"""Points that a page's table has at the most; results.csv has all."""

_CHOSEN_BY = (LATENCY, ENERGY, AREA, EDP, DRAM)


def page(sweep: Sweep) -> Page:
    """The whole report."""
    found = panels(sweep)
    sections = []
    if found:
        sections += [
            Section("Choose a design", _chooser(sweep, found)),
            Section("Pareto fronts", [_choice({panel.name: fronts(sweep, panel) for panel in found})]),
        ]
        lines: dict[str, list[Block]] = {panel.name: [figure] for panel in found if (figure := coordinates(sweep, panel))}
        sections += [Section("Swept fields", [_choice(lines)])] if lines else []
        several = len({point.kind for point in sweep.done if point.row.level == sweep.levels[-1]}) > 1
        if several:
            shown = {panel.name: kinds(sweep, panel) for panel in found}
            sections.append(Section("Accelerators and dataflows side by side", [_choice(shown)]))
        sections += [Section("Levels", level_agreement(sweep))] if len(sweep.levels) > 1 else []
        layers = best_layers(sweep, found)
        sections += [Section("Layers of the best designs", [_choice(layers)])] if layers else []
    if len(sweep.done) < len(sweep.points):
        sections.append(Section("Failures", _failures(sweep)))
    sections += [Section("All points", _all(sweep, found)), Section("Where the numbers come from", _provenance(sweep))]
    networks = list(dict.fromkeys(point.row.network for point in sweep.points))
    named = listed(networks) if len(networks) < 6 else counted(len(networks), "network")
    title = f"Sweep over {counted(len(_designs(sweep)), 'design')} for {named}"
    return Page(title, _lead(sweep, found), [_tiles(sweep)], sections)


def _choice(options: dict[str, list[Block]]) -> Block:
    """One network and level at a time."""
    return Choice("Show", options)


def _designs(sweep: Sweep) -> set[tuple[object, ...]]:
    """Chips with dataflow and word widths, however many networks and levels were costed on them; coarse knows no dataflow."""
    finer = [point for point in sweep.points if point.row.dataflow is not None] or sweep.points
    return {(p.row.base or p.row.accelerator, p.row.bits, p.row.dataflow, *p.fields.values()) for p in finer}


def _lead(sweep: Sweep, found: Sequence[Panel]) -> str:
    failed = len(sweep.points) - len(sweep.done)
    ending = f" {counted(failed, 'point')} failed; their reasons are below." if failed else ""
    if not found:
        return f"None of {counted(len(sweep.points), 'point')} was answered.{ending}"
    panel = found[-1]
    told = []
    for metric in panel.metrics:
        if (best := panel.least(metric)) is not None:
            told.append(f"the least {metric.name} is {_amount(panel, metric, best)} ({sweep.configuration(best)})")
    return f"For {panel.name}, {listed(told)}. Fronts and other networks are below.{ending}"


def _amount(panel: Panel, metric: Metric, point: Point) -> str:
    value = metric.of(point)
    return area_of(value) if metric is AREA else quantity(value, panel.unit_of(metric))


def _tiles(sweep: Sweep) -> Tiles:
    failed = len(sweep.points) - len(sweep.done)
    networks = {point.row.network for point in sweep.points}
    tiles = [
        Tile("Points", f"{len(sweep.points):,}", f"{counted(len(networks), 'network')} at {listed(_levels(sweep))}"),
        Tile("Answered", f"{len(sweep.done):,}", "", "good" if not failed else ""),
        Tile("Failed", f"{failed:,}", "", "bad" if failed else ""),
        Tile("Designs", f"{len(_designs(sweep)):,}", "accelerators with dataflow and word widths"),
    ]
    if sweep.fields:
        tiles.append(Tile("Swept fields", f"{len(sweep.fields)}", "\n".join(sweep.fields)))
    return Tiles(tiles)


def _levels(sweep: Sweep) -> list[str]:
    return list(dict.fromkeys(str(point.row.level) for point in sweep.points))


def _chooser(sweep: Sweep, found: Sequence[Panel]) -> list[Block]:
    every = [point for panel in found for point in panel.points]
    units = {panel.unit for panel in found}
    known = [m for m in _CHOSEN_BY if any(m.of(point) is not None for point in every)]
    if len(units) > 1:  # no one unit suits joule and normalised energies
        known = [m for m in known if m not in (ENERGY, EDP)]
    scales: list[tuple[float, str]] = []
    for metric in known:
        values = sorted(value for point in every if (value := metric.of(point)) is not None)
        divisor, letter = prefix([values[len(values) // 2]])
        scales.append((1e-6, "mm²") if metric is AREA else (divisor, prefixed(letter, found[0].unit_of(metric))))
    groups = {
        panel.name: [
            Design(
                str(point.row.point),
                [None if (v := m.of(point)) is None else _short(v / by) for m, (by, _) in zip(known, scales, strict=True)],
                [_value(sweep, point, name).text for name in sweep.choices],
                sweep.command(point),
            )
            for point in panel.points
        ]
        for panel in found
    }
    quantities = [(metric.name, unit) for metric, (_, unit) in zip(known, scales, strict=True)]
    blocks: list[Block] = [Chooser(quantities, groups, sweep.choices, quantities[0][0])]
    if len(units) > 1:
        blocks.append(Text("Energies are in joule for some designs and normalized for others, so none is chosen by them."))
    return blocks


def _short(value: float) -> float:
    """Six digits, which is more than a reader sees and keeps the page small."""
    return float(f"{value:.6g}")


def _failures(sweep: Sweep) -> list[Block]:
    failed = [point for point in sweep.points if not point.ok]
    reasons = Counter(point.row.reason or "unknown" for point in failed)
    first = {reason: next(p for p in failed if (p.row.reason or "unknown") == reason) for reason in reasons}
    summary: list[list[str | Cell]] = [
        [Cell(f"{count:,}", count), reason, str(first[reason].row.point), sweep.command(first[reason])]
        for reason, count in reasons.most_common(MOST_ROWS)
    ]
    headings = ["points", "why", "the first", "which is"]
    rows: list[list[str | Cell]] = [
        [_id(p), p.row.network, p.row.level, sweep.configuration(p), p.row.reason or "unknown"] for p in failed[:MOST_ROWS]
    ]
    words = frozenset(range(1, 5))
    return [
        Table("Reasons", headings, summary, left=words),
        Table("Every point that failed", ["point", "network", "level", "design", "why"], rows, left=words, folded=True),
    ]


def _all(sweep: Sweep, found: Sequence[Panel]) -> list[Block]:
    best = {id(point) for panel in found for point in panel.front}
    scale: dict[str, tuple[float, str]] = {}
    for metric, unit in ((ENERGY, "J"), (LATENCY, "s"), (EDP, "J\u00a0s"), (DRAM, "B")):
        known = [metric.of(p) for p in sweep.done if unit[0] != "J" or p.unit == "J"]
        divisor, letter = prefix(known)
        scale[metric.name] = divisor, prefixed(letter, unit)
    joule = any(p.row.energy_pj is not None for p in sweep.done)
    units = any(p.row.energy_normalized is not None for p in sweep.done)
    headings = ["point", "network", "level", *(_broken(name) for name in sweep.choices)]
    words = frozenset({1, 2, *(3 + i for i, name in enumerate(sweep.choices) if _is_text(sweep, name))})
    headings += [f"energy\n({scale['energy'][1]})"] if joule else []
    headings += ["energy\n(M normalized)"] if units else []
    headings += [f"latency\n({scale['latency'][1]})", *([f"EDP\n({scale['EDP'][1]})"] if joule else []), "area\n(mm²)"]
    headings += ["utilization\n(%)", f"DRAM\n({scale['DRAM traffic'][1]})", "on the front"]
    rows: list[list[str | Cell]] = []
    for point in sweep.done[:MOST_ROWS]:
        pj = point.row.energy_pj is not None
        row: list[str | Cell] = [_id(point), point.row.network, point.row.level]
        row += [_value(sweep, point, name) for name in sweep.choices]
        row += [_cell(point.energy if pj else None, scale["energy"][0])] if joule else []
        row += [_cell(point.row.energy_normalized, 1e6)] if units else []
        row.append(_cell(point.row.latency_s, scale["latency"][0]))
        row += [_cell(point.edp if pj else None, scale["EDP"][0])] if joule else []
        row += [
            _cell(point.area_m2, 1e-6),
            percent_cell(point.row.utilization),
            _cell(point.row.dram_bytes, scale["DRAM traffic"][0]),
        ]
        rows.append([*row, "yes" if id(point) in best else ""])
    blocks: list[Block] = []
    if len(sweep.done) > MOST_ROWS:
        blocks.append(Text(f"The first {MOST_ROWS:,} of {len(sweep.done):,} points; results.csv and results.parquet have all."))
    return [*blocks, Table("Every point that was answered", headings, rows, left=words, folded=True)]


def _is_text(sweep: Sweep, name: str) -> bool:
    return any(isinstance(sweep.value(point, name), str) for point in sweep.points)


def _broken(name: str) -> str:
    """A field's name over two lines."""
    return name.replace(".", ".\n", 1)


def _value(sweep: Sweep, point: Point, name: str) -> Cell:
    value = sweep.value(point, name)
    return Cell("-" if value is None else str(value), float(value) if isinstance(value, (int, float)) else None)


def _id(point: Point) -> Cell:
    name = point.row.point
    return Cell(str(name), name if isinstance(name, int) else None)


def _cell(value: float | None, divisor: float) -> Cell:
    return Cell(number(None if value is None else value / divisor), None if value is None else _short(value))


def _provenance(sweep: Sweep) -> list[Block]:
    rows: list[list[str | Cell]] = [
        [level, engine, source, Cell(f"{count:,}", count)]
        for (level, engine, source), count in Counter(
            (str(p.row.level), p.row.engine or "-", p.row.energy_source or "-") for p in sweep.done
        ).items()
    ]
    table = Table("What answered", ["level", "engine", "energies", "points"], rows, left=frozenset({0, 1, 2}))
    assumption = "Totals assume that every layer reads its inputs from and writes its outputs to DRAM."
    asked = [f"{capital(name)}: {value}." for name, value in sweep.options.items()]
    units = ["Normalized energies are in units of one 16-bit multiply-accumulate."]
    units = units if any(point.row.energy_normalized is not None for point in sweep.done) else []
    return [table, *map(Text, [assumption, *units, *asked])]
