"""Timeloop's native architecture as a list of components, and its constraints as what they say.

The tree is walked as Timeloop walks it (`model/topology.cpp`, `ParseTreeSpecs`): one subtree a node, numbers of instances
multiply down the tree, and a component's class decides what it is by the words that it contains.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hwflow.errors import InputError, not_found, shown
from hwflow.layers import DIMS, Dim, Tensor
from hwflow.mapping import TIMELOOP_TENSORS

STORAGE = ("DRAM", "SRAM", "regfile", "smartbuffer", "storage")
COMPUTE = ("mac", "intmac", "fpmac", "compute")
NETWORK = ("XY_NoC", "Legacy", "ReductionTree", "SimpleMulticast")

_TENSOR_OF: dict[str, Tensor] = {name: tensor for tensor, name in TIMELOOP_TENSORS.items()}


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
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < _LARGEST:
            raise InputError(f"{where}: {self.name}.{key} is {shown(value)}; it must be a number above 0.")
        return float(value)


_LARGEST = 2**63


def whole_of(value: Any, place: str) -> int:
    """A whole number of at least 1, which Timeloop can hold; `place` is for the error."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 1 <= value < _LARGEST or value != int(value):
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
    return list(_walk(architecture, variables, 1, where))


_COMPONENT = ("name", "class", "subclass", "attributes", "enabled", "required_actions")


def _walk(node: Mapping[str, Any], inherited: Mapping[str, Any], times: int, where: str) -> Iterator[Component]:
    attributes = node.get("attributes") or {}
    around = {**inherited, **(attributes if isinstance(attributes, Mapping) else {})}
    local = node.get("local") or []
    if not isinstance(local, list) or not all(isinstance(c, Mapping) for c in local):
        raise InputError(f"{where}: architecture: local is {shown(local)}; it must be a list of components.")
    for content in local:
        name, range_ = _split(content.get("name"), where)
        own, kind = content.get("attributes") or {}, content.get("class")
        if not isinstance(own, Mapping):
            raise InputError(f"{where}: {name}.attributes is {shown(own)}; it must be a mapping.")
        if not isinstance(kind, str):
            raise InputError(f"{where}: {name}.class is {shown(kind)}; every component needs one, such as SRAM or intmac.")
        for key in content:
            if key not in _COMPONENT:
                raise InputError(
                    f"{where}: {name}.{key} is not known there; a component has {', '.join(_COMPONENT)}, and all else in its "
                    "attributes."
                )
        instances = whole_of(own.get("instances", times * range_), f"{where}: {name}.instances")
        subclass = content.get("subclass")
        yield Component(name, str(kind), subclass and str(subclass), instances, dict(own), {**around, **own})
    subtrees = node.get("subtree") or []
    if not isinstance(subtrees, list) or len(subtrees) > 1 or not all(isinstance(s, Mapping) for s in subtrees):
        raise InputError(
            f"{where}: architecture: subtree is {shown(subtrees)}; it must be a list of one subtree, all that Timeloop reads."
        )
    for subtree in subtrees:
        _, range_ = _split(subtree.get("name", "system"), where)
        yield from _walk(subtree, around, times * range_, where)


def _split(name: Any, where: str) -> tuple[str, int]:
    """A name and the length of its range: `PE[0..13]` is 14 of PE."""
    text = name if isinstance(name, str) else ""
    found = re.fullmatch(r"([A-Za-z_][A-Za-z0-9_]*)(?:\[(\d{1,18})\.\.(\d{1,18})\])?", text)
    if found is None or (found[2] and int(found[3]) < int(found[2])):
        raise InputError(f"{where}: {shown(name)} is no name of a component: letters, digits, _ and a range such as [0..13].")
    return found[1], int(found[3]) - int(found[2]) + 1 if found[2] else 1


# Constraints ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Constraint:
    """One constraint as Timeloop reads it (`mapping/constraints.cpp`).

    Attributes:
        factors: dimensions with `=`; `bounds`: texts of those with `<=` or `>=`; `texts`: all, as they were written.
        prefix, suffix: the permutation, the innermost loop first, before and after a `_`.
        keep, bypass: tensors.
        others: all other fields.
    """

    target: str
    kind: str
    factors: dict[Dim, int]
    bounds: tuple[str, ...]
    texts: tuple[str, ...]
    prefix: tuple[Dim, ...]
    suffix: tuple[Dim, ...]
    split: int | None
    keep: tuple[Tensor, ...]
    bypass: tuple[Tensor, ...]
    others: dict[str, Any]

    @property
    def named(self) -> set[str]:
        """The dimensions whose factors are spoken of."""
        return {re.match(r"[A-Za-z]+", text)[0] for text in self.texts}  # type: ignore[index]


_FACTOR = r"(?<![A-Za-z])([A-Za-z]+)\s*(?:(<=|>=|=)\s*)?(\d+)"
_FIELDS = {"target", "name", "type", "factors", "permutation", "split", "keep", "bypass"}


def constraint_of(content: Mapping[str, Any], where: str) -> Constraint:
    """Read one constraint.

    Raises:
        InputError: naming the target, the field and the value that cannot be read.
    """
    target, kind = str(content.get("target", content.get("name"))), str(content.get("type"))
    place = f"{where}: constraint {kind} of {target}"
    factors, bounds, texts = dict[Dim, int](), list[str](), list[str]()
    given = content.get("factors") or []
    text = " ".join(map(str, given)) if isinstance(given, (list, tuple)) else str(given)
    text = text.partition("#")[0]
    for match in re.finditer(_FACTOR, text):
        dim = _dim(match[1], place)
        texts.append(f"{dim}{match[2] or '='}{match[3]}")
        if match[2] in ("<=", ">="):
            bounds.append(texts[-1])
        else:
            factors[dim] = int(match[3][:18])
    if re.sub(_FACTOR, "", text).strip(" ,\n\t"):  # `C=word`, `C=1.5`: Timeloop would pass over it
        raise InputError(f"{place}: factors is {shown(given)}; it must be a list such as [C=1, M=1].")
    order = content.get("permutation") or ""
    letters = [str(d) for d in order] if isinstance(order, (list, tuple)) else list(str(order).partition("#")[0])
    letters = [c.strip() for c in letters if c.strip(" ,")]
    cut = letters.index("_") if "_" in letters else len(letters)
    split = content.get("split")
    if split is not None and (isinstance(split, bool) or not isinstance(split, int) or split < 0):
        raise InputError(f"{place}: split is {shown(split)}; it must be a whole number of dimensions.")
    return Constraint(
        target,
        kind,
        factors,
        tuple(bounds),
        tuple(texts),
        tuple(dict.fromkeys(_dim(c, place) for c in letters[:cut])),
        tuple(dict.fromkeys(_dim(c, place) for c in letters[cut + 1 :])),
        split,
        _tensors(content, "keep", place),
        _tensors(content, "bypass", place),
        {str(k): v for k, v in content.items() if k not in _FIELDS and v not in (None, [], {})},
    )


def _dim(name: str, where: str) -> Dim:
    if name not in DIMS:
        raise not_found(f"dimension in {where}", name, DIMS, "These are the dimensions of hwflow's problem.")
    return name


def _tensors(content: Mapping[str, Any], field: str, where: str) -> tuple[Tensor, ...]:
    names = content.get(field)
    if names is None:
        return ()
    if not isinstance(names, (list, tuple)):
        raise InputError(f"{where}: {field} is {shown(names)}; it must be a list of tensors such as [Weights].")
    for name in map(str, names):
        if name not in _TENSOR_OF:
            raise not_found(f"tensor in {where}", name, _TENSOR_OF)
    return tuple(_TENSOR_OF[str(name)] for name in names)
