# mypy: allow-subclassing-any
"""The environment of the agent: one step per group of channels, from first to last; no plan exceeds the budgets.

An action is a wish: the share of a group's channels to keep. Widths follow at the end of the walk from the wishes of all groups
together (`hwflow.compression.search.projection`), so that it does not matter for a group whether it comes first or last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt

from hwflow.compression.budget import Budget
from hwflow.compression.decision import Choice, Decision, Variable
from hwflow.compression.plan_costs import PlanTotals
from hwflow.compression.search.plan_space import PlanSpace
from hwflow.compression.search.projection import nearest, project
from hwflow.metrics import ADDITIVE

Observation = npt.NDArray[np.float32]
Accuracy = Callable[[dict[str, int]], float]
Scores = Mapping[str, Sequence[float]]
"""Of each group's units, in their order; higher is more important."""
Losses = Mapping[str, Sequence[float]]
"""What each group's widths, in their order, take off the accuracy, in any unit that adds up."""

_PICO = 1e12


class PruningEnv(gymnasium.Env[Observation, npt.NDArray[np.float32]]):
    """Walks through the groups of a network; the action is the share of a group's channels to keep, in [0, 1].

    With budgets, what counts are the proportions of a walk's actions: the plan at its end follows them as far as the budgets
    allow, and uses the budgets up.

    Observations (all in [0, 1]) describe the group about to be decided: its place, kind and sizes, its layers' shares of the
    network's metrics and their utilisation; for each budget what the wishes so far save, what the rest can still save and what
    the budget leaves beyond that; last the action before. The reward is 0 until the last step: there, with budgets, the
    plan's accuracy; without one, minus the error times the logarithm of the cost (AMC's reward for a soft budget,
    arXiv:1802.03494, section 3.3; times in picoseconds, so that the logarithm is above zero).

    Args:
        costs: what plans cost at the chosen level.
        accuracy: of a finished plan (channels by group), in [0, 1].
        budgets: each holds for every plan; none for a soft budget.
        metric: what the reward weighs where there is no budget.
        scores: importance of each group's units, for searchers that use it, as `hwflow.compression.channels.criteria.scores`
            gives it.
        losses: of each group at each of its widths, in the order of these, for searchers that plan; where there are none, they
            follow from the scores.

    Attributes:
        space: the plans that keep the budgets.
        wishes: the actions of the present walk so far.

    Raises:
        InputError: where a budget lies below what the groups' least widths reach, with the least that is reachable; and for a
            metric that the level does not know.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012  (gymnasium's own declaration)

    def __init__(
        self,
        costs: PlanTotals,
        accuracy: Accuracy,
        budgets: Sequence[Budget] = (),
        *,
        metric: str = "energy",
        scores: Scores | None = None,
        losses: Losses | None = None,
    ) -> None:
        self.costs, self.budgets, self.accuracy, self.scores = costs, tuple(budgets), accuracy, scores
        self.losses = losses
        self.space = PlanSpace(costs, budgets, metric=metric)
        self.wishes: list[float] = []
        self._static = _features(costs)
        size = self._static.shape[1] + 3 * len(self.space.metrics) + 1
        self.observation_space = gymnasium.spaces.Box(0.0, 1.0, (size,), np.float32)
        self.action_space = gymnasium.spaces.Box(0.0, 1.0, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Observation, dict[str, Any]]:
        """Nothing decided."""
        super().reset(seed=seed, options=options)
        self.wishes = []
        return self.observe(), {}

    def step(self, action: npt.NDArray[np.float32]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Decide the next group.

        `info` holds the group's name. With the last step also `plan`, channels by group, its `accuracy`, and `actions`: the
        shares of their channels that the groups keep, which are what was executed.
        """
        info: dict[str, Any] = {"group": self.costs.groups[len(self.wishes)].name}
        self.wish(float(np.asarray(action).reshape(-1)[0]))
        done = len(self.wishes) == len(self.costs.groups)
        reward = 0.0
        if done:
            plan = self.project(self.wishes)
            info |= {"plan": plan, "accuracy": self.accuracy(plan), "actions": self.shares(plan)}
            reward = self.worth(plan, info["accuracy"])
        return self.observe(), reward, done, False, info

    def worth(self, plan: Choice, accuracy: float) -> float:
        """The reward of a finished plan."""
        if self.budgets:
            return accuracy
        widths = tuple(plan[group.name] for group in self.costs.groups)
        scale = _PICO if self.space.metrics[0] in ("latency", "edp") else 1.0
        return -(1 - accuracy) * float(np.log(scale * self.space.values([widths])[0, 0]))

    def wish(self, share: float) -> None:
        """Go on to the next group, of which this share shall be kept."""
        self.wishes.append(share)

    def project(self, wishes: Sequence[float]) -> Choice:
        """The plan for shares that the groups shall keep; see `hwflow.compression.search.projection.project`."""
        return self.costs.plan(project(self.space, wishes))

    def shares(self, plan: Choice) -> list[float]:
        """Of their channels that a plan's groups keep."""
        return [plan[group.name] / group.channels for group in self.costs.groups]

    def affordable(self, plan: Choice) -> bool:
        """Whether a plan keeps all budgets."""
        return self.space.fits(tuple(plan[group.name] for group in self.costs.groups))

    def observe(self) -> Observation:
        """The state before the next group is decided, [feature]."""
        groups, whole = self.costs.groups, self.space.whole
        place = min(len(self.wishes), len(groups) - 1)
        wished = tuple(nearest(group, wish * group.channels) for group, wish in zip(groups, self.wishes, strict=False))
        rest = len(wished)
        plans = [(*wished, *self.costs.full[rest:]), (*wished, *self.space.cheapest[rest:])]
        now, least = self.space.values(plans) / whole
        moving = np.concatenate([1 - now, now - least, self.space.limits / whole - least, [(self.wishes or [1.0])[-1]]])
        return np.asarray(np.clip(np.concatenate([self._static[place], moving]), 0, 1), dtype=np.float32)


def _features(costs: PlanTotals) -> npt.NDArray[np.float64]:
    """What does not change, [group, feature], each in [0, 1]: AMC's features of layers and the level's own metrics.

    What the level does not know (coarse without an accelerator has no time) counts as 0. Where not all that is decided is
    channels, further features say what is.
    """
    kinds = sorted({_kind(group) for group in costs.groups} - {""})
    layers, rows = costs.layers(costs.full), np.nan_to_num(costs.rows(costs.full))
    sums, intensive = rows[:, : len(ADDITIVE)], rows[:, len(ADDITIVE) :]
    shares = sums / np.maximum(sums.sum(axis=0), np.finfo(float).tiny)
    weights = shares[:, ADDITIVE.index("energy")]
    table = []
    for i, group in enumerate(costs.groups):
        touched = costs.touched(i)
        first = layers[touched[0]]
        table.append(
            [
                i / len(costs.groups),
                float(group.stream),
                float(any(layers[t].G > 1 for t in touched)),
                float(first.type == "linear"),
                first.C * first.G,
                first.M * first.G,
                first.P * first.Q,
                max(first.R, first.S),
                max(first.strides),
                len(touched),
                *shares[touched].sum(axis=0),
                *(weights[touched] @ intensive[touched] / max(weights[touched].sum(), np.finfo(float).tiny)),
                *(float(_kind(group) == kind) for kind in kinds),
            ]
        )
    features = np.array(table, dtype=np.float64)
    scale = features.max(axis=0)
    return features / np.where(scale > 1, scale, 1)


def _kind(group: Variable) -> str:
    """What is decided of a layer, the last part of a decision's name; empty for channels."""
    return group.name.rpartition(".")[2] if isinstance(group, Decision) else ""
