"""`Samples`: part of a data set, read in batches whose order and augmentation depend on a seed and the epoch only."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import torch
from torch import Tensor

from hwflow.errors import InputError

CHANCES = 5
"""Random numbers in [0, 1) that an augmentation may use for one sample."""

IGNORED = 255
"""The label of a pixel that belongs to no class."""

_BATCHES_AHEAD = 2


class Source(Protocol):
    """Where samples come from: memory, files, or a user's own `Dataset`.

    Attributes:
        classes: labels are 0 to classes - 1 (and `IGNORED` in maps of labels).
        labels: (N,) int64 where they are known without reading a sample, otherwise None.
        identity: a digest of the content, or of a description of it.
        mean: by channel, of images in [0, 1]: uint8 images are normalised with it.
        std: likewise.
        slow: whether reading is worth doing ahead, in a thread.
    """

    classes: int
    labels: Tensor | None
    identity: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    slow: bool

    def __len__(self) -> int: ...

    def read(self, indices: Tensor, chances: Tensor | None) -> tuple[Tensor, Tensor]:
        """Images (n, C, H, W), uint8 or ready-made floats, and labels; augmented by `chances` (n, CHANCES) where given."""
        ...

    def check(self, indices: Tensor) -> None:
        """Look at samples before a long run relies on them.

        Raises:
            InputError: naming those that cannot be read.
        """
        ...


class Samples:
    """Some samples of a source, in a fixed order."""

    def __init__(self, source: Source, indices: Tensor | None = None) -> None:
        self.source = source
        self.indices = torch.arange(len(source)) if indices is None else indices

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def labels(self) -> Tensor | None:
        """(N,) int64 where they are known without reading, otherwise None."""
        return None if self.source.labels is None else self.source.labels[self.indices]

    @property
    def identity(self) -> str:
        """A digest of what these samples are and of their order."""
        return hashlib.sha256(self.source.identity.encode() + self.indices.numpy().tobytes()).hexdigest()

    def subset(self, indices: Sequence[int] | Tensor) -> Samples:
        """The samples at these positions.

        Raises:
            InputError: where a position is not one of this set.
        """
        chosen = torch.as_tensor(indices, dtype=torch.int64)
        if len(chosen) and not 0 <= int(chosen.min()) <= int(chosen.max()) < len(self):
            raise InputError(f"indices reach from {int(chosen.min())} to {int(chosen.max())}; the set has {len(self)} samples.")
        return Samples(self.source, self.indices[chosen])

    def check(self) -> None:
        """Look at all samples before a long run relies on them: headers and ends of image files.

        Raises:
            InputError: naming the files that cannot be read.
        """
        self.source.check(self.indices)

    def batches(
        self,
        size: int,
        *,
        seed: int | None = None,
        epoch: int = 0,
        augment: bool = False,
        drop_last: bool = False,
        device: str = "cpu",
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Images (n, C, H, W), float32 and normalised, with their labels: (n,) int64, or maps (n, H, W) in segmentation.

        Args:
            size: samples in a batch; the last one may be smaller, unless `drop_last`.
            seed: shuffles, together with `epoch`; without it samples come in order.
            augment: random shifts or crops, and flips where they keep the meaning; drawn from the seed and the epoch.

        Raises:
            InputError: for a size below 1, `augment` without a seed, a sample that cannot be read, or labels out of range.
        """
        if size < 1:
            raise InputError(f"the batch size is {size}; it must be at least 1.")
        if augment and seed is None:
            raise InputError("augment needs a seed, from which the random numbers are drawn.")
        order, chances = self.indices, None
        if seed is not None:
            generator = torch.Generator().manual_seed(derived("samples", seed, epoch))
            order = order[torch.randperm(len(order), generator=generator)]
            if augment:
                chances = torch.rand(len(order), CHANCES, generator=generator)
        end = len(order) // size * size if drop_last else len(order)
        starts = range(0, end, size)
        parts = [(order[i : i + size], None if chances is None else chances[i : i + size]) for i in starts]
        for (chosen, _), (images, labels) in zip(parts, self._read(parts), strict=True):
            self._in_range(labels, chosen)
            yield self._normalised(images.to(device)), labels.to(device)

    def _read(self, parts: Sequence[tuple[Tensor, Tensor | None]]) -> Iterator[tuple[Tensor, Tensor]]:
        if not self.source.slow:
            yield from (self.source.read(*part) for part in parts)
            return
        pool = ThreadPoolExecutor(1, "hwflow-read")
        pending: deque[Future[tuple[Tensor, Tensor]]] = deque()
        try:
            for part in parts:
                pending.append(pool.submit(self.source.read, *part))
                if len(pending) > _BATCHES_AHEAD:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _normalised(self, images: Tensor) -> Tensor:
        if images.dtype != torch.uint8:
            return images.to(torch.float32)
        shape = (1, -1, 1, 1)
        mean = torch.tensor(self.source.mean, device=images.device).view(shape) * 255
        std = torch.tensor(self.source.std, device=images.device).view(shape) * 255
        return (images.to(torch.float32) - mean) / std

    def _in_range(self, labels: Tensor, chosen: Tensor) -> None:
        wrong = (labels < 0) | (labels >= self.source.classes)
        if labels.ndim > 1:
            wrong &= labels != IGNORED
        if bool(wrong.any()):
            first = int(wrong.flatten(1).any(1).nonzero()[0]) if labels.ndim > 1 else int(wrong.nonzero()[0])
            raise InputError(
                f"sample {int(chosen[first])} has the label {int(labels[wrong][0])}; with {self.source.classes} classes labels "
                f"are 0 to {self.source.classes - 1}."
            )


def derived(purpose: str, seed: int, *more: int) -> int:
    """A seed for one purpose and moment; equal arguments, equal seed, on every machine."""
    text = ":".join([purpose, *map(str, (seed, *more))])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) >> 1


def shifted(images: Tensor, chances: Tensor, *, flips: bool) -> Tensor:
    """Each image (n, C, H, W) moved by up to an eighth of its size, zeros moving in, and mirrored at random where `flips`."""
    n, _, height, width = images.shape
    pad_y, pad_x = round(height / 8), round(width / 8)
    padded = torch.nn.functional.pad(images, (pad_x, pad_x, pad_y, pad_y))
    rows = (chances[:, 0] * (2 * pad_y + 1)).long()[:, None] + torch.arange(height)
    columns = torch.arange(width).expand(n, width)
    if flips:
        columns = torch.where(chances[:, 2:3] < 0.5, columns.flip(1), columns)
    columns = columns + (chances[:, 1] * (2 * pad_x + 1)).long()[:, None]
    flat = (rows[:, :, None] * padded.shape[3] + columns[:, None, :]).view(n, 1, -1)
    return padded.flatten(2).gather(2, flat.expand(-1, images.shape[1], -1)).view_as(images)


__all__ = ["CHANCES", "IGNORED", "Samples", "Source", "derived", "shifted"]
