"""`ranked_cut`: one ranking of the units of all groups, cut where the budgets hold."""

from __future__ import annotations

import functools
import heapq
from collections.abc import Sequence

import numpy as np

from hwflow.arrays import Floats, Places
from hwflow.compression.channels.groups import Widths
from hwflow.compression.decision import Choice, Variable
from hwflow.compression.search.environment import Scores
from hwflow.compression.search.plan_space import PlanSpace
from hwflow.errors import InputError, not_found


def values_of(groups: Sequence[Variable], scores: Scores | None, purpose: str) -> list[Floats]:
    """The units' scores, group by group.

    Raises:
        InputError: where there are none, one is missing or too short, or one is no finite number.
    """
    if scores is None:
        raise InputError(f"{purpose} ranks units by their scores, and this problem has none: give PruningEnv scores=.")
    found = []
    for group in groups:
        if group.name not in scores:
            raise not_found("scores of group", group.name, scores)
        values = np.asarray(scores[group.name], dtype=np.float64)
        if values.shape != (group.channels // group.unit,):
            raise InputError(
                f"the scores of {group.name!r} are {len(values)}; its {group.channels} channels are "
                f"{group.channels // group.unit} units."
            )
        if not np.isfinite(values).all():
            raise InputError(f"a score of {group.name!r} is {values[~np.isfinite(values)][0]}; scores must be finite numbers.")
        found.append(values)
    return found


def ranked_cut(space: PlanSpace, values: Sequence[Floats], *, fill: bool = True) -> Choice:
    """Remove the units with the least values until the budgets hold, and round every group down to a width that it can have.

    Where the cut is, is found by bisection; where costs do not fall with every unit, as those of ragged layers, the cut then
    moves on until the budgets hold. Without `fill`, the units that a smaller budget keeps are among those that a larger one
    keeps.

    Args:
        values: of each group's units, in any order; the least leave first. A group's least width stays.
        fill: afterwards give back what rounding and the cut leave over: steps of groups, the best units first, that still fit.
    """
    groups = space.costs.groups
    rounded, kept_least = _rounding(tuple((group.widths, group.unit) for group in groups))
    ordered = [np.sort(own) for own in values]  # the least first
    removable = [len(own) - least for own, least in zip(ordered, kept_least, strict=True)]
    order = np.argsort(np.concatenate([own[:count] for own, count in zip(ordered, removable, strict=True)]), kind="stable")
    owner = np.repeat(np.arange(len(groups)), removable)[order]
    full = np.array([len(own) for own in values])
    places = np.arange(len(groups))

    def cut(count: int) -> Widths:
        left = full - np.bincount(owner[:count], minlength=len(groups))
        return tuple(rounded[places, left].tolist())

    low, high = 0, len(owner)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if space.fits(cut(middle)) else (middle + 1, high)
    while not space.fits(cut(low)):
        if low == len(owner):
            return space.costs.plan(space.cheapest)  # a ragged floor, dearer than a plan that is known to fit
        low += 1
    widths = cut(low)
    return space.costs.plan(_filled(space, ordered, widths) if fill else widths)


@functools.lru_cache(maxsize=8)
def _rounding(groups: tuple[tuple[tuple[int, ...], int], ...]) -> tuple[Places, tuple[int, ...]]:
    """For groups of these widths and units, the width at or below each number of units, [group, units], and the least units."""
    table = np.zeros((len(groups), 1 + max(widths[-1] // unit for widths, unit in groups)), dtype=np.intp)
    for row, (widths, unit) in zip(table, groups, strict=True):
        for width in widths:
            row[width // unit :] = width
    return table, tuple(widths[0] // unit for widths, unit in groups)


def _filled(space: PlanSpace, ordered: Sequence[Floats], widths: Widths) -> Widths:
    """Give back steps, of those that fit the one with the highest mean value first; values ascend."""
    groups = space.costs.groups
    sums = [[0.0, *np.cumsum(own[::-1]).tolist()] for own in ordered]

    def step(g: int, place: int) -> tuple[float, int, int]:
        a, b = (groups[g].widths[i] // groups[g].unit for i in (place, place + 1))
        return (sums[g][a] - sums[g][b]) / (b - a), g, place + 1

    places = [group.widths.index(width) for group, width in zip(groups, widths, strict=True)]
    heap = [step(g, place) for g, place in enumerate(places) if place + 1 < len(groups[g].widths)]
    heapq.heapify(heap)
    while heap:
        _, g, place = heapq.heappop(heap)
        wider = (*widths[:g], groups[g].widths[place], *widths[g + 1 :])
        if space.fits(wider):
            widths = wider
            if place + 1 < len(groups[g].widths):
                heapq.heappush(heap, step(g, place))
    return widths


__all__ = ["ranked_cut", "values_of"]
