"""Methods that take a plan by an allocation and cut the network to it at once: `OneShot`, `AllocatedOneShot`, `FromScratch`.

`hwflow.compression.channels.gradual` has those that prepare the cut while the network is trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import nn

from hwflow.compression.accuracy import Proxy
from hwflow.compression.allocation import ALLOCATIONS, allocate
from hwflow.compression.channels.criteria import scores
from hwflow.compression.channels.discovery import rebuild
from hwflow.compression.channels.groups import Grouping
from hwflow.compression.channels.plan_tables import PlanTables
from hwflow.compression.channels.pruning import grouping_of, held_parts
from hwflow.compression.channels.surgery import prune_model, rank_channels
from hwflow.compression.decision import Choice
from hwflow.compression.fine_tuning import fresh_weights, scratch_recipe
from hwflow.compression.folder import PLAN
from hwflow.compression.method import Compressed, Method, Task
from hwflow.compression.plan_costs import PlanTotals
from hwflow.compression.plan_files import plan_to_data, refuse_other_network
from hwflow.compression.search.environment import PruningEnv
from hwflow.compression.search.plan_space import PlanSpace, unconfirmed
from hwflow.errors import HwflowError

_FREE = "uniform"  # the allocation that needs no weights


class Allocated:
    """The groups of a task's network, and the plan that an allocation gives.

    Attributes:
        costs: of plans, at the level at which budgets hold.

    Raises:
        InputError: where nothing can be pruned, a budget cannot be reached, or a plan that was given does not fit.
    """

    def __init__(self, task: Task, how: str | None = None) -> None:
        self.grouping: Grouping = grouping_of(task)
        self._tables = PlanTables(self.grouping, task.costs)
        self.costs: PlanTotals = self._tables.at(task.settings.levels[-1])
        self._how: str | Mapping[str, int] = task.settings.allocate if how is None else how
        if task.plan is not None:
            self._how = task.plan if isinstance(task.plan, Mapping) else str(task.plan)
        self.seconds = {f"tables at {level}": seconds for level, seconds in self._tables.seconds.items()}
        self.evaluated = 0
        named = isinstance(self._how, str) and self._how in ALLOCATIONS
        if isinstance(self._how, str) and not named and Path(self._how).exists():
            refuse_other_network(Path(self._how), self.grouping.network.name, [group.name for group in self.grouping.groups])
        problem = PruningEnv(self.costs, _unmeasured, task.budgets, metric=task.settings.metric)
        self.likely: Choice = allocate(_FREE if named else self._how, problem)
        """The plan where it is given or uniform; else a uniform one, by which schedules can be checked."""

    def plan(self, task: Task) -> Choice:
        """The plan, for the trained network; it is written to the folder."""
        asked, fit_on = task.settings, task.data.hold_out()[0]
        named = isinstance(self._how, str) and self._how in ALLOCATIONS
        if not isinstance(self._how, str) or not named or self._how == _FREE:
            plan = self.likely
        else:
            proxy = Proxy(
                task.model,
                self.grouping,
                fit_on,
                held_parts(task)[0],
                asked.proxy,
                task.recipe,
                task.data.task,
                task.store,
                criterion=asked.criterion,
            )
            tried = 0

            def measured(plan: Choice) -> float:
                nonlocal tried
                tried += 1
                task.tell(f"allocating by {self._how}", tried, asked.episodes)
                return proxy(plan)

            found = scores(task.model, self.grouping, asked.criterion, fit_on, seed=task.seed)
            problem = PruningEnv(self.costs, measured, task.budgets, metric=asked.metric, scores=found)
            plan = allocate(self._how, problem, evaluations=asked.episodes, seed=task.seed)
            self.evaluated = tried
        if named and not PlanSpace(self.costs, task.budgets).confirmed(self.grouping.widths_of(plan)):
            raise HwflowError(unconfirmed(task.budgets))
        task.folder.write(PLAN, plan_to_data(self.grouping, plan))  # before trainings, which can take hours
        return plan


class OneShot(Method):
    """The least important channels are cut at once, by `criterion`, and the network is fine-tuned (Li et al., ICLR 2017)."""

    name = "l1"
    about = "cuts the channels of least magnitude at once, then fine-tunes"
    source = "Li et al., ICLR 2017, arXiv:1608.08710"
    takes_plan = True
    allocation: str | None = None
    """A name of `ALLOCATIONS` where it is fixed."""

    def prepare(self, task: Task) -> None:
        """Find the groups, cost their widths, and refuse budgets that no plan reaches and plans that do not fit."""
        self._allocated = Allocated(task, self.allocation)

    def compress(self, task: Task) -> Compressed:
        """The network pruned to the plan, fine-tuned."""
        grouping, plan = self._allocated.grouping, self._allocated.plan(task)
        fit_on, _ = task.data.hold_out()
        order = rank_channels(task.model, grouping, task.settings.criterion, fit_on, seed=task.seed)
        small = prune_model(task.model, grouping, plan, ranking=order)
        tuning = task.fine_tune(small)
        return Compressed(
            small,
            plan,
            grouping=grouping,
            tuning=tuning,
            seconds=self._allocated.seconds,
            evaluated=self._allocated.evaluated,
        )

    def rebuild(self, model: nn.Module, input_shape: tuple[int, ...], plan: Mapping[str, int]) -> nn.Module:
        """The uncompressed network cut to the plan."""
        return rebuild(model, input_shape, plan)


class AllocatedOneShot(OneShot):
    """`OneShot` with the plan of one allocation, whose name it has."""

    takes_plan = False

    def __init__(self, allocation: str) -> None:
        self.name = self.allocation = allocation
        self.about, self.source = _ALLOCATED.get(allocation, (f"l1 with the channels that {allocation} allocates", ""))


_ALLOCATED = {
    "exact": ("l1 with the plan that loses least, of all within the budgets, by a sum over groups", "hwflow"),
    "legr": ("l1 with a ranking of all channels that is learned once", "Chin et al., CVPR 2020, arXiv:1904.12368"),
    "global": ("l1 with one threshold for all groups", "Liu et al., ICCV 2017, arXiv:1708.06519"),
}


class FromScratch(OneShot):
    """The small network of the plan with fresh weights, trained as if it had never been larger (Liu et al., ICLR 2019)."""

    name = "scratch"
    about = "trains the small network of the plan from fresh weights"
    source = "Liu et al., ICLR 2019, arXiv:1810.05270"
    ranks = False

    def compress(self, task: Task) -> Compressed:
        """The small network, trained with the recipe of `hwflow train` for as many epochs as the fine-tuning has."""
        grouping, plan = self._allocated.grouping, self._allocated.plan(task)
        small = prune_model(task.model, grouping, plan)
        fresh_weights(small, task.seed)
        tuning = task.fine_tune(small, recipe=scratch_recipe(task.data, small, task.recipe))
        return Compressed(small, plan, grouping=grouping, tuning=tuning, seconds=self._allocated.seconds)


def _unmeasured(plan: Choice) -> float:
    return 0.0


__all__ = ["Allocated", "AllocatedOneShot", "FromScratch", "OneShot"]
