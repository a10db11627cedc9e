"""Derivation of the `Accelerator` that mid uses from Timeloop's architecture and constraints.

A storage level that keeps a tensor becomes a memory; fan-outs between two memories become one array with their axes. Whatever
affects Timeloop's numbers and has no counterpart in hwflow is refused, so that mid never gives different numbers without saying
so. `hwflow.timeloop.importer.attributes` interprets the attributes.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hwflow.errors import InputError
from hwflow.hardware.timeloop_accelerator import Limits, Place, TimeloopAccelerator, Written
from hwflow.layers import DIMS, TENSORS, Dim, Tensor
from hwflow.timeloop.importer.attributes import blocks_of, cycle_of, mac_of, memory_of, note_unknown, plain, technology_of
from hwflow.timeloop.importer.constraints import Constraint, merged
from hwflow.timeloop.importer.hierarchy import COMPUTE, NETWORK, STORAGE, Component, components, is_class
from hwflow.timeloop.importer.map_space import Allowed, Verdicts, allowed, target_of, with_groups
from hwflow.timeloop.importer.source_files import Input
from hwflow.timeloop.importer.sparsity import ROOM, NotExpressible, check_meaning, optimizations_of
from hwflow.timeloop.importer.yaml_text import settled, written


@dataclass(frozen=True)
class _Level:
    """A storage level of the architecture with its place on the mesh and the fan-out below it."""

    component: Component
    mesh: tuple[int, int]
    fanout: tuple[int, int]
    rules: Allowed

    @property
    def keeps(self) -> tuple[Tensor, ...]:
        return tuple(t for t in TENSORS if t not in self.rules.bypass)


def derive(found: Input, constraints: Sequence[Constraint], name: str) -> TimeloopAccelerator:
    """The accelerator of a native architecture.

    Raises:
        InputError: naming the file, the component and what it lacks, where no accelerator can be derived at all.
    """
    assert found.architecture is not None
    where, verdicts = found.where, Verdicts()
    levels, mac, constraints = _levels(found, constraints, verdicts)
    single = _single(found)
    if found.layout:
        verdicts.refusals.append("layout: it counts no conflicts of banks")
    verdicts.notes += found.notes
    verdicts.notes += [f"{section}: left out, {why}" for section, why in found.ignored.items()]
    hierarchy, places, limits = _hierarchy(levels, mac, single, verdicts)
    unpriced: dict[str, str] = {}
    parts: list[dict[str, Any]] = []
    cycle_s = cycle_of([level.component for level in levels] + [mac], where, verdicts)
    memories = iter([level for level in levels if level.keeps])
    kept = [level.component for level in levels if level.keeps]
    for entry in hierarchy:
        if entry["kind"] == "fanout":
            parts.append(entry)
        else:
            level = next(memories)
            parts.append(memory_of(level.component, level.keeps, cycle_s, where, unpriced, first=not parts))
    process = kept[1:] if parts[0]["kind"] == "dram" else kept
    parts.append(mac_of(mac, where))
    for component in (*kept, mac):
        note_unknown(component, verdicts)
    content = {
        "name": name,
        "description": f"from Timeloop's files {where}",
        "technology_nm": technology_of([*process, mac], where, unpriced),
        "clock_mhz": 1e-6 / cycle_s,
        "dataflow": "as written",
        "hierarchy": parts,
        "architecture": written({"architecture": settled(found.architecture)}),
        "targets": tuple(target_of(one) for one in constraints),
        "components": written({"compound_components": {"version": 0.4, "classes": found.components}}),
        "written": {c.name: Written(kind=c.subclass or c.kind, attributes=plain(c.inherited)) for c in (*kept, mac)},
        "places": places,
        "unit": mac.ranged,
        "limits": limits,
        "clusters": {c.name: n for c in kept if (n := blocks_of(c, where)[1]) > 1},
        "unpriced": unpriced,
        "extra": {
            f"{name.partition('_')[0]}.yaml": written({name: settled(section)})
            for name, section in (("sparse_optimizations", found.sparse), ("layout", found.layout))
            if section
        },
        "refusals": tuple(dict.fromkeys(verdicts.refusals)),
        "notes": tuple(dict.fromkeys(verdicts.notes)),
    }
    if found.sparse:
        return _with_zeros(found, content, {component.name: component for component in kept})
    return TimeloopAccelerator.derived(content, where)


def _with_zeros(found: Input, content: dict[str, Any], memories: Mapping[str, Component]) -> TimeloopAccelerator:
    """The accelerator with what it does about zeros; where hwflow's terms cannot say it, that is a refusal."""
    try:
        asked = optimizations_of(found.sparse, memories, found.where)
        sparsity = {"sparsity": asked.content} if asked.content else {}
        notes = (*content["notes"], ROOM) if asked.ranks else content["notes"]
        chip = TimeloopAccelerator.derived({**content, **sparsity, "notes": notes}, found.where)
        if sparsity:
            check_meaning(asked, chip, memories)
    except (NotExpressible, InputError) as error:
        why = str(error).rstrip(".")
        refusals = (*content["refusals"], f"sparse_optimizations, for which hwflow has no terms: {why}")
        return TimeloopAccelerator.derived({**content, "refusals": refusals}, found.where)
    return chip


def _single(found: Input) -> set[Dim]:
    """The dimensions that are 1 in the problem for which pytimeloop lowered the files."""
    instance = found.problem.get("instance") if found.lowered and isinstance(found.problem, Mapping) else None
    if not isinstance(instance, Mapping):
        return set()
    return {d for d in DIMS if instance.get(d, 1) == 1}


# The levels ----------------------------------------------------------------------------------------------------------


def _levels(
    found: Input, constraints: Sequence[Constraint], verdicts: Verdicts
) -> tuple[list[_Level], Component, list[Constraint]]:
    where = found.where
    assert found.architecture is not None
    storage, macs = [], []
    for component in components(found.architecture, found.variables, where):
        if is_class(component.kind, STORAGE):
            storage.append(component)
        elif is_class(component.kind, COMPUTE):
            macs.append(component)
        elif is_class(component.kind, NETWORK):
            verdicts.refusals.append(f"{component.name}: its networks cost nothing, so not a {component.kind}")
        else:
            raise InputError(
                f"{where}: {component.name}.class is {component.kind!r}, neither a memory ({', '.join(STORAGE)}) nor "
                f"arithmetic ({', '.join(COMPUTE)}). Use a class whose name contains one of these, or give subclass: storage "
                "or compute."
            )
    if len(macs) != 1 or not storage:
        raise InputError(
            f"{where}: the architecture has {len(storage)} memories and {len(macs)} kinds of arithmetic; it needs at least one "
            "memory and exactly one kind of arithmetic."
        )
    names = [c.name for c in (*storage, *macs)]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{where}: the name {name!r} appears twice in the architecture; every component needs its own.")
    meshes = [c.mesh(where) for c in (*storage, *macs)]
    fanouts = {}
    for component, outer, inner in zip(storage, meshes, meshes[1:], strict=False):
        if inner[0] % outer[0] or inner[1] % outer[1]:
            raise InputError(
                f"{where}: the mesh below {component.name} is {inner[0]} x {inner[1]}; each axis must be a whole multiple of "
                f"its own {outer[0]} x {outer[1]}."
            )
        fanouts[component.name] = inner[0] // outer[0], inner[1] // outer[1]
    grouped = [with_groups(one) for one in merged(constraints, storage[0].name, where)]
    rules = allowed(grouped, fanouts, where, verdicts)
    levels = [_Level(c, mesh, fanouts[c.name], rules[c.name]) for c, mesh in zip(storage, meshes, strict=False)]
    if set(levels[0].keeps) != set(TENSORS):
        raise InputError(f"{where}: {storage[0].name}, the outermost memory, must keep Weights, Inputs and Outputs.")
    return levels, macs[0], grouped


def _hierarchy(
    levels: list[_Level], mac: Component, single: set[Dim], verdicts: Verdicts
) -> tuple[list[dict[str, Any]], list[Place], dict[str, Limits]]:
    """Memories (as their names alone) and arrays, where everything lies, and what is allowed there."""
    parts: list[dict[str, Any]] = []
    places: list[Place] = []
    limits: dict[str, Limits] = {}
    starts = [i for i, level in enumerate(levels) if level.keeps]
    taken = {level.component.name for level in levels if level.keeps} | {mac.name}
    for start, stop in itertools.pairwise([*starts, len(levels)]):
        group, memory = levels[start:stop], levels[start].component.name
        parts.append({"kind": "memory", "name": memory})
        _note(group, verdicts, first=start == 0)
        array = None
        if sizes := [size for level in group for size in level.fanout if size > 1]:
            last = next(level.component.name for level in reversed(group) if max(level.fanout) > 1)
            array = _array_name(last, memory, taken)
            taken.add(array)
            columns, rows = math.prod(level.fanout[0] for level in group), math.prod(level.fanout[1] for level in group)
            axes = {axis: size for axis, size in (("columns", columns), ("rows", rows)) if size > 1}
            assert math.prod(sizes) == math.prod(axes.values())
            parts.append({"kind": "fanout", "name": array, "role": array, **axes})
        for i, level in enumerate(group):
            place = _place(level, memory if i == 0 else None, array, single, verdicts)
            places.append(place)
            own = level.rules if i == 0 else Allowed(temporal=())
            for n, (name, axis) in enumerate(place.levels):
                dims = {"X": level.rules.columns, "Y": level.rules.rows}[axis] if axis else ()
                limits[name] = Limits(
                    temporal=own.temporal if n == 0 else (), innermost=own.innermost if n == 0 else (), spatial=dims
                )
            if len(place.levels) > 1:
                _two_axes(place, verdicts)
    return parts, places, limits


def _place(level: _Level, memory: str | None, array: str | None, single: set[Dim], verdicts: Verdicts) -> Place:
    """A level; an axis along which nothing can lie is none.

    Nor is one of two along which only dimensions lie that are 1 in the files' problem: pytimeloop puts these first in a
    permutation, so that `split` counts them.
    """
    (columns, rows), rules = level.fanout, level.rules
    axes: list[Literal["X", "Y"]] = ["Y"] if rows > 1 and rules.rows else []
    if columns > 1 and rules.columns:
        axes.append("X")
    for axis, dims, other in (("X", rules.columns, rules.rows), ("Y", rules.rows, rules.columns)):
        if len(axes) == 2 and set(dims) <= single and not set(other) <= single:
            axes.remove(axis)  # type: ignore[arg-type]
            verdicts.notes.append(
                f"{level.component.name}: nothing is put on its mesh{axis}, where only {', '.join(dims)} can lie, which "
                "is 1 in the files' own problem"
            )
    return Place(
        name=level.component.name,
        component=level.component.ranged,
        memory=memory,
        mesh=level.mesh,
        fanout=level.fanout,
        axes=tuple(axes),
        array=array,
    )


def _array_name(level: str, memory: str, taken: set[str]) -> str:
    """A fan-out's name: its container's, which pytimeloop puts between two words."""
    plain = re.sub(r"^inter_([A-Za-z_]\w*)_spatial$", r"\1", level)
    candidates = [plain] if level != memory else []
    candidates += [f"{memory}_array", *(f"{memory}_array_{n}" for n in range(2, 100))]
    return next(name for name in candidates if name not in taken)


def _note(group: list[_Level], verdicts: Verdicts, *, first: bool) -> None:
    free = [t for t in group[0].keeps if t not in group[0].rules.keep]
    memory = group[0].component.name
    if free and not first:  # Timeloop keeps all in the outermost memory
        verdicts.notes.append(f"{memory} may keep or bypass {', '.join(free)}: hwflow's search keeps them there")
    for level in group[1:]:
        if level.rules.temporal:
            verdicts.notes.append(f"{level.component.name} stores nothing: hwflow's search puts no temporal loops there")


def _two_axes(place: Place, verdicts: Verdicts) -> None:
    """One fan-out with two axes is two levels here, which is not the same for ragged loops and windows that slide over both."""
    verdicts.refusals.append(
        f"{place.name}: one fan-out with two axes, both of which can be used; make it two fan-outs with one axis each, as two "
        "containers are, or fix the dimensions of one axis at 1"
    )
