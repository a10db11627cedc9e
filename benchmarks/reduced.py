"""A small test bed: Fashion-MNIST at 14 x 14 pixels and ResNet-20 trained on a part of it, in minutes on one core."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from hwflow.compression.budget import Budget
from hwflow.compression.channels.discovery import find_groups
from hwflow.compression.channels.groups import Grouping
from hwflow.compression.level_costs import LevelCosts
from hwflow.compression.plan_costs import PlanCosts
from hwflow.compression.search.environment import PruningEnv
from hwflow.compression.settings import Settings
from hwflow.datasets import Data, load_data
from hwflow.datasets.arrays import in_memory
from hwflow.hardware.accelerator import Accelerator
from hwflow.network.load import load_module
from hwflow.training import Recipe, train
from hwflow.training.weights import load_weights
from hwflow.types import LevelName


def reduced_data(images: int) -> Data:
    """The first training images and all test images, each pixel the mean of four."""
    whole = load_data("fashion-mnist")

    def part(count: int | None, samples: str) -> tuple[torch.Tensor, torch.Tensor]:
        source = getattr(whole, samples).source
        pooled = nn.functional.avg_pool2d(source.images[:count].float(), 2).round().to(torch.uint8)
        return pooled, source.labels[:count]

    return in_memory("fashion-mnist-14", 10, part(images, "train"), part(None, "test"), flips=True)


def weights_of(data: Data, seed: int, epochs: int, folder: Path, network: str = "resnet20") -> Path:
    """The weights of a network of the zoo, trained once and kept in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{network}-{len(data.train)}-{epochs}-{seed}.pt"
    if not file.exists():
        recipe = Recipe(epochs=epochs, learning_rate=0.1, seed=seed, precision="float32", device="cpu")
        train(network, data, recipe=recipe, output=file, progress=False)
    return file


def trained(data: Data, seed: int, epochs: int, folder: Path, network: str = "resnet20") -> nn.Module:
    """A network with these weights."""
    module = load_module(network, num_classes=10, in_channels=1)
    load_weights(weights_of(data, seed, epochs, folder, network), module)
    return module.eval()


def environment(
    module: nn.Module, data: Data, share: float, *, level: LevelName = "mid", streams: bool, round_to: int = 4
) -> tuple[PruningEnv, Grouping]:
    """Plans within a share of ResNet-20's energy on eyeriss."""
    grouping = find_groups(module, (1, *data.input_shape), streams=streams, round_to=round_to, name="resnet20")
    settings = Settings(budgets=(Budget("energy", share),), round_to=round_to, streams=streams)
    costs = LevelCosts(Accelerator.load("eyeriss"), settings, store=True, notify=print, progress=None)
    table = costs.table(grouping.network, level)  # shapes are costed as they are asked for: a uniform plan has few
    return PruningEnv(PlanCosts(grouping, table.__getitem__), lambda _: 0.0, settings.budgets), grouping


__all__ = ["environment", "reduced_data", "trained", "weights_of"]
