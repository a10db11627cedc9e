"""Searchers without a policy: evolution, and the accuracy model on random plans.

They propose wishes, which `hwflow.compression.search.projection` turns into plans that use the budgets up, and measure no plan
twice as long as they find another one. Their random numbers follow from the seed and the number of plans measured so far, so
nothing but these plans is to be remembered.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from hwflow.arrays import Floats
from hwflow.compression.search.accuracy_model import AccuracyModel
from hwflow.compression.search.baselines import uniform_plan
from hwflow.compression.search.ddpg import Hyperparameters
from hwflow.compression.search.environment import PruningEnv
from hwflow.compression.search.searcher import Choice, Measured

_SPREAD = 0.5  # standard deviation of a mutation, of the logarithm of a share
_CHANGED = 2  # groups that a mutation changes, on average
_ATTEMPTS = 20  # mutations until one gives a plan that is new


class _Memory:
    """What the searchers of this module share: the plans measured so far are all that they remember."""

    noise: float | None = None

    def __init__(self, problem: PruningEnv, settings: Hyperparameters, seed: int) -> None:
        self._settings, self._seed = settings, seed
        self._measured: list[tuple[Choice, float, float]] = []  # with accuracy and reward, in the order of measuring

    @property
    def identity(self) -> list[Any]:
        """The settings and the seed."""
        return [type(self).__name__, asdict(self._settings), self._seed]

    def tell(self, choice: Choice, accuracy: float, reward: float) -> None:
        """Remember the plan."""
        self._measured.append((choice, accuracy, reward))

    def state(self) -> dict[str, Any]:
        """The rewards, which accuracies alone do not tell."""
        return {"rewards": [reward for _, _, reward in self._measured]}

    def restore(self, state: dict[str, Any], measured: Sequence[Measured]) -> None:
        """The plans, with their rewards."""
        self._measured = [(one.choice, one.accuracy, r) for one, r in zip(measured, state["rewards"], strict=True)]

    @property
    def _random(self) -> np.random.Generator:
        return np.random.default_rng([self._seed, len(self._measured)])

    def _new(self, problem: PruningEnv, proposals: Iterator[Sequence[float]]) -> Choice:
        """The first plan of some wishes that was not measured yet; the last one where all of a few were."""
        known = {tuple(choice.values()) for choice, _, _ in self._measured}
        plan: Choice = {}
        for _, wishes in zip(range(_ATTEMPTS), proposals, strict=False):
            plan = problem.project(wishes)
            if tuple(plan.values()) not in known:
                break
        return plan


class EvolutionSearcher(_Memory):
    """Regularised evolution (Real et al., AAAI 2019, arXiv:1802.01548) of the logarithms of the shares kept.

    The first plan is uniform pruning, the next ones are random. Then the best of a few plans, drawn from the youngest ones, is
    mutated; older ones are forgotten. The mutation (normal noise on the logarithms of two shares on average) is ours.
    """

    _POPULATION, _TOURNAMENT = 16, 5

    def ask(self, problem: PruningEnv) -> Choice:
        """A random plan, or a mutated one."""
        if not self._measured:
            return uniform_plan(problem)
        return self._new(problem, self._proposals(problem, self._random))

    def _proposals(self, problem: PruningEnv, random: np.random.Generator) -> Iterator[Sequence[float]]:
        count = len(problem.costs.groups)
        while True:
            if len(self._measured) < self._POPULATION:
                yield _drawn(count, random)
                continue
            young = self._measured[-self._POPULATION :]
            drawn = random.choice(len(young), self._TOURNAMENT, replace=False)
            parent = young[max(sorted(drawn), key=lambda place: young[place][2])][0]
            yield _mutated(problem.shares(parent), random)


class ModelSearcher(_Memory):
    """The accuracy model (`hwflow.compression.search.accuracy_model`) without a policy.

    After uniform pruning and as many random plans as the agent warms up with, it proposes the plan with the highest upper
    confidence bound of many: half of them random, half of them mutations of the best plan so far.
    """

    _PLANS = 64

    def ask(self, problem: PruningEnv) -> Choice:
        """A random plan, or the most promising one."""
        if not self._measured:
            return uniform_plan(problem)
        random, count = self._random, len(problem.costs.groups)
        if len(self._measured) <= self._settings.warmup:
            return self._new(problem, iter(lambda: _drawn(count, random), None))
        best = problem.shares(max(self._measured, key=lambda one: one[2])[0])
        wishes = [_drawn(count, random) if i % 2 else _mutated(best, random) for i in range(self._PLANS)]
        plans = {tuple(plan.values()): plan for plan in map(problem.project, wishes)}
        for known, _, _ in self._measured:
            plans.pop(tuple(known.values()), None)
        if not plans:
            return self._new(problem, iter(lambda: _drawn(count, random), None))
        model = AccuracyModel([problem.shares(c) for c, _, _ in self._measured], [a for _, a, _ in self._measured])
        bounds = [model.upper_confidence_bound(problem.shares(plan)) for plan in plans.values()]
        worths = [problem.worth(plan, min(max(b, 0.0), 1.0)) for plan, b in zip(plans.values(), bounds, strict=True)]
        return list(plans.values())[max(range(len(plans)), key=lambda i: (worths[i], bounds[i]))]


def _drawn(count: int, random: np.random.Generator) -> list[float]:
    """Random shares, [group]."""
    return list(random.uniform(0, 1, count))


def _mutated(shares: Sequence[float], random: np.random.Generator) -> list[float]:
    """Some shares times a random factor, at least one of them."""
    logs: Floats = np.log(shares)
    changed = random.uniform(0, 1, len(logs)) < _CHANGED / len(logs)
    changed[random.integers(len(logs))] = True
    return list(np.exp(logs + changed * random.normal(0, _SPREAD, len(logs))))


__all__ = ["EvolutionSearcher", "ModelSearcher"]
