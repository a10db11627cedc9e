"""The layers of one way to cost a network: energy by part and tensor, roofline, utilisation and what bounds each layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hwflow.reporting.estimates.configuration import LEAKAGE, Way, split_of_part
from hwflow.reporting.estimates.layer_costs import Side, energy_figure, layers_table
from hwflow.reporting.estimates.layer_rows import Key, by_name, energy_in, height_of, name_of, names_axis, unit_of
from hwflow.reporting.page import traces
from hwflow.reporting.page.blocks import Block, Choice, Figure, Text, axis, label
from hwflow.reporting.page.traces import bars, divided, line, marks
from hwflow.reporting.page.values import counted, listed, percent, prefix, prefixed, quantity
from hwflow.reporting.pruning.run_records import LayerRecord

COMPUTE = "compute"
LEGEND = {**traces.LEGEND, "traceorder": "normal"}
_TENSORS = {"": "", "weights": "", "inputs": "/", "outputs": "x"}  # patterns of bars


def layer_blocks(way: Way, colours: Mapping[str, str]) -> list[Block]:
    """Energy, roofline, utilisation and the table of one network's layers; `colours` as `palette.parts` gives them."""
    rows, level = way.costs.layers, way.costs.level
    blocks: list[Block] = []
    if any(energy_in(row) is not None for row in rows):
        blocks.append(_energy(way, colours))
    else:
        blocks.append(Text(f"Energies are not known at {level} for this accelerator."))
    if all(row.latency_s is None for row in rows):
        blocks.append(Text(f"Latencies are not known at {level} without an accelerator."))
        return [*blocks, layers_table([_side(way)])]
    blocks += [*_roofline(way, colours), _latency(way, colours), _utilization(way, colours)]
    return [*blocks, Text(_bounds(way)), layers_table([_side(way)])]


def bound_colour(bound: str | None, colours: Mapping[str, str]) -> str:
    """The colour of what bounds a layer: its memory's, or that of the arithmetic."""
    return "@after" if bound == COMPUTE else colours.get(bound or "", "@before")


def _side(way: Way) -> Side:
    return Side(way.label, way.costs, "@after")


def _energy(way: Way, colours: Mapping[str, str]) -> Block:
    by_part = energy_figure([_side(way)], colours)
    splits = [split for split in way.splits if split is not None]
    if not splits:
        return by_part
    rows = way.costs.layers
    keys, unit = list(by_name(rows)), unit_of(rows)
    divisor, letter = prefix([energy_in(row) for row in rows])
    data = []
    for name, colour, pattern, found in _shares(way, colours):
        hints = [
            f"{label(name_of(key))}<br>{name}: {quantity(value, unit)}<br>layer: {quantity(energy_in(row), unit)}"
            for key, value, row in zip(keys, found, rows, strict=True)
        ]
        look = {"shape": pattern, "fillmode": "overlay", "fgcolor": "@panel", "size": 7, "solidity": 0.25}
        marker = {"color": colour, "line": {"width": 0}, "pattern": look}
        data.append(bars(name, list(range(len(keys))), divided(found, divisor), hints, marker))
    layout = _layout(keys, axis(f"energy ({prefixed(letter, unit)})", rangemode="tozero"))
    note = "Colours are parts of the chip; weights plain, inputs striped, outputs crossed."
    if len(splits) < len(rows):
        note += f" {counted(len(rows) - len(splits), 'layer')} by part only: there tensors do not add up exactly."
    title = f"Energy per layer by part and tensor at {way.costs.level}"
    by_tensor = Figure(title, data, layout, note, height=height_of(460, keys))
    return Choice("Energy by", {"part of the chip": [by_part], "part and tensor": [by_tensor]})


def _shares(way: Way, colours: Mapping[str, str]) -> list[tuple[str, str, str, Sequence[float | None]]]:
    """Each part and tensor that takes energy anywhere: name, colour, pattern, and what it takes of each layer."""
    whole = [split_of_part(row) if split is None else split for row, split in zip(way.costs.layers, way.splits, strict=True)]
    shares: list[tuple[str, str, str, Sequence[float | None]]] = [
        (label(f"{part}: {tensor}" if tensor else part), colour, pattern, [split.get(part, {}).get(tensor) for split in whole])
        for part, colour in colours.items()
        for tensor, pattern in _TENSORS.items()
    ]
    leaks = [sum(tensors.get(LEAKAGE, 0.0) for tensors in split.values()) for split in whole]
    shares.append(("leakage of all memories", "@before", "", leaks))
    return [share for share in shares if any(share[3])]


def _layout(keys: Sequence[Key], value_axis: Mapping[str, Any]) -> dict[str, Any]:
    """Of stacked bars, one a layer."""
    return {"barmode": "stack", "bargap": 0.25, "xaxis": names_axis(keys), "yaxis": value_axis, "legend": LEGEND}


def _roofline(way: Way, colours: Mapping[str, str]) -> list[Block]:
    """Williams, Waterman, Patterson, CACM 52(4), 2009, with multiply-accumulates for operations."""
    peak, bandwidth = way.peak_macs_s, way.dram_bytes_s
    if peak is None:
        return [Text("No roofline: the accelerator is not known here.")]
    if bandwidth is None:
        return [Text("No roofline: the accelerator states no DRAM bandwidth.")]
    return [_roofline_figure(way, peak, bandwidth, colours)]


def _roofline_figure(way: Way, peak: float, bandwidth: float, colours: Mapping[str, str]) -> Figure:
    """MACs a second over MACs a byte; `peak` in MACs, `bandwidth` in bytes a second."""
    shown = _measured(by_name(way.costs.layers))
    at = {key: _intensity_and_rate(row) for key, row in shown.items()}
    divisor, letter = prefix([peak])
    data = [_roof(peak, bandwidth, [x for x, _ in at.values()], divisor)]
    hints = {key: _roof_hint(key, x, y, min(peak, x * bandwidth), shown[key]) for key, (x, y) in at.items()}
    spots = {key: (x, y / divisor) for key, (x, y) in at.items()}
    for bound in dict.fromkeys(row.bound_by for row in shown.values()):
        those = [key for key, row in shown.items() if row.bound_by == bound]
        data.append(_bound_marks(bound, [spots[key] for key in those], [hints[key] for key in those], colours))
    layout = {
        "xaxis": axis("MACs per byte of DRAM traffic", type="log", dtick=1),
        "yaxis": axis(f"{letter}MAC/s", type="log", dtick=1),
        "legend": LEGEND,
    }
    note = (
        f"Each mark is a layer. Roof: {quantity(peak, 'MAC/s')} with all MAC units at work, and a DRAM of "
        f"{quantity(bandwidth, 'B/s')}. A layer well below it waits for another memory, or leaves MAC units idle."
    )
    return Figure(f"Roofline at {way.costs.level}", data, layout, note, height=440)


def _roof(peak: float, bandwidth: float, intensities: Sequence[float], divisor: float) -> dict[str, Any]:
    """What bandwidth and MAC units allow, from half the least to twice the largest of the intensities and the ridge."""
    ridge = peak / bandwidth
    ends = sorted([*intensities, ridge])
    left, right = ends[0] / 2, ends[-1] * 2
    heights = [left * bandwidth / divisor, peak / divisor, peak / divisor]
    return line([left, ridge, right], heights, {"color": "@ink", "width": 2}, name="roof")


def _measured(rows: Mapping[Key, LayerRecord]) -> dict[Key, LayerRecord]:
    """The layers of which MACs, DRAM traffic and latency are known and not 0."""
    return {key: row for key, row in rows.items() if row.dram_bytes and row.latency_s and row.macs}


def _intensity_and_rate(row: LayerRecord) -> tuple[float, float]:
    """MACs a byte of DRAM traffic, and MACs a second."""
    return row.macs / (row.dram_bytes or 1), row.macs / (row.latency_s or 1)


def _roof_hint(key: Key, intensity: float, rate: float, roof: float, row: LayerRecord) -> str:
    return (
        f"{label(name_of(key))}<br>{intensity:.3g} MAC/byte, {quantity(rate, 'MAC/s')}<br>"
        f"{percent(rate / roof)} of the roof; {_bound_text(row)}"
    )


def _bound_name(bound: str | None) -> str:
    return label(f"bound by {bound or 'unknown'}")


def _bound_marks(
    bound: str | None, spots: Sequence[tuple[float, float]], hints: Sequence[str], colours: Mapping[str, str]
) -> dict[str, Any]:
    """The layers that one thing bounds, under the roof."""
    x, y = [x for x, _ in spots], [y for _, y in spots]
    return marks(_bound_name(bound), x, y, hints, _bound_marker(bound, colours))


def _bound_marker(bound: str | None, colours: Mapping[str, str]) -> dict[str, Any]:
    symbol = "circle" if bound == COMPUTE else "diamond"
    return {"color": bound_colour(bound, colours), "size": 10, "symbol": symbol, "line": {"color": "@panel", "width": 1}}


def _latency(way: Way, colours: Mapping[str, str]) -> Figure:
    seconds = [row.latency_s for row in way.costs.layers]
    divisor, letter = prefix(seconds)
    return _bounded(way, colours, "Latency per layer", divided(seconds, divisor), f"latency ({letter}s)")


def _utilization(way: Way, colours: Mapping[str, str]) -> Figure:
    values = [None if row.utilization is None else 100 * row.utilization for row in way.costs.layers]
    figure = _bounded(way, colours, "Utilization per layer", values, "MAC units at work (%)")
    return Figure(
        figure.title,
        figure.data,
        {**figure.layout, "yaxis": axis("MAC units at work (%)", range=[0, 105])},
        "Multiply-accumulates by cycles and MAC units, stalls included.",
        figure.height,
    )


def _bounded(way: Way, colours: Mapping[str, str], title: str, values: Sequence[float | None], unit: str) -> Figure:
    """Bars by layer, in the colour of what bounds each."""
    rows = way.costs.layers
    keys = list(by_name(rows))
    data = []
    for bound in dict.fromkeys(row.bound_by for row in rows):
        mine = [value if row.bound_by == bound else None for value, row in zip(values, rows, strict=True)]
        hints = [f"{label(name_of(key))}<br>{_bound_text(row)}" for key, row in zip(keys, rows, strict=True)]
        marker = {"color": bound_colour(bound, colours)}
        data.append(bars(_bound_name(bound), list(range(len(keys))), mine, hints, marker))
    layout = {**_layout(keys, axis(unit, rangemode="tozero")), "showlegend": True}
    return Figure(f"{title} at {way.costs.level}", data, layout, height=height_of(340, keys))


def _bound_text(row: LayerRecord) -> str:
    return (
        f"{quantity(row.latency_s, 's')}, bound by {label(row.bound_by or 'unknown')}, utilization {percent(row.utilization)}"
    )


def _bounds(way: Way) -> str:
    """What bounds how many layers, and how much of the time."""
    rows = way.costs.layers
    whole = sum(row.latency_s or 0.0 for row in rows)
    told = []
    for bound in dict.fromkeys(row.bound_by for row in rows):
        those = [row for row in rows if row.bound_by == bound]
        share = sum(row.latency_s or 0.0 for row in those) / whole if whole else None
        what = "the MAC units" if bound == COMPUTE else f"the memory {bound}" if bound else "nothing known"
        told.append(f"{counted(len(those), 'layer')} by {what}, {percent(share)} of the latency")
    return f"Bound: {listed(told)}."


def unsplit_note(way: Way) -> str:
    """Why energy is not split by tensor, where it is not."""
    if all(split is not None for split in way.splits):
        return ""
    if any(split is not None for split in way.splits):
        return "Energy by tensor is left out for layers where it does not add up exactly to the energy of each part."
    return (
        "Energy is split by part of the chip only: by tensor it is shown where counts of accesses and the energy table are at "
        "hand and add up exactly."
    )
