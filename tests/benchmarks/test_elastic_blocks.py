"""The elastic network of inverted residuals that Single-Path search is compared with."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from benchmarks.elastic_blocks import AllChoices, ElasticBlocks
from hwflow.compression.single_path.block_rows import BlockRows
from hwflow.compression.single_path.blocks import chosen, find_blocks
from hwflow.network.models.mobilenet import InvertedResidual
from hwflow.training.hooks import Batch

SHAPE = (1, 1, 8, 8)


@pytest.fixture
def network() -> ElasticBlocks:
    torch.manual_seed(0)
    blocks = [InvertedResidual(4, 4, 1, 2, 5), InvertedResidual(4, 8, 2, 2, 5), InvertedResidual(8, 8, 1, 2, 3)]
    model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
    model.train()
    for _ in range(3):
        model(torch.randn(16, *SHAPE[1:]))  # statistics of normalizations that are not those of the beginning
    found = find_blocks(model, "blocks")
    return ElasticBlocks(model.eval(), found, BlockRows(model, found, SHAPE, "blocks").groups).eval()


def test_a_choice_computes_what_its_own_module_does(network: ElasticBlocks) -> None:
    images = torch.randn(4, *SHAPE[1:])
    smallest = {name: own[0] for name, own in network.options.items()}
    whole = dict(network.choice)
    assert len(network.options) == 7
    for choice in (whole, smallest, *(whole | {name: own[0]} for name, own in network.options.items())):
        network.choice = choice
        alone = chosen(network.whole, network.blocks, choice).eval()
        with torch.no_grad():
            torch.testing.assert_close(network(images), alone(images), rtol=1e-5, atol=1e-5)


def test_all_are_trained_and_the_statistics_are_the_wholes(network: ElasticBlocks) -> None:
    hook, images, labels = AllChoices(drawn=1), torch.randn(8, *SHAPE[1:]), torch.arange(8)
    hook.start(network, 1)
    network.train()
    logits = network(images)
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    loss = functional.cross_entropy(logits, labels)
    hook.loss(Batch(images, logits, labels), loss).backward()  # type: ignore[no-untyped-call]
    assert all(torch.equal(buffer, before[name]) for name, buffer in network.named_buffers())
    assert all(value == network.options[name][-1] for name, value in network.choice.items())
    assert all(parameter.grad is not None for parameter in network.parameters())
