"""Time at the edges of layers: hwflow's own by hand, Timeloop's own fields live."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import hwflow
from hwflow.cost.edge_cycles import edges_of
from hwflow.errors import InputError
from hwflow.hardware.accelerator import Accelerator
from hwflow.layers import Layer
from hwflow.mapping import Mapping
from hwflow.network import Network

CHIP = """
name: small
technology_nm: 45
clock_mhz: 1000
hierarchy:
  - {name: dram, kind: dram, role: main, word_bits: 16, width_bits: 64, dram_type: LPDDR4, bandwidth_gb_s: 4}
  - {name: buffer, kind: sram, role: buffer, word_bits: 16, width_bits: 64, size_kib: 8,
     read_words_per_cycle: 8, write_words_per_cycle: 4}
  - {name: array, kind: fanout, role: array, columns: 4}
  - {name: spad, kind: regfile, role: registers, word_bits: 16, width_bits: 16, size_words: 64,
     read_words_per_cycle: 2, write_words_per_cycle: 1}
  - {name: mac, kind: mac, multiplier_bits: 16, adder_bits: 16}
"""
LAYER = Layer("conv", C=4, M=8, P=4, Q=1, R=3, S=1)


@pytest.fixture
def chip(tmp_path: Path) -> Accelerator:
    path = tmp_path / "small.yaml"
    path.write_text(CHIP)
    return Accelerator.load(path)


def mapping(chip: Accelerator) -> Mapping:
    """Rows of outputs step at DRAM; the array spreads output channels; input channels and the kernel stay in a PE."""
    names = [level.name for level in chip.levels]
    directives: list[dict[str, Any]] = [
        {"target": names[0], "type": "temporal", "factors": "N=1 G=1 C=1 M=1 P=2 Q=1 R=1 S=1", "permutation": "PNGCMQRS"},
        {"target": names[1], "type": "temporal", "factors": "N=1 G=1 C=1 M=2 P=2 Q=1 R=1 S=1", "permutation": "MPNGCQRS"},
        {
            "target": names[1],
            "type": "spatial",
            "factors": "N=1 G=1 C=1 M=4 P=1 Q=1 R=1 S=1",
            "permutation": "MNGCPQRS",
            "split": 8,
        },
        {"target": names[2], "type": "temporal", "factors": "N=1 G=1 C=4 M=1 P=1 Q=1 R=3 S=1", "permutation": "CRNGMPQS"},
    ]
    return Mapping.from_directives(directives, chip)


def test_first_tiles_and_last_results_by_hand(chip: Accelerator) -> None:
    found = edges_of(LAYER, chip, mapping(chip))
    # buffer: all 96 weights, and 4 channels x (2 + 3 - 1) rows of inputs: 112 words, at 2 a cycle from dram, 4 into the buffer.
    # spad: weights of 4 PEs, 4 x 12, and 12 inputs that all of them share: 60 words at 8 a cycle; 24 in each PE at 1 a cycle.
    assert found.fill == {"buffer": 56, "spad": 24}
    # spad: 1 output in each of 4 PEs, 4 words at 4 a cycle into the buffer. buffer: 8 x 2 outputs to dram at 2 a cycle.
    assert found.drain == {"buffer": 8, "spad": 1}
    assert found.cycles == 89


def test_double_buffers_do_not_wait_and_resident_tensors_do_not_move(chip: Accelerator) -> None:
    double = chip.with_({"buffer.buffering": 2})
    assert edges_of(LAYER, double, mapping(double)).fill == {"spad": 24}
    bypass = {"target": "dram", "type": "datatype", "keep": ["Weights"], "bypass": ["Inputs", "Outputs"]}
    stays = Mapping.from_directives([*mapping(chip).directives(), bypass], chip)
    found = edges_of(LAYER, chip, stays)
    assert found.fill["buffer"] == 48  # the weights alone
    assert "buffer" not in found.drain


def test_it_is_asked_for_and_changes_time_only() -> None:
    network = Network("one", (LAYER,))
    usual, later = (hwflow.estimate(network, "eyeriss", latency=latency) for latency in ("overlap", "with_fill"))
    edges = later.provenance["edge_cycles"]
    assert later.cycles == (usual.cycles or 0) + sum(edges)
    assert sum(edges) > 0
    assert later.energy_pj == usual.energy_pj
    assert later.rows[0].mapping == usual.rows[0].mapping
    assert later.rows[0].utilization == pytest.approx(LAYER.macs / ((later.cycles or 0) * 168))
    assert "latency" not in usual.provenance
    with pytest.raises(InputError, match=r"latency \(--latency\) is 'with_fill', which changes nothing at level coarse"):
        hwflow.estimate(network, "eyeriss", level="coarse", latency="with_fill")
    with pytest.raises(InputError, match=r"latency.*'full'.*overlap, with_fill"):
        hwflow.estimate(network, "eyeriss", latency="full")  # type: ignore[arg-type]


def test_latencies_of_networks_add_to_every_layer() -> None:
    eyeriss, network = Accelerator.load("eyeriss"), Network("one", (LAYER,))
    late = eyeriss.with_({"global_buffer.network_fill_latency": 1000, "dram.network_drain_latency": 70})
    before, after = hwflow.estimate(network, eyeriss, objective="latency"), hwflow.estimate(network, late, objective="latency")
    assert after.cycles == (before.cycles or 0) + 1070
    assert (after.energy_pj, after.rows[0].bound_by) == (before.energy_pj, before.rows[0].bound_by)
    assert after.rows[0].proven_optimal == before.rows[0].proven_optimal
    same = eyeriss.with_({"dram.network_drain_latency": 0})
    assert same.fingerprint == eyeriss.fingerprint != late.fingerprint
    with pytest.raises(InputError, match="network_fill_latency"):
        eyeriss.with_({"dram.network_fill_latency": -1})


@pytest.mark.timeloop
@pytest.mark.parametrize("name", ["eyeriss", "simba", "tpu_like", "shidiannao_like"])
def test_timeloop_adds_the_same(name: str) -> None:
    chip, network = Accelerator.load(name), Network("one", (LAYER,))
    changes = {f"{memory.name}.network_fill_latency": 10 * place for place, memory in enumerate(chip.memories, start=1)}
    late = chip.with_(changes | {f"{chip.memories[-1].name}.network_drain_latency": 7})
    mid, fine = (hwflow.estimate(network, late, level=level, fallback="none") for level in ("mid", "fine"))
    assert mid.cycles == fine.cycles
    assert mid.energy_pj == pytest.approx(fine.energy_pj, rel=1e-6)
    assert (mid.cycles or 0) > 10 * sum(range(1, len(chip.memories) + 1))
