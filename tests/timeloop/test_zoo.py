"""Whole networks at fine on every preset: no layer is skipped, and mid says the same of the mapping that it found."""

from __future__ import annotations

import pytest

import hwflow
from hwflow.hardware.accelerator import Accelerator, presets
from hwflow.network import Network

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeloop,
]


def networks() -> dict[str, Network]:
    """AlexNet, ResNet-18 and MobileNetV2 whole, of DeepLabv3 what is dilated."""
    whole = {name: hwflow.zoo(name) for name in ("alexnet", "resnet18", "mobilenet_v2")}
    deeplab = hwflow.zoo("deeplabv3_resnet50")
    dilated = tuple(layer for layer in deeplab if layer.dilations != (1, 1))
    assert {layer.dilations[0] for layer in dilated} == {2, 4, 12, 24, 36}
    return {**whole, "dilated": Network("dilated", dilated)}


@pytest.mark.parametrize("preset", presets())
def test_every_layer_runs_at_fine(preset: str) -> None:
    chip = Accelerator.load(preset)
    for name, network in networks().items():
        fine = hwflow.estimate(network, chip, level="fine", store=False)
        mid = hwflow.estimate(network, chip, level="mid", store=False)
        assert [row.level for row in fine.rows] == ["fine"] * len(network), name
        assert fine.cycles == mid.cycles
        assert fine.dram_bytes == mid.dram_bytes
        for ours, theirs in zip(mid.rows, fine.rows, strict=True):
            assert ours.energy_pj == pytest.approx(theirs.energy_pj, rel=1e-3)
            assert (ours.cycles, ours.bound_by) == (theirs.cycles, theirs.bound_by)
