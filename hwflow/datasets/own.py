"""A user's own torch `Dataset`s as a `Data`."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor

from hwflow.datasets.data import Data, Task
from hwflow.datasets.samples import Samples
from hwflow.errors import InputError

_PROBED = 16


class Items:
    """A source of a dataset's items, read one by one; what the dataset does to its images stays its own affair."""

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    slow = False

    def __init__(self, name: str, items: Any, classes: int, task: Task) -> None:
        self.name, self.items, self.classes, self.task = name, items, classes, task
        try:
            self._length = len(items)
        except TypeError:
            raise InputError(
                f"{name} has no length; it must be a map-style torch Dataset, with __len__ and __getitem__."
            ) from None
        if self._length < 1:
            raise InputError(f"{name} is empty.")
        self.shape = tuple(self._item(0)[0].shape)
        self.labels = self._targets()
        self.identity = ""

    def __len__(self) -> int:
        return self._length

    def read(self, indices: Tensor, chances: Tensor | None) -> tuple[Tensor, Tensor]:
        """Images and labels at `indices`; the dataset augments by itself, `chances` are not used."""
        found = [self._item(int(i)) for i in indices]
        return torch.stack([image for image, _ in found]), torch.stack([label for _, label in found])

    def check(self, indices: Tensor) -> None:
        """Nothing is known of how the items are kept."""

    def probe(self) -> str:
        """A digest of the length, the labels where they are known, and a few items."""
        found = hashlib.sha256(f"{self._length}{self.classes}{self.task}".encode())
        if self.labels is not None:
            found.update(self.labels.numpy().tobytes())
        for i in range(0, self._length, max(1, self._length // _PROBED)):
            for part in self._item(i):
                found.update(part.contiguous().numpy().tobytes())
        return found.hexdigest()

    def _item(self, index: int) -> tuple[Tensor, Tensor]:
        item = self.items[index]
        if not isinstance(item, (tuple, list)) or len(item) != 2:
            raise InputError(f"{self.name}[{index}] is {type(item).__name__}; it must be a pair (image, label).")
        image, label = item
        if not isinstance(image, Tensor) or not image.is_floating_point() or image.ndim != 3:
            what = f"a tensor of {image.dtype}, {tuple(image.shape)}" if isinstance(image, Tensor) else type(image).__name__
            raise InputError(f"{self.name}[{index}]: the image is {what}; it must be a float tensor (C, H, W), normalised.")
        target = torch.as_tensor(label).cpu()
        wanted = () if self.task == "classification" else tuple(image.shape[1:])
        if target.is_floating_point() or tuple(target.shape) != wanted:
            raise InputError(
                f"{self.name}[{index}]: the label is {target.dtype} of shape {tuple(target.shape)}; for {self.task} it must be "
                f"whole numbers of shape {wanted}."
            )
        if index and tuple(image.shape) != self.shape:
            raise InputError(
                f"{self.name}[{index}]: the image is {tuple(image.shape)}, the first one {self.shape}; they must be equal."
            )
        return image.detach().to("cpu", torch.float32), target.to(torch.int64)

    def _targets(self) -> Tensor | None:
        found = getattr(self.items, "targets", None)
        if found is None or self.task != "classification":
            return None
        labels = torch.as_tensor(found)
        if labels.is_floating_point() or tuple(labels.shape) != (self._length,):
            raise InputError(f"{self.name}.targets is {tuple(labels.shape)}; it must be {self._length} whole numbers.")
        least, most = int(labels.min()), int(labels.max())
        if least < 0 or most >= self.classes:
            raise InputError(
                f"{self.name}.targets reach from {least} to {most}; with {self.classes} classes they must be 0 to "
                f"{self.classes - 1}."
            )
        return labels.to("cpu", torch.int64)


def wrapped(name: str, train: Any, test: Any, classes: int, task: Task, identity: str | None) -> Data:
    """See `hwflow.datasets.from_datasets`."""
    if task not in ("classification", "segmentation"):
        raise InputError(f"task is {task!r}; allowed: classification, segmentation.")
    if isinstance(classes, bool) or not isinstance(classes, int) or classes < 2:
        raise InputError(f"classes is {classes!r}; it must be a whole number of at least 2.")
    parts = {part: Items(f"{name}'s {part}", items, classes, task) for part, items in (("train", train), ("test", test))}
    known = identity if identity is not None else parts["test"].probe()
    for part, source in parts.items():
        targets = "" if source.labels is None else hashlib.sha256(source.labels.numpy().tobytes()).hexdigest()
        source.identity = f"{name}:{part}:{len(source)}:{classes}:{known}:{targets}"
    channels, height, width = parts["test"].shape
    return Data(name, classes, (channels, height, width), task, Samples(parts["train"]), Samples(parts["test"]))


__all__ = ["Items", "wrapped"]
