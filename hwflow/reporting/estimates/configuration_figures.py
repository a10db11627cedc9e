"""The layers of one configuration: energy by part and tensor, roofline, utilisation and what bounds each layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hwflow.reporting.estimates.configuration import LEAKAGE, Configuration, split_of_part
from hwflow.reporting.estimates.layer_costs import Side, energy_figure, layers_table
from hwflow.reporting.estimates.layer_rows import (
    UNKNOWN,
    by_name,
    energy_in,
    height_of,
    limit_of,
    name_of,
    names_axis,
    unit_of,
)
from hwflow.reporting.page.blocks import Block, Choice, Figure, Text, axis, label
from hwflow.reporting.page.traces import IN_ORDER, bars, divided, line, marks, stack
from hwflow.reporting.page.values import counted, listed, percent, prefix, prefixed, quantity
from hwflow.reporting.pruning.run_records import LayerRecord
from hwflow.results import ARRAY, COMPUTE

_TENSORS = {"": "", "weights": "", "inputs": "/", "outputs": "x"}  # patterns of bars


def layer_blocks(configuration: Configuration, colours: Mapping[str, str]) -> list[Block]:
    """Energy, roofline, utilisation and the table of one network's layers; `colours` as `palette.parts` gives them."""
    rows, level = configuration.costs.layers, configuration.costs.level
    blocks: list[Block] = []
    if any(energy_in(row) is not None for row in rows):
        blocks.append(_energy(configuration, colours))
    else:
        blocks.append(Text(f"Energies are not known at {level} for this accelerator."))
    if all(row.latency_s is None for row in rows):
        blocks.append(Text(f"Latencies are not known at {level} without an accelerator."))
        return [*blocks, layers_table([_side(configuration)])]
    blocks += [*_roofline(configuration, colours), _latency(configuration, colours), _utilization(configuration, colours)]
    return [*blocks, Text(_bounds(configuration)), layers_table([_side(configuration)])]


def bound_colour(bound: str, colours: Mapping[str, str]) -> str:
    """The colour of what limits a layer: its memory's, that of the arithmetic, or a lighter one where MAC units are idle."""
    return {COMPUTE: "@after", ARRAY: "@after/0.45"}.get(bound, colours.get(bound, "@before"))


def _side(configuration: Configuration) -> Side:
    return Side(configuration.label, configuration.costs, "@after")


def _energy(configuration: Configuration, colours: Mapping[str, str]) -> Block:
    by_part = energy_figure([_side(configuration)], colours)
    splits = [split for split in configuration.splits if split is not None]
    if not splits:
        return by_part
    rows = configuration.costs.layers
    keys, unit = list(by_name(rows)), unit_of(rows)
    whole = [split_of_part(row) if split is None else split for row, split in zip(rows, configuration.splits, strict=True)]
    divisor, letter = prefix([energy_in(row) for row in rows])
    shares: list[tuple[str, str, str, Sequence[float | None]]] = [
        (label(f"{part}: {tensor}" if tensor else part), colour, pattern, [split.get(part, {}).get(tensor) for split in whole])
        for part, colour in colours.items()
        for tensor, pattern in _TENSORS.items()
    ]
    leaks = [sum(tensors.get(LEAKAGE, 0.0) for tensors in split.values()) for split in whole]
    if any(leaks):
        shares.append(("leakage of all memories", "@before", "", leaks))
    data = []
    for name, colour, pattern, found in shares:
        if not any(found):
            continue
        hints = [
            f"{label(name_of(key))}<br>{name}: {quantity(value, unit)}<br>layer: {quantity(energy_in(row), unit)}"
            for key, value, row in zip(keys, found, rows, strict=True)
        ]
        drawn = {"shape": pattern, "fillmode": "overlay", "fgcolor": "@panel", "size": 7, "solidity": 0.25}
        marker = {"color": colour, "line": {"width": 0}, "pattern": drawn}
        data.append(bars(name, range(len(keys)), divided(found, divisor), hints, marker))
    layout = stack(names_axis(keys), axis(f"energy ({prefixed(letter, unit)})", rangemode="tozero"))
    note = "Colours are parts of the chip; weights plain, inputs striped, outputs crossed."
    if len(splits) < len(rows):
        note += f" {counted(len(rows) - len(splits), 'layer')} by part only: there tensors do not add up exactly."
    title = f"Energy per layer by part and tensor at {configuration.costs.level}"
    by_tensor = Figure(title, data, layout, note, height=height_of(460, keys))
    return Choice("Energy by", {"part of the chip": [by_part], "part and tensor": [by_tensor]})


def _roofline(configuration: Configuration, colours: Mapping[str, str]) -> list[Block]:
    """Williams, Waterman, Patterson, CACM 52(4), 2009, with multiply-accumulates for operations."""
    peak, bandwidth = configuration.peak_macs_s, configuration.dram_bytes_s
    if peak is None or bandwidth is None:
        missing = "the accelerator is not known here" if peak is None else "the accelerator states no DRAM bandwidth"
        return [Text(f"No roofline: {missing}.")]
    shown = {
        key: row for key, row in by_name(configuration.costs.layers).items() if row.dram_bytes and row.latency_s and row.macs
    }
    at = {key: (row.macs / (row.dram_bytes or 1), row.macs / (row.latency_s or 1)) for key, row in shown.items()}
    divisor, letter = prefix([peak])
    ridge = peak / bandwidth
    ends = sorted([*(x for x, _ in at.values()), ridge])
    left, right = ends[0] / 2, ends[-1] * 2
    heights = divided([left * bandwidth, peak, peak], divisor)
    data = [line([left, ridge, right], heights, {"color": "@ink", "width": 2}, name="roof")]
    for bound in dict.fromkeys(limit_of(row) for row in shown.values()):
        those = [key for key, row in shown.items() if limit_of(row) == bound]
        hints = [
            f"{label(name_of(key))}<br>{at[key][0]:.3g} MAC/byte, {quantity(at[key][1], 'MAC/s')}<br>"
            f"{percent(at[key][1] / min(peak, at[key][0] * bandwidth))} of the roof; {_bound_text(shown[key])}"
            for key in those
        ]
        symbol = "circle" if bound in (COMPUTE, ARRAY) else "diamond"
        marker = {"color": bound_colour(bound, colours), "size": 10, "symbol": symbol, "line": {"color": "@panel", "width": 1}}
        x, y = [at[key][0] for key in those], divided([at[key][1] for key in those], divisor)
        data.append(marks(label(f"bound by {bound}"), x, y, hints, marker))
    layout = {
        "xaxis": axis("MACs per byte of DRAM traffic", type="log", dtick=1),
        "yaxis": axis(f"{letter}MAC/s", type="log", dtick=1),
        "legend": IN_ORDER,
    }
    note = (
        f"Each mark is a layer. Roof: {quantity(peak, 'MAC/s')} with all MAC units at work, and a DRAM of "
        f"{quantity(bandwidth, 'B/s')}. A layer well below it waits for another memory, or leaves MAC units idle."
    )
    return [Figure(f"Roofline at {configuration.costs.level}", data, layout, note, height=440)]


def _latency(configuration: Configuration, colours: Mapping[str, str]) -> Figure:
    rows = configuration.costs.layers
    divisor, letter = prefix([row.latency_s for row in rows])
    values = divided([row.latency_s for row in rows], divisor)
    return _bounded(configuration, colours, "Latency per layer", values, f"latency ({letter}s)")


def _utilization(configuration: Configuration, colours: Mapping[str, str]) -> Figure:
    values = [None if row.utilization is None else 100 * row.utilization for row in configuration.costs.layers]
    figure = _bounded(configuration, colours, "Utilization per layer", values, "MAC units at work (%)")
    return Figure(
        figure.title,
        figure.data,
        {**figure.layout, "yaxis": axis("MAC units at work (%)", range=[0, 105])},
        "Multiply-accumulates by cycles and MAC units, stalls included.",
        figure.height,
    )


def _bounded(
    configuration: Configuration, colours: Mapping[str, str], title: str, values: Sequence[float | None], unit: str
) -> Figure:
    """Bars by layer, in the colour of what bounds each."""
    rows = configuration.costs.layers
    keys = list(by_name(rows))
    hints = [f"{label(name_of(key))}<br>{_bound_text(row)}" for key, row in zip(keys, rows, strict=True)]
    data = []
    for bound in dict.fromkeys(limit_of(row) for row in rows):
        own = [value if limit_of(row) == bound else None for value, row in zip(values, rows, strict=True)]
        marker = {"color": bound_colour(bound, colours)}
        data.append(bars(label(f"bound by {bound}"), range(len(keys)), own, hints, marker))
    layout = stack(names_axis(keys), axis(unit, rangemode="tozero"), showlegend=True)
    return Figure(f"{title} at {configuration.costs.level}", data, layout, height=height_of(340, keys))


def _bound_text(row: LayerRecord) -> str:
    return f"{quantity(row.latency_s, 's')}, bound by {label(limit_of(row))}, utilization {percent(row.utilization)}"


def _bounds(configuration: Configuration) -> str:
    """What bounds how many layers, and how much of the time."""
    rows = configuration.costs.layers
    whole = sum(row.latency_s or 0.0 for row in rows)
    told = []
    for bound in dict.fromkeys(limit_of(row) for row in rows):
        those = [row for row in rows if limit_of(row) == bound]
        share = sum(row.latency_s or 0.0 for row in those) / whole if whole else None
        what = {COMPUTE: "the MAC units", ARRAY: ARRAY, UNKNOWN: "nothing known"}.get(bound, f"the memory {bound}")
        told.append(f"{counted(len(those), 'layer')} by {what}, {percent(share)} of the latency")
    idle = " Array utilization: compute sets the latency, but more than half of the MAC units have no work."
    return f"Bound: {listed(told)}.{idle if any(limit_of(row) == ARRAY for row in rows) else ''}"


def unsplit_note(configuration: Configuration) -> str:
    """Why energy is not split by tensor, where it is not."""
    if all(split is not None for split in configuration.splits):
        return ""
    if any(split is not None for split in configuration.splits):
        return "Energy by tensor is left out for layers where it does not add up exactly to the energy of each part."
    return (
        "Energy is split by part of the chip only: by tensor it is shown where counts of accesses and the energy table are at "
        "hand and add up exactly."
    )
