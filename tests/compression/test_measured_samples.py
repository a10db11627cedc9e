"""Which samples plans are measured on, and in which batches."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from hwflow.compression import measured_samples
from hwflow.compression.measured_samples import MeasuredBatches, evenly, representative
from hwflow.datasets.arrays import Arrays
from hwflow.datasets.samples import Samples
from hwflow.training import Recipe

RECIPE = Recipe(device="cpu", precision="float32").resolved()


class Told(nn.Module):
    """Gives the images' values as logits, for three classes."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) * self.one


def samples_of(logits: Tensor, labels: Tensor) -> Samples:
    images = logits.view(len(logits), 3, 1, 1)
    return Samples(Arrays(images, labels, 3, mean=(0.0,) * 3, std=(1.0,) * 3, flips=False))


def test_evenly_spaced() -> None:
    assert evenly(10, 5).tolist() == [1, 3, 5, 7, 9]
    assert evenly(7, 3).tolist() == [1, 3, 5]
    assert evenly(3, 9).tolist() == [0, 1, 2]


def test_classes_confusions_and_difficulty_have_their_shares() -> None:
    """A tenth of 600 images: as many of each class, taken for each other class, and sure to each degree, as of all."""
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(600, 3, generator=generator), torch.arange(600) % 3
    held = samples_of(logits, labels)
    part = representative(Told(), held, 60, task="classification", recipe=RECIPE)
    taken, sure = logits.argmax(1), logits.gather(1, labels[:, None])[:, 0]
    for wanted in range(3):
        for given in range(3):
            share = float(((labels == wanted) & (taken == given)).sum()) / 10
            chosen = int(((labels[part.indices] == wanted) & (taken[part.indices] == given)).sum())
            assert abs(chosen - share) <= 1
    assert float(sure[part.indices].mean()) == pytest.approx(float(sure.mean()), abs=0.1)
    assert len(set(part.indices.tolist())) == 60
    again = representative(Told(), held, 60, task="classification", recipe=RECIPE)
    assert torch.equal(part.indices, again.indices)
    assert representative(Told(), held, 600, task="classification", recipe=RECIPE) is held


def test_batches_have_all_classes_and_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """25 samples that come class by class, in batches of 8 or more: each has all three classes."""
    labels = torch.arange(25) // 9
    held = samples_of(torch.randn(25, 3), labels)
    batches = MeasuredBatches(held, 8)
    first, second = list(batches), list(batches)
    assert [len(found) for _, found in first] == [9, 8, 8]
    assert all(set(found.tolist()) == {0, 1, 2} for _, found in first)
    assert torch.cat([found for _, found in first]).sort().values.equal(labels)
    assert all(a is c and b is d for (a, b), (c, d) in zip(first, second, strict=True))
    monkeypatch.setattr(measured_samples, "_MOST_BYTES", 200)  # 25 images have 300 bytes
    large = MeasuredBatches(held, 8)
    read = [list(large), list(large)]
    assert all(x[0] is not y[0] and x[0].equal(y[0]) for x, y in zip(*read, strict=True))
    assert [len(found) for _, found in MeasuredBatches(held, 24)] == [25], "a batch of one sample has no statistics"
