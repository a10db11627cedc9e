"""Energy and latency of every layer, of one network or of several side by side: figures and a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hwflow.reporting.blocks import Block, Cell, Figure, Table, Text, axis, label, percent_cell
from hwflow.reporting.recorded import CostRecord, Known, LayerRecord
from hwflow.reporting.values import number, prefix, prefixed, quantity

NORMALIZED = " normalized"  # units of one 16-bit multiply-accumulate
_WIDE = 24  # layers from which on names are written upright
_FILLED = 0.75  # of a layer's width
_Key = tuple[str, int]


@dataclass(frozen=True)
class Side:
    """One of the networks that are shown: its name, its costs, and how its bars look."""

    name: str
    costs: CostRecord
    colour: str
    opacity: float = 1.0


def layer_costs(sides: Sequence[Side], colours: Mapping[str, str]) -> list[Block]:
    """What each layer costs on each side; `colours` are those of the parts of the chip, as `palette.parts` gives them."""
    rows = [_by_name(side.costs.layers) for side in sides]
    keys = list(dict.fromkeys(key for layers in rows for key in layers))
    level = sides[0].costs.level
    blocks: list[Block] = []
    if any(_energy_of(row) is not None for layers in rows for row in layers.values()):
        blocks.append(_energy(sides, rows, keys, colours, level))
    else:
        blocks.append(Text(f"Energies are not known at {level} for this accelerator."))
    if any(row.latency_s is not None for layers in rows for row in layers.values()):
        blocks.append(_latency(sides, rows, keys, level))
    else:
        blocks.append(Text(f"Latencies are not known at {level} without an accelerator."))
    return [*blocks, _table(sides, rows, keys, level)]


def energy_of(pj: float | None, normalized: float | None) -> tuple[float | None, str]:
    """An energy in joule, or in normalised units where it is in those, and the unit."""
    if pj is None and normalized is not None:
        return normalized, NORMALIZED
    return (None if pj is None else pj * 1e-12), "J"


def _energy(
    sides: Sequence[Side],
    rows: Sequence[Mapping[_Key, LayerRecord]],
    keys: Sequence[_Key],
    colours: Mapping[str, str],
    level: str,
) -> Figure:
    every = [row for layers in rows for row in layers.values()]
    unit = _unit(every)
    divisor, letter = prefix([_energy_of(row) for row in every])
    split = {part for layers in rows for row in layers.values() for part in _split(row)}
    width = _FILLED / len(sides)  # bars have places of their own: plotly.js before 3 stacks what an offset group holds apart
    data: list[dict[str, Any]] = []
    for part, colour in colours.items():
        if part not in split:
            continue
        for i, (side, layers) in enumerate(zip(sides, rows, strict=True)):
            found = [_split(layers[key]).get(part) if key in layers else None for key in keys]
            hints = [
                f"{label(_name(key))}, {side.name}<br>{label(part)}: {quantity(value, unit)}<br>layer: "
                f"{quantity(_energy_of(layers[key]), unit) if key in layers else '-'}"
                for key, value in zip(keys, found, strict=True)
            ]
            data.append(
                {
                    "type": "bar",
                    "name": label(part),
                    "legendgroup": label(part),
                    "showlegend": i == 0,
                    "x": [place + (i - (len(sides) - 1) / 2) * width for place in range(len(keys))],
                    "width": width,
                    "y": [None if value is None else value / divisor for value in found],
                    "hovertext": hints,
                    "hoverinfo": "text",
                    "marker": {"color": colour, "opacity": side.opacity, "line": {"width": 0}},
                }
            )
    layout = {
        "barmode": "stack",
        "xaxis": _names(keys),
        "yaxis": axis(f"energy ({prefixed(letter, unit)})", rangemode="tozero"),
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "traceorder": "normal"},
    }
    note = "By part of the chip" + (f"; {_order(sides)}." if len(sides) > 1 else ".")
    return Figure(f"Energy per layer at {level}", data, layout, note, height=_height(440, keys))


def _latency(sides: Sequence[Side], rows: Sequence[Mapping[_Key, LayerRecord]], keys: Sequence[_Key], level: str) -> Figure:
    divisor, letter = prefix([row.latency_s for layers in rows for row in layers.values()])
    data = []
    for side, layers in zip(sides, rows, strict=True):
        found = [layers.get(key) for key in keys]
        data.append(
            {
                "type": "bar",
                "name": side.name,
                "x": list(range(len(keys))),
                "y": [None if row is None or row.latency_s is None else row.latency_s / divisor for row in found],
                "hovertext": [
                    f"{label(_name(key))}, {side.name}<br>{quantity(row.latency_s, 's')}, {_cycles(row)}"
                    f"<br>bound by {label(row.bound_by or 'unknown')}"
                    if row
                    else ""
                    for key, row in zip(keys, found, strict=True)
                ],
                "hoverinfo": "text",
                "marker": {"color": side.colour},
            }
        )
    layout = {
        "barmode": "group",
        "bargap": 1 - _FILLED,
        "xaxis": _names(keys),
        "yaxis": axis(f"latency ({letter}s)", rangemode="tozero"),
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    }
    return Figure(f"Latency per layer at {level}", data, layout, height=_height(360, keys))


def _table(sides: Sequence[Side], rows: Sequence[Mapping[_Key, LayerRecord]], keys: Sequence[_Key], level: str) -> Table:
    every = [row for layers in rows for row in layers.values()]
    unit = _unit(every)
    energy, slow = prefix([_energy_of(r) for r in every]), prefix([r.latency_s for r in every])
    columns: dict[str, Callable[[LayerRecord], str | Cell]] = {
        f"energy ({prefixed(energy[1], unit)})": lambda row: _scaled(_energy_of(row), energy[0]),
        f"latency ({slow[1]}s)": lambda row: _scaled(row.latency_s, slow[0]),
        "bound by": lambda row: row.bound_by or "-",
        "utilization (%)": lambda row: percent_cell(row.utilization),
        "DRAM (kB)": lambda row: _scaled(row.dram_bytes, 1e3),
    }
    headings, left = ["layer", "type"], {0, 1}
    for side in sides:
        headings.append(_heading("channels in > out", side, sides))
    for name in columns:
        left |= {len(headings), len(headings) + 1} if name == "bound by" else set()
        headings += [_heading(name, side, sides) for side in sides]
    shown: list[list[str | Cell]] = []
    for key in keys:
        found = [layers.get(key) for layers in rows]
        line: list[str | Cell] = [_name(key), next(row.type for row in found if row)]
        line += ["-" if row is None else _channels(row) for row in found]
        for value in columns.values():
            line += ["-" if row is None else value(row) for row in found]
        shown.append(line)
    return Table(f"Every layer at {level}", headings, shown, left=frozenset(left), folded=True)


def _heading(name: str, side: Side, sides: Sequence[Side]) -> str:
    return f"{name}, {side.name}" if len(sides) > 1 else name


def _channels(row: LayerRecord) -> Cell:
    groups = row.shape.get("G", 1)
    inside, out = (groups * row.shape.get(name, 1) for name in ("C", "M"))
    return Cell(f"{inside} > {out}", out)


def _cycles(row: LayerRecord) -> str:
    return "cycles unknown" if row.cycles is None else f"{row.cycles:,.0f} cycles"


def _scaled(value: Known, divisor: float) -> Cell:
    return Cell(number(None if value is None else value / divisor), value)


def _by_name(layers: Sequence[LayerRecord]) -> dict[_Key, LayerRecord]:
    """Rows by name, and by how often the name stood before: a network may use one module twice."""
    seen: Counter[str] = Counter()
    found = {}
    for row in layers:
        found[row.name, seen[row.name]] = row
        seen[row.name] += 1
    return found


def _name(key: _Key) -> str:
    return key[0] if not key[1] else f"{key[0]} ({key[1] + 1})"


def _names(keys: Sequence[_Key]) -> dict[str, Any]:
    """An axis of layers; numbers inside, so that two layers of one name keep apart."""
    angle = {"tickangle": -90} if len(keys) > _WIDE else {}
    names = [label(_name(key)) for key in keys]
    return axis(
        "layer", tickvals=list(range(len(keys))), ticktext=names, range=[-0.6, len(keys) - 0.4], showgrid=False, **angle
    )


def _height(least: int, keys: Sequence[_Key]) -> int:
    """Upright names take room from the bars."""
    return least + (120 if len(keys) > _WIDE else 0)


def _energy_of(row: LayerRecord) -> float | None:
    return energy_of(row.energy_pj, row.energy_normalized)[0]


def _unit(rows: Sequence[LayerRecord]) -> str:
    """Of the energies, which are all in one."""
    return NORMALIZED if any(row.energy_normalized is not None for row in rows) else "J"


def _split(row: LayerRecord) -> dict[str, float]:
    """A layer's energy by part of the chip, in the unit of `energy_of`."""
    found = {name: energy_of(value, None)[0] for name, value in (row.energy_by_level_pj or {}).items()}
    known = {**found, **(row.energy_by_level_normalized or {})}
    return {name: value for name, value in known.items() if value is not None}


def _order(sides: Sequence[Side]) -> str:
    """How to tell the sides' bars apart."""
    return ", ".join(f"{side.name} {'faint' if side.opacity < 1 else 'in full colour'}" for side in sides)
