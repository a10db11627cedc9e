"""Optimizers of a recipe: groups of parameters with their weight decay and learning-rate factors."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from hwflow.errors import InputError
from hwflow.training.recipe import ParameterGroup, Recipe


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Gradient descent with Nesterov momentum, or Adam (Kingma and Ba 2015, arXiv:1412.6980) with the recipe's momentum as the
    decay of its first moment.

    Each of its groups has a `learning_rate_factor`.

    Raises:
        InputError: where there is nothing to learn, or a group of the recipe matches no parameter.
    """
    groups = _groups(model, recipe)
    if recipe.optimizer == "adam":
        return torch.optim.Adam(groups, lr=recipe.learning_rate, betas=(recipe.momentum, 0.999))
    return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=recipe.momentum, nesterov=True)


def _groups(model: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Matrices and kernels decay; biases, and scale and shift of normalisations, do not. A parameter belongs to the first group
    of the recipe that names it."""
    learnt = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not learnt:
        raise InputError("the network has no parameter that can be learnt.")
    found: list[dict[str, Any]] = []
    for group in recipe.groups:
        own = [name for name in learnt if fnmatchcase(name, group.pattern)]
        if not own:
            raise InputError(
                f"the recipe's group {group.pattern!r} names no parameter that can be learnt; there are, for instance, "
                f"{', '.join(list(learnt)[:3])}."
            )
        found += _decaying([learnt.pop(name) for name in own], recipe, group)
    return found + _decaying(list(learnt.values()), recipe, ParameterGroup("*"))


def _decaying(parameters: list[nn.Parameter], recipe: Recipe, group: ParameterGroup) -> list[dict[str, Any]]:
    decay = recipe.weight_decay if group.weight_decay is None else group.weight_decay
    halves = ([p for p in parameters if p.ndim > 1], decay), ([p for p in parameters if p.ndim <= 1], 0.0)
    return [
        {"params": half, "weight_decay": value, "learning_rate_factor": group.learning_rate_factor} for half, value in halves
    ]


__all__ = ["make_optimizer"]
