"""`WrittenArchitecture`: mappings, energies and Accelergy's input between hwflow's levels and a user's architecture.

They are the same levels, but for a fan-out with two axes: one level with two there, two levels with one each in hwflow.
"""

from __future__ import annotations

from collections.abc import Mapping as MappingABC
from collections.abc import Sequence
from typing import Any

from hwflow.errors import InputError, not_found
from hwflow.files import parse_yaml
from hwflow.hardware.components import MacUnit
from hwflow.hardware.energy_table import EnergyTable, costed_parts
from hwflow.hardware.storage_level import LevelConstraint
from hwflow.hardware.timeloop_accelerator import TimeloopAccelerator
from hwflow.layers import DIMS, TENSORS, Layer
from hwflow.mapping import TIMELOOP_TENSORS, Mapping, factors_of, loops_of, on_x
from hwflow.timeloop import permutations
from hwflow.timeloop.accelergy_input import check_input
from hwflow.timeloop.accelergy_parts import STORAGE, accelergy_files


class WrittenArchitecture:
    """The `hwflow.timeloop.architecture.Architecture` of a chip from a user's files: as it is written there."""

    def __init__(self, accelerator: TimeloopAccelerator) -> None:
        self._accelerator = accelerator
        self.text, self.extra = accelerator.architecture, accelerator.extra
        self.places = [permutations.Place(place.name, place.fanout) for place in accelerator.places]

    def targets(self, _constraints: Sequence[LevelConstraint], layer: Layer) -> list[dict[str, Any]]:
        """The files' own; orders that cannot matter are always fixed, as pytimeloop's front end does."""
        return permutations.fixed([dict(target) for target in self._accelerator.targets], layer, self.places)

    def directives(self, mapping: Mapping) -> list[dict[str, Any]]:
        """See `directives_of`."""
        return directives_of(mapping, self._accelerator)

    def mapping(self, entries: list[dict[str, Any]]) -> Mapping:
        """See `mapping_of`."""
        return mapping_of(entries, self._accelerator)

    def energies(self, table: EnergyTable) -> list[dict[str, Any]]:
        """One entry a component of the user's architecture, levels that store nothing included."""
        return energies_of(self._accelerator, table)

    def accelergy_files(self) -> dict[str, str]:
        """The user's own classes and attributes.

        Raises:
            InputError: where Accelergy would run a text of them as code.
        """
        accelerator = self._accelerator
        entries = [
            {
                "name": part.name,
                "class": accelerator.written[part.name].kind,
                "attributes": accelerator.written[part.name].attributes,
                "actions": ("compute",) if isinstance(part, MacUnit) else STORAGE,
            }
            for part in costed_parts(accelerator)
        ]
        files = accelergy_files(entries, accelerator.technology_nm, accelerator.cycle_s, accelerator.components)
        check_input(files, f"accelerator {accelerator.name}")
        return files

    def undefined(self) -> str:
        """Of the classes that the files leave to Accelergy's estimators."""
        accelerator = self._accelerator
        defined = {
            entry.get("name") for entry in parse_yaml(accelerator.components, "components")["compound_components"]["classes"]
        }
        left = sorted({component.kind for component in accelerator.written.values()} - defined)
        if not left:
            return ""
        return (
            f" The files do not define {', '.join(left)}: where these are classes of your own, give their definitions, too "
            "(--timeloop-arch again). Or let hwflow's own components be priced (--energy auto)."
        )


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
            if accelerator.sparsity is not None and place.memory in accelerator.sparsity.compressed:
                actions |= {f"metadata_{name}": actions[name] for name in ("read", "write", "update")}
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
