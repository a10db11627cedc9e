"""The report of a comparison: levels, accelerators and dataflows side by side for one network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hwflow.ranking import spearman
from hwflow.reporting.estimates.configuration import Way, split_of_part
from hwflow.reporting.estimates.configuration_figures import LEGEND, bound_colour, layer_blocks
from hwflow.reporting.estimates.estimate_report import area_text, provenance, remarks
from hwflow.reporting.estimates.layer_rows import by_name, energy_in, name_of, names_axis, scaled_cell
from hwflow.reporting.estimates.rank_agreement import Cloud, agreement_figure
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
    wide_axis,
)
from hwflow.reporting.page.palette import parts, several
from hwflow.reporting.page.traces import bars, divided, lines_axis, marks
from hwflow.reporting.page.values import capital, counted, prefix, prefixed, quantity


def page(ways: Sequence[Way]) -> Page:
    """The whole report."""
    colours = parts(split_of_part(row) for way in ways for row in way.costs.layers)
    notes = dict.fromkeys(f"{way.label}: {note}" for way in ways for note in remarks(way))
    sections = [
        Section("Side by side", _totals(ways, colours)),
        Section("Layer by layer", _by_layer(ways)),
        Section("Agreement", _agreement(ways)),
        Section("Layers of one way", [Choice("Way", {way.label: layer_blocks(way, colours) for way in ways})]),
        Section("Where the numbers come from", [*provenance(list(ways)), *map(Text, notes)]),
    ]
    network = ways[0].costs.network
    return Page(f"{network}: {counted(len(ways), 'way')} to cost it", _lead(ways), [_table(ways)], sections)


def _lead(ways: Sequence[Way]) -> str:
    """The least of what the finest level says, which is the one that can be held against others of it."""
    level = ways[-1].costs.level
    same = [way for way in ways if way.costs.level == level and way.edp is not None]
    units = {way.energy[1] for way in same}
    if len(same) < 2 or len(units) > 1:
        return f"Ratios and rank correlations are against the first, {ways[0].label}."
    best = min(same, key=lambda way: way.edp or 0.0)
    return (
        f"At {level}, the least energy-delay product is that of {best.label}: {quantity(best.energy[0], best.energy[1])} and "
        f"{quantity(best.costs.totals.latency_s, 's')}. Ratios and rank correlations are against the first, {ways[0].label}."
    )


def _table(ways: Sequence[Way]) -> Table:
    first = ways[0]
    units = list(dict.fromkeys(way.energy[1] for way in ways))
    energy = {unit: prefix([way.energy[0] for way in ways if way.energy[1] == unit]) for unit in units}
    slow = prefix([way.costs.totals.latency_s for way in ways])
    rows: list[list[str | Cell]] = []
    for way in ways:
        (value, unit), totals = way.energy, way.costs.totals
        divisor, letter = energy[unit]
        shown = scaled_cell(value, divisor)
        if len(units) > 1:
            shown = Cell(f"{shown.text} {prefixed(letter, unit)}", value)
        rows.append(
            [
                way.label,
                shown,
                _ratio(value if unit == first.energy[1] else None, first.energy[0]),
                scaled_cell(totals.latency_s, slow[0]),
                _ratio(totals.latency_s, first.costs.totals.latency_s),
                percent_cell(totals.utilization),
                scaled_cell(totals.dram_bytes, 1e6),
                Cell(area_text(totals.area_um2), totals.area_um2),
                *(_rank(way, first, metric) for metric in ("energy", "latency")),
            ]
        )
    one = f"energy ({prefixed(energy[units[0]][1], units[0])})" if len(units) == 1 else "energy"
    headings = ["way", one, "ratio", f"latency ({slow[1]}s)", "ratio", "utilization (%)", "DRAM (MB)", "area"]
    return Table("The ways", [*headings, "rank\nenergy", "rank\nlatency"], rows)


def _ratio(value: float | None, base: float | None) -> Cell:
    return Cell("-") if value is None or not base else Cell(f"{value / base:.3f}", value / base)


def _rank(way: Way, first: Way, metric: str) -> Cell:
    found = spearman(*_paired(first, way, metric)[:2])
    return Cell("-" if found is None else f"{found:.3f}", found)


def _values(way: Way, metric: str) -> list[float | None]:
    return [energy_in(row) if metric == "energy" else row.latency_s for row in way.costs.layers]


def _paired(one: Way, two: Way, metric: str) -> tuple[list[float], list[float], list[str]]:
    """A metric of the layers that both know, and their names."""
    names = map(name_of, by_name(one.costs.layers))
    both = [
        (a, b, name)
        for a, b, name in zip(_values(one, metric), _values(two, metric), names, strict=True)
        if a is not None and b is not None
    ]
    return [a for a, _, _ in both], [b for _, b, _ in both], [name for _, _, name in both]


# Figures -------------------------------------------------------------------------------------------------------------


def _totals(ways: Sequence[Way], colours: Mapping[str, str]) -> list[Block]:
    """Energy by part of the chip, and latency by what bounds it, one bar a way; energies of two units are two figures."""
    figures: list[Block] = []
    priced = [way for way in ways if way.energy[0] is not None]
    for unit in dict.fromkeys(way.energy[1] for way in priced):
        those = [way for way in priced if way.energy[1] == unit]
        split = {part: [_energy_of(way, part) for way in those] for part in colours}
        figures.append(_bars("Energy of the network by part", those, split, colours, unit))
    figures += _latency_bars([way for way in ways if way.costs.totals.latency_s is not None], colours)
    return figures


def _latency_bars(timed: Sequence[Way], colours: Mapping[str, str]) -> list[Block]:
    if not timed:
        return []
    bounds = dict.fromkeys(row.bound_by for way in timed for row in way.costs.layers)
    split = {f"bound by {bound}": [_latency_of(way, bound) for way in timed] for bound in bounds}
    shades = {f"bound by {bound}": bound_colour(bound, colours) for bound in bounds}
    return [_bars("Latency of the network by what bounds its layers", timed, split, shades, "s")]


def _energy_of(way: Way, part: str) -> float | None:
    """What a part takes of the whole network; None for nothing."""
    return sum(split_of_part(row).get(part, {}).get("", 0.0) for row in way.costs.layers) or None


def _latency_of(way: Way, bound: str | None) -> float | None:
    """The time of the layers that something bounds; None for nothing."""
    return sum(row.latency_s or 0.0 for row in way.costs.layers if row.bound_by == bound) or None


def _bars(
    title: str, ways: Sequence[Way], split: Mapping[str, Sequence[float | None]], colours: Mapping[str, str], unit: str
) -> Figure:
    sums = [sum(values[i] or 0.0 for values in split.values()) for i in range(len(ways))]
    divisor, letter = prefix(sums)
    names = [label(way.label) for way in ways]
    data = []
    for name in (name for name in colours if any(split.get(name, ()))):
        hints = [
            f"{way}<br>{label(name)}: {quantity(value, unit)}<br>whole: {quantity(whole, unit)}"
            for way, value, whole in zip(names, split[name], sums, strict=True)
        ]
        marker = {"color": colours[name], "line": {"width": 0}}
        data.append(bars(label(name), divided(split[name], divisor), names, hints, marker, orientation="h"))
    layout = {
        "barmode": "stack",
        "bargap": 0.3,
        "xaxis": axis(f"{title.split(maxsplit=1)[0].lower()} ({prefixed(letter, unit)})", rangemode="tozero"),
        "yaxis": lines_axis(names),
        "showlegend": True,
        "legend": LEGEND,
    }
    return Figure(title, data, layout, height=130 + 34 * len(ways))


def _by_layer(ways: Sequence[Way]) -> list[Block]:
    units = dict.fromkeys(way.energy[1] for way in ways)
    found = [_lines(ways, "energy", unit) for unit in units] + [_lines(ways, "latency", "s")]
    return [figure for figure in found if figure is not None]


def _lines(ways: Sequence[Way], metric: str, unit: str) -> Figure | None:
    """One line a way, over the layers; None where no way knows the metric in this unit."""
    those = [w for w in ways if (metric == "latency" or w.energy[1] == unit) and any(_values(w, metric))]
    if not those:
        return None
    keys, shades = list(by_name(ways[0].costs.layers)), several(len(ways))
    every = [value for way in those for value in _values(way, metric)]
    divisor, letter = prefix(every)
    data: list[dict[str, Any]] = []
    for way in those:
        values, place = _values(way, metric), ways.index(way)
        hints = [
            f"{label(name_of(key))}<br>{label(way.label)}: {quantity(value, unit)}"
            for key, value in zip(keys, values, strict=True)
        ]
        marker = {"size": 7, "symbol": _SYMBOLS[place % len(_SYMBOLS)]}
        y = [value / divisor if value else None for value in values]
        look = {"mode": "lines+markers", "line": {"color": shades[place], "width": 1.5}}
        data.append(marks(label(way.label), list(range(len(keys))), y, hints, marker, **look))
    layout = {
        "xaxis": names_axis(keys),
        "yaxis": wide_axis(f"{metric} ({prefixed(letter, unit)})", every),
        "showlegend": True,
        "legend": LEGEND,
    }
    return Figure(f"{capital(metric)} of every layer", data, layout, "A click in the legend hides a way.", height=420)


_SYMBOLS = ("circle", "square", "diamond", "cross", "x", "triangle-up", "triangle-down", "star")


def _agreement(ways: Sequence[Way]) -> list[Block]:
    options: dict[str, list[Block]] = {}
    for way in ways[1:]:
        base = next(w for w in ways if w.costs.accelerator == way.costs.accelerator)
        base = ways[0] if base is way else base
        figures: list[Block] = []
        for metric in ("energy", "latency"):
            unit = "s" if metric == "latency" else way.energy[1]
            x, y, names = _paired(base, way, metric)
            if len(x) < 2 or (metric == "energy" and base.energy[1] != way.energy[1]):
                continue
            title = f"{capital(metric)} of every layer, {base.label} and {way.label}"
            cloud = Cloud("layers", x, y, names, "@after")
            figures.append(agreement_figure(title, [cloud], (base.label, way.label), metric, unit))
        if figures:
            options[f"{base.label} and {way.label}"] = [Beside(figures)]
    if not options:
        return [Text("There are no two ways whose layers could be held against each other.")]
    told = "Where marks rise with each other, both ways order the layers alike, whatever the ratio between them."
    return [Text(told), Choice("Ways", dict(reversed(options.items())))]
