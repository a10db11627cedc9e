"""The zoo: papers' figures, torchvision's parameter names, and that the builders without torch equal the traced modules."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import hwflow.network
from hwflow.errors import InputError
from hwflow.network import model_zoo, zoo
from hwflow.network.from_torch import trace
from hwflow.network.models import DeepLabV3


@pytest.fixture
def without_storage() -> Iterator[None]:
    """Modules made inside have shapes and no data."""
    with torch.device("meta"):
        yield


# GMAC of the papers and of the usual counters (fvcore, thop); the tolerance is their rounding.
PUBLISHED_MACS = {
    "resnet20": (40.8e6, 0.01),
    "resnet56": (125.7e6, 0.01),
    "resnet18": (1.814e9, 0.001),
    "resnet50": (4.089e9, 0.001),
    "vgg16": (15.470e9, 0.001),
    "alexnet": (0.714e9, 0.001),
    "mobilenet_v1": (569e6, 0.001),
    "mobilenet_v2": (300.8e6, 0.001),
    "small_mbconv": (5_888_512, 1e-9),  # hwflow's own, counted by hand
    "deeplabv3_resnet50": (168.7e9, 0.001),
}

# torchvision's documentation (`num_params`); He et al. 2015 and Howard et al. 2017 say 0.27, 0.85 and 4.2 million.
PUBLISHED_PARAMS = {
    "resnet20": 269_722,
    "resnet56": 853_018,
    "resnet18": 11_689_512,
    "resnet50": 25_557_032,
    "vgg16": 138_357_544,
    "alexnet": 61_100_840,
    "mobilenet_v1": 4_231_976,
    "mobilenet_v2": 3_504_872,
    "small_mbconv": 201_616 + 7_466,
    "deeplabv3_resnet50": 42_004_074 - 2_365_205,  # the published figure holds the auxiliary classifier
}


@pytest.mark.parametrize("name", model_zoo.NAMES)
def test_macs_and_parameters_are_the_published_ones(name: str) -> None:
    net = zoo(name)
    macs, tolerance = PUBLISHED_MACS[name]
    assert net.macs == pytest.approx(macs, rel=tolerance)
    assert net.params + net.params_other == PUBLISHED_PARAMS[name]


@pytest.mark.parametrize("name", model_zoo.NAMES)
@pytest.mark.usefixtures("without_storage")
def test_macs_and_parameters_equal_those_counted_by_hooks(name: str) -> None:
    model, shape, macs = model_zoo.load_model(name), model_zoo.ZOO[name].input_shape, 0

    def count(module: Any, args: Any, out: torch.Tensor) -> None:
        nonlocal macs
        if isinstance(module, nn.Conv2d):
            macs += out.numel() * module.weight[0].numel()
        elif isinstance(module, nn.Linear):
            macs += out.numel() * module.in_features

    for module in model.modules():
        module.register_forward_hook(count)
    with torch.no_grad():
        model.eval()(torch.empty(shape))
    net = zoo(name)
    assert net.macs == macs
    assert net.params + net.params_other == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("name", model_zoo.NAMES)
@pytest.mark.parametrize("shape", [None, (2, 3, 97, 129)], ids=["usual", "other"])
@pytest.mark.usefixtures("without_storage")
def test_builder_equals_the_traced_module(name: str, shape: tuple[int, ...] | None) -> None:
    built = model_zoo.build(name, shape)
    traced = trace(model_zoo.load_model(name), shape or model_zoo.ZOO[name].input_shape, name=name)
    assert built.layers == traced.layers
    assert [layer.params_other for layer in built] == [layer.params_other for layer in traced]
    assert built.other == traced.other


@pytest.mark.parametrize("name", model_zoo.NAMES)
@pytest.mark.usefixtures("without_storage")
def test_classes_and_channels_are_parameters(name: str) -> None:
    built = model_zoo.build(name, (1, 1, 64, 64), 19)
    traced = trace(model_zoo.load_model(name, 19, in_channels=1), (1, 1, 64, 64), name=name)
    assert built == traced
    assert (built.layers[0].C, built.layers[-1].M) == (1, 19)


@pytest.mark.parametrize("name", ["resnet20", "mobilenet_v2"])
def test_a_module_computes_and_learns(name: str) -> None:
    torch.manual_seed(0)
    model = model_zoo.load_model(name, 10, in_channels=1)
    logits = model(torch.randn(4, 1, 32, 32))
    assert logits.shape == (4, 10)
    logits.square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


def test_resnet18_has_the_shapes_of_the_paper() -> None:
    net = zoo("resnet18")
    assert [layer.name for layer in net][:6] == [
        "conv1",
        "layer1.0.conv1",
        "layer1.0.conv2",
        "layer1.1.conv1",
        "layer1.1.conv2",
        "layer2.0.conv1",
    ]
    assert str(net["conv1"]) == "conv1 (conv: C=3 M=64 P=112 Q=112 R=7 S=7 stride=2x2)"
    assert str(net["layer4.0.downsample.0"]) == "layer4.0.downsample.0 (conv: C=256 M=512 P=7 Q=7 stride=2x2)"
    assert net.not_counted == {"Add": 8, "BatchNormalization": 20, "GlobalAveragePool": 1, "MaxPool": 1, "Relu": 17}


def test_width_and_height_are_kept_apart() -> None:
    assert (
        zoo("resnet18", input_shape=(1, 3, 64, 128))["conv1"].P,
        zoo("resnet18", input_shape=(1, 3, 64, 128))["conv1"].Q,
    ) == (64, 32)


def test_mobilenet_v2_has_its_depthwise_layers() -> None:
    depthwise = [layer for layer in zoo("mobilenet_v2") if layer.G > 1]
    assert len(depthwise) == 17
    assert all((layer.C, layer.M, layer.R, layer.S) == (1, 1, 3, 3) for layer in depthwise)


def test_deeplab_dilates_instead_of_striding() -> None:
    net = zoo("deeplabv3_resnet50")
    assert [net[f"classifier.0.convs.{i}.0"].dilations for i in (1, 2, 3)] == [(12, 12), (24, 24), (36, 36)]
    last = [layer for layer in net if layer.name.startswith("backbone.layer") and layer.R == 3]
    assert [layer.dilations[0] for layer in last if "layer3" in layer.name] == [1, 2, 2, 2, 2, 2]
    assert [layer.dilations[0] for layer in last if "layer4" in layer.name] == [2, 4, 4]
    assert (last[-1].P, last[-1].Q) == (65, 65)
    assert net["classifier.4"].M == 21
    assert model_zoo.build("deeplabv3_resnet50", num_classes=19)["classifier.4"].M == 19


# State dicts ---------------------------------------------------------------------------------------------------------


def norm_keys(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    """What a BatchNorm2d keeps in a state dict."""
    vectors = {f"{name}.{key}": (channels,) for key in ("weight", "bias", "running_mean", "running_var")}
    return vectors | {f"{name}.num_batches_tracked": ()}


def torchvision_resnet(
    blocks: tuple[int, ...], bottleneck: bool, prefix: str = "", classes: int = 1000
) -> dict[str, tuple[int, ...]]:
    """Keys and shapes of torchvision's published ResNet weights, written down from its documentation of the architecture."""
    keys = {f"{prefix}conv1.weight": (64, 3, 7, 7)} | norm_keys(f"{prefix}bn1", 64)
    inputs = 64
    for stage, (depth, width) in enumerate(zip(blocks, (64, 128, 256, 512), strict=True), start=1):
        outputs = width * (4 if bottleneck else 1)
        for i in range(depth):
            at = f"{prefix}layer{stage}.{i}"
            kernels = (
                [(width, inputs, 1), (width, width, 3), (outputs, width, 1)]
                if bottleneck
                else [(width, inputs, 3), (width, width, 3)]
            )
            for j, (m, c, k) in enumerate(kernels, start=1):
                keys |= {f"{at}.conv{j}.weight": (m, c, k, k)} | norm_keys(f"{at}.bn{j}", m)
            if i == 0 and (inputs != outputs or stage > 1):
                keys |= {f"{at}.downsample.0.weight": (outputs, inputs, 1, 1)} | norm_keys(f"{at}.downsample.1", outputs)
            inputs = outputs
    if classes:
        keys |= {f"{prefix}fc.weight": (classes, inputs), f"{prefix}fc.bias": (classes,)}
    return keys


def torchvision_plain(convs: dict[int, tuple[int, ...]], linears: dict[int, tuple[int, int]]) -> dict[str, tuple[int, ...]]:
    keys: dict[str, tuple[int, ...]] = {}
    for part, members in (("features", convs), ("classifier", linears)):
        for i, shape in members.items():
            keys |= {f"{part}.{i}.weight": shape, f"{part}.{i}.bias": shape[:1]}
    return keys


def torchvision_vgg16() -> dict[str, tuple[int, ...]]:
    at = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
    widths = (3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
    convs = {i: (widths[n + 1], widths[n], 3, 3) for n, i in enumerate(at)}
    return torchvision_plain(convs, {0: (4096, 25088), 3: (4096, 4096), 6: (1000, 4096)})


def torchvision_alexnet() -> dict[str, tuple[int, ...]]:
    convs = {0: (64, 3, 11, 11), 3: (192, 64, 5, 5), 6: (384, 192, 3, 3), 8: (256, 384, 3, 3), 10: (256, 256, 3, 3)}
    return torchvision_plain(convs, {1: (4096, 9216), 4: (4096, 4096), 6: (1000, 4096)})


def torchvision_mobilenet_v2() -> dict[str, tuple[int, ...]]:
    keys = {"features.0.0.weight": (32, 3, 3, 3)} | norm_keys("features.0.1", 32)
    settings = ((1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1))
    inputs, at = 32, 1
    for expansion, outputs, repeats in settings:
        for _ in range(repeats):
            hidden, name, first = inputs * expansion, f"features.{at}.conv", expansion != 1
            if first:
                keys |= {f"{name}.0.0.weight": (hidden, inputs, 1, 1)} | norm_keys(f"{name}.0.1", hidden)
            keys |= {f"{name}.{int(first)}.0.weight": (hidden, 1, 3, 3)} | norm_keys(f"{name}.{int(first)}.1", hidden)
            keys |= {f"{name}.{first + 1}.weight": (outputs, hidden, 1, 1)} | norm_keys(f"{name}.{first + 2}", outputs)
            inputs, at = outputs, at + 1
    keys |= {"features.18.0.weight": (1280, 320, 1, 1)} | norm_keys("features.18.1", 1280)
    return keys | {"classifier.1.weight": (1000, 1280), "classifier.1.bias": (1000,)}


def torchvision_deeplab() -> dict[str, tuple[int, ...]]:
    keys = torchvision_resnet((3, 4, 6, 3), True, "backbone.", classes=0)
    head = "classifier.0"
    for i, kernel in enumerate((1, 3, 3, 3)):
        keys |= {f"{head}.convs.{i}.0.weight": (256, 2048, kernel, kernel)} | norm_keys(f"{head}.convs.{i}.1", 256)
    keys |= {f"{head}.convs.4.1.weight": (256, 2048, 1, 1)} | norm_keys(f"{head}.convs.4.2", 256)
    keys |= {f"{head}.project.0.weight": (256, 1280, 1, 1)} | norm_keys(f"{head}.project.1", 256)
    keys |= {"classifier.1.weight": (256, 256, 3, 3)} | norm_keys("classifier.2", 256)
    keys |= {"classifier.4.weight": (21, 256, 1, 1), "classifier.4.bias": (21,)}
    keys |= {"aux_classifier.0.weight": (256, 1024, 3, 3)} | norm_keys("aux_classifier.1", 256)
    return keys | {"aux_classifier.4.weight": (21, 256, 1, 1), "aux_classifier.4.bias": (21,)}


@pytest.mark.parametrize(
    ("make", "expected", "total"),
    [
        (lambda: model_zoo.load_model("resnet18"), torchvision_resnet((2, 2, 2, 2), False), 11_689_512),
        (lambda: model_zoo.load_model("resnet50"), torchvision_resnet((3, 4, 6, 3), True), 25_557_032),
        (lambda: model_zoo.load_model("vgg16"), torchvision_vgg16(), 138_357_544),
        (lambda: model_zoo.load_model("alexnet"), torchvision_alexnet(), 61_100_840),
        (lambda: model_zoo.load_model("mobilenet_v2"), torchvision_mobilenet_v2(), 3_504_872),
        (lambda: DeepLabV3(auxiliary=True), torchvision_deeplab(), 42_004_074),
    ],
    ids=["resnet18", "resnet50", "vgg16", "alexnet", "mobilenet_v2", "deeplabv3_resnet50"],
)
@pytest.mark.usefixtures("without_storage")
def test_state_dicts_are_torchvisions(make: Any, expected: dict[str, tuple[int, ...]], total: int) -> None:
    model = make()
    assert {key: tuple(value.shape) for key, value in model.state_dict().items()} == expected
    assert list(model.state_dict()) == list(expected), "the order of torchvision's files"
    learnt = {k: s for k, s in expected.items() if k.rpartition(".")[2] in ("weight", "bias")}
    assert sum(p.numel() for p in model.parameters()) == sum(map(math.prod, learnt.values())) == total


def test_the_auxiliary_classifier_runs_in_training_only() -> None:
    model = DeepLabV3(3, auxiliary=True)
    with torch.device("meta"):
        image = torch.empty(2, 3, 33, 41)
    model = model.to("meta")
    logits, auxiliary = model(image)
    assert logits.shape == auxiliary.shape == (2, 3, 33, 41)
    assert model.eval()(image).shape == (2, 3, 33, 41)


# Errors --------------------------------------------------------------------------------------------------------------


def test_an_unknown_name_lists_what_exists() -> None:
    with pytest.raises(InputError, match=r"unknown network 'mobilnet_v2'\. Did you mean 'mobilenet_v2'\? Known: alexnet, "):
        zoo("mobilnet_v2")


@pytest.mark.parametrize("shape", [(3, 224, 224), (1, 3, 0, 224), (1, 3, 224.0, 224), ()])
def test_a_wrong_input_shape(shape: Any) -> None:
    with pytest.raises(InputError, match=r"input_shape of vgg16 is .*four whole numbers .*1x3x224x224"):
        zoo("vgg16", input_shape=shape)


def test_an_input_that_is_too_small_names_the_layer() -> None:
    with pytest.raises(InputError, match=r"alexnet on an input of 1x3x32x32: nothing is left at 'features\.12'"):
        zoo("alexnet", input_shape=(1, 3, 32, 32))


@pytest.mark.parametrize("classes", [0, -1, 2.5, True])
def test_wrong_numbers_of_classes_and_channels(classes: Any) -> None:
    with pytest.raises(InputError, match="num_classes of resnet20 is"):
        model_zoo.build("resnet20", None, classes)
    with pytest.raises(InputError, match="in_channels is"):
        model_zoo.load_model("resnet20", 10, classes)


def run_python(code: str) -> str:
    """Standard output of a fresh interpreter in which hwflow can be imported."""
    root = str(Path(hwflow.network.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_zoo_is_costed_without_heavy_packages() -> None:
    run_python(
        "import sys; import hwflow.network, hwflow.network.load\n"
        "from hwflow.network import model_zoo\n"
        "assert all(hwflow.network.zoo(name).macs for name in model_zoo.NAMES)\n"
        "heavy = {'torch', 'onnx', 'pandas', 'pydantic', 'yaml', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )


def test_without_torch_the_module_says_what_to_install() -> None:
    out = run_python(
        "import sys; sys.modules['torch'] = None\n"
        "from hwflow.errors import MissingDependency\n"
        "from hwflow.network import model_zoo\n"
        "from hwflow.network.load import load\n"
        "for call in (lambda: model_zoo.load_model('vgg16'), lambda: load('a.b:c', input_shape=(1, 3, 8, 8))):\n"
        "    try: call()\n"
        "    except MissingDependency as error: print(error)\n"
    )
    assert out.count('pip install "hwflow[prune]"') == 2


def test_every_entry_is_described() -> None:
    assert all(entry.description and entry.num_classes for entry in model_zoo.ZOO.values())
    assert tuple(model_zoo.ZOO) == model_zoo.NAMES
