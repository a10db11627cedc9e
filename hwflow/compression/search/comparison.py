"""`compare`: the search and its baselines (the agent on MACs only, random plans, uniform pruning, no pruning).

All plans are evaluated on the same held-out samples, which no search has seen.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from hwflow.compression.accuracy import Proxy
from hwflow.compression.budget import METRICS, Budget
from hwflow.compression.channels.groups import Widths
from hwflow.compression.plan_costs import PlanCosts
from hwflow.compression.search.baselines import replay, uniform_plan
from hwflow.compression.search.environment import PruningEnv
from hwflow.compression.search.registry import SEARCHERS
from hwflow.compression.search.search import Episode, best_of, distinct, explore
from hwflow.compression.settings import Settings
from hwflow.errors import InputError
from hwflow.results import LevelName

By = Literal["unpruned", "uniform", "random", "agent on MACs", "agent"]
OnEpisode = Callable[[By, int, Episode], None]
CostsAt = Callable[[LevelName], PlanCosts]


@dataclass(frozen=True)
class Candidate:
    """One plan of the comparison.

    Attributes:
        by: what proposed it; `seed` where it depends on one.
        searched: accuracy on the samples that searches see; `judged` on those that none has seen. Both without fine-tuning.
        shares: of the unpruned network's metrics, at the search's level.
        keeps_budget: whether all budgets hold.
        evaluations: plans that were tried for it.
    """

    by: By
    seed: int | None
    plan: dict[str, int]
    searched: float
    judged: float
    shares: dict[str, float]
    keeps_budget: bool
    evaluations: int


@dataclass(frozen=True)
class Ranked:
    """One plan at one level of the refinement, best first.

    Attributes:
        was: its rank at the level before, from 1.
        cut: whether the level's costs made it smaller.
    """

    level: LevelName
    rank: int
    was: int
    cut: bool
    accuracy: float
    shares: dict[str, float]
    plan: dict[str, int]


@dataclass(frozen=True)
class PlanComparison:
    """The plans found: `candidates` in the order unpruned, uniform, then by seed random, agent on MACs, agent.

    `refined` are the kept plans at every further level; `plan` is the one to apply. `seconds` says where the time went.
    """

    candidates: tuple[Candidate, ...]
    refined: tuple[Ranked, ...]
    plan: dict[str, int]
    seconds: dict[str, float]


def compare(
    settings: Settings,
    costs_at: CostsAt,
    proxy: Proxy,
    held_out: Proxy,
    *,
    folder: Path | None = None,
    identity: str = "",
    on_episode: OnEpisode | None = None,
) -> PlanComparison:
    """Search with every seed, draw the baselines, evaluate all of them, and refine the first seed's best plans over the levels.

    Random plans of a seed come from the generator that the agent of this seed warms up with: its first plans are theirs, and
    the two are compared in pairs.

    Args:
        costs_at: of plans, by level.
        proxy, held_out: accuracies on the samples for searches, and on those that no search sees.
        folder: for the searches' checkpoints.
        identity: see `hwflow.compression.search.search.explore`.

    Raises:
        InputError: where a budget cannot be reached at one of the levels.
    """
    costs = costs_at(settings.levels[0])
    clock = _Clock(proxy)
    env = PruningEnv(costs, proxy, settings.budgets, metric=settings.metric)
    full = costs.plan(costs.full)

    def run(by: By, walked: PruningEnv, seed: int) -> tuple[Episode, ...]:
        make = SEARCHERS["random" if by == "random" else settings.searcher]
        path = folder / f"{by.replace(' ', '-').lower()}-{seed}.pt" if folder else None
        told = (lambda episode: on_episode(by, seed, episode)) if on_episode else None
        warmup = settings.first_episodes + 1 if by == "random" else settings.learner.warmup  # stands in checkpoints of 0.1
        searcher = make(walked, replace(settings.learner, warmup=warmup), seed)
        return explore(walked, searcher, settings.episodes, checkpoint=path, identity=f"{by} {identity}", on_episode=told)

    def candidate(by: By, seed: int | None, plan: dict[str, int], evaluations: int) -> Candidate:
        return Candidate(by, seed, plan, proxy(plan), held_out(plan), shares_of(costs, plan), env.affordable(plan), evaluations)

    found = {"agent": {seed: run("agent", env, seed) for seed in settings.seeds}}
    found["random"] = {seed: run("random", env, seed) for seed in settings.seeds}
    on_macs = _macs_environment(costs, proxy, settings)
    if on_macs is not None:
        found["agent on MACs"] = {seed: run("agent on MACs", on_macs, seed) for seed in settings.seeds}
    clock.lap("searches")
    candidates = [candidate("unpruned", None, full, 0), candidate("uniform", None, uniform_plan(env), 1)]
    order: tuple[By, ...] = ("random", "agent on MACs", "agent")
    candidates += [
        candidate(by, seed, best_of(found[by][seed]).plan, settings.episodes)
        for by in order
        if by in found
        for seed in settings.seeds
    ]
    clock.lap("judging")
    best = [episode.plan for episode in distinct(found["agent"][settings.seeds[0]], settings.keep)]
    refined: list[Ranked] = []
    for level in settings.levels[1:]:
        rows = _ranked(level, best, costs_at(level), proxy, settings)
        best = [row.plan for row in rows]
        refined += rows
        clock.lap(f"refining at {level}")
    return PlanComparison(tuple(candidates), tuple(refined), best[0], clock.seconds())


def shares_of(costs: PlanCosts, plan: Mapping[str, int]) -> dict[str, float]:
    """A plan's metrics as shares of the unpruned network's; those that the level does not know are left out."""
    widths: Widths = tuple(plan[group.name] for group in costs.groups)
    now, whole = costs.totals(widths), costs.totals(costs.full)
    shares = {name: costs.metric(now, name) / costs.metric(whole, name) for name in METRICS if costs.metric(whole, name)}
    return {name: share for name, share in shares.items() if np.isfinite(share)}


def _macs_environment(costs: PlanCosts, proxy: Proxy, settings: Settings) -> PruningEnv | None:
    """The same search with MACs in place of the budgets' metrics; None where the budgets are of MACs anyway or out of reach."""
    if {budget.metric for budget in settings.budgets} == {"macs"}:
        return None
    shares = [budget.share for budget in settings.budgets]
    try:
        return PruningEnv(costs, proxy, (Budget("macs", min(shares)),) if shares else (), metric="macs")
    except InputError:
        return None


def _ranked(level: LevelName, plans: list[dict[str, int]], costs: PlanCosts, proxy: Proxy, settings: Settings) -> list[Ranked]:
    """Plans cut to the budgets at a level, the most accurate first; of those that become equal the first stays."""
    env = PruningEnv(costs, proxy, settings.budgets, metric=settings.metric)
    seen: dict[tuple[int, ...], tuple[float, int, bool, dict[str, int]]] = {}
    for was, plan in enumerate(plans, start=1):
        walked = plan if env.affordable(plan) else replay(env, plan)
        seen.setdefault(tuple(walked.values()), (env.worth(walked, proxy(walked)), was, walked != plan, walked))
    rows = sorted(seen.values(), key=lambda row: (-row[0], row[1]))
    return [
        Ranked(level, rank, was, cut, proxy(plan), shares_of(costs, plan), plan)
        for rank, (_, was, cut, plan) in enumerate(rows, start=1)
    ]


class _Clock:
    """Wall-clock seconds by part of the work; of the searches, how much of it was measuring accuracy."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy, self._start, self._laps = proxy, time.perf_counter(), {"accuracy of plans": 0.0}
        self._measured = proxy.seconds

    def lap(self, name: str) -> None:
        now, measured = time.perf_counter(), self._proxy.seconds
        self._laps[name] = now - self._start - (measured - self._measured)
        self._laps["accuracy of plans"] += measured - self._measured
        self._start, self._measured = now, measured

    def seconds(self) -> dict[str, float]:
        return self._laps
