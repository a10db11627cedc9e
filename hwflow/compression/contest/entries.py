"""`Entry`: one run of a contest, and the order in which they run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hwflow.compression.budget import Budget, check_budgets
from hwflow.compression.registry import method_name, method_named
from hwflow.compression.settings import Settings
from hwflow.errors import InputError
from hwflow.training.recipe import Recipe

REFERENCE = "l1"
"""What differences are taken to: the same share of every group, cut at once, and fine-tuned."""
SEARCH, SCRATCH = "channels", "scratch"
ALWAYS = (REFERENCE, SEARCH, SCRATCH)
"""In every contest, besides the unpruned network, and with uniform widths where they do not search."""


@dataclass(frozen=True)
class Entry:
    """One run.

    Attributes:
        name: of the method, with its allocation where that is not uniform pruning.
        budgets: hold together.
        folder: in the contest's folder.
    """

    name: str
    method: str
    allocate: str
    seed: int
    budgets: tuple[Budget, ...]

    @property
    def budget(self) -> str:
        """The budgets in a line."""
        return ",".join(map(str, self.budgets))

    @property
    def folder(self) -> str:
        """Below the contest's folder."""
        return f"runs/{self.budget}/{re.sub(r'[^A-Za-z0-9_+.-]', '-', self.name)}-seed{self.seed}"

    def settings(self, asked: Settings, scratch: Recipe | None) -> Settings:
        """The contest's settings for this run; `scratch` is the recipe of the small network that starts from fresh weights."""
        own = replace(asked, method=self.method, allocate=self.allocate, seeds=(self.seed,), budgets=self.budgets)
        if self.method == SCRATCH:  # which is always in, and has no channels to rank
            own = replace(own, criterion=Settings.criterion)
        if self.method != SEARCH:  # the agent's policy
            own = replace(own, policy=None)
        tuning = scratch if self.method == SCRATCH else asked.tuning
        if tuning is not None:
            own = replace(own, tuning=replace(tuning, seed=self.seed))
        return own


def entries(
    methods: Sequence[str], allocate: str, seeds: Sequence[int], budgets: Sequence[tuple[Budget, ...]]
) -> tuple[Entry, ...]:
    """All runs: budget by budget, seed by seed, and the methods of a seed one after another, those that are always in first.

    Raises:
        InputError: for an unknown method, or anything that is named twice.
    """
    methods = [method_name(name) for name in methods]
    for what, given in (("method", methods), ("seed", seeds), ("budget", [",".join(map(str, b)) for b in budgets])):
        if not given:
            raise InputError(f"a contest needs at least one {what}.")
        for one in given:
            if list(given).count(one) > 1:
                raise InputError(f"the {what} {one} is named twice; name each once.")
    for together in budgets:
        check_budgets(together)
        if not together:
            raise InputError("a contest needs budgets: methods are compared at the same cost.")
    own = [(name, "uniform" if name in (SEARCH, SCRATCH) or _allocates(name) else allocate) for name in methods]
    kinds = dict.fromkeys([*((name, "uniform") for name in ALWAYS), *own])
    return tuple(
        Entry(_name(method, how), method, how, seed, together)
        for together in budgets
        for seed in seeds
        for method, how in kinds
    )


def _allocates(name: str) -> bool:
    """Whether a method goes by no other allocation than its own."""
    method = method_named(name)
    return getattr(method, "allocation", None) is not None or not method.follows_allocation


def _name(method: str, how: str) -> str:
    if how == "uniform":
        return method
    return f"{method}+{how}" if re.fullmatch(r"\w+", how) else f"{method}+plan"


__all__ = ["ALWAYS", "REFERENCE", "SCRATCH", "Entry", "entries"]
