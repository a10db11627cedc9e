"""The report of one estimate: a network on an accelerator at one level."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hwflow.reporting.estimates.configuration import Configuration, split_of_part
from hwflow.reporting.estimates.configuration_figures import layer_blocks, unsplit_note
from hwflow.reporting.estimates.layer_rows import energy_in
from hwflow.reporting.estimates.memory_timeline import beside_layers
from hwflow.reporting.page.blocks import Block, Choice, Page, Section, Table, Text, Tile, Tiles
from hwflow.reporting.page.palette import parts
from hwflow.reporting.page.values import capital, counted, number, percent, quantity
from hwflow.reporting.pruning.run_records import CostRecord
from hwflow.results import batch_text

AREA = "mm²"


def page(configuration: Configuration) -> Page:
    """The whole report."""
    costs = configuration.costs
    colours = parts(split_of_part(row) for row in costs.layers)
    where = f" on {costs.accelerator}" if costs.accelerator else ", without an accelerator"
    flow = f", dataflow {configuration.dataflow}" if configuration.dataflow else ""
    top: list[Block] = [_tiles(configuration), *map(Text, remarks(configuration))]
    sections = [
        Section("Layers", layer_blocks(configuration, colours)),
        *chip_sections([configuration]),
        Section("Where the numbers come from", provenance([configuration])),
    ]
    level = costs.level if configuration.asked == costs.level else f"{costs.level} ({configuration.asked} was asked for)"
    title = f"{costs.network}{where}{'' if configuration.asked == costs.level else f', level {level}'}"
    return Page(title, f"{_lead(configuration)} Level {level}{flow}, {_batch(costs)}.", top, sections)


def chip_sections(configurations: Sequence[Configuration]) -> list[Section]:
    """What lies on the chip and what operators cost, of the configurations of which that was asked."""
    found = {}
    for configuration in configurations:
        if blocks := beside_layers(configuration.costs):
            found[configuration.label] = blocks
    if not found:
        return []
    blocks = next(iter(found.values())) if len(found) == 1 else [Choice("Configuration", found)]
    return [Section("Between the layers", blocks)]


def _batch(costs: CostRecord) -> str:
    return batch_text((row.type, row.shape.get("N", 1)) for row in costs.layers)


def area_text(area_um2: float | None) -> str:
    """An area in square millimetres."""
    return "-" if area_um2 is None else f"{number(area_um2 * 1e-6, 3)}\u00a0{AREA}"


def remarks(configuration: Configuration) -> Iterator[str]:
    """What a reader must know of these numbers."""
    costs = configuration.costs
    if configuration.asked != costs.level:
        reason = str(costs.provenance.get("fallback") or "").partition(f"instead of {configuration.asked}: ")[2]
        yield f"{capital(configuration.asked)} was asked for, and {costs.level} answered{': ' if reason else ''}{reason}."
    yield from (f"{note}." if not note.endswith(".") else note for note in costs.provenance.get("network_notes") or ())
    if note := unsplit_note(configuration):
        yield note
    if costs.totals.energy_normalized is not None:
        yield "Energies are in units of one 16-bit multiply-accumulate: of this chip they are not known in joule."


def provenance(configurations: list[Configuration]) -> list[Block]:
    """Engines, energy sources, changes to the preset, and what was not counted."""
    rows = []
    for configuration in configurations:
        told, costs = configuration.costs.provenance, configuration.costs
        energy, chip = told.get("energy") or {}, told.get("accelerator") or {}
        changes = "; ".join(f"{name} = {value}" for name, value in (chip.get("changes") or {}).items())
        rows.append(
            [
                configuration.label,
                ", ".join(dict.fromkeys(row.engine for row in costs.layers)),
                ", ".join(dict.fromkeys(row.energy_source for row in costs.layers)),
                *(str(value or "-") for value in (energy.get("date"), told.get("objective"), changes)),
                "; ".join(dict.fromkeys(row.note for row in costs.layers if row.note)) or "-",
            ]
        )
    headings = ["configuration", "engine", "energies", "recorded on", "objective", "changes to the preset", "notes"]
    blocks: list[Block] = [Table("What answered", headings, rows, left=frozenset(range(len(headings))))]
    costs = configurations[0].costs
    told = {one.label: one.costs.provenance.get("assumption") for one in configurations}
    if len(set(told.values())) > 1:
        blocks += [Text(f"{label}: {assumption}.") for label, assumption in told.items() if assumption]
    elif assumption := costs.provenance.get("assumption"):
        blocks.append(Text(f"{capital(str(assumption))}."))
    if costs.not_counted:
        blocks.append(Text(f"Not counted: {', '.join(f'{name} x{count}' for name, count in costs.not_counted.items())}."))
    if any(configuration.costs.totals.area_um2 is not None for configuration in configurations):
        blocks.append(Text("Areas are sums over memories and MAC units on the chip; wires, control and pads are in no table."))
    return blocks


def _lead(configuration: Configuration) -> str:
    costs, (energy, unit) = configuration.costs, configuration.energy
    told = [quantity(energy, unit)] if energy is not None else []
    told += [quantity(costs.totals.latency_s, "s")] if costs.totals.latency_s is not None else []
    cost = f" {' and '.join(told)}" if told else " nothing that is known here"
    if _batch(costs) != f"batch {costs.batch}":
        return f"{costs.network} costs{cost}."
    return f"One inference of {costs.network} costs{cost}." if costs.batch == 1 else f"A batch of {costs.batch} costs{cost}."


def _tiles(configuration: Configuration) -> Tiles:
    costs, totals, (energy, unit) = configuration.costs, configuration.costs.totals, configuration.energy
    tiles = []
    if energy is not None:
        tiles.append(Tile("Energy", quantity(energy, unit), _largest(costs)))
    if totals.latency_s is not None:
        tiles.append(Tile("Latency", quantity(totals.latency_s, "s"), f"{totals.cycles or 0:,.0f} cycles\n{_slowest(costs)}"))
    if configuration.edp is not None:
        tiles.append(Tile("EDP", quantity(configuration.edp, f"{unit}\u00a0s")))
    if totals.utilization is not None:
        units = f"of {configuration.chip.mac_units:,} MAC units" if configuration.chip else ""
        tiles.append(Tile("Utilization", percent(totals.utilization), units))
    if totals.dram_bytes is not None:
        tiles.append(Tile("DRAM traffic", quantity(totals.dram_bytes, "B")))
    if totals.area_um2 is not None:
        tiles.append(Tile("Area", area_text(totals.area_um2), "memories and MAC units"))
    if costs.batch > 1 and _batch(costs) == f"batch {costs.batch}" and energy is not None:
        slow = "" if totals.latency_s is None else f"{quantity(totals.latency_s / costs.batch, 's')}"
        tiles.append(Tile("Per image", quantity(energy / costs.batch, unit), slow))
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
