# mypy: allow-subclassing-any
"""The environment of the agent: one step per group of channels, from first to last; no plan exceeds the budgets.

Before every step a completion of the plan within the budget is known: the undecided groups at their cheapest widths. An action
is reduced to the largest width at or below it that keeps such a completion. So every finished plan keeps every budget by
construction, for any metric (a wider layer may be cheaper, and EDP is not a sum over layers).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt

from hwflow.compression.budget import Budget
from hwflow.compression.channels.groups import Group, Widths
from hwflow.compression.plan_costs import PlanCosts
from hwflow.errors import InputError
from hwflow.metrics import ADDITIVE

Observation = npt.NDArray[np.float32]
Accuracy = Callable[[dict[str, int]], float]
Scores = Mapping[str, Sequence[float]]
"""Of each group's units, in their order; higher is more important."""

_PICO = 1e12


class PruningEnv(gymnasium.Env[Observation, npt.NDArray[np.float32]]):
    """Walks through the groups of a network; the action is the share of a group's channels to keep, in [0, 1].

    Observations (all in [0, 1]) describe the group about to be decided: its place, kind and sizes, its layers' shares of the
    network's metrics and their utilisation, and for each budget what is saved, what can still be saved and what is left; last
    the action executed before. The reward is 0 until the last step: there, with budgets, the plan's accuracy; without one,
    minus the error times the logarithm of the cost (AMC's reward for a soft budget, arXiv:1802.03494, section 3.3; times in
    picoseconds, so that the logarithm is above zero).

    Args:
        costs: what plans cost at the chosen level.
        accuracy: of a finished plan (channels by group), in [0, 1].
        budgets: each holds for every plan; none for a soft budget.
        metric: what the reward weighs where there is no budget.
        scores: importance of each group's units, for searchers that use it, as `hwflow.compression.channels.criteria.scores`
            gives it.

    Raises:
        InputError: where a budget lies below what the groups' least widths reach, with the least that is reachable; and for a
            metric that the level does not know.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012  (gymnasium's own declaration)

    def __init__(
        self,
        costs: PlanCosts,
        accuracy: Accuracy,
        budgets: Sequence[Budget] = (),
        *,
        metric: str = "energy",
        scores: Scores | None = None,
    ) -> None:
        self.costs, self.budgets, self.accuracy, self.scores = costs, tuple(budgets), accuracy, scores
        self._watched = tuple(b.metric for b in self.budgets) or (metric,)
        self._full = costs.full
        whole = costs.totals(self._full)
        self._whole = np.array([costs.metric(whole, name) for name in self._watched])
        for name, value in zip(self._watched, self._whole, strict=True):
            if not (np.isfinite(value) and value > 0):
                raise InputError(_unknown(name))
        shares = np.array([b.share for b in self.budgets]) if self.budgets else np.ones(1)
        self._limits = shares * self._whole
        floors = tuple(group.widths[0] for group in costs.groups)
        self._cheapest = costs.least(self._watched, self._limits, floors, range(len(floors)))
        if not self._fits(self._cheapest):
            raise InputError(_unreachable(self.budgets, self._values(self._cheapest) / self._whole))
        self._static = _features(costs)
        size = self._static.shape[1] + 3 * len(self._watched) + 1
        self.observation_space = gymnasium.spaces.Box(0.0, 1.0, (size,), np.float32)
        self.action_space = gymnasium.spaces.Box(0.0, 1.0, (1,), np.float32)
        self.decided: Widths = ()  # widths of the groups so far
        self._completion = self._cheapest
        self._last = 1.0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Observation, dict[str, Any]]:
        """Nothing decided."""
        super().reset(seed=seed, options=options)
        self.decided, self._completion, self._last = (), self._cheapest, 1.0
        return self.observe(), {}

    def step(self, action: npt.NDArray[np.float32]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Decide the next group.

        `info` holds the group's name, its width, and `action`: what was executed, as a share of the group's channels. With
        the last step also `plan`, channels by group.
        """
        group = self.costs.groups[len(self.decided)]
        width = self.decide(float(np.asarray(action).reshape(-1)[0]))
        info: dict[str, Any] = {"group": group.name, "width": width, "action": self._last}
        done = len(self.decided) == len(self.costs.groups)
        reward = 0.0
        if done:
            info["plan"] = self.costs.plan(self.decided)
            info["accuracy"] = self.accuracy(info["plan"])
            reward = self.worth(info["plan"], info["accuracy"])
        return self.observe(), reward, done, False, info

    def worth(self, plan: dict[str, int], accuracy: float) -> float:
        """The reward of a finished plan."""
        if self.budgets:
            return accuracy
        widths = tuple(plan[group.name] for group in self.costs.groups)
        scale = _PICO if self._watched[0] in ("latency", "edp") else 1.0
        return -(1 - accuracy) * float(np.log(scale * self._values(widths)[0]))

    def decide(self, share: float) -> int:
        """Keep this share of the next group's channels, or what the budgets allow; the width that it gets."""
        place = len(self.decided)
        width = self._cut(share * self.costs.groups[place].channels)
        self._completion = self._completed(width)
        self.decided = self._completion[: place + 1]
        self._last = width / self.costs.groups[place].channels
        still_open = sorted(g for g in self.costs.neighbours(place) if g > place)
        if still_open:
            self._completion = self.costs.least(self._watched, self._limits, self._completion, still_open)
        return width

    def nearest(self, share: float) -> dict[str, int]:
        """The plan nearest to keeping this share of every group's channels, regardless of budgets."""
        return self.costs.plan(tuple(_nearest(group, share * group.channels) for group in self.costs.groups))

    def affordable(self, plan: dict[str, int]) -> bool:
        """Whether a plan keeps all budgets."""
        return self._fits(tuple(plan[group.name] for group in self.costs.groups))

    def _cut(self, wanted: float) -> int:
        """The allowed width nearest to what is wanted, or the largest below it that leaves a completion within the budgets.

        Where all of those are too dear, which a ragged layer can be at few channels, the smallest one above that fits.
        """
        group = self.costs.groups[len(self.decided)]
        widths, nearest = group.widths, group.widths.index(_nearest(group, wanted))
        for i in (*range(nearest, -1, -1), *range(nearest + 1, len(widths))):
            if self._fits(self._completed(widths[i])):
                return int(widths[i])
        raise AssertionError("no width of the group fits, though a completion was known")

    def _completed(self, width: int) -> Widths:
        """The plan so far with one more width and the cheapest rest that is known; its own width of the completion fits."""
        return (*self.decided, width, *self._completion[len(self.decided) + 1 :])

    def _fits(self, widths: Widths) -> bool:
        return not self.budgets or bool((self._values(widths) <= self._limits).all())

    def _values(self, widths: Widths) -> npt.NDArray[np.float64]:
        totals = self.costs.totals(widths)
        return np.array([self.costs.metric(totals, name) for name in self._watched])

    def observe(self) -> Observation:
        """The state before the next group is decided, [feature]."""
        place = min(len(self.decided), len(self.costs.groups) - 1)
        now = self._values((*self.decided, *self._full[len(self.decided) :])) / self._whole
        least = self._values(self._completion) / self._whole
        moving = np.concatenate([1 - now, now - least, self._limits / self._whole - least, [self._last]])
        return np.asarray(np.clip(np.concatenate([self._static[place], moving]), 0, 1), dtype=np.float32)


def _nearest(group: Group, wanted: float) -> int:
    return min(group.widths, key=lambda width: (abs(width - wanted), -width))


def _features(costs: PlanCosts) -> npt.NDArray[np.float64]:
    """What does not change, [group, feature], each in [0, 1]: AMC's features of layers and the level's own metrics.

    What the level does not know (coarse without an accelerator has no time) counts as 0.
    """
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
            ]
        )
    features = np.array(table, dtype=np.float64)
    scale = features.max(axis=0)
    return features / np.where(scale > 1, scale, 1)


def _unknown(metric: str) -> str:
    if metric == "peak_activation_bytes":
        return (
            f"{metric} is not known: which operator of this network reads what could not be followed, or the sizes of its "
            "activations do not follow from the widths in a straight line. Name a budget of another metric."
        )
    return (
        f"{metric} is not known at this level: coarse knows no time without an accelerator. Name an accelerator, or "
        "a budget of another metric."
    )


def _unreachable(budgets: Sequence[Budget], least: npt.NDArray[np.float64]) -> str:
    wanted = ", ".join(str(b) for b in budgets)
    reached = ", ".join(f"{b.metric}={np.ceil(value * 1e4) / 1e4:g}" for b, value in zip(budgets, least, strict=True))
    together = " together" if len(budgets) > 1 else ""
    return (
        f"the budget {wanted} cannot be reached: with every group at its cheapest width the network still needs {reached} of "
        f"the unpruned one{together}. Raise the budget, lower the floor, exclude fewer layers, or allow the residual streams "
        "to be pruned (--streams)."
    )
