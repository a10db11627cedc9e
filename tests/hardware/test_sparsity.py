"""`sparsity` of an accelerator: what it stands for, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from hwflow.errors import InputError
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.sparsity import Compressed, Saving

EYERISS = Accelerator.load("eyeriss")


def savings(sparsity: Any) -> tuple[Saving, ...]:
    chip = EYERISS.with_({"sparsity": sparsity})
    assert chip.sparsity is not None
    return chip.sparsity.savings(chip.hierarchy)


def test_an_operand_alone_stands_for_the_innermost_memories_of_the_others() -> None:
    weights = Saving("weight_spad", "weights", ("inputs",), skips=False)
    assert savings({"gates": "inputs"}) == (Saving("psum_spad", "outputs", ("inputs",), skips=False), weights)
    assert savings({"gates": {"inputs": ["weight_spad"]}}) == (weights,)
    assert savings({"skips": ["weights", "inputs"]}) == (
        Saving("psum_spad", "outputs", ("weights", "inputs"), skips=True),
        Saving("weight_spad", "weights", ("inputs",), skips=True),
        Saving("input_spad", "inputs", ("weights",), skips=True),
    )


def test_fields_can_be_set_one_by_one_and_are_part_of_the_identity() -> None:
    chip = EYERISS.with_({"sparsity.gates": "inputs"})
    assert chip.sparse
    assert not EYERISS.sparse
    assert chip.label == "eyeriss (sparsity.gates={'inputs': []})"
    assert chip.fingerprint != EYERISS.fingerprint
    assert chip.with_({"sparsity": None}).fingerprint == EYERISS.fingerprint


def test_a_row_holds_whole_indices() -> None:
    dram = EYERISS.dram
    assert Compressed(inputs="rle", index_bits=5).row_bits(dram) == 60
    assert Compressed(inputs="rle", index_bits=5, offset_bits=8).row_bits(dram) == 40
    assert Compressed(weights="bitmask").row_bits(dram) == 64


@pytest.mark.parametrize(
    ("sparsity", "message"),
    [
        ({}, r"sparsity: it says nothing; give skips, gates or compressed"),
        ({"skips": "outputs"}, r"sparsity\.skips\.outputs.*it must be weights or inputs"),
        ({"skips": "inputs", "gates": "inputs"}, r"inputs are both in skips and in gates"),
        (
            {"gates": {"inputs": ["dram"]}},
            r"names 'dram', which is not the innermost memory.* these are weight_spad, psum_spad",
        ),
        ({"gates": {"inputs": ["psum_spad"]}}, r"names psum_spad and not weight_spad, from which the other operand"),
        ({"skips": "weights", "gates": "inputs"}, r"outputs in psum_spad are skipped for one operand and gated for the other"),
        ({"compressed": {"dram": {}}}, r"sparsity\.compressed\.dram: it names no tensor"),
        ({"compressed": {"dram": {"inputs": "rle"}}}, r"index_bits is missing: inputs is stored as rle"),
        ({"compressed": {"dram": {"inputs": "bitmask", "index_bits": 1}}}, r"a bitmask has one bit for each element: leave it"),
        ({"compressed": {"dram": {"inputs": "zip"}}}, r"inputs.*it must be rle, coordinates or bitmask"),
        ({"compressed": {"spad": {"inputs": "bitmask"}}}, r"there is no memory 'spad'; the memories are dram, global_buffer"),
        ({"compressed": {"weight_spad": {"inputs": "bitmask"}}}, r"weight_spad keeps weights only"),
        ({"compressed": {"global_buffer": {"inputs": "bitmask"}}}, r"dram, from which they come, does not store them so"),
        ({"compressed": {"dram": {"inputs": "rle", "index_bits": 65}}}, r"its indices do not fit an access of 64 bits"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_field(sparsity: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        EYERISS.with_({"sparsity": sparsity})


def test_compressed_rows_have_as_many_words_as_timeloop_knows() -> None:
    with pytest.raises(InputError, match=r"an access moves 3 words; Timeloop's model of compressed tiles knows 1, 2, 4"):
        EYERISS.with_({"dram.width_bits": 48, "sparsity.compressed": {"dram": {"inputs": "bitmask"}}})
