"""`ChannelThresholds`: how many channels each group keeps is decided by trained thresholds, as Single-Path decides blocks.

The channels of a group are ranked once, by `criterion`. What a width has more than the one below it in this order is a block,
with a gate on its filters: a differentiable rival of the agent, on the same groups, widths and costs. This use is ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import nn

from hwflow.compression.channels.discovery import rebuild
from hwflow.compression.channels.groups import Group
from hwflow.compression.channels.plan_tables import PlanTables
from hwflow.compression.channels.pruning import grouping_of
from hwflow.compression.channels.surgery import Ranking, prune_model, rank_channels, ranked
from hwflow.compression.channels.units import ChannelUnits, Part
from hwflow.compression.folder import PLAN
from hwflow.compression.method import Compressed, Method, Task
from hwflow.compression.plan_files import plan_to_data
from hwflow.compression.search.plan_space import PlanSpace, unconfirmed
from hwflow.compression.single_path.gates import Gate, GatedDecision, Region
from hwflow.compression.single_path.threshold_search import refuse, search, write_log
from hwflow.errors import HwflowError
from hwflow.network.from_torch import unwrapped
from hwflow.training.score import reestimate_batchnorm


class ChannelThresholds(Method):
    """A share of the epochs trains thresholds on blocks of channels, the others fine-tune the network that is cut by them."""

    name = "thresholds"
    about = "decides by trained thresholds how many channels each group keeps, under a differentiable cost, then fine-tunes"
    source = "hwflow, after Stamoulis et al., arXiv:1904.02877"
    follows_allocation = False

    def prepare(self, task: Task) -> None:
        """Find the groups, and refuse budgets that no plan reaches."""
        refuse(task)
        self._grouping = grouping_of(task)
        tables = PlanTables(self._grouping, task.costs)
        costs = tables.at(task.settings.levels[-1])
        self._space = PlanSpace(costs, task.budgets, metric=task.settings.metric)
        self._seconds = {f"tables at {level}": seconds for level, seconds in tables.seconds.items()}

    def compress(self, task: Task) -> Compressed:
        """The network cut by its thresholds, fine-tuned."""
        grouping, space, recipe = self._grouping, self._space, task.recipe
        train, _ = task.data.hold_out()
        ranking = rank_channels(task.model, grouping, task.settings.criterion, train, seed=task.seed)
        first = min(recipe.epochs, max(1, round(task.settings.gradual.preparation * recipe.epochs)))
        decisions = tuple(gated_group(task.model, group, ranking) for group in grouping.groups)
        found = search(task, task.model, decisions, space, replace(recipe, epochs=first))
        if not space.confirmed(found.widths):
            raise HwflowError(unconfirmed(task.budgets))
        plan = space.costs.plan(found.widths)
        task.folder.write(PLAN, plan_to_data(grouping, plan))
        small = prune_model(found.network.inner, grouping, plan, ranking=ranking)
        tuning = None
        if recipe.epochs > first:
            tuning = task.fine_tune(small, recipe=replace(recipe, epochs=recipe.epochs - first))
        else:
            reestimate_batchnorm(small, train, seed=recipe.seed, device=recipe.device, precision=recipe.precision)
        write_log(task, found, tuning, space, plan)
        return Compressed(
            small,
            plan,
            grouping=grouping,
            tuning=tuning,
            seconds=self._seconds,
            summary=found.summary(space),
            trained=len(found.history.epochs) * len(train),
        )

    def rebuild(self, model: nn.Module, input_shape: tuple[int, ...], plan: Mapping[str, int]) -> nn.Module:
        """The uncompressed network cut to the plan."""
        return rebuild(model, input_shape, plan)


def gated_group(model: nn.Module, group: Group, ranking: Ranking) -> GatedDecision:
    """The gates of a group: of the channels between two widths that follow one another, the most important first.

    A gate looks at the filters of its channels, and multiplies their filters, biases, and scale and shift of normalizations.
    """
    order = ranked(group, ranking)
    gates = []
    for less, more in zip(group.widths, group.widths[1:], strict=False):
        units = order[less // group.unit : more // group.unit]
        parts = (tuple(_regions(model, group, units, part)) for part in ("filters", "outputs"))
        gates.append(Gate(*parts))
    return GatedDecision(group, tuple(gates))


def _regions(model: nn.Module, group: Group, units: Sequence[int], part: Part) -> Iterator[Region]:
    names = {id(parameter): name for name, parameter in unwrapped(model).named_parameters()}
    chosen = torch.zeros(group.units)
    chosen[list(units)] = 1
    for parameter, inside in ChannelUnits(model, group, part).spread(chosen):
        yield Region(names[id(parameter)], inside)


__all__ = ["ChannelThresholds", "gated_group"]
