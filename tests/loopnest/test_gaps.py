"""Transposed convolutions whose kernel does not fill its stride: outputs in the gaps are written, too."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings

import hwflow
from hwflow.cost import coarse, fine, mid
from hwflow.cost.timeloop_input import write_inputs
from hwflow.errors import ToolError
from hwflow.hardware.accelerator import Accelerator, presets
from hwflow.hardware.dataflow import constrain
from hwflow.hardware.energy_table import EnergyTable, recorded
from hwflow.layers import TENSORS, Layer
from hwflow.loopnest.tiles import unreached
from hwflow.mapping import LevelMapping, Mapping
from hwflow.network import Network
from hwflow.timeloop.engine import Native
from tests.loopnest.cases import energies, layers


def up(**sizes: object) -> Layer:
    return Layer("up", type="conv_transpose", **sizes)  # type: ignore[arg-type]


GAPS = [
    (up(C=8, M=8, P=7, Q=7, R=2, S=2, strides=(3, 3)), 3200, 1632),
    (up(C=8, M=8, P=7, Q=7, strides=(2, 2)), 8 * 13 * 13, 8 * (13 * 13 - 7 * 7)),
    (up(C=4, M=2, P=7, R=2, strides=(3, 1)), 2 * 20, 2 * 6),
    (up(C=4, M=2, P=7, Q=5, R=3, S=3, strides=(2, 4)), 2 * 15 * 19, 2 * 15 * 4),  # the width is full
    (up(C=1, M=1, G=16, P=6, Q=6, R=3, S=3, strides=(4, 4)), 16 * 23 * 23, 16 * (23 * 23 - 18 * 18)),
    (up(C=4, M=4, P=7, Q=7, R=3, S=3, strides=(2, 2), dilations=(2, 2)), 4 * 17 * 17, 4 * (17 * 17 - 9 * 9)),  # even ones only
    (up(C=4, M=4, P=7, R=2, strides=(2, 1), dilations=(3, 1)), 4 * 16, 4 * 2),  # the second and the last but one
    (up(C=4, M=4, R=3, dilations=(2, 1)), 4 * 5, 4 * 2),
    (up(C=8, M=4, P=5, Q=5, R=2, S=2, N=2, strides=(5, 5)), 2 * 4 * 22 * 22, 2 * 4 * (22 * 22 - 10 * 10)),
]
FULL = [
    up(C=8, M=8, P=7, Q=7, R=2, S=2, strides=(2, 2)),
    up(C=8, M=8, P=7, Q=7, R=4, S=4, strides=(2, 2)),
    up(C=8, M=8, P=1, Q=1, R=2, S=2, strides=(3, 3)),  # one position: there is nothing between
    Layer("conv", C=8, M=8, P=7, Q=7, strides=(2, 2)),  # whose gaps are in its input
]
IDS = [str(layer) for layer, _, _ in GAPS]


@pytest.mark.parametrize(("layer", "words", "gaps"), GAPS, ids=IDS)
def test_gaps_are_counted(layer: Layer, words: int, gaps: int) -> None:
    assert (layer.words("outputs"), unreached(layer)) == (words, gaps)


@pytest.mark.parametrize("layer", FULL, ids=str)
def test_no_gaps(layer: Layer) -> None:
    assert unreached(layer) == 0


@settings(max_examples=200, deadline=None)
@given(layers())
def test_gaps_are_what_no_product_reaches(layer: Layer) -> None:
    axes = [
        {sum(t.coefficient * i for t, i in zip(axis, at, strict=True)) for at in itertools.product(*sizes)}
        for axis in layer.projections["outputs"]
        for sizes in [[range(layer.dims[t.dim]) for t in axis]]
    ]
    reached = 1
    for axis in axes:
        reached *= len(axis)
    assert unreached(layer) == layer.words("outputs") - reached


@pytest.mark.parametrize(("layer", "words", "gaps"), GAPS, ids=IDS)
@pytest.mark.parametrize("preset", presets())
def test_mid_writes_all_outputs_and_stays_above_coarse(layer: Layer, words: int, gaps: int, preset: str) -> None:
    chip = Accelerator.load(preset)
    table = recorded(chip)
    assert table is not None
    found = mid.map_layer(layer, chip, constrain(chip), table, objective="energy")
    written = found.cost.accesses[chip.dram.name]["outputs"]
    assert written["updates"] >= words
    assert found.cost.dram_bytes >= coarse.analyse(layer, chip, table).dram_bytes
    assert found.bound is not None
    assert found.bound <= found.cost.energy * (1 + 1e-9)


@pytest.fixture
def chip() -> Accelerator:
    hierarchy = [
        {"name": "dram", "kind": "dram", "role": "dram", "dram_type": "LPDDR4", "word_bits": 16, "width_bits": 64},
        {"name": "buffer", "kind": "sram", "role": "global", "size_words": 256, "word_bits": 16, "width_bits": 16},
        {"name": "mac", "kind": "mac", "multiplier_bits": 16, "adder_bits": 16},
    ]
    return Accelerator.from_dict({"name": "chip", "technology_nm": 65, "clock_mhz": 200, "hierarchy": hierarchy})


LINE = up(C=4, M=1, P=7, R=2, strides=(3, 1))  # 20 outputs, of which 14 are reached


def mapping(dram: object, buffer: object) -> Mapping:
    levels = (("dram", dram), ("buffer", buffer))
    return Mapping(tuple(LevelMapping(name, loops, (), TENSORS) for name, loops in levels))  # type: ignore[arg-type]


SKIPS = mapping((("P", 7),), (("C", 4), ("R", 2)))  # windows of 2, one after the other
SPANS = mapping((), (("C", 4), ("P", 7), ("R", 2)))  # the whole output in the buffer, gaps included
SUMS = mapping((("C", 4), ("P", 7)), (("R", 2),))  # each window four times


def counts(chip: Accelerator, of: Mapping, memory: str) -> tuple[float, float]:
    row = mid.analyse(LINE, chip, of, energies(chip)).accesses[memory]["outputs"]
    return row["reads"], row["updates"]


def test_by_hand(chip: Accelerator) -> None:
    assert counts(chip, SKIPS, "dram") == (0, 20)  # 14 from the buffer, and 6 in the gaps
    assert counts(chip, SPANS, "dram") == (0, 20)
    assert counts(chip, SPANS, "buffer") == (4 * 14 - 20, 4 * 14)
    # As Timeloop counts where its assertion holds: it takes 20 of 56 updates for first writes.
    assert counts(chip, SUMS, "dram") == (56 - 20, 56)


@pytest.fixture
def table(chip: Accelerator) -> EnergyTable:
    return energies(chip)


def test_fine_refuses_before_it_runs_timeloop(chip: Accelerator, table: EnergyTable) -> None:
    missing = Native()  # nothing is run, so that it is not there does not matter
    expected = (
        r"^Timeloop cannot count layer up \(conv_transpose: C=4 P=7 R=2 stride=3x1\): 6 of its 20 outputs lie in gaps between "
        r"the kernel's positions, where no product adds to them, and timeloop-model stops at an assertion \(tiling.cpp\) for a "
        r"mapping that does not write them \(14 updates of dram, whose share of the outputs is 20 words\). Use --level mid, "
        "which counts them as written.$"
    )
    one = mapping((("P", 7), ("C", 4)), (("R", 2),))
    with pytest.raises(ToolError, match=expected):
        fine.judge(LINE, chip, one, table, engine=missing)
    with pytest.raises(ToolError, match="and timeloop-mapper stops at an assertion"):
        fine.search(LINE, chip, constrain(chip), table, engine=missing)


@pytest.mark.parametrize("allowed", [SPANS, SUMS])
def test_fine_runs_what_timeloop_can_count(chip: Accelerator, table: EnergyTable, allowed: Mapping) -> None:
    fine.check(LINE, chip, table, allowed)
    fine.check(FULL[0], chip, table, None)


def test_render_says_so_too(tmp_path: Path) -> None:
    network = Network("net", (GAPS[0][0],))
    for mapper in ("hwflow", "timeloop"):
        options = hwflow.CostOptions(level="fine", mapper=mapper)  # type: ignore[arg-type]
        with pytest.raises(ToolError, match="Timeloop cannot count layer up"):
            write_inputs(
                network, hwflow.Accelerator.load("eyeriss"), tmp_path, options, store=None, progress=None, notify=lambda _: None
            )
