"""Elastic networks: what can be chosen, sub-networks equal to extracted modules, the sandwich rule, and costs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hwflow import estimate
from hwflow.cost.options import CostOptions
from hwflow.dynamic.elastic_network import ElasticNetwork, Sandwich, sorted_network
from hwflow.dynamic.elastic_space import ElasticSpace, Stage, elastic_space, space_with
from hwflow.dynamic.library_search import ChoiceCosts
from hwflow.dynamic.operating_points import load_units
from hwflow.errors import InputError
from hwflow.hardware.accelerator import Accelerator
from hwflow.network import Network
from hwflow.training.hooks import Batch
from tests.dynamic.nets import resnet, staged, unsettled

SHAPE = (1, 1, 8, 8)


@pytest.fixture(scope="module")
def network() -> ElasticNetwork:
    model = unsettled(staged())
    return ElasticNetwork(model, elastic_space(model, SHAPE, name="staged"), SHAPE).eval()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(4, *SHAPE[1:], generator=torch.Generator().manual_seed(0))


def choices(space: ElasticSpace) -> list[dict[str, int]]:
    return [space.smallest, space.whole, {"3": 1, "4.conv1": 8}, {"3.0.conv1": 4, "3.1.conv1": 2}, {"3.1.conv1": 6}]


def test_what_can_be_chosen(network: ElasticNetwork) -> None:
    space = network.space
    assert space.stages == (Stage("3", ("3.0", "3.1"), 1),)  # the first block stays, one with another shape cannot go
    widths = {"3.0.conv1": (2, 4, 6, 8), "3.1.conv1": (2, 4, 6, 8), "4.conv1": (4, 8, 12, 16)}
    assert space.options == {"3": (1, 2)} | widths
    assert space.size == 128
    canonical = space.canonical({"3": 1})
    assert canonical == {"3": 1, "3.0.conv1": 8, "3.1.conv1": 2, "4.conv1": 16}  # of a block that is left out nothing counts
    with pytest.raises(InputError, match="unknown group or stage of staged 'conv9'"):
        space.checked({"conv9": 4})
    with pytest.raises(InputError, match=r"the choice keeps 3 channels of '4\.conv1'; allowed: 4, 8, 12, 16\."):
        space.checked({"4.conv1": 3})
    with pytest.raises(InputError, match=r"a share of channels is 0; it must be a number above 0 and at most 1"):
        elastic_space(staged(), SHAPE, shares=(0,))
    with pytest.raises(InputError, match="Sequential has no sub-networks"):
        elastic_space(nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(144, 10)), SHAPE, shares=(1,))


def test_a_sub_network_is_its_extracted_module_bit_for_bit(network: ElasticNetwork, images: torch.Tensor) -> None:
    with torch.no_grad():
        for choice in choices(network.space):
            network.set_choice(choice)
            assert torch.equal(network(images), network.extracted(choice)(images)), choice
    network.set_choice(network.space.whole)


def test_sorting_changes_nothing_but_the_order(network: ElasticNetwork, images: torch.Tensor) -> None:
    in_order = sorted_network(network.whole, network.space)
    with torch.no_grad():
        assert torch.allclose(in_order(images), network.whole(images), atol=1e-5)
    assert isinstance(in_order, nn.Sequential)
    norms = in_order[4].conv1.weight.abs().sum((1, 2, 3)) + in_order[4].conv2.weight.abs().sum((0, 2, 3))
    assert norms.argmax() == 0
    assert not torch.equal(in_order[4].conv1.weight, network.whole.get_submodule("4.conv1").weight)


def test_costs_are_those_of_an_estimate(network: ElasticNetwork) -> None:
    chip = Accelerator.load("eyeriss")
    units = (*load_units("eyeriss", chip), load_units("exynos5422")[0])
    options = CostOptions(level="coarse")
    found = {m: ChoiceCosts(network.space, units, m, options, store=False, notify=None) for m in ("latency", "energy", "edp")}
    for choice in map(network.space.canonical, choices(network.space)):
        rows = Network.from_torch(network.extracted(choice), SHAPE)
        assert [layer.key for layer in network.space.layers(choice)] == [layer.key for layer in rows.layers]
        wanted = estimate(rows, chip, options=options, store=False, progress=False)
        assert wanted.latency_s is not None
        assert wanted.energy_pj is not None
        assert found["latency"](choice)[0] == pytest.approx(wanted.latency_s, rel=1e-12)
        assert found["energy"](choice)[0] == pytest.approx(wanted.energy_pj * 1e-12, rel=1e-12)
        latency, energy = (found[metric](choice)[1] for metric in ("latency", "energy"))
        point, processor = units[1].points[-1], units[1].processor
        assert processor is not None
        assert latency == pytest.approx(rows.macs / (processor.macs_per_cycle * point.clock_mhz * 1e6))
        assert found["edp"](choice)[1] == pytest.approx(latency * energy)


def test_the_sandwich_trains_shared_weights_and_leaves_the_statistics_to_the_whole(
    network: ElasticNetwork, images: torch.Tensor
) -> None:
    space = network.space
    network = ElasticNetwork(unsettled(staged()), space, SHAPE).train()
    hook = Sandwich(drawn=1, seed=3)
    hook.start(network, 10)
    labels = torch.arange(4)
    logits = network(images)
    statistics = {name: value.clone() for name, value in network.named_buffers()}
    loss = hook.loss(Batch(images, logits, labels), nn.functional.cross_entropy(logits, labels))
    assert network.choice == network.space.canonical(network.space.whole)
    assert all(torch.equal(value, statistics[name]) for name, value in network.named_buffers())
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())
    drawn = hook._random()
    hook.after_step(0)
    assert hook.state_dict() == {"step": 1}
    again = Sandwich(drawn=1, seed=3)
    again.start(network, 10)
    assert again._random() == drawn
    again.load_state_dict({"step": 1})
    assert again._random() == hook._random()


def test_spaces_of_plans() -> None:
    model = resnet()
    space = space_with(model, SHAPE, {"4.conv1": [5, 7, 16, 5]})
    assert space.options == {"4.conv1": (5, 7, 16)}
    rows = Network.from_torch(ElasticNetwork(model, space, SHAPE).extracted({"4.conv1": 5}), SHAPE)
    assert [layer.key for layer in space.layers({"4.conv1": 5})] == [layer.key for layer in rows.layers]
    with pytest.raises(InputError, match=r"channels of 4\.conv1 is 17"):
        space_with(model, SHAPE, {"4.conv1": [17]})
    with pytest.raises(InputError, match="unknown stage of Sequential '3'"):
        space_with(model, SHAPE, {}, {"3": [1, 2]})
