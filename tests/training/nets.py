"""Networks and data that train in a moment."""

from __future__ import annotations

import torch
from torch import nn

from hwflow.datasets import Data
from hwflow.datasets.arrays import in_memory


def stripes(train: int = 96, test: int = 40) -> Data:
    """Images of 1 x 8 x 8 with a bright row (class 0) or a bright column (class 1) in noise."""
    random = torch.Generator().manual_seed(0)

    def part(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        images = torch.randint(0, 120, (count, 1, 8, 8), generator=random, dtype=torch.uint8)
        labels = torch.arange(count) % 2
        for image, label, at in zip(images, labels, torch.randint(1, 7, (count,), generator=random), strict=True):
            if label:
                image[0, :, at] = 255
            else:
                image[0, at] = 255
        return images, labels

    return in_memory("stripes", 2, part(train), part(test), flips=True)


class Small(nn.Module):
    """A convolution with normalisation and dropout, and a linear layer: all that a checkpoint must bring back."""

    def __init__(self, classes: int = 2, width: int = 6, drop: float = 0.1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, width, 3, 1, 1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        self.drop = nn.Dropout(drop)
        self.fc = nn.Linear(width * 16, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.bn(self.conv(x)))
        return self.fc(self.drop(nn.functional.max_pool2d(x, 2).flatten(1)))


def small(seed: int = 0, **sizes: int) -> Small:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Small(**sizes)  # type: ignore[arg-type]


def values(model: nn.Module) -> list[list[float]]:
    """All values of a network, to be compared bit by bit."""
    return [value.flatten().double().tolist() for value in model.state_dict().values()]
