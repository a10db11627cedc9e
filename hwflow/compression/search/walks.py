"""`DdpgSearcher`: the agent generates several plans, and the accuracy model selects the one that is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

from hwflow.compression.search.accuracy_model import AccuracyModel
from hwflow.compression.search.ddpg import Agent, Hyperparameters, Step
from hwflow.compression.search.environment import PruningEnv
from hwflow.compression.search.searcher import Choice, Measured


class Walk(NamedTuple):
    """A plan, and how the agent came to it."""

    steps: list[Step]
    plan: Choice


class DdpgSearcher:
    """After the warm-up it proposes the plan with the highest upper confidence bound of the reward, of several."""

    def __init__(self, problem: PruningEnv, settings: Hyperparameters, seed: int) -> None:
        assert problem.observation_space.shape is not None
        self._agent = Agent(problem.observation_space.shape[0], settings, seed=seed)
        self._seed = seed
        self._measured: list[Measured] = []
        self._steps: list[Step] = []

    @property
    def identity(self) -> list[Any]:
        """The agent's settings and the seed."""
        return [asdict(self._agent.settings), self._seed]

    @property
    def noise(self) -> float | None:
        """None while actions are random."""
        return self._agent.noise if self._agent.warm else None

    def ask(self, problem: PruningEnv) -> Choice:
        """The plan that the accuracy model ranks first."""
        agent = self._agent
        walks = [self.walk(problem) for _ in range(agent.settings.imagined if agent.warm else 1)]
        tried = {tuple(one.choice.values()) for one in self._measured}
        walks = [walk for walk in walks if tuple(walk.plan.values()) not in tried] or walks[:1]
        if len(walks) > 1 and self._measured:
            shares = [problem.shares(one.choice) for one in self._measured]
            model = AccuracyModel(shares, [one.accuracy for one in self._measured])
            bounds = [model.upper_confidence_bound(problem.shares(walk.plan)) for walk in walks]
            worths = [problem.worth(walk.plan, min(max(bound, 0.0), 1.0)) for walk, bound in zip(walks, bounds, strict=True)]
            walks = [walks[max(range(len(walks)), key=lambda i: (worths[i], bounds[i]))]]
        self._steps, plan = walks[0]
        return plan

    def walk(self, problem: PruningEnv) -> Walk:
        """One walk that explores; nothing is measured."""
        agent = self._agent
        agent.begin()
        observation, _ = problem.reset()
        for _ in problem.costs.groups:
            problem.wish(agent.act(observation))
            observation = problem.observe()
        plan = problem.project(problem.wishes)
        return Walk(steps_to(problem, plan), plan)

    def tell(self, choice: Choice, accuracy: float, reward: float) -> None:
        """Learn from the walk that led to the plan."""
        self._agent.learn(self._steps, reward)
        self._measured.append(Measured(choice, accuracy))

    def state(self) -> dict[str, Any]:
        """The agent's."""
        return self._agent.state()

    def restore(self, state: dict[str, Any], measured: Sequence[Measured]) -> None:
        """The agent and what it has measured."""
        self._agent.restore(state)
        self._measured = list(measured)


def steps_to(env: PruningEnv, plan: Choice) -> list[Step]:
    """What the agent learns of a plan from, whoever proposed it: the walk that asks for exactly this plan.

    Its actions are the shares that are kept, and its observations are those on the way to them.
    """
    observation, _ = env.reset()
    steps: list[Step] = []
    for share in env.shares(plan):
        env.wish(share)
        following = env.observe()
        steps.append(Step(observation, share, following, len(env.wishes) == len(env.costs.groups)))
        observation = following
    return steps


__all__ = ["DdpgSearcher", "Walk", "steps_to"]
