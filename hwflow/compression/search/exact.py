"""`ExactSearcher`: plans the best that a model of the measured accuracies knows of, exactly; then the model learns from it.

First comes the optimum of the importance that is removed. Then sensitivities, one group at a time: a group is set to another
width, and the other groups are planned anew, so that every measured plan keeps the budgets and lies where the answer is sought.
From then on, an `AdditiveModel` of all measurements is planned on: its mean, which refines what is best, in turns with samples
of it (Thompson, Biometrika 25, 1933), which explore. The order, and planning on samples exactly, are hwflow's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwflow.arrays import Floats
from hwflow.compression.budget import Budget
from hwflow.compression.channels.groups import Widths
from hwflow.compression.search.ddpg import Hyperparameters
from hwflow.compression.search.environment import PruningEnv
from hwflow.compression.search.planner import Planned, Planner
from hwflow.compression.search.searcher import Choice, Measured
from hwflow.compression.search.sensitivity import AdditiveModel, importance_losses
from hwflow.errors import InputError

_SHARES = (0.8, 0.65, 0.5, 0.4, 0.3, 0.2)  # budgets that are tried where none is given
_FAR = 1e3  # times the largest loss: what keeps a group from other widths than its probe's


@dataclass(frozen=True)
class Probe:
    """A sensitivity to measure: a group, by place, and its width's place."""

    group: int
    width: int


class ExactSearcher:
    """See the module.

    Args:
        problem: with `scores`, the first plan removes the least importance; without, all units count the same.
        settings: of these, `warmup` is how many sensitivities are measured at most.
        seed: of the samples.

    Attributes:
        planned: the last solution, with its bound; None before the first.
    """

    noise: float | None = None

    def __init__(self, problem: PruningEnv, settings: Hyperparameters, seed: int) -> None:
        self._seed, self._probes = seed, settings.warmup
        self._measured: list[Measured] = []
        self._planners: dict[float, Planner] = {}
        self._direction = importance_losses(problem.costs.groups, problem.scores)
        self.planned: Planned | None = None

    @property
    def identity(self) -> list[Any]:
        """How many sensitivities are measured, what is known before, and the seed."""
        return ["exact-1", self._probes, [[round(float(x), 9) for x in loss] for loss in self._direction], self._seed]

    def ask(self, problem: PruningEnv) -> Choice:
        """The plan to measure."""
        count = len(self._measured)
        tried = [tuple(one.choice.values()) for one in self._measured]
        try:
            self.planned = self._plan(problem, count, tried)
        except InputError:
            if not tried:
                raise
            return max(self._measured, key=lambda one: problem.worth(one.choice, one.accuracy)).choice  # nothing else is left
        return self.planned.choice

    def tell(self, choice: Choice, accuracy: float, reward: float) -> None:
        """Remember it."""
        self._measured.append(Measured(choice, accuracy))

    def state(self) -> dict[str, Any]:
        """Everything follows from the plans measured."""
        return {}

    def restore(self, state: dict[str, Any], measured: Sequence[Measured]) -> None:
        """What was measured."""
        self._measured = list(measured)

    def _plan(self, problem: PruningEnv, count: int, tried: list[Widths]) -> Planned:
        if count == 0:
            return self._optimum(problem, self._direction, tried, _SHARES[0])
        probes = probes_around(problem, self._measured[0].choice)[: self._probes]
        if count <= len(probes):
            probe = probes[count - 1]
            losses = [loss.copy() for loss in self._direction]
            wanted = losses[probe.group]
            wanted += _FAR * (1 + wanted.max()) * np.abs(np.arange(len(wanted)) - probe.width)
            return self._optimum(problem, losses, tried, _SHARES[count % len(_SHARES)])
        groups = problem.costs.groups
        places = [[g.widths.index(one.choice[g.name]) for g in groups] for one in self._measured]
        model = AdditiveModel(groups, self._direction, places, [one.accuracy for one in self._measured])
        explores = (count - len(probes)) % 2 == 0
        losses = model.losses(np.random.default_rng([self._seed, count]) if explores else None)
        if problem.budgets:
            return self._optimum(problem, losses, tried, 1.0)
        found = [self._optimum(problem, losses, tried, share) for share in _SHARES]
        places = [[g.widths.index(plan.choice[g.name]) for g in groups] for plan in found]
        return max(zip(found, places, strict=True), key=lambda one: problem.worth(one[0].choice, model.accuracy(one[1])))[0]

    def _optimum(self, problem: PruningEnv, losses: Sequence[Floats], tried: list[Widths], share: float) -> Planned:
        """The best new plan within the budgets; where there are none, within a share of what the reward weighs."""
        key = 1.0 if problem.budgets else share
        if key not in self._planners:
            self._planners[key] = Planner(problem if problem.budgets else _limited(problem, share))
        return self._planners[key].plan(losses, tried)


def probes_around(problem: PruningEnv, base: Choice) -> list[Probe]:
    """Every group at about half its width in a plan, then at about twice of it, then half way to these."""
    found: list[Probe] = []
    for factor in (0.5, 2.0, 0.7, 1.4):
        for g, group in enumerate(problem.costs.groups):
            wanted = factor * base[group.name]
            width = min(range(len(group.widths)), key=lambda i: (abs(np.log(group.widths[i] / wanted)), i))
            probe = Probe(g, width)
            if group.widths[width] != base[group.name] and probe not in found:
                found.append(probe)
    return found


def _limited(problem: PruningEnv, share: float) -> PruningEnv:
    """The problem with a budget of the metric that its reward weighs, or with the least that is reachable."""
    metric = problem.space.metrics[0]
    while True:
        try:
            return PruningEnv(problem.costs, problem.accuracy, [Budget(metric, min(share, 1.0))], scores=problem.scores)
        except InputError:
            share *= 1.2
            if share > 1.2:
                raise


__all__ = ["ExactSearcher", "Probe", "probes_around"]
