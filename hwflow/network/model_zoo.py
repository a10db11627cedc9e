"""Networks that hwflow knows by name: built without torch (`build`), or as trainable `nn.Module`s (`load_model`).

The rows of `build` bear the qualified names of `load_model`'s modules; a test holds that tracing the module gives the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hwflow.errors import InputError, check_whole, is_whole, not_found
from hwflow.network import _architectures as arch
from hwflow.network._builder import Activation, Builder
from hwflow.network.network import Network
from hwflow.optional import needed

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Entry:
    """One network of the zoo.

    Attributes:
        description: one line for `hwflow list networks`.
        input_shape: (N, C, H, W) that it is costed at by default.
        num_classes: outputs by default.
    """

    description: str
    input_shape: tuple[int, int, int, int]
    num_classes: int
    _rows: Callable[[Builder, Activation, int], Activation]


def build(name: str, input_shape: Sequence[int] | None = None, num_classes: int | None = None) -> Network:
    """A network of the zoo from shapes alone; torch is not needed.

    Args:
        input_shape: (N, C, H, W), by default the entry's own.
        num_classes: outputs, by default those of the data set of the network's paper.

    Raises:
        InputError: for an unknown name, a shape that is not (N, C, H, W), or an input that is too small for the network.
    """
    entry = _entry(name)
    shape = entry.input_shape if input_shape is None else tuple(input_shape)
    if len(shape) != 4 or not all(is_whole(n) for n in shape):
        raise InputError(
            f"input_shape of {name} is {input_shape!r}; it must be four whole numbers of at least 1, batch first: "
            f"{'x'.join(map(str, entry.input_shape))}."
        )
    builder = Builder(name, shape)
    return builder.network(entry._rows(builder, builder.input, _classes(name, entry, num_classes)))


def load_model(name: str, num_classes: int | None = None, in_channels: int = 3) -> nn.Module:
    """The same network as an untrained `nn.Module`; published torchvision weights of that name load with `strict=True`.

    Raises:
        InputError: for an unknown name or sizes that are no positive whole numbers.
        MissingDependency: where torch is not installed.
    """
    entry = _entry(name)
    classes = _classes(name, entry, num_classes)
    check_whole("in_channels", in_channels)
    needed("torch", f"the module of {name}")
    from hwflow.network import models

    return models.BUILDERS[name](classes, in_channels)


def _entry(name: str) -> Entry:
    if name not in ZOO:
        raise not_found("network", name, ZOO)
    return ZOO[name]


def _classes(name: str, entry: Entry, num_classes: int | None) -> int:
    if num_classes is None:
        return entry.num_classes
    check_whole(f"num_classes of {name}", num_classes)
    return num_classes


# ResNets -------------------------------------------------------------------------------------------------------------


def _resnet_features(
    b: Builder, x: Activation, plan: arch.ResNetPlan, prefix: str = "", dilated: Sequence[bool] = (False,) * 3
) -> Activation:
    x = b.conv_norm(f"{prefix}conv1", f"{prefix}bn1", x, arch.RESNET_WIDTHS[0], 7, stride=2)
    x = b.activation(f"{prefix}relu", x)
    x = b.max_pool(f"{prefix}maxpool", x, 3, 2, 1)
    dilation = 1
    for stage, (width, depth, dilates) in enumerate(
        zip(arch.RESNET_WIDTHS, plan.depths, (False, *dilated), strict=True), start=1
    ):
        stride, first = (1 if stage == 1 else 2), dilation
        if dilates:
            dilation, stride = dilation * stride, 1
        for i in range(depth):
            block = f"{prefix}layer{stage}.{i}"
            x = _residual(
                b, block, x, plan, width=width, stride=stride if i == 0 else 1, dilation=first if i == 0 else dilation
            )
    return x


def _residual(
    b: Builder, name: str, x: Activation, plan: arch.ResNetPlan, *, width: int, stride: int, dilation: int
) -> Activation:
    channels = width * plan.expansion
    if plan.block == "basic":
        y = b.conv_norm(f"{name}.conv1", f"{name}.bn1", x, width, 3, stride=stride)
        y = b.activation(f"{name}.relu", y)
        y = b.conv_norm(f"{name}.conv2", f"{name}.bn2", y, channels, 3)
    else:
        y = b.conv_norm(f"{name}.conv1", f"{name}.bn1", x, width, 1)
        y = b.activation(f"{name}.relu", y)
        y = b.conv_norm(f"{name}.conv2", f"{name}.bn2", y, width, 3, stride=stride, dilation=dilation)
        y = b.activation(f"{name}.relu", y)
        y = b.conv_norm(f"{name}.conv3", f"{name}.bn3", y, channels, 1)
    if stride != 1 or x[1] != channels:
        x = b.conv_norm(f"{name}.downsample.0", f"{name}.downsample.1", x, channels, 1, stride=stride)
    return b.activation(f"{name}.relu", b.add(name, y, x))


def _resnet(plan: arch.ResNetPlan) -> Callable[[Builder, Activation, int], Activation]:
    def rows(b: Builder, x: Activation, classes: int) -> Activation:
        return b.linear("fc", b.average_pool("avgpool", _resnet_features(b, x, plan)), classes)

    return rows


def _cifar_resnet(depth: int) -> Callable[[Builder, Activation, int], Activation]:
    def rows(b: Builder, x: Activation, classes: int) -> Activation:
        x = b.activation("relu", b.conv_norm("conv1", "bn1", x, arch.CIFAR_WIDTHS[0], 3))
        for stage, width in enumerate(arch.CIFAR_WIDTHS, start=1):
            for i in range(depth):
                x = _cifar_block(b, f"layer{stage}.{i}", x, width, 2 if stage > 1 and i == 0 else 1)
        return b.linear("fc", b.average_pool("avgpool", x), classes)

    return rows


def _cifar_block(b: Builder, name: str, x: Activation, width: int, stride: int) -> Activation:
    y = b.activation(f"{name}.relu1", b.conv_norm(f"{name}.conv1", f"{name}.bn1", x, width, 3, stride=stride))
    y = b.conv_norm(f"{name}.conv2", f"{name}.bn2", y, width, 3)
    if x[1] != width:  # option A: every other pixel, zeros for the new channels
        x = b.op(f"{name}.shortcut", "Pad", [b.view(x, (x[0], x[1], *y[2:]))], y)
    return b.activation(f"{name}.relu2", b.add(name, y, x))


# Plain networks ------------------------------------------------------------------------------------------------------


def _vgg16(b: Builder, x: Activation, classes: int) -> Activation:
    at = 0
    for channels in arch.VGG16:
        if channels is None:
            x = b.max_pool(f"features.{at}", x, 2, 2)
            at += 1
        else:
            x = b.activation(f"features.{at + 1}", b.conv(f"features.{at}", x, channels, 3, bias=True))
            at += 2
    x = b.average_pool("avgpool", x, arch.VGG_GRID)
    x = b.activation("classifier.1", b.linear("classifier.0", x, arch.VGG_HIDDEN))
    x = b.activation("classifier.4", b.linear("classifier.3", x, arch.VGG_HIDDEN))
    return b.linear("classifier.6", x, classes)


def _alexnet(b: Builder, x: Activation, classes: int) -> Activation:
    at = 0
    for stage in arch.ALEXNET:
        x = b.conv(f"features.{at}", x, stage.channels, stage.kernel, stride=stage.stride, padding=stage.padding, bias=True)
        x = b.activation(f"features.{at + 1}", x)
        at += 2
        if stage.pooled:
            x = b.max_pool(f"features.{at}", x, 3, 2)
            at += 1
    x = b.average_pool("avgpool", x, arch.ALEXNET_GRID)
    x = b.activation("classifier.2", b.linear("classifier.1", x, arch.ALEXNET_HIDDEN))
    x = b.activation("classifier.5", b.linear("classifier.4", x, arch.ALEXNET_HIDDEN))
    return b.linear("classifier.6", x, classes)


# MobileNets ----------------------------------------------------------------------------------------------------------


def _conv_norm_act(
    b: Builder,
    name: str,
    x: Activation,
    channels: int,
    kernel: int,
    *,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    act: str,
) -> Activation:
    y = b.conv_norm(f"{name}.0", f"{name}.1", x, channels, kernel, stride=stride, dilation=dilation, groups=groups)
    return b.activation(f"{name}.2", y, act)


def _mobilenet_v1(b: Builder, x: Activation, classes: int) -> Activation:
    x = _conv_norm_act(b, "features.0", x, arch.MOBILENET_V1_STEM, 3, stride=2, act="Relu")
    for i, (channels, stride) in enumerate(arch.MOBILENET_V1, start=1):
        x = _conv_norm_act(b, f"features.{i}.depthwise", x, x[1], 3, stride=stride, groups=x[1], act="Relu")
        x = _conv_norm_act(b, f"features.{i}.pointwise", x, channels, 1, act="Relu")
    return b.linear("classifier", b.average_pool("avgpool", x), classes)


def _mobilenet_v2(b: Builder, x: Activation, classes: int) -> Activation:
    x = _conv_norm_act(b, "features.0", x, arch.MOBILENET_V2_STEM, 3, stride=2, act="Clip")
    at = 1
    for plan in arch.MOBILENET_V2:
        for i in range(plan.repeats):
            x = _inverted(b, f"features.{at}", x, plan, plan.stride if i == 0 else 1)
            at += 1
    x = _conv_norm_act(b, f"features.{at}", x, arch.MOBILENET_V2_HEAD, 1, act="Clip")
    return b.linear("classifier.1", b.average_pool("avgpool", x), classes)


def _small_mbconv(b: Builder, x: Activation, classes: int) -> Activation:
    x = _conv_norm_act(b, "features.0", x, arch.SMALL_MBCONV_STEM, 3, stride=2, act="Clip")
    at = 1
    for plan in arch.SMALL_MBCONV:
        for i in range(plan.repeats):
            stride = plan.stride if i == 0 else 1
            x = _inverted(b, f"features.{at}", x, plan, stride, arch.SMALL_MBCONV_KERNEL)
            at += 1
    x = _conv_norm_act(b, f"features.{at}", x, arch.SMALL_MBCONV_HEAD, 1, act="Clip")
    return b.linear("classifier", b.average_pool("avgpool", x), classes)


def _inverted(b: Builder, name: str, x: Activation, plan: arch.InvertedPlan, stride: int, kernel: int = 3) -> Activation:
    hidden, y, at = x[1] * plan.expansion, x, 0
    if plan.expansion != 1:
        y, at = _conv_norm_act(b, f"{name}.conv.0", x, hidden, 1, act="Clip"), 1
    y = _conv_norm_act(b, f"{name}.conv.{at}", y, hidden, kernel, stride=stride, groups=hidden, act="Clip")
    y = b.conv_norm(f"{name}.conv.{at + 1}", f"{name}.conv.{at + 2}", y, plan.channels, 1)
    return b.add(name, x, y) if stride == 1 and x[1] == plan.channels else y


# Segmentation --------------------------------------------------------------------------------------------------------


def _deeplabv3_resnet50(b: Builder, image: Activation, classes: int) -> Activation:
    x = _resnet_features(b, image, arch.RESNETS["resnet50"], "backbone.", arch.DEEPLAB_DILATED)
    head, width = "classifier.0", arch.ASPP_WIDTH
    branches = [_conv_norm_act(b, f"{head}.convs.0", x, width, 1, act="Relu")]
    for i, rate in enumerate(arch.ASPP_RATES, start=1):
        branches.append(_conv_norm_act(b, f"{head}.convs.{i}", x, width, 3, dilation=rate, act="Relu"))
    pooling = f"{head}.convs.{len(arch.ASPP_RATES) + 1}"
    y = b.average_pool(f"{pooling}.0", x)
    y = b.activation(f"{pooling}.3", b.conv_norm(f"{pooling}.1", f"{pooling}.2", y, width, 1))
    y = b.resize(pooling, y, x)
    branches.append(y)
    y = b.op(head, "Concat", branches, (y[0], width * len(branches), *y[2:]))
    y = _conv_norm_act(b, f"{head}.project", y, width, 1, act="Relu")
    y = b.activation("classifier.3", b.conv_norm("classifier.1", "classifier.2", y, width, 3))
    return b.resize("Resize", b.conv("classifier.4", y, classes, 1, bias=True), image)


_CIFAR, _IMAGENET = (1, 3, 32, 32), (1, 3, 224, 224)

ZOO: dict[str, Entry] = {
    "resnet20": Entry(
        "ResNet-20 for CIFAR, option-A shortcuts (He et al. 2015)", _CIFAR, 10, _cifar_resnet(arch.CIFAR_RESNETS["resnet20"])
    ),
    "resnet56": Entry(
        "ResNet-56 for CIFAR, option-A shortcuts (He et al. 2015)", _CIFAR, 10, _cifar_resnet(arch.CIFAR_RESNETS["resnet56"])
    ),
    "resnet18": Entry("ResNet-18 (He et al. 2015)", _IMAGENET, 1000, _resnet(arch.RESNETS["resnet18"])),
    "resnet50": Entry("ResNet-50, stride on the 3 x 3 (He et al. 2015)", _IMAGENET, 1000, _resnet(arch.RESNETS["resnet50"])),
    "vgg16": Entry("VGG-16 without batch normalisation (Simonyan and Zisserman 2014)", _IMAGENET, 1000, _vgg16),
    "alexnet": Entry("AlexNet, single tower (Krizhevsky 2014)", _IMAGENET, 1000, _alexnet),
    "mobilenet_v1": Entry("MobileNet 1.0 (Howard et al. 2017)", _IMAGENET, 1000, _mobilenet_v1),
    "mobilenet_v2": Entry("MobileNetV2 1.0 (Sandler et al. 2018)", _IMAGENET, 1000, _mobilenet_v2),
    "small_mbconv": Entry(
        "eight inverted residuals of 5 x 5 for small images, hwflow's own, to search in", _CIFAR, 10, _small_mbconv
    ),
    "deeplabv3_resnet50": Entry(
        "DeepLabv3 on a dilated ResNet-50, output stride 8 (Chen et al. 2017)", (1, 3, 520, 520), 21, _deeplabv3_resnet50
    ),
}
"""Every network by name, in the order in which they are listed."""

NAMES: tuple[str, ...] = tuple(ZOO)

__all__ = ["NAMES", "ZOO", "Entry", "build", "load_model"]
