"""Costs of layers whose tensors differ in width: traffic, room and energy by the bits of each."""

from __future__ import annotations

import itertools

import pytest

import hwflow
from hwflow.errors import InputError, NotMappable
from hwflow.hardware.accelerator import Accelerator
from hwflow.layers import TENSORS, Bits, Layer
from hwflow.results import LayerCost
from hwflow.types import Objective

EYERISS = Accelerator.load("eyeriss")
LAYER = Layer("conv", C=16, M=16, P=16, Q=16, R=3, S=3)


def buffered(size_words: int = 256, **dram: object) -> Accelerator:
    """One memory for all tensors above one row of MAC units."""
    hierarchy = [
        {"name": "dram", "kind": "dram", "role": "dram", "dram_type": "LPDDR4", "word_bits": 16, "width_bits": 64, **dram},
        {"name": "buffer", "kind": "sram", "role": "global", "size_words": size_words, "word_bits": 16, "width_bits": 64},
        {"name": "pes", "kind": "fanout", "role": "array", "columns": 4},
        {"name": "spad", "kind": "regfile", "role": "spad", "size_words": 16, "word_bits": 16, "width_bits": 64},
        {"name": "mac", "kind": "mac", "multiplier_bits": 16, "adder_bits": 32},
    ]
    return Accelerator.from_dict({"name": "buffered", "technology_nm": 65, "clock_mhz": 200, "hierarchy": hierarchy})


def mapped(layer: Layer, chip: Accelerator, bits: Bits | None, objective: Objective = "edp", effort: int = 1) -> LayerCost:
    """mid's best mapping; energies in normalised units, which do not depend on what was recorded."""
    wide = layer.with_(bits=bits)
    asked = {"energy": "normalized", "ragged": False, "store": False, "objective": objective, "effort": effort}
    found = hwflow.map_layer(wide, chip, **asked)  # type: ignore[arg-type]
    return found.cost


def once(row: LayerCost) -> bool:
    """Whether every tensor crosses the DRAM's boundary once."""
    dram = row.accesses["dram"]
    return all(sum(dram[t].values()) == row.layer.words(t) for t in TENSORS)


@pytest.mark.parametrize("bits", [(8, 8), (4, 8), (2, 8), (8, 4), (1, 8), (4, 16), (1, 1)])
def test_compulsory_dram_traffic_is_that_of_coarse(bits: tuple[int, int]) -> None:
    layer = LAYER.with_(bits=Bits(*bits, bits[1]))
    row = mapped(layer, EYERISS, layer.bits)
    assert once(row)
    coarse = hwflow.estimate(hwflow.Network("one", (layer,)), EYERISS, level="coarse", store=False).rows[0]
    assert row.dram_bytes == coarse.dram_bytes


def test_narrow_weights_move_fewer_bytes_and_take_less_energy_of_a_shared_memory() -> None:
    wide, narrow = (mapped(LAYER, EYERISS, Bits(weights, 8, 8)) for weights in (8, 4))
    assert wide.dram_bytes - narrow.dram_bytes == LAYER.words("weights") / 2
    # in normalised units a 64-bit access of DRAM costs 800
    assert wide.energy_by_level["dram"] - narrow.energy_by_level["dram"] == LAYER.words("weights") * 4 / 64 * 800


def test_narrow_words_enlarge_tiles() -> None:
    layer = Layer("pointwise", C=32, M=32, P=8, Q=8)
    wide, narrow = (mapped(layer, buffered(), Bits(weights, 16, 16), "energy") for weights in (16, 2))
    weights = [row.accesses["dram"]["weights"]["reads"] + row.accesses["dram"]["inputs"]["reads"] for row in (wide, narrow)]
    assert weights[1] < weights[0]


def test_bandwidth_is_shared_by_bits() -> None:
    layer = Layer("linear", type="linear", C=64, M=64)
    chip = buffered(8192, bandwidth_gb_s=0.1)  # half a byte a cycle
    for weights in (16, 8, 2):
        row = mapped(layer, chip, Bits(weights, 16, 16), "latency")
        assert row.bound_by == "dram"
        assert row.cycles == layer.words("weights") * weights / 4 + (64 + 64) * 4


def test_sums_are_kept_whole_where_widths_are_asked_for_and_as_described_where_not() -> None:
    plain, asked = mapped(LAYER, EYERISS, None), mapped(LAYER, EYERISS, Bits(16, 16, 16))
    assert asked.energy_by_level["psum_spad"] == pytest.approx(2 * plain.energy_by_level["psum_spad"], rel=0.05)
    assert asked.energy_by_level["mac"] == plain.energy_by_level["mac"]
    binary, byte = (mapped(LAYER, EYERISS, Bits(n, n, n)) for n in (1, 8))
    assert binary.energy_by_level["psum_spad"] == pytest.approx(byte.energy_by_level["psum_spad"] * 16 / 24, rel=0.05)


SMALL = [Layer("pointwise", C=4, M=8, P=4, Q=2), Layer("linear", type="linear", C=16, M=8)]


@pytest.mark.parametrize("objective", ["energy", "latency", "edp"])
@pytest.mark.parametrize("layer", SMALL, ids=lambda layer: layer.name)
def test_fewer_bits_never_cost_more_at_proven_optima(layer: Layer, objective: Objective) -> None:
    chip = buffered(24, bandwidth_gb_s=0.8)
    asked = {"energy": "normalized", "ragged": False, "store": False, "objective": objective, "effort": 2}
    best = {}
    for bits in itertools.product((4, 16), (4, 16), (8, 16)):
        found = hwflow.map_layer(layer.with_(bits=Bits(*bits)), chip, **asked)  # type: ignore[arg-type]
        cost = found.cost
        best[bits] = {"energy": cost.energy, "latency": cost.cycles, "edp": cost.energy * cost.cycles}[objective]
        assert found.bound is not None
        assert found.bound > 0.995 * best[bits]  # bounds know no accesses that are not full
    for one, other in itertools.permutations(best, 2):
        if all(a <= b for a, b in zip(one, other, strict=True)):
            assert best[one] <= best[other] * (1 + 1e-9), (one, other)


def test_a_width_that_does_not_fill_an_access_is_refused_for_the_narrower_tensor_too() -> None:
    with pytest.raises(
        InputError, match=r"layer conv: accelerator buffered: words of 3 bits do not fill dram\.width_bits \(=64\)"
    ):
        mapped(LAYER, buffered(), Bits(3, 16, 16))


def test_a_shared_memory_without_room_for_a_sum_says_so() -> None:
    chip = buffered().with_({"spad.size_words": 3, "spad.width_bits": 16})
    with pytest.raises(NotMappable, match=r"spad holds 48 bits, but an element of each tensor that it keeps needs 64"):
        mapped(LAYER, chip, Bits(16, 16, 16))
    assert mapped(LAYER, chip, None).cycles


def test_a_mapping_that_overflows_says_so_in_bits() -> None:
    chip = buffered(1024)
    found = hwflow.map_layer(LAYER, chip, energy="normalized", store=False)
    with pytest.raises(NotMappable, match=r"the mapping needs \d+ bits in \w+ \(.*outputs \d+\), which has \d+"):
        hwflow.analyse(LAYER.with_(bits=Bits(16, 16, 16)), chip, found.mapping, energy="normalized", store=False)
