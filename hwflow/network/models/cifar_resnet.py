# mypy: allow-subclassing-any
"""ResNets for CIFAR (He et al. 2015, section 4.2): 6n + 2 layers, shortcuts without parameters (option A)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from hwflow.network._architectures import CIFAR_WIDTHS
from hwflow.network.models._blocks import initialise


class PadShortcut(nn.Module):
    """Every other pixel, and zeros around the channels that are there."""

    def __init__(self, extra: int, stride: int) -> None:
        super().__init__()
        self.before, self.stride = extra // 2, stride
        self.after = extra - self.before

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C + extra, H / stride, W / stride), sizes rounded up."""
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.after))


class CifarBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut = nn.Identity() if inputs == width else PadShortcut(width - inputs, stride)
        self.relu2 = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, width, H / stride, W / stride)."""
        y = self.relu1(self.bn1(self.conv1(x)))
        return self.relu2(self.bn2(self.conv2(y)) + self.shortcut(x))


class CifarResNet(nn.Module):
    """A classifier of small images: 0.27 million parameters at n = 3, 0.85 million at n = 9."""

    def __init__(self, depth: int, num_classes: int = 10, in_channels: int = 3) -> None:
        super().__init__()
        channels = CIFAR_WIDTHS[0]
        self.conv1 = nn.Conv2d(in_channels, channels, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        for stage, width in enumerate(CIFAR_WIDTHS, start=1):
            blocks = []
            for i in range(depth):
                blocks.append(CifarBlock(channels, width, 2 if stage > 1 and i == 0 else 1))
                channels = width
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, num_classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, in_channels, H, W) to logits (N, num_classes)."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(self.avgpool(x).flatten(1))
