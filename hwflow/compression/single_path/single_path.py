"""`SinglePath`: kernels, expansions and blocks are decided by trained thresholds; the network they leave is trained anew.

D. Stamoulis et al., "Single-Path NAS", ECML PKDD 2019, arXiv:1904.02877. See `gates` for the decisions, `cost_ascent` for the
cost, `selection` for what is ours at the end of the search. The whole network is the largest of the search; its trained weights
are where the search begins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from torch import nn

from hwflow.arrays import Floats
from hwflow.compression.channels.groups import Widths
from hwflow.compression.channels.plan_tables import PlanTables
from hwflow.compression.decision import Choice
from hwflow.compression.fine_tuning import fresh_weights, scratch_recipe
from hwflow.compression.folder import PLAN
from hwflow.compression.method import Compressed, Method, Task
from hwflow.compression.plan_costs import PlanTotals
from hwflow.compression.plan_files import choice_to_data, plan_from_file
from hwflow.compression.search.plan_space import PlanSpace
from hwflow.compression.single_path.block_rows import BlockRows
from hwflow.compression.single_path.blocks import chosen, find_blocks, gated
from hwflow.compression.single_path.threshold_search import refuse, search, write_log
from hwflow.errors import InputError
from hwflow.metrics import ADDITIVE, BY_NAME
from hwflow.training.recipe import default_recipe

_GENTLER = 4  # than from fresh weights: the search starts from trained ones


class BlockSpace:
    """What can be chosen of a task's network, and what choices cost.

    Attributes:
        blocks, rows: of the network.
        costs: of choices, at the level at which budgets hold.
        space: the choices that keep the budgets.

    Raises:
        InputError: for a network without blocks to search, budgets that no choice keeps (what the cheapest and the dearest
            network cost), and costs that are no sums over layers.
    """

    def __init__(self, task: Task) -> None:
        asked, level = task.settings, task.settings.levels[-1]
        self.blocks = find_blocks(task.model, task.name)
        self.rows = BlockRows(task.model, self.blocks, task.input_shape, task.name)
        if task.costs.network_table(self.rows.network, level) is not None:
            raise InputError(
                f"activations is {asked.activations!r} and operators {asked.operators!r}, and a search through blocks adds up "
                "costs of layers that do not depend on one another: use 'dram' and 'mac'."
            )
        for budget in task.budgets:
            if budget.metric not in (*ADDITIVE, "edp"):
                raise InputError(
                    f"the budget is of {budget.metric}, which a search through blocks does not follow; allowed: "
                    f"{', '.join((*ADDITIVE, 'edp'))}."
                )
        tables = PlanTables(self.rows, task.costs, activations=lambda _: _Unknown())
        tables.fill(level)
        self.costs: PlanTotals = tables.at(level)
        self.seconds = {f"tables at {name}": seconds for name, seconds in tables.seconds.items()}
        self._refuse_unreachable(task)
        self.space = PlanSpace(self.costs, task.budgets, metric=asked.metric)
        self._tell_of_order(task)

    def plan(self, widths: Widths) -> Choice:
        """A choice by name, with the first option of what a left out block does not look at."""
        return self.costs.plan(self.rows.settled(widths))

    def _refuse_unreachable(self, task: Task) -> None:
        """Say what the cheapest and the dearest network cost where no choice keeps the budgets."""
        if not task.budgets:
            return
        whole = PlanSpace(self.costs, (), metric=task.budgets[0].metric)  # an unknown metric shows here
        metrics = [budget.metric for budget in task.budgets]
        dearest = np.array([float(self.costs.metric(self.costs.totals(self.costs.full), name)) for name in metrics])
        limits = dearest * np.array([budget.share for budget in task.budgets])
        least = self.costs.least(metrics, limits, whole.cheapest)
        if all(self.costs.within([least], metrics, limits)):
            return
        totals = self.costs.totals(least)
        ranges = []
        for name, most in zip(metrics, dearest, strict=True):
            low = float(self.costs.metric(totals, name))
            ranges.append(f"{_amount(task, name, low)} ({low / most:.3g} of the whole) to {_amount(task, name, most)}")
        wanted, level = ", ".join(map(str, task.budgets)), task.settings.levels[-1]
        raise InputError(
            f"the budget {wanted} cannot be reached at {level}: of the networks that can be chosen from {task.name}, the "
            f"cheapest and the dearest cost {', '.join(ranges)}. Raise the budget, or start from a network with narrower "
            "blocks or fewer layers around them."
        )

    def _tell_of_order(self, task: Task) -> None:
        """Say where a smaller option is the dearer one, as can be true of a chip."""
        full = self.costs.full
        for place, one in enumerate(self.rows.groups):
            smaller = (*full[:place], one.options[0], *full[place + 1 :])
            for name in self.space.metrics:
                less, more = (float(self.costs.metric(self.costs.totals(widths), name)) for widths in (smaller, full))
                if less > more:
                    task.notify(
                        f"{one.name} {one.options[0]} takes more {name} than {one.options[-1]} at {task.settings.levels[-1]}: "
                        f"{_amount(task, name, less)} and {_amount(task, name, more)} of the whole network."
                    )


class SinglePath(Method):
    """A search for kernels, expansions and blocks, whose result is trained from fresh weights."""

    name = "singlepath"
    about = "searches kernels, expansions and blocks of inverted residuals by trained thresholds, and trains what is found"
    source = "Stamoulis et al., ECML PKDD 2019, arXiv:1904.02877"
    takes_plan = True
    follows_allocation = False
    ranks = False

    def prepare(self, task: Task) -> None:
        """Find the blocks, cost what can be chosen of them, and refuse budgets that no choice keeps."""
        refuse(task)
        self._blocks = BlockSpace(task)
        self._given = self._given_plan(task)

    def compress(self, task: Task) -> Compressed:
        """The network that was found, or given, trained from fresh weights."""
        blocks, network = self._blocks, self._blocks.rows.network
        found, widths = None, self._given
        if widths is None:
            recipe = default_recipe(task.data, task.model)
            recipe = replace(
                task.recipe,
                epochs=task.settings.single_path.search_epochs,
                learning_rate=recipe.learning_rate / _GENTLER,
                label_smoothing=0.0,
            )
            found = search(
                task, task.model, gated(blocks.blocks, blocks.rows.groups), blocks.space, recipe, blocks.rows.settled
            )
            widths = found.widths
        plan = blocks.plan(widths)
        task.folder.write(PLAN, choice_to_data(network, blocks.rows.groups, plan))  # before the training, which can take hours
        model = chosen(task.model, blocks.blocks, plan)
        fresh_weights(model, task.seed)
        as_given = task.settings.single_path.from_scratch
        tuning = task.fine_tune(model, recipe=task.recipe if as_given else scratch_recipe(task.data, model, task.recipe))
        if found is not None:
            write_log(task, found, tuning, blocks.space, plan)
        return Compressed(
            model,
            plan,
            blocks.rows.groups,
            tuning=tuning,
            seconds=blocks.seconds,
            summary={} if found is None else found.summary(blocks.space),
            trained=0 if found is None else len(found.history.epochs) * len(task.data.hold_out()[0]),
        )

    def rebuild(self, model: nn.Module, input_shape: tuple[int, ...], plan: Mapping[str, int]) -> nn.Module:
        """What the plan leaves of the whole network."""
        return chosen(model, find_blocks(model, type(model).__name__), plan)

    def _given_plan(self, task: Task) -> Widths | None:
        if task.plan is None:
            return None
        if task.plan == "uniform":
            raise InputError(
                "the plan uniform keeps a share of channels, and singlepath chooses kernels, expansions and blocks: give a "
                "plan.json of singlepath, or no plan."
            )
        wanted = task.plan if isinstance(task.plan, Mapping) else plan_from_file(task.plan)  # type: ignore[arg-type]
        widths = self._blocks.rows.widths_of(wanted)
        space = self._blocks.space
        if not space.fits(widths):
            totals, whole = space.costs.totals(widths), space.costs.totals(space.costs.full)
            shares = (space.costs.metric(totals, name) / space.costs.metric(whole, name) for name in space.metrics)
            reached = ", ".join(f"{name}={float(share):.4g}" for name, share in zip(space.metrics, shares, strict=True))
            raise InputError(
                f"the plan has {reached} of the whole network's, which is above the budget "
                f"{', '.join(map(str, task.budgets))}. Raise the budget, give another plan, or no budget (--budget none)."
            )
        return widths


class _Unknown:
    """Of networks whose blocks can be left out, peaks of activations are not worked out."""

    sums = None

    def peaks(self, plans: Sequence[Widths]) -> Floats:
        """NaN of each plan."""
        return np.full(len(plans), np.nan)


def _amount(task: Task, metric: str, value: float) -> str:
    """A cost with its unit, as `0.412 ms latency`."""
    known = BY_NAME[metric]
    if metric == "energy" and task.costs.accelerator is None:
        return f"{value:.4g} normalized energy"
    unit = known.heading.partition("(")[2].rstrip(")")
    return f"{value * known.factor:.4g} {unit} {known.label}".replace("  ", " ")


__all__ = ["BlockSpace", "SinglePath"]
