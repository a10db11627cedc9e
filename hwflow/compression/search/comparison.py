"""`compare`: a search and its baselines on the same problem, and the plan to apply, which is the best of all of them.

All plans are evaluated on the same held-out samples, which no search has seen and by which nothing is chosen.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from hwflow.compression.accuracy import Proxy
from hwflow.compression.budget import Budget
from hwflow.compression.plan_costs import PlanTotals
from hwflow.compression.search.environment import Losses, PruningEnv, Scores
from hwflow.compression.search.plan_space import unconfirmed
from hwflow.compression.search.policy import Policy
from hwflow.compression.search.policy_searcher import PolicySearcher
from hwflow.compression.search.refinement import Finalist, Found, Ranked, finalists, refined, shares_of, top
from hwflow.compression.search.registry import BETWEEN_GROUPS, SCORED, SEARCHERS, WITHOUT_EVALUATIONS
from hwflow.compression.search.search import Episode, best_of, explore
from hwflow.compression.search.searcher import Conclusive, Outcome, Searcher
from hwflow.compression.settings import Settings
from hwflow.errors import HwflowError, InputError
from hwflow.results import LevelName

OnEpisode = Callable[[str, int, Episode], None]
CostsAt = Callable[[LevelName], PlanTotals]

_TITLES = {"ddpg": "agent"}
_ON_MACS = " on MACs"


@dataclass(frozen=True)
class Candidate:
    """One plan of the comparison: the best of one search on the samples that it sees, or a baseline's.

    Attributes:
        by: what proposed it; `seed` where it depends on one.
        searched: accuracy on the samples that searches see; `judged` on those that none has seen. Both without fine-tuning.
        shares: of the unpruned network's metrics, at the search's level.
        keeps_budget: whether all budgets hold.
        evaluations: different plans that were measured for it.
    """

    by: str
    seed: int | None
    plan: dict[str, int]
    searched: float
    judged: float
    shares: dict[str, float]
    keeps_budget: bool
    evaluations: int


class Splits(NamedTuple):
    """Accuracies of plans on three parts of the held-out samples: for searches, for the choice among the best plans of all
    searches, and for what is reported."""

    search: Proxy
    choice: Proxy
    held_out: Proxy


@dataclass(frozen=True)
class PlanComparison:
    """The plans found: `candidates` begin with the unpruned network, then come baselines, last the search.

    `refined` are the kept plans at every further level. `finalists` are those that the last choice was among, best first;
    the first one's `plan` is the one to apply. `seconds` says where the time went, `outcomes` by search what it found
    out beside its plans.
    """

    candidates: tuple[Candidate, ...]
    refined: tuple[Ranked, ...]
    finalists: tuple[Finalist, ...]
    seconds: dict[str, float]
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    @property
    def applied(self) -> Finalist:
        """The best known."""
        return self.finalists[0]

    @property
    def plan(self) -> dict[str, int]:
        """The one to apply."""
        return self.applied.plan


def title_of(searcher: str) -> str:
    """What a search is called in comparisons: DDPG is the agent."""
    return _TITLES.get(searcher, searcher)


def searches_of(settings: Settings) -> tuple[str, ...]:
    """The searches that measure plans, by what they are called in comparisons, the one that was asked for first.

    With all baselines: every other searcher, and the same search with MACs in place of the budgets' metrics.
    """
    own = title_of(settings.searcher)
    if settings.episodes == 0:  # only with a policy, whose plan needs no measurement
        return ()
    if settings.baselines != "all":
        return (own,)
    others = (title_of(name) for name in SEARCHERS if name != settings.searcher and name not in WITHOUT_EVALUATIONS)
    on_macs = () if {budget.metric for budget in settings.budgets} == {"macs"} else (own + _ON_MACS,)
    return (own, *others, *on_macs)


def compare(
    settings: Settings,
    costs_at: CostsAt,
    splits: Splits,
    *,
    scores: Scores | None = None,
    losses: Losses | None = None,
    policy: Policy | None = None,
    folder: Path | None = None,
    identity: str = "",
    on_episode: OnEpisode | None = None,
) -> PlanComparison:
    """Search with every seed, draw the baselines, evaluate all of them, and choose among the best plans of all sources.

    Random plans of a seed come from the generator that the agent of this seed warms up with: its first plans are theirs, and
    the two are compared in pairs.

    Args:
        costs_at: of plans, by level.
        splits: accuracies.
        scores: importance of the groups' units, for searchers that use it; those that cannot do without are left out of the
            baselines where it is None, and so are those that compare groups where there is one.
        losses: of the groups' widths, for searchers that plan, instead of what follows from the scores.
        policy: that the agent starts from; None for one that learns anew.
        folder: for the searches' checkpoints.
        identity: see `hwflow.compression.search.search.explore`.

    Raises:
        InputError: where a budget cannot be reached at one of the levels.
    """
    proxy = splits.search
    costs = costs_at(settings.levels[0])
    clock = _Clock(proxy)
    env = PruningEnv(costs, proxy, settings.budgets, metric=settings.metric, scores=scores, losses=losses)

    outcomes: dict[str, Outcome] = {}

    def made(by: str, walked: PruningEnv, seed: int) -> Searcher:
        if policy is not None and _searcher(by) == settings.searcher:
            return PolicySearcher(walked, settings.learner, seed, policy)
        return SEARCHERS[_searcher(by)](walked, settings.learner, seed)

    def run(by: str, walked: PruningEnv, seed: int) -> tuple[Episode, ...]:
        path = folder / f"{by.replace(' ', '-').lower()}-{seed}.pt" if folder else None
        told = (lambda episode: on_episode(by, seed, episode)) if on_episode else None
        searcher = made(by, walked, seed)
        done = explore(walked, searcher, settings.episodes, checkpoint=path, identity=f"{by} {identity}", on_episode=told)
        if isinstance(searcher, Conclusive):
            outcomes[f"{by}, seed {seed}"] = searcher.outcome()
        return done

    def candidate(by: str, seed: int | None, plan: dict[str, int], evaluations: int) -> Candidate:
        judged = splits.held_out(plan)
        return Candidate(by, seed, plan, proxy(plan), judged, shares_of(costs, plan), env.affordable(plan), evaluations)

    tried: dict[str, dict[int, tuple[Episode, ...]]] = {}
    for by in searches_of(settings):
        if not _can_search(by, env) and by != title_of(settings.searcher):
            continue
        walked = _macs_environment(env, settings) if by.endswith(_ON_MACS) else env
        if walked is not None:
            tried[by] = {seed: run(by, walked, seed) for seed in settings.seeds}
    unmeasured = _unmeasured(settings, env)
    if policy is not None and settings.episodes == 0:
        by, searcher = title_of(settings.searcher), PolicySearcher(env, settings.learner, 0, policy)
        unmeasured.append((by, searcher.ask(env)))
        outcomes[by] = searcher.outcome()
    found = [Found(by, None, plan, env.worth(plan, proxy(plan))) for by, plan in unmeasured]
    clock.lap("searches")
    candidates = [candidate("unpruned", None, costs.plan(costs.full), 0)]
    candidates += [candidate(one.by, None, one.plan, 1) for one in found]
    for by, of_seed in reversed(tried.items()):
        for seed, episodes in of_seed.items():
            different = len({tuple(episode.plan.values()) for episode in episodes})
            candidates.append(candidate(by, seed, best_of(episodes).plan, different))
    clock.lap("judging")
    sources = [
        Found(by, seed, episode.plan, env.worth(episode.plan, episode.accuracy))
        for by, of_seed in tried.items()
        for seed, episodes in of_seed.items()
        for episode in episodes
        if env.affordable(episode.plan)
    ]
    best, told = top([*sources, *found], settings.keep), []
    for level in settings.levels[1:]:
        best, rows = refined(best, level, costs_at(level), proxy, settings)
        told += rows
        clock.lap(f"refining at {level}")
    last = costs_at(settings.levels[-1])
    at_last = PruningEnv(last, proxy, settings.budgets, metric=settings.metric)
    confirmed = [one for one in best if at_last.space.confirmed(tuple(one.plan.values()))]
    if best and not confirmed:
        raise HwflowError(unconfirmed(settings.budgets))
    chosen = finalists(confirmed, last, *splits, at_last.worth)
    clock.lap("choosing")
    return PlanComparison(tuple(candidates), tuple(told), chosen, clock.seconds(), outcomes)


def _searcher(by: str) -> str:
    """The searcher's name, from what its search is called."""
    plain = by.removesuffix(_ON_MACS)
    return next((name for name, title in _TITLES.items() if title == plain), plain)


def _can_search(by: str, env: PruningEnv) -> bool:
    """Whether a searcher can do with the problem: some need scores of the units, or several groups that they compare."""
    name = _searcher(by)
    return (env.scores is not None or name not in SCORED) and (len(env.costs.groups) > 1 or name not in BETWEEN_GROUPS)


def _unmeasured(settings: Settings, env: PruningEnv) -> list[tuple[str, dict[str, int]]]:
    """The plans of baselines that measure none, by what proposed them."""
    if settings.baselines == "none":
        return []
    names = [name for name, needs_scores in WITHOUT_EVALUATIONS.items() if env.scores is not None or not needs_scores]
    return [(name, SEARCHERS[name](env, settings.learner, 0).ask(env)) for name in names if name != settings.searcher]


def _macs_environment(env: PruningEnv, settings: Settings) -> PruningEnv | None:
    """The same search with MACs in place of the budgets' metrics; None where that budget is out of reach."""
    shares = [budget.share for budget in settings.budgets]
    try:
        budgets: Sequence[Budget] = (Budget("macs", min(shares)),) if shares else ()
        return PruningEnv(env.costs, env.accuracy, budgets, metric="macs", scores=env.scores, losses=env.losses)
    except InputError:
        return None


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
