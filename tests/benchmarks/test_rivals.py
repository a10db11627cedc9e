"""Mappings of ZigZag and AccelForge, written by hand in their formats, become the mappings of hwflow that they mean."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.rivals import __main__ as rivals
from benchmarks.rivals.chip import shared_chip, to_request
from benchmarks.rivals.nest import Inexpressible, evened, express, judge
from benchmarks.rivals.outputs import from_accelforge, from_zigzag
from hwflow.cost import mid
from hwflow.errors import NotMappable
from hwflow.layers import Layer
from hwflow.mapping import Loop

CHIP, TABLE = shared_chip()
LAYER = Layer("hand", C=4, M=24, P=28, Q=6, R=3, S=3)
ZIGZAG: dict[str, Any] = {  # innermost memory and loop first
    "spatial": {"D1": [["P", 14]], "D2": [["S", 3], ["C", 4]]},
    "temporal": {
        "weights": [[["R", 3], ["M", 4]], [["P", 2], ["Q", 6], ["M", 6]]],
        "inputs": [[["R", 3]], [["M", 4], ["P", 2], ["Q", 6]], [["M", 6]]],
        "outputs": [[["R", 3], ["M", 4]], [["P", 2], ["Q", 6]], [["M", 6]]],
    },
}
ACCELFORGE: dict[str, Any] = {  # outermost first, with the size of the tile that is left
    "nest": [
        ["storage", "dram", ["weights", "inputs", "outputs"]],
        ["temporal", "m", 4],
        ["storage", "global_buffer", ["inputs", "outputs"]],
        ["temporal", "q", 1],
        ["temporal", "p", 14],
        ["spatial", "columns", "p", 1],
        ["spatial", "rows", "s", 1],
        ["spatial", "rows", "c", 1],
        ["storage", "weight_spad", ["weights"]],
        ["storage", "psum_spad", ["outputs"]],
        ["temporal", "m", 1],
        ["storage", "input_spad", ["inputs"]],
        ["temporal", "r", 1],
        ["compute", "mac"],
    ]
}


def test_a_mapping_of_zigzag_is_translated() -> None:
    found = express(from_zigzag(ZIGZAG, LAYER, CHIP), LAYER, CHIP, TABLE)
    loops = {level.level: (level.temporal, level.spatial) for level in found.mapping.levels}
    assert list(loops) == ["dram", "global_buffer", "pe_array", "weight_spad", "psum_spad", "input_spad"]
    assert loops == {
        "dram": ((Loop("M", 6),), ()),
        "global_buffer": ((Loop("Q", 6), Loop("P", 2)), (Loop("P", 14),)),
        "pe_array": ((), (Loop("S", 3), Loop("C", 4))),
        "weight_spad": ((), ()),
        "psum_spad": ((Loop("M", 4),), ()),
        "input_spad": ((Loop("R", 3),), ()),
    }
    assert not found.split


def test_its_cost_is_the_one_counted_by_hand() -> None:
    nest = from_zigzag(ZIGZAG, LAYER, CHIP)
    verdict, found = judge(nest, LAYER, CHIP, TABLE)
    accesses = mid.analyse(LAYER, found.accelerator, found.mapping, found.table).accesses
    assert accesses["dram"]["weights"]["reads"] == LAYER.words("weights")  # P and Q, just outside, do not change them
    assert accesses["dram"]["inputs"]["reads"] == 30 * 8 * 4  # nor does M, outside, change what inputs the buffer holds
    assert verdict.cycles >= 6 * 6 * 2 * 4 * 3


def test_accelforge_says_the_same_in_its_way() -> None:
    theirs = from_accelforge(ACCELFORGE, LAYER, CHIP)
    assert express(theirs, LAYER, CHIP, TABLE) == express(from_zigzag(ZIGZAG, LAYER, CHIP), LAYER, CHIP, TABLE)


def test_the_order_of_registers_is_notation() -> None:
    nest = from_zigzag(ZIGZAG, LAYER, CHIP)
    together = replace(nest, places=dict(nest.places) | {("input_spad", "inputs"): 3})  # M changes no input
    verdict, found = judge(together, LAYER, CHIP, TABLE)
    assert found.accelerator == CHIP
    first, _ = judge(nest, LAYER, CHIP, TABLE)
    assert verdict.cycles == first.cycles
    assert verdict.energy == pytest.approx(first.energy, rel=1e-12)


def test_what_is_too_long_has_a_shorter_last_pass() -> None:
    row = {
        "spatial": {"D1": [["P", 12]], "D2": [["S", 3], ["C", 4]]},
        "temporal": {
            tensor: [[[d, 3 if d == "P" else n] for d, n in level] for level in levels]
            for tensor, levels in ZIGZAG["temporal"].items()
        },
    }
    found = express(from_zigzag(row, LAYER, CHIP), LAYER, CHIP, TABLE)
    assert found.mapping.levels[1].temporal == (Loop("Q", 6), Loop("P", 3))
    assert found.mapping.levels[1].spatial == (Loop("P", 12, 4),)


def test_an_uneven_memory_is_judged_in_parts_that_share_its_size() -> None:
    nest = from_zigzag(ZIGZAG, LAYER, CHIP)
    uneven = replace(nest, places=dict(nest.places) | {("global_buffer", "inputs"): 2})
    found = express(uneven, LAYER, CHIP, TABLE)
    assert found.split == {"global_buffer": ("global_buffer_outputs", "global_buffer_inputs")}
    outputs, inputs = (found.table.parts[name] for name in found.split["global_buffer"])
    whole = TABLE.parts["global_buffer"]
    assert (outputs.leak, inputs.leak) == (whole.leak, 0.0)
    assert outputs.read == inputs.read == whole.read
    judge(uneven, LAYER, CHIP, TABLE)
    assert all(not express(variant, LAYER, CHIP, TABLE).split for variant in evened(uneven, CHIP))

    # outputs: 4 channels of 28 x 6; inputs: 4 channels of 30 x 3
    small = CHIP.with_({"global_buffer.size_kib": 1.75})
    with pytest.raises(NotMappable, match=r"global_buffer has 896 words, its parts .* need 1032"):
        judge(uneven, LAYER, small, TABLE)


def test_two_loops_of_a_level_over_one_dimension_are_carried_by_another() -> None:
    row = {
        "spatial": ZIGZAG["spatial"],
        "temporal": {
            "weights": [[["R", 3]], [["M", 4], ["P", 2], ["M", 2], ["Q", 6], ["M", 3]]],
            "inputs": [[["R", 3]], [["M", 4], ["P", 2], ["M", 2], ["Q", 6]], [["M", 3]]],
            "outputs": [[["R", 3]], [["M", 4], ["P", 2], ["M", 2], ["Q", 6]], [["M", 3]]],
        },
    }
    verdict, found = judge(from_zigzag(row, LAYER, CHIP), LAYER, CHIP, TABLE)
    carrier = found.mapping.levels[2]
    assert (carrier.keeps, carrier.temporal) == ((), (Loop("M", 4),))
    assert verdict.cycles >= 3 * 6 * 2 * 2 * 4 * 3


def test_a_buffer_inside_what_registers_hold_is_refused() -> None:
    nest = from_zigzag(ZIGZAG, LAYER, CHIP)
    odd = replace(nest, places=dict(nest.places) | {("global_buffer", "outputs"): 4, ("global_buffer", "inputs"): 5})
    with pytest.raises(Inexpressible, match=r"global_buffer keeps .* inside loops that registers of a PE hold"):
        express(odd, LAYER, CHIP, TABLE)


def test_the_request_tells_the_chip_in_bits() -> None:
    mapping = express(from_accelforge(ACCELFORGE, LAYER, CHIP), LAYER, CHIP, TABLE).mapping
    request = to_request(CHIP, TABLE, [LAYER], [mapping], {})
    dram, buffer, *registers = request["chip"]["memories"]
    assert dram["bits_per_cycle"] == {"shared": 64.0}
    assert buffer["size_bits"] == 108 * 8192
    assert [m["above_array"] for m in registers] == [False] * 3
    assert request["layers"][0]["nest"] == [
        ["storage", "dram", ["weights", "inputs", "outputs"]],
        ["storage", "global_buffer", ["inputs"]],  # M does not change them
        ["temporal", "M", 6],
        ["storage", "global_buffer", ["outputs"]],
        ["spatial", "columns", "P", 14],
        ["spatial", "rows", "S", 3],
        ["spatial", "rows", "C", 4],
        ["storage", "weight_spad", ["weights"]],  # nor do Q and P change weights
        ["temporal", "Q", 6],
        ["temporal", "P", 2],
        ["storage", "psum_spad", ["outputs"]],
        ["storage", "input_spad", ["inputs"]],
        ["temporal", "M", 4],
        ["temporal", "R", 3],
    ]


def test_a_rival_that_is_not_there_is_named_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.argv", ["rivals", "zigzag", "--python", str(tmp_path / "python")])
    rivals.main()
    assert "ZigZag: not compared" in (printed := capsys.readouterr().out)
    assert "pip install zigzag-dse" in printed
