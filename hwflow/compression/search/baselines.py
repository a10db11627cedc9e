"""Searchers that do not learn: random plans, and uniform pruning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from hwflow.compression.search.ddpg import Hyperparameters
from hwflow.compression.search.environment import PruningEnv
from hwflow.compression.search.ranked_cut import ranked_cut, values_of
from hwflow.compression.search.searcher import Choice, Measured
from hwflow.compression.search.walks import DdpgSearcher

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


class GlobalSearcher(UniformSearcher):
    """Always proposes the cut of one ranking of all groups' units by their scores, as they are.

    Raises:
        InputError: for a problem without scores.
    """

    def __init__(self, problem: PruningEnv, settings: Hyperparameters, seed: int) -> None:
        self._values = values_of(problem.costs.groups, problem.scores, "a global ranking")

    @property
    def identity(self) -> list[Any]:  # type: ignore[override]
        """The scores."""
        return [[float(value) for value in own] for own in self._values]

    def ask(self, problem: PruningEnv) -> Choice:
        """See `hwflow.compression.search.ranked_cut`."""
        return ranked_cut(problem.space, self._values)


def uniform_plan(env: PruningEnv) -> Choice:
    """The same share of every group's channels, the largest within the budgets; what rounding leaves of these is used up.

    Without a budget that is the unpruned network.
    """
    return env.project([1.0] * len(env.costs.groups))


__all__ = ["GlobalSearcher", "RandomSearcher", "UniformSearcher", "uniform_plan"]
