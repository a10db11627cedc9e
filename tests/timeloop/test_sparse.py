"""Sparse designs: Timeloop answers, mid does not, and neither sends anybody from one refusal into the next."""

from __future__ import annotations

from pathlib import Path

import pytest

import hwflow
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
