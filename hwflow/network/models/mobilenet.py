# mypy: allow-subclassing-any
"""MobileNet (Howard et al. 2017), MobileNetV2 (Sandler et al. 2018; parameter names are torchvision's), and a small one."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from hwflow.network import _architectures as arch
from hwflow.network.models._blocks import conv_norm_act, initialise


class MobileNetV1(nn.Module):
    """Depthwise-separable convolutions: `features.3.depthwise`, `features.3.pointwise`, each with children 0, 1, 2."""

    def __init__(self, num_classes: int = 1000, in_channels: int = 3) -> None:
        super().__init__()
        channels = arch.MOBILENET_V1_STEM
        steps = [conv_norm_act(in_channels, channels, 3, stride=2)]
        for width, stride in arch.MOBILENET_V1:
            depthwise = conv_norm_act(channels, channels, 3, stride=stride, groups=channels)
            pointwise = conv_norm_act(channels, width, 1)
            steps.append(nn.Sequential(OrderedDict(depthwise=depthwise, pointwise=pointwise)))
            channels = width
        self.features = nn.Sequential(*steps)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(channels, num_classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, in_channels, H, W) to logits (N, num_classes)."""
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


class InvertedResidual(nn.Module):
    """1 x 1 expansion (unless it is 1), depthwise, 1 x 1 linear projection; a shortcut where the shape stays."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int, kernel: int = 3) -> None:
        super().__init__()
        hidden = inputs * expansion
        steps: list[nn.Module] = []
        if expansion != 1:
            steps.append(conv_norm_act(inputs, hidden, 1, act=nn.ReLU6))
        steps.append(conv_norm_act(hidden, hidden, kernel, stride=stride, groups=hidden, act=nn.ReLU6))
        steps += [nn.Conv2d(hidden, outputs, 1, bias=False), nn.BatchNorm2d(outputs)]
        self.conv = nn.Sequential(*steps)
        self.is_residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        return x + self.conv(x) if self.is_residual else self.conv(x)


class MobileNetV2(nn.Module):
    """Inverted residuals with linear bottlenecks, width 1.0."""

    def __init__(self, num_classes: int = 1000, in_channels: int = 3) -> None:
        super().__init__()
        channels = arch.MOBILENET_V2_STEM
        steps: list[nn.Module] = [conv_norm_act(in_channels, channels, 3, stride=2, act=nn.ReLU6)]
        for plan in arch.MOBILENET_V2:
            for i in range(plan.repeats):
                steps.append(InvertedResidual(channels, plan.channels, plan.stride if i == 0 else 1, plan.expansion))
                channels = plan.channels
        steps.append(conv_norm_act(channels, arch.MOBILENET_V2_HEAD, 1, act=nn.ReLU6))
        self.features = nn.Sequential(*steps)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(arch.MOBILENET_V2_HEAD, num_classes))
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, in_channels, H, W) to logits (N, num_classes)."""
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


class SmallMBConv(nn.Module):
    """Inverted residuals with kernels of 5 x 5 and expansion 6, for small images: what `hwflow search` starts from."""

    def __init__(self, num_classes: int = 10, in_channels: int = 3) -> None:
        super().__init__()
        channels = arch.SMALL_MBCONV_STEM
        steps: list[nn.Module] = [conv_norm_act(in_channels, channels, 3, stride=2, act=nn.ReLU6)]
        for plan in arch.SMALL_MBCONV:
            for i in range(plan.repeats):
                stride = plan.stride if i == 0 else 1
                steps.append(InvertedResidual(channels, plan.channels, stride, plan.expansion, arch.SMALL_MBCONV_KERNEL))
                channels = plan.channels
        steps.append(conv_norm_act(channels, arch.SMALL_MBCONV_HEAD, 1, act=nn.ReLU6))
        self.features = nn.Sequential(*steps)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(arch.SMALL_MBCONV_HEAD, num_classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, in_channels, H, W) to logits (N, num_classes)."""
        return self.classifier(self.avgpool(self.features(x)).flatten(1))
