"""`Subject`, a network with its accuracy model, and `Example`, one problem of it that an agent trains on.

An agent needs thousands of episodes, and to measure the accuracy of a plan takes a second. So some plans of each network are
measured once, over all chips and budgets that it is trained for, and an `AdditiveModel` of these rewards the agent. It does not
depend on the chip or the budget, so one serves all problems of a network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hwflow.arrays import Floats
from hwflow.compression.budget import Budget
from hwflow.compression.decision import Choice, Variable
from hwflow.compression.plan_costs import PlanTotals
from hwflow.compression.search.baselines import uniform_plan
from hwflow.compression.search.environment import PruningEnv, Scores
from hwflow.compression.search.group_features import SPAN, GroupFeatures
from hwflow.compression.search.sensitivity import AdditiveModel, importance_losses
from hwflow.errors import InputError
from hwflow.ranking import spearman

_RANDOM = 32  # plans by whose log-odds rewards are centred and scaled
_FOLDS = 5


@dataclass(frozen=True)
class Subject:
    """A network that can be pruned.

    Attributes:
        name: of the network.
        groups: what can be pruned of it.
        scores: importance of their units.
        costs: of its plans, by chip and metric: mappings follow the budget's metric.
        accuracy: of a plan, measured.
    """

    name: str
    groups: tuple[Variable, ...]
    scores: Scores
    costs: Mapping[tuple[str, str], PlanTotals]
    accuracy: Callable[[Choice], float]

    def problems(self, budgets: Sequence[float]) -> list[tuple[str, PruningEnv]]:
        """One for each chip, metric and share that can be reached, with a title."""
        found = []
        for (chip, metric), costs in self.costs.items():
            for share in budgets:
                try:
                    env = PruningEnv(costs, self.accuracy, [Budget(metric, share)], metric=metric, scores=self.scores)
                except InputError:
                    continue
                found.append((f"{self.name} on {chip}, {metric}={share:g}", env))
        return found


@dataclass(frozen=True)
class AccuracyTable:
    """The log-odds of a network's accuracy as a sum over its groups, from measured plans.

    Attributes:
        losses: for each group at each of its widths.
        agreement: Spearman's rank correlation between the measured accuracies and those that models of the other plans
            predict; None with fewer than ten plans.
    """

    groups: tuple[Variable, ...]
    losses: tuple[Floats, ...]
    agreement: float | None

    @classmethod
    def fitted(cls, subject: Subject, plans: Sequence[Choice], accuracies: Sequence[float]) -> AccuracyTable:
        """From all plans; the agreement by cross-validation."""
        places = [[g.widths.index(plan[g.name]) for g in subject.groups] for plan in plans]
        direction = importance_losses(subject.groups, subject.scores)
        model = AdditiveModel(subject.groups, direction, places, accuracies)
        agreement = None
        if len(plans) >= 2 * _FOLDS:
            predicted = np.empty(len(plans))
            for fold in range(_FOLDS):
                others = [i for i in range(len(plans)) if i % _FOLDS != fold]
                part = AdditiveModel(subject.groups, direction, [places[i] for i in others], [accuracies[i] for i in others])
                for i in range(fold, len(plans), _FOLDS):
                    predicted[i] = part.accuracy(places[i])
            agreement = spearman(list(predicted), list(accuracies))
        return cls(subject.groups, tuple(model.losses()), agreement)

    def odds(self, plan: Choice) -> float:
        """The log-odds of a plan's accuracy, up to a constant."""
        pairs = zip(self.groups, self.losses, strict=True)
        return -float(sum(loss[group.widths.index(plan[group.name])] for group, loss in pairs))


class Example:
    """One problem that an agent trains on: a network on a chip within a budget.

    Args:
        title: for messages.
        problem: the network's groups on the chip within the budget.
        table: of its accuracies.
        seed: of the random plans that rewards are relative to.
    """

    def __init__(self, title: str, problem: PruningEnv, table: AccuracyTable, seed: Sequence[int]) -> None:
        self.title, self.problem, self._table = title, problem, table
        self.features = GroupFeatures(problem.space, problem.scores)
        self._seed = list(seed)

    def reward(self, plan: Choice) -> float:
        """The predicted log-odds, in standard deviations above the mean of random plans within the same budget."""
        centre, spread = self._usual
        return (self._table.odds(plan) - centre) / spread

    @cached_property
    def _usual(self) -> tuple[float, float]:
        """Mean and standard deviation of the log-odds of random plans."""
        generator, count = np.random.default_rng(self._seed), len(self._table.groups)
        odds = [self._table.odds(self.problem.project(random_wishes(generator, count))) for _ in range(_RANDOM)]
        return float(np.mean(odds)), float(np.std(odds)) or 1.0

    @cached_property
    def uniform(self) -> float:
        """The reward of the uniform plan."""
        return self.reward(uniform_plan(self.problem))


def random_wishes(generator: np.random.Generator, groups: int) -> list[float]:
    """Wishes of a random plan: the factors between the groups are log-uniform, over a range that is itself random."""
    reach = generator.uniform(0.25, 1.0)
    return list(map(float, SPAN ** (reach * generator.uniform(-1, 1, groups))))


__all__ = ["AccuracyTable", "Example", "Subject", "random_wishes"]
