"""Mappings of ZigZag and AccelForge, written by hand in their formats, become the mappings of hwflow that they mean."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.rivals import __main__ as rivals
from benchmarks.rivals.chip import shared_chip, to_request
from benchmarks.rivals.comparison import space
from benchmarks.rivals.nest import Bound, Inexpressible, evened, express, in_order, judge
from benchmarks.rivals.outputs import from_accelforge, from_zigzag
from benchmarks.rivals.records import as_wide, below_bound, better_inside, tables
from benchmarks.rivals.tools import RIVALS
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
    assert list(loops) == ["dram", "global_buffer", "pe_array", "input_spad", "weight_spad", "psum_spad"]
    assert loops == {
        "dram": ((Loop("M", 6),), ()),
        "global_buffer": ((Loop("Q", 6), Loop("P", 2)), (Loop("P", 14),)),
        "pe_array": ((), (Loop("S", 3), Loop("C", 4))),
        "input_spad": ((), ()),  # M changes no input, so the inputs can be outside its loop, as on the chip
        "weight_spad": ((), ()),
        "psum_spad": ((Loop("M", 4), Loop("R", 3)), ()),
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


def test_registers_stay_as_they_are_where_their_order_matters() -> None:
    nest = from_zigzag(ZIGZAG, LAYER, CHIP)
    outputs = replace(nest, places=dict(nest.places) | {("input_spad", "inputs"): 5, ("psum_spad", "outputs"): 3})
    levels = [level.level for level in express(outputs, LAYER, CHIP, TABLE).mapping.levels]
    assert levels[3:] == ["weight_spad", "psum_spad", "input_spad"]  # R, between them, changes inputs, not outputs
    assert space(express(outputs, LAYER, CHIP, TABLE), LAYER, CHIP) == "beyond"


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


def test_a_register_that_holds_more_can_be_in_the_chips_order() -> None:
    """AccelForge's outputs lie outside its weights, of which it holds one at a time; the chip lists weights first, and a
    register for all four is filled less often."""
    nest = from_zigzag(ZIGZAG, LAYER, CHIP)
    theirs = replace(nest, places=dict(nest.places) | {("weight_spad", "weights"): 4})  # inside M
    ours = in_order(theirs, CHIP)
    assert (theirs.places["psum_spad", "outputs"], ours.places["weight_spad", "weights"]) == (3, 3)
    (theirs_cost, theirs_found), (cost, found) = (judge(one, LAYER, CHIP, TABLE) for one in (theirs, ours))
    assert (space(theirs_found, LAYER, CHIP), space(found, LAYER, CHIP)) == ("beyond", "perfect")
    assert cost.cycles <= theirs_cost.cycles
    assert cost.energy <= theirs_cost.energy
    assert express(in_order(nest, CHIP), LAYER, CHIP, TABLE) == express(nest, LAYER, CHIP, TABLE)


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
        ["storage", "input_spad", ["inputs"]],
        ["storage", "psum_spad", ["outputs"]],
        ["temporal", "M", 4],
        ["temporal", "R", 3],
    ]


def test_a_loop_that_no_register_holds_runs_outside_the_array() -> None:
    """AccelForge finds such mappings; in hwflow's terms the loop over C is one of the global buffer."""
    nest = [
        ["storage", "dram", ["weights", "inputs", "outputs"]],
        ["storage", "global_buffer", ["inputs", "outputs"]],
        *(["spatial", "columns", "q", 1], ["storage", "psum_spad", ["outputs"]], ["temporal", "c", 1]),
        *(["storage", "input_spad", ["inputs"]], ["storage", "weight_spad", ["weights"]], ["temporal", "m", 1]),
        *(["temporal", "p", 1], ["compute", "mac"]),
    ]
    layer = Layer("pointwise", C=16, M=2, P=7, Q=7)
    found = express(from_accelforge({"nest": nest}, layer, CHIP), layer, CHIP, TABLE)
    assert found.mapping.levels[1].temporal == (Loop("C", 16),)
    assert space(found, layer, CHIP) == "perfect"


def test_a_mapping_belongs_to_the_least_space_that_has_it() -> None:
    nest = from_zigzag(ZIGZAG, LAYER, CHIP)
    assert space(express(nest, LAYER, CHIP, TABLE), LAYER, CHIP) == "perfect"
    ragged = replace(nest, spatial={"columns": (("P", 12),), "rows": nest.spatial["rows"]}, temporal=_longer(nest.temporal))
    assert space(express(ragged, LAYER, CHIP, TABLE), LAYER, CHIP) == "imperfect"
    uneven = replace(nest, places=dict(nest.places) | {("global_buffer", "inputs"): 2})
    assert space(express(uneven, LAYER, CHIP, TABLE), LAYER, CHIP) == "beyond"


def _longer(loops: tuple[Bound, ...]) -> tuple[Bound, ...]:
    return tuple((d, 3 if d == "P" else n) for d, n in loops)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[dict[str, Any]]]:
    """Runs the command with an AccelForge that answers what it is given, and returns the lines of the file of records."""
    answer, records = tmp_path / "answer", tmp_path / "results" / "rivals.jsonl"
    interpreter = tmp_path / "python"
    interpreter.write_text(
        f'#!/bin/sh\ncp "$2" "{tmp_path}/asked"\ncat "{answer}" && test $(wc -l < "{answer}") -eq 3\n', encoding="utf-8"
    )
    interpreter.chmod(0o755)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")  # no Timeloop

    def run(row: dict[str, Any] | None, *more: str) -> list[dict[str, Any]]:
        lines = {"version": "9", "python": "3.12"}, {"given": {"energy": 7e7, "cycles": 128378}}, row
        answer.write_text("".join(json.dumps(x) + "\n" for x in lines if x is not None), encoding="utf-8")
        fixed = ["rivals", "accelforge", "--python", str(interpreter), "--layers", "fc", "--columns", "perfect"]
        monkeypatch.setattr("sys.argv", [*fixed, "--records", str(records), *more])
        rivals.main()
        return [json.loads(text) for text in records.read_text(encoding="utf-8").splitlines()] if records.exists() else []

    return run


def test_what_does_not_end_is_recorded_and_repeated_with_a_larger_cap(
    fake: Callable[..., list[dict[str, Any]]], capsys: pytest.CaptureFixture[str]
) -> None:
    stopped = {"ended": False, "ran_out_of": "time", "cpu_seconds": 5.0, "candidates": []}
    (first,) = fake(stopped, "--cap", "5")
    assert first["theirs"] == {"ended": False, "ran_out_of": "time", "cpu_s": 5.0}
    assert first["ours"]["bound"] <= first["ours"]["energy"] * first["ours"]["cycles"]
    assert "| fc (linear: C=512 M=1000) | not in 5 s |  |  |" in capsys.readouterr().out

    nest = [
        ["storage", "dram", ["weights", "outputs", "inputs"]],
        ["storage", "global_buffer", ["outputs", "inputs"]],
        *(["spatial", "rows", "c", 64], ["spatial", "columns", "c", 8], ["storage", "input_spad", ["inputs"]]),
        *(["temporal", "m", 1], ["storage", "weight_spad", ["weights"]], ["storage", "psum_spad", ["outputs"]]),
        *(["temporal", "c", 1], ["compute", "mac"]),
    ]
    ended = {"ended": True, "cpu_seconds": 9.0, "candidates": [{"energy": 7e7, "cycles": 128378, "nest": nest}]}
    assert fake(ended, "--cap", "5") == [first]
    _, second = fake(ended, "--cap", "50")
    assert fake(ended, "--cap", "60") == [first, second]
    assert (second["theirs"]["space"], second["theirs"]["cycles"]) == ("perfect", 128378)
    assert "| fc (linear: C=512 M=1000) | 1.000 / 1.000 |  |  |" in capsys.readouterr().out
    assert better_inside([second]) == below_bound([second]) == []
    theirs = second["theirs"] | {"energy": second["ours"]["energy"] * 0.9}
    wrong = second | {"theirs": theirs}
    assert better_inside([wrong]) == below_bound([wrong]) == [wrong]
    longer = wrong | {"ours": second["ours"] | {"longer": {"effort": 4, "value": theirs["energy"] * theirs["cycles"]}}}
    assert better_inside([longer]) == []
    assert "| 1.111 (effort 4: 1.000) / 1.000 |" in tables([longer])
    assert second["ours"]["proof"]["bound"] == pytest.approx(second["ours"]["energy"] * second["ours"]["cycles"], rel=2e-3)
    assert below_bound([wrong | {"ours": second["ours"] | {"bound": 0.0}}])  # the proof's is enough


def _nest(channels: tuple[int, int, int]) -> list[list[Any]]:
    """A nest of fc as AccelForge writes it, with the tile sizes of C in the global buffer, a row and a PE."""
    buffer, row, pe = channels
    return [
        ["storage", "dram", ["weights", "outputs", "inputs"]],
        *(["storage", "global_buffer", ["outputs"]], ["temporal", "c", buffer]),
        *(["storage", "global_buffer", ["inputs"]], ["temporal", "m", 143]),
        *(["spatial", "rows", "m", 48], ["spatial", "rows", "c", row]),
        *(["spatial", "columns", "m", 16], ["spatial", "columns", "c", pe]),
        *(["storage", "weight_spad", ["weights"]], ["storage", "psum_spad", ["outputs"]], ["temporal", "c", 1]),
        *(["storage", "input_spad", ["inputs"]], ["temporal", "m", 1], ["compute", "mac"]),
    ]


def test_a_mapping_with_more_columns_than_the_array_has_makes_way_for_the_next(
    fake: Callable[..., list[dict[str, Any]]], capsys: pytest.CaptureFixture[str]
) -> None:
    """AccelForge found the wide one on 2026-11-30: it counts 64 channels in tiles of 14 as 4.57 columns, and 3 times as many as
    13.7 of 14."""
    wide = {"energy": 7.1e7, "cycles": 128378, "nest": _nest((256, 64, 14))}
    narrow = {"energy": 7.2e7, "cycles": 128378, "nest": _nest((128, 32, 8))}
    (record,) = fake({"ended": True, "cpu_seconds": 9.0, "candidates": [wide, narrow]})
    theirs = record["theirs"]
    reason = "its spatial loops need 15 columns, and pe_array has 14."
    assert (theirs["number"], theirs["refused"]) == (2, {reason: 1})
    assert theirs["best_by_rival"] == {"energy": 7.2e7, "cycles": 128378}
    assert f"- perfect, fc: 1 of 2 mappings left out: {reason[:-1]}" in capsys.readouterr().out

    _, alone = fake({"ended": True, "cpu_seconds": 9.0, "candidates": [wide]}, "--set", "tiling_coarseness=2")
    assert alone["theirs"]["not_judged"] == reason
    assert "| fc (linear: C=512 M=1000) | does not fit the chip |" in tables([alone | {"settings": record["settings"]}])


def test_what_was_searched_of_a_search_that_did_not_end_is_not_searched_again(
    fake: Callable[..., list[dict[str, Any]]], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    part = {"energy": 7.2e7, "cycles": 128378, "order": ["psum_spad", "input_spad"], "nest": _nest((128, 32, 8))}
    stopped = {"ended": False, "ran_out_of": "time", "cpu_seconds": 5.0, "candidates": [part]}
    fake(stopped, "--cap", "5")
    asked = json.loads((tmp_path / "asked").read_text(encoding="utf-8"))
    assert (asked["found"], asked["spent_s"]) == ([], 0.0)
    assert "(orders of registers in 5 s: 1) |" in capsys.readouterr().out
    fake(stopped | {"cpu_seconds": 9.0}, "--cap", "9")
    asked = json.loads((tmp_path / "asked").read_text(encoding="utf-8"))
    assert (asked["found"], asked["spent_s"], asked["cap_s"]) == ([part], 5.0, 9.0)


def test_a_rival_that_fails_is_reported_and_asked_again(
    fake: Callable[..., list[dict[str, Any]]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert fake(None) == []
    assert re.search(r"fc +perfect +not recorded: .*run_accelforge.py ended with exit status 1", capsys.readouterr().err)
    assert len(fake({"ended": False, "ran_out_of": "time", "cpu_seconds": 5.0, "candidates": []})) == 1


def test_weaker_settings_count_where_the_strongest_did_not_end(fake: Callable[..., list[dict[str, Any]]]) -> None:
    stopped = {"ended": False, "ran_out_of": "memory", "cpu_seconds": 5.0, "candidates": []}
    (strong,) = fake(stopped)
    weak = strong | {"settings": strong["settings"] | {"objective_tolerance": 0.1}}
    weak["theirs"] = {"ended": True, "cpu_s": 6.0, "best_by_rival": {"energy": 8e7, "cycles": 128378}, "not_judged": "why"}
    cell = "| not judged / 0.875 (not in 8000 MB; objective_tolerance=0.1) |"
    assert cell in tables([strong, weak])


def test_a_better_mapping_of_a_narrower_column_counts_in_wider_ones() -> None:
    ours = {"energy": 9.0, "cycles": 10.0, "by_rival": {"energy": 9.0, "cycles": 10.0}, "cpu_s": 1.0, "bound": 0.0}
    found = {"ended": True, "cpu_s": 3.0, "space": "perfect", "energy": 10.0, "cycles": 10.0}
    perfect: dict[str, Any] = {"rival": "zigzag", "network": "n", "layer": "fc", "column": "perfect", "ours": ours}
    perfect["theirs"] = found | {"best_by_rival": {"energy": 11.0, "cycles": 10.0}}
    worse = found | {"space": "beyond", "energy": 12.0, "best_by_rival": {"energy": 10.0, "cycles": 10.0}}
    none = {"ended": True, "cpu_s": 3.0, "not_judged": "does not fit"}
    wide = [perfect | {"column": "imperfect", "theirs": worse}, perfect | {"column": "everything", "theirs": none}]
    _, imperfect, everything = as_wide([perfect, *wide])
    for r in (imperfect, everything):
        assert [r["theirs"][name] for name in ("energy", "space", "column")] == [10.0, "perfect", "perfect"]
        assert r["theirs"]["best_by_rival"]["energy"] == 10.0
    assert as_wide(wide)[0] == wide[0]
    assert (
        as_wide([perfect, perfect | {"column": "imperfect", "theirs": none | {"ended": False}}])[1]["theirs"]["ended"] is False
    )
    assert as_wide([perfect, wide[0] | {"layer": "conv1"}])[1]["theirs"] == worse
    settings = RIVALS["zigzag"].settings["everything"]
    shown_there = [r | {"settings": settings, "version": "9", "date": "2026-12-01"} for r in (perfect, wide[1])]
    assert "| 0.900† / 0.818 |" in tables(shown_there)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--set", "loops=1"], "--set: loops is none of this rival's settings: explore_loop_orders, "),
        (["--set", "tiling_coarseness=two"], 'the value of tiling_coarseness must be JSON, such as 8, true or "even"'),
        (["--columns", "all"], "--columns: all is none of perfect, imperfect, everything"),
        (["--layers", "conv9"], "--layers: there is no conv9 among the distinct layers: conv1, "),
    ],
)
def test_what_is_asked_wrongly_is_named(
    fake: Callable[..., list[dict[str, Any]]], capsys: pytest.CaptureFixture[str], change: list[str], message: str
) -> None:
    with pytest.raises(SystemExit):
        fake({}, *change)
    assert message in capsys.readouterr().err


def test_a_rival_that_is_not_there_is_named_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.argv", ["rivals", "zigzag", "--python", str(tmp_path / "python")])
    rivals.main()
    assert "ZigZag: not compared" in (printed := capsys.readouterr().out)
    assert "pip install zigzag-dse" in printed
