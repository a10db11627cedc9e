"""The memories of a chip in the course of a network: what stays, what goes through DRAM and why; operators with a price."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from hwflow.reporting.estimates.layer_rows import energy_of
from hwflow.reporting.page.blocks import Block, Cell, Figure, Table, Text, axis, label
from hwflow.reporting.page.palette import several
from hwflow.reporting.page.traces import LEGEND, bars
from hwflow.reporting.page.values import counted, number, prefix, prefixed
from hwflow.reporting.pruning.cost_details import OccupancyRecord, OperatorRecord, StayRecord
from hwflow.reporting.pruning.run_records import CostRecord

_KIB = 1024
_NAMED = 24  # operations from which on names are written upright
_LISTED = 20  # rows from which on a table is folded
_TOLD = 12  # tensors from which on a legend of all of them is no help


def occupancy_blocks(occupancy: OccupancyRecord) -> list[Block]:
    """The timeline of each memory, and a table of all tensors between operations."""
    stayed = sum(tensor.memory is not None for tensor in occupancy.tensors)
    text = f"{stayed} of {counted(len(occupancy.tensors), 'tensor')} between operations stay on the chip."
    if occupancy.weights:
        text += f" So do the weights of {counted(len(occupancy.weights), 'layer')}, over all rounds of the batch."
    if not occupancy.proven_optimal:
        text += " It is not proven that no other choice costs less."
    blocks: list[Block] = [Text(text)]
    if stayed or occupancy.weights:
        blocks += [_timeline(occupancy, memory, size) for memory, size in occupancy.memories_bytes.items()]
    return [*blocks, _tensors(occupancy)]


def beside_layers(costs: CostRecord) -> list[Block]:
    """What stays on the chip and what operators cost, as far as that was asked for."""
    blocks = occupancy_blocks(costs.occupancy) if costs.occupancy else []
    return blocks + ([operators_table(costs.operators)] if costs.operators else [])


def operators_table(operators: Sequence[OperatorRecord]) -> Table:
    """Operators beside the layers; those of one type that are fused or folded in one row."""
    groups: dict[tuple[str, str], list[OperatorRecord]] = {}
    for operator in operators:
        how = operator.note.partition(" into ")[0]
        groups.setdefault((operator.type, how), []).append(operator)
    energies = {key: _energy(some) for key, some in groups.items()}
    divisor, letter = prefix([energy for energy, _ in energies.values()])
    unit = next(unit for _, unit in energies.values())
    rows: list[list[str | Cell]] = [
        [
            kind,
            how or "-",
            str(len(some)),
            _cell(sum(o.operations for o in some)),
            Cell(number((energies[kind, how][0]) / divisor), energies[kind, how][0]),
            _cell(sum(o.cycles or 0 for o in some)),
            _cell(sum(o.dram_bytes or 0 for o in some)),
        ]
        for (kind, how), some in sorted(groups.items())
    ]
    headings = ["operator", "how", "number", "operations", f"energy ({prefixed(letter, unit)})", "cycles", "DRAM (B)"]
    return Table("Operators beside the layers", headings, rows, left=frozenset({0, 1}))


def _energy(operators: Sequence[OperatorRecord]) -> tuple[float, str]:
    found = [energy_of(operator.energy_pj, operator.energy_normalized) for operator in operators]
    return sum(energy or 0.0 for energy, _ in found), found[0][1]


def _cell(value: float) -> Cell:
    return Cell(f"{value:,.0f}", value)


def _timeline(occupancy: OccupancyRecord, memory: str, size: int) -> Figure:
    """Stacked bars, one for each operation: the tensors that stay meanwhile, and the operation's own tiles."""
    operations = occupancy.operations
    names = [label(operation.name) for operation in operations]
    places = list(range(len(operations)))
    tensors = [t for t in (*occupancy.weights, *occupancy.tensors) if memory in (t.memory, t.written)]
    seen = Counter(tensor.name for tensor in tensors)
    data = []
    for tensor, colour in zip(tensors, several(len(tensors)), strict=True):
        sizes = [tensor.size_bytes / _KIB if _lies(tensor, memory, place) else None for place in places]
        title = label(tensor.name) if seen[tensor.name] == 1 else f"{label(tensor.name)} ({tensor.first})"
        hints = [f"{name}<br>holds {_held(tensor, occupancy, title)}: {number(tensor.size_bytes / _KIB)} KiB" for name in names]
        few = {"showlegend": len(tensors) <= _TOLD}
        data.append(bars(title, places, sizes, hints, {"color": colour, "line": {"width": 0}}, **few))
    tiles = [operation.tile_bytes.get(memory, 0) / _KIB for operation in operations]
    hints = [f"{name}<br>its own tiles: {number(tile)} KiB" for name, tile in zip(names, tiles, strict=True)]
    data.append(bars("tiles of the operation itself", places, tiles, hints, {"color": "@before", "line": {"width": 0}}))
    upright = {"tickangle": -90} if len(names) > _NAMED else {}
    shown = range(0, len(names), 1 + len(names) // 90)
    ends = {"x0": -0.6, "x1": len(names) - 0.4, "y0": size / _KIB, "y1": size / _KIB}
    layout = {
        "barmode": "stack",
        "bargap": 0.0,
        "xaxis": axis(
            "operation, in order of execution",
            tickvals=list(shown),
            ticktext=[names[i] for i in shown],
            range=[-0.6, len(names) - 0.4],
            showgrid=False,
            **upright,
        ),
        "yaxis": axis(f"{memory} (KiB)", rangemode="tozero"),
        "legend": {**LEGEND, "traceorder": "normal"},
        "shapes": [{"type": "line", **ends, "line": {"color": "@ink", "width": 1, "dash": "dash"}}],
    }
    note = (
        "Each colour is a tensor, from the operation that writes it to the last one that reads it; the dashed line is the "
        f"memory's size, {number(size / _KIB)} KiB."
    )
    return Figure(f"Occupancy of {memory}", data, layout, note, height=460 + (120 if len(names) > _NAMED else 0))


def _held(tensor: StayRecord, occupancy: OccupancyRecord, title: str) -> str:
    return title if tensor in occupancy.weights else f"the result of {title}"


def _lies(tensor: StayRecord, memory: str, place: int) -> bool:
    """Whether a tensor lies in a memory while an operation runs."""
    where = tensor.written if tensor.written and place == tensor.first else tensor.memory
    return tensor.first <= place <= tensor.last and where == memory


def _tensors(occupancy: OccupancyRecord) -> Table:
    names = [operation.name for operation in occupancy.operations]
    rows: list[list[str | Cell]] = [
        [
            tensor.name,
            Cell(number(tensor.size_bytes / _KIB), tensor.size_bytes),
            Cell(names[tensor.first], tensor.first),
            Cell(names[tensor.last], tensor.last),
            tensor.memory or "DRAM",
            tensor.reason or "-",
        ]
        for tensor in occupancy.tensors
    ]
    headings = ["result of", "size (KiB)", "from", "to", "lies in", "why not on the chip"]
    return Table("Tensors between operations", headings, rows, left=frozenset({0, 2, 3, 4, 5}), folded=len(rows) > _LISTED)
