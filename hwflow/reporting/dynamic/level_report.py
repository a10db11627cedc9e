"""The report of a network's levels: accuracy, memory, energy and time of each at every operating point."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from hwflow.reporting.dynamic.level_records import LevelRun, RowRecord, TableRecord
from hwflow.reporting.page.blocks import Block, Cell, Figure, Page, Section, Table, Text, axis, label, percent_cell, wide_axis
from hwflow.reporting.page.palette import several
from hwflow.reporting.page.traces import LEGEND, curve, marks
from hwflow.reporting.page.values import counted, number, percent, quantity


def page(found: LevelRun) -> Page:
    """The whole report."""
    network = found.table.network
    sections = [*cost_sections(found), Section("Training", [_training(found)]), settings_section(found)]
    lead = f"One file of weights holds {len(found.levels)} networks, {spans(found)}"
    title = f"{network} in {counted(len(found.levels), 'level')}"
    return Page(title, lead, [levels_table(found), front_figure(found)], sections)


def cost_sections(found: LevelRun) -> list[Section]:
    """Every row, and what was measured."""
    sections = [Section("Operating points", _points(found))]
    if found.measured is not None:
        sections.append(Section("Measured", _measured(found, found.measured)))
    return sections


def settings_section(found: LevelRun) -> Section:
    """What the run was asked."""
    asked = [[name, value if isinstance(value, str) else json.dumps(value)] for name, value in found.config.items()]
    return Section("Settings", [Table("All settings", ["setting", "value"], asked, left=frozenset({0, 1}), folded=True)])


def spans(found: LevelRun) -> str:
    """`from 70 % to 75 % on the test set. With all units and clocks ...`."""
    first, last = (percent(level.accuracy, 2) for level in (found.levels[0], found.levels[-1]))
    kept = [row for row in found.table.rows if row.dominated_by is None]
    times, energies = [row.latency_s for row in kept], [row.energy_j for row in kept if row.energy_j is not None]
    spanned = f"latencies span {number(max(times) / min(times), 3)} times"
    if energies:
        spanned += f", their energies {number(max(energies) / min(energies), 3)} times"
    return f"from {first} to {last} on the test set. With all units and clocks their {spanned}."


def levels_table(found: LevelRun) -> Table:
    """Accuracy and size of each level."""
    rows: list[list[str | Cell]] = []
    for level in found.levels:
        memory = {row.unit: row.memory_bytes for row in found.table.rows if row.level == level.number}
        told = Cell(
            "; ".join(f"{unit} {quantity(size, 'B')}" for unit, size in memory.items()), min(memory.values(), default=0)
        )
        cells = [Cell(str(level.number), level.number), percent_cell(level.accuracy, 2), percent_cell(level.held_accuracy, 2)]
        rows.append([*cells, Cell(number(level.macs * 1e-6), level.macs), Cell(f"{level.params:,}", level.params), told])
    headings = ["level", "test accuracy (%)", "held-out accuracy (%)", "MACs (M)", "parameters", "weights in memory"]
    return Table("Levels", headings, rows, left=frozenset({5}))


def front_figure(found: LevelRun) -> Figure:
    """Accuracy against energy, or latency where no energies are known; dropped rows are faint."""
    known = all(row.energy_j is not None for row in found.table.rows)
    divisor, title = (1e-6, "energy of a frame (µJ)") if known else (1e-3, "latency (ms)")

    def cost(row: RowRecord) -> float:
        return (row.energy_j or 0.0 if known else row.latency_s) / divisor

    units = list(dict.fromkeys(row.unit for row in found.table.rows))
    data = []
    for unit, colour in zip(units, several(len(units)), strict=True):
        for dropped in (False, True):
            rows = [row for row in found.table.rows if row.unit == unit and (row.dominated_by is not None) == dropped]
            if rows:
                style = {"color": colour, "size": 8, "opacity": 0.3 if dropped else 1.0, "symbol": "x" if dropped else "circle"}
                name = f"{unit}{', dropped' if dropped else ''}"
                data.append(
                    marks(
                        label(name),
                        [cost(row) for row in rows],
                        [100 * row.accuracy for row in rows],
                        [_hint(r) for r in rows],
                        style,
                    )
                )
    layout = {
        "xaxis": wide_axis(title, [cost(row) for row in found.table.rows]),
        "yaxis": axis("held-out accuracy (%)"),
        "legend": LEGEND,
    }
    note = (
        "Every level on every unit at every clock. What another row of the unit makes useless is dropped: no manager takes it."
    )
    return Figure("Accuracy against cost", data, layout, note, height=420)


def _hint(row: RowRecord) -> str:
    energy = "" if row.energy_j is None else f", {quantity(row.energy_j, 'J')}"
    return label(f"level {row.level} on {row.unit}{_clock(row)}: {quantity(row.latency_s, 's')}{energy}")


def _clock(row: RowRecord) -> str:
    volts = "" if row.voltage_v is None else f" and {row.voltage_v:g} V"
    return f" at {row.clock_mhz:g} MHz{volts}" if row.clock_mhz else ""


def _points(found: LevelRun) -> list[Block]:
    rows: list[list[str | Cell]] = []
    for row in found.table.rows:
        power = None if row.energy_j is None else row.energy_j / row.latency_s
        by = row.dominated_by
        verdict = "-" if by is None else f"buys nothing against level {by[0]} at {by[2]:g} MHz"
        rows.append(
            [
                row.unit,
                Cell(str(row.level), row.level),
                Cell(f"{row.clock_mhz:g}", row.clock_mhz),
                Cell("-" if row.voltage_v is None else f"{row.voltage_v:g}", row.voltage_v),
                percent_cell(row.accuracy, 2),
                Cell(number(row.latency_s * 1e3), row.latency_s),
                Cell("-" if row.energy_j is None else number(row.energy_j * 1e6), row.energy_j),
                Cell("-" if power is None else number(power * 1e3), power),
                verdict,
            ]
        )
    headings = ["unit", "level", "clock (MHz)", "voltage (V)", "held-out accuracy (%)"]
    headings += ["latency (ms)", "energy (µJ)", "power (mW)", "dropped"]
    sources = [f"{unit}, {field}: {text}." for unit, own in found.table.about.units.items() for field, text in own.items()]
    where = f"Accelerators are costed at level {found.table.about.level}. " if found.table.about.level else ""
    return [
        Table("Rows", headings, rows, left=frozenset({0, 8})),
        Text(f"{where}{' '.join([*found.table.about.notes, *sources])}"),
    ]


def _measured(found: LevelRun, measured: TableRecord) -> list[Block]:
    """Medians and quartiles beside the model's fastest row of each level."""
    rows: list[list[str | Cell]] = []
    for unit, levels in measured.about.timings.items():
        for name, timing in levels.items():
            modelled = min((r.latency_s for r in found.table.rows if str(r.level) == name), default=None)
            spread = f"{number(timing.lower_quartile_s * 1e3)} to {number(timing.upper_quartile_s * 1e3)}"
            model = Cell("-" if modelled is None else number(modelled * 1e3), modelled)
            least = Cell("-" if timing.least_s is None else number(timing.least_s * 1e3), timing.least_s)
            load = Cell("-" if timing.load is None else f"{timing.load:.1f}", timing.load)
            median = Cell(number(timing.median_s * 1e3), timing.median_s)
            rows.append([unit, Cell(name, float(name)), median, spread, least, model, load])
    headings = [
        "unit",
        "level",
        "median (ms)",
        "quartiles (ms)",
        "least (ms)",
        "modelled, fastest row (ms)",
        "load of the machine",
    ]
    frames = {timing.frames for levels in measured.about.timings.values() for timing in levels.values()}
    counts = " or ".join(map(str, sorted(frames)))
    how = f"One frame at a time, {counts} frames of each level in turns, by PyTorch {measured.about.torch}"
    how += f" and onnxruntime {measured.about.onnxruntime}" if measured.about.onnxruntime else ""
    return [Text(f"{how} on {measured.about.machine}."), Table("Measured latency", headings, rows, left=frozenset({0}))]


def _training(found: LevelRun) -> Figure:
    data: list[Mapping[str, Any]] = []
    for level, colour in zip(found.levels, several(len(found.levels)), strict=True):
        epochs: Sequence[Any] = level.epochs
        data.append(
            curve(f"group {level.number}", [e.number for e in epochs], [100 * e.accuracy for e in epochs], {"color": colour}, 5)
        )
    layout = {"xaxis": axis("epoch of the group"), "yaxis": axis("held-out accuracy (%)"), "legend": LEGEND}
    return Figure(
        "Training of each group", data, layout, "Groups are trained one after the other; those before are frozen.", height=320
    )


__all__ = ["cost_sections", "front_figure", "levels_table", "page", "settings_section", "spans"]
