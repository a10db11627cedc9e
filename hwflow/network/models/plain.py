# mypy: allow-subclassing-any
"""Networks without shortcuts: VGG-16 and AlexNet; parameter names are torchvision's."""

from __future__ import annotations

from torch import Tensor, nn

from hwflow.network import _architectures as arch
from hwflow.network.models._blocks import initialise


class _Plain(nn.Module):
    """Features, an average over a fixed grid, a classifier of three layers."""

    features: nn.Sequential
    avgpool: nn.AdaptiveAvgPool2d
    classifier: nn.Sequential

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, in_channels, H, W) to logits (N, num_classes)."""
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


class VGG16(_Plain):
    """Configuration D, without batch normalisation."""

    def __init__(self, num_classes: int = 1000, in_channels: int = 3) -> None:
        super().__init__()
        steps: list[nn.Module] = []
        channels = in_channels
        for width in arch.VGG16:
            if width is None:
                steps.append(nn.MaxPool2d(2, 2))
            else:
                steps += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
                channels = width
        self.features = nn.Sequential(*steps)
        self.avgpool = nn.AdaptiveAvgPool2d(arch.VGG_GRID)
        self.classifier = nn.Sequential(
            nn.Linear(channels * arch.VGG_GRID**2, arch.VGG_HIDDEN),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(arch.VGG_HIDDEN, arch.VGG_HIDDEN),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(arch.VGG_HIDDEN, num_classes),
        )
        initialise(self)


class AlexNet(_Plain):
    """The single tower of "One weird trick", as torchvision has it."""

    def __init__(self, num_classes: int = 1000, in_channels: int = 3) -> None:
        super().__init__()
        steps: list[nn.Module] = []
        channels = in_channels
        for stage in arch.ALEXNET:
            steps += [nn.Conv2d(channels, stage.channels, stage.kernel, stage.stride, stage.padding), nn.ReLU(inplace=True)]
            channels = stage.channels
            if stage.pooled:
                steps.append(nn.MaxPool2d(3, 2))
        self.features = nn.Sequential(*steps)
        self.avgpool = nn.AdaptiveAvgPool2d(arch.ALEXNET_GRID)
        self.classifier = nn.Sequential(
            nn.Dropout(),
            nn.Linear(channels * arch.ALEXNET_GRID**2, arch.ALEXNET_HIDDEN),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(arch.ALEXNET_HIDDEN, arch.ALEXNET_HIDDEN),
            nn.ReLU(inplace=True),
            nn.Linear(arch.ALEXNET_HIDDEN, num_classes),
        )
        initialise(self)
