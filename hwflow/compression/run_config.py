"""What tells one compression run from another: the content of `config.json`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hwflow.compression.search.policy import Policy
from hwflow.compression.settings import Settings
from hwflow.cost.backend import backend_of
from hwflow.datasets import Data
from hwflow.files import open_input
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.dataflow import dataflow_identity
from hwflow.store import key_of
from hwflow.training.checkpoint import digest
from hwflow.training.recipe import Recipe
from hwflow.version import __version__


def run_config(
    model: str | nn.Module,
    data: Data,
    accelerator: Accelerator | None,
    settings: Settings,
    plan: str | Path | Mapping[str, int] | None,
    weights: str | Path | None,
    training: Recipe | None,
) -> dict[str, Any]:
    """`config.json`: the inputs and settings of a run; equal ones give equal results."""
    module = isinstance(model, nn.Module)
    maps = any(backend_of(level).maps for level in settings.levels)
    return {
        "network": network_name(model),
        "module": module,
        "weights": key_of(_hash(weights)) if weights is not None else digest(model) if isinstance(model, nn.Module) else None,
        "training": None if training is None else asdict(training),
        "data": data.name,
        "data_identity": data.identity,
        "classes": data.classes,
        "input_shape": list(data.input_shape),
        "task": data.task,
        "accelerator": None if accelerator is None else accelerator.label,
        "accelerator_identity": None if accelerator is None else accelerator.fingerprint,
        "dataflow": dataflow_identity(accelerator, settings.dataflow) if maps else None,
        "plan": dict(plan) if isinstance(plan, Mapping) else None if plan is None else str(plan),
        "settings": settings.to_data(),
        **({} if settings.policy is None else {"policy_identity": Policy.load(settings.policy).digest}),
        "versions": {"hwflow": __version__, "torch": torch.__version__},
    }


def _hash(path: str | Path) -> str:
    with open_input(path, "the weights", "weights") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def network_name(model: str | nn.Module) -> str:
    """The name that was given, or of a module its class's."""
    return model if isinstance(model, str) else type(model).__name__


__all__ = ["network_name", "run_config"]
