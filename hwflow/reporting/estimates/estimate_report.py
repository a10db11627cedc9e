"""The report of one estimate: a network on an accelerator at one level."""

from __future__ import annotations

from collections.abc import Iterator

from hwflow.reporting.estimates.configuration import Way, split_of_part
from hwflow.reporting.estimates.configuration_figures import layer_blocks, unsplit_note
from hwflow.reporting.estimates.layer_rows import energy_in
from hwflow.reporting.page.blocks import Block, Cell, Page, Section, Table, Text, Tile, Tiles
from hwflow.reporting.page.palette import parts
from hwflow.reporting.page.values import capital, counted, number, percent, quantity
from hwflow.reporting.pruning.run_records import CostRecord
from hwflow.results import batch_text

AREA = "mm²"


def page(way: Way) -> Page:
    """The whole report."""
    costs = way.costs
    colours = parts(split_of_part(row) for row in costs.layers)
    where = f" on {costs.accelerator}" if costs.accelerator else ", without an accelerator"
    flow = f", dataflow {way.dataflow}" if way.dataflow else ""
    top: list[Block] = [_tiles(way), *map(Text, remarks(way))]
    sections = [
        Section("Layers", layer_blocks(way, colours)),
        Section("Where the numbers come from", provenance([way])),
    ]
    level = costs.level if way.asked == costs.level else f"{costs.level} ({way.asked} was asked for)"
    title = f"{costs.network}{where}{'' if way.asked == costs.level else f', level {level}'}"
    return Page(title, f"{_lead(way)} Level {level}{flow}, {_batch(costs)}.", top, sections)


def _batch(costs: CostRecord) -> str:
    return batch_text((row.type, row.shape.get("N", 1)) for row in costs.layers)


def area_text(area_um2: float | None) -> str:
    """An area in square millimetres."""
    return "-" if area_um2 is None else f"{number(area_um2 * 1e-6, 3)}\u00a0{AREA}"


def remarks(way: Way) -> Iterator[str]:
    """What a reader must know of these numbers."""
    costs = way.costs
    if way.asked != costs.level:
        reason = str(costs.provenance.get("fallback") or "").partition(f"instead of {way.asked}: ")[2]
        yield f"{capital(way.asked)} was asked for, and {costs.level} answered{': ' if reason else ''}{reason}."
    if note := unsplit_note(way):
        yield note
    if costs.totals.energy_normalized is not None:
        yield "Energies are in units of one 16-bit multiply-accumulate: of this chip they are not known in joule."


def provenance(ways: list[Way]) -> list[Block]:
    """Who answered, with which energies, what was changed of the chip, and what was not counted."""
    rows = [_answer(way) for way in ways]
    headings = ["way", "engine", "energies", "recorded on", "objective", "changed of the preset", "notes"]
    blocks: list[Block] = [Table("What answered", headings, rows, left=frozenset(range(len(headings))))]
    costs = ways[0].costs
    if assumption := costs.provenance.get("assumption"):
        blocks.append(Text(f"{capital(str(assumption))}."))
    if costs.not_counted:
        blocks.append(Text(f"Not counted: {', '.join(f'{name} x{count}' for name, count in costs.not_counted.items())}."))
    if any(way.costs.totals.area_um2 is not None for way in ways):
        blocks.append(Text("Areas are sums over memories and MAC units on the chip; wires, control and pads are in no table."))
    return blocks


def _answer(way: Way) -> list[str | Cell]:
    """Who answered one way, and with what."""
    told, layers = way.costs.provenance, way.costs.layers
    energy, chip = told.get("energy") or {}, told.get("accelerator") or {}
    changes = "; ".join(f"{name} = {value}" for name, value in (chip.get("changes") or {}).items())
    return [
        way.label,
        ", ".join(dict.fromkeys(row.engine for row in layers)),
        ", ".join(dict.fromkeys(row.energy_source for row in layers)),
        *(str(value or "-") for value in (energy.get("date"), told.get("objective"), changes)),
        "; ".join(dict.fromkeys(row.note for row in layers if row.note)) or "-",
    ]


def _lead(way: Way) -> str:
    costs, (energy, unit) = way.costs, way.energy
    told = [quantity(energy, unit)] if energy is not None else []
    told += [quantity(costs.totals.latency_s, "s")] if costs.totals.latency_s is not None else []
    cost = f" {' and '.join(told)}" if told else " nothing that is known here"
    if _batch(costs) != f"batch {costs.batch}":
        return f"{costs.network} costs{cost}."
    return f"One inference of {costs.network} costs{cost}." if costs.batch == 1 else f"A batch of {costs.batch} costs{cost}."


def _tiles(way: Way) -> Tiles:
    costs, totals, (energy, unit) = way.costs, way.costs.totals, way.energy
    tiles = []
    if energy is not None:
        tiles.append(Tile("Energy", quantity(energy, unit), _largest(costs)))
    if totals.latency_s is not None:
        tiles.append(Tile("Latency", quantity(totals.latency_s, "s"), f"{totals.cycles or 0:,.0f} cycles\n{_slowest(costs)}"))
    if way.edp is not None:
        tiles.append(Tile("EDP", quantity(way.edp, f"{unit}\u00a0s")))
    if totals.utilization is not None:
        units = f"of {way.chip.mac_units:,} MAC units" if way.chip else ""
        tiles.append(Tile("Utilization", percent(totals.utilization), units))
    if totals.dram_bytes is not None:
        tiles.append(Tile("DRAM traffic", quantity(totals.dram_bytes, "B")))
    if totals.area_um2 is not None:
        tiles.append(Tile("Area", area_text(totals.area_um2), "memories and MAC units"))
    size = f"{quantity(totals.params + totals.params_other, '')} parameters\n{counted(len(costs.layers), 'layer')}"
    return Tiles([*tiles, Tile("MACs", quantity(totals.macs, ""), size)])


def _largest(costs: CostRecord) -> str:
    """Which part of the chip takes most of the energy."""
    sums: dict[str, float] = {}
    for row in costs.layers:
        for part, split in split_of_part(row).items():
            sums[part] = sums.get(part, 0.0) + sum(split.values())
    whole = sum(energy_in(row) or 0.0 for row in costs.layers)
    if not sums or not whole:
        return ""
    part = max(sums, key=lambda name: sums[name])
    return f"{percent(sums[part] / whole)} in {part}"


def _slowest(costs: CostRecord) -> str:
    """Which layer takes most of the time."""
    whole = sum(row.latency_s or 0.0 for row in costs.layers)
    row = max(costs.layers, key=lambda one: one.latency_s or 0.0)
    return f"{percent((row.latency_s or 0.0) / whole)} in {row.name}" if whole else ""
