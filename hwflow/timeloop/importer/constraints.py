"""Constraints on mappings: the meaning of each, and their combination at one level.

The meaning is that of Timeloop (`mapping/constraints.cpp`). `hwflow.timeloop.importer.constraint_sections` finds them in
the files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from hwflow.errors import InputError, is_whole, not_found, shown
from hwflow.layers import DIMS, TENSORS, Dim, Tensor
from hwflow.mapping import TIMELOOP_TENSORS

BYPASS = ("bypass", "datatype", "bypassing", "dataspace")
"""Four names of one type of constraint."""

_TENSOR_OF: dict[str, Tensor] = {name: tensor for tensor, name in TIMELOOP_TENSORS.items()}


# What one says -------------------------------------------------------------------------------------------------------


def level_of(content: Mapping[str, Any]) -> str:
    """The level that a constraint is for, as Timeloop finds it."""
    return str(content.get("target", content.get("name")))


@dataclass(frozen=True)
class Constraint:
    """One constraint as Timeloop reads it.

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

    @property
    def settled(self) -> set[str]:
        """What Timeloop lets be said once of a level: a dimension's factor, its largest, its smallest."""
        return {re.sub(r"\d+", "", text) for text in self.texts}


_FACTOR = r"(?<![A-Za-z])([A-Za-z]+)\s*(?:(<=|>=|=+)\s*)?(\d+)"
_FIELDS = {"target", "name", "type", "factors", "permutation", "split", "keep", "bypass"}


def constraint_of(content: Mapping[str, Any], where: str) -> Constraint:
    """Read one constraint.

    Raises:
        InputError: naming the target, the field and the value that cannot be read.
    """
    target, kind = level_of(content), str(content.get("type"))
    place = f"{where}: constraint {kind} of {target}"
    factors, bounds, texts = dict[Dim, int](), list[str](), list[str]()
    given = content.get("factors") or []
    text = " ".join(map(str, given)) if isinstance(given, (list, tuple)) else str(given)
    text = text.partition("#")[0]
    for match in re.finditer(_FACTOR, text):
        dim, sign, number = _dim(match[1], place), match[2] or "=", match[3]
        texts.append(f"{dim}{sign if sign in _BOUNDS else '='}{number}")
        if sign not in _BOUNDS or (sign == "<=" and int(number[:18]) == 1):
            factors[dim] = int(number[:18])
        elif int(number[:18]) > 1:  # at least 1 is every factor
            bounds.append(texts[-1])
    if re.sub(_FACTOR, "", text).strip(" ,\n\t"):  # `C=word`, `C=1.5`: Timeloop would pass over it
        raise InputError(f"{place}: factors is {shown(given)}; it must be factors such as C=1 M=1.")
    prefix, suffix = _permutation(content.get("permutation"), place)
    split = content.get("split")
    if split is not None and not is_whole(split, 0):
        raise InputError(f"{place}: split is {shown(split)}; it must be a whole number of dimensions.")
    return Constraint(
        target,
        kind,
        factors,
        tuple(bounds),
        tuple(texts),
        prefix,
        suffix,
        split,
        _tensors(content, "keep", place),
        _tensors(content, "bypass", place),
        {str(k): v for k, v in content.items() if k not in _FIELDS and v not in (None, [], {})},
    )


_BOUNDS = ("<=", ">=")


def _permutation(order: Any, place: str) -> tuple[tuple[Dim, ...], tuple[Dim, ...]]:
    order = order or ""
    letters = [str(d) for d in order] if isinstance(order, (list, tuple)) else list(str(order).partition("#")[0])
    letters = [c.strip() for c in letters if c.strip(" ,")]
    cut = letters.index("_") if "_" in letters else len(letters)
    dims = [_dim(c, place) for c in letters if c != "_"]
    if len(set(dims)) < len(dims):
        raise InputError(f"{place}: permutation is {shown(order)}; each dimension has one place in it.")
    return tuple(dims[:cut]), tuple(dims[cut:])


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


# What several say ----------------------------------------------------------------------------------------------------


def merged(constraints: Iterable[Constraint], outermost: str, where: str) -> list[Constraint]:
    """One constraint of each type for each level: they add up, and what was said of a level cannot be said again.

    Raises:
        InputError: naming the level and what is said twice, at which Timeloop stops.
    """
    found: dict[tuple[str, str], Constraint] = {}
    for one in constraints:
        kind = "bypass" if one.kind in BYPASS else one.kind
        here = found.get((one.target, kind))
        found[one.target, kind] = one if here is None else _added(here, one, kind, where, last=one.target == outermost)
    for (target, kind), one in found.items():
        twice = [t for t in TENSORS if one.keep.count(t) + one.bypass.count(t) > 1 and not (t in one.keep and t in one.bypass)]
        if kind == "bypass" and twice and target != outermost:
            raise InputError(
                f"{where}: the constraints say twice what {target} does with {', '.join(TIMELOOP_TENSORS[t] for t in twice)}. "
                "Remove one of them: Timeloop stops there."
            )
    return list(found.values())


def _added(first: Constraint, second: Constraint, kind: str, where: str, *, last: bool) -> Constraint:
    target = first.target
    twice = sorted(first.settled & second.settled)
    twice += ["permutation"] if (first.prefix or first.suffix) and (second.prefix or second.suffix) else []
    twice += ["split"] if first.split is not None and second.split is not None else []
    twice += sorted(first.others.keys() & second.others.keys())
    if twice and not (last and kind == "bypass"):
        raise InputError(
            f"{where}: two {kind} constraints of {target} both set {', '.join(twice)}. Remove one of them: "
            "Timeloop stops there."
        )
    return replace(
        first,
        factors={**first.factors, **second.factors},
        bounds=(*first.bounds, *second.bounds),
        texts=(*first.texts, *second.texts),
        prefix=first.prefix or second.prefix,
        suffix=first.suffix or second.suffix,
        split=second.split if first.split is None else first.split,
        keep=(*first.keep, *second.keep),
        bypass=(*first.bypass, *second.bypass),
        others={**first.others, **second.others},
    )
