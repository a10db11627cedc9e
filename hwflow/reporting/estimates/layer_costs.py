"""Energy and latency of every layer, of one network or of several side by side: figures and a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hwflow.reporting.estimates.layer_rows import (
    Key,
    by_name,
    energy_in,
    height_of,
    limit_of,
    name_of,
    names_axis,
    scaled_cell,
    split_of,
    unit_of,
)
from hwflow.reporting.page.blocks import Block, Cell, Figure, Table, Text, axis, label, percent_cell
from hwflow.reporting.page.traces import IN_ORDER, LEGEND, bars, divided
from hwflow.reporting.page.values import prefix, prefixed, quantity
from hwflow.reporting.pruning.run_records import CostRecord, LayerRecord

_FILLED = 0.75  # of a layer's width


@dataclass(frozen=True)
class Side:
    """One of the networks that are shown: its name, its costs, and how its bars look."""

    name: str
    costs: CostRecord
    colour: str
    opacity: float = 1.0


def layer_costs(sides: Sequence[Side], colours: Mapping[str, str]) -> list[Block]:
    """What each layer costs on each side; `colours` are those of the parts of the chip, as `palette.parts` gives them."""
    rows, keys = _rows(sides)
    level = sides[0].costs.level
    blocks: list[Block] = []
    if any(energy_in(row) is not None for layers in rows for row in layers.values()):
        blocks.append(energy_figure(sides, colours))
    else:
        blocks.append(Text(f"Energies are not known at {level} for this accelerator."))
    if any(row.latency_s is not None for layers in rows for row in layers.values()):
        blocks.append(_latency(sides, rows, keys, level))
    else:
        blocks.append(Text(f"Latencies are not known at {level} without an accelerator."))
    return [*blocks, layers_table(sides)]


def energy_figure(sides: Sequence[Side], colours: Mapping[str, str]) -> Figure:
    """Energy by layer, stacked by part of the chip, the sides beside each other."""
    rows, keys = _rows(sides)
    level = sides[0].costs.level
    every = [row for layers in rows for row in layers.values()]
    unit = unit_of(every)
    divisor, letter = prefix([energy_in(row) for row in every])
    split = {part for layers in rows for row in layers.values() for part in split_of(row)}
    width = _FILLED / len(sides)  # bars have places of their own: plotly.js before 3 stacks what an offset group holds apart
    data: list[dict[str, Any]] = []
    for part, colour in colours.items():
        if part not in split:
            continue
        for i, (side, layers) in enumerate(zip(sides, rows, strict=True)):
            found = [split_of(layers[key]).get(part) if key in layers else None for key in keys]
            hints = [
                f"{label(name_of(key))}, {side.name}<br>{label(part)}: {quantity(value, unit)}<br>layer: "
                f"{quantity(energy_in(layers[key]), unit) if key in layers else '-'}"
                for key, value in zip(keys, found, strict=True)
            ]
            x = [place + (i - (len(sides) - 1) / 2) * width for place in range(len(keys))]
            marker = {"color": colour, "opacity": side.opacity, "line": {"width": 0}}
            own = {"legendgroup": label(part), "showlegend": i == 0, "width": width}
            data.append(bars(label(part), x, divided(found, divisor), hints, marker, **own))
    layout = {
        "barmode": "stack",
        "xaxis": names_axis(keys),
        "yaxis": axis(f"energy ({prefixed(letter, unit)})", rangemode="tozero"),
        "legend": IN_ORDER,
    }
    note = "By part of the chip" + (f"; {_order(sides)}." if len(sides) > 1 else ".")
    return Figure(f"Energy per layer at {level}", data, layout, note, height=height_of(440, keys))


def _latency(sides: Sequence[Side], rows: Sequence[Mapping[Key, LayerRecord]], keys: Sequence[Key], level: str) -> Figure:
    divisor, letter = prefix([row.latency_s for layers in rows for row in layers.values()])
    data = []
    for side, layers in zip(sides, rows, strict=True):
        found = [layers.get(key) for key in keys]
        y = divided([None if row is None else row.latency_s for row in found], divisor)
        hints = [_latency_hint(f"{label(name_of(key))}, {side.name}", row) for key, row in zip(keys, found, strict=True)]
        data.append(bars(side.name, range(len(keys)), y, hints, {"color": side.colour}))
    layout = {
        "barmode": "group",
        "bargap": 1 - _FILLED,
        "xaxis": names_axis(keys),
        "yaxis": axis(f"latency ({letter}s)", rangemode="tozero"),
        "legend": LEGEND,
    }
    return Figure(f"Latency per layer at {level}", data, layout, height=height_of(360, keys))


def _latency_hint(name: str, row: LayerRecord | None) -> str:
    if row is None:
        return ""
    return f"{name}<br>{quantity(row.latency_s, 's')}, {_cycles(row)}<br>bound by {label(limit_of(row))}"


def layers_table(sides: Sequence[Side]) -> Table:
    """Every layer's costs, folded at first."""
    rows, keys = _rows(sides)
    level = sides[0].costs.level
    every = [row for layers in rows for row in layers.values()]
    unit = unit_of(every)
    energy, slow = prefix([energy_in(r) for r in every]), prefix([r.latency_s for r in every])
    columns: dict[str, Callable[[LayerRecord], str | Cell]] = {
        f"energy ({prefixed(energy[1], unit)})": lambda row: scaled_cell(energy_in(row), energy[0]),
        f"latency ({slow[1]}s)": lambda row: scaled_cell(row.latency_s, slow[0]),
        "bound by": lambda row: limit_of(row) if row.bound_by else "-",
        "utilization (%)": lambda row: percent_cell(row.utilization),
        "DRAM (kB)": lambda row: scaled_cell(row.dram_bytes, 1e3),
    }
    if any(row.execution != "direct" for row in every):
        columns["execution"] = lambda row: row.execution
    headings, left = ["layer", "type"], {0, 1}
    shaped = any(row.shape for row in every)
    for side in sides:
        headings += [_heading("channels in > out", side, sides)] if shaped else []
    for name in columns:
        left |= {len(headings), len(headings) + 1} if name in ("bound by", "execution") else set()
        headings += [_heading(name, side, sides) for side in sides]
    shown: list[list[str | Cell]] = []
    for key in keys:
        found = [layers.get(key) for layers in rows]
        line: list[str | Cell] = [name_of(key), next(row.type for row in found if row)]
        line += ["-" if row is None else _channels(row) for row in found] if shaped else []
        for value in columns.values():
            line += ["-" if row is None else value(row) for row in found]
        shown.append(line)
    return Table(f"Every layer at {level}", headings, shown, left=frozenset(left), folded=True)


def _rows(sides: Sequence[Side]) -> tuple[list[dict[Key, LayerRecord]], list[Key]]:
    """The layers of each side, and those of all of them in order."""
    rows = [by_name(side.costs.layers) for side in sides]
    return rows, list(dict.fromkeys(key for layers in rows for key in layers))


def _heading(name: str, side: Side, sides: Sequence[Side]) -> str:
    return f"{name}, {side.name}" if len(sides) > 1 else name


def _channels(row: LayerRecord) -> Cell:
    groups = row.shape.get("G", 1)
    inside, out = (groups * row.shape.get(name, 1) for name in ("C", "M"))
    return Cell(f"{inside} > {out}", out)


def _cycles(row: LayerRecord) -> str:
    return "cycles unknown" if row.cycles is None else f"{row.cycles:,.0f} cycles"


def _order(sides: Sequence[Side]) -> str:
    """How to tell the sides' bars apart."""
    return ", ".join(f"{side.name} {'faint' if side.opacity < 1 else 'in full colour'}" for side in sides)
