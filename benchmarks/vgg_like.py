# mypy: allow-subclassing-any
"""A VGG-like network of eight layers for small images: seven convolutions of 3 x 3 and a linear layer."""

from __future__ import annotations

from torch import Tensor, nn

WIDTHS = ((16, 16), (32, 32), (64, 64, 64))
"""Channels of each convolution; between the blocks maps are halved by a maximum."""


class VggLike(nn.Module):
    """Convolution, normalisation and ReLU, block by block; then the mean of each map and a linear layer.

    At 14 x 14 pixels maps have 14 x 14, 7 x 7 and 3 x 3 elements.
    """

    def __init__(self, in_channels: int = 1, num_classes: int = 10) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = in_channels
        for block, widths in enumerate(WIDTHS):
            layers += [nn.MaxPool2d(2)] if block else []
            for width in widths:
                layers += [nn.Conv2d(before, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
                before = width
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(before, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) to logits."""
        found: Tensor = self.fc(self.pool(self.features(images)).flatten(1))
        return found
