"""A user's constraints as hwflow's search obeys them, and the same constraints for problems with groups (G).

Where Timeloop's mapper may choose and hwflow's search does not, its mappings are a part of what the constraints allow; that is
a note. What hwflow's search cannot obey is a refusal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hwflow.errors import InputError, not_found
from hwflow.layers import DIMS, TENSORS, Dim, Tensor
from hwflow.mapping import TIMELOOP_TENSORS
from hwflow.timeloop.importer.constraints import BYPASS, Constraint


@dataclass
class Allowed:
    """The constraints of one storage level of the architecture.

    Attributes:
        temporal: dimensions of loops there; `innermost`: their forced order.
        columns, rows: dimensions over the axes of the fan-out below, the outermost loop first.
        bypass, keep: tensors that must.
    """

    temporal: tuple[Dim, ...] = DIMS
    innermost: tuple[Dim, ...] = ()
    columns: tuple[Dim, ...] = DIMS
    rows: tuple[Dim, ...] = DIMS
    bypass: tuple[Tensor, ...] = ()
    keep: tuple[Tensor, ...] = ()


@dataclass
class Verdicts:
    """What was found out on the way."""

    refusals: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def allowed(
    constraints: Sequence[Constraint], fanouts: dict[str, tuple[int, int]], where: str, verdicts: Verdicts
) -> dict[str, Allowed]:
    """What is allowed at every level; `fanouts`: columns and rows below each, outermost level first.

    Raises:
        InputError: naming a target that is not there, a spatial constraint without a fan-out, or two that contradict.
    """
    result = {name: Allowed() for name in fanouts}
    for one in constraints:
        if one.target not in result:
            raise not_found(f"target in the constraints of {where}", one.target, result)
        kind = "bypass" if one.kind in BYPASS else one.kind
        if kind == "spatial" and max(fanouts[one.target]) == 1:
            raise InputError(
                f"{where}: {one.target} has a spatial constraint, but no fan-out: the next level has as many instances. Remove "
                "the constraint, or move it to the level above the fan-out."
            )
        _apply(one, kind, result[one.target], fanouts[one.target], verdicts)
    for name, level in result.items():
        if both := [TIMELOOP_TENSORS[t] for t in level.keep if t in level.bypass]:
            raise InputError(f"{where}: {name} must both keep and bypass {', '.join(both)}; take out one of the two.")
    return result


def _apply(one: Constraint, kind: str, level: Allowed, fanout: tuple[int, int], verdicts: Verdicts) -> None:
    label = f"{one.target}: {kind} constraint"
    verdicts.refusals += [f"{label}: hwflow knows no {name}" for name in one.others]
    if kind == "bypass":
        level.bypass, level.keep = (*level.bypass, *one.bypass), (*level.keep, *one.keep)
        return
    if kind not in ("temporal", "spatial"):
        verdicts.refusals.append(f"{label}: hwflow knows no constraints of this type")
        return
    fixed = [f"{d}={n}" for d, n in one.factors.items() if n != 1] + list(one.bounds)
    if fixed:
        verdicts.refusals.append(f"{label}: its search knows no fixed factors but 1, so not {', '.join(fixed)}")
    free = tuple(d for d in DIMS if one.factors.get(d) != 1)
    if kind == "temporal":
        level.temporal = free
        level.innermost = tuple(d for d in one.prefix if d in free)
        if outer := [d for d in one.suffix if d in free]:
            verdicts.refusals.append(f"{label}: its search knows no forced outermost loops, so not _{''.join(outer)}")
        return
    columns, rows = _axes(one, free, fanout, verdicts)
    level.columns, level.rows = columns, rows
    for axis, size, dims in (("meshX", fanout[0], columns), ("meshY", fanout[1], rows)):
        if size > 1 and not dims:
            verdicts.notes.append(
                f"{one.target}: no dimension can lie on its {axis} of {size}, of which only 1 is used (permutation "
                f"{''.join(one.prefix)}, split {one.split}, factors {' '.join(one.texts)})"
            )


def _axes(
    one: Constraint, free: tuple[Dim, ...], fanout: tuple[int, int], verdicts: Verdicts
) -> tuple[tuple[Dim, ...], tuple[Dim, ...]]:
    """The dimensions that can lie on X and on Y, the outermost loop first.

    Timeloop puts the first `split` dimensions of the permutation, from the innermost, on X, the rest on Y; dimensions that
    are not in it come last. So dimensions that are not in it may lie on X only where `split` goes beyond it.
    """
    unlisted = tuple(d for d in free if d not in one.prefix and d not in one.suffix)
    order = [*(d for d in one.prefix if d in free), *unlisted, *(d for d in one.suffix if d in free)]
    if one.split is None:
        if min(fanout) > 1 and order:
            verdicts.refusals.append(
                f"{one.target}: its fan-out has two axes, and no split says which dimensions lie on X; give permutation and "
                "split, or two fan-outs with one axis each"
            )
        return tuple(reversed(order)), tuple(reversed(order))
    on_x = [d for d in one.prefix[: one.split] if d in free]
    on_y = [d for d in order if d not in on_x]
    room = one.split - len(one.prefix)
    if room > 0 and (unlisted or one.suffix):
        outside = [d for d in DIMS if d not in one.prefix]
        if room >= len(outside):
            on_x, on_y = order, []
        elif min(fanout) > 1 or len(unlisted) > room or one.suffix:
            verdicts.refusals.append(
                f"{one.target}: its split (={one.split}) goes beyond its permutation, so hwflow cannot tell which dimensions "
                "lie on X; name all of them in permutation"
            )
        else:
            on_x = [*on_x, *unlisted]
    return tuple(reversed(on_x)), tuple(reversed(on_y))


# For Timeloop --------------------------------------------------------------------------------------------------------


def with_groups(one: Constraint) -> Constraint:
    """The constraint for a problem with the dimension G, allowed where M is (hwflow's own rule): the files do not have it."""
    if "G" in one.named or "G" in (*one.prefix, *one.suffix) or one.kind not in ("temporal", "spatial"):
        return one
    if one.factors.get("M") == 1:
        return replace(one, factors={**one.factors, "G": 1}, texts=(*one.texts, "G=1"))
    if one.kind == "spatial" and "M" in one.prefix:
        at = one.prefix.index("M") + 1
        split = one.split + 1 if one.split is not None and at <= one.split else one.split
        return replace(one, prefix=(*one.prefix[:at], "G", *one.prefix[at:]), split=split)
    return one


def target_of(one: Constraint) -> dict[str, Any]:
    """A constraint as Timeloop reads it."""
    found: dict[str, Any] = {"target": one.target, "type": one.kind}
    if one.texts:
        found["factors"] = " ".join(one.texts)
    if one.prefix or one.suffix:
        found["permutation"] = "".join(one.prefix) + ("_" + "".join(one.suffix) if one.suffix else "")
    if one.split is not None:
        found["split"] = one.split
    for name, tensors in (("keep", one.keep), ("bypass", one.bypass)):
        if tensors:
            found[name] = [TIMELOOP_TENSORS[t] for t in TENSORS if t in tensors]
    return {**found, **one.others}
