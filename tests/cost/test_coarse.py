"""Coarse: figures computed by hand, units, and its place below mid."""

from __future__ import annotations

import math

import pytest

from hwflow import zoo
from hwflow.cost import coarse, mid
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.dataflow import constrain
from hwflow.hardware.energy_table import normalized
from hwflow.layers import Bits, Layer
from hwflow.network import OtherOp

# 2 x 2 outputs of a 3 x 3 kernel over 4 x 4 inputs, 5 channels to 7: by hand 16 * 5 inputs, 9 * 35 weights, 4 * 7 outputs
LAYER = Layer("small", C=5, M=7, P=2, Q=2, R=3, S=3)
WORDS = 80 + 315 + 28
MACS = 4 * 35 * 9


def test_without_an_accelerator() -> None:
    cost = coarse.analyse(LAYER)
    assert cost.dram_bytes == 2 * WORDS
    assert cost.energy_by_level == {"dram": 200.0 * WORDS, "mac": MACS}
    assert cost.energy_normalized == 200 * WORDS + MACS
    assert cost.energy_pj is None
    assert (cost.cycles, cost.latency_s, cost.bound_by, cost.utilization) == (None, None, None, None)
    assert cost.energy_source == "normalized (Eyeriss ISCA 2016, Table IV; MAC = 1)"
    assert cost.accesses["dram"]["weights"] == {"reads": 315.0, "fills": 0.0, "updates": 0.0}
    assert cost.accesses["dram"]["outputs"] == {"reads": 0.0, "fills": 0.0, "updates": 28.0}


def test_word_widths_scale_traffic_and_energy() -> None:
    cost = coarse.analyse(LAYER.with_(bits=Bits(8, 4, 16)))
    assert cost.dram_bytes == 315 + 80 / 2 + 28 * 2
    assert cost.energy_by_level == {"dram": 200.0 * (315 / 2 + 80 / 4 + 28), "mac": MACS * (8 / 16) * (4 / 16)}


def test_roofline_by_hand() -> None:
    acc = Accelerator.load("eyeriss")  # 168 MAC units, 0.72 GB/s at 200 MHz: 3.6 byte a cycle
    cost = coarse.analyse(LAYER, acc, normalized(acc))
    assert cost.cycles == max(math.ceil(MACS / 168), math.ceil(2 * WORDS / 3.6)) == 235
    assert cost.bound_by == "dram"
    assert cost.latency_s == pytest.approx(235 / 200e6)
    assert cost.utilization == MACS / (235 * 168)
    many = LAYER.with_(C=64, M=64, P=100, Q=100)
    assert coarse.analyse(many, acc, normalized(acc)).bound_by == "compute"
    assert coarse.analyse(many, acc, normalized(acc)).cycles == math.ceil(many.macs / 168)


def test_energy_counts_whole_accesses_of_the_dram() -> None:
    acc = Accelerator.load("eyeriss")  # 64 bit an access: four words
    table = normalized(acc)
    cost = coarse.analyse(LAYER, acc, table)
    accesses = math.ceil(80 / 4) + math.ceil(315 / 4) + math.ceil(28 / 4)
    assert cost.energy_by_level == {"dram": accesses * 800.0, "mac": MACS * 1.0}


def test_a_dram_without_bandwidth_is_no_bound() -> None:
    acc = Accelerator.load("eyeriss").with_({"dram.bandwidth_gb_s": None})
    cost = coarse.analyse(LAYER, acc, normalized(acc))
    assert (cost.cycles, cost.bound_by) == (math.ceil(MACS / 168), "compute")
    slow = acc.with_({"dram.write_words_per_cycle": 0.5})
    assert coarse.analyse(LAYER, slow, normalized(slow)).cycles == 56


def test_other_traffic() -> None:
    operators = [OtherOp("pool", "MaxPool", 100, 25), OtherOp("add", "Add", 50, 25)]
    assert coarse.other_traffic_bytes(operators, 16) == 400


@pytest.mark.parametrize("preset", ["eyeriss", "simba", "shidiannao_like"])
def test_coarse_bounds_mid_from_below(preset: str) -> None:
    acc = Accelerator.load(preset)
    table = normalized(acc)
    for layer in (zoo("resnet20")["layer2.1.conv1"], zoo("alexnet")["features.3"], zoo("resnet20")["fc"]):
        below, found = coarse.analyse(layer, acc, table), mid.map_layer(layer, acc, constrain(acc), table).cost
        assert below.energy is not None
        assert found.energy is not None
        assert below.cycles is not None
        assert found.cycles is not None
        assert below.energy <= found.energy
        assert below.cycles <= found.cycles
        assert below.dram_bytes <= found.dram_bytes
