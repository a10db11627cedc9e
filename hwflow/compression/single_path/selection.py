"""`selected`: the plan that thresholds leave, moved into the budgets and as close to them as it goes.

When the search ends, costs of networks that are 0 or 1 in every decision lie about the budgets, not at them. Ours: as long as a
budget is exceeded, the option is given up whose norm is least above its threshold for what it costs; then options are taken up
again, those first whose norm is highest for what they cost, as long as the budgets allow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from hwflow.compression.channels.groups import Widths
from hwflow.compression.search.plan_space import PlanSpace

_NONE = 1e-12


def selected(
    space: PlanSpace,
    widths: Widths,
    margins: Sequence[float],
    settled: Callable[[Widths], Widths] = lambda widths: widths,
) -> Widths:
    """The plan; `widths` itself where it keeps the budgets and nothing more fits.

    Args:
        widths: what the gates leave open.
        settled: the same network, with the first option for what is not looked at, so that a block that is taken up again is
            taken up at its least.
        margins: norm minus threshold of each gate, those of each group in the order of its widths from the second on.
    """
    if not space.budgets:
        return widths
    groups = space.costs.groups
    starts = np.cumsum([0, *(len(group.widths) - 1 for group in groups)])

    def plan(at: Sequence[int]) -> Widths:
        return settled(tuple(group.widths[i] for group, i in zip(groups, at, strict=True)))

    def places(of: Widths) -> list[int]:
        return [group.widths.index(width) for group, width in zip(groups, of, strict=True)]

    def margin(g: int, option: int) -> float:
        return margins[int(starts[g]) + option - 1]

    def moved(g: int, by: int) -> list[int]:
        return places(plan([i + by if n == g else i for n, i in enumerate(now)]))

    def shares(plans: Sequence[Widths]) -> list[float]:
        """The sum over budgets of what plans take of them."""
        return [float(row.sum()) for row in space.values(plans) / space.limits]

    now = places(settled(widths))
    while not space.fits(plan(now)):
        lower = [g for g, i in enumerate(now) if i > 0]
        if not lower:
            return space.cheapest
        here, *there = shares([plan(now), *(plan(moved(g, -1)) for g in lower)])
        saved = {g: here - share for g, share in zip(lower, there, strict=True)}
        useful = [g for g in lower if saved[g] > _NONE] or lower
        now = moved(min(useful, key=lambda g: margin(g, now[g]) / max(saved[g], _NONE)), -1)
    while True:
        higher = [g for g, i in enumerate(now) if i + 1 < len(groups[g].widths) and moved(g, 1) != now]
        fitting = [g for g, fits in zip(higher, space.within([plan(moved(g, 1)) for g in higher]), strict=True) if fits]
        if not fitting:
            return plan(now)
        here, *there = shares([plan(now), *(plan(moved(g, 1)) for g in fitting)])
        taken = {g: share - here for g, share in zip(fitting, there, strict=True)}
        now = moved(max(fitting, key=lambda g: _worth(margin(g, now[g] + 1), taken[g])), 1)


def _worth(margin: float, cost: float) -> tuple[bool, float]:
    """By the margin for the cost. What costs nothing comes first; of norms below their thresholds the nearest and cheapest."""
    return cost <= _NONE, margin / max(cost, _NONE) if margin > 0 else margin * max(cost, _NONE)


__all__ = ["selected"]
