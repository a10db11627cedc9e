"""The report of a trace: what each policy made of it, and when the manager ran what under which limits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hwflow.reporting.dynamic.trace_records import PolicyRecord, SegmentRecord, TraceRecord
from hwflow.reporting.page.blocks import Block, Cell, Figure, Page, Section, Table, Text, Tile, Tiles, axis, label
from hwflow.reporting.page.traces import LEGEND, line, marks
from hwflow.reporting.page.values import counted, percent, quantity

ABOUT: Mapping[str, str] = {
    "manager": "chooses level, unit and clock, with hysteresis",
    "fixed": "most accurate level at its unit's highest clock",
    "clock": "most accurate level; chooses unit and clock (DVFS only)",
    "level": "units' highest clocks; chooses unit and level (levels only)",
    "oracle": "level, unit and clock, the best of each frame",
}
"""What policies are called in reports."""

_SHOWN = ("manager", "clock", "oracle")
_COLOURS = {"manager": "@after", "fixed": "@before", "clock": "@random", "level": "@uniform", "oracle": "@agent-on-macs"}
_LISTED = 300
_LIMIT = {"color": "@bad", "width": 1.5, "dash": "dot"}


def page(found: TraceRecord) -> Page:
    """The whole report."""
    head, main = found.trace, found.runs[0]
    sections = [Section(network, _network(found, network)) for network in found.networks]
    if main.energy_j is not None:
        sections.append(Section("Energy and power", [_sum_figure(found, "energy"), _sum_figure(found, "power")]))
    sections.append(Section("What ran when", _table(found, main)))
    top: list[Block] = [Tiles(_tiles(found)), _policies(found)]
    measured = "measured" in found.kinds
    how = "Latencies were measured on this machine." if measured else "Latencies and energies are modelled."
    top.append(Text(f"{how} Switching takes no time and no energy here. A network that does not run has accuracy 0."))
    return Page(f"Trace {head.name}: {', '.join(found.networks)}", _lead(found), top, sections)


def _lead(found: TraceRecord) -> str:
    main = found.runs[0]
    told = f"Over {counted(found.trace.frames, 'frame')} the {main.policy} breaks a limit in {main.violations:,}"
    oracle = next((run for run in found.runs if run.policy == "oracle"), None)
    if oracle is None or oracle is main:
        return f"{told}; its mean accuracy is {percent(main.accuracy, 2)}."
    return (
        f"{told}, the oracle in {oracle.violations:,}; its mean accuracy is {percent(main.accuracy, 2)}, the oracle's "
        f"{percent(oracle.accuracy, 2)}."
    )


def _tiles(found: TraceRecord) -> list[Tile]:
    main = found.runs[0]
    tiles = [
        Tile(
            "frames with a broken limit",
            f"{main.violations:,}",
            f"of {found.trace.frames:,}",
            "bad" if main.violations else "good",
        ),
        Tile("mean accuracy", percent(main.accuracy, 2)),
        Tile("switches", f"{main.switches:,}"),
    ]
    if main.energy_j is not None:
        tiles.append(
            Tile("energy", quantity(main.energy_j, "J"), f"{quantity(main.energy_j / found.trace.frames, 'J')} a frame")
        )
    return tiles


def _policies(found: TraceRecord) -> Table:
    rows: list[list[str | Cell]] = []
    for run in found.runs:
        energy = Cell(quantity(run.energy_j, "J"), run.energy_j) if run.energy_j is not None else Cell("-")
        cells = [Cell(f"{run.violations:,}", run.violations), Cell(f"{100 * run.accuracy:.2f}", run.accuracy), energy]
        rows.append([run.policy, ABOUT.get(run.policy, ""), *cells, Cell(f"{run.switches:,}", run.switches)])
    headings = ["policy", "what it does", "frames with a broken limit", "mean accuracy (%)", "energy", "switches"]
    return Table("Policies", headings, rows, left=frozenset({0, 1}))


# Figures -------------------------------------------------------------------------------------------------------------

_Value = Callable[[SegmentRecord], float | None]


def _network(found: TraceRecord, network: str) -> list[Block]:
    def level(segment: SegmentRecord) -> float | None:
        row = segment.rows.get(network)
        return None if row is None else row.level

    def latency(segment: SegmentRecord) -> float | None:
        row = segment.rows.get(network)
        return None if row is None else 1e3 * row.latency_s

    def limit(segment: SegmentRecord) -> float | None:
        value = segment.limits.latency_of(network)
        return None if value is None else 1e3 * value

    main = found.runs[0]
    levels = [
        _steps(found, run, level, run.policy, {"color": _COLOURS.get(run.policy, "@muted"), "width": 3 if run is main else 1.5})
        for run in found.runs
        if run.policy in _SHOWN
    ]
    times = [
        _steps(found, main, latency, main.policy, {"color": "@after", "width": 2}),
        _steps(found, main, limit, "limit", _LIMIT),
    ]
    return [
        Figure(f"Level of {network}", levels, _layout(found, axis("level", dtick=1)), _events(found), height=300),
        Figure(
            f"Latency of {network}", [*times, *_broken(found, main, latency)], _layout(found, axis("latency (ms)")), height=300
        ),
    ]


def _sum_figure(found: TraceRecord, what: str) -> Figure:
    unit, scale = ("µJ a frame", 1e6) if what == "energy" else ("mW", 1e3)

    def total(segment: SegmentRecord) -> float | None:
        rows = [row for row in segment.rows.values() if row is not None and row.energy_j is not None]
        return scale * sum((row.energy_j or 0.0) / (1 if what == "energy" else row.latency_s) for row in rows)

    def limit(segment: SegmentRecord) -> float | None:
        value = segment.limits.energy_j if what == "energy" else segment.limits.power_w
        return None if value is None else scale * value

    shown = [run for run in found.runs if run.policy in _SHOWN]
    data = [_steps(found, run, total, run.policy, {"color": _COLOURS[run.policy], "width": 2}) for run in shown]
    data.append(_steps(found, found.runs[0], limit, "limit", _LIMIT))
    return Figure(f"{what.capitalize()} of all networks", data, _layout(found, axis(f"{what} ({unit})")), height=300)


def _steps(found: TraceRecord, run: PolicyRecord, value: _Value, name: str, style: Mapping[str, Any]) -> dict[str, Any]:
    """A line that holds each segment's value until the next one begins."""
    starts = [segment.start for segment in run.segments]
    values = [value(segment) for segment in run.segments]
    scale = found.trace.frame_s or 1.0
    xs = [scale * start for start in (*starts, found.trace.frames)]
    drawn = line(xs, [*values, values[-1] if values else None], {**style, "shape": "hv"})
    return {**drawn, "name": label(name), "hoverinfo": "x+y+name"}


def _broken(found: TraceRecord, run: PolicyRecord, value: _Value) -> list[dict[str, Any]]:
    """Marks where the policy breaks a limit."""
    broken = [segment for segment in run.segments if segment.broken]
    if not broken:
        return []
    scale = found.trace.frame_s or 1.0
    xs, ys = [scale * segment.start for segment in broken], [value(segment) for segment in broken]
    hints = [label(f"frame {segment.start:,}: {', '.join(segment.broken)}") for segment in broken]
    return [marks("limit broken from here", xs, ys, hints, {"color": "@bad", "size": 9, "symbol": "x"})]


def _layout(found: TraceRecord, y: Mapping[str, Any]) -> dict[str, Any]:
    x = axis("frame" if found.trace.frame_s is None else "time (s)")
    return {"xaxis": x, "yaxis": dict(y), "legend": LEGEND}


def _events(found: TraceRecord) -> str:
    told = [f"frame {event.frame:,}: {event.note}" for event in found.trace.events if event.note]
    return f"Events: {'; '.join(told)}." if told else ""


def _table(found: TraceRecord, run: PolicyRecord) -> list[Block]:
    rows: list[list[str | Cell]] = []
    for segment in run.segments[:_LISTED]:
        placed = [
            f"{name}: " + ("not run" if row is None else f"level {row.level} on {row.unit}{_clock_text(row.clock_mhz)}")
            for name, row in segment.rows.items()
        ]
        state = [f"{unit} off line" for unit in segment.offline]
        state += [f"{100 * segment.dram_share:g} % of the DRAM's bandwidth"] if segment.dram_share < 1 else []
        broken = Cell(", ".join(segment.broken) or "-", mark="bad" if segment.broken else "")
        head = Cell(f"{segment.start:,}", segment.start)
        told = _limits_text(segment, found.networks), ", ".join(state) or "-", "; ".join(placed)
        rows.append([head, *told, broken])
    blocks: list[Block] = []
    if len(run.segments) > _LISTED:
        blocks.append(Text(f"The first {_LISTED} of {len(run.segments):,} segments."))
    headings: Sequence[str] = ["from frame", "limits", "units and bandwidth", f"what the {run.policy} runs", "broken"]
    return [*blocks, Table("Segments", headings, rows, left=frozenset({1, 2, 3, 4}), folded=True)]


def _clock_text(clock_mhz: float) -> str:
    """Measured rows have no clock of their own."""
    return f" at {clock_mhz:g} MHz" if clock_mhz else ""


def _limits_text(segment: SegmentRecord, networks: Sequence[str]) -> str:
    limits = segment.limits
    if isinstance(limits.latency_s, dict):
        told = [f"{name} {quantity(limits.latency_s[name], 's')}" for name in networks if name in limits.latency_s]
    else:
        told = [] if limits.latency_s is None else [quantity(limits.latency_s, "s")]
    told += [quantity(value, unit) for value, unit in ((limits.energy_j, "J"), (limits.power_w, "W")) if value is not None]
    return ", ".join(told) or "none"


__all__ = ["ABOUT", "page"]
