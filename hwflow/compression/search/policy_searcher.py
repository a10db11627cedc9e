"""`PolicySearcher`: plans by a policy that is kept, which need no measurement; measurements refine them.

The first plan is what the policy does without exploration. Each further one is, as with the agent from scratch, the most
promising of several walks that explore around the policy or around the best plan so far (`hwflow.compression.search.walks`),
and the agent goes on learning from what is measured.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from hwflow.compression.decision import Choice
from hwflow.compression.search.ddpg import Agent, Hyperparameters, Step, Vector
from hwflow.compression.search.environment import PruningEnv
from hwflow.compression.search.group_features import GroupFeatures
from hwflow.compression.search.policy import Policy
from hwflow.compression.search.searcher import Outcome
from hwflow.compression.search.soft_budget import SHARES, limited
from hwflow.compression.search.walks import DdpgSearcher, Walk

_FAR = 4.0  # standard deviations from what was seen in training, beyond which a feature tells no more


class PolicyWalks:
    """Walks of an agent through the groups of one problem, as a policy sees them.

    Args:
        mean, scale: of the features, as `Policy` has them.
    """

    def __init__(self, problem: PruningEnv, features: GroupFeatures, mean: Tensor, scale: Tensor) -> None:
        self._problem, self.features = problem, features
        relative = (self.features.table - mean.numpy()) / scale.numpy()
        self._seen: Vector = np.clip(relative, -_FAR, _FAR).astype(np.float32)

    def walk(self, agent: Agent, *, explore: bool) -> Walk:
        """One walk and the plan that it leads to; nothing is measured."""
        if explore:
            agent.begin()
        actions = [agent.act(seen, explore=explore) for seen in self._seen]
        plan = self._problem.project(self.features.wishes(actions))
        return Walk(self.steps_to(plan), plan)

    def steps_to(self, plan: Choice) -> list[Step]:
        """The walk that asks for this plan, as the agent learns from it."""
        done = self.features.actions(tuple(plan[group.name] for group in self._problem.costs.groups))
        following = [*self._seen[1:], self._seen[-1]]
        last = len(done) - 1
        return [Step(self._seen[i], action, following[i], i == last) for i, action in enumerate(done)]


class PolicySearcher(DdpgSearcher):
    """See the module.

    Args:
        settings: of the agent; what a policy fixes (the size of its networks, no warm-up) and how gently it goes on learning
            are `refining`'s.
    """

    def __init__(self, problem: PruningEnv, settings: Hyperparameters, seed: int, policy: Policy) -> None:
        self._policy, self._seed = policy, seed
        self._agent = policy.agent(refining(settings, policy), seed)
        self._measured, self._steps = [], []
        self._walks: dict[float, PolicyWalks] = {}

    @property
    def identity(self) -> list[Any]:
        """The policy, the agent's settings and the seed."""
        return [*super().identity, self._policy.digest]

    @property
    def noise(self) -> float | None:
        """0 for the first plan, which does not explore."""
        return self._agent.noise if self._measured else 0.0

    def ask(self, problem: PruningEnv) -> Choice:
        """The policy's own plan first, then the most promising one near it."""
        if self._measured:
            return super().ask(problem)
        self._steps, plan = self._through(problem).walk(self._agent, explore=False)
        return plan

    def outcome(self) -> Outcome:
        """Which policy it is, and what it was trained on."""
        return Outcome(f"the agent started from {self._policy.told}", self._policy.record)

    def walk(self, problem: PruningEnv) -> Walk:
        """One that explores."""
        return self._through(problem).walk(self._agent, explore=True)

    def _through(self, problem: PruningEnv) -> PolicyWalks:
        """Of the problem; where it has no budget, of several budgets of what its reward weighs, in turns."""
        share = 1.0 if problem.budgets else SHARES[len(self._measured) % len(SHARES)]
        if share not in self._walks:
            walked = limited(problem, share)
            features = GroupFeatures(walked.space, walked.scores)
            self._walks[share] = PolicyWalks(walked, features, self._policy.mean, self._policy.scale)
        return self._walks[share]


def refining(settings: Hyperparameters, policy: Policy) -> Hyperparameters:
    """How an agent goes on from a policy: without warm-up, near to what it knows, and learning slowly from few plans."""
    return replace(
        settings, warmup=0, hidden=policy.hidden, discount=0.0, noise=0.15, actor_rate=1e-4, critic_rate=1e-4, updates=1
    )


__all__ = ["PolicySearcher", "PolicyWalks", "refining"]
