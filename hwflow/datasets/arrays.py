"""Data sets that fit in memory: images as one uint8 tensor. scikit-learn's digits are embedded in that package."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from hwflow.datasets.data import Data
from hwflow.datasets.samples import Samples, shifted
from hwflow.datasets.split import stratified
from hwflow.errors import InputError
from hwflow.optional import needed

_DIGITS_TEST = 360
_DIGITS_SPLIT_SEED = 0


class Arrays:
    """A source in memory: images (N, C, H, W) uint8 and labels (N,) int64; augmented by shifts, and by flips where allowed."""

    slow = False

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        classes: int,
        *,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        flips: bool,
    ) -> None:
        self.images, self.labels, self.classes = images, labels, classes
        self.mean, self.std, self.flips = mean, std, flips
        digest = hashlib.sha256(repr((tuple(images.shape), classes, mean, std, flips)).encode())
        digest.update(images.numpy().tobytes())
        digest.update(labels.numpy().tobytes())
        self.identity = digest.hexdigest()

    def __len__(self) -> int:
        return len(self.images)

    def read(self, indices: Tensor, chances: Tensor | None) -> tuple[Tensor, Tensor]:
        """Images and labels at `indices`."""
        images = self.images[indices]
        return images if chances is None else shifted(images, chances, flips=self.flips), self.labels[indices]

    def check(self, indices: Tensor) -> None:
        """Nothing to do: all was checked when it was read."""


def in_memory(
    name: str, classes: int, train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], *, flips: bool, scale: int = 255
) -> Data:
    """A data set of images (N, C, H, W) uint8 and labels (N,); normalised by the mean and deviation of its training images.

    Args:
        scale: the brightest value, which becomes 255.

    Raises:
        InputError: where a part is empty, the parts differ in their images' shape, or labels are out of range.
    """
    for part, (images, labels) in {"train": train, "test": test}.items():
        if not len(images):
            raise InputError(f"{name}: the {part} part has no samples.")
        if images.shape[1:] != train[0].shape[1:]:
            raise InputError(
                f"{name}: the {part} images are {_shown(images)}, those of train {_shown(train[0])}; they must be equal."
            )
        if int(labels.min()) < 0 or int(labels.max()) >= classes:
            raise InputError(
                f"{name}: labels of the {part} part reach from {int(labels.min())} to {int(labels.max())}; with {classes} "
                f"classes they must be 0 to {classes - 1}."
            )
    parts = {}
    moments = [_moments(train[0][:, channel], scale) for channel in range(train[0].shape[1])]
    mean, std = tuple(m for m, _ in moments), tuple(s for _, s in moments)
    for part, (images, labels) in {"train": train, "test": test}.items():
        stretched = images if scale == 255 else (images.to(torch.int32) * 255 // scale).to(torch.uint8)
        parts[part] = Samples(Arrays(stretched, labels.to(torch.int64), classes, mean=mean, std=std, flips=flips))
    channels, height, width = train[0].shape[1:]
    return Data(name, classes, (channels, height, width), "classification", parts["train"], parts["test"])


def digits() -> Data:
    """scikit-learn's 1797 digits of 8 x 8; it comes without a split: 360, the classes in equal parts, are the test set here."""
    bunch = needed("sklearn.datasets", "the data set digits").load_digits()
    images = torch.from_numpy(bunch.images.astype("uint8")).unsqueeze(1)
    labels = torch.from_numpy(bunch.target.astype("int64"))
    test, train = stratified(labels, _DIGITS_TEST, _DIGITS_SPLIT_SEED)
    return in_memory("digits", 10, (images[train], labels[train]), (images[test], labels[test]), flips=False, scale=16)


def _moments(pixels: Tensor, scale: int) -> tuple[float, float]:
    """Mean and deviation of bytes over `scale`, from their histogram; of four digits, so that they are the same everywhere."""
    counts = torch.bincount(pixels.flatten().to(torch.int64), minlength=256).to(torch.float64)
    values = torch.arange(256, dtype=torch.float64) / scale
    share = counts / counts.sum()
    mean = float((share * values).sum())
    deviation = float((share * (values - mean) ** 2).sum()) ** 0.5
    return round(mean, 4), max(round(deviation, 4), 1e-4)


def _shown(images: Tensor) -> str:
    return "x".join(map(str, images.shape[1:]))


__all__ = ["Arrays", "digits", "in_memory"]
