# mypy: allow-subclassing-any
"""ResNets for ImageNet (He et al. 2015), with the option to dilate the last stages instead of striding."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from hwflow.network._architectures import RESNET_WIDTHS, ResNetPlan
from hwflow.network.models._blocks import initialise


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut."""

    def __init__(self, inputs: int, width: int, stride: int, dilation: int) -> None:
        super().__init__()
        if dilation != 1:
            raise ValueError(f"a basic block cannot be dilated; dilation is {dilation}")
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _projection(inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, width, H / stride, W / stride)."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 (strided or dilated), 1 x 1 to four times the width, and a shortcut."""

    def __init__(self, inputs: int, width: int, stride: int, dilation: int) -> None:
        super().__init__()
        outputs = 4 * width
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _projection(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, 4 width, H / stride, W / stride)."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNetFeatures(nn.Module):
    """A ResNet without its classifier; `dilated` says which of the last three stages dilate instead of striding."""

    def __init__(self, plan: ResNetPlan, in_channels: int, dilated: Sequence[bool] = (False, False, False)) -> None:
        super().__init__()
        block = BasicBlock if plan.block == "basic" else Bottleneck
        channels, dilation = RESNET_WIDTHS[0], 1
        self.conv1 = nn.Conv2d(in_channels, channels, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        for stage, (width, depth, dilates) in enumerate(
            zip(RESNET_WIDTHS, plan.depths, (False, *dilated), strict=True), start=1
        ):
            stride, first = (1 if stage == 1 else 2), dilation
            if dilates:
                dilation, stride = dilation * stride, 1
            blocks = []
            for i in range(depth):
                blocks.append(block(channels, width, stride if i == 0 else 1, first if i == 0 else dilation))
                channels = width * plan.expansion
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
        self.channels = channels

    def stages(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What the third and the fourth stage give for images (N, in_channels, H, W)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        third = self.layer3(self.layer2(self.layer1(x)))
        return third, self.layer4(third)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """As `stages`."""
        return self.stages(x)


class ResNet(ResNetFeatures):
    """A classifier of images; parameter names are torchvision's."""

    def __init__(self, plan: ResNetPlan, num_classes: int = 1000, in_channels: int = 3) -> None:
        super().__init__(plan, in_channels)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(self.channels, num_classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, in_channels, H, W) to logits (N, num_classes)."""
        return self.fc(self.avgpool(self.stages(x)[1]).flatten(1))


def _projection(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
