"""The report of `hwflow ppa fronts`: performance per area against energy, accuracy against both, and the model's errors."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hwflow.reporting.coexploration.designs import (
    ACCURACY_ENERGY,
    ACCURACY_PERFORMANCE,
    PERFORMANCE_ENERGY,
    Designs,
)
from hwflow.reporting.page.blocks import (
    Beside,
    Block,
    Cell,
    Choice,
    Figure,
    Page,
    Section,
    Table,
    Text,
    axis,
    label,
    percent_cell,
)
from hwflow.reporting.page.palette import several
from hwflow.reporting.page.traces import LEGEND, line, marks
from hwflow.reporting.page.values import counted, listed, number, percent, prefix, prefixed, quantity

MOST_DRAWN = 1500
"""Designs of one network in a figure, besides those on a front."""
_MOST_ROWS = 500
_SPEED = "performance per area (inferences/s/mm²)"
_WIDE = 4
"""Factor between the largest and the smallest value from which on an axis is logarithmic."""
_REFERENCE = "int16"
"""What other PE types are compared with, as QUIDAM does."""

Row = Mapping[str, Any]


def page(found: Designs) -> Page:
    """The whole report."""
    about = found.about
    colours = dict(zip(about.pe_types, several(len(about.pe_types)), strict=True))
    known = all(row["inferences_per_s_mm2"] is not None for row in found.rows)
    sections = []
    if known:
        shown = {network: _performance(found, network, colours) for network in about.networks}
        sections.append(Section("Performance per area and energy", [Choice("Network", shown)]))
    sections.append(Section("The best of each PE type", _best(found, known=known)))
    if any(row["accuracy"] is not None for row in found.rows):
        sections.append(Section("Accuracy", _accuracy(found, colours, known=known)))
    sections.append(Section("Errors of the model", _errors(found)))
    sections.append(Section("Where the numbers come from", _provenance(found)))
    title = f"Designs of {about.base} for {listed(about.networks)}"
    return Page(title, _lead(found, known=known), [Text(about.remark)], sections)


def _lead(found: Designs, *, known: bool) -> str:
    told = []
    for network in found.about.networks:
        rows = found.of(network)
        least = min(rows, key=found.energy)
        words = f"an inference of {network} takes at least {quantity(found.energy(least), found.unit)} ({least['pe_type']})"
        if known:
            most = max(rows, key=_speed)
            words += f", and at most {number(_speed(most))} run in a second on a square millimetre ({most['pe_type']})"
        told.append(words)
    text = f"Of {counted(found.about.designs, 'chip')} with each of {counted(len(found.about.pe_types), 'PE type')}, "
    return f"{text}{'; '.join(told)}."


def _speed(row: Row) -> float:
    return float(row["inferences_per_s_mm2"])


def _performance(found: Designs, network: str, colours: Mapping[str, str]) -> list[Block]:
    rows = found.of(network)
    front = sorted((row for row in rows if row[PERFORMANCE_ENERGY]), key=found.energy)
    divisor, letter = prefix([found.energy(row) for row in rows])
    unit = prefixed(letter, found.unit)

    def energy(row: Row) -> float:
        return found.energy(row) / divisor

    titles = f"energy of an inference ({unit})", _SPEED
    figure = _scatter(found, f"Performance per area and energy, {network}", rows, front, (energy, _speed), titles, colours)
    spread = [max(map(_speed, rows)) / min(map(_speed, rows)), max(map(energy, rows)) / min(map(energy, rows))]
    text = (
        f"{len(front):,} of {len(rows):,} designs are beaten by no other in both. Over all designs performance per area "
        f"differs by a factor of {number(spread[0], 3)}, energy by {number(spread[1], 3)}."
    )
    return [Text(text), figure, _table(found, "On the front", front, unit, energy)]


def _scatter(
    found: Designs,
    title: str,
    rows: Sequence[Row],
    front: Sequence[Row],
    values: tuple[Callable[[Row], float], Callable[[Row], float]],
    titles: tuple[str, str],
    colours: Mapping[str, str],
) -> Figure:
    """Designs in the colour of their PE type; those on the front once more, joined by a line."""
    x, y = values
    step = max(1, -(-len(rows) // MOST_DRAWN))
    drawn = [
        (pe_type, colour, 5, [row for row in rows[::step] if row["pe_type"] == pe_type]) for pe_type, colour in colours.items()
    ]
    data = [
        line(
            [x(row) for row in front],
            [y(row) for row in front],
            {"color": "@muted", "width": 1, "shape": "vh" if "performance" in titles[0] else "hv"},
            name="front",
        )
    ]
    for name, colour, size, those in [*drawn, ("on the front", "@ink", 8, front)]:
        if those:
            marker = {"color": colour, "size": size, "opacity": 0.8, "line": {"color": "@panel", "width": 0.5}}
            hints = [_told(found, row) for row in those]
            data.append(marks(name, [x(row) for row in those], [y(row) for row in those], hints, marker))
    layout = {
        "xaxis": _axis(titles[0], [x(row) for row in rows]),
        "yaxis": _axis(titles[1], [y(row) for row in rows]),
        "legend": LEGEND,
    }
    return Figure(title, data, layout, height=460)


def _axis(title: str, values: Sequence[float]) -> dict[str, Any]:
    return axis(title, type="log") if max(values) > _WIDE * min(values) else axis(title)


def _told(found: Designs, row: Row) -> str:
    costs = [quantity(found.energy(row), found.unit), quantity(row["latency_s"], "s")]
    costs += [] if row["accuracy"] is None else [percent(row["accuracy"], 2)]
    lines = [label(f"{row['network']}, {row['pe_type']}"), *map(label, found.chip(row).split(", ")), ", ".join(costs)]
    return "<br>".join([*lines, f"design {row['design']}"])


def _table(found: Designs, caption: str, rows: Sequence[Row], unit: str, energy: Callable[[Row], float]) -> Table:
    fields = list(found.about.fields)
    headings = ["network", "PE type", "design", *(name.replace(".", ".\n", 1) for name in fields)]
    headings += [f"energy\n({unit})", "latency\n(ms)", "area\n(mm²)", "inferences/s\n/mm²", "power\n(mW)", "accuracy\n(%)"]
    headings += ["error of energy\nmedian (%)", "error of cycles\nmedian (%)", "error of area\nmedian (%)"]
    cells: list[list[str | Cell]] = []
    for row in rows[:_MOST_ROWS]:
        power, area, speed = row.get("power_w"), row["area_um2"], row["inferences_per_s_mm2"]
        numbers = [energy(row), row["latency_s"] * 1e3, area and area * 1e-6, speed, power and power * 1e3]
        cells.append(
            [
                row["network"],
                row["pe_type"],
                Cell(str(row["design"]), row["design"]),
                *(Cell(f"{row[name]:g}", row[name]) for name in fields),
                *(Cell(number(value), value) for value in numbers),
                percent_cell(row["accuracy"], 2),
                *(percent_cell(row.get(f"{what}_error_median")) for what in ("energy", "cycles", "area")),
            ]
        )
    return Table(caption, headings, cells, left=frozenset({0, 1}), folded=True)


def _best(found: Designs, *, known: bool) -> list[Block]:
    """Of each network and PE type the best by itself, and how many times better than the best of the reference."""
    rows: list[list[str | Cell]] = []
    for network in found.about.networks:
        own = {pe_type: [r for r in found.of(network) if r["pe_type"] == pe_type] for pe_type in found.about.pe_types}
        least = {pe_type: min(map(found.energy, those)) for pe_type, those in own.items()}
        most = {pe_type: max(map(_speed, those)) for pe_type, those in own.items()} if known else {}
        for pe_type in own:
            gains = []
            if _REFERENCE in own:
                gains = [least[_REFERENCE] / least[pe_type]]
                gains += [most[pe_type] / most[_REFERENCE]] if known else []
            speed = [Cell(number(most[pe_type]), most[pe_type])] if known else []
            energy = Cell(quantity(least[pe_type], found.unit), least[pe_type])
            rows.append([network, pe_type, energy, *speed, *(Cell(number(gain, 3), gain) for gain in gains)])
    headings = ["network", "PE type", "least energy", *(["most inferences/s/mm²"] if known else [])]
    if _REFERENCE in found.about.pe_types:
        headings += [f"energy of {_REFERENCE} over it", *([f"inferences/s/mm² over {_REFERENCE}"] if known else [])]
    return [Table("The best of each, energy and performance each by itself", headings, rows, left=frozenset({0, 1}))]


def _accuracy(found: Designs, colours: Mapping[str, str], *, known: bool) -> list[Block]:
    rows = [row for row in found.rows if row["accuracy"] is not None]
    divisor, letter = prefix([found.energy(row) for row in rows])
    unit = prefixed(letter, found.unit)

    def energy(row: Row) -> float:
        return found.energy(row) / divisor

    def accuracy(row: Row) -> float:
        return 100 * float(row["accuracy"])

    pairs: list[tuple[str, str, Callable[[Row], float], str]] = [
        (ACCURACY_ENERGY, "Accuracy and energy", energy, f"energy of an inference ({unit})")
    ]
    pairs += [(ACCURACY_PERFORMANCE, "Accuracy and performance per area", _speed, _SPEED)] if known else []
    figures, tables = [], []
    for flag, title, of, name in pairs:
        front = sorted((row for row in rows if row[flag]), key=of)
        figures.append(_scatter(found, title, rows, front, (of, accuracy), (name, "accuracy (%)"), colours))
        tables.append(_table(found, f"On the front: {title.lower()}", front, unit, energy))
    text = "All networks and PE types together: the less energy, or the more performance per area, at each accuracy."
    blocks: list[Block] = [Text(text), Beside(figures), *tables]
    if found.about.missing:
        blocks.append(Text(f"Without an accuracy, and so on no front here: {listed(found.about.missing)}."))
    return blocks


def _errors(found: Designs) -> list[Block]:
    rows: list[list[str | Cell]] = [
        [pe_type, name, percent_cell(median), percent_cell(p95), Cell("-" if rank is None else f"{rank:.3f}", rank)]
        for pe_type, quality in found.about.quality.items()
        for name, (median, p95, rank) in quality.items()
    ]
    headings = ["PE type", "of", "median (%)", "95th percentile (%)", "rank correlation"]
    text = "On chips that were characterised, but neither fitted nor used to choose degree and ridge; each layer is a point."
    return [Text(text), Table("Errors on held-out chips", headings, rows, left=frozenset({0, 1}))]


def _provenance(found: Designs) -> list[Block]:
    about = found.about
    ranges: list[list[str | Cell]] = [
        [name, Cell(f"{low:g}", low), Cell(f"{high:g}", high)] for name, (low, high) in about.fields.items()
    ]
    told = [[name, value if isinstance(value, str) else json.dumps(value)] for name, value in about.model.items()]
    asked = [["designs of each PE type", str(about.designs)], ["seed of the designs", str(about.seed)], *told]
    return [
        Table("Fields and their ranges", ["field", "from", "to"], ranges),
        Table("Settings and the model", ["setting", "value"], asked, left=frozenset({0, 1}), folded=True),
    ]
