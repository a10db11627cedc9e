"""Searchers that do not learn: random plans, and uniform pruning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from hwflow.compression.search.ddpg import Hyperparameters
from hwflow.compression.search.environment import PruningEnv
from hwflow.compression.search.searcher import Choice, Measured
from hwflow.compression.search.walks import DdpgSearcher

_RATIOS = 1000  # steps of the share that uniform pruning keeps
_NEVER = 2**31


class RandomSearcher(DdpgSearcher):
    """An agent that never learns: all its actions are uniformly random.

    Its first plans are those that the agent of the same seed warms up with, so that the two are compared in pairs.
    """

    def __init__(self, problem: PruningEnv, settings: Hyperparameters, seed: int) -> None:
        super().__init__(problem, replace(settings, warmup=_NEVER), seed)
        self._given = settings

    @property
    def identity(self) -> list[Any]:
        """The settings that were given, and the seed."""
        return [asdict(self._given), self._seed]


class UniformSearcher:
    """Always proposes the plan that keeps the largest common share of every group's channels within the budgets."""

    def __init__(self, problem: PruningEnv, settings: Hyperparameters, seed: int) -> None:
        pass

    identity: list[Any] = []  # noqa: RUF012  (it depends on nothing)
    noise: float | None = None

    def ask(self, problem: PruningEnv) -> Choice:
        """See `uniform_plan`."""
        return uniform_plan(problem)

    def tell(self, choice: Choice, accuracy: float, reward: float) -> None:
        """Nothing is learned."""

    def state(self) -> dict[str, Any]:
        """Nothing is remembered."""
        return {}

    def restore(self, state: dict[str, Any], measured: Sequence[Measured]) -> None:
        """Nothing was remembered."""


def uniform_plan(env: PruningEnv) -> Choice:
    """The same share of channels kept of every group, the largest with which the budgets hold.

    Where rounding keeps every such plan above the budget, the environment's walk with the least share cuts it.
    """
    for step in range(_RATIOS, -1, -1):
        plan = env.nearest(step / _RATIOS)
        if env.affordable(plan):
            return plan
    return replay(env, env.nearest(0.0))


def replay(env: PruningEnv, plan: Choice) -> Choice:
    """A plan reduced by an environment to its budgets."""
    env.reset()
    for group in env.costs.groups:
        env.decide(plan[group.name] / group.channels)
    return env.costs.plan(env.decided)


__all__ = ["RandomSearcher", "UniformSearcher", "replay", "uniform_plan"]
