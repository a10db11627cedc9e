"""Optimizers, parameter groups and learning-rate schedules of a recipe."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest
import torch
from torch import nn

from hwflow.errors import InputError
from hwflow.training import ParameterGroup, Recipe
from hwflow.training.optimizer import make_optimizer


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 2))


def test_matrices_decay_and_others_do_not() -> None:
    optimizer = make_optimizer(network(), Recipe(weight_decay=0.01))
    assert isinstance(optimizer, torch.optim.SGD)
    assert [(len(g["params"]), g["weight_decay"]) for g in optimizer.param_groups] == [(2, 0.01), (4, 0.0)]
    assert all(g["nesterov"] and g["momentum"] == 0.9 for g in optimizer.param_groups)


def test_adam_takes_the_momentum_as_its_first_decay() -> None:
    optimizer = make_optimizer(network(), Recipe(optimizer="adam", momentum=0.8))
    assert isinstance(optimizer, torch.optim.Adam)
    assert optimizer.param_groups[0]["betas"] == (0.8, 0.999)


def test_groups_have_rates_and_decays_of_their_own() -> None:
    groups = (ParameterGroup("3.*", learning_rate_factor=10.0, weight_decay=0.5), ParameterGroup("*.weight", 0.1))
    found = make_optimizer(network(), Recipe(groups=groups, weight_decay=0.01)).param_groups
    assert [(len(g["params"]), g["learning_rate_factor"], g["weight_decay"]) for g in found] == [
        (1, 10.0, 0.5),
        (1, 10.0, 0.0),
        (1, 0.1, 0.01),
        (1, 0.1, 0.0),
        (0, 1.0, 0.01),
        (2, 1.0, 0.0),
    ]
    assert sum(len(g["params"]) for g in found) == len(list(network().parameters()))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"groups": (ParameterGroup("tresholds.*"),)}, r"the recipe's group 'tresholds\.\*' names no parameter"),
        ({"groups": (ParameterGroup("*"), ParameterGroup("*"))}, "the recipe's group '\\*' names no parameter"),
    ],
)
def test_a_group_that_names_nothing_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_optimizer(network(), replace(Recipe(), **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer": "sdg"}, "optimizer is 'sdg'; allowed: sgd, adam"),
        ({"schedule": "steps"}, "schedule is 'steps'; allowed: cosine, step"),
        ({"milestones": (0.75, 0.5)}, "milestones is"),
        ({"milestones": (0.5, 1.0)}, r"a milestone is 1\.0"),
        ({"step_factor": 0}, "step_factor is 0"),
        ({"groups": ({"pattern": ""},)}, "a group's pattern is ''"),
        ({"groups": ({"pattern": "*", "learning_rate_factor": -1},)}, "learning_rate_factor is -1"),
    ],
)
def test_what_cannot_be_used_is_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Recipe(**changes)  # type: ignore[arg-type]


def test_steps_fall_at_their_shares() -> None:
    recipe = Recipe(epochs=8, learning_rate=1.0, warmup_epochs=0, schedule="step", milestones=(0.5, 0.75), step_factor=0.1)
    rates = [recipe.learning_rate_at(step, 5) for step in range(40)]
    assert rates == pytest.approx([1.0] * 20 + [0.1] * 10 + [0.01] * 10)


def test_a_recipe_comes_back_from_json() -> None:
    recipe = Recipe(schedule="step", milestones=(0.3,), groups=(ParameterGroup("a.*", 2.0),))
    assert Recipe(**json.loads(json.dumps(asdict(recipe)))) == recipe
