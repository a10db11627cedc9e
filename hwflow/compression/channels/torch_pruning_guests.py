"""Pruners of torch-pruning as methods: guests, with its own importances, penalties and surgery (Fang et al., CVPR 2023).

The share of channels that torch-pruning removes is bisected until the network keeps the budgets. Residual streams are left
whole: torch-pruning does not follow the zeros that CIFAR's ResNets pad their shortcuts with, and what it cuts there does not
run. Penalties are trained as the gradual methods are, for the first share of the epochs.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import nn

from hwflow.compression.channels.discovery import rebuild
from hwflow.compression.channels.planned import Allocated
from hwflow.compression.decision import Choice
from hwflow.compression.folder import PLAN
from hwflow.compression.method import Compressed, Method, Task
from hwflow.compression.plan_files import plan_to_data
from hwflow.compression.search.environment import PruningEnv
from hwflow.errors import InputError
from hwflow.network.replica import replica
from hwflow.optional import needed
from hwflow.training.hooks import TrainingHook

Guest = Literal["tp-group-norm", "tp-lamp", "tp-growing"]

_PARTS, _STRIDE = 100, 10  # shares of channels that are tried: the first tenth that fits, then hundredths below it
_PENALTY, _GROWTH, _EVERY = 5e-4, 1e-4, 10  # of the norm; of the growing one, every so many steps
_ABOUT: dict[Guest, str] = {
    "tp-group-norm": "torch-pruning's GroupNormPruner: a penalty on groups of coupled weights, then a cut by their norm",
    "tp-lamp": "torch-pruning's LAMP importance over all layers, cut at once",
    "tp-growing": "torch-pruning's GrowingRegPruner: a penalty that grows, then a cut by norm",
}


class TorchPruningGuest(Method):
    """One of torch-pruning's pruners, at the share of channels with which the budgets hold."""

    follows_allocation = False
    ranks = False

    def __init__(self, name: Guest) -> None:
        self.name, self.about = name, _ABOUT[name]
        self.source = "https://github.com/VainF/Torch-Pruning"

    def prepare(self, task: Task) -> None:
        """Refuse budgets that cannot be reached without the residual streams."""
        asked = replace(task.settings, streams=False, allocate="uniform")
        self._allocated = Allocated(replace(task, settings=asked))
        self._problem = PruningEnv(self._allocated.costs, lambda _: 0.0, task.budgets, metric=asked.metric)
        if task.recipe.patience is not None:
            raise InputError(f"patience is {task.recipe.patience}; {self.name} trains to the end. Leave patience out.")
        if self.name != "tp-lamp":  # what it keeps of each layer follows from weights, which may not be there yet
            self._cut(task, task.model)

    def compress(self, task: Task) -> Compressed:
        """Trained with the penalty where there is one, cut, and fine-tuned."""
        grouping, recipe, model = self._allocated.grouping, task.recipe, replica(task.model)
        first, trained = 0, 0
        if self.name != "tp-lamp":
            first = min(recipe.epochs, max(1, round(task.settings.gradual.preparation * recipe.epochs)))
            hook = PenaltyHook(self.name, tuple(task.input_shape), self._prunable)
            history = task.train(model, f"training with {self.name}", hooks=[hook], recipe=replace(recipe, epochs=first))
            trained = len(history.epochs) * len(task.data.hold_out()[0])
        small, plan = self._cut(task, model)
        task.folder.write(PLAN, plan_to_data(grouping, plan))
        tuning = task.fine_tune(small, recipe=replace(recipe, epochs=recipe.epochs - first)) if recipe.epochs > first else None
        return Compressed(small, plan, grouping=grouping, tuning=tuning, seconds=self._allocated.seconds, trained=trained)

    def rebuild(self, model: nn.Module, input_shape: tuple[int, ...], plan: Mapping[str, int]) -> nn.Module:
        """The uncompressed network cut to the plan."""
        return rebuild(model, input_shape, plan)

    @property
    def _prunable(self) -> frozenset[str]:
        return frozenset(name for group in self._allocated.grouping.groups for name in group.producers)

    def _cut(self, task: Task, model: nn.Module) -> tuple[nn.Module, Choice]:
        """The largest network that keeps the budgets, by bisection of the share of channels that torch-pruning removes.

        Shares are tried from below, since torch-pruning leaves a layer whole of which it would have to remove everything.
        """

        def cut(parts: int) -> tuple[nn.Module, Choice]:
            small = replica(model)
            pruner = _pruner(self.name, small, tuple(task.input_shape), self._prunable, task, parts / _PARTS)
            pruner.step()
            widths = {group.name: _width(small.get_submodule(group.producers[0])) for group in self._allocated.grouping.groups}
            return small, widths

        for high in range(_STRIDE, _PARTS, _STRIDE):
            best = cut(high)
            if self._problem.affordable(best[1]):
                break
        else:
            raise InputError(
                f"{self.name} cannot reach the budget {', '.join(map(str, task.budgets))}: torch-pruning leaves the residual "
                "streams whole, skips layers of which its rounding would leave nothing, and with the least channels elsewhere "
                "the network still costs more. Raise the budget, or leave the method out."
            )
        low = high - _STRIDE
        while high - low > 1:
            middle = (low + high) // 2
            found = cut(middle)
            if self._problem.affordable(found[1]):
                best, high = found, middle
            else:
                low = middle
        return best


@dataclass
class PenaltyHook(TrainingHook):
    """Adds the gradient of torch-pruning's penalty.

    Attributes:
        prunable: modules whose outputs may be pruned.
    """

    guest: Guest
    input_shape: tuple[int, ...]
    prunable: frozenset[str] = field(repr=False)

    def start(self, model: nn.Module, steps: int) -> None:
        """Build torch-pruning's groups."""
        self._model = model
        was = model.training
        self._pruner = _pruner(self.guest, model, self.input_shape, self.prunable, None, 0.5)
        model.train(was)

    def before_step(self, step: int) -> None:
        """See the class."""
        if self.guest == "tp-growing" and step and step % _EVERY == 0:
            self._pruner.update_reg()
        self._pruner.regularize(self._model)

    def state_dict(self) -> dict[str, Any]:
        """The factors of the growing penalty."""
        if self.guest != "tp-growing":
            return {}
        return {"factors": [self._pruner.group_reg[group].clone() for group in self._pruner._groups]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `TrainingHook`."""
        for group, value in zip(self._pruner._groups, state.get("factors", ()), strict=False):
            self._pruner.group_reg[group] = value


def _pruner(
    guest: Guest, model: nn.Module, input_shape: tuple[int, ...], prunable: frozenset[str], task: Task | None, share: float
) -> Any:
    """torch-pruning's pruner of a model; it prunes the model itself."""
    tp = needed("torch_pruning", f"the method {guest}")
    layers = (nn.modules.conv._ConvNd, nn.Linear)
    ignored = [m for name, m in model.named_modules() if isinstance(m, layers) and name not in prunable]
    more: dict[str, Any] = {"pruning_ratio": share, "ignored_layers": ignored}
    if task is not None:
        more |= {"round_to": task.settings.round_to, "max_pruning_ratio": 1 - task.settings.floor_ratio}
    example = torch.zeros(2, *input_shape[1:], device=next(model.parameters()).device)
    with warnings.catch_warnings(), torch.enable_grad():
        warnings.simplefilter("ignore")
        if guest == "tp-lamp":
            importance = tp.importance.LAMPImportance()
            return tp.pruner.BasePruner(model, example, importance=importance, global_pruning=True, **more)
        importance = tp.importance.GroupMagnitudeImportance()
        if guest == "tp-growing":
            return tp.pruner.GrowingRegPruner(model, example, importance=importance, reg=_PENALTY, delta_reg=_GROWTH, **more)
        return tp.pruner.GroupNormPruner(model, example, importance=importance, reg=_PENALTY, **more)


def _width(module: nn.Module) -> int:
    return int(module.out_features if isinstance(module, nn.Linear) else module.out_channels)


__all__ = ["Guest", "PenaltyHook", "TorchPruningGuest"]
