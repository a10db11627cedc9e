"""The report of a sweep: the best designs by metric, the effect of each field, and failures with their reasons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

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
    sections = _compared(sweep, found) if found else []
    if len(sweep.done) < len(sweep.points):
        sections.append(Section("Failures", _failures(sweep)))
    sections += [Section("All points", _all(sweep, found)), Section("Where the numbers come from", _provenance(sweep))]
    networks = list(dict.fromkeys(point.row.network for point in sweep.points))
    named = listed(networks) if len(networks) < 6 else counted(len(networks), "network")
    title = f"Sweep over {counted(len(_designs(sweep)), 'design')} for {named}"
    return Page(title, _lead(sweep, found), [_tiles(sweep)], sections)


def _compared(sweep: Sweep, found: Sequence[Panel]) -> list[Section]:
    """What can be said of designs beside each other."""
    sections = [
        Section("Choose a design", _chooser(sweep, found)),
        Section("Pareto fronts", [_choice({panel.name: fronts(sweep, panel) for panel in found})]),
    ]
    lines: dict[str, list[Block]] = {panel.name: [figure] for panel in found if (figure := coordinates(sweep, panel))}
    sections += [Section("Swept fields", [_choice(lines)])] if lines else []
    if len({point.kind for point in sweep.done if point.row.level == sweep.levels[-1]}) > 1:
        shown = {panel.name: kinds(sweep, panel) for panel in found}
        sections.append(Section("Accelerators and dataflows side by side", [_choice(shown)]))
    sections += [Section("Levels", level_agreement(sweep))] if len(sweep.levels) > 1 else []
    layers = best_layers(sweep, found)
    return [*sections, *([Section("Layers of the best designs", [_choice(layers)])] if layers else [])]


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
    one_unit = len({panel.unit for panel in found}) == 1
    measures = _measures(found, _CHOSEN_BY if one_unit else (LATENCY, AREA, DRAM))
    groups = {panel.name: [_design(sweep, point, measures) for point in panel.points] for panel in found}
    quantities = [(metric.name, unit) for metric, _, unit in measures]
    blocks: list[Block] = [Chooser(quantities, groups, sweep.choices, quantities[0][0])]
    if not one_unit:
        blocks.append(Text("Energies are in joule for some designs and normalized for others, so none is chosen by them."))
    return blocks


def _measures(found: Sequence[Panel], metrics: Sequence[Metric]) -> list[tuple[Metric, float, str]]:
    """Those of the metrics that are known of any design, each with the divisor and the unit in which it is shown."""
    every = [point for panel in found for point in panel.points]
    known = [metric for metric in metrics if any(metric.of(point) is not None for point in every)]
    return [(metric, *_scale(metric, every, found[0].unit_of(metric))) for metric in known]


def _design(sweep: Sweep, point: Point, measures: Sequence[tuple[Metric, float, str]]) -> Design:
    values = [_shortened(metric.of(point), divisor) for metric, divisor, _ in measures]
    setting = [_value(sweep, point, name).text for name in sweep.choices]
    return Design(str(point.row.point), values, setting, sweep.command(point))


def _scale(metric: Metric, points: Sequence[Point], unit: str) -> tuple[float, str]:
    """The divisor and the unit that suit the middle one of the values."""
    values = sorted(value for point in points if (value := metric.of(point)) is not None)
    divisor, letter = prefix([values[len(values) // 2]])
    return (1e-6, "mm²") if metric is AREA else (divisor, prefixed(letter, unit))


def _shortened(value: float | None, divisor: float) -> float | None:
    return None if value is None else _short(value / divisor)


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
    columns = _columns(sweep)
    headings = ["point", "network", "level", *(_broken(name) for name in sweep.choices), *columns, "on the front"]
    words = frozenset({1, 2, *(3 + i for i, name in enumerate(sweep.choices) if _is_text(sweep, name))})
    rows: list[list[str | Cell]] = []
    for point in sweep.done[:MOST_ROWS]:
        fields = [_value(sweep, point, name) for name in sweep.choices]
        costs = [cell(point) for cell in columns.values()]
        front = "yes" if id(point) in best else ""
        rows.append([_id(point), point.row.network, point.row.level, *fields, *costs, front])
    blocks: list[Block] = []
    if len(sweep.done) > MOST_ROWS:
        blocks.append(Text(f"The first {MOST_ROWS:,} of {len(sweep.done):,} points; results.csv and results.parquet have all."))
    return [*blocks, Table("Every point that was answered", headings, rows, left=words, folded=True)]


def _columns(sweep: Sweep) -> dict[str, Callable[[Point], Cell]]:
    """What the table says of a point's costs, by heading; energies in joule and normalized ones have columns of their own."""
    joules = [point for point in sweep.done if point.unit == "J"]
    (by_energy, energy), (by_edp, edp) = _prefixed(ENERGY, joules, "J"), _prefixed(EDP, joules, "J\u00a0s")
    (by_latency, latency), (by_dram, dram) = _prefixed(LATENCY, sweep.done, "s"), _prefixed(DRAM, sweep.done, "B")
    joule = any(p.row.energy_pj is not None for p in sweep.done)
    columns: dict[str, Callable[[Point], Cell]] = {}
    if joule:
        columns[f"energy\n({energy})"] = lambda point: _cell(_in_joule(point, ENERGY), by_energy)
    if any(p.row.energy_normalized is not None for p in sweep.done):
        columns["energy\n(M normalized)"] = lambda point: _cell(point.row.energy_normalized, 1e6)
    columns[f"latency\n({latency})"] = lambda point: _cell(point.row.latency_s, by_latency)
    if joule:
        columns[f"EDP\n({edp})"] = lambda point: _cell(_in_joule(point, EDP), by_edp)
    return columns | {
        "area\n(mm²)": lambda point: _cell(point.area_m2, 1e-6),
        "utilization\n(%)": lambda point: percent_cell(point.row.utilization),
        f"DRAM\n({dram})": lambda point: _cell(point.row.dram_bytes, by_dram),
    }


def _prefixed(metric: Metric, points: Sequence[Point], unit: str) -> tuple[float, str]:
    divisor, letter = prefix([metric.of(point) for point in points])
    return divisor, prefixed(letter, unit)


def _in_joule(point: Point, metric: Metric) -> float | None:
    return metric.of(point) if point.row.energy_pj is not None else None


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
    if sweep.options.get("activations") == "resident":
        assumption = (
            "At levels with mappings, tensors between layers stay on the chip where they fit and that lowers the objective; "
            "all else is read from or written to DRAM by every layer. Levels without mappings know nothing of that: there "
            "every layer reads its inputs from and writes its outputs to DRAM."
        )
    asked = [f"{capital(name)}: {value}." for name, value in sweep.options.items() if value is not None]
    units = ["Normalized energies are in units of one 16-bit multiply-accumulate."]
    units = units if any(point.row.energy_normalized is not None for point in sweep.done) else []
    return [table, *map(Text, [assumption, *units, *asked])]
