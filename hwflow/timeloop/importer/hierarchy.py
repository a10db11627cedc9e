"""Timeloop's native architecture as a list of components.

The tree is walked as Timeloop walks it (`model/topology.cpp`, `ParseTreeSpecs`): one subtree a node, numbers of instances
multiply down the tree, and a component's class decides what it is by the words that it contains.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hwflow.errors import InputError, is_number, shown

STORAGE = ("DRAM", "SRAM", "regfile", "smartbuffer", "storage")
COMPUTE = ("mac", "intmac", "fpmac", "compute")
NETWORK = ("XY_NoC", "Legacy", "ReductionTree", "SimpleMulticast")


def is_class(name: str, words: tuple[str, ...]) -> bool:
    """Whether Timeloop takes a class for one of a kind: its name contains one of the words."""
    return any(word in name for word in words)


@dataclass(frozen=True)
class Component:
    """One component of the tree.

    Attributes:
        name: without its range.
        attributes: its own, which are all that Timeloop reads; `inherited`: with those of the subtrees around it.
    """

    name: str
    kind: str
    subclass: str | None
    instances: int
    attributes: Mapping[str, Any]
    inherited: Mapping[str, Any]

    @property
    def ranged(self) -> str:
        """Its name with its range, as tables of energies have it."""
        return self.name if self.instances == 1 else f"{self.name}[1..{self.instances}]"

    def mesh(self, where: str) -> tuple[int, int]:
        """Columns and rows of all instances; what is not given follows from their number, as in Timeloop."""
        x, y = (self.whole(where, axis) for axis in ("meshX", "meshY"))
        if x is None and y is None:
            return self.instances, 1
        x = x or self.instances // (y or 1)
        y = y or self.instances // x
        if x * y != self.instances:
            raise InputError(
                f"{where}: {self.name}: meshX (={x}) times meshY (={y}) is not the number of its instances (={self.instances})."
            )
        return x, y

    def whole(self, where: str, *keys: str) -> int | None:
        """The first attribute of these names as a whole number, or None; `where` is for errors."""
        for key in keys:
            if (value := self.attributes.get(key)) is not None:
                return whole_of(value, f"{where}: {self.name}.{key}")
        return None

    def number(self, where: str, key: str) -> float | None:
        """An attribute as a number above 0, or None."""
        value = self.attributes.get(key)
        if value is None:
            return None
        if not is_number(value) or not 0 < value < _LARGEST:
            raise InputError(f"{where}: {self.name}.{key} is {shown(value)}; it must be a number above 0.")
        return float(value)


_LARGEST = 2**63


def whole_of(value: Any, place: str) -> int:
    """A whole number of at least 1, which Timeloop can hold; `place` is for the error."""
    if not is_number(value) or not 1 <= value < _LARGEST or value != int(value):
        raise InputError(f"{place} is {shown(value)}; it must be a whole number of at least 1.")
    return int(value)


def components(architecture: Mapping[str, Any], variables: Mapping[str, Any], where: str) -> list[Component]:
    """The tree's components, outermost first; `variables` are attributes that all inherit.

    Raises:
        InputError: naming the part of the tree that is not what Timeloop reads.
    """
    if architecture.get("local"):
        raise InputError(
            f"{where}: architecture.local stands outside of subtree:, where Timeloop reads nothing; move it there."
        )
    return list(_walk(architecture, variables, 1, where, "architecture"))


_ROOT = ("version", "name", "attributes", "subtree", "local")
_SUBTREE = ("name", "attributes", "local", "subtree")
_COMPONENT = ("name", "class", "subclass", "attributes", "enabled", "required_actions")


def _walk(node: Mapping[str, Any], inherited: Mapping[str, Any], times: int, where: str, place: str) -> Iterator[Component]:
    attributes = node.get("attributes") or {}
    if not isinstance(attributes, Mapping):
        raise InputError(f"{where}: {place}.attributes is {shown(attributes)}; it must be a mapping.")
    around = {**inherited, **attributes}
    subtrees = node.get("subtree") or []
    if not isinstance(subtrees, list) or len(subtrees) > 1 or not all(isinstance(s, Mapping) for s in subtrees):
        raise InputError(
            f"{where}: architecture: subtree is {shown(subtrees)}; it must be a list of one subtree, all that Timeloop reads."
        )
    for key in node:
        if key not in (_ROOT if place == "architecture" else _SUBTREE):
            raise InputError(
                f"{where}: {place}.{key}: Timeloop reads only subtree there, and local in a subtree."
                f"{_REMEDIES.get(str(key), ' Remove it, or move it where it belongs.')}"
            )
    local = node.get("local") or []
    if not isinstance(local, list) or not all(isinstance(c, Mapping) for c in local):
        raise InputError(f"{where}: architecture: local is {shown(local)}; it must be a list of components.")
    for content in local:
        yield _component(content, around, times, where)
    for subtree in subtrees:
        name, range_ = _split(subtree.get("name", "system"), where)
        yield from _walk(subtree, around, times * range_, where, name)


_CONSTRAINTS = " Constraints stand in a section architecture_constraints:, or in the innermost subtree."
_REMEDIES = {
    "constraints": _CONSTRAINTS,
    "targets": _CONSTRAINTS,
    "arithmetic": " It belongs to Timeloop's first format, which has no version.",
    "storage": " It belongs to Timeloop's first format, which has no version.",
}


def _component(content: Mapping[str, Any], around: Mapping[str, Any], times: int, where: str) -> Component:
    name, range_ = _split(content.get("name"), where)
    kind, subclass = content.get("class"), content.get("subclass")
    if not isinstance(kind, str):
        raise InputError(f"{where}: {name}.class is {shown(kind)}; every component needs one, such as SRAM or intmac.")
    own = content.get("attributes")
    if own is None and "attributes" not in content:  # then Timeloop reads them from the component itself
        own = {key: value for key, value in content.items() if key not in _COMPONENT}
    elif not isinstance(own or {}, Mapping):
        raise InputError(f"{where}: {name}.attributes is {shown(own)}; it must be a mapping.")
    else:
        for key in content:
            if key not in _COMPONENT:
                raise InputError(
                    f"{where}: {name}.{key} is not known there; a component has {', '.join(_COMPONENT)}, and all else in its "
                    "attributes."
                )
    if content.get("enabled", True) is False:
        raise InputError(f"{where}: {name}.enabled is False, which Timeloop passes over in a native file; take {name} out.")
    own = dict(own or {})
    instances = whole_of(own.get("instances", times * range_), f"{where}: {name}.instances")
    return Component(name, str(kind), subclass and str(subclass), instances, own, {**around, **own})


def _split(name: Any, where: str) -> tuple[str, int]:
    """A name and the length of its range: `PE[0..13]` is 14 of PE."""
    text = name if isinstance(name, str) else ""
    found = re.fullmatch(r"([A-Za-z_][A-Za-z0-9_]*)(?:\[(\d{1,18})\.\.(\d{1,18})\])?", text)
    if found is None or (found[2] and int(found[3]) < int(found[2])):
        raise InputError(f"{where}: {shown(name)} is no name of a component: letters, digits, _ and a range such as [0..13].")
    return found[1], int(found[3]) - int(found[2]) + 1 if found[2] else 1
