"""Rows of sparse layers at every level, and what is said where zeros are not counted."""

from __future__ import annotations

import pytest

import hwflow
from hwflow.cost import mid, sparse_rows
from hwflow.errors import InputError, ToolError
from hwflow.hardware.accelerator import Accelerator
from hwflow.layers import Densities, Layer
from hwflow.loopnest.nest import Nest
from hwflow.network import Network
from hwflow.results import LayerCost
from hwflow.timeloop.stats import LevelStats, Stats

LAYER = Layer("l", C=8, M=16, P=6, Q=6, R=3, S=3, densities=Densities(0.5, 0.25, 0.5))
NET = Network("net", (LAYER,))
DENSE = Network("net", (LAYER.with_(densities=None),))
EYERISS = Accelerator.load("eyeriss")
DRAM = {"dram": {"inputs": "rle", "outputs": "rle", "index_bits": 5}}
GATING = EYERISS.with_({"sparsity": {"gates": "inputs", "compressed": DRAM}})
SKIPPING = EYERISS.with_({"sparsity": {"skips": "inputs", "compressed": DRAM}})


def row(network: Network, chip: Accelerator, level: str = "mid", **more: object) -> LayerCost:
    return hwflow.estimate(network, chip, level=level, store=False, **more).rows[0]  # type: ignore[arg-type]


def test_gating_saves_energy_and_skipping_cycles_too() -> None:
    dense, gated, skipped = (
        row(network, chip.with_({"dram.bandwidth_gb_s": 100}))
        for network, chip in ((DENSE, EYERISS), (NET, GATING), (NET, SKIPPING))
    )
    for saving in (gated, skipped):
        assert (saving.energy or 0) < (dense.energy or 0)
        assert saving.dram_bytes < dense.dram_bytes
        assert saving.energy == pytest.approx(sum(saving.energy_by_level.values()))
        assert saving.note == sparse_rows.COUNTED
        assert (saving.proven_optimal, saving.bound) == (False, None)
    assert gated.cycles == dense.cycles
    assert (skipped.cycles or 0) < 0.7 * (dense.cycles or 0)


def test_dram_bytes_have_the_indices() -> None:
    found = row(NET, GATING)
    accesses = found.accesses["dram"]
    words = sum(sum(counts.values()) for counts in accesses.values())
    compressed = accesses["inputs"]["reads"] + accesses["outputs"]["updates"]
    assert found.dram_bytes == pytest.approx((words * 16 + compressed * 5) / 8, abs=2)


@pytest.mark.parametrize(
    ("network", "chip", "level", "note"),
    [
        (DENSE, GATING, "mid", "dense: no densities are given, and eyeriss would save zeros"),
        (NET, EYERISS, "mid", "dense: eyeriss does nothing about zeros (it has no sparsity)"),
        (NET, GATING, "coarse", "dense: this level does not count zeros; mid and fine do"),
        (NET, None, "coarse", "dense: densities mean something with an accelerator that does something about zeros"),
        (DENSE, EYERISS, "mid", ""),
        (DENSE, GATING, "coarse", ""),
    ],
)
def test_dense_costs_are_never_silent(network: Network, chip: Accelerator, level: str, note: str) -> None:
    found = row(network, chip, level)
    assert found.note == note
    if chip is not None:
        same = row(DENSE, EYERISS, level)
        assert (found.energy, found.cycles, found.dram_bytes) == (same.energy, same.cycles, same.dram_bytes)


def test_several_widths_are_dense_with_the_reason() -> None:
    found = hwflow.estimate(NET, SKIPPING, bits=(8, 16), store=False).rows[0]
    assert found.note == "dense: tensors of several widths share a memory"
    assert found.energy == hwflow.estimate(DENSE, EYERISS, bits=(8, 16), store=False).rows[0].energy


def test_winograds_tiles_have_no_densities_of_the_layer() -> None:
    found = row(NET, SKIPPING, execution="winograd2")
    assert found.note == "dense: no densities of what winograd2 multiplies are given, and eyeriss would save zeros"
    assert row(NET, SKIPPING, execution="im2col").note == sparse_rows.COUNTED


def test_ragged_loops_on_a_chip_that_skips_are_told() -> None:
    layer = LAYER.with_(C=19, M=37, P=13, Q=11)
    mapping = hwflow.map_layer(layer.with_(densities=None), EYERISS, store=False).mapping
    assert mapping.ragged
    skipped, gated = (hwflow.analyse(layer, chip, mapping, store=False) for chip in (SKIPPING, GATING))
    assert skipped.note.endswith(sparse_rows.ALL_CYCLES)
    assert gated.note == sparse_rows.COUNTED
    assert skipped.cycles == gated.cycles
    assert not hwflow.map_layer(layer, SKIPPING, store=False).mapping.ragged


def test_json_and_csv_have_densities_where_there_are_any() -> None:
    cost = hwflow.estimate(NET, GATING, store=False)
    assert cost.to_dict()["layers"][0]["densities"] == {"weights": 0.5, "inputs": 0.25, "outputs": 0.5}
    assert cost.records()[0]["density_inputs"] == 0.25
    assert "densities" not in row(DENSE, EYERISS).row()


def test_cycles_that_timeloop_does_not_say_are_refused() -> None:
    found = hwflow.map_layer(LAYER, GATING, store=False)
    nest = Nest(LAYER, GATING, hwflow.cost.plan_for(NET, GATING, hwflow.CostOptions(), None).chip(LAYER).table)
    stats = Stats(1, 1, 0.0, 1.0, {"dram": LevelStats()})
    with pytest.raises(ToolError, match=r"layer l: Timeloop says 1 cycles, and hwflow's analysis expects it to say \d+"):
        sparse_rows.judged_row(found.cost, stats, nest, nest.batch_of(found.mapping))


@pytest.mark.parametrize("share", [0, 1.5, -0.1, "half", True, float("nan")])
def test_a_density_is_a_share(share: object) -> None:
    with pytest.raises(InputError, match=r"layer 'l': the density of weights is .*above 0 and at most 1"):
        LAYER.with_(densities=(share, 1.0, 1.0))


@pytest.mark.timeloop
@pytest.mark.parametrize("chip", [GATING, SKIPPING], ids=["gating", "skipping"])
def test_timeloop_says_the_same(chip: Accelerator) -> None:
    mid, fine = row(NET, chip), row(NET, chip, "fine", fallback="none")
    assert fine.energy == pytest.approx(mid.energy, rel=1e-6)
    assert (fine.cycles, fine.dram_bytes, fine.bound_by) == (mid.cycles, mid.dram_bytes, mid.bound_by)
    assert fine.accesses == mid.accesses
    assert fine.note.startswith(mid.note)


@pytest.mark.timeloop
def test_several_widths_are_dense_at_fine_too() -> None:
    mid, fine = row(NET, SKIPPING, bits=(8, 16)), row(NET, SKIPPING, "fine", bits=(8, 16), fallback="none")
    assert fine.note.endswith(mid.note)
    assert fine.energy == pytest.approx(mid.energy, rel=1e-3)


def test_mappings_that_are_nearly_the_best_are_compared_with_their_zeros(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Winograd product on a chip that gates zero inputs and compresses feature maps: another mapping costs a tenth less."""
    net = Network("net", (Layer("w", C=64, M=64, P=196, G=6, densities=Densities(0.2, 0.5, 0.5)),))
    several = row(net, GATING)
    monkeypatch.setattr(mid, "_SEVERAL", 1)
    one = row(net, GATING)
    assert several.energy * several.cycles < 0.95 * one.energy * one.cycles  # type: ignore[operator]
    assert several.mapping != one.mapping
