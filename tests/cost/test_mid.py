"""The mid level's answers: rows, errors, and the search's results."""

from __future__ import annotations

import pytest

from hwflow.cost import mid
from hwflow.errors import InputError, NotMappable
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.dataflow import constrain
from hwflow.hardware.energy_table import normalized
from hwflow.layers import TENSORS, Layer
from hwflow.mapping import LevelMapping, Mapping
from tests.loopnest.cases import energies

LAYER = Layer("k", C=2, M=4, P=3)


@pytest.fixture
def chip() -> Accelerator:
    hierarchy = [
        {"name": "dram", "kind": "dram", "role": "dram", "dram_type": "LPDDR4", "word_bits": 16, "width_bits": 64},
        {"name": "buffer", "kind": "sram", "role": "global", "size_words": 16, "word_bits": 16, "width_bits": 16},
        {"name": "pes", "kind": "fanout", "role": "array", "columns": 4},
        {"name": "mac", "kind": "mac", "multiplier_bits": 16, "adder_bits": 16},
    ]
    return Accelerator.from_dict({"name": "chip", "technology_nm": 65, "clock_mhz": 200, "hierarchy": hierarchy})


def mapping(**loops: tuple[tuple[str, int], ...]) -> Mapping:
    dram = LevelMapping("dram", loops.get("dram", ()), (), TENSORS)
    return Mapping((dram, LevelMapping("buffer", loops.get("buffer", ()), loops.get("over", ()), TENSORS, "X")))


def test_a_row_says_what_it_is(chip: Accelerator) -> None:
    given = mapping(dram=(("P", 3), ("C", 2)), over=(("M", 4),))
    row = mid.analyse(LAYER, chip, given, energies(chip))
    assert (row.level, row.engine, row.energy_unit, row.energy_source) == ("mid", f"hwflow {mid.VERSION}", "pJ", "primes")
    assert row.mapping == tuple(given.directives())
    assert row.latency_s == pytest.approx(6 * 5e-9)
    assert row.utilization == 1
    # Words of 2 bytes: 3 x 2 x 4 weights (C steps inside P), 6 inputs, and the 12 outputs once, since C is inside.
    assert row.dram_bytes == 2 * (24 + 6 + 12)


def test_a_foreign_mapping_is_refused(chip: Accelerator) -> None:
    with pytest.raises(InputError, match=r"the factors of P multiply to 1, but layer k has P=3"):
        mid.analyse(LAYER, chip, mapping(dram=(("C", 2),), over=(("M", 4),)), energies(chip))


def test_a_tile_that_overflows_is_refused_with_its_size(chip: Accelerator) -> None:
    with pytest.raises(NotMappable, match=r"layer k: the mapping needs 26 words in buffer \(weights 8, inputs 6, outputs 12\)"):
        mid.analyse(LAYER, chip, mapping(buffer=(("P", 3), ("C", 2)), over=(("M", 4),)), energies(chip))


def test_the_search_finds_a_mapping_that_judges_the_same(chip: Accelerator) -> None:
    table = normalized(chip)
    found = mid.map_layer(LAYER, chip, constrain(chip), table)
    assert mid.analyse(LAYER, chip, found.mapping, table) == found.cost
    assert found.bound is None or found.cost.energy * found.cost.cycles >= found.bound * (1 - 1e-9)


@pytest.mark.parametrize("objective", ["energy", "latency", "edp"])
def test_a_search_repeats(chip: Accelerator, objective: str) -> None:
    table = normalized(chip)
    first, second = (mid.map_layer(LAYER, chip, constrain(chip), table, objective=objective) for _ in range(2))
    assert first == second


def test_a_memory_too_small_for_anything_is_named(chip: Accelerator) -> None:
    tiny = chip.with_({"buffer.size_words": 2})
    with pytest.raises(NotMappable, match=r"buffer holds 2 word\(s\), but keeps 3 tensors. Make buffer larger"):
        mid.map_layer(LAYER, tiny, constrain(tiny), normalized(tiny))


def test_an_array_far_larger_than_the_layer_costs_no_more_to_search(chip: Accelerator) -> None:
    layer = Layer("k", C=6, M=10, P=7)
    costs = []
    for columns in (6 * 10 * 7, 2**40):  # nobody waits for a loop over the latter
        wide = chip.with_({"pes.columns": columns, "buffer.size_words": 2**16})
        found = mid.map_layer(layer, wide, constrain(wide, "flexible"), energies(wide))
        costs.append((found.cost.energy, found.cost.cycles, found.bound))
    assert costs[0] == costs[1]
    assert costs[0][1] == 1
