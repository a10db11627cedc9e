"""Where tensors can stay, what a layer is left, and the price of a move."""

from __future__ import annotations

import pytest

from hwflow.cost import mid
from hwflow.cost.chip import Chip
from hwflow.cost.residency import homes_of, least_room, move_of, pace, resident_chip, tiles_of
from hwflow.errors import NotMappable
from hwflow.hardware.accelerator import Accelerator, Memory
from hwflow.hardware.dataflow import constrain
from hwflow.hardware.energy_table import normalized
from hwflow.layers import Bits, Layer
from hwflow.types import Tensor

LAYER = Layer("k", C=8, M=8, P=8, Q=8, R=3, S=3)


def chip(name: str) -> Chip:
    accelerator = Accelerator.load(name)
    return Chip(accelerator, constrain(accelerator), normalized(accelerator))


@pytest.mark.parametrize(
    ("name", "memories"),
    [
        ("eyeriss", ["global_buffer"]),
        ("eyeriss_256", ["global_buffer"]),
        ("simba", ["global_buffer"]),
        ("tpu_like", ["unified_buffer"]),
        ("shidiannao_like", ["nb_in", "nb_out"]),
    ],
)
def test_where_tensors_stay_on_the_presets(name: str, memories: list[str]) -> None:
    assert [memory.name for memory in homes_of(Accelerator.load(name)).memories] == memories


def test_a_chip_without_such_a_memory_says_why() -> None:
    dram = {"name": "dram", "kind": "dram", "role": "dram", "dram_type": "LPDDR4", "word_bits": 16, "width_bits": 64}
    spad = {"name": "spad", "kind": "sram", "role": "spad", "size_words": 64, "word_bits": 16, "width_bits": 16}
    pes = {"name": "pes", "kind": "fanout", "role": "array", "columns": 4}
    mac = {"name": "mac", "kind": "mac", "multiplier_bits": 16, "adder_bits": 16}

    def of(*parts: dict[str, object]) -> str:
        content = {"name": "chip", "technology_nm": 65, "clock_mhz": 200, "hierarchy": [dram, *parts, mac]}
        return homes_of(Accelerator.from_dict(content)).why

    assert of(pes, spad) == (
        "the outermost memory on chip that keeps inputs is spad, of which there are 4, so that a tensor would lie in parts"
    )
    assert of(spad | {"keeps": ["inputs"]}) == "no memory on chip keeps outputs"
    assert not of(spad)


def test_a_layer_is_left_what_others_do_not_take_in_whole_rows() -> None:
    whole = chip("eyeriss")
    homes = homes_of(whole.accelerator)
    assert homes.rows(65, 0) == 128
    seen = resident_chip(whole, homes, ("inputs",), (64 * 10 + 63,))
    assert seen is not None
    buffer = seen.accelerator["global_buffer"]
    assert isinstance(buffer, Memory)
    assert buffer.words == 40
    assert (seen.resident, seen.table) == (("inputs",), whole.table)
    assert seen.identity != whole.identity
    assert resident_chip(whole, homes, (), (63,)) is None
    assert resident_chip(whole, homes, (), homes.sizes) == whole


def test_a_layer_whose_tensors_stay_moves_none_of_them_to_or_from_dram() -> None:
    here = chip("eyeriss")
    homes = homes_of(here.accelerator)
    found = mid.map_layer(LAYER, here.accelerator, here.constraints, here.table, resident=("inputs", "outputs"))
    assert found.cost.resident == ("inputs", "outputs")
    assert set(found.cost.accesses["dram"]) == {"weights"}
    (tile,) = tiles_of(LAYER, here, found.mapping, homes)
    assert tile["inputs"] >= LAYER.words("inputs") * 16
    assert tile["outputs"] >= LAYER.words("outputs") * 16
    # it fits the room that it takes, and not a row less
    used = homes.rows(sum(tile.values()), 0)
    seen = resident_chip(here, homes, ("inputs", "outputs"), (used,))
    assert seen is not None
    mid.analyse(LAYER, seen.accelerator, found.mapping, here.table)


@pytest.mark.parametrize("resident", [("inputs",), ("outputs",), ("inputs", "outputs")])
def test_with_less_room_than_the_least_nothing_fits(resident: tuple[Tensor, ...]) -> None:
    here = chip("eyeriss")
    homes = homes_of(here.accelerator)
    (least,) = least_room(LAYER, here, homes, resident)
    whole = {"inputs": 10 * 10 * 8, "outputs": 8 * 8 * 8}  # the hull of the inputs, which the padding is part of
    assert least >= 16 * sum(whole[t] for t in resident)
    for room, fits in ((least - 64, False), (4 * least, True)):
        seen = resident_chip(here, homes, resident, (room,))
        assert seen is not None
        own = (LAYER, seen.accelerator, seen.constraints, seen.table)
        if fits:
            found = mid.map_layer(*own, resident=resident)
            assert sum(tiles_of(LAYER, seen, found.mapping, homes)[0].values()) >= least - 64
        else:
            with pytest.raises(NotMappable):
                mid.map_layer(*own, resident=resident)


def test_bounds_hold_for_tensors_that_stay() -> None:
    """The bound of a layer by DRAM exceeds what it costs with its tensors on the chip."""
    for name in ("eyeriss", "shidiannao_like"):
        here = chip(name)
        own = (LAYER, here.accelerator, here.constraints, here.table)
        for resident in ((), ("inputs",), ("outputs",), ("inputs", "outputs")):
            energy, cycles = mid.least(*own, resident=resident)
            found = mid.map_layer(*own, resident=resident)
            assert found.cost.energy is not None
            assert found.cost.cycles is not None
            assert energy <= found.cost.energy
            assert cycles <= found.cost.cycles


def test_a_move_reads_one_memory_and_writes_the_other() -> None:
    here = chip("shidiannao_like")
    move = move_of(1024, LAYER, here, homes_of(here.accelerator))
    parts = here.table.parts
    # rows of 8 words; 64 words a cycle
    assert move is not None
    assert (move.energy, move.cycles) == (128 * (parts["nb_out"].read + parts["nb_in"].write), 16)
    eyeriss = chip("eyeriss")
    assert move_of(1024, LAYER, eyeriss, homes_of(eyeriss.accelerator)) is None


def test_a_total_bandwidth_is_shared_by_reads_and_writes() -> None:
    accelerator = Accelerator.load("eyeriss")
    dram = accelerator.dram  # 0.72e9 byte/s at 200 MHz: 1.8 words of 2 bytes a cycle
    assert pace(accelerator, dram, 9, 9) == 10
    assert pace(accelerator, dram.model_copy(update={"bandwidth_gb_s": None}), 9, 9) == 0


def test_a_move_reads_the_words_of_accumulators_and_writes_narrow_elements() -> None:
    narrow = LAYER.with_(bits=Bits(8, 8, 8))
    accelerator = Accelerator.load("shidiannao_like").serving(narrow)
    here = Chip(accelerator, constrain(accelerator), normalized(accelerator))
    move, parts = move_of(1024, narrow, here, homes_of(accelerator)), here.table.parts
    assert move is not None
    accumulator = parts["nb_out"].read * 23 / 16  # sums of 72 products of 8 bits each
    assert move.energy == pytest.approx(128 * accumulator + 64 * parts["nb_in"].write)
    assert move.cycles == 16
