"""What a recipe allows, its learning rate, and what is chosen for which data."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from hwflow.datasets import load_data
from hwflow.errors import InputError
from hwflow.training import Recipe, default_recipe
from tests.training.nets import small, stripes


def test_the_learning_rate_rises_then_falls_to_nothing() -> None:
    recipe = Recipe(epochs=10, learning_rate=0.1, warmup_epochs=1)
    rates = [recipe.learning_rate_at(step, 20) for step in range(200)]
    assert rates[0] == pytest.approx(0.1 / 21)
    assert rates[:21] == sorted(rates[:21])
    assert rates[20] == max(rates) == pytest.approx(0.1)
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert rates[110] == pytest.approx(0.05)
    assert 0 < rates[-1] < 1e-4


@pytest.mark.parametrize(("epochs", "warmup"), [(1, 1.0), (1, 5.0), (2, 0.0), (1, 0.5)])
def test_short_trainings_have_a_usable_learning_rate(epochs: int, warmup: float) -> None:
    recipe = Recipe(epochs=epochs, warmup_epochs=warmup)
    for steps in (1, 3):
        rates = [recipe.learning_rate_at(step, steps) for step in range(epochs * steps)]
        assert max(rates) == pytest.approx(0.1)
        assert min(rates) > 0


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("epochs", 0, "epochs is 0; it must be a whole number of at least 1."),
        ("epochs", 1.5, "epochs is 1.5; it must be a whole number"),
        ("epochs", True, "epochs is True; it must be a whole number"),
        ("batch_size", 1, "batch_size is 1; it must be a whole number of at least 2."),
        ("learning_rate", 0, "learning_rate is 0; it must be a number above 0."),
        ("learning_rate", math.nan, "learning_rate is nan"),
        ("learning_rate", "fast", "learning_rate is 'fast'"),
        ("momentum", 1, "momentum is 1; it must be a number above 0 and below 1."),
        ("weight_decay", -1e-4, "weight_decay is -0.0001; it must be a number of at least 0."),
        ("warmup_epochs", -1, "warmup_epochs is -1"),
        ("label_smoothing", 1, "label_smoothing is 1; it must be a number of at least 0 and below 1."),
        ("distillation", 1.1, "distillation is 1.1; it must be a number of at least 0 and at most 1."),
        ("temperature", 0, "temperature is 0; it must be a number above 0."),
        ("patience", 0, "patience is 0; it must be a whole number of at least 1."),
        ("seed", -1, "seed is -1; it must be a whole number of at least 0."),
        ("precision", "int8", "precision is 'int8'; allowed: auto, float32, bfloat16."),
        ("device", "tpu", "device is 'tpu'; allowed: auto, cpu, cuda."),
    ],
)
def test_values_that_cannot_be_used_are_named(field: str, value: object, text: str) -> None:
    with pytest.raises(InputError, match="^" + text.replace(".", r"\.").replace("'", r"'")):
        Recipe(**{field: value})  # type: ignore[arg-type]


def test_auto_becomes_what_is_here() -> None:
    used = Recipe().resolved()
    assert used.device == ("cuda" if torch.cuda.is_available() else "cpu")
    assert used.precision in ("float32", "bfloat16")
    assert used.resolved() == used
    assert Recipe(precision="float32").resolved().precision == "float32"


def test_cuda_is_not_replaced_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="device is 'cuda', but PyTorch finds no CUDA device here; use 'cpu' or 'auto'"):
        Recipe(device="cuda").resolved()


def test_the_default_depends_on_the_data_and_the_network() -> None:
    digits = load_data("digits")
    assert default_recipe(digits) == Recipe(epochs=60)
    photographs = replace(digits, input_shape=(3, 224, 224))
    assert (default_recipe(photographs).epochs, default_recipe(photographs).batch_size) == (90, 256)
    scenes = replace(digits, input_shape=(3, 512, 1024), task="segmentation")
    assert (default_recipe(scenes).batch_size, default_recipe(scenes).learning_rate) == (8, 0.01)
    plain = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())
    assert default_recipe(digits, plain).learning_rate == pytest.approx(0.01)
    assert default_recipe(stripes(), small()).learning_rate == pytest.approx(0.1)
