"""The analysis against counts worked out by hand, each in a comment."""

from __future__ import annotations

from typing import Any

import pytest

from hwflow.cost import mid
from hwflow.errors import NotMappable
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.energy_table import EnergyTable, PartEnergy
from hwflow.layers import TENSORS, Layer
from hwflow.mapping import LevelMapping, Mapping
from hwflow.results import LayerCost

DRAM = {"name": "dram", "kind": "dram", "role": "dram", "dram_type": "LPDDR4", "word_bits": 16, "width_bits": 16}
BUFFER = {"name": "buffer", "kind": "sram", "role": "global", "size_words": 64, "word_bits": 16, "width_bits": 16}
SPAD = {"name": "spad", "kind": "regfile", "role": "spad", "size_words": 16, "word_bits": 16, "width_bits": 16}
MAC = {"name": "mac", "kind": "mac", "multiplier_bits": 16, "adder_bits": 16}
COLUMNS = {"name": "pes", "kind": "fanout", "role": "array", "columns": 4}


def chip(*parts: dict[str, Any]) -> Accelerator:
    return Accelerator.from_dict({"name": "chip", "technology_nm": 65, "clock_mhz": 1000, "hierarchy": [*parts, MAC]})


def table(accelerator: Accelerator, **more: PartEnergy) -> EnergyTable:
    parts = {m.name: PartEnergy(1, 1, 1) for m in accelerator.memories} | {"mac": PartEnergy(compute=1)} | more
    return EnergyTable("pJ", "by hand", parts)


def cost(layer: Layer, accelerator: Accelerator, *levels: dict[str, Any], **more: PartEnergy) -> LayerCost:
    """Each level as its loops: {"for": ((dim, bound), ...), "over": (...), "keeps": (...)}."""
    mapped = []
    for level, given in zip(accelerator.levels, levels, strict=True):
        keeps = given.get("keeps", level.memory.keeps if level.memory else ())
        mapped.append(LevelMapping(level.name, given.get("for", ()), given.get("over", ()), keeps, level.axis))
    return mid.analyse(layer, accelerator, Mapping(tuple(mapped)), table(accelerator, **more))


def counts(row: LayerCost, level: str, tensor: str) -> tuple[float, ...]:
    found = row.accesses[level][tensor]
    return found["reads"], found["fills"], found["updates"]


FLAT = chip(DRAM, BUFFER)
ROW = chip(DRAM, BUFFER, COLUMNS, SPAD)


def test_a_sliding_window_is_fetched_once() -> None:
    row = cost(Layer("k", C=1, M=1, P=4, R=3), FLAT, {"for": (("P", 4),)}, {"for": (("R", 3),)})
    # The window of 3 moves by 1, three times: 3 + 3 = 6 words, the whole input. Each of the 12 MACs reads it from the buffer.
    assert counts(row, "dram", "inputs") == (6, 0, 0)
    assert counts(row, "buffer", "inputs") == (12, 6, 0)
    # The three weights stay.
    assert counts(row, "dram", "weights") == (3, 0, 0)
    assert counts(row, "buffer", "weights") == (12, 3, 0)
    # Four sums of three: the first addend of each needs no read; DRAM gets each once and gives none.
    assert counts(row, "dram", "outputs") == (0, 0, 4)
    assert counts(row, "buffer", "outputs") == (8, 0, 12)
    assert row.cycles == 12
    assert row.bound_by == "compute"
    # One unit an access and a MAC: DRAM 6 + 3 + 4, buffer (12 + 6) + (12 + 3) + (8 + 12), 12 MACs.
    assert row.energy_by_level == {"dram": 13, "buffer": 53, "mac": 12}
    assert row.energy == 78


@pytest.mark.parametrize(
    ("stride", "dilation", "fetched"),
    [
        (2, 1, 3 + 3 * 2),  # moves by 2: two new words a step
        (4, 1, 3 + 3 * 3),  # moves past itself: all three are new
        (1, 2, 5 + 3 * 1),  # dilated to 5 words, the hull
    ],
)
def test_strides_and_dilations_change_what_is_new(stride: int, dilation: int, fetched: int) -> None:
    layer = Layer("k", C=1, M=1, P=4, R=3, strides=(stride, 1), dilations=(dilation, 1))
    row = cost(layer, FLAT, {"for": (("P", 4),)}, {"for": (("R", 3),)})
    assert counts(row, "dram", "inputs") == (fetched, 0, 0)


def test_the_order_of_loops_decides_what_stays() -> None:
    layer = Layer("k", C=1, M=2, P=4, R=3)
    outside = cost(layer, FLAT, {"for": (("M", 2), ("P", 4))}, {"for": (("R", 3),)})
    # Weights of each M stay while P runs; the input is walked twice, from the start each time: 2 (3 + 3).
    assert counts(outside, "dram", "weights") == (6, 0, 0)
    assert counts(outside, "dram", "inputs") == (12, 0, 0)
    inside = cost(layer, FLAT, {"for": (("P", 4), ("M", 2))}, {"for": (("R", 3),)})
    # Now the window waits for both M, and the weights change at each of the 8 steps.
    assert counts(inside, "dram", "weights") == (24, 0, 0)
    assert counts(inside, "dram", "inputs") == (6, 0, 0)


def test_a_halo_is_refetched_where_the_direction_changes() -> None:
    # A 2-d window of 3 x 3 over 2 x 2 positions: P inside, Q outside. Two steps of P: 3 new words each. The step of Q goes back
    # in P and on in Q: Timeloop forgets the tile then, although 6 of its words are still there. 9 + 3 + 9 + 3.
    layer = Layer("k", C=1, M=1, P=2, Q=2, R=3, S=3)
    row = cost(layer, FLAT, {"for": (("Q", 2), ("P", 2))}, {"for": (("S", 3), ("R", 3))})
    assert counts(row, "dram", "inputs") == (24, 0, 0)


def test_partial_sums_that_leave_come_back() -> None:
    # C outside P at DRAM: 2 sums leave after the first C, return, and leave again.
    row = cost(Layer("k", C=2, M=1, P=2), FLAT, {"for": (("C", 2), ("P", 2))}, {})
    assert counts(row, "dram", "outputs") == (2, 0, 4)
    assert counts(row, "buffer", "outputs") == (2, 2, 4)


def test_multicast_reads_once_for_all() -> None:
    layer = Layer("k", C=1, M=4, P=4)
    row = cost(layer, ROW, {}, {"for": (("P", 4),), "over": (("M", 4),)}, {})
    # One read of the buffer feeds four spads.
    assert counts(row, "buffer", "inputs") == (4, 4, 0)
    assert counts(row, "spad", "inputs") == (4, 4, 0)
    # Each spad has its own weight, which stays.
    assert counts(row, "buffer", "weights") == (4, 4, 0)
    assert counts(row, "spad", "weights") == (4, 1, 0)
    assert row.utilized_instances == {"dram": 1, "buffer": 1, "spad": 4}
    assert row.cycles == 4


def test_an_array_adds_up_on_its_way() -> None:
    # Four C at once: the array's four products become one update of the buffer a step.
    row = cost(Layer("k", C=4, M=1, P=4), ROW, {}, {"for": (("P", 4),), "over": (("C", 4),)}, {})
    assert counts(row, "buffer", "outputs") == (0, 0, 4)
    # A spad holds one sum at a time and hands it on; each first addend needs no read.
    assert counts(row, "spad", "outputs") == (0, 0, 4)


def test_neighbours_hand_on_their_inputs() -> None:
    # P over the columns, R in time: what PE p+1 had, PE p wants next. First step 4 reads, then one new word for the last PE.
    row = cost(Layer("k", C=1, M=1, P=4, R=3), ROW, {}, {"for": (("R", 3),), "over": (("P", 4),)}, {})
    assert counts(row, "buffer", "inputs") == (6, 6, 0)
    # Each spad is filled 3 times (6 from above and 6 from neighbours, over 4), read 3 times by its MAC and 6 / 4 by neighbours.
    assert counts(row, "spad", "inputs") == (5, 3, 0)
    # One weight a step for all.
    assert counts(row, "buffer", "weights") == (3, 3, 0)


def test_a_bypassed_level_passes_requests_on() -> None:
    layer = Layer("k", C=1, M=1, P=4, R=3)
    levels: tuple[dict[str, Any], ...] = ({"for": (("P", 4),)}, {"for": (("R", 3),), "keeps": ("inputs", "outputs")})
    row = cost(layer, FLAT, *levels)
    # Without a place in the buffer, every MAC's weight comes from DRAM.
    assert counts(row, "dram", "weights") == (12, 0, 0)
    assert "weights" not in row.accesses["buffer"]
    assert counts(row, "dram", "inputs") == (6, 0, 0)


def test_multicast_reaches_through_a_bypassed_level() -> None:
    # Weights skip the spad: the buffer is asked at every step, but once for all four columns, which share the weight.
    row = cost(Layer("k", C=1, M=1, P=8), ROW, {}, {"over": (("P", 4),)}, {"for": (("P", 2),), "keeps": ("inputs", "outputs")})
    assert counts(row, "buffer", "weights") == (2, 1, 0)


def test_an_access_moves_a_whole_block() -> None:
    wide = chip(DRAM | {"width_bits": 128}, BUFFER | {"width_bits": 64})
    row = cost(
        Layer("k", C=1, M=1, P=4, R=3), wide, {"for": (("P", 4),)}, {"for": (("R", 3),)}, dram=PartEnergy(read=100, update=10)
    )
    # Blocks of 8 words: ceil(6 / 8) + ceil(3 / 8) reads and ceil(4 / 8) updates.
    assert row.energy_by_level["dram"] == 210
    # Blocks of 4: reads 3 + 3 + 2, fills 2 + 1 + 0, updates 3.
    assert row.energy_by_level["buffer"] == 14


def test_leakage_counts_used_instances_and_all_cycles() -> None:
    layer = Layer("k", C=1, M=3, P=4)
    row = cost(layer, ROW, {}, {"for": (("P", 4),), "over": (("M", 3),)}, {}, spad=PartEnergy(leak=0.5))
    assert row.energy_by_level["spad"] == 0.5 * 4 * 3


@pytest.mark.parametrize(
    ("bandwidth", "cycles", "bound_by"),
    [
        ({"read_words_per_cycle": 0.5}, 18, "dram"),  # 9 reads
        ({"write_words_per_cycle": 0.25}, 16, "dram"),  # 4 updates
        ({"bandwidth_gb_s": 1.0}, 26, "dram"),  # 13 words of 2 bytes at 1 byte a cycle
        ({"bandwidth_gb_s": 1000.0}, 12, "compute"),
    ],
)
def test_bandwidth_bounds_the_cycles(bandwidth: dict[str, float], cycles: int, bound_by: str) -> None:
    slow = chip(DRAM | bandwidth, BUFFER)
    row = cost(Layer("k", C=1, M=1, P=4, R=3), slow, {"for": (("P", 4),)}, {"for": (("R", 3),)})
    assert (row.cycles, row.bound_by) == (cycles, bound_by)


def test_double_buffering_halves_the_room() -> None:
    layer, levels = Layer("k", C=1, M=1, P=4, R=3), ({}, {"for": (("P", 4), ("R", 3))})
    # 6 inputs, 3 weights and 4 outputs.
    assert cost(layer, chip(DRAM, BUFFER | {"size_words": 13}), *levels).cycles == 12
    assert cost(layer, chip(DRAM, BUFFER | {"size_words": 26, "buffering": 2}), *levels).cycles == 12
    with pytest.raises(NotMappable, match=r"needs 13 words in buffer \(weights 3, inputs 6, outputs 4\), which has 12"):
        cost(layer, chip(DRAM, BUFFER | {"size_words": 25, "buffering": 2}), *levels)


def test_a_fan_out_right_above_the_arithmetic_keeps_nothing() -> None:
    # No spads: each step asks for its operands anew, even where they are the same as before.
    bare = chip(DRAM, BUFFER, COLUMNS)
    loops = {"for": (("P", 3), ("R", 2)), "over": (("M", 4),)}
    row = cost(Layer("k", C=1, M=4, P=3, R=2, strides=(2, 1)), bare, {}, loops)
    assert counts(row, "buffer", "weights") == (24, 8, 0)
    assert counts(row, "buffer", "inputs") == (6, 6, 0)  # one for all four, at each of the 6 steps
    assert counts(row, "buffer", "outputs") == (24 - 12, 0, 24)
    # With stride 1 the steps want the inputs 0 1 1 2 2 3: a repeated one is at a neighbour, who just had it.
    row = cost(Layer("k", C=1, M=4, P=3, R=2), bare, {}, loops)
    assert counts(row, "buffer", "inputs") == (4, 4, 0)


def test_groups_and_transposed_convolutions_need_no_code_of_their_own() -> None:
    depthwise = cost(Layer("k", C=1, M=1, G=3, P=4, R=3), FLAT, {"for": (("G", 3), ("P", 4))}, {"for": (("R", 3),)})
    assert counts(depthwise, "dram", "inputs") == (18, 0, 0)
    assert counts(depthwise, "dram", "weights") == (9, 0, 0)
    # Transposed, stride 2: each of 4 inputs adds into 3 outputs; windows of outputs overlap by 1, whose sums go on.
    up = cost(
        Layer("k", C=1, M=1, P=4, R=3, strides=(2, 1), type="conv_transpose"), FLAT, {"for": (("P", 4),)}, {"for": (("R", 3),)}
    )
    assert counts(up, "dram", "inputs") == (4, 0, 0)
    assert counts(up, "dram", "outputs") == (0, 0, 9)
    assert counts(up, "buffer", "outputs") == (12 - 9, 0, 12)


def test_everything_names_every_tensor() -> None:
    row = cost(Layer("k", C=1, M=1), FLAT, {}, {})
    assert set(row.accesses["dram"]) == set(TENSORS)
