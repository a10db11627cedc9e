"""Networks in groups: exact levels, no path from later groups, plain modules, and what cannot be rebuilt."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from hwflow.dynamic.grouped_network import GroupedPadShortcut, SideBySide, grouped
from hwflow.dynamic.thin_network import Part, parts_of
from hwflow.errors import InputError
from hwflow.network import Network
from hwflow.network.load import load_module
from hwflow.network.models.cifar_resnet import PadShortcut
from tests.dynamic.nets import Joined, plain, resnet, unsettled

SHAPE = (1, 1, 8, 8)
NETS: list[Callable[[], nn.Module]] = [resnet, plain, Joined]


def image(count: int = 3) -> Tensor:
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("net", NETS)
def test_a_level_does_not_depend_on_later_groups(net: Callable[[], nn.Module]) -> None:
    """Whatever their weights are, to the bit; and its gradients reach no parameter of theirs."""
    network = unsettled(grouped(net(), SHAPE, 4))
    for level in (1, 2, 3):
        network.set_level(level)
        before = network(image())
        with torch.no_grad():
            for later in network.groups[level:]:
                for parameter in later.parameters():
                    parameter.add_(1.0)
        assert torch.equal(network(image()), before)
        network.zero_grad()
        network(image()).sum().backward()
        for g, group in enumerate(network.groups, start=1):
            assert all((p.grad is not None) == (g <= level) for p in group.parameters())


@pytest.mark.parametrize("net", NETS)
def test_a_level_is_the_network_built_with_so_many_groups(net: Callable[[], nn.Module]) -> None:
    network = unsettled(grouped(net(), SHAPE, 4))
    for level in (1, 2, 3, 4):
        network.set_level(level)
        built = network.at_level(level)
        assert torch.allclose(built(image()), network(image()), rtol=1e-5, atol=1e-5)
        assert isinstance(built, SideBySide) == (net is Joined and level > 1)
        assert not any(p.requires_grad for p in built.parameters())


def test_the_plain_module_is_one_with_group_convolutions() -> None:
    network = unsettled(grouped(resnet(), SHAPE, 4))
    built = network.at_level(3)
    first, inside, last = built[0], built[4].conv2, built[7]  # type: ignore[index]
    assert (first.groups, first.in_channels, first.out_channels) == (1, 1, 6)
    assert (inside.groups, inside.in_channels, inside.out_channels) == (3, 12, 12)
    assert (last.in_features, last.out_features) == (12, 10)
    assert isinstance(built[4].shortcut, GroupedPadShortcut)  # type: ignore[index]
    found = network.groups[1].get_submodule("4.conv2").weight
    assert torch.equal(inside.weight[4:8], found)
    biases = [network.groups[g].get_submodule("7").bias for g in range(3)]
    assert torch.allclose(last.bias, sum(biases))


def test_levels_store_what_the_largest_one_does() -> None:
    network = grouped(resnet(), SHAPE, 4)
    matrices = sum(p.numel() for p in network.parameters() if p.ndim > 1)
    assert matrices == sum(p.numel() for p in network.at_level(4).parameters() if p.ndim > 1)


def test_a_level_has_its_share_of_the_operations() -> None:
    """k/G of the whole in groups; but for the first and the last layer k/G^2 of the dense network."""
    network, dense = grouped(plain(), SHAPE, 4), Network.from_torch(plain(), SHAPE)
    small, large = (Network.from_torch(network.at_level(k), SHAPE) for k in (1, 4))
    assert large.macs == 4 * small.macs
    inner = dense.layers[2]
    assert inner.type == "linear"
    assert (large.layers[2].G, large.layers[2].macs, small.layers[2].macs) == (4, inner.macs // 4, inner.macs // 16)


def test_the_shortcut_is_padded_within_each_group() -> None:
    """Padded around all 8 channels, the last group's 6 and 7 would lie in the third quarter of 16."""
    x = torch.arange(8.0).view(1, 8, 1, 1) + 1
    whole = GroupedPadShortcut(PadShortcut(2, 1), 4)(x).flatten()
    assert whole.tolist() == [0, 1, 2, 0, 0, 3, 4, 0, 0, 5, 6, 0, 0, 7, 8, 0]
    assert PadShortcut(8, 1)(x).flatten()[10:12].tolist() == [7, 8]


def test_frozen_groups_stay_as_they_are_while_the_next_one_learns() -> None:
    network = grouped(resnet(), SHAPE, 4)
    labels = torch.tensor([1, 2, 3])
    network.begin(2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    learnt = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(learnt, lr=0.1, weight_decay=0.1)
    for _ in range(3):
        network.train()
        optimizer.zero_grad()
        functional.cross_entropy(network(image()), labels).backward()
        optimizer.step()
    changed = {name.split(".")[1] for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"1"}
    assert repr(network).startswith("GroupedNetwork(\n  level=2, frozen=1")
    network.end()
    assert all(p.requires_grad for p in network.parameters())


def test_groups_begin_with_weights_of_their_own_and_repeat() -> None:
    one, same, other = (grouped(plain(), SHAPE, 4, seed) for seed in (0, 0, 1))
    weights = [n.groups[g].get_submodule("0").weight for n in (one, same, other) for g in (0, 1)]
    assert torch.equal(weights[0], weights[2])
    assert not torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[4])


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["resnet18", "resnet50", "vgg16", "alexnet", "mobilenet_v1", "mobilenet_v2", "deeplabv3_resnet50"]
)
def test_every_network_of_the_zoo_can_be_rebuilt(name: str) -> None:
    shape = (1, 3, 224, 224) if name in ("vgg16", "alexnet") else (1, 3, 65, 65)
    network = unsettled(grouped(load_module(name, num_classes=4, in_channels=3), shape, 4))
    network.set_level(2)
    images = torch.randn(1, *shape[1:])
    found, wanted = network.at_level(2)(images), network(images)
    assert (found - wanted).abs().max() <= 1e-5 * wanted.abs().max()


# What layers read ----------------------------------------------------------------------------------------------------


def test_what_reads_the_image_and_what_gives_the_result() -> None:
    found = parts_of(plain(), SHAPE)
    assert found["0"] == Part("image", "inside")
    assert found["2"] == found["5"] == Part("inside", "inside")
    assert found["7"] == Part("inside", "result")
    assert parts_of(resnet(), SHAPE)["1"] == Part("inside", "inside")
    assert parts_of(nn.Sequential(nn.BatchNorm2d(1), resnet()), SHAPE)["0"] == Part("image", "image")


class Mixed(nn.Module):
    """Puts the image beside features."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 3, 1), nn.Conv2d(4, 10, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.cat([self.first(x), x], 1)).mean((2, 3))


class Twice(nn.Module):
    """One layer, two uses."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again, self.fc = nn.Conv2d(1, 8, 1), nn.Conv2d(8, 8, 1), nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.again(self.again(self.first(x))).mean((2, 3)))


class Written(nn.Module):
    """A number of channels in the code."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.fc = nn.Conv2d(1, 8, 1), nn.Linear(512, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.first(x).view(-1, 512))


class Unused(nn.Module):
    """A layer that no forward pass uses."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.spare = nn.Linear(64, 10), nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x.flatten(1))


@pytest.mark.parametrize(
    ("net", "groups", "text"),
    [
        (resnet, 3, "0 has 8 outputs, which cannot be divided into 3 groups; choose another number of groups"),
        (plain, 16, "0 has 8 outputs, which cannot be divided into 16 groups"),
        (
            lambda: nn.Sequential(nn.Conv2d(1, 8, 1), nn.Conv2d(8, 8, 1, groups=2), nn.Flatten(), nn.Linear(512, 10)),
            4,
            "1 is a convolution in 2 groups, which cannot be divided into 4; choose another number",
        ),
        (Mixed, 2, "Mixed cannot be rebuilt in groups: second reads features and the image together"),
        (Twice, 2, "Twice cannot be rebuilt in groups: again is used more than once in a forward pass"),
        (Written, 2, "Written cannot be rebuilt in 2 groups: with fewer channels its forward pass fails"),
        (Unused, 2, "Unused cannot be rebuilt in groups: spare is not used when it is evaluated"),
        (
            lambda: nn.Sequential(nn.Conv2d(1, 8, 1), nn.GroupNorm(2, 8)),
            2,
            "1 is a GroupNorm with tensors of its own (weight, bias). Supported are Conv2d,",
        ),
        (lambda: nn.Conv2d(3, 8, 1), 2, "Conv2d cannot take images of (1, 8, 8)"),
        (resnet, 0, "groups is 0; it must be a whole number of at least 1"),
    ],
)
def test_what_cannot_be_rebuilt_is_refused_by_name(net: Callable[[], nn.Module], groups: int, text: str) -> None:
    with pytest.raises(InputError) as error:
        grouped(net(), SHAPE, groups)
    assert text in str(error.value)


def test_levels_are_those_that_there_are() -> None:
    network = grouped(resnet(), SHAPE, 2)
    with pytest.raises(InputError, match="level is 3; it must be a whole number of at least 1, and at most 2"):
        network.set_level(3)
    with pytest.raises(InputError, match="level is 0; it must be a whole number of at least 1"):
        network.at_level(0)
