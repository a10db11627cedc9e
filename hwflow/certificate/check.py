"""Verification of a certificate: its leaves cover all mappings, their bounds hold, and the mapping costs what it says."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hwflow.certificate.bounds import Bounds, Way
from hwflow.certificate.document import ACTIONS, Document, LeafEntry, Problem
from hwflow.certificate.recursion import BOTH, READS, WRITES, Rate
from hwflow.certificate.space import Space, Spread
from hwflow.errors import InputError, NotCertified, NotMappable, OtherQuestion
from hwflow.hardware.accelerator import Accelerator, presets
from hwflow.hardware.dataflow import constrain
from hwflow.hardware.energy_table import EnergyTable, normalized, recorded
from hwflow.hardware.part_energy import PartEnergy
from hwflow.layers import DIMS, Layer
from hwflow.loopnest.nest import Nest
from hwflow.mapping import Mapping
from hwflow.types import EnergyUnit, Objective

WAYS: dict[Literal["reads", "writes", "both"], int] = {"reads": READS, "writes": WRITES, "both": BOTH}
_NEAR = 1e-9  # of numbers that are computed twice
ROUNDING = 1e-12
"""The share by which issued bounds are lowered, so that no other machine's rounding finds smaller ones."""


@dataclass(frozen=True)
class Verified:
    """What a certificate proves: no mapping with perfect factors has a smaller objective than `bound`, and one has `value`.

    Attributes:
        gap: 1 - bound / value.
        own_chip, own_energies: whether the accelerator is none that hwflow ships under its name, and the energies are not those
            that hwflow has recorded or normalized for it.
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
    unit: EnergyUnit
    own_chip: bool
    own_energies: bool


def verify(
    certificate: Document | str | Path,
    *,
    layer: Layer | None = None,
    accelerator: Accelerator | None = None,
    objective: Objective | None = None,
    dataflow: str | None = None,
) -> Verified:
    """Check everything that a certificate, or the file of one, claims.

    Args:
        layer, accelerator, objective, dataflow: what it must be about; None: whatever it is about. A dataflow is a name or the
            path of a YAML file, and its rules count.

    Raises:
        InputError: where it is no certificate, or its question describes no layer or chip that hwflow knows.
        NotCertified: where a claim does not hold; names it. `OtherQuestion`, one of these, where the certificate is about
            something else.
    """
    document = certificate if isinstance(certificate, Document) else Document.read(certificate)
    question = document.question
    if document.digest != document.hashed():
        raise NotCertified(
            "digest", "it is not that of the question (layer, accelerator, dataflow, energies, objective) and the mapping"
        )
    problem = Problem.of(question)
    _about(problem, question.dataflow, layer, accelerator, objective, dataflow)
    value, spread = cost_of(problem, document.mapping)
    if not math.isfinite(value):
        raise NotCertified("value", "with these energies the mapping has no finite cost")
    _same("value", document.value, value, "the mapping costs")
    bounds = Bounds(problem.space, problem.objective)
    bound = min(_least_of(document, bounds, spread, value), value)  # larger by rounding alone
    _at_most("bound", document.bound, bound, "the least of the leaves is")
    gap = gap_of(bound, value)
    _same("gap", document.gap, gap, "1 - bound / value is", slack=_NEAR)
    known = _known_energies(problem)
    return Verified(
        problem.layer,
        problem.accelerator.label,
        _name_of(question.dataflow),
        problem.objective,
        question.energies.source if known is None else known.source,
        value,
        bound,
        gap,
        len(bounds.spreads),
        len(document.leaves),
        document.about,
        problem.table.unit,
        not _shipped(problem.accelerator),
        known is None,
    )


def _about(
    problem: Problem,
    stated: str | dict[str, Any],
    layer: Layer | None,
    accelerator: Accelerator | None,
    objective: Objective | None,
    dataflow: str | None,
) -> None:
    """Raises `OtherQuestion` where a certificate answers another question than the one asked."""
    if layer is not None and layer.key != problem.layer.key:
        raise OtherQuestion("question.layer", f"it is {_shape(problem.layer)}, and {layer.name!r} is {_shape(layer)}")
    if accelerator is not None and accelerator.fingerprint != problem.accelerator.fingerprint:
        theirs, asked = problem.accelerator.label, accelerator.label
        raise OtherQuestion("question.accelerator", f"it is {theirs}, which differs from {asked}")
    if objective is not None and objective != problem.objective:
        raise OtherQuestion("question.objective", f"it is {problem.objective}, and {objective} was asked for")
    if dataflow is not None and constrain(problem.accelerator, dataflow) != problem.rules:
        raise OtherQuestion("question.dataflow", f"it is {_name_of(stated)}, whose rules are not those of {dataflow}")


def _name_of(dataflow: str | dict[str, Any]) -> str:
    return dataflow if isinstance(dataflow, str) else str(dataflow.get("name"))


def _shape(layer: Layer) -> str:
    return str(layer).partition(" ")[2]


def gap_of(bound: float, value: float) -> float:
    """1 - bound / value; 0 where the mapping costs nothing."""
    return 1 - bound / value if value else 0.0


def contradicts(bound: float, value: float) -> bool:
    """Whether a bound is above the cost of a mapping that it covers, by more than rounding."""
    return bound > value * (1 + _NEAR)


def _shipped(accelerator: Accelerator) -> bool:
    name = accelerator.name
    return name in presets() and Accelerator.load(name).fingerprint == accelerator.fingerprint


def _known_energies(problem: Problem) -> EnergyTable | None:
    """The energies that hwflow itself has for the accelerator, where the certificate's are these."""
    chip, table = problem.accelerator, problem.table
    known = normalized(chip) if table.unit == "normalized" else recorded(chip)
    if known is None:
        return None
    parts = {
        name: PartEnergy(**{action: getattr(known.parts[name], action) for action in ACTIONS})
        for name in table.parts
        if name in known.parts
    }
    own = EnergyTable(known.unit, known.source, parts)
    return own if own.content()["parts"] == table.content()["parts"] else None


def _least_of(document: Document, bounds: Bounds, spread: Spread, value: float) -> float:
    """The least bound of all spatial mappings, each of which must have one.

    Args:
        spread, value: the spatial loops of the certificate's mapping, and its cost, which its bound must not exceed.
    """
    where = {spread: i for i, spread in enumerate(bounds.spreads)}
    simple, least = bounds.simple.tolist(), math.inf
    cases = [(spread_of(bounds.space, leaf, n), way_of(bounds, leaf, n)) for n, leaf in enumerate(document.leaves)]
    own = []
    for n, (one, _) in enumerate(cases):
        if one not in where:
            raise NotCertified(
                f"leaves[{n}].spread", "no mapping within the rules has these spatial loops, or another leaf has them, too"
            )
        own.append(simple[where.pop(one)])
    for n, found in enumerate(map(max, bounds.of(cases), own)):
        _at_most(f"leaves[{n}].bound", document.leaves[n].bound, found, "the bound found in this way is")
        if cases[n][0] == spread and contradicts(found, value):
            raise NotCertified(f"leaves[{n}].bound", "it is above the cost of the mapping, which it covers")
        least = min(least, found)
    if document.others.number != len(where):
        raise NotCertified("others.number", f"it is {document.others.number}, and {len(where)} spatial mappings have no leaf")
    others = min((simple[i] for i in where.values()), default=math.inf)
    _at_most("others.bound", document.others.bound, others if where else 0.0, "the least of their bounds is")
    if spread in where and contradicts(simple[where[spread]], value):
        raise NotCertified("others.bound", "it is above the cost of the mapping, which it covers")
    return min(least, others)


def cost_of(problem: Problem, directives: list[dict[str, object]]) -> tuple[float, Spread]:
    """The objective and the spatial loops of a mapping by hwflow's exact analysis; it must be one of the space."""
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
        outside = any(d not in rule.temporal for d in inner_first)
        spread = [loop.dim for loop in level.spatial if loop.bound > 1]
        kept = rule.level.memory.keeps if rule.level.memory else ()
        if spread != [d for d in rule.spatial if d in spread]:
            raise NotCertified(
                "mapping",
                f"at {level.level} it spreads {', '.join(spread)}, outermost first; the dataflow allows "
                f"{', '.join(rule.spatial) or 'nothing'}, in this order",
            )
        if outside or inner_first[: len(forced)] != forced or set(level.keeps) != set(kept):
            raise NotCertified("mapping", f"at {level.level} it breaks a rule of the dataflow, or bypasses a memory")
    nest = Nest(layer, accelerator, problem.table)
    try:
        batch = nest.batch_of(mapping)
        verdict = nest.evaluate(batch)
    except NotMappable as error:
        raise NotCertified("mapping", str(error)) from None
    if not verdict.fits[0]:
        raise NotCertified("mapping", "a tile does not fit its memory")
    energy, cycles = float(verdict.energy[0]), float(verdict.cycles[0])
    value = {"energy": energy, "latency": cycles, "edp": energy * cycles}[problem.objective]
    return value, tuple(map(tuple, batch.spatial[:, :, 0].tolist()))


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
    for field, used in (("rates", leaf.rates), ("mixed", [entry[:2] for entry in leaf.mixed])):
        if len(set(used)) < len(used):
            raise NotCertified(f"leaves[{n}].{field}", "it names a bandwidth twice")
    return Way(leaf.counted, tuple(_rate(bounds, level, way, n) for level, way in leaf.rates), mixed)


def _rate(bounds: Bounds, level: str, way: Literal["reads", "writes", "both"], n: int) -> Rate:
    for rate in bounds.rates:
        if bounds.space.levels[rate.level].name == level and rate.way == WAYS[way]:
            return rate
    raise NotCertified(f"leaves[{n}]", f"{level} has no limit of what it {way}")


def _same(claim: str, stated: float, found: float, how: str, slack: float = 0.0) -> None:
    if not abs(stated - found) <= _NEAR * abs(found) + slack:
        raise NotCertified(claim, f"it is {stated:.12g}, but {how} {found:.12g}")


def lowered(bound: float) -> float | None:
    """A bound as a certificate states it: lower by more than the rounding of another machine; None for infinity."""
    return bound * (1 - ROUNDING) if math.isfinite(bound) else None


def _at_most(claim: str, stated: float | None, found: float, how: str) -> None:
    given = math.inf if stated is None else stated
    if given != found and not found * (1 - _NEAR) <= given <= found:
        text = "null (no mapping)" if stated is None else f"{stated:.15g}"
        raise NotCertified(claim, f"it is {text}, but {how} {found:.15g}")


def least_bound(bounds: Bounds, leaves: Sequence[tuple[Spread, float]]) -> tuple[float, float, int]:
    """The least bound of all, that of the spatial mappings without a leaf (0 where there are none), and the number of these."""
    own = {spread for spread, _ in leaves}
    rest = [float(b) for s, b in zip(bounds.spreads, bounds.simple, strict=True) if s not in own]
    return min([*rest, *(bound for _, bound in leaves)]), min(rest, default=0.0), len(rest)
