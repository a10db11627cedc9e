"""`search`: a gated network is trained, and the plan that its thresholds leave is moved into the budgets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

from torch import nn

from hwflow.compression.channels.groups import Widths
from hwflow.compression.decision import Choice
from hwflow.compression.folder import Log
from hwflow.compression.method import Task
from hwflow.compression.search.plan_space import PlanSpace
from hwflow.compression.search.refinement import shares_of
from hwflow.compression.single_path.cost_ascent import CostAscent
from hwflow.compression.single_path.gates import GatedDecision, GatedNetwork
from hwflow.compression.single_path.options import SinglePathSettings
from hwflow.compression.single_path.selection import selected
from hwflow.errors import InputError
from hwflow.text import percent
from hwflow.training.loop import Epoch, History
from hwflow.training.recipe import ParameterGroup, Recipe


@dataclass(frozen=True)
class Found:
    """What a search leaves.

    Attributes:
        network: gated, trained.
        widths: the plan within the budgets.
        open: the plan that the thresholds left, before it was moved into the budgets.
        history: the training.
        shares: after each of its epochs what was open, as shares of the whole network's costs.
        strengths: and lambda.
    """

    network: GatedNetwork
    widths: Widths
    open: Widths
    history: History
    shares: tuple[dict[str, float], ...]
    strengths: tuple[dict[str, float], ...]

    def summary(self, space: PlanSpace) -> dict[str, str]:
        """For a report, by heading."""
        left, moved = (shares_of(space.costs, space.costs.plan(widths)) for widths in (self.open, self.widths))
        shares = [f"{percent(left[name])} of the {name}, {percent(moved[name])} once moved" for name in space.metrics]
        last = ", ".join(f"{value:.3g} for {name}" for name, value in self.strengths[-1].items())
        if not space.budgets:
            shares = [f"{percent(left[name])} of the {name}" for name in space.metrics]
        return {
            "Thresholds": f"they leave {' and '.join(shares)}{' to the budgets' if space.budgets else ''}",
            "Strength of the cost": f"lambda {last} after {len(self.history.epochs)} epochs",
        }


def refuse(task: Task) -> None:
    """What no such search can do.

    Raises:
        InputError: for patience.
    """
    if task.recipe.patience is not None:
        raise InputError(
            f"patience is {task.recipe.patience}, but {task.settings.method} changes what is left of the network until the end "
            "of the search: an earlier epoch is another network, not a better one. Leave patience out."
        )


def search(
    task: Task,
    model: nn.Module,
    decisions: Sequence[GatedDecision],
    space: PlanSpace,
    recipe: Recipe,
    settled: Callable[[Widths], Widths] = lambda widths: widths,
) -> Found:
    """Train a network's gates and weights, at a constant learning rate; an interrupted run continues it.

    Args:
        settled: the same network, with the first option for what is not looked at.
    """
    asked = task.settings.single_path
    train, _ = task.data.hold_out()
    group = ParameterGroup("thresholds", _rate_factor(asked, recipe, len(train)))
    recipe = replace(recipe, distillation=0.0, schedule="step", milestones=(), groups=(*recipe.groups, group))
    network = GatedNetwork(model, decisions)
    limits = dict(zip(space.metrics, map(float, space.limits), strict=True))
    hook = CostAscent(space.costs, limits, bool(space.budgets), asked, recipe.epochs)
    history = task.train(network, f"searching with {task.settings.method}", hooks=[hook], recipe=recipe)
    shares = tuple(shares_of(space.costs, plan) for plan in hook.left)
    widths = selected(space, hook.widths, hook.margins(), settled)
    return Found(network, widths, hook.widths, history, shares, tuple(hook.strengths))


def _rate_factor(asked: SinglePathSettings, recipe: Recipe, samples: int) -> float:
    """The thresholds' learning rate as a factor on that of the weights, which stays the same throughout the search."""
    steps = recipe.epochs * (samples // min(recipe.batch_size, samples))
    counted = max(1, steps - int(asked.warmup_share * steps))
    travel = recipe.learning_rate * (1 / (1 - recipe.momentum) if recipe.optimizer == "sgd" else 1.0)
    return asked.threshold_rate / (counted * travel)


def write_log(task: Task, found: Found, tuning: History | None, space: PlanSpace, plan: Choice) -> None:
    """`log.jsonl`: accuracy, cost and lambda, epoch by epoch."""
    log = Log(task.folder.path / "log.jsonl")
    last = shares_of(space.costs, plan)
    epochs: list[tuple[str, Epoch, dict[str, float], dict[str, float]]] = [
        ("preparation", epoch, shares, strengths)
        for epoch, shares, strengths in zip(found.history.epochs, found.shares, found.strengths, strict=True)
    ]
    epochs += [("fine-tuning", epoch, last, {}) for epoch in (tuning.epochs if tuning else ())]
    for number, (stage, epoch, shares, strengths) in enumerate(epochs, start=1):
        log.add({"stage": stage, **asdict(epoch), "number": number, "shares": shares, "strengths": strengths})
    log.close()


__all__ = ["Found", "refuse", "search", "write_log"]
