"""Layers whose tensors differ in width: Timeloop's own numbers with every element cut into slices (`tools.sliced_words`)."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from benchmarks.parity import from_record, load
from hwflow.cost.fine import judge, repriced
from hwflow.errors import NotMappable
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.dataflow import constrain
from hwflow.hardware.stored_bits import packs
from hwflow.layers import Bits, Layer
from hwflow.loopnest.nest import Nest, Verdict
from hwflow.mapping import LevelMapping, Loop, Mapping
from hwflow.timeloop.engine import Native
from hwflow.timeloop.render import render
from tools.parity_cases import Case, random_mapping
from tools.sliced_words import sliced
from tools.width_cases import LAYERS, cases, energies, judged, numbers

RECORD = Path(__file__).parents[1] / "data" / "widths.json.gz"


def verdict_of(case: Case, *, with_links: bool = False) -> Verdict:
    """hwflow's verdict."""
    nest = Nest(case.layer, case.accelerator, case.table, tuple(m.keeps for m in reversed(case.mapping.levels)))
    return nest.evaluate(nest.batch_of(case.mapping), with_links=with_links)


def assert_met(case: Case, theirs: dict[str, dict[str, float]]) -> None:
    """Cycles are equal, energies but for the two decimals of Timeloop's leakage."""
    verdict = verdict_of(case)
    assert verdict.fits[0]
    for k, level in enumerate(reversed(case.accelerator.levels)):
        if level.name in theirs["cycles"]:
            assert verdict.level_cycles[k, 0] == theirs["cycles"][level.name], (str(case), level.name)
            assert verdict.level_energy[k, 0] == pytest.approx(theirs["energy"][level.name], rel=1e-6, abs=0.02), str(case)
    assert verdict.cycles[0] == theirs["cycles"]["all"]


def test_recorded_numbers_of_timeloop_are_met() -> None:
    records: list[dict[str, Any]] = load(RECORD)["records"]
    assert len(records) == 30
    plain = 0
    for record in records:
        case, theirs = from_record(record)
        assert packs(case.accelerator, case.layer)
        assert_met(case, theirs)
        words = Case(case.layer.with_(bits=None), case.accelerator, case.table, case.mapping, case.source)
        plain += verdict_of(words).energy[0] == pytest.approx(theirs["energy"]["all"], rel=0.01)
    assert plain < 10  # a word for every element would have been wrong


@pytest.mark.timeloop
@pytest.mark.slow
def test_a_hundred_mappings_cost_what_timeloop_counts_of_slices() -> None:
    for case, files in cases(100, seed=1):
        assert_met(case, numbers(case, judged(files)))


@pytest.mark.timeloop
def test_the_counts_of_words_repriced_are_what_timeloop_counts_of_slices() -> None:
    for case, files in cases(4, seed=2):
        native = judged(files)
        plain = judged(render(case.layer, case.accelerator, (), case.table, mapping=case.mapping))
        again = repriced(plain, case.layer, case.accelerator, case.mapping, case.table)
        assert again.cycles == native.cycles
        assert again.energy == pytest.approx(native.energy, rel=1e-6, abs=0.05)


@pytest.mark.timeloop
@pytest.mark.parametrize("name", ["eyeriss", "simba", "tpu_like", "shidiannao_like"])
def test_fine_and_mid_say_the_same_with_partial_sums_and_ragged_loops(name: str) -> None:
    rng = random.Random(5)
    described = Accelerator.load(name)
    for layer, bits in ((LAYERS[6], Bits(4, 8, 8)), (Layer("odd", C=19, M=37, P=13, Q=11, R=3, S=3), Bits(8, 4, 8))):
        wide = layer.with_(bits=bits)
        chip = described.serving(wide)
        mapping = random_mapping(rng, wide, chip, constrain(chip), ragged=layer.name == "odd")
        row = judge(wide, chip, mapping, energies(chip), engine=Native())
        verdict = verdict_of(Case(wide, chip, energies(chip), mapping, "random"), with_links=True)
        assert row.cycles == verdict.cycles[0]
        assert row.energy == pytest.approx(float(verdict.energy[0]), rel=1e-3)
        assert "by the bits of each tensor" in row.note


def shared_buffer() -> tuple[Accelerator, Mapping]:
    """A chip with one buffer of 32 bytes, and a mapping that puts 16 weights, 16 inputs and an output there."""
    hierarchy = [
        {"name": "dram", "kind": "dram", "role": "dram", "dram_type": "LPDDR4", "word_bits": 16, "width_bits": 64},
        {"name": "buffer", "kind": "sram", "role": "global", "size_words": 16, "word_bits": 16, "width_bits": 64},
        {"name": "mac", "kind": "mac", "multiplier_bits": 16, "adder_bits": 32},
    ]
    chip = Accelerator.from_dict({"name": "one_buffer", "technology_nm": 65, "clock_mhz": 200, "hierarchy": hierarchy})
    every = ("weights", "inputs", "outputs")
    outer = LevelMapping("dram", (Loop("M", 8),), (), every, None)  # type: ignore[arg-type]
    inner = LevelMapping("buffer", (Loop("C", 16),), (), every, None)  # type: ignore[arg-type]
    return chip, Mapping((outer, inner))


@pytest.mark.timeloop
@pytest.mark.parametrize(("weights", "fits"), [(16, False), (8, False), (2, True)])
def test_room_is_by_bits_for_timeloop_too(weights: int, fits: bool) -> None:
    described, mapping = shared_buffer()
    layer = Layer("linear", type="linear", C=16, M=8, bits=Bits(weights, 8, 32))
    chip = described.serving(layer)
    files = sliced(layer, chip, mapping, energies(chip))
    assert files is not None
    if fits:
        assert judged(files).cycles == judge(layer, chip, mapping, energies(chip), engine=Native()).cycles
        return
    with pytest.raises(NotMappable):
        judged(files)
    with pytest.raises(NotMappable, match=r"bits in buffer \(weights \d+, inputs 128, outputs 32\), which has 256"):
        judge(layer, chip, mapping, energies(chip), engine=Native())
