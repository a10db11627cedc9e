"""The mid level: hwflow's own loop-nest analysis and mapping search."""

from __future__ import annotations

import html
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from hwflow import display
from hwflow.cost.bypasses import keeps_of
from hwflow.cost.proofs import By, proven
from hwflow.cost.sparse_rows import best_with_zeros, sparse_row
from hwflow.errors import NotMappable
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.counted_zeros import asks_for_zeros, counts_zeros, skips_zeros
from hwflow.hardware.dataflow import LevelConstraint
from hwflow.hardware.energy_table import EnergyTable
from hwflow.hardware.stored_bits import moved_bytes
from hwflow.layers import TENSORS, Layer, Tensor
from hwflow.loopnest.nest import Batch, Nest, Verdict
from hwflow.mapper import padding, search
from hwflow.mapper.array_utilization import array_utilization, least_passes
from hwflow.mapper.bounds import least_costs, lower_bound
from hwflow.mapper.objective import Found, value
from hwflow.mapper.ragged_proof import proven_ragged
from hwflow.mapping import Mapping
from hwflow.results import LayerCost
from hwflow.types import Objective, Proof

VERSION = "mid-8"
"""Changes whenever a number that mid answers can change; part of every cache key."""
SPARSE_VERSION = 2
"""The same of layers whose zeros count."""

_ROUNDING = 1e-9  # bounds are sums in another order than the analysis'
_SEVERAL = 24  # mappings that are compared with their zeros, per unit of effort


@dataclass(frozen=True, repr=False)
class MapResult:
    """The best mapping that the search found, and what it costs.

    `proven_optimal` says that no mapping within the constraints has a smaller objective; `bound` is a proven lower bound of the
    objective (energy in the table's unit, latency in cycles, EDP in their product), or None where none is known. Both speak of
    the mappings that were searched: ragged ones included (but those of which Timeloop omits more than a hundredth of the
    energy), or perfect ones only where the search was told so. `perfect_bound` is the same of mappings with perfect factors,
    where a proof was asked for, and `proven_by` says whose bound that is: "search", or "certificate" for the recursion of
    certificates; None, too, for results of a store.
    """

    mapping: Mapping
    cost: LayerCost
    proven_optimal: bool
    bound: float | None
    perfect_bound: float | None = None
    proven_by: By | None = None

    def __repr__(self) -> str:
        return f"<MapResult {self._summary()}>"

    def _repr_html_(self) -> str:
        nest = f"<pre>{html.escape(str(self.mapping))}</pre>"
        rows = [[part, f"{energy:,.0f}"] for part, energy in self.cost.energy_by_level.items()]
        return nest + display.table_html(self._summary(), ["part", f"energy ({self.cost.energy_unit})"], rows)

    def plot(self) -> Any:
        """The layer's energy by part of the chip, as a `plotly.graph_objects.Figure` (extra `report`)."""
        return display.chosen_figure(display.mapping_figures(self.cost), None)

    def _summary(self) -> str:
        cost = self.cost
        proven = "proven optimal" if self.proven_optimal else "not proven optimal"
        return f"{cost.layer.name}: {cost.energy:,.0f} {cost.energy_unit}, {cost.cycles:,} cycles, {proven}"


def analyse(layer: Layer, accelerator: Accelerator, mapping: Mapping, table: EnergyTable) -> LayerCost:
    """What one given mapping costs: the numbers that `timeloop-model` gives for it.

    Raises:
        InputError: where the mapping does not belong to the layer or the accelerator.
        NotMappable: where a tile does not fit its memory; says which, and by how much.
    """
    start = time.perf_counter()
    mapping.check(layer, accelerator)
    nest = Nest(layer, accelerator, table, tuple(m.keeps for m in reversed(mapping.levels)))
    batch = nest.batch_of(mapping)
    verdict = nest.evaluate(batch)
    if not verdict.fits[0]:
        raise NotMappable(overflow(nest, verdict))
    return _cost(nest, batch, verdict, mapping, time.perf_counter() - start)


def on_chip_cycles(layer: Layer, accelerator: Accelerator, mapping: Mapping, table: EnergyTable) -> int:
    """Cycles of a mapping on a chip whose DRAM never makes it wait: the most that compute or a memory on the chip takes.

    Raises:
        InputError: where the mapping does not belong to the layer or the accelerator.
    """
    mapping.check(layer, accelerator)
    nest = Nest(layer, accelerator, table, tuple(m.keeps for m in reversed(mapping.levels)))
    return int(nest.evaluate(nest.batch_of(mapping)).level_cycles[:-1].max())


def map_layer(
    layer: Layer,
    accelerator: Accelerator,
    constraints: Sequence[LevelConstraint],
    table: EnergyTable,
    *,
    objective: Objective = "edp",
    effort: int = 1,
    ragged: bool = True,
    proof: Proof = "off",
    gap: float = 0.0,
    resident: Sequence[Tensor] = (),
) -> MapResult:
    """Search the mappings that the constraints allow for the least `objective`; deterministic.

    Without `ragged`, only loops that divide their dimensions are looked at, as in Timeloop's usual map space.

    Where memories may bypass tensors (`Memory.may_bypass`), each combination is searched whose lower bound is below the best
    value so far, and what is proven holds for all of them.

    With a `proof`, mappings with perfect factors are bounded until the bound is within the share `gap` of the best value, or
    there is no more room (see `hwflow.cost.proofs`); one that is better than what the search found is taken instead. So is one
    with imperfect factors, which, if `ragged`, have a closer bound then, too (see `hwflow.mapper.ragged_proof`).

    Tensors that are `resident` bypass DRAM: the outermost memory on the chip that keeps one is where it lies, whole, so no loop
    outside that memory may step through it.

    Where zeros count (`hwflow.cost.sparse_rows`), the mapping is the best with them among the best `_SEVERAL` a unit of effort
    without them, and nothing is proven of it. On a chip that skips them it has perfect factors, since ragged loops take all
    their cycles in Timeloop's model.

    Raises:
        NotMappable: where no mapping fits; says which memory is too small for the smallest tile.
    """
    start = time.perf_counter()
    constraints = _holding(constraints, layer, resident)
    if zeros := counts_zeros(layer, accelerator):
        ragged, proof = ragged and not skips_zeros(accelerator), "off"
    some: list[_Searched] = []
    for keeps in keeps_of(accelerator, resident):
        nest = Nest(layer, accelerator, table, keeps)
        if some and not zeros and _least(nest, constraints, objective, ragged) >= min(one.value(objective) for one in some):
            continue
        searched = padding.search if ragged else search.search
        found = searched(nest, constraints, objective=objective, effort=effort, keep=_SEVERAL * effort if zeros else 1)
        if found is None:
            continue
        if zeros:
            batch, verdict = best_with_zeros(nest, found, objective)
            found = Found(batch, verdict, proven_optimal=False, bound=0.0)
        some.append(_Searched(nest, found))
    if not some:
        raise NotMappable(_too_small(Nest(layer, accelerator, table, keeps_of(accelerator, resident)[0])))
    if proof != "off" and not zeros:
        some = _proven(some, constraints, objective, ragged=ragged, most=proof == "optimal", gap=gap)
    best = min(some, key=lambda one: one.value(objective))
    mapping = best.nest.mapping_of(best.found.batch, 0)
    cost = _cost(best.nest, best.found.batch, best.found.verdict, mapping, time.perf_counter() - start)
    if zeros:
        return MapResult(mapping, cost, proven_optimal=False, bound=None)
    bound = min(one.found.bound for one in some)
    optimal = best.found.proven_optimal and all(
        one is best or best.value(objective) <= one.found.bound * (1 + _ROUNDING) for one in some
    )
    least = min((one for one in some if one.perfect is not None), key=lambda one: one.perfect or 0.0, default=None)
    proven_by = (None, None) if least is None else (least.perfect, least.by)
    return MapResult(mapping, cost, optimal, bound, *proven_by)


class _Searched(NamedTuple):
    """What was found with one choice of what the memories keep, and where asked for a bound for perfect factors, with whose it
    is."""

    nest: Nest
    found: Found
    perfect: float | None = None
    by: By | None = None

    def value(self, objective: Objective) -> float:
        return value(self.found.verdict, objective)


def _proven(
    some: Sequence[_Searched],
    constraints: Sequence[LevelConstraint],
    objective: Objective,
    *,
    ragged: bool,
    most: bool,
    gap: float,
) -> list[_Searched]:
    """The same with bounds, the best first: the others need no bound above the best value that is known by then."""
    best, each = math.inf, []
    for one in sorted(some, key=lambda one: one.value(objective)):
        found, perfect, by = proven(one.nest, constraints, objective, one.found, best=best, ragged=ragged, most=most, gap=gap)
        if ragged and found.bound < best * (1 - gap):
            found = proven_ragged(one.nest, constraints, objective, found, gap=gap)
        each.append(_Searched(one.nest, found, perfect, by))
        best = min(best, each[-1].value(objective))
    return each


def _least(nest: Nest, constraints: Sequence[LevelConstraint], objective: Objective, ragged: bool) -> float:
    return lower_bound(nest, constraints, objective, array=array_utilization(nest, constraints) if ragged else None)


def least(
    layer: Layer,
    accelerator: Accelerator,
    constraints: Sequence[LevelConstraint],
    table: EnergyTable,
    *,
    ragged: bool = True,
    resident: Sequence[Tensor] = (),
) -> tuple[float, float]:
    """Energy, in the table's unit, and cycles that no mapping of those that `map_layer` searches undercuts; 0 with zeros."""
    if counts_zeros(layer, accelerator):
        return 0.0, 0.0
    constraints = _holding(constraints, layer, resident)
    nests = [Nest(layer, accelerator, table, keeps) for keeps in keeps_of(accelerator, resident)]
    costs = [least_costs(nest, constraints, least_passes(nest, constraints) if ragged else None) for nest in nests]
    return min(energy for energy, _ in costs), min(cycles for _, cycles in costs)


def _holding(constraints: Sequence[LevelConstraint], layer: Layer, resident: Sequence[Tensor]) -> tuple[LevelConstraint, ...]:
    """The constraints, with no loop outside the memory of a resident tensor that the tensor depends on."""
    result = list(constraints)
    for tensor in resident:
        for k, rule in enumerate(result):
            memory = rule.level.memory
            if k and memory is not None and tensor in memory.keeps:
                break
            own = layer.relevant(tensor)
            temporal, spatial, innermost = (
                tuple(d for d in dims if d not in own) for dims in (rule.temporal, rule.spatial, rule.innermost)
            )
            result[k] = replace(rule, temporal=temporal, spatial=spatial, innermost=innermost)
    return tuple(result)


def _cost(nest: Nest, batch: Batch, verdict: Verdict, mapping: Mapping, seconds: float) -> LayerCost:
    acc, layer, table = nest.accelerator, nest.layer, nest.table
    by_level = {
        level.memory.name: float(verdict.level_energy[k, 0])
        for k, level in reversed(list(enumerate(nest.levels)))
        if level.memory is not None
    }
    by_level[acc.mac.name] = float(verdict.mac_energy[0])
    accesses = {
        level.memory.name: {
            tensor: {
                "reads": float(verdict.reads[k, t, 0]),
                "fills": float(verdict.fills[k, t, 0]),
                "updates": float(verdict.updates[k, t, 0]),
            }
            for t, tensor in enumerate(TENSORS)
            if nest.keep[k, t]
        }
        for k, level in reversed(list(enumerate(nest.levels)))
        if level.memory is not None
    }
    cycles = int(verdict.cycles[0])
    busiest = cycles - nest.memories.edges
    slowest = int(np.flatnonzero(verdict.level_cycles[:, 0] == busiest)[-1])  # the outermost, as at fine
    bound_by = "compute" if verdict.compute_cycles[0] >= busiest else nest.levels[slowest].name
    row = LayerCost(
        layer=layer,
        level="mid",
        engine=f"hwflow {VERSION}",
        energy=float(verdict.energy[0]),
        energy_unit=table.unit,
        energy_source=table.source,
        energy_by_level=by_level,
        cycles=cycles,
        latency_s=cycles * acc.cycle_s,
        bound_by=bound_by,
        utilization=layer.macs / (cycles * acc.mac_units),
        dram_bytes=moved_bytes(acc.dram, layer, accesses[acc.dram.name]),
        seconds=seconds,
        accesses=accesses,
        utilized_instances={lv.name: float(verdict.instances[k, 0]) for k, lv in enumerate(nest.levels)},
        mapping=tuple(mapping.directives()),
    )
    return sparse_row(row, nest, batch, verdict) if asks_for_zeros(layer, acc) else row


def overflow(nest: Nest, verdict: Verdict) -> str:
    """Why the mapping of a verdict does not fit."""
    for k, level in reversed(list(enumerate(nest.levels))):
        memory = level.memory
        if memory is not None and memory.words is not None:
            widths = nest.memories.widths.sums[k, :, 0] if nest.memories.widths.packed else np.ones(len(TENSORS))
            unit = "bits" if nest.memories.widths.packed else "words"
            room = int(memory.words // memory.buffering) * (memory.word_bits if unit == "bits" else 1)
            tiles = [int(n) for n in verdict.tiles[k, :, 0] * widths]
            if sum(tiles) > room:
                parts = ", ".join(f"{t} {n}" for t, n in zip(TENSORS, tiles, strict=True) if n)
                return (
                    f"layer {nest.layer.name}: the mapping needs {sum(tiles)} {unit} in {memory.name} ({parts}), which has "
                    f"{room}. Make its tiles smaller, or {memory.name} larger."
                )
    return (
        f"layer {nest.layer.name}: a full pass of the mapping's ragged loops needs more words than a memory of "
        f"{nest.accelerator.name} has, though the average one does not. Make the tiles smaller."
    )


def _too_small(nest: Nest) -> str:
    """Why nothing fits: at the least, every memory holds one word of each tensor that it keeps."""
    for k, level in enumerate(nest.levels):
        memory = level.memory
        if memory is not None and memory.words is not None:
            words, tensors = int(memory.words // memory.buffering), int(nest.keep[k].sum())
            room, need = words * memory.word_bits, int(nest.memories.widths.sums[k, nest.keep[k], 0].sum())
            if need > room and tensors > words:
                return (
                    f"layer {nest.layer.name} has no mapping on {nest.accelerator.name}: {memory.name} holds {words} word(s), "
                    f"but keeps {tensors} tensors. Make {memory.name} larger."
                )
            if need > room:
                return (
                    f"layer {nest.layer.name} has no mapping on {nest.accelerator.name}: {memory.name} holds {room} bits, but "
                    f"an element of each tensor that it keeps needs {need}. Make {memory.name} larger."
                )
    return (
        f"layer {nest.layer.name} ({nest.layer}) has no mapping on {nest.accelerator.name} within the constraints of the "
        "dataflow: every way to split its loops overflows a memory or a fan-out. Choose another dataflow (flexible allows "
        "all), or enlarge the memories."
    )
