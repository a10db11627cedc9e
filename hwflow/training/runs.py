"""`train`: trains a network, given by name or as a module, on a data set and writes its weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hwflow.datasets import Data, load_data
from hwflow.datasets.samples import derived
from hwflow.errors import InputError, not_found
from hwflow.network.load import load_module
from hwflow.progress import Shown, shown
from hwflow.training.hooks import TrainingHook
from hwflow.training.loop import History, fit
from hwflow.training.recipe import Recipe, default_recipe
from hwflow.training.score import check_output, first_output, modes_kept, placed, score
from hwflow.training.weights import load_weights, record_training, save_weights


def train(
    network: str | nn.Module,
    data: str | Data,
    *,
    recipe: Recipe | None = None,
    weights: str | Path | None = None,
    teacher: nn.Module | None = None,
    hooks: Sequence[TrainingHook] = (),
    output: str | Path | None = None,
    progress: Shown = None,
    **changes: Any,
) -> tuple[nn.Module, History]:
    """Train a network and evaluate it once on the test set; equal arguments give equal weights on one machine.

    A part of the training set is held out (`Data.hold_out`), for early stopping and for whoever chooses by accuracy later; the
    network never learns from it.

    Args:
        network: a zoo name or `package.module:callable`, made for the data's channels and classes; or a module, which is
            trained in place.
        data: a name or folder as `load_data` takes it, or a `Data`.
        recipe: by default `default_recipe(data, network)`.
        weights: a file to start from, instead of fresh weights.
        teacher, hooks: see `fit`.
        output: the file of weights to write, for `load_weights`. Beside it FILE.checkpoint holds the state after each epoch;
            the same call goes on from there if it was killed, and removes it at the end.
        progress: told after every step; None shows it in a terminal and in a notebook, False nowhere.
        changes: fields of the recipe with other values: `epochs=10, seed=1`. First weights, too, are drawn from the seed.

    Returns:
        The network in evaluation mode, and how it went; `History.test` is the score on the test set.

    Raises:
        InputError: where names, files, sizes or the recipe cannot be used; before training, unless a file of the data is bad in
            a way that only reading it whole shows.
        Diverged: where the loss is not finite.
    """
    unknown = [field for field in changes if field not in Recipe.__dataclass_fields__]
    if unknown:
        raise not_found("field of the recipe", unknown[0], Recipe.__dataclass_fields__)
    if output is not None and Path(output).is_dir():
        raise InputError(f"{output} is a folder; name the file of weights to write.")
    loaded = load_data(data) if isinstance(data, str) else data
    model, name = network, type(network).__name__
    if isinstance(network, str):
        model, name = _made(network, loaded, changes.get("seed", recipe.seed if recipe else 0)), network
    used = replace(recipe or default_recipe(loaded, model), **changes).resolved()
    if weights is not None:
        load_weights(weights, model)
    _check_fit(model, loaded, name)
    fit_part, held = loaded.hold_out()
    for samples in (loaded.train, loaded.test):
        samples.check()
    checkpoint = None if output is None else checkpoint_of(output)
    with shown(progress, f"{name} on {loaded.name}") as bar:
        history = fit(
            model,
            fit_part,
            held,
            used,
            task=loaded.task,
            teacher=teacher,
            hooks=hooks,
            checkpoint=checkpoint,
            progress=bar,
        )
    record_training(model, loaded.identity)
    test = score(model, loaded.test, task=loaded.task, device=used.device, precision=used.precision)
    history = replace(history, test=test)
    if checkpoint is not None and output is not None:
        save_weights(output, model, _about(name, loaded, used, history))
        checkpoint.unlink(missing_ok=True)
    return model, history


def checkpoint_of(output: str | Path) -> Path:
    """Where the state of a training that writes to `output` is kept until it is done."""
    return Path(f"{output}.checkpoint")


def _made(spec: str, data: Data, seed: int) -> nn.Module:
    """A fresh network for the data; the caller's random numbers are not touched."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived("weights", seed))
        return load_module(spec, num_classes=data.classes, in_channels=data.input_shape[0])


def _check_fit(model: nn.Module, data: Data, name: str) -> None:
    """That the network takes such images and gives such outputs, before hours of training."""
    images = torch.zeros(2, *data.input_shape)
    labels = torch.zeros((2,) if data.task == "classification" else (2, *data.input_shape[1:]), dtype=torch.int64)
    shape = "x".join(map(str, data.input_shape))
    try:
        with torch.inference_mode(), placed(model, "cpu"), modes_kept(model):
            logits = first_output(model.eval()(images))
    except (RuntimeError, ValueError, TypeError) as error:
        reason = (str(error).splitlines() or [""])[0].rstrip(".")
        raise InputError(f"{name} cannot take the images of {data.name}, which are {shape}: {reason}.") from error
    check_output(logits, labels, data.classes, data.task)


def _about(name: str, data: Data, recipe: Recipe, history: History) -> dict[str, Any]:
    assert history.test is not None
    return {
        "network": name,
        "data": data.name,
        "data_identity": data.identity,
        "classes": data.classes,
        "input_shape": list(data.input_shape),
        "accuracy": history.test.accuracy,
        "held_accuracy": history.epochs[history.kept - 1].accuracy,
        "epochs": [asdict(epoch) for epoch in history.epochs],
        "recipe": asdict(recipe),
        "torch": torch.__version__,
    }


__all__ = ["checkpoint_of", "train"]
