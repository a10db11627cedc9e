"""Chains of layers as AccelForge is told of them."""

from __future__ import annotations

import itertools

from benchmarks.depth_first import CHIP, NETWORKS
from benchmarks.fusion import given, network, ours
from benchmarks.rivals.chip import shared_chip
from hwflow.hardware.accelerator import Accelerator


def test_what_stays_lies_in_the_buffer_and_all_else_in_dram() -> None:
    chip, table = shared_chip()
    assert [layer.name for layer in network("resnet20_pair")] == ["conv1", "conv2"]
    told = {way: given("resnet20_pair", cost, chip, table) for way, cost in ours("resnet20_pair", chip).items()}
    assert told["dram"]["shared"] == {"dram": ["T0", "T1", "T2", "W0", "W1"]}
    assert told["resident"]["shared"] == {"dram": ["T0", "T2", "W0", "W1"], "global_buffer": ["T1"]}
    kept = [step[2] for layer in told["resident"]["layers"] for step in layer["nest"] if step[:2] == ["storage", "dram"]]
    assert kept == [["weights", "inputs"], ["weights", "outputs"]]


def test_the_depth_first_chip_is_one_and_its_networks_are_chains() -> None:
    assert Accelerator.load(CHIP).mac_units == 1024
    for layers in NETWORKS.values():
        for before, after in itertools.pairwise(layers):
            assert after.C == before.M
            assert after.P + after.R - 1 <= before.P
            assert after.Q + after.S - 1 <= before.Q
