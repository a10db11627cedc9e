"""`GuidedSearcher`: the agent, which starts from the exact planner's plans instead of random ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hwflow.compression.search.ddpg import Hyperparameters
from hwflow.compression.search.environment import PruningEnv
from hwflow.compression.search.exact import ExactSearcher
from hwflow.compression.search.searcher import Choice, Measured, Outcome
from hwflow.compression.search.walks import DdpgSearcher, steps_to


class GuidedSearcher(DdpgSearcher):
    """In the warm-up the plans are those of `ExactSearcher`; the agent learns from them, and explores around the best."""

    def __init__(self, problem: PruningEnv, settings: Hyperparameters, seed: int) -> None:
        super().__init__(problem, settings, seed)
        self._guide = ExactSearcher(problem, settings, seed)

    @property
    def identity(self) -> list[Any]:
        """The agent's, and the guide's."""
        return [super().identity, self._guide.identity]

    def ask(self, problem: PruningEnv) -> Choice:
        """The guide's plan, or, after the warm-up, the agent's."""
        if self._agent.warm:
            return super().ask(problem)
        plan = self._guide.ask(problem)
        self._steps = steps_to(problem, plan)
        return plan

    def tell(self, choice: Choice, accuracy: float, reward: float) -> None:
        """Both learn."""
        super().tell(choice, accuracy, reward)
        self._guide.tell(choice, accuracy, reward)

    def state(self) -> dict[str, Any]:
        """Of both."""
        return {"agent": super().state(), "guide": self._guide.state()}

    def outcome(self) -> Outcome:
        """The guide's."""
        return self._guide.outcome()

    def restore(self, state: dict[str, Any], measured: Sequence[Measured]) -> None:
        """Both go on."""
        super().restore(state["agent"], measured)
        self._guide.restore(state["guide"], measured)


__all__ = ["GuidedSearcher"]
