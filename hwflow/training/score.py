"""Evaluation of a network (accuracy, mean intersection over union), and re-estimation of batch normalisation."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from hwflow.datasets.data import Task
from hwflow.datasets.samples import IGNORED, Samples
from hwflow.errors import InputError
from hwflow.training.recipe import Device, Precision, Recipe, autocast


@dataclass(frozen=True)
class Score:
    """Of a network on some samples.

    Attributes:
        accuracy: share of samples whose class has the largest logit; in segmentation the mean over classes that occur of
            intersection / union over all pixels.
        loss: mean cross-entropy over samples, or over pixels that belong to a class.
        samples: how many there were.
    """

    accuracy: float
    loss: float
    samples: int


def score(
    model: nn.Module,
    samples: Samples,
    *,
    task: Task = "classification",
    batch_size: int = 250,
    device: Device = "auto",
    precision: Precision = "auto",
) -> Score:
    """Evaluate a network; its device and mode are restored afterwards.

    Raises:
        InputError: where there are no samples, or the network's output does not fit the labels.
    """
    if not len(samples):
        raise InputError("there are no samples to judge the network by.")
    used = Recipe(device=device, precision=precision).resolved()
    batches = samples.batches(batch_size, device=used.device)
    return score_batches(model, batches, samples.source.classes, task=task, device=used.device, precision=used.precision)


def score_batches(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    classes: int,
    *,
    task: Task = "classification",
    device: Device = "auto",
    precision: Precision = "auto",
    by_batch: bool = False,
) -> Score:
    """As `score`, on batches of images (n, C, H, W), normalised, and labels, at least one.

    Args:
        by_batch: batch normalisation takes the statistics of the batch at hand, and leaves its own as they are.

    Raises:
        InputError: where the network's output does not fit the labels.
    """
    used = Recipe(device=device, precision=precision).resolved()
    counts, loss, counted, samples = torch.zeros(0), 0.0, 0, 0
    normalised = normalised_by_batch(model) if by_batch else contextlib.nullcontext()
    with placed(model, used.device), modes_kept(model), torch.inference_mode():
        model.eval()
        with normalised:
            for images, labels in ((i.to(used.device), j.to(used.device)) for i, j in batches):
                with autocast(used.device, used.precision):
                    logits = first_output(model(images)).float()
                check_output(logits, labels, classes, task)
                found = _confusions(logits.argmax(1), labels, logits.shape[1])
                counts = found if not len(counts) else counts + found
                samples += len(images)
                counted += int(found.sum())
                loss += float(cross_entropy(logits, labels, reduction="sum"))
    right = counts.diagonal().double()
    if task == "classification":
        accuracy = float(right.sum() / samples)
    else:
        union = counts.sum(0) + counts.sum(1) - right
        accuracy = float((right[union > 0] / union[union > 0]).mean()) if counted else 0.0
    return Score(accuracy, loss / max(counted, 1), samples)


def reestimate_batchnorm(
    model: nn.Module,
    samples: Samples,
    *,
    batches: int = 10,
    batch_size: int = 250,
    seed: int = 0,
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:
    """Replace the running statistics of all batch normalisations by the average over `batches` batches of samples.

    Needed after channels are removed: what follows sees other values. Each batch counts the same; everything but the
    normalisations stays in evaluation mode, nothing is learnt, and equal arguments give equal statistics. A network without
    batch normalisation is left as it is.

    Raises:
        InputError: where there are fewer than two samples.
    """
    norms = [norm for norm in _norms(model) if norm.track_running_stats]
    if not norms:
        return
    if len(samples) < 2:
        raise InputError(f"statistics cannot be estimated on {len(samples)} samples; at least 2 are needed.")
    used = Recipe(device=device, precision=precision).resolved()
    momenta = [norm.momentum for norm in norms]
    size = min(batch_size, len(samples))
    with placed(model, used.device), modes_kept(model), torch.no_grad():
        model.eval()
        try:
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum = None  # torch's way to say: the plain average of all batches
                norm.train()
            for at, (images, _) in enumerate(samples.batches(size, seed=seed, drop_last=True, device=used.device), start=1):
                with autocast(used.device, used.precision):
                    model(images)
                if at == batches:
                    break
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum


@contextlib.contextmanager
def normalised_by_batch(model: nn.Module) -> Iterator[None]:
    """Batch normalisations take mean and variance of the batch at hand; those that they keep are neither used nor changed.

    A batch needs two values of each channel, and should have samples of all classes. Modes are as before afterwards.
    """
    before = [(norm, norm.training, norm.track_running_stats) for norm in _norms(model)]
    try:
        for norm, _, _ in before:
            norm.training, norm.track_running_stats = True, False
        yield
    finally:
        for norm, training, tracks in before:
            norm.training, norm.track_running_stats = training, tracks


def _norms(model: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    return [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]


@contextlib.contextmanager
def placed(model: nn.Module, device: str) -> Iterator[None]:
    """The network on a device; its own device is restored afterwards."""
    first = next((p for p in model.parameters()), None)
    home = "cpu" if first is None else first.device
    model.to(device)
    try:
        yield
    finally:
        model.to(home)


@contextlib.contextmanager
def channels_last(model: nn.Module) -> Iterator[None]:
    """The weights of convolutions are stored with the channel innermost, in which a CPU runs them faster; restored afterwards.

    The convolutions' outputs follow the weights. ResNet-20 at 14 x 14 pixels trains 1.3 times as fast.
    """
    weights = [weight for weight in model.parameters() if weight.ndim == 4]
    for weight in weights:
        weight.data = weight.data.contiguous(memory_format=torch.channels_last)
    try:
        yield
    finally:
        for weight in weights:
            weight.data = weight.data.contiguous()


def first_output(outputs: Tensor | tuple[Tensor, ...]) -> Tensor:
    """The logits of a network that also gives auxiliary ones."""
    return outputs[0] if isinstance(outputs, tuple) else outputs


def check_output(logits: Tensor, labels: Tensor, classes: int, task: Task) -> None:
    """That a network's output fits the labels.

    Raises:
        InputError: with both shapes.
    """
    wanted = (labels.shape[0], classes, *labels.shape[1:])
    if tuple(logits.shape) != wanted or labels.ndim != (1 if task == "classification" else 3):
        raise InputError(
            f"the network gives {tuple(logits.shape)} for a batch whose labels are {tuple(labels.shape)}; for {task} with "
            f"{classes} classes it must give {wanted}. Was it made for another data set?"
        )


def cross_entropy(logits: Tensor, labels: Tensor, *, reduction: str = "mean", label_smoothing: float = 0.0) -> Tensor:
    """torch's, in which pixels (not images) may belong to no class; the mean over none of them is zero."""
    if labels.ndim == 1:
        return functional.cross_entropy(logits, labels, reduction=reduction, label_smoothing=label_smoothing)
    total = functional.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum", label_smoothing=label_smoothing)
    return total if reduction == "sum" else total / (labels != IGNORED).sum().clamp(min=1)


@contextlib.contextmanager
def modes_kept(model: nn.Module) -> Iterator[None]:
    """Every module comes back in its mode, training or evaluation."""
    before = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


def _confusions(found: Tensor, labels: Tensor, classes: int) -> Tensor:
    """(classes, classes): how often each label (row) was taken for each class (column)."""
    if labels.ndim > 1:
        found, labels = found[labels != IGNORED], labels[labels != IGNORED]
    places = labels * classes + found
    return torch.bincount(places, minlength=classes**2).view(classes, classes).cpu()


__all__ = [
    "Score",
    "channels_last",
    "check_output",
    "cross_entropy",
    "first_output",
    "modes_kept",
    "normalised_by_batch",
    "placed",
    "reestimate_batchnorm",
    "score",
    "score_batches",
]
