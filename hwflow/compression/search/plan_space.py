"""`PlanSpace`: the plans of a network's groups that keep all budgets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hwflow.arrays import Floats
from hwflow.compression.budget import Budget
from hwflow.compression.channels.groups import Widths
from hwflow.compression.decision import Decision, Variable
from hwflow.compression.plan_costs import PlanTotals
from hwflow.errors import InputError
from hwflow.metrics import SLACK


class PlanSpace:
    """Which plans are within the budgets; without a budget all are, and `metrics` is what a soft budget weighs.

    Args:
        costs: what plans cost at one level.
        budgets: each holds for every plan of the space.
        metric: what is watched where there is no budget.

    Attributes:
        metrics: those of the budgets, or the one that is watched.
        whole: of the unpruned network, by metric.
        limits: what no plan exceeds, by metric; without a budget the unpruned network's own.
        cheapest: the cheapest plan known, which keeps the budgets.

    Raises:
        InputError: where a budget lies below what the groups' least widths reach, with the least that is reachable; and for a
            metric that the level does not know.
    """

    def __init__(self, costs: PlanTotals, budgets: Sequence[Budget] = (), *, metric: str = "energy") -> None:
        self.costs, self.budgets = costs, tuple(budgets)
        self.metrics = tuple(b.metric for b in self.budgets) or (metric,)
        self.whole: Floats = self.values([costs.full])[0]
        for name, value in zip(self.metrics, self.whole, strict=True):
            if not (np.isfinite(value) and value > 0):
                raise InputError(unknown_metric(name))
        shares = np.array([b.share for b in self.budgets]) if self.budgets else np.ones(1)
        self.limits: Floats = shares * self.whole
        self.cheapest: Widths = tuple(group.widths[0] for group in costs.groups)
        if not self.fits(self.cheapest):  # a ragged layer can be dearer with fewer channels
            self.cheapest = costs.least(self.metrics, self.limits, self.cheapest)
        if not self.fits(self.cheapest):
            raise InputError(unreachable(self.budgets, self.values([self.cheapest])[0] / self.whole, costs.groups))

    def values(self, plans: Sequence[Widths]) -> Floats:
        """What plans take of the watched metrics, [plan, metric]."""
        totals = self.costs.totals_of(plans)
        return np.stack([self.costs.metric(totals, name) for name in self.metrics], axis=1)

    def within(self, plans: Sequence[Widths]) -> Sequence[bool]:
        """Whether each of several plans keeps all budgets, [plan]."""
        if not self.budgets or not len(plans):
            return [True] * len(plans)
        return self.costs.within(plans, self.metrics, self.limits)

    def confirmed(self, widths: Widths) -> bool:
        """Whether a plan keeps all budgets by an estimate of its network; see `PlanTotals.confirmed`."""
        if not self.budgets:
            return True
        totals = self.costs.confirmed(widths)
        values = np.array([self.costs.metric(totals, name) for name in self.metrics])
        return bool((values <= self.limits * (1 + SLACK)).all())

    def fits(self, widths: Widths) -> bool:
        """Whether a plan keeps all budgets."""
        return self.within([widths])[0]


def unknown_metric(metric: str) -> str:
    """What an error says of a budget of a metric that the level does not know."""
    if metric == "peak_activation_bytes":
        return (
            f"{metric} is not known: which operator of this network reads what could not be followed, or the sizes of its "
            "activations do not follow from the widths in a straight line. Name a budget of another metric."
        )
    return (
        f"{metric} is not known at this level: coarse knows no time without an accelerator. Name an accelerator, or "
        "a budget of another metric."
    )


def unconfirmed(budgets: Sequence[Budget]) -> str:
    """What an error says where plans keep the budgets by sums over operations, but not by an estimate of their network."""
    return (
        f"no plan that keeps the budget {', '.join(map(str, budgets))} by the costs of its operations keeps it by an estimate "
        "of its network: the search of mappings finds better ones in less room. Have it search longer (--effort 2)."
    )


def unreachable(budgets: Sequence[Budget], least: Sequence[float] | Floats, decided: Sequence[Variable] = ()) -> str:
    """What an error says where a budget is below what the cheapest plan needs; `least` are its shares, `decided` is what a plan
    decides, by default channels alone."""
    wanted = ", ".join(str(b) for b in budgets)
    reached = ", ".join(f"{b.metric}={np.ceil(value * 1e4) / 1e4:g}" for b, value in zip(budgets, least, strict=True))
    together = " together" if len(budgets) > 1 else ""
    bits = sum(isinstance(one, Decision) for one in decided)
    channels = bits == 0 or bits < len(decided)
    parts = ["every group at its cheapest width"] * channels + ["every layer at its fewest bits"] * (bits > 0)
    advice = ["lower the floor, exclude fewer layers, or allow the residual streams to be pruned (--streams)"] * channels
    advice += ["offer fewer bits (--word-bits, --edge-bits of the first and the last layer)"] * (bits > 0)
    advice += ["decide channels, too (--decide bits,channels)"] * (not channels)
    return (
        f"the budget {wanted} cannot be reached: with {' and '.join(parts)} the network still needs {reached} of the unpruned "
        f"one{together}. Raise the budget, {'; or '.join(advice)}."
    )


__all__ = ["PlanSpace", "unconfirmed", "unknown_metric", "unreachable"]
