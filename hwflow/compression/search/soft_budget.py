"""Budgets for searchers that need one, where a problem has none and its reward weighs a metric instead."""

from __future__ import annotations

from hwflow.compression.budget import Budget
from hwflow.compression.search.environment import PruningEnv
from hwflow.errors import InputError

SHARES = (0.8, 0.65, 0.5, 0.4, 0.3, 0.2)
"""Of the metric, tried in turn."""

_WIDER = 1.2  # the factor on a share that cannot be reached


def limited(problem: PruningEnv, share: float) -> PruningEnv:
    """A problem with budgets as it is, another one with a budget of its metric: this share, or the next that can be reached."""
    if problem.budgets:
        return problem
    metric = problem.space.metrics[0]
    while True:
        try:
            budgets = [Budget(metric, min(share, 1.0))]
            return PruningEnv(problem.costs, problem.accuracy, budgets, scores=problem.scores, losses=problem.losses)
        except InputError:
            if share >= 1:
                raise
            share *= _WIDER


__all__ = ["SHARES", "limited"]
