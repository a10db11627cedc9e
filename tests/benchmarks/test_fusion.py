"""Chains of layers as AccelForge is told of them."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from benchmarks.depth_first import CHIP, NETWORKS
from benchmarks.fusion import given, judged, network, ours
from benchmarks.rivals.chip import shared_chip
from hwflow.hardware.accelerator import Accelerator

ROOT = Path(__file__).resolve().parents[2]
RECORD = ROOT / "benchmarks" / "results" / "fusion.json"
PAGE = ROOT / "docs" / "pages" / "explanation" / "whole-network-measured.md"


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


def test_a_loop_tree_of_accelforge_is_judged_by_our_model() -> None:
    """Within the few percent that both models differ by for hwflow's own mapping of the same chain."""
    chip, table = shared_chip()
    chain = json.loads(RECORD.read_text())["chains"]["pointwise_pair"]
    found, ours_by_both = chain["accelforge"], (chain["hwflow"]["resident"], chain["accelforge"]["given"]["resident"])
    verdict = judged("pointwise_pair", found["mapping"], chip, table)
    assert isinstance(verdict, dict)
    assert verdict == pytest.approx(found["judged"])
    assert verdict["cycles"] == found["found"]["cycles"]
    model_ratio = ours_by_both[1]["energy"] / ours_by_both[0]["energy"]
    assert found["found"]["energy"] / verdict["energy"] == pytest.approx(model_ratio, rel=0.05)
    assert judged("pointwise_pair", ["Mapping", ["temporal", "p0", 4]], chip, table) == (
        "layers share loops, which hwflow does not model"
    )


def test_the_page_says_what_is_recorded() -> None:
    page = PAGE.read_text()
    names = {"resnet20_pair": "pair", "pointwise_pair": "pointwise", "mobilenet_block": "block"}
    for name, chain in json.loads(RECORD.read_text())["chains"].items():
        rows = [(chain["hwflow"][way], chain["accelforge"]["given"][way]) for way in ("dram", "resident")]
        if "found" in chain["accelforge"]:
            rows.append((chain["accelforge"]["judged"], chain["accelforge"]["found"]))
        for verdicts in rows:
            cells = " | ".join(f"{v['energy'] / 1e6:.2f}, {v['cycles']:,.0f}" for v in verdicts)
            assert any(line.startswith(f"| {names[name]} |") and line.endswith(f"| {cells} |") for line in page.splitlines()), (
                cells
            )
