# mypy: allow-subclassing-any
"""DeepLabv3 (Chen et al. 2017) on a ResNet-50 of output stride 8; parameter names are torchvision's."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hwflow.network import _architectures as arch
from hwflow.network.models._blocks import conv_norm_act, initialise
from hwflow.network.models.resnet import ResNetFeatures


class PooledBranch(nn.Sequential):
    """The mean of the whole image through a 1 x 1 convolution, spread over the image again."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(nn.AdaptiveAvgPool2d(1), *conv_norm_act(inputs, outputs, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H, W)."""
        y = x
        for step in self:
            y = step(y)
        return F.interpolate(y, size=x.shape[-2:], mode="bilinear", align_corners=False)


class PyramidPooling(nn.Module):
    """Atrous spatial pyramid pooling: a 1 x 1, three dilated 3 x 3 and a pooled branch, joined by a 1 x 1."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        dilated = [conv_norm_act(inputs, width, 3, dilation=rate) for rate in arch.ASPP_RATES]
        self.convs = nn.ModuleList([conv_norm_act(inputs, width, 1), *dilated, PooledBranch(inputs, width)])
        self.project = nn.Sequential(*conv_norm_act(len(self.convs) * width, width, 1), nn.Dropout(0.5))

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, width, H, W)."""
        return self.project(torch.cat([branch(x) for branch in self.convs], dim=1))


class DeepLabV3(nn.Module):
    """Semantic segmentation.

    `auxiliary` adds the classifier on the third stage that helps training. It runs in training mode only, where the result is
    then a pair (logits, auxiliary logits); torchvision returns a dictionary instead.
    """

    def __init__(self, num_classes: int = 21, in_channels: int = 3, *, auxiliary: bool = False) -> None:
        super().__init__()
        self.backbone = ResNetFeatures(arch.RESNETS["resnet50"], in_channels, arch.DEEPLAB_DILATED)
        channels, width = self.backbone.channels, arch.ASPP_WIDTH
        self.classifier = nn.Sequential(
            PyramidPooling(channels, width), *conv_norm_act(width, width, 3), nn.Conv2d(width, num_classes, 1)
        )
        self.aux_classifier = (
            nn.Sequential(
                *conv_norm_act(channels // 2, arch.AUX_WIDTH, 3), nn.Dropout(0.1), nn.Conv2d(arch.AUX_WIDTH, num_classes, 1)
            )
            if auxiliary
            else None
        )
        initialise(self)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Images (N, in_channels, H, W) to logits (N, num_classes, H, W), and the auxiliary ones where they are asked for."""
        third, fourth = self.backbone(x)
        logits = self._spread(self.classifier(fourth), x)
        if self.aux_classifier is None or not self.training:
            return logits
        return logits, self._spread(self.aux_classifier(third), x)

    @staticmethod
    def _spread(logits: Tensor, image: Tensor) -> Tensor:
        return F.interpolate(logits, size=image.shape[-2:], mode="bilinear", align_corners=False)
