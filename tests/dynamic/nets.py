"""Small networks for the tests of groups."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hwflow.network.models.cifar_resnet import CifarBlock


def resnet() -> nn.Module:
    """Two residual blocks, the second with padded shortcut: 1 x 8 x 8 to 10."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        CifarBlock(8, 8, 1),
        CifarBlock(8, 16, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 10),
    )


def plain() -> nn.Module:
    """Hidden linear layers, a depthwise convolution, biases: 1 x 8 x 8 to 10."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(128, 16),
        nn.ReLU(),
        nn.Linear(16, 10),
    )


class Joined(nn.Module):
    """Joins the channels of two branches, which no group convolution on them can express: 1 x 8 x 8 to 10."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(1, 8, 1)
        self.both, self.fc = nn.Conv2d(12, 8, 3), nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1, 8, 8) to (N, 10)."""
        y = torch.cat([self.left(x), self.right(x)], 1).relu()
        return self.fc(self.both(y).relu().mean((2, 3)))


def unsettled(network: nn.Module) -> nn.Module:
    """With statistics of normalisations that are not those of fresh ones."""
    torch.manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return network.eval()


def staged() -> nn.Module:
    """A stage of two residual blocks, of which the second can be left out, and one with a padded shortcut: 1 x 8 x 8 to 10."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Sequential(CifarBlock(8, 8, 1), CifarBlock(8, 8, 1)),
        CifarBlock(8, 16, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 10),
    )
