"""`GreedySearcher`: round by round, the best of the plans in which one group gives a part of its channels up.

NetAdapt (Yang et al., ECCV 2018, arXiv:1804.03230) begins with the whole network, and in each round narrows every layer in turn
until a step of the budget is met and keeps the most accurate of these networks. Here every plan that is measured keeps the
budgets: the search begins with uniform pruning, and what a group gives up is shared by the others in proportion, until the
budgets are used up again. So there is a plan to apply after any number of measurements, which need not be known beforehand.
Where no group's plan is better than the present one, steps become smaller. These changes are hwflow's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hwflow.compression.search.baselines import uniform_plan
from hwflow.compression.search.ddpg import Hyperparameters
from hwflow.compression.search.environment import PruningEnv
from hwflow.compression.search.searcher import Choice, Measured

_FACTOR = 0.6  # of a group's share, in the first rounds
_LEAST = 0.97  # beyond it rounding leaves hardly a step


class GreedySearcher:
    """See the module; it depends on no random numbers, so all seeds give the same plans."""

    identity: list[Any] = ["greedy", _FACTOR]  # noqa: RUF012  (it depends on nothing else)
    noise: float | None = None

    def __init__(self, problem: PruningEnv, settings: Hyperparameters, seed: int) -> None:
        self._rewards: dict[tuple[int, ...], float] = {}
        self._centre: list[float] = []  # shares of the plan from which groups give up
        self._reward = 0.0
        self._factor = _FACTOR

    def ask(self, problem: PruningEnv) -> Choice:
        """The next plan of the round that is not measured yet; the best one again where nothing is left to try."""
        if not self._centre:
            plan = uniform_plan(problem)
            self._centre = problem.shares(plan)
            return plan
        while True:
            plans = [problem.project(self._without(place)) for place in range(len(self._centre))]
            fresh = next((plan for plan in plans if tuple(plan.values()) not in self._rewards), None)
            if fresh is not None:
                return fresh
            best = max(plans, key=lambda plan: self._rewards[tuple(plan.values())])
            reward = self._rewards[tuple(best.values())]
            if reward > self._reward:
                self._centre, self._reward = problem.shares(best), reward
            elif self._factor < _LEAST:
                self._factor = self._factor**0.5
            else:
                return problem.project(self._centre)

    def tell(self, choice: Choice, accuracy: float, reward: float) -> None:
        """Remember the reward of the plan."""
        if not self._rewards:
            self._reward = reward
        self._rewards[tuple(choice.values())] = reward

    def state(self) -> dict[str, Any]:
        """The rewards and where the round is."""
        rewards = [[list(widths), reward] for widths, reward in self._rewards.items()]
        return {"rewards": rewards, "centre": self._centre, "reward": self._reward, "factor": self._factor}

    def restore(self, state: dict[str, Any], measured: Sequence[Measured]) -> None:
        """What `state` told."""
        self._rewards = {tuple(widths): reward for widths, reward in state["rewards"]}
        self._centre, self._reward, self._factor = state["centre"], state["reward"], state["factor"]

    def _without(self, place: int) -> list[float]:
        return [share * self._factor if i == place else share for i, share in enumerate(self._centre)]


__all__ = ["GreedySearcher"]
