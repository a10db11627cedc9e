"""The report of a comparison: levels, accelerators and dataflows side by side for one network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hwflow.ranking import spearman
from hwflow.reporting.estimates.configuration import Configuration, split_of_part
from hwflow.reporting.estimates.configuration_figures import bound_colour, layer_blocks
from hwflow.reporting.estimates.estimate_report import area_text, chip_sections, provenance, remarks
from hwflow.reporting.estimates.layer_rows import Key, by_name, energy_in, limit_of, name_of, names_axis
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
from hwflow.reporting.page.traces import IN_ORDER, bars, divided, line, lines_axis, stack
from hwflow.reporting.page.values import capital, counted, number, prefix, prefixed, quantity

_BESIDE, _GREY = "operators beside the layers", "@fifth-3"


def page(configurations: Sequence[Configuration]) -> Page:
    """The whole report."""
    colours = parts(split_of_part(row) for entry in configurations for row in entry.costs.layers)
    notes = dict.fromkeys(f"{entry.label}: {note}" for entry in configurations for note in remarks(entry))
    sections = [
        Section("Side by side", _totals(configurations, colours)),
        Section("Layer by layer", _by_layer(configurations)),
        Section("Agreement", _agreement(configurations)),
        Section(
            "Layers of one configuration",
            [Choice("Configuration", {entry.label: layer_blocks(entry, colours) for entry in configurations})],
        ),
        *chip_sections(configurations),
        Section("Where the numbers come from", [*provenance(list(configurations)), *map(Text, notes)]),
    ]
    network = configurations[0].costs.network
    return Page(
        f"{network}: {counted(len(configurations), 'configuration')} compared",
        _lead(configurations),
        [_table(configurations)],
        sections,
    )


def _lead(configurations: Sequence[Configuration]) -> str:
    """The configuration with the least energy-delay product at the finest level that was compared."""
    level = configurations[-1].costs.level
    same = [entry for entry in configurations if entry.costs.level == level and entry.edp is not None]
    units = {entry.energy[1] for entry in same}
    if len(same) < 2 or len(units) > 1:
        return f"Ratios and rank correlations are against the first, {configurations[0].label}."
    best = min(same, key=lambda entry: entry.edp or 0.0)
    return (
        f"At {level}, the least energy-delay product is that of {best.label}: {quantity(best.energy[0], best.energy[1])} and "
        f"{quantity(best.costs.totals.latency_s, 's')}. Ratios and rank correlations are against the first, "
        f"{configurations[0].label}."
    )


def _table(configurations: Sequence[Configuration]) -> Table:
    first = configurations[0]
    units = list(dict.fromkeys(entry.energy[1] for entry in configurations))
    energy = {unit: prefix([entry.energy[0] for entry in configurations if entry.energy[1] == unit]) for unit in units}
    slow = prefix([entry.costs.totals.latency_s for entry in configurations])
    rows: list[list[str | Cell]] = []
    for entry in configurations:
        (value, unit), totals = entry.energy, entry.costs.totals
        shown = number(None if value is None else value / energy[unit][0])
        if len(units) > 1:
            shown += f" {prefixed(energy[unit][1], unit)}"
        comparable = unit == first.energy[1]
        rows.append(
            [
                entry.label,
                Cell(shown, value),
                _ratio(value if comparable else None, first.energy[0]),
                Cell(number(None if totals.latency_s is None else totals.latency_s / slow[0]), totals.latency_s),
                _ratio(totals.latency_s, first.costs.totals.latency_s),
                percent_cell(totals.utilization),
                Cell(number(None if totals.dram_bytes is None else totals.dram_bytes / 1e6), totals.dram_bytes),
                Cell(area_text(totals.area_um2), totals.area_um2),
                *(_rank(entry, first, metric) for metric in ("energy", "latency")),
            ]
        )
    one = f"energy ({prefixed(energy[units[0]][1], units[0])})" if len(units) == 1 else "energy"
    headings = ["configuration", one, "ratio", f"latency ({slow[1]}s)", "ratio", "utilization (%)", "DRAM (MB)", "area"]
    return Table("The configurations", [*headings, "rank\nenergy", "rank\nlatency"], rows)


def _ratio(value: float | None, base: float | None) -> Cell:
    return Cell("-") if value is None or not base else Cell(f"{value / base:.3f}", value / base)


def _rank(entry: Configuration, first: Configuration, metric: str) -> Cell:
    found = spearman(*_paired(first, entry, metric)[:2])
    return Cell("-" if found is None else f"{found:.3f}", found)


def _values(entry: Configuration, metric: str) -> list[float | None]:
    return [energy_in(row) if metric == "energy" else row.latency_s for row in entry.costs.layers]


def _paired(one: Configuration, two: Configuration, metric: str) -> tuple[list[float], list[float], list[str]]:
    """A metric of the layers that both know, and their names."""
    names = map(name_of, by_name(one.costs.layers))
    both = [
        (a, b, name)
        for a, b, name in zip(_values(one, metric), _values(two, metric), names, strict=True)
        if a is not None and b is not None
    ]
    return [a for a, _, _ in both], [b for _, b, _ in both], [name for _, _, name in both]


# Figures -------------------------------------------------------------------------------------------------------------


def _totals(configurations: Sequence[Configuration], colours: Mapping[str, str]) -> list[Block]:
    """Energy by part of the chip, and latency by what limits it, one bar per configuration; one figure per unit of energy."""
    figures: list[Block] = []
    for unit in dict.fromkeys(entry.energy[1] for entry in configurations if entry.energy[0] is not None):
        those = [entry for entry in configurations if entry.energy[1] == unit and entry.energy[0] is not None]
        split = {}
        for part in colours:
            found = [sum(split_of_part(row).get(part, {}).get("", 0.0) for row in entry.costs.layers) for entry in those]
            split[part] = [value or None for value in found]
        split[_BESIDE] = [_beside(entry.energy[0], _values(entry, "energy"), entry) for entry in those]
        figures.append(_bars("Energy of the network by part", those, split, {**colours, _BESIDE: _GREY}, unit))
    timed = [entry for entry in configurations if entry.costs.totals.latency_s is not None]
    bounds = dict.fromkeys(limit_of(row) for entry in timed for row in entry.costs.layers)
    split = {
        f"bound by {bound}": [
            sum(row.latency_s or 0.0 for row in entry.costs.layers if limit_of(row) == bound) or None for entry in timed
        ]
        for bound in bounds
    }
    split[_BESIDE] = [_beside(entry.costs.totals.latency_s, _values(entry, "latency"), entry) for entry in timed]
    shades = {f"bound by {bound}": bound_colour(bound, colours) for bound in bounds} | {_BESIDE: _GREY}
    if timed:
        figures.append(_bars("Latency of the network by what bounds its layers", timed, split, shades, "s"))
    return figures


def _beside(total: float | None, layers: Sequence[float | None], entry: Configuration) -> float | None:
    """What a total has beside the layers, where other operators have a price."""
    return None if total is None or not entry.costs.operators else total - sum(value or 0.0 for value in layers)


def _bars(
    title: str,
    configurations: Sequence[Configuration],
    split: Mapping[str, Sequence[float | None]],
    colours: Mapping[str, str],
    unit: str,
) -> Figure:
    sums = [sum(values[i] or 0.0 for values in split.values()) for i in range(len(configurations))]
    divisor, letter = prefix(sums)
    names = [label(entry.label) for entry in configurations]
    data = []
    for name, colour in colours.items():
        values = split.get(name, ())
        if not any(values):
            continue
        hints = [
            f"{entry}<br>{label(name)}: {quantity(value, unit)}<br>whole: {quantity(whole, unit)}"
            for entry, value, whole in zip(names, values, sums, strict=True)
        ]
        marker = {"color": colour, "line": {"width": 0}}
        data.append(bars(label(name), divided(values, divisor), names, hints, marker, orientation="h"))
    x_axis = axis(f"{title.split(maxsplit=1)[0].lower()} ({prefixed(letter, unit)})", rangemode="tozero")
    layout = stack(x_axis, lines_axis(names), gap=0.3, showlegend=True)
    return Figure(title, data, layout, height=130 + 34 * len(configurations))


def _by_layer(configurations: Sequence[Configuration]) -> list[Block]:
    """Energies of every layer, one figure per unit, and latencies: one line a configuration."""
    shades = several(len(configurations))
    units = dict.fromkeys(entry.energy[1] for entry in configurations)
    blocks: list[Block] = []
    for metric, unit in [*(("energy", unit) for unit in units), ("latency", "s")]:
        lines = [
            _Line(entry.label, _values(entry, metric), shades[i], _SYMBOLS[i % len(_SYMBOLS)])
            for i, entry in enumerate(configurations)
            if metric == "latency" or entry.energy[1] == unit
        ]
        if known := [one for one in lines if any(one.values)]:
            keys = list(by_name(configurations[0].costs.layers))
            blocks.append(_metric_of_layers(metric, unit, keys, known))
    return blocks


class _Line(NamedTuple):
    """A configuration's values of one metric, by layer, and how they are drawn."""

    name: str
    values: list[float | None]
    colour: str
    symbol: str


def _metric_of_layers(metric: str, unit: str, keys: Sequence[Key], lines: Sequence[_Line]) -> Figure:
    every = [value for one in lines for value in one.values]
    divisor, letter = prefix(every)
    data = []
    for one in lines:
        name = label(one.name)
        hints = [
            f"{label(name_of(key))}<br>{name}: {quantity(value, unit)}" for key, value in zip(keys, one.values, strict=True)
        ]
        y = [value / divisor if value else None for value in one.values]  # 0 has no place on a logarithmic axis
        style, marker = {"color": one.colour, "width": 1.5}, {"size": 7, "symbol": one.symbol}
        data.append(line(range(len(keys)), y, style, hints, name=name, mode="lines+markers", marker=marker))
    layout = {
        "xaxis": names_axis(keys),
        "yaxis": wide_axis(f"{metric} ({prefixed(letter, unit)})", every),
        "showlegend": True,
        "legend": IN_ORDER,
    }
    return Figure(f"{capital(metric)} of every layer", data, layout, "A click in the legend hides a configuration.", height=420)


_SYMBOLS = ("circle", "square", "diamond", "cross", "x", "triangle-up", "triangle-down", "star")


def _agreement(configurations: Sequence[Configuration]) -> list[Block]:
    options: dict[str, list[Block]] = {}
    for entry in configurations[1:]:
        base = next(w for w in configurations if w.costs.accelerator == entry.costs.accelerator)
        base = configurations[0] if base is entry else base
        figures: list[Block] = []
        for metric in ("energy", "latency"):
            unit = "s" if metric == "latency" else entry.energy[1]
            x, y, names = _paired(base, entry, metric)
            if len(x) < 2 or (metric == "energy" and base.energy[1] != entry.energy[1]):
                continue
            title = f"{capital(metric)} of every layer, {base.label} and {entry.label}"
            cloud = Cloud("layers", x, y, names, "@after")
            figures.append(agreement_figure(title, [cloud], (base.label, entry.label), metric, unit))
        if figures:
            options[f"{base.label} and {entry.label}"] = [Beside(figures)]
    if not options:
        return [Text("There are no two configurations with layers and units in common to compare.")]
    told = "Where the marks rise together, both configurations rank the layers alike, whatever the ratio between their totals."
    return [Text(told), Choice("Configurations", dict(reversed(options.items())))]
