"""`Configuration`: a network's costs on one chip at one level, from an estimate or a command's JSON.

Energy by tensor is derived from the counts of accesses and the energy table, and shown only where it adds up to what the level
itself answered: whole accesses of a memory's width for each tensor, times the energy of the action and the instances at work,
leakage apart. Where it doesn't (a network of partial instances, a file without counts), the split by part stands alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwflow.errors import InputError
from hwflow.hardware.accelerator import Accelerator, presets
from hwflow.hardware.energy_table import EnergyTable
from hwflow.hardware.stored_bits import accesses, widened
from hwflow.reporting.estimates.layer_rows import energy_of, split_of
from hwflow.reporting.pruning.run_records import CostRecord, LayerRecord, parsed, text_of
from hwflow.results import LayerCost, NetworkCost, without
from hwflow.types import Tensor

LEAKAGE = "leakage"
_EXACT = 1e-9  # floating-point sums in another order, nothing more
_PRINTED = 0.00501  # Timeloop prints leakage, all instances together, rounded to 0.01

Split = Mapping[str, Mapping[str, float]]
"""energy[part][tensor], `leakage` among the tensors, "" for what belongs to none; joule or normalised units."""


@dataclass(frozen=True)
class Configuration:
    """A network's costs on one chip at one level with one dataflow.

    Attributes:
        label: tells it from the others of a comparison.
        asked: the level that was asked for; `costs.level` is what answered.
        chip: the accelerator, where it is known.
        dataflow: the dataflow, where the level has one.
        splits: for each layer its energy by part and tensor, or None where that is not known exactly.
    """

    label: str
    asked: str
    costs: CostRecord
    chip: Accelerator | None
    dataflow: str | None
    splits: tuple[Split | None, ...]

    @property
    def energy(self) -> tuple[float | None, str]:
        """The network's energy and its unit: joule, or normalised."""
        return energy_of(self.costs.totals.energy_pj, self.costs.totals.energy_normalized)

    @property
    def edp(self) -> float | None:
        """The network's energy-delay product, in the energy's unit times seconds."""
        energy, latency = self.energy[0], self.costs.totals.latency_s
        return None if energy is None or latency is None else energy * latency

    @property
    def peak_macs_s(self) -> float | None:
        """Multiply-accumulates a second with all MAC units at work."""
        return self.chip.mac_units / self.chip.cycle_s if self.chip else None

    @property
    def dram_bytes_s(self) -> float | None:
        """What the DRAM can move at the most, reads and writes together; None where the chip does not state it."""
        if self.chip is None:
            return None
        dram = self.chip.dram
        limits = [] if dram.bandwidth_gb_s is None else [dram.bandwidth_gb_s * 1e9]
        if dram.read_words_per_cycle is not None and dram.write_words_per_cycle is not None:
            words = dram.read_words_per_cycle + dram.write_words_per_cycle
            limits.append(words * dram.word_bits / 8 / self.chip.cycle_s)
        return min(limits, default=None)


def configuration(cost: NetworkCost, chip: Accelerator | None = None, tables: Sequence[EnergyTable] = ()) -> Configuration:
    """An estimate as a report shows it.

    Args:
        chip: the accelerator that `cost` is of.
        tables: for each row the energies that it was costed with; without them energy is not split by tensor.
    """
    splits: tuple[Split | None, ...] = (None,) * len(cost.rows)
    if chip is not None and tables:
        splits = tuple(split_by_tensor(row, chip, table) for row, table in zip(cost.rows, tables, strict=True))
    return _configuration(cost.to_dict(), "estimate", chip, splits)


def read_configurations(file: Path) -> list[Configuration]:
    """What `hwflow estimate --format json` or `hwflow compare --format json` wrote.

    Chips that are presets, or presets with changed fields, are known again; others have no roofline.

    Raises:
        InputError: where the file is missing, damaged, or something else.
    """
    found = parsed(file, text_of(file), dict[str, Any])
    if "variants" in found:
        variants = parsed(file, json.dumps(found["variants"]), list[dict[str, Any]], "variants")
    elif "layers" in found:
        variants = [{"cost": found}]
    else:
        raise InputError(
            f"{file} holds no costs: it has neither layers nor variants. Give what 'hwflow estimate' or 'hwflow compare' wrote "
            "with --format json -o."
        )
    configurations = []
    for i, variant in enumerate(variants):
        cost = variant.get("cost")
        if not isinstance(cost, dict):
            raise InputError(f"{file} is damaged: variants.{i}.cost: a mapping is needed.")
        layers = cost.get("layers")
        splits = (None,) * (len(layers) if isinstance(layers, list) else 0)
        configurations.append(_configuration(cost, str(file), _known_again(cost), splits))
    if not configurations:
        raise InputError(f"{file} is damaged: variants: at least one is needed.")
    return configurations


def split_by_tensor(row: LayerCost, chip: Accelerator, table: EnergyTable) -> Split | None:
    """A layer's energy by part and tensor, in joule or normalised units; None where it does not add up to the row's own."""
    chip = chip.serving(row.layer)
    table = widened(table, chip, row.layer)
    scale = 1e-12 if row.energy_unit == "pJ" else 1.0
    split: dict[str, dict[str, float]] = {}
    for part, energy in row.energy_by_level.items():
        if part == chip.mac.name:
            split[part] = {"": energy * scale}
            continue
        counts = row.accesses.get(part)
        if counts is None:
            return None
        found = _paid(row, chip, table, part, counts)
        if found is None:
            return None
        split[part] = {tensor: paid * scale for tensor, paid in found.items() if paid}
    return split


def _paid(
    row: LayerCost, chip: Accelerator, table: EnergyTable, part: str, counts: Mapping[Tensor, Mapping[str, float]]
) -> dict[str, float] | None:
    """What a memory's accesses of each tensor and its leakage take; None where that is not what the row has for it."""
    memory, price = next(m for m in chip.memories if m.name == part), table.parts[part]
    energy, instances = row.energy_by_level[part], row.utilized_instances.get(part, 1.0)
    found: dict[str, float] = {}
    for tensor, count in counts.items():
        reads, fills, updates = accesses(memory, row.layer, tensor, count)
        paid = reads * price.read + fills * price.write + updates * price.update
        found[tensor] = paid * instances
    rest, leak = energy - sum(found.values()), price.leak * (row.cycles or 0) * instances
    slack = _EXACT * abs(energy)
    if leak and abs(rest - leak) <= slack + (_PRINTED if row.level == "fine" else 0.0):
        found[LEAKAGE] = max(rest, 0.0)
    elif abs(rest) > slack:
        return None
    return found


def split_of_part(row: LayerRecord) -> Split:
    """The energy by part alone, as a split of which nothing belongs to a tensor."""
    return {part: {"": value} for part, value in split_of(row).items()}


def _configuration(
    cost: Mapping[str, Any], where: str, chip: Accelerator | None, splits: tuple[Split | None, ...]
) -> Configuration:
    record = parsed(Path(where), json.dumps(cost), CostRecord)
    if not record.layers:
        raise InputError(f"{where} is damaged: layers: at least one is needed.")
    asked, flow = record.provenance.get("asked_level", record.level), record.provenance.get("dataflow")
    level = asked if asked == record.level else f"{asked} (by {record.level})"
    how = (record.provenance.get("execution") or {}).get("asked")
    how = "executions by layer" if isinstance(how, dict) else how
    label = "/".join(filter(None, [record.accelerator, level, flow, how])) + without(record.provenance)
    return Configuration(label, asked, record, chip, flow, splits)


def _known_again(cost: Mapping[str, Any]) -> Accelerator | None:
    """The chip that a file's provenance names: a preset with some fields changed. Its fingerprint must be the same."""
    told = (cost.get("provenance") or {}).get("accelerator")
    if not isinstance(told, Mapping) or told.get("name") not in presets():
        return None
    try:
        chip = Accelerator.load(str(told["name"])).with_(dict(told.get("changes") or {}))
    except InputError:
        return None
    return chip if chip.fingerprint == told.get("fingerprint") else None
