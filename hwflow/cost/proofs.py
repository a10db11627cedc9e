"""Proofs of mid's mappings: the branch and bound of the search, and where it is not enough soon, the recursion of certificates.

The two bound the same mappings in different forms, so the larger bound counts. Neither knows of the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

from hwflow.certificate.leaves import proven_bound
from hwflow.certificate.space import Space
from hwflow.errors import InputError
from hwflow.hardware.storage_level import LevelConstraint
from hwflow.loopnest.nest import Nest
from hwflow.mapper.objective import Found, value
from hwflow.mapper.proof import MOST, USUAL, Room, prove
from hwflow.types import Objective

VERSION = 2
"""Changes whenever proofs change though the bounds of the search do not: a part of the keys under which proofs are kept."""

By = Literal["search", "certificate"]

_FIRST = Room(1000, 1 << 14)  # what most proofs need
_CHOICES = 20_000  # of spatial loops, for which the recursion takes seconds
_ROUNDING = 1e-9


class Proven(NamedTuple):
    """A mapping, better than the given one where a proof found such, and a bound on the objective of all with perfect factors.

    `by`: whose bound it is, the search's or that of the recursion of certificates.
    """

    found: Found
    bound: float
    by: By


def proven(
    nest: Nest,
    constraints: Sequence[LevelConstraint],
    objective: Objective,
    found: Found,
    *,
    ragged: bool,
    most: bool,
    gap: float,
    stays: bool = False,
) -> Proven:
    """Bound the objective of all mappings with perfect factors until the bound is within `gap` of the best value known.

    Args:
        ragged: whether the search looked at imperfect factors, too; then its own bound stays.
        most: whether to use all the room that there is.
        stays: whether a tensor stays on the chip; certificates take for granted that DRAM keeps all.
    """
    known, bound = value(found.verdict, objective), 0.0
    by: By = "search"
    left, searched = 1 - max(gap, _ROUNDING), True
    for room in (_FIRST, None, USUAL, MOST) if most else (_FIRST, None, USUAL):
        if room is None:
            own = 0.0 if stays else _recursion(nest, constraints, objective, found, known * left)
            if own > bound:
                bound, by = own, "certificate"
        elif searched:
            proof = prove(nest, constraints, objective, known, room, gap=gap, target=bound / left)
            if proof.bound > bound:
                bound, by = proof.bound, "search"
            if proof.better is not None:
                found, known = replace(found, batch=proof.better[0], verdict=proof.better[1]), value(proof.better[1], objective)
            searched = proof.bound > 0
            if searched and proof.complete:
                break
        if bound >= known * left * (1 - _ROUNDING):
            break
    least = found.bound if ragged else max(found.bound, bound)
    optimal = known <= least * (1 + 2 * _ROUNDING)
    return Proven(replace(found, proven_optimal=optimal, bound=min(least, known)), min(bound, known), by)


def _recursion(nest: Nest, constraints: Sequence[LevelConstraint], objective: Objective, found: Found, enough: float) -> float:
    """The bound of certificates; 0 where they do not cover the question."""
    if nest.accelerator.own_constraints is not None:
        return 0.0
    try:
        space = Space.of(nest.layer, nest.accelerator, nest.table, constraints)
        return proven_bound(space, objective, enough, found.verdict.level_cycles[:, 0].tolist(), most=_CHOICES)
    except InputError:
        return 0.0
