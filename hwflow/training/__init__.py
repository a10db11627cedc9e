"""Training, fine-tuning and evaluation of networks, on the CPU and on CUDA.

Raises:
    MissingDependency: where it is imported and torch is not installed.
"""

from __future__ import annotations

from hwflow.optional import needed

needed("torch", "training")

from hwflow.training.hooks import Batch, Distillation, TrainingHook  # noqa: E402
from hwflow.training.loop import Diverged, Epoch, History, Progress, fit  # noqa: E402
from hwflow.training.recipe import ParameterGroup, Recipe, default_recipe  # noqa: E402
from hwflow.training.runs import train  # noqa: E402
from hwflow.training.score import Score, reestimate_batchnorm, score  # noqa: E402
from hwflow.training.weights import load_weights, save_weights  # noqa: E402

__all__ = [
    "Batch",
    "Distillation",
    "Diverged",
    "Epoch",
    "History",
    "ParameterGroup",
    "Progress",
    "Recipe",
    "Score",
    "TrainingHook",
    "default_recipe",
    "fit",
    "load_weights",
    "reestimate_batchnorm",
    "save_weights",
    "score",
    "train",
]
