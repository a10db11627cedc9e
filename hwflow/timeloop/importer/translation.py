"""Translation of mappings and energies between hwflow's levels and those of a user's architecture.

They are the same levels, but for a fan-out with two axes: one level with two there, two levels with one each in hwflow.
"""

from __future__ import annotations

from collections.abc import Mapping as MappingABC
from collections.abc import Sequence
from typing import Any

from hwflow.errors import InputError, not_found
from hwflow.hardware.energy_table import EnergyTable
from hwflow.hardware.timeloop_accelerator import TimeloopAccelerator
from hwflow.layers import DIMS, TENSORS
from hwflow.mapping import TIMELOOP_TENSORS, Mapping, factors_of, loops_of, on_x


def directives_of(mapping: Mapping, accelerator: TimeloopAccelerator) -> list[dict[str, Any]]:
    """A mapping as the directives for the user's architecture, outermost level first.

    Raises:
        InputError: where a dimension lies on both axes of one fan-out, which Timeloop cannot express.
    """
    levels = {mapped.level: mapped for mapped in mapping.levels}
    entries: list[dict[str, Any]] = []
    for place in accelerator.places:
        kept = levels[place.name].keeps
        names = {word: [TIMELOOP_TENSORS[t] for t in TENSORS if (t in kept) is own] for word, own in _WORDS.items()}
        entries.append({"target": place.name, "type": "datatype", **names})
    for place in accelerator.places:
        entries.append({"target": place.name, "type": "temporal", **factors_of(levels[place.name].temporal)})
        spread = {axis: levels[name].spatial for name, axis in place.levels if axis}
        if max(place.fanout) == 1:
            continue
        on_x, on_y = spread.get("X", ()), spread.get("Y", ())
        if both := {loop.dim for loop in on_x} & {loop.dim for loop in on_y}:
            raise InputError(
                f"mapping: {', '.join(sorted(both))} lies on both axes of the fan-out below {place.name}, which is one loop in "
                "Timeloop and cannot."
            )
        split = len(on_x) if on_y else len(DIMS)
        entries.append({"target": place.name, "type": "spatial", **factors_of((*on_y, *on_x)), "split": split})
    return entries


_WORDS = {"keep": True, "bypass": False}


def mapping_of(entries: Sequence[MappingABC[str, Any]], accelerator: TimeloopAccelerator) -> Mapping:
    """The mapping that directives for the user's architecture say.

    Raises:
        InputError: naming the level, where there are temporal loops at one that stores nothing.
    """
    places = {place.name: place for place in accelerator.places}
    moved: list[dict[str, Any]] = []
    for entry in entries:
        name, kind = str(entry["target"]), str(entry["type"])
        if name not in places:
            raise not_found("target in the mapping", name, places)
        loops = tuple(loops_of(entry))
        if kind == "temporal" and loops and places[name].memory is None:
            raise InputError(
                f"mapping: {name} has temporal loops, {' '.join(map(str, loops))}, but stores nothing; hwflow cannot express "
                "that. Constrain its temporal factors to 1."
            )
        if kind != "spatial":
            moved.append(dict(entry))
            continue
        there = on_x(entry, loops)
        for level, axis in places[name].levels:
            own = tuple(loop for loop in loops if (loop.dim in there) == (axis == "X"))
            moved.append({**entry, "target": level, **factors_of(own), "split": len(DIMS) if axis == "X" else 0})
    return Mapping.from_directives(moved, accelerator)


def energies_of(accelerator: TimeloopAccelerator, table: EnergyTable) -> list[dict[str, Any]]:
    """One entry a component of the user's architecture, levels that store nothing included."""
    entries = []
    for place in accelerator.places:
        actions, area = dict.fromkeys(("read", "write", "update", "leak"), 0.0), 0.0
        if place.memory is not None:
            part = table.parts[place.memory]
            actions = {"read": part.read, "write": part.write, "update": part.update, "leak": part.leak}
            area = part.area_um2 or 0.0
        entries.append({"component": place.component, "actions": actions, "area": area})
    mac = table.parts[accelerator.mac.name]
    entries.append(
        {
            "component": accelerator.unit,
            "actions": {"compute": mac.compute, "leak": mac.leak},
            "area": mac.area_um2 or 0.0,
        }
    )
    return entries
