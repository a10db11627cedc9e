"""`project`: the plan within the budgets that comes nearest to what each group wishes, whatever the order of the groups.

A wish is a share of a group's channels, and only the proportions of wishes matter: all are multiplied by one factor, the
largest at which the budgets hold. As the factor rises from 0, a group takes its next width once its wish times the factor
reaches it. Groups that can take no further width within the budgets stay, the others go on, so a plan uses its budgets up: no
group can take any of its next few widths alone. A cut of each group in turn, as in AMC, spends the budget on the first groups
(arXiv:1802.03494, algorithm 1); this projection is hwflow's own.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hwflow.compression.channels.groups import Widths
from hwflow.compression.decision import Variable
from hwflow.compression.search.plan_space import PlanSpace
from hwflow.errors import InputError

AHEAD = 4
"""Widths above its own that a finished plan's group is tried at. More than one, since the next width can be dearer than a wider
one: arrays have rows and columns that some numbers of channels fill, and others do not."""

_LEAST = 1e-4  # a wish below it is taken for it, so that a group that wishes nothing grows after all others
_GOLDEN = 0.5 * (5**0.5 - 1)


class _Growth(NamedTuple):
    """A group takes a width once the factor is reached; sorted in this order."""

    factor: float
    turn: float
    group: int
    place: int


def project(space: PlanSpace, wishes: Sequence[float]) -> Widths:
    """The plan of a space that follows the proportions of the groups' wishes; equal arguments give equal plans.

    Without a budget there is nothing to use up: every group takes the width nearest to its wish.

    Args:
        wishes: shares of the groups' channels, in the groups' order, each from 0 on.

    Raises:
        InputError: for another number of wishes than groups, and for one that is negative or not finite.
    """
    groups = space.costs.groups
    if len(wishes) != len(groups) or not all(np.isfinite(wish) and wish >= 0 for wish in wishes):
        raise InputError(f"wishes are {list(wishes)!r}; give a finite share from 0 on for each of the {len(groups)} groups.")
    if not space.budgets:
        return tuple(nearest(group, wish * group.channels) for group, wish in zip(groups, wishes, strict=True))
    largest = max(wishes) or 1.0
    growths = [_growths(place, group, wish / largest) for place, (group, wish) in enumerate(zip(groups, wishes, strict=True))]
    plan = _scaled(space, growths)
    while True:
        plan = _grown(space, growths, plan)
        ahead = [growth for place in range(len(groups)) for growth in _above(groups, growths, plan, place, AHEAD)]
        fits = space.within([_with(plan, growth, groups) for growth in ahead])
        fitting = [growth for growth, fit in zip(ahead, fits, strict=True) if fit]
        if not fitting:
            return plan
        plan = _with(plan, min(fitting), groups)


def nearest(group: Variable, wanted: float) -> int:
    """The allowed width nearest to a number of channels, of two the larger."""
    above = bisect_left(group.widths, wanted)
    return min(group.widths[max(above - 1, 0) : above + 1], key=lambda width: (abs(width - wanted), -width))


def _growths(place: int, group: Variable, wish: float) -> list[_Growth]:
    """When a group takes each of its widths; of groups that are equal in that, each other's turn is spread over the network."""
    wanted, turn = max(wish, _LEAST) * group.channels, place * _GOLDEN % 1.0
    return [_Growth(float(f"{width / wanted:.12g}"), turn, place, index) for index, width in enumerate(group.widths)]


def _scaled(space: PlanSpace, growths: Sequence[Sequence[_Growth]]) -> Widths:
    """The wishes times the largest factor that a bisection finds; the cheapest plan where not even the least widths fit."""
    groups = space.costs.groups
    ordered = sorted(growth for all_of_it in growths for growth in all_of_it[1:])

    def at(count: int) -> Widths:
        plan = [group.widths[0] for group in groups]
        for _, _, group, place in ordered[:count]:
            plan[group] = groups[group].widths[place]
        return tuple(plan)

    if not space.fits(at(0)):
        return space.cheapest
    return at(bisect_left(range(1, len(ordered) + 1), True, key=lambda count: not space.fits(at(count))))


def _grown(space: PlanSpace, growths: Sequence[Sequence[_Growth]], plan: Widths) -> Widths:
    """A plan whose groups take their next widths in turn, until the next one of each would exceed a budget."""
    groups = space.costs.groups

    waiting = [growth for group in range(len(groups)) for growth in _above(groups, growths, plan, group, 1)]
    heapq.heapify(waiting)
    while waiting:
        growth = heapq.heappop(waiting)
        larger = _with(plan, growth, groups)
        if space.fits(larger):
            plan = larger
            for further in _above(groups, growths, plan, growth.group, 1):
                heapq.heappush(waiting, further)
    return plan


def _above(
    groups: Sequence[Variable], growths: Sequence[Sequence[_Growth]], plan: Widths, place: int, count: int
) -> Sequence[_Growth]:
    """To the next few widths of one group above what it has."""
    index = groups[place].widths.index(plan[place])
    return growths[place][index + 1 : index + 1 + count]


def _with(plan: Widths, growth: _Growth, groups: Sequence[Variable]) -> Widths:
    return (*plan[: growth.group], groups[growth.group].widths[growth.place], *plan[growth.group + 1 :])


__all__ = ["AHEAD", "nearest", "project"]
