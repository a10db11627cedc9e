"""A small network of inverted residuals, and what can be chosen of it."""

from __future__ import annotations

import torch
from torch import nn

from hwflow.compression.single_path.block_rows import BlockRows
from hwflow.compression.single_path.blocks import Block, find_blocks, gated
from hwflow.compression.single_path.gates import GatedNetwork
from hwflow.network.models._blocks import conv_norm_act
from hwflow.network.models.mobilenet import InvertedResidual

SHAPE = (1, 1, 8, 8)


def network(blocks: int = 3) -> nn.Module:
    """Three blocks, the first and the last with shortcuts; eight gates. Normalizations have statistics as after a training."""
    torch.manual_seed(0)
    all_blocks = [InvertedResidual(8, 8, 1, 6, 5), InvertedResidual(8, 16, 2, 6, 5), InvertedResidual(16, 16, 1, 6, 5)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8 if blocks == 1 else 16, 2)]
    model = nn.Sequential(conv_norm_act(1, 8, 3, stride=2, act=nn.ReLU6), *all_blocks[:blocks], *head)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.2)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 1.5)  # type: ignore[arg-type]
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
    return model.eval()


def searched(model: nn.Module) -> tuple[tuple[Block, ...], BlockRows, GatedNetwork]:
    """The blocks, the rows of choices and the gated network."""
    blocks = find_blocks(model, "small")
    rows = BlockRows(model, blocks, SHAPE, "small")
    return blocks, rows, GatedNetwork(model, gated(blocks, rows.groups)).eval()


def close(network: GatedNetwork, closed: set[int]) -> None:
    """Close these gates and open the others."""
    with torch.no_grad():
        for gate in range(len(network.thresholds)):
            network.thresholds[gate] = 1e9 if gate in closed else -1.0
