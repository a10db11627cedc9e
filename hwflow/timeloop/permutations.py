"""Loop orders that have no effect, fixed: those of loops with bound 1, which Timeloop's map space would enumerate.

Eight dimensions have 40,320 orders at each level, even at one that allows no loop, and the space of a deep hierarchy exceeds
the 2^128 mappings that `timeloop-mapper` can count. No mapping is lost. (pytimeloop's `PermutationOptimizerProcessor` and the
orders of its dummy levels have the same effect.)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from hwflow.layers import DIMS, Dim, Layer
from hwflow.timeloop.importer.constraints import constraint_of

LARGEST = 2**128
"""More mappings `timeloop-mapper` cannot count."""


class Place(NamedTuple):
    """A storage level of the architecture: its name, and columns and rows of the fan-out below it."""

    name: str
    fanout: tuple[int, int] = (1, 1)


def fixed(targets: Sequence[Mapping[str, Any]], layer: Layer, places: Sequence[Place]) -> list[dict[str, Any]]:
    """Constraints that allow the same mappings of a layer, in which dimensions of bound 1 have one place in every order.

    Args:
        targets: constraints in Timeloop's words; `places`: the levels that they are for.
    """
    found = [dict(target) for target in targets]
    for place in places:
        temporal = _of(found, place.name, "temporal")
        if not temporal:
            temporal = [{"target": place.name, "type": "temporal"}]
            found += temporal
        if len(temporal) == 1:
            _fix(temporal[0], layer)
        spatial = _of(found, place.name, "spatial")
        # on one axis there is no choice unless an order is begun
        several = min(place.fanout) > 1 or any(target.get("permutation") for target in spatial)
        if len(spatial) == 1 and max(place.fanout) > 1 and several and _splits_anywhere(spatial[0]):
            _fix(spatial[0], layer)
    return found


def size(targets: Sequence[Mapping[str, Any]], layer: Layer, places: Sequence[Place]) -> int:
    """How many mappings `timeloop-mapper` counts (`mapspaces/uber.cpp`), where each memory's tensors are fixed: loop bounds,
    orders, and splits of fan-outs."""
    slots = []  # for each kind of loops of each level the dimensions that may have any
    orders = splits = 1
    for number, place in enumerate(places):
        for kind in ("temporal", "spatial") if max(place.fanout) > 1 else ("temporal",):
            rules = [constraint_of(target, place.name) for target in _of(targets, place.name, kind)]
            slots.append([d for d in DIMS if not any(d in rule.factors for rule in rules)])
            ordered = {d for rule in rules for d in (*rule.prefix, *rule.suffix)}
            one_axis = kind == "spatial" and min(place.fanout) == 1 and not ordered
            innermost = kind == "temporal" and number == len(places) - 1 and max(place.fanout) == 1
            if not one_axis and not innermost:
                orders *= math.factorial(len(DIMS) - len(ordered))
            if kind == "spatial" and not any(rule.split is not None for rule in rules):
                splits *= len(DIMS) + 1
    bounds = math.prod(_factorisations(layer.dims[d], sum(d in slot for slot in slots)) for d in DIMS)
    return bounds * orders * splits


def _of(targets: Iterable[Any], name: str, kind: str) -> list[Any]:
    return [target for target in targets if target.get("target") == name and target.get("type") == kind]


def _splits_anywhere(target: Mapping[str, Any]) -> bool:
    """Whether no place of a spatial order is bound to one of two axes."""
    split = target.get("split")
    return split is None or split == 0 or split >= len(DIMS)


def _fix(target: dict[str, Any], layer: Layer) -> None:
    rule = constraint_of(target, str(target["target"]))
    ones: list[Dim] = [
        d for d in DIMS if (layer.dims[d] == 1 or rule.factors.get(d) == 1) and d not in rule.prefix + rule.suffix
    ]
    if ones:
        order = [*rule.prefix, *ones]
        target["permutation"] = "".join([*order, "_", *rule.suffix] if rule.suffix else order)


def _factorisations(size: int, factors: int) -> int:
    """Ways to write a size as a product of so many factors, in order."""
    count, divisor = 1, 2
    while size > 1 and factors:
        if divisor * divisor > size:
            divisor = size
        exponent = 0
        while size % divisor == 0:
            size, exponent = size // divisor, exponent + 1
        count *= math.comb(exponent + factors - 1, factors - 1)
        divisor += 1
    return count
