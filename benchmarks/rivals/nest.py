"""`Nest`: a mapping as the rivals have it, where each tensor has its own place for each memory, and its verdict.

Timeloop knows one split of the loops a memory, for all the tensors that it keeps. What is *uneven* in that sense is judged on
a chip whose memory is split into one for each tensor, with the same energies: their tiles must fit the real one together, and
they share its bandwidth. Registers of a PE keep one tensor each, so there only their order changes, which is notation.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from collections.abc import Mapping as MappingABC
from dataclasses import dataclass, replace
from typing import Literal

from hwflow.cost import mid
from hwflow.errors import NotMappable
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.components import Fanout, Memory, NamedPart
from hwflow.hardware.energy_table import EnergyTable, PartEnergy
from hwflow.layers import DIMS, Dim, Layer, Tensor
from hwflow.mapping import LevelMapping, Loop, Mapping

Bound = tuple[Dim, int]
Axis = Literal["columns", "rows"]


class Inexpressible(Exception):
    """A mapping for which Timeloop has no words, memory split or not; says why."""


@dataclass(frozen=True)
class Nest:
    """Temporal loops, outermost first, with the places of memories and array among them.

    `places`: for a memory and a tensor, how many temporal loops run outside what it keeps. `array`: how many run outside the
    spatial loops. Bounds need not divide the dimensions: the last pass of what is too long is shorter.
    """

    temporal: tuple[Bound, ...]
    spatial: MappingABC[Axis, tuple[Bound, ...]]
    places: MappingABC[tuple[str, Tensor], int]
    array: int


@dataclass(frozen=True)
class Expressed:
    """A nest in Timeloop's terms: chip, energies and mapping. `split`: memories that are in parts, and the parts."""

    accelerator: Accelerator
    table: EnergyTable
    mapping: Mapping
    split: MappingABC[str, tuple[str, ...]]


@dataclass(frozen=True)
class Verdict:
    """Energy (pJ) and cycles."""

    energy: float
    cycles: int

    @property
    def edp(self) -> float:
        """Picojoule times cycles."""
        return self.energy * self.cycles


@dataclass(frozen=True)
class _Tier:
    """A level to be: what a memory keeps of `tensors` inside `place` loops. Without a memory it only carries loops."""

    place: int
    memory: Memory | None
    tensors: tuple[Tensor, ...]

    @property
    def name(self) -> str:
        if self.memory is None:
            return f"carrier_{self.place}"
        whole = set(self.tensors) == set(self.memory.keeps)
        return self.memory.name if whole else "_".join((self.memory.name, *self.tensors))


def express(nest: Nest, layer: Layer, chip: Accelerator, table: EnergyTable) -> Expressed:
    """The chip, split where that is needed, and the mapping.

    Raises:
        Inexpressible: where a memory above the array lies inside loops that registers below it hold, or loops are too short.
        NotMappable: where the array has too few rows or columns.
    """
    at = array_index(chip)
    array = chip.hierarchy[at]
    assert isinstance(array, Fanout)
    temporal, spatial = _ragged(nest, layer)
    sizes: dict[Axis, int] = {"columns": array.columns or 1, "rows": array.rows or 1}
    for axis, size in sizes.items():
        if (used := math.prod(loop.bound for loop in spatial[axis])) > size:
            raise NotMappable(f"its spatial loops need {used} {axis}, and {array.name} has {size}.")
    above = [t for m in chip.hierarchy[:at] if isinstance(m, Memory) for t in _above(m, nest, layer)]
    below = _in_order([_below(m, nest, layer) for m in chip.hierarchy[at:] if isinstance(m, Memory)], nest, layer)
    hierarchy: list[NamedPart] = []
    levels: list[LevelMapping] = []
    parts = {chip.mac.name: table.parts[chip.mac.name]}
    split: dict[str, tuple[str, ...]] = {}
    for tiers, start, end in ((above, 0, nest.array), (below, nest.array, len(temporal))):
        segments = _segments(sorted(tiers, key=lambda t: t.place), start, end, temporal)
        for tier, loops in segments:
            levels.append(LevelMapping(tier.name, loops, (), tier.tensors))
            if tier.memory is None:
                hierarchy.append(_carrier(tier.name))
                parts[tier.name] = PartEnergy()
                continue
            whole = tier.memory.name
            parts[tier.name] = table.parts[whole]
            if tier.name == whole:
                hierarchy.append(tier.memory)
                continue
            hierarchy.append(tier.memory.model_copy(update={"name": tier.name, "role": tier.name, "keeps": tier.tensors}))
            if whole in split:
                parts[tier.name] = replace(table.parts[whole], leak=0.0)  # the first part leaks for all
            split[whole] = (*split.get(whole, ()), tier.name)
        if tiers is above:
            hierarchy.append(array)
            levels[-1] = _with_spatial(levels[-1], spatial["columns"], "X")
            levels.append(LevelMapping(array.name, (), spatial["rows"], (), "Y"))
    content = chip.model_dump(exclude_none=True) | {
        "hierarchy": [p.model_dump(exclude_none=True) for p in (*hierarchy, chip.mac)]
    }
    return Expressed(Accelerator.from_dict(content), replace(table, parts=parts), Mapping(tuple(levels)), split)


def judge(nest: Nest, layer: Layer, chip: Accelerator, table: EnergyTable) -> tuple[Verdict, Expressed]:
    """What the nest costs on the chip, by the numbers of timeloop-model.

    Raises:
        Inexpressible: see `express`.
        NotMappable: where its tiles or spatial loops do not fit.
    """
    found = express(nest, layer, chip, table)
    cost = mid.analyse(layer, found.accelerator, found.mapping, found.table)
    assert cost.energy is not None
    assert cost.cycles is not None
    cycles = cost.cycles
    for name, names in found.split.items():
        memory = chip[name]
        assert isinstance(memory, Memory)
        need = sum(_words(found.mapping, part, layer) for part in names)
        if memory.words is not None and need > memory.words:
            raise NotMappable(f"{name} has {memory.words} words, its parts {', '.join(names)} need {need}.")
        counts = [counts for part in names for counts in cost.accesses[part].values()]
        for words, limit in (
            (sum(c["reads"] for c in counts), memory.read_words_per_cycle),
            (sum(c["fills"] + c["updates"] for c in counts), memory.write_words_per_cycle),
        ):
            cycles = cycles if limit is None else max(cycles, math.ceil(words / limit))
    return Verdict(cost.energy, cycles), found


def evened(nest: Nest, chip: Accelerator) -> Iterator[Nest]:
    """The nest with one place among the loops for all memories between DRAM and array, each in turn: what needs no split."""
    between = {m.name for m in chip.hierarchy[1 : array_index(chip)] if isinstance(m, Memory)}
    for place in range(nest.array + 1):
        yield replace(nest, places={k: place if k[0] in between else p for k, p in nest.places.items()})


def array_index(chip: Accelerator) -> int:
    """Where the array stands in the chip's hierarchy."""
    return next(i for i, part in enumerate(chip.hierarchy) if isinstance(part, Fanout))


# Places --------------------------------------------------------------------------------------------------------------


def _range(place: int, tensor: Tensor, nest: Nest, layer: Layer) -> tuple[int, int]:
    """The outermost and innermost place at which `tensor` has the same tile and is fetched as often."""
    relevant = layer.relevant(tensor)
    low = high = place
    while low > 0 and nest.temporal[low - 1][0] not in relevant:
        low -= 1
    while high < len(nest.temporal) and nest.temporal[high][0] not in relevant:
        high += 1
    return low, high


def _above(memory: Memory, nest: Nest, layer: Layer) -> list[_Tier]:
    """One tier where all tensors can lie at one place, otherwise one for each place."""
    ranges = {t: _range(nest.places[memory.name, t], t, nest, layer) for t in memory.keeps}
    low, high = max(r[0] for r in ranges.values()), min(nest.array, *(r[1] for r in ranges.values()))
    if low <= high:
        wanted = [nest.places[memory.name, t] for t in memory.keeps]
        return [_Tier(min(max(min(wanted), low), high), memory, memory.keeps)]
    if memory.kind == "dram":
        raise Inexpressible(f"{memory.name} does not keep everything outside all loops")
    places = {t: min(nest.places[memory.name, t], r[1], nest.array) for t, r in ranges.items()}
    if late := [t for t, r in ranges.items() if r[0] > nest.array]:
        raise Inexpressible(f"{memory.name} keeps {', '.join(late)} inside loops that registers of a PE hold")
    return [_Tier(p, memory, tuple(t for t in memory.keeps if places[t] == p)) for p in sorted(set(places.values()))]


def _below(memory: Memory, nest: Nest, layer: Layer) -> _Tier:
    """A register's tier; several tensors in one are not asked of it."""
    (tensor,) = memory.keeps
    place = nest.places[memory.name, tensor]
    if place < nest.array:
        place = min(_range(place, tensor, nest, layer)[1], nest.array)
    if place < nest.array:
        raise Inexpressible(f"{memory.name} keeps {tensor} outside the array's loops")
    return _Tier(place, memory, memory.keeps)


def _in_order(tiers: Sequence[_Tier], nest: Nest, layer: Layer) -> list[_Tier]:
    """The registers in the chip's order, moved by as little as possible, where equivalent places allow it; else as they are."""
    ranges = [_range(tier.place, tier.tensors[0], nest, layer) for tier in tiers]
    lows = list(itertools.accumulate((max(low, nest.array) for low, _ in ranges), max))
    highs = list(itertools.accumulate((high for _, high in reversed(ranges)), min))[::-1]
    if any(low > high for low, high in zip(lows, highs, strict=True)):
        return list(tiers)
    ordered, last = list[_Tier](), nest.array
    for tier, low, high in zip(tiers, lows, highs, strict=True):
        last = min(max(tier.place, low, last), high)
        ordered.append(replace(tier, place=last))
    return ordered


# Loops ---------------------------------------------------------------------------------------------------------------


def _ragged(nest: Nest, layer: Layer) -> tuple[list[Loop], dict[Axis, list[Loop]]]:
    """The loops with their last passes cut to the layer's sizes, from the innermost outwards. None is dropped."""
    left = dict(layer.dims)

    def cut(bounds: Sequence[Bound]) -> list[Loop]:
        loops = []
        for dim, bound in reversed(bounds):
            size = min(bound, left[dim])
            loops.append(Loop(dim, size, (left[dim] - 1) % size + 1))
            left[dim] = -(-left[dim] // size)
        return loops[::-1]

    inner = cut(nest.temporal[nest.array :])
    spatial: dict[Axis, list[Loop]] = {"rows": cut(nest.spatial.get("rows", ()))}
    spatial["columns"] = cut(nest.spatial.get("columns", ()))
    temporal = cut(nest.temporal[: nest.array]) + inner
    if short := [d for d in DIMS if left[d] > 1]:
        raise Inexpressible(f"the loops do not cover {', '.join(short)}")
    return temporal, {axis: _merged(loops) for axis, loops in spatial.items()}


def _merged(loops: Sequence[Loop]) -> list[Loop]:
    """Neighbours over one dimension as one loop, those of bound 1 left out."""
    merged: list[Loop] = []
    for loop in loops:
        if loop.bound == 1:
            continue
        if merged and merged[-1].dim == loop.dim:
            last = merged.pop()
            loop = Loop(loop.dim, last.bound * loop.bound, (last.residual - 1) * loop.bound + loop.residual)  # noqa: PLW2901
        merged.append(loop)
    return merged


def _segments(tiers: Sequence[_Tier], start: int, end: int, temporal: Sequence[Loop]) -> list[tuple[_Tier, list[Loop]]]:
    """Each tier with its loops; where one would have two over a dimension, a tier that keeps nothing carries the rest."""
    pending = list(tiers)
    if not pending or pending[0].place > start:
        pending.insert(0, _Tier(start, None, ()))
    segments: list[tuple[_Tier, list[Loop]]] = []
    while pending:
        tier = pending.pop(0)
        until = pending[0].place if pending else end
        stop, seen = tier.place, list[Dim]()
        while stop < until:
            loop = temporal[stop]
            if loop.bound > 1:
                if loop.dim in seen[:-1]:
                    break
                seen += [loop.dim] if loop.dim not in seen else []
            stop += 1
        segments.append((tier, _merged(temporal[tier.place : stop])))
        if stop < until:
            pending.insert(0, _Tier(stop, None, ()))
    return segments


def _with_spatial(level: LevelMapping, loops: Sequence[Loop], axis: Literal["X", "Y"]) -> LevelMapping:
    return LevelMapping(level.level, level.temporal, loops, level.keeps, axis)


def _carrier(name: str) -> Memory:
    """A memory of no cost that keeps nothing in the mapping: only its loops count."""
    return Memory(name=name, kind="regfile", role=name, keeps=("weights",), word_bits=16, width_bits=16, size_words=1)


def _words(mapping: Mapping, name: str, layer: Layer) -> int:
    """Words of the tiles that a level keeps."""
    names = [m.level for m in mapping.levels]
    k = names.index(name)
    size = dict.fromkeys(DIMS, 1)
    for level in mapping.levels[k:]:
        for loop in level.loops:
            size[loop.dim] *= loop.bound
    size = {d: min(n, layer.dims[d]) for d, n in size.items()}
    return sum(
        math.prod(1 + sum(term.coefficient * (size[term.dim] - 1) for term in axis) for axis in layer.projections[t])
        for t in mapping.levels[k].keeps
    )
