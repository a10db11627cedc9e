"""`GreedySearcher`: one group after the other takes channels from the others, or gives some up, and what is better is kept.

NetAdapt (Yang et al., ECCV 2018, arXiv:1804.03230) begins with the whole network, and in each round narrows every layer in turn
until a step of the budget is met and keeps the most accurate of these networks. Here every plan that is measured keeps the
budgets: the search begins with uniform pruning, and what one group takes or gives, the others give or take in proportion. So
there is a plan to apply after any number of measurements, which need not be known beforehand. A plan that is better is kept at
once, and the group goes on in its direction; after a round in which none was better, steps are smaller. These changes are
hwflow's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hwflow.compression.search.baselines import uniform_plan
from hwflow.compression.search.ddpg import Hyperparameters
from hwflow.compression.search.environment import PruningEnv
from hwflow.compression.search.searcher import Choice, Measured

_FACTOR = 0.5  # on a group's share, or its inverse, in the first rounds
_LEAST = 0.95  # beyond it rounding leaves hardly a step


class GreedySearcher:
    """See the module; the seed draws the order of the groups in each round."""

    noise: float | None = None

    def __init__(self, problem: PruningEnv, settings: Hyperparameters, seed: int) -> None:
        self._seed = seed
        self._rewards: dict[tuple[int, ...], float] = {}
        self._centre: list[float] = []  # shares of the best plan so far
        self._asked: list[float] = []
        self._best = -np.inf
        self._factor = _FACTOR
        self._round, self._move, self._moved = 0, 0, False

    @property
    def identity(self) -> list[Any]:
        """The seed."""
        return ["greedy", _FACTOR, self._seed]

    def ask(self, problem: PruningEnv) -> Choice:
        """The next plan that is not measured yet; the best one again where nothing is left to try."""
        plan = problem.project(self._wishes()) if self._centre else uniform_plan(problem)
        while tuple(plan.values()) in self._rewards and self._factor < _LEAST:
            self._go_on()
            plan = problem.project(self._wishes())
        self._asked = problem.shares(plan)
        return plan

    def _wishes(self) -> list[float]:
        """The present move: every group, in this round's order, takes, and then gives."""
        count = len(self._centre)
        order = np.random.default_rng([self._seed, self._round]).permutation(count)
        place, factor = order[self._move // 2], self._factor if self._move % 2 else 1 / self._factor
        return [share * factor if i == place else share for i, share in enumerate(self._centre)]

    def _go_on(self) -> None:
        """To the next move, round or step."""
        self._move += 1
        if self._move == 2 * len(self._centre):
            if not self._moved:
                self._factor = self._factor**0.5
            self._round, self._move, self._moved = self._round + 1, 0, False

    def tell(self, choice: Choice, accuracy: float, reward: float) -> None:
        """Keep the plan if it is better."""
        if self._centre and reward > self._best:
            self._moved = True
        elif self._centre:
            self._go_on()
        if reward > self._best:
            self._centre, self._best = self._asked, reward
        self._rewards[tuple(choice.values())] = reward

    def state(self) -> dict[str, Any]:
        """The rewards, the best plan and where the round is."""
        rewards = [[list(widths), reward] for widths, reward in self._rewards.items()]
        place = [self._round, self._move, self._moved]
        return {"rewards": rewards, "centre": self._centre, "best": self._best, "factor": self._factor, "place": place}

    def restore(self, state: dict[str, Any], measured: Sequence[Measured]) -> None:
        """What `state` told."""
        self._rewards = {tuple(widths): reward for widths, reward in state["rewards"]}
        self._centre, self._best, self._factor = state["centre"], state["best"], state["factor"]
        self._round, self._move, self._moved = state["place"]


__all__ = ["GreedySearcher"]
