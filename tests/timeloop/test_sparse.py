"""Sparse designs: Timeloop answers, mid does not, and neither sends anybody from one refusal into the next."""

from __future__ import annotations

from pathlib import Path

import pytest

import hwflow
from hwflow.cost.sparse_rows import ALONE, LEFT_OUT, TAKEN, WRITTEN
from hwflow.errors import InputError, ToolMissing
from hwflow.hardware.timeloop_accelerator import TimeloopAccelerator
from hwflow.layers import Layer
from hwflow.network import Network

NET = Network("net", (Layer("l", C=4, M=8, P=6, Q=6, R=3, S=3),))
DESIGN = """
architecture:
  version: 0.4
  subtree:
  - name: system
    attributes: {technology: "45nm"}
    local:
    - {name: DRAM, class: DRAM, attributes: {width: 64, datawidth: 16, block_size: 4}}
    - {name: buffer, class: SRAM, attributes: {depth: 4096, width: 64, datawidth: 16, block_size: 4}}
    - {name: mac, class: intmac, attributes: {datawidth: 16}}
sparse_optimizations:
  targets:
  - name: buffer
    action_optimization:
    - type: gating
      options: [{target: Weights, condition_on: [Inputs]}]
"""


@pytest.fixture
def sparse(tmp_path: Path) -> TimeloopAccelerator:
    path = tmp_path / "sparse.yaml"
    path.write_text(DESIGN)
    return hwflow.from_timeloop(path)


def test_mid_names_the_command_that_answers(sparse: TimeloopAccelerator) -> None:
    with pytest.raises(InputError, match=r"mid cannot answer .*sparse.* --level fine --mapper timeloop --strict"):
        hwflow.estimate(NET, sparse, energy="normalized", store=False)


@pytest.mark.parametrize("fallback", ["mid", "none"])
def test_without_timeloop_its_absence_is_the_error(
    sparse: TimeloopAccelerator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fallback: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissing, match="Timeloop was not found"):
        hwflow.estimate(NET, sparse, level="fine", mapper="timeloop", energy="normalized", fallback=fallback, store=False)  # type: ignore[arg-type]


@pytest.mark.timeloop
def test_that_command_answers(sparse: TimeloopAccelerator) -> None:
    cost = hwflow.estimate(NET, sparse, level="fine", mapper="timeloop", energy="normalized", store=False)
    assert {row.level for row in cost.rows} == {"fine"}
    assert cost.rows[0].accesses["DRAM"]["weights"]["reads"] >= NET.layers[0].words("weights")
    assert cost.rows[0].cycles == NET.macs


@pytest.mark.timeloop
@pytest.mark.slow
def test_densities_reach_timeloop_and_what_it_leaves_out_is_said(sparse: TimeloopAccelerator) -> None:
    full = NET.with_densities({"*": {"inputs": 1.0}})
    few = NET.with_densities({"*": {"inputs": 0.125}})
    options = hwflow.CostOptions(level="fine", mapper="timeloop", energy="normalized")
    rows = [hwflow.estimate(net, sparse, options=options, store=False).rows[0] for net in (full, few)]
    assert rows[0].cycles == NET.macs
    assert (rows[1].cycles or 0) < NET.macs  # by gating, which Timeloop takes for skipping
    assert rows[1].note == WRITTEN
    assert (rows[1].energy or 0) < (rows[0].energy or 0)


@pytest.mark.timeloop
@pytest.mark.slow
def test_a_mapping_that_timeloop_finds_knows_of_zeros() -> None:
    chip = hwflow.Accelerator.load("eyeriss").with_({"sparsity.gates": "inputs"})
    net = NET.with_densities({"*": {"inputs": 0.25}})
    row = hwflow.estimate(net, chip, level="fine", mapper="timeloop", fallback="none", store=False).rows[0]
    assert row.note in (f"{ALONE}; {TAKEN}", f"{ALONE}; {LEFT_OUT}")
    assert row.cycles is not None
    assert row.cycles >= NET.macs / chip.mac_units
