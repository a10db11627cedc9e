"""Which held-out samples plans are measured on, and these as batches that are made once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from hwflow.datasets.data import Task
from hwflow.datasets.samples import IGNORED, Samples
from hwflow.training.recipe import Recipe, autocast
from hwflow.training.score import channels_last, first_output, modes_kept, placed

_MOST_BYTES = 2**29
"""Of images that are kept ready between measurements; a larger set is read again for each."""
_BATCH = 250


def evenly(total: int, count: int) -> Tensor:
    """Positions of `count` of `total` samples, evenly spaced; all, where there are no more."""
    count = min(count, total)
    return torch.tensor([(2 * i + 1) * total // (2 * count) for i in range(count)], dtype=torch.int64)


def representative(model: nn.Module, held: Samples, count: int, *, task: Task, recipe: Recipe) -> Samples:
    """As many of the samples, by which plans are ranked nearly as by all: a systematic sample, in its order (ours).

    Samples are sorted by class, then by the class that the unpruned network takes them for, then by how sure it is of the right
    one, and every n-th is taken. So each class, each confusion and each degree of difficulty has its share. In segmentation
    they are sorted by the share of pixels that are right.

    Args:
        model: the unpruned network.
        recipe: device and precision, resolved.
    """
    if len(held) <= count:
        return held
    keys: list[Tensor] = []
    with placed(model, recipe.device), modes_kept(model), channels_last(model), torch.inference_mode():
        model.eval()
        for images, labels in held.batches(_BATCH, device=recipe.device):
            with autocast(recipe.device, recipe.precision):
                logits = first_output(model(images)).float()
            keys.append(_keys(logits, labels, task).cpu())
    order = np.lexsort(torch.cat(keys, 1).numpy())
    return held.subset(torch.from_numpy(order)[evenly(len(held), count)])


def _keys(logits: Tensor, labels: Tensor, task: Task) -> Tensor:
    """By which samples are sorted (3, n), the last row first: how sure, taken for, class."""
    if task != "classification":
        counted = (labels != IGNORED).flatten(1)
        right = ((logits.argmax(1) == labels).flatten(1) & counted).sum(1) / counted.sum(1).clamp(min=1)
        return torch.stack([right.double(), torch.zeros_like(right).double(), torch.zeros_like(right).double()])
    own = logits.gather(1, labels[:, None])
    others = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
    sure = (own[:, 0] - others).nan_to_num().double()
    return torch.stack([sure, logits.argmax(1).double(), labels.double()])


class MeasuredBatches:
    """Samples as batches of `size` or somewhat more, each with samples from the whole of their order; kept where they fit.

    So the statistics of a batch are those of all, also where samples are sorted by class.
    """

    def __init__(self, samples: Samples, size: int) -> None:
        count = max(len(samples) // size, 1)
        self._parts = [samples.subset(range(first, len(samples), count)) for first in range(count)]
        self._kept: list[tuple[Tensor, Tensor, int]] | None = None

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        if self._kept is not None and all(images._version == version for images, _, version in self._kept):
            yield from ((images, labels) for images, labels, _ in self._kept)
            return
        kept: list[tuple[Tensor, Tensor, int]] = []
        size = 0
        for part in self._parts:
            for images, labels in part.batches(len(part)):
                with torch.inference_mode(False), torch.no_grad():  # so that it is seen where a network changes them in place
                    ready = images.clone(memory_format=torch.channels_last) if images.ndim == 4 else images.clone()
                size += ready.nbytes
                kept = [*kept, (ready, labels, ready._version)] if size <= _MOST_BYTES else []
                yield ready, labels
        if size <= _MOST_BYTES:
            self._kept = kept


__all__ = ["MeasuredBatches", "evenly", "representative"]
