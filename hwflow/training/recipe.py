"""`Recipe`: the hyperparameters of a training run, with device and precision resolved for this machine."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Literal, get_args

import torch
from torch import nn

from hwflow.datasets import Data
from hwflow.errors import InputError, is_number

Precision = Literal["auto", "float32", "bfloat16"]
Device = Literal["auto", "cpu", "cuda"]
Optimizer = Literal["sgd", "adam"]
LearningRate = Literal["cosine", "step"]

_LARGE_IMAGE = 128
_MANY_SAMPLES = 10_000


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that are learnt in their own way.

    Raises:
        InputError: naming the field whose value cannot be used.
    """

    pattern: str
    """Their names, with the wildcards of a shell: `thresholds.*`."""
    learning_rate_factor: float = 1.0
    """Times the recipe's learning rate."""
    weight_decay: float | None = None
    """Of matrices and kernels among them; None takes the recipe's."""

    def __post_init__(self) -> None:
        if not isinstance(self.pattern, str) or not self.pattern:
            raise InputError(f"a group's pattern is {self.pattern!r}; it must be a text such as 'classifier.*'.")
        _check_number("learning_rate_factor", self.learning_rate_factor, 0, math.inf, False)
        if self.weight_decay is not None:
            _check_number("weight_decay", self.weight_decay, 0, math.inf, False)


@dataclass(frozen=True)
class Recipe:
    """Gradient descent, by default with Nesterov momentum; the learning rate rises linearly, then falls as a cosine to zero.

    Raises:
        InputError: naming the field whose value cannot be used.
    """

    epochs: int = 30
    """Passes over the training samples."""
    batch_size: int = 128
    """Samples in a step."""
    optimizer: Optimizer = "sgd"
    """sgd has Nesterov momentum."""
    learning_rate: float = 0.1
    """The highest, right after the warm-up."""
    momentum: float = 0.9
    """Of sgd; with adam, the decay of the first moment."""
    schedule: LearningRate = "cosine"
    """How the learning rate falls after the warm-up: as a cosine to zero, or in steps."""
    milestones: tuple[float, ...] = (0.5, 0.75)
    """With steps: after which shares of all steps the learning rate falls (He et al. 2015, section 4.2)."""
    step_factor: float = 0.1
    """With steps: by what it is multiplied there."""
    groups: tuple[ParameterGroup, ...] = ()
    """Parameters with learning rates or a weight decay of their own."""
    weight_decay: float = 5e-4
    """Of convolutions' and linear layers' weights; biases and normalisations do not decay."""
    warmup_epochs: float = 1.0
    """How long the learning rate rises."""
    label_smoothing: float = 0.0
    """What the right class gives up to the others."""
    distillation: float = 0.0
    """The teacher's weight in the loss, 0 to 1; the labels have the rest."""
    temperature: float = 4.0
    """Divides both networks' logits before they are compared."""
    patience: int | None = None
    """Stop after so many epochs without a better held-out accuracy, and keep the best; None trains to the end."""
    precision: Precision = "auto"
    """Of activations: auto is bfloat16 where the device computes in it natively. Weights are always float32."""
    device: Device = "auto"
    """auto is CUDA where there is any."""
    seed: int = 0
    """Of the order of samples, their augmentation and dropout."""

    def __post_init__(self) -> None:
        ranges: dict[str, tuple[float, float, bool]] = {  # least, most, whole
            "epochs": (1, math.inf, True),
            "batch_size": (2, math.inf, True),
            "learning_rate": (1e-12, math.inf, False),
            "momentum": (1e-12, 1 - 1e-12, False),
            "weight_decay": (0, math.inf, False),
            "warmup_epochs": (0, math.inf, False),
            "label_smoothing": (0, 1 - 1e-12, False),
            "distillation": (0, 1, False),
            "temperature": (1e-12, math.inf, False),
            "step_factor": (1e-12, 1, False),
            "seed": (0, 2**63 - 1, True),
        }
        if self.patience is not None:
            ranges["patience"] = (1, math.inf, True)
        for name, (least, most, whole) in ranges.items():
            _check_number(name, getattr(self, name), least, most, whole)
        for name, choices in (
            ("precision", Precision),
            ("device", Device),
            ("optimizer", Optimizer),
            ("schedule", LearningRate),
        ):
            if getattr(self, name) not in get_args(choices):
                raise InputError(f"{name} is {getattr(self, name)!r}; allowed: {', '.join(get_args(choices))}.")
        # what was read from JSON has lists and dictionaries
        object.__setattr__(self, "milestones", tuple(self.milestones))
        groups = (g if isinstance(g, ParameterGroup) else ParameterGroup(**g) for g in self.groups)
        object.__setattr__(self, "groups", tuple(groups))
        for share in self.milestones:
            _check_number("a milestone", share, 1e-12, 1 - 1e-12, False)
        if list(self.milestones) != sorted(set(self.milestones)):
            raise InputError(f"milestones is {self.milestones!r}; give rising shares of all steps.")

    def resolved(self) -> Recipe:
        """The same with the device and the precision that are used here instead of `auto`.

        Raises:
            InputError: where CUDA is asked for and there is none.
        """
        device = self.device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        elif device == "cuda" and not torch.cuda.is_available():
            raise InputError("device is 'cuda', but PyTorch finds no CUDA device here; use 'cpu' or 'auto'.")
        precision = self.precision
        if precision == "auto":
            precision = "bfloat16" if _native_bfloat16(device) else "float32"
        return replace(self, device=device, precision=precision)

    def learning_rate_at(self, step: int, steps_per_epoch: int) -> float:
        """For step 0 to epochs x steps_per_epoch - 1."""
        warm = min(round(self.warmup_epochs * steps_per_epoch), self.epochs * steps_per_epoch - 1)
        if step < warm:
            return self.learning_rate * (step + 1) / (warm + 1)
        if self.schedule == "step":
            passed = sum(step >= share * self.epochs * steps_per_epoch for share in self.milestones)
            return float(self.learning_rate * self.step_factor**passed)
        done = (step - warm) / (self.epochs * steps_per_epoch - warm)
        return self.learning_rate * (1 + math.cos(math.pi * done)) / 2


def default_recipe(data: Data, model: nn.Module | None = None) -> Recipe:
    """What `hwflow train` starts from, by kind and size of the data.

    Small images: as networks for CIFAR are trained (He et al. 2015, section 4.2), with a cosine instead of steps. Photographs:
    90 epochs with label smoothing (He et al. 2019, arXiv:1812.01187). Segmentation: Chen et al. 2017, section 4.1, with a
    cosine. Networks without normalisation start at a tenth of the learning rate, without which they diverge.
    """
    if data.task == "segmentation":
        recipe = Recipe(epochs=100, batch_size=8, learning_rate=0.01, weight_decay=1e-4)
    elif min(data.input_shape[1:]) >= _LARGE_IMAGE:
        recipe = Recipe(epochs=90, batch_size=256, weight_decay=1e-4, warmup_epochs=5, label_smoothing=0.1)
    else:
        recipe = Recipe(epochs=30 if len(data.train) >= _MANY_SAMPLES else 60)
    normalised = model is None or any(isinstance(m, (nn.modules.batchnorm._BatchNorm, nn.GroupNorm)) for m in model.modules())
    return recipe if normalised else replace(recipe, learning_rate=recipe.learning_rate / 10)


def differences(one: Recipe, other: Recipe) -> dict[str, tuple[object, object]]:
    """The fields in which two recipes differ."""
    pairs = {f.name: (getattr(one, f.name), getattr(other, f.name)) for f in fields(Recipe)}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def autocast(device: str, precision: str) -> contextlib.AbstractContextManager[None]:
    """Where the forward pass runs: in bfloat16 if that is the precision."""
    context: contextlib.AbstractContextManager[None] = torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16")
    return context


@contextlib.contextmanager
def reproducible() -> Iterator[None]:
    """cuDNN without kernels whose sums depend on timing; the settings come back afterwards."""
    before = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    try:
        yield
    finally:
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = before


def _native_bfloat16(device: str) -> bool:
    if device == "cuda":
        return bool(torch.cuda.get_device_capability() >= (8, 0))
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)  # newer than our oldest torch
    return bool(supported is not None and supported())


def _check_number(name: str, value: object, least: float, most: float, whole: bool) -> None:
    kind = "a whole number" if whole else "a number"
    if not is_number(value) or (whole and not isinstance(value, int)) or not least <= value <= most:
        bound = "above 0" if 0 < least < 1 else f"of at least {least:g}"
        limit = "" if most in (math.inf, 2**63 - 1) else " and at most 1" if most == 1 else " and below 1"
        raise InputError(f"{name} is {value!r}; it must be {kind} {bound}{limit}.")


__all__ = [
    "Device",
    "LearningRate",
    "Optimizer",
    "ParameterGroup",
    "Precision",
    "Recipe",
    "autocast",
    "default_recipe",
    "differences",
    "reproducible",
]
