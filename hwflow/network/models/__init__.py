"""The zoo's networks as `nn.Module`s, whose state dicts match torchvision's published weights."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from hwflow.network._architectures import CIFAR_RESNETS, RESNETS
from hwflow.network.models.cifar_resnet import CifarResNet
from hwflow.network.models.deeplab import DeepLabV3
from hwflow.network.models.mobilenet import MobileNetV1, MobileNetV2, SmallMBConv
from hwflow.network.models.plain import VGG16, AlexNet
from hwflow.network.models.resnet import ResNet

BUILDERS: dict[str, Callable[[int, int], nn.Module]] = {
    "resnet20": lambda classes, channels: CifarResNet(CIFAR_RESNETS["resnet20"], classes, channels),
    "resnet56": lambda classes, channels: CifarResNet(CIFAR_RESNETS["resnet56"], classes, channels),
    "resnet18": lambda classes, channels: ResNet(RESNETS["resnet18"], classes, channels),
    "resnet50": lambda classes, channels: ResNet(RESNETS["resnet50"], classes, channels),
    "vgg16": VGG16,
    "alexnet": AlexNet,
    "mobilenet_v1": MobileNetV1,
    "mobilenet_v2": MobileNetV2,
    "small_mbconv": SmallMBConv,
    "deeplabv3_resnet50": DeepLabV3,
}
"""For each name of the zoo a function of (number of classes, input channels)."""

__all__ = ["BUILDERS", "VGG16", "AlexNet", "CifarResNet", "DeepLabV3", "MobileNetV1", "MobileNetV2", "ResNet", "SmallMBConv"]
