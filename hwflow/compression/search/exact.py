"""`ExactSearcher`: plans the best that a model of the measured accuracies knows of, exactly; then the model learns from it.

First come the optimum of the importance that is removed, the uniform plan, and the cut of the global ranking. From then on,
an `AdditiveModel` learns how the accuracy falls with the width of each group, from all that was measured, and the planner takes
its optimum: that of its mean, which refines what is best, in turns with that of a sample of what the measurements leave
possible (Thompson, Biometrika 25, 1933), which explores.
So sensitivities are measured near the budget, where they are needed, and no plan exceeds it. This order is hwflow's own. To set
one group after the other to other widths first, as sensitivities are usually measured, was worse up to 50 plans of ResNet-20.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hwflow.arrays import Floats
from hwflow.compression.channels.groups import Widths
from hwflow.compression.search.baselines import uniform_plan
from hwflow.compression.search.ddpg import Hyperparameters
from hwflow.compression.search.environment import PruningEnv
from hwflow.compression.search.planner import MOST, Planned, Planner
from hwflow.compression.search.ranked_cut import ranked_cut, values_of
from hwflow.compression.search.searcher import Choice, Measured, Outcome
from hwflow.compression.search.sensitivity import AdditiveModel, importance_losses
from hwflow.compression.search.soft_budget import SHARES, limited
from hwflow.errors import InputError


class ExactSearcher:
    """See the module.

    Args:
        problem: the first plan has the least of its `losses`; without any, it removes the least importance by its `scores`;
            without these, all units count the same.
        settings: the agent's, which are not used.
        seed: of the samples.

    Attributes:
        planned: the last solution, with its bound; None before the first.
    """

    noise: float | None = None

    def __init__(self, problem: PruningEnv, settings: Hyperparameters, seed: int) -> None:
        self._seed = seed
        self._measured: list[Measured] = []
        self._planners: dict[float, Planner] = {}
        groups, losses = problem.costs.groups, problem.losses
        self._direction = (
            importance_losses(groups, problem.scores)
            if losses is None
            else [np.asarray(losses[group.name], dtype=np.float64) for group in groups]
        )
        self.planned: Planned | None = None
        self._every = all(len(group.widths) <= MOST for group in problem.costs.groups)
        self._solved, self._gap = 0, 0.0  # solutions, and the largest of their gaps

    @property
    def identity(self) -> list[Any]:
        """What is known before, and the seed."""
        return ["exact-2", [[round(float(x), 9) for x in loss] for loss in self._direction], self._seed]

    def ask(self, problem: PruningEnv) -> Choice:
        """The plan to measure; where all have been, the best one again."""
        tried = [tuple(one.choice.values()) for one in self._measured]
        if (simple := self._simple(problem, len(tried))) is not None and tuple(simple.values()) not in tried:
            return simple
        try:
            self.planned = self._plan(problem, tried)
        except InputError:
            if not tried:
                raise
            return max(self._measured, key=lambda one: problem.worth(one.choice, one.accuracy)).choice
        self._solved, self._gap = self._solved + 1, max(self._gap, self.planned.gap)
        return self.planned.choice

    def tell(self, choice: Choice, accuracy: float, reward: float) -> None:
        """Remember it."""
        self._measured.append(Measured(choice, accuracy))

    def state(self) -> dict[str, Any]:
        """All else follows from the plans measured."""
        return {"solved": self._solved, "gap": self._gap}

    def restore(self, state: dict[str, Any], measured: Sequence[Measured]) -> None:
        """What was measured, and how well it was solved."""
        self._measured, self._solved, self._gap = list(measured), state["solved"], state["gap"]

    def outcome(self) -> Outcome:
        """How far the plans may be from the optima of the losses that they were planned on."""
        over = "all widths" if self._every else f"{MOST} widths a group and their neighbours"
        note = (
            f"{self._solved} plans were optimal for what was known of the groups' losses, with a gap of at most "
            f"{100 * self._gap:.2f} % over {over}"
        )
        return Outcome(note, {"solved": self._solved, "gap": self._gap, "every_width": self._every})

    def _simple(self, problem: PruningEnv, count: int) -> Choice | None:
        """The second and the third plan, which need no measurement either."""
        if count == 1:
            return uniform_plan(limited(problem, SHARES[0]))
        if count == 2 and problem.scores is not None:
            values = values_of(problem.costs.groups, problem.scores, "the global ranking")
            return ranked_cut(limited(problem, SHARES[0]).space, values)
        return None

    def _plan(self, problem: PruningEnv, tried: list[Widths]) -> Planned:
        count = len(self._measured)
        if count == 0:
            return self._optimum(problem, self._direction, tried, SHARES[0] if not problem.budgets else 1.0)
        groups = problem.costs.groups

        def places(choice: Choice) -> list[int]:
            return [group.widths.index(choice[group.name]) for group in groups]

        known = [places(one.choice) for one in self._measured]
        model = AdditiveModel(groups, self._direction, known, [one.accuracy for one in self._measured])
        losses = model.losses(None if count % 2 else np.random.default_rng([self._seed, count]))
        if problem.budgets:
            return self._optimum(problem, losses, tried, 1.0)
        found = [self._optimum(problem, losses, tried, share) for share in SHARES]
        return max(found, key=lambda one: problem.worth(one.choice, model.accuracy(places(one.choice))))

    def _optimum(self, problem: PruningEnv, losses: Sequence[Floats], tried: list[Widths], share: float) -> Planned:
        """The best new plan within the budgets; where there are none, within a share of what the reward weighs."""
        if share not in self._planners:
            self._planners[share] = Planner(limited(problem, share))
        return self._planners[share].plan(losses, tried)


__all__ = ["ExactSearcher"]
