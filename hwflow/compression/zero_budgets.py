"""Budgets of methods that leave zeros: what the network will cost that they are asked to make, before it is trained.

Zeros count where the accelerator does something about them, at levels that map layers; elsewhere the network costs what it does
without zeros. How they lie is not known yet: each layer's are taken to be spread evenly, over the positions of Winograd tiles,
too. So the network that is trained can cost a little more or less.
"""

from __future__ import annotations

from collections.abc import Mapping

from hwflow.compression.budget import amount_of
from hwflow.compression.method import Task
from hwflow.compression.search.plan_space import unknown_metric
from hwflow.cost.backend import backend_of
from hwflow.errors import InputError
from hwflow.network import Network
from hwflow.results import NetworkCost


def counts_zeros(task: Task) -> bool:
    """Whether the accelerator and the last level, where budgets hold, see zeros."""
    chip = task.costs.accelerator
    return chip is not None and chip.sparse and backend_of(task.settings.levels[-1]).maps


def check_zero_budgets(task: Task, after: Network, what: str) -> None:
    """Refuse budgets that a network will not keep.

    Args:
        after: the network, with the densities that are asked for.
        what: its layers in words, for errors.

    Raises:
        InputError: naming the budget, and what share is left.
    """
    if not task.budgets:
        return
    level = task.settings.levels[-1]
    before = Network.from_torch(task.model, task.input_shape, name=task.name)
    totals = [task.costs.networks(one)[0][level].to_dict()["totals"] for one in (before, after)]
    zeros, more, remedy = "", ", and zeros save nothing on this chip", ""
    if counts_zeros(task):
        zeros, more, remedy = " with these zeros", "", " or the sparsity"
    for budget in task.budgets:
        old, new = (amount_of(total, budget.metric) for total in totals)
        if old is None or new is None:
            raise InputError(unknown_metric(budget.metric))
        if not budget.held(old, new):
            other = "" if budget.metric == "macs" else "ask for one of macs, "
            raise InputError(
                f"the budget {budget} cannot be reached: {what}{zeros} take {new / old:.3g} of the {budget.metric} at {level}"
                f"{more}. Raise the budget{remedy}, {other}or ask for none."
            )


def tell_exceeded(task: Task, costs: Mapping[str, tuple[NetworkCost, NetworkCost]]) -> None:
    """Say which budgets do not hold: before the training it was not known how zeros would lie."""
    level = task.settings.levels[-1]
    before, after = (cost.to_dict()["totals"] for cost in costs[level])
    for budget in task.budgets:
        old, new = (amount_of(totals, budget.metric) for totals in (before, after))
        if old and new is not None and not budget.held(old, new):
            left = f"{new / old:.3g} of the {budget.metric} are left at {level}"
            task.notify(f"the budget {budget} is exceeded: with the zeros as trained, {left}.")


__all__ = ["check_zero_budgets", "counts_zeros", "tell_exceeded"]
