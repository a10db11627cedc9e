"""`allocate`: how many channels each group keeps, chosen by a named way or read from a plan.

uniform   the same share of every group
exact     the optimum of a loss that is a sum over groups: of the importance that is removed, or, with evaluations, of what a
          model of the accuracies measured so far predicts
legr      a cut of one ranking of all units, whose weights by group are learned with the evaluations
global    a cut of the units' scores as they are

Anything else is a plan's file, or the folder of a run that holds one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from hwflow.compression.decision import Choice
from hwflow.compression.plan_files import plan_from_file
from hwflow.compression.search.ddpg import Hyperparameters
from hwflow.compression.search.environment import PruningEnv
from hwflow.compression.search.registry import SEARCHERS, WITHOUT_EVALUATIONS
from hwflow.compression.search.search import best_of, explore
from hwflow.errors import InputError, check_whole, not_found


class Allocation(Protocol):
    """A way to choose a plan within a problem's budgets.

    Args:
        evaluations: plans whose accuracy is measured, at most; 0 chooses by the units' scores alone.
        seed: of what is drawn at random.
    """

    def __call__(self, problem: PruningEnv, *, evaluations: int, seed: int) -> Choice: ...


def _searched(name: str) -> Allocation:
    """The best of the plans that a searcher measures, or its first, where none may be measured."""

    def allocation(problem: PruningEnv, *, evaluations: int, seed: int) -> Choice:
        settings = replace(Hyperparameters(), warmup=min(Hyperparameters().warmup, evaluations // 3))
        searcher = SEARCHERS[name](problem, settings, seed)
        if evaluations == 0 or name in WITHOUT_EVALUATIONS:
            return searcher.ask(problem)
        return best_of(explore(problem, searcher, evaluations)).plan

    return allocation


ALLOCATIONS: dict[str, Allocation] = {name: _searched(name) for name in ("uniform", "exact", "legr", "global")}
"""The ways by name; one line adds another one."""


def allocate(how: str | Path | Mapping[str, int], problem: PruningEnv, *, evaluations: int = 0, seed: int = 0) -> Choice:
    """A plan for a problem.

    A named way keeps the problem's budgets. A plan that is given is taken as it is, as `hwflow prune --plan` takes it: it may
    have been made for another budget.

    Args:
        how: a name of `ALLOCATIONS`, a plan's file or folder, or channels by group.
        problem: groups, exact costs, budgets and, for ways that need them, the units' scores and the accuracy of plans.
        evaluations: accuracies of plans that may be measured; uniform and global measure none.
        seed: of what is drawn at random.

    Raises:
        InputError: for an unknown name, a file that holds no plan, a plan of other groups or widths, and for a way that needs
            scores where the problem has none.
    """
    check_whole("evaluations", evaluations, 10**6, 0)
    if isinstance(how, str) and how in ALLOCATIONS:
        return ALLOCATIONS[how](problem, evaluations=evaluations, seed=seed)
    if isinstance(how, Mapping):
        return _checked(how, problem)
    if isinstance(how, str) and not Path(how).exists():
        raise not_found("allocation or file of a plan", how, ALLOCATIONS)
    return _checked(plan_from_file(Path(how)), problem)


def _checked(plan: Mapping[str, int], problem: PruningEnv) -> Choice:
    """A given plan with all groups in the problem's order; a group that it does not name keeps its full width."""
    groups = {group.name: group for group in problem.costs.groups}
    for name, kept in plan.items():
        if name not in groups:
            raise not_found("group", name, groups)
        if kept not in groups[name].widths:
            allowed = ", ".join(map(str, groups[name].widths))
            raise InputError(f"the plan keeps {kept!r} channels of {name!r}; allowed: {allowed}.")
    return {name: plan.get(name, group.channels) for name, group in groups.items()}


__all__ = ["ALLOCATIONS", "Allocation", "allocate"]
