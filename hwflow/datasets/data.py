"""`Data`: images with labels, a training part and a test part."""

from __future__ import annotations

import hashlib
import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from hwflow.errors import InputError

if TYPE_CHECKING:
    from hwflow.datasets.samples import Samples

Task = Literal["classification", "segmentation"]


@dataclass(frozen=True)
class Data:
    """A data set.

    Attributes:
        classes: labels are 0 to classes - 1.
        input_shape: (C, H, W) of an image as it is evaluated.
        task: what a label is: one for the image, or one for each pixel.
        train: for training, and for held-out parts (`hold_out`).
        test: to be evaluated once, at the end; nothing may be chosen by it.
        held: what `hold_out` gives, where images were named that a network has not seen; None holds out of `train`.
    """

    name: str
    classes: int
    input_shape: tuple[int, int, int]
    task: Task
    train: Samples
    test: Samples
    held: Samples | None = None

    @property
    def identity(self) -> str:
        """A digest of the content of both parts (of files: their paths, sizes and times): equal digest, equal data."""
        held = "" if self.held is None else self.held.identity
        return hashlib.sha256(f"{self.train.identity}{self.test.identity}{self.task}{held}".encode()).hexdigest()

    def hold_out(self, count: int | None = None, seed: int = 0) -> tuple[Samples, Samples]:
        """A split (fit, held) of the training part: a tenth, 2 to 5000 samples, unless `count` says otherwise.

        Where `held` was named, the training part is whole, and held are the named samples, whatever the count and the seed.

        Classes keep their shares where the labels are known without reading the images. Equal arguments give the same split:
        what a network was trained with is not what it is judged by later, as long as both leave the seed alone.

        Raises:
            InputError: where one of the two would be empty.
        """
        if self.held is not None:
            return self.train, self.held
        total = len(self.train)
        held_count = min(5000, max(1, min(2, total - 2), total // 10)) if count is None else count
        if not 0 < held_count < total:
            raise InputError(
                f"{held_count} samples of {self.name} cannot be held out of {total}: at least one must be held and one left."
            )
        labels = self.train.labels
        if labels is None:
            labels = self.train.indices * 0
        held, fit = importlib.import_module("hwflow.datasets.split").stratified(labels, held_count, seed)  # needs torch
        return self.train.subset(fit), self.train.subset(held)


__all__ = ["Data", "Task"]
