"""Verification of a certificate: its leaves cover all mappings, their bounds hold, and the mapping costs what it says."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hwflow.certificate.bounds import Bounds, Way
from hwflow.certificate.document import Document, LeafEntry, Problem
from hwflow.certificate.recursion import BOTH, READS, WRITES, Rate
from hwflow.certificate.space import Space, Spread
from hwflow.errors import InputError, NotCertified, NotMappable
from hwflow.layers import DIMS, Layer
from hwflow.loopnest.nest import Nest
from hwflow.mapping import Mapping
from hwflow.types import Objective

WAYS: dict[Literal["reads", "writes", "both"], int] = {"reads": READS, "writes": WRITES, "both": BOTH}
_NEAR = 1e-9  # of numbers that are computed twice


@dataclass(frozen=True)
class Verified:
    """What a certificate proves: no mapping with perfect factors has a smaller objective than `bound`, and one has `value`.

    Attributes:
        gap: 1 - bound / value.
        spreads: how many spatial mappings there are; `leaves`: how many have a leaf of their own.
    """

    layer: Layer
    accelerator: str
    dataflow: str
    objective: Objective
    energies: str
    value: float
    bound: float
    gap: float
    spreads: int
    leaves: int
    about: dict[str, str]


def verify(certificate: Document | str | Path) -> Verified:
    """Check everything that a certificate, or the file of one, claims.

    Raises:
        InputError: where it is no certificate, or its question describes no layer or chip that hwflow knows.
        NotCertified: where a claim does not hold; names it.
    """
    document = certificate if isinstance(certificate, Document) else Document.read(certificate)
    question = document.question
    if document.digest != document.hashed():
        raise NotCertified(
            "digest", "it is not that of the question (layer, accelerator, dataflow, energies, objective) and the mapping"
        )
    problem = Problem.of(question)
    value = cost_of(problem, document.mapping)
    _same("value", document.value, value, "the mapping costs")
    bounds = Bounds(problem.space, problem.objective)
    bound = min(_least_of(document, bounds), value)
    _same("bound", document.bound, bound, "the least of the leaves is")
    _same("gap", document.gap, 1 - bound / value, "1 - bound / value is", slack=_NEAR)
    return Verified(
        problem.layer,
        problem.accelerator.label,
        question.dataflow if isinstance(question.dataflow, str) else str(question.dataflow.get("name")),
        problem.objective,
        question.energies.source,
        value,
        bound,
        1 - bound / value,
        len(bounds.spreads),
        len(document.leaves),
        document.about,
    )


def _least_of(document: Document, bounds: Bounds) -> float:
    """The least bound of all spatial mappings, each of which must have one."""
    where = {spread: i for i, spread in enumerate(bounds.spreads)}
    simple, least = bounds.simple.tolist(), math.inf
    cases = [(spread_of(bounds.space, leaf, n), way_of(bounds, leaf, n)) for n, leaf in enumerate(document.leaves)]
    own = []
    for n, (spread, _) in enumerate(cases):
        if spread not in where:
            raise NotCertified(
                f"leaves[{n}].spread", "no mapping within the rules has these spatial loops, or another leaf has them, too"
            )
        own.append(simple[where.pop(spread)])
    for n, found in enumerate(map(max, bounds.of(cases), own)):
        _same(f"leaves[{n}].bound", document.leaves[n].bound, found, "the bound found in this way is")
        least = min(least, found)
    if document.others.number != len(where):
        raise NotCertified("others.number", f"it is {document.others.number}, and {len(where)} spatial mappings have no leaf")
    others = min((simple[i] for i in where.values()), default=math.inf)
    _same("others.bound", document.others.bound, others if where else 0.0, "the least of their bounds is")
    return min(least, others)


def cost_of(problem: Problem, directives: list[dict[str, object]]) -> float:
    """The objective of a mapping by hwflow's exact analysis; it must be one of the space."""
    layer, accelerator = problem.layer, problem.accelerator
    try:
        mapping = Mapping.from_directives(directives, accelerator)
        mapping.check(layer, accelerator)
    except (InputError, TypeError, ValueError, AttributeError) as error:
        raise NotCertified("mapping", f"it is none of this layer on this accelerator ({error})") from None
    if mapping.ragged:
        raise NotCertified(
            "mapping", "it has loops that do not divide their dimensions, and the bound is one of perfect factors"
        )
    for rule, level in zip(problem.rules, mapping.levels, strict=True):
        inner_first = [loop.dim for loop in reversed(level.temporal)]
        forced = [d for d in rule.innermost if d in inner_first]
        outside = [
            *(d for d in inner_first if d not in rule.temporal),
            *(x.dim for x in level.spatial if x.dim not in rule.spatial),
        ]
        kept = rule.level.memory.keeps if rule.level.memory else ()
        if outside or inner_first[: len(forced)] != forced or set(level.keeps) != set(kept):
            raise NotCertified("mapping", f"at {level.level} it breaks a rule of the dataflow, or bypasses a memory")
    nest = Nest(layer, accelerator, problem.table)
    try:
        verdict = nest.evaluate(nest.batch_of(mapping))
    except NotMappable as error:
        raise NotCertified("mapping", str(error)) from None
    if not verdict.fits[0]:
        raise NotCertified("mapping", "a tile does not fit its memory")
    energy, cycles = float(verdict.energy[0]), float(verdict.cycles[0])
    return {"energy": energy, "latency": cycles, "edp": energy * cycles}[problem.objective]


def spread_of(space: Space, leaf: LeafEntry, n: int) -> Spread:
    """The spatial loops of a leaf."""
    levels = {level.name: k for k, level in enumerate(space.levels)}
    spread = [[1] * len(DIMS) for _ in space.levels]
    for name, loops in leaf.spread.items():
        for d, bound in loops.items():
            if name not in levels or d not in DIMS:
                raise NotCertified(f"leaves[{n}].spread", f"there is no loop over {d} at {name}")
            spread[levels[name]][DIMS.index(d)] = bound
    return tuple(map(tuple, spread))


def way_of(bounds: Bounds, leaf: LeafEntry, n: int) -> Way:
    """How the bound of a leaf is found."""
    mixed = tuple((_rate(bounds, level, way, n), weight) for level, way, weight in leaf.mixed)
    if any(weight < 0 for _, weight in mixed) or sum(weight for _, weight in mixed) > 1:
        raise NotCertified(f"leaves[{n}].mixed", "its weights must not be negative, and not add up to more than 1")
    if leaf.tiles and bounds.objective == "latency":
        raise NotCertified(f"leaves[{n}].tiles", "no energy is counted for latency, so it must be false")
    return Way(leaf.tiles, tuple(_rate(bounds, level, way, n) for level, way in leaf.rates), mixed)


def _rate(bounds: Bounds, level: str, way: Literal["reads", "writes", "both"], n: int) -> Rate:
    for rate in bounds.rates:
        if bounds.space.levels[rate.level].name == level and rate.way == WAYS[way]:
            return rate
    raise NotCertified(f"leaves[{n}]", f"{level} has no limit of what it {way}")


def _same(claim: str, stated: float, found: float, how: str, slack: float = 0.0) -> None:
    if not abs(stated - found) <= _NEAR * abs(found) + slack:
        raise NotCertified(claim, f"it is {stated:.12g}, but {how} {found:.12g}")


def least_bound(bounds: Bounds, leaves: Sequence[tuple[Spread, float]]) -> tuple[float, float, int]:
    """The least bound of all, that of the spatial mappings without a leaf (0 where there are none), and the number of these."""
    own = {spread for spread, _ in leaves}
    rest = [float(b) for s, b in zip(bounds.spreads, bounds.simple, strict=True) if s not in own]
    return min([*rest, *(bound for _, bound in leaves)]), min(rest, default=0.0), len(rest)
