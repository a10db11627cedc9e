"""From the best plans of all sources to the one that is applied: over the further levels, then by accuracy on fresh samples.

The largest of many measured accuracies is too high, the more so the more plans were tried. So the last choice, among a few, is
made on samples that no search saw (`choice`), and what is reported on others (`held_out`), by which nothing is chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hwflow.compression.accuracy import Proxy
from hwflow.compression.budget import METRICS
from hwflow.compression.channels.groups import Widths
from hwflow.compression.decision import Choice
from hwflow.compression.plan_costs import PlanTotals
from hwflow.compression.search.environment import PruningEnv
from hwflow.compression.settings import Settings
from hwflow.results import LevelName


class Found(NamedTuple):
    """A plan, its reward on the search's samples, and what proposed it; `seed` where it depends on one."""

    by: str
    seed: int | None
    plan: Choice
    reward: float


@dataclass(frozen=True)
class Ranked:
    """One plan at one level of the refinement, best first.

    Attributes:
        was: its rank at the level before, from 1.
        cut: whether it exceeded a budget at this level and had to become smaller. Where it did not, it has been filled up.
    """

    level: LevelName
    rank: int
    was: int
    cut: bool
    accuracy: float
    shares: dict[str, float]
    plan: dict[str, int]


@dataclass(frozen=True)
class Finalist:
    """One of the plans that the last choice was among.

    Attributes:
        by: what proposed it; `seed` where it depends on one.
        searched: accuracy on the samples that searches see.
        chosen: on the samples that the choice is made on; `judged` on those by which nothing is chosen.
        shares: of the unpruned network's metrics, at the last level.
    """

    by: str
    seed: int | None
    plan: dict[str, int]
    searched: float
    chosen: float
    judged: float
    shares: dict[str, float]


def top(found: Iterable[Found], count: int) -> list[Found]:
    """The best `count` different plans, best first; of equals the first."""
    chosen: dict[tuple[int, ...], Found] = {}
    for one in sorted(found, key=lambda one: -one.reward):
        chosen.setdefault(tuple(one.plan.values()), one)
    return list(chosen.values())[:count]


def refined(
    best: Sequence[Found], level: LevelName, costs: PlanTotals, proxy: Proxy, settings: Settings
) -> tuple[list[Found], list[Ranked]]:
    """Plans fitted to the budgets at a further level, the best first; of those that become equal the first stays."""
    env = PruningEnv(costs, proxy, settings.budgets, metric=settings.metric)
    seen: dict[tuple[int, ...], tuple[Found, int, bool]] = {}
    for was, one in enumerate(best, start=1):
        plan = env.project(env.shares(one.plan))
        fitted = one._replace(plan=plan, reward=env.worth(plan, proxy(plan)))
        seen.setdefault(tuple(plan.values()), (fitted, was, not env.affordable(one.plan)))
    rows = sorted(seen.values(), key=lambda row: (-row[0].reward, row[1]))
    told = [
        Ranked(level, rank, was, cut, proxy(one.plan), shares_of(costs, one.plan), one.plan)
        for rank, (one, was, cut) in enumerate(rows, start=1)
    ]
    return [one for one, _, _ in rows], told


def finalists(
    best: Sequence[Found],
    costs: PlanTotals,
    proxy: Proxy,
    choice: Proxy,
    held_out: Proxy,
    worth: Callable[[Choice, float], float],
) -> tuple[Finalist, ...]:
    """The plans in the order of their worth on the choice's samples; of equals those stay first that were."""
    ordered = sorted(best, key=lambda one: -worth(one.plan, choice(one.plan)))
    return tuple(
        Finalist(
            one.by,
            one.seed,
            one.plan,
            proxy(one.plan),
            choice(one.plan),
            held_out(one.plan),
            shares_of(costs, one.plan),
        )
        for one in ordered
    )


def shares_of(costs: PlanTotals, plan: Mapping[str, int]) -> dict[str, float]:
    """A plan's metrics as shares of the unpruned network's; those that the level does not know are left out."""
    widths: Widths = tuple(plan[group.name] for group in costs.groups)
    now, whole = costs.confirmed(widths), costs.confirmed(costs.full)
    found = {name: float(costs.metric(now, name)) for name in METRICS}
    shares = {name: found[name] / whole for name, whole in ((n, float(costs.metric(whole, n))) for n in METRICS) if whole}
    return {name: share for name, share in shares.items() if np.isfinite(share)}


__all__ = ["Finalist", "Found", "Ranked", "finalists", "refined", "shares_of", "top"]
