"""The fine level: Timeloop's evaluation of a given mapping (`judge`), or of the best that its mapper finds (`search`)."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hwflow.cost.mid import overflow
from hwflow.cost.sparse_rows import WRITTEN, judged_row
from hwflow.errors import NotMappable, ToolError
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.counted_zeros import asks_for_zeros
from hwflow.hardware.dataflow import LevelConstraint
from hwflow.hardware.energy_table import EnergyTable
from hwflow.hardware.stored_bits import moved_bytes, packs, stored_bits, widened
from hwflow.layers import TENSORS, Layer
from hwflow.loopnest.nest import Nest
from hwflow.loopnest.tiles import unreached
from hwflow.mapping import Mapping
from hwflow.results import LayerCost
from hwflow.timeloop.engine import Engine
from hwflow.timeloop.render import SearchSettings, command, render
from hwflow.timeloop.run import run_timeloop
from hwflow.timeloop.stats import Stats, read_mapping, read_stats

MODEL = "fine/1"
"""Version of how output becomes a `LayerCost`; raised whenever the same output would give other numbers."""

PACKED = "Timeloop's counts; accesses, bandwidth and room by the bits of each tensor"
"""What rows say where a memory keeps tensors of several widths, for each of which Timeloop takes the memory's word."""

JUDGE_LIMIT_S = 300.0
SEARCH_LIMIT_S = 3600.0


def judge(
    layer: Layer,
    accelerator: Accelerator,
    mapping: Mapping,
    table: EnergyTable,
    *,
    engine: Engine,
    limit_s: float = JUDGE_LIMIT_S,
    files: dict[str, str] | None = None,
) -> LayerCost:
    """What `timeloop-model` says of one mapping.

    Args:
        engine: where it runs; see `hwflow.timeloop.engine.find_engine`.
        files: Timeloop's input where it is rendered already.
        limit_s: wall-clock limit in seconds.

    Raises:
        InputError: where the mapping is not one of this layer on this accelerator.
        NotMappable: where it does not fit; with Timeloop's words and the folder of the run.
        ToolMissing, ToolError: where Timeloop cannot be run or does not answer.
    """
    mapping.check(layer, accelerator)
    check(layer, accelerator, table, mapping)
    if packs(accelerator, layer):  # Timeloop is given room for all as words
        nest = _nest(layer, accelerator, table, mapping)
        verdict = nest.evaluate(nest.batch_of(mapping))
        if not verdict.fits[0]:
            raise NotMappable(overflow(nest, verdict))
    files = files or render(layer, accelerator, (), table, mapping=mapping)
    stats, seconds = run_timeloop(
        files, engine, limit_s, lambda folder: _own(read_stats(folder, "timeloop-model"), layer, mapping), layer.name
    )
    return layer_cost(layer, accelerator, mapping, table, stats, engine=_label("timeloop-model", engine), seconds=seconds)


def search(
    layer: Layer,
    accelerator: Accelerator,
    constraints: Sequence[LevelConstraint],
    table: EnergyTable,
    *,
    objective: str = "edp",
    settings: SearchSettings | None = None,
    engine: Engine,
    limit_s: float = SEARCH_LIMIT_S,
    files: dict[str, str] | None = None,
) -> LayerCost:
    """The best mapping that `timeloop-mapper` finds under the constraints, with its cost.

    Args:
        files: Timeloop's input where it is rendered already, with the objective and the settings in it.
        objective: energy, latency or edp.
        settings: of the mapper; the defaults of `SearchSettings` where None.
        limit_s: wall-clock limit in seconds, after which the search counts as failed: what it has found by then would depend
            on the machine's speed.

    Raises:
        NotMappable: where it finds none; with Timeloop's words and the folder of the run.
        ToolMissing, ToolError: where Timeloop cannot be run or does not answer.
    """
    check(layer, accelerator, table, None)
    files = files or render(layer, accelerator, constraints, table, objective=objective, search=settings)

    def read(folder: Path) -> tuple[Stats, Mapping]:
        stats = read_stats(folder, "timeloop-mapper")
        mapping = read_mapping(folder, layer, accelerator)
        return _own(stats, layer, mapping), mapping

    (stats, mapping), seconds = run_timeloop(files, engine, limit_s, read, layer.name)
    label = _label("timeloop-mapper", engine)
    return layer_cost(layer, accelerator, mapping, table, stats, engine=label, seconds=seconds, searched=True)


def check(layer: Layer, accelerator: Accelerator, table: EnergyTable, mapping: Mapping | None) -> None:
    """Refuse what Timeloop is known to stop at, before it is run: a transposed convolution with gaps in its output.

    Args:
        mapping: what timeloop-model is to judge; None where timeloop-mapper is to search.

    Raises:
        ToolError: saying what Timeloop cannot do, and what can.
    """
    gaps = unreached(layer)
    if not gaps or not accelerator.mid_answers:
        return
    problem = (
        f"Timeloop cannot count layer {layer}: {gaps:,} of its {layer.words('outputs'):,} outputs lie in gaps between the "
        "kernel's positions, where no product adds to them"
    )
    if mapping is None:
        raise ToolError(
            f"{problem}, and timeloop-mapper stops at an assertion (tiling.cpp) with the first mapping that does not write "
            "them. Use --level mid, which counts them as written."
        )
    nest = _nest(layer, accelerator, table, mapping)
    if found := nest.short_of_updates(mapping):
        name, updates, share = found
        raise ToolError(
            f"{problem}, and timeloop-model stops at an assertion (tiling.cpp) for a mapping that does not write them "
            f"({updates:,} updates of {name}, whose share of the outputs is {share:,} words). Use --level mid, which counts "
            "them as written."
        )


def _own(stats: Stats, layer: Layer, mapping: Mapping) -> Stats:
    """Refuse statistics of another layer.

    Under a ragged mapping Timeloop's computes are those of the padded size, times the average number of MAC units at work cut
    off to a whole number: at most the padded size, and as little as half of the MACs.
    """
    loops = [loop for level in mapping.levels for loop in (*level.temporal, *level.spatial)]
    padded = math.prod(loop.bound for loop in loops)
    slack = layer.macs // 2 if mapping.ragged else 1
    if not layer.macs - slack <= stats.computes <= max(padded, layer.macs) + 1:
        raise ToolError(f"the statistics are of another layer: {stats.computes} computes, where this one has {layer.macs}.")
    return stats


def _label(tool: str, engine: Engine) -> str:
    """The tool, how it runs, and its version: of native tools the beginning of a hash, since they do not tell theirs."""
    return f"{tool} ({engine.name}, {engine.version(tool)[:12]})"


def key(
    files: dict[str, str],
    table: EnergyTable,
    engine: Engine,
    layer: Layer | None = None,
    accelerator: Accelerator | None = None,
) -> str:
    """What a fine result depends on, as a hash: the rendered input (settings included), the tool, the energies' source; and the
    widths of the layer's tensors in the accelerator where Timeloop is not told of them.

    `files` come from `render`. Names of layers and networks are no part of it: equal work has equal keys.

    Raises:
        ToolMissing: where the tool cannot be identified because it is not here.
    """
    tool = command(files)[0]
    content: list[Any] = [MODEL, engine.name, tool, engine.version(tool), table.unit, table.source, sorted(files.items())]
    if layer is not None and accelerator is not None and packs(accelerator, layer):
        content.append([stored_bits(memory, layer) for memory in accelerator.memories])
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def layer_cost(
    layer: Layer,
    accelerator: Accelerator,
    mapping: Mapping,
    table: EnergyTable,
    stats: Stats,
    *,
    engine: str,
    seconds: float,
    searched: bool = False,
) -> LayerCost:
    """Timeloop's statistics as a row: levels outermost first, energies in the table's unit, DRAM words as bytes.

    `searched`: whether Timeloop has found the mapping itself, with the zeros that the layer may have.
    """
    memories = [m.name for m in accelerator.memories if m.name in stats.levels]
    accesses = {
        name: {
            tensor: {"reads": t.reads, "fills": t.fills, "updates": t.updates}
            for tensor, t in stats.levels[name].tensors.items()
        }
        for name in memories
    }
    accesses.setdefault(accelerator.dram.name, {})  # which Timeloop leaves out where every tensor bypasses it
    wide = packs(accelerator, layer)
    if wide:
        stats = repriced(stats, layer, accelerator, mapping, table)
    row = LayerCost(
        layer=layer,
        level="fine",
        engine=engine,
        energy=stats.energy,
        energy_unit=table.unit,
        energy_source=table.source,
        energy_by_level={name: stats.levels[name].energy for name in (*memories, accelerator.mac.name)},
        cycles=stats.cycles,
        latency_s=stats.cycles * accelerator.cycle_s,
        bound_by=_bound_by(stats, memories, accelerator.mac.name),
        utilization=layer.macs / (stats.cycles * accelerator.mac_units),
        dram_bytes=moved_bytes(accelerator.dram, layer, accesses[accelerator.dram.name]),
        seconds=seconds,
        accesses=accesses,
        utilized_instances={
            name: max((t.instances for t in stats.levels[name].tensors.values()), default=0.0) for name in memories
        },
        mapping=tuple(mapping.directives()),
        note=PACKED if wide else "",
    )
    if not asks_for_zeros(layer, accelerator):
        return row
    if accelerator.sparsity is None:
        return replace(row, note=WRITTEN)
    nest = _nest(layer, accelerator, table, mapping)
    return judged_row(row, stats, nest, nest.batch_of(mapping), searched=searched)


def repriced(stats: Stats, layer: Layer, accelerator: Accelerator, mapping: Mapping, table: EnergyTable) -> Stats:
    """Timeloop's statistics with the energies and cycles that its counts mean at the widths of the layer's tensors.

    Raises:
        ToolError: where the same arithmetic, with a word for every element, does not give Timeloop's own numbers again.
    """
    counts = np.zeros((3, len(accelerator.levels), len(TENSORS), 1))
    places = {level.name: k for k, level in enumerate(reversed(accelerator.levels)) if level.memory is not None}
    for name, k in places.items():
        for tensor, t in stats.levels[name].tensors.items() if name in stats.levels else ():
            counts[:, k, TENSORS.index(tensor), 0] = t.reads, t.fills, t.updates
    plain = _nest(layer.with_(bits=None), accelerator, widened(table, accelerator, layer), mapping)
    packed = _nest(layer, accelerator, table, mapping)
    batch = packed.batch_of(mapping)
    before, after = (nest.priced(batch, *counts) for nest in (plain, packed))
    levels = {}
    for name, level in stats.levels.items():
        if name not in places:
            levels[name] = level
            continue
        k = places[name]
        energy = float(before.level_energy[k, 0])
        if not math.isclose(energy, level.energy, rel_tol=1e-3, abs_tol=0.05) or before.level_cycles[k, 0] != level.cycles:
            raise ToolError(
                f"Timeloop's counts of {name} give {energy:g} and {before.level_cycles[k, 0]:.0f} cycles with a word for every "
                f"element, and Timeloop itself says {level.energy:g} and {level.cycles}: its numbers are not used for tensors "
                "of several widths. Use --level mid."
            )
        levels[name] = replace(level, cycles=int(after.level_cycles[k, 0]), repriced=float(after.level_energy[k, 0]))
    energy = sum(level.energy for level in levels.values())
    return replace(stats, cycles=int(after.cycles[0]), energy=energy, levels=levels)


def _nest(layer: Layer, accelerator: Accelerator, table: EnergyTable, mapping: Mapping) -> Nest:
    return Nest(layer, accelerator, table, tuple(m.keeps for m in reversed(mapping.levels)))


def _bound_by(stats: Stats, memories: list[str], mac: str) -> str:
    """The arithmetic where it needs all the cycles, otherwise the outermost memory whose bandwidth does."""
    slowest = max(level.cycles for level in stats.levels.values())
    if stats.levels[mac].cycles == slowest:
        return "compute"
    return next(name for name in memories if stats.levels[name].cycles == slowest)
