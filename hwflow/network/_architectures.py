"""Widths, depths and strides of the zoo's networks, from their papers; shared by the modules and the torch-free builders."""

from __future__ import annotations

from typing import Literal, NamedTuple


class ResNetPlan(NamedTuple):
    """He et al. 2015 (arXiv:1512.03385), Table 1; a bottleneck strides in its 3 x 3 convolution, as torchvision's do."""

    block: Literal["basic", "bottleneck"]
    depths: tuple[int, int, int, int]

    @property
    def expansion(self) -> int:
        """Output channels of a block over its width."""
        return 4 if self.block == "bottleneck" else 1


RESNETS = {
    "resnet18": ResNetPlan("basic", (2, 2, 2, 2)),
    "resnet50": ResNetPlan("bottleneck", (3, 4, 6, 3)),
}
RESNET_WIDTHS = (64, 128, 256, 512)

CIFAR_RESNETS = {"resnet20": 3, "resnet56": 9}
"""Blocks a stage, n of 6n + 2 layers: He et al. 2015, section 4.2."""
CIFAR_WIDTHS = (16, 32, 64)

VGG16: tuple[int | None, ...] = (64, 64, None, 128, 128, None, 256, 256, 256, None, 512, 512, 512, None, 512, 512, 512, None)
"""Simonyan and Zisserman 2014 (arXiv:1409.1556), configuration D; None is a 2 x 2 max pooling."""
VGG_GRID = 7
VGG_HIDDEN = 4096


class AlexNetStage(NamedTuple):
    """A convolution with ReLU, and whether a 3 x 3 max pooling of stride 2 follows."""

    channels: int
    kernel: int
    stride: int
    padding: int
    pooled: bool


ALEXNET = (
    AlexNetStage(64, 11, 4, 2, True),
    AlexNetStage(192, 5, 1, 2, True),
    AlexNetStage(384, 3, 1, 1, False),
    AlexNetStage(256, 3, 1, 1, False),
    AlexNetStage(256, 3, 1, 1, True),
)
"""Krizhevsky 2014 (arXiv:1404.5997), the single tower that torchvision has."""
ALEXNET_GRID = 6
ALEXNET_HIDDEN = 4096

MOBILENET_V1_STEM = 32
MOBILENET_V1 = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *[(512, 1)] * 5,
    (1024, 2),
    (1024, 1),
)
"""Howard et al. 2017 (arXiv:1704.04861), Table 1: output channels and stride of each depthwise-separable block."""


class InvertedPlan(NamedTuple):
    """`repeats` inverted residuals; the first has the stride."""

    expansion: int
    channels: int
    repeats: int
    stride: int


MOBILENET_V2_STEM = 32
MOBILENET_V2 = (
    InvertedPlan(1, 16, 1, 1),
    InvertedPlan(6, 24, 2, 2),
    InvertedPlan(6, 32, 3, 2),
    InvertedPlan(6, 64, 4, 2),
    InvertedPlan(6, 96, 3, 1),
    InvertedPlan(6, 160, 3, 2),
    InvertedPlan(6, 320, 1, 1),
)
"""Sandler et al. 2018 (arXiv:1801.04381), Table 2."""
MOBILENET_V2_HEAD = 1280

SMALL_MBCONV_STEM = 16
SMALL_MBCONV = (
    InvertedPlan(6, 16, 1, 1),
    InvertedPlan(6, 24, 2, 2),
    InvertedPlan(6, 32, 2, 2),
    InvertedPlan(6, 64, 3, 1),
)
SMALL_MBCONV_KERNEL = 5
SMALL_MBCONV_HEAD = 128
"""Ours: eight inverted residuals for images of some 28 x 28 pixels, the largest network of a search."""

ASPP_RATES = (12, 24, 36)
"""Chen et al. 2017 (arXiv:1706.05587) at output stride 8."""
ASPP_WIDTH = 256
AUX_WIDTH = 256
DEEPLAB_DILATED = (False, True, True)
"""Which of the backbone's last three stages dilate instead of striding: output stride 8."""
