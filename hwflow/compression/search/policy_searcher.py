"""`PolicySearcher`: plans by a policy that is kept, which need no measurement; measurements refine them.

The first plan is what the policy does without exploration. The three after it are the uniform one, the cut of the global
ranking and the exact planner's; from there on the agent and the planner take turns, and both learn of every plan. The agent's
are, as from scratch, the most promising of several walks that explore around the policy or around the best plan so far
(`hwflow.compression.search.walks`). The turns are hwflow's own: where a sum over groups predicts well the planner is better, at
tight budgets the policy is, and together they were better than either (docs/pages/explanation/pruning-measured.md). With a
budget of EDP all plans are the agent's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from hwflow.compression.decision import Choice
from hwflow.compression.search.ddpg import Agent, Hyperparameters, Step, Vector
from hwflow.compression.search.environment import PruningEnv
from hwflow.compression.search.exact import ExactSearcher
from hwflow.compression.search.group_features import GroupFeatures
from hwflow.compression.search.policy import Policy
from hwflow.compression.search.searcher import Measured, Outcome
from hwflow.compression.search.soft_budget import SHARES, limited
from hwflow.compression.search.walks import DdpgSearcher, Walk

_FAR = 4.0  # standard deviations from what was seen in training, beyond which a feature tells no more

_TURNS = 50  # plans, after which few are the planner's


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
        self._guide = ExactSearcher(problem, settings, seed)
        # A budget of EDP is a product, which the planner branches over: a plan can take minutes.
        self._turns = "edp" not in problem.space.metrics

    @property
    def identity(self) -> list[Any]:
        """The policy, the agent's settings, the planner's losses and the seed."""
        return [*super().identity, self._policy.digest, self._guide.identity]

    @property
    def noise(self) -> float | None:
        """0 for the first plan, which does not explore; None for the planner's."""
        if self._guided:
            return None
        return self._agent.noise if self._measured else 0.0

    def ask(self, problem: PruningEnv) -> Choice:
        """The policy's own plan first, then in turns the planner's and the most promising one near the best."""
        if self._guided:
            plan = self._guide.ask(problem)
            self._steps = self._through(problem).steps_to(plan)
            return plan
        if self._measured:
            return super().ask(problem)
        self._steps, plan = self._through(problem).walk(self._agent, explore=False)
        return plan

    def tell(self, choice: Choice, accuracy: float, reward: float) -> None:
        """Agent and planner learn of every plan."""
        super().tell(choice, accuracy, reward)
        self._guide.tell(choice, accuracy, reward)

    def state(self) -> dict[str, Any]:
        """Of both."""
        return {"agent": super().state(), "guide": self._guide.state()}

    def restore(self, state: dict[str, Any], measured: Sequence[Measured]) -> None:
        """Both go on."""
        super().restore(state["agent"], measured)
        self._guide.restore(state["guide"], measured)

    @property
    def _guided(self) -> bool:
        """Whether the next plan is the planner's: the second to the fourth, then every other one, and later every tenth, since
        a solution can take seconds."""
        count = len(self._measured)
        return self._turns and (0 < count < 4 or count % (2 if count < _TURNS else 10) == 1)

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
