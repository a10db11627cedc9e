"""Accelerator: presets, variants, levels, and errors that name the field."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import hwflow
from hwflow.errors import InputError, NotMappable
from hwflow.hardware.accelerator import Accelerator, Fanout, MacUnit, Memory, presets
from hwflow.hardware.dataflow import constrain, dataflows, load_dataflow
from hwflow.layers import Bits, Layer

EYERISS = Accelerator.load("eyeriss")


def test_eyeriss_is_the_chip_of_the_papers() -> None:
    assert EYERISS.mac_units == 168
    assert (EYERISS["pe_array"].rows, EYERISS["pe_array"].columns) == (12, 14)  # type: ignore[union-attr]
    words = {m.name: m.words for m in EYERISS.memories}
    assert (words["input_spad"], words["weight_spad"], words["psum_spad"]) == (12, 224, 24)
    assert words["global_buffer"] == 108 * 1024 // 2
    assert EYERISS.clock_mhz == 200
    assert {m.word_bits for m in EYERISS.memories} == {16}


@pytest.mark.parametrize("name", presets())
def test_every_preset_has_a_source_for_every_part_and_a_dram_bandwidth(name: str) -> None:
    acc = Accelerator.load(name)
    assert acc.dram.bandwidth_gb_s
    sourced = {key.split(".")[0] for key in acc.sources}
    spads = {"input_spad", "weight_spad", "psum_spad"}
    for part in acc.hierarchy:
        assert part.name in sourced or (part.name in spads and "spads" in sourced), part.name
    assert {"technology_nm", "clock_mhz"} <= sourced
    constrain(acc)  # its own dataflow fits


def test_two_dimensional_fanout_is_two_boundaries() -> None:
    levels = {level.name: level for level in EYERISS.levels}
    assert (levels["global_buffer"].fanout, levels["global_buffer"].axis) == (14, "X")
    assert (levels["pe_array"].fanout, levels["pe_array"].axis, levels["pe_array"].memory) == (12, "Y", None)
    assert (levels["psum_spad"].instances, levels["psum_spad"].mesh_x, levels["psum_spad"].mesh_y) == (168, 14, 12)


def test_a_variant_changes_the_field_and_only_the_field() -> None:
    variant = EYERISS.with_({"global_buffer.size_kib": 64, "pe_array.rows": 16, "clock_mhz": 500})
    assert variant["global_buffer"].size_kib == 64  # type: ignore[union-attr]
    assert (variant.mac_units, variant.clock_mhz) == (16 * 14, 500)
    assert EYERISS.mac_units == 168
    assert variant.fingerprint != EYERISS.fingerprint
    assert EYERISS.with_({"pe_array.rows": 12}).fingerprint == EYERISS.fingerprint


def test_a_size_may_be_given_in_the_other_unit() -> None:
    variant = EYERISS.with_({"weight_spad.size_kib": 0.5})
    assert variant["weight_spad"].size_words is None  # type: ignore[union-attr]
    assert variant["weight_spad"].words == 256  # type: ignore[union-attr]


def test_a_size_in_words_replaces_one_in_kib_and_is_a_difference_that_makes_the_variant_again() -> None:
    eyeriss = Accelerator.load("eyeriss")
    variant = eyeriss.with_({"global_buffer.size_words": 2048})
    assert variant["global_buffer"].size_kib is None  # type: ignore[union-attr]
    assert eyeriss.with_(variant.differences(eyeriss)) == variant
    assert variant.with_(eyeriss.differences(variant)) == eyeriss


def test_narrower_words_keep_the_bytes() -> None:
    eight = EYERISS.with_bits(Bits(8, 8, 8))
    for wide, narrow in zip(EYERISS.memories, eight.memories, strict=True):
        if narrow.name == "psum_spad":  # sums do not become narrower with what is summed
            assert narrow == wide
            continue
        assert narrow.word_bits == 8
        assert narrow.width_bits == wide.width_bits
        assert narrow.size_bits == wide.size_bits
        if wide.read_words_per_cycle:
            assert narrow.read_words_per_cycle == 2 * wide.read_words_per_cycle
    assert eight.mac.multiplier_bits == 8
    assert EYERISS.with_bits(Bits(16, 16, 16)).fingerprint == EYERISS.fingerprint


@pytest.mark.parametrize("name", ["simba", "tpu_like"])
def test_accumulators_stay_wide(name: str) -> None:
    acc = Accelerator.load(name)
    assert acc.with_bits(Bits(8, 8, 8)).fingerprint == acc.fingerprint


def test_what_a_variant_changes() -> None:
    variant = EYERISS.with_({"pe_array.rows": 16, "clock_mhz": 100})
    assert variant.differences(EYERISS) == {"clock_mhz": 100, "pe_array.rows": 16}
    assert EYERISS.differences(EYERISS) == {}


@pytest.mark.parametrize("bits", [3, 5, 6, 7, 12])
def test_words_that_do_not_fill_an_access_are_refused_with_layer_and_fields(bits: int) -> None:
    with pytest.raises(InputError) as error:
        EYERISS.serving(Layer("head", C=4, M=4, bits=Bits(bits, bits, bits)))
    said = str(error.value)
    assert said.startswith(f"layer head: accelerator eyeriss: words of {bits} bits do not fill dram.width_bits (=64), global_b")
    assert "Ask for 1, 2, 4, 8, 16 bits" in said
    for memory in EYERISS.memories:
        assert (f"{memory.name}.width_bits (={memory.width_bits})" in said) == (memory.name != "psum_spad")
    assert EYERISS.serving(Layer("head", C=4, M=4)) is EYERISS
    for fitting in (1, 2, 4, 8, 16):  # what the sentence proposes is possible
        assert EYERISS.with_bits(Bits(fitting, fitting, fitting)).dram.word_bits == fitting


@pytest.mark.parametrize("bits", [3, 5, 6, 7])
def test_accesses_can_be_made_so_wide_that_odd_words_fill_them(bits: int) -> None:
    wide = EYERISS.with_(
        {
            f"{memory.name}.{field}": value
            for memory in EYERISS.memories
            for field, value in (("width_bits", 16 * bits), ("size_words", 1050), ("size_kib", None))
            if field == "width_bits" or memory is not EYERISS.dram
            if value is not None
        }
    )
    layer = Layer("head", C=4, M=4, bits=Bits(bits, bits, bits))
    assert {memory.word_bits for memory in wide.serving(layer).memories if memory.name != "psum_spad"} == {bits}


def test_the_outermost_memory_need_be_no_dram() -> None:
    hierarchy = [
        {"name": "store", "kind": "sram", "role": "store", "size_words": 512, "word_bits": 8, "width_bits": 64},
        {"name": "mac", "kind": "mac", "multiplier_bits": 8, "adder_bits": 16},
    ]
    chip = Accelerator.from_dict({"name": "small", "technology_nm": 45, "clock_mhz": 1000, "hierarchy": hierarchy})
    fits, too_large = Layer("fits", C=4, M=8, P=5), Layer("large", C=16, M=32, P=5)
    assert hwflow.map_layer(fits, chip, store=False).cost.dram_bytes > 0
    with pytest.raises(NotMappable, match="has no mapping on small"):
        hwflow.map_layer(too_large, chip, store=False)


def test_bandwidth_in_words_per_cycle() -> None:
    assert EYERISS.words_per_cycle(EYERISS.dram) == pytest.approx(0.72e9 / 2 / 200e6)
    assert EYERISS.words_per_cycle(EYERISS.memories[1]) is None


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        (
            "global_bufer.size_kib",
            64,
            r"part in field 'global_bufer\.size_kib' of accelerator eyeriss 'global_bufer'\. Did you mean 'global_buffer'",
        ),
        ("global_buffer.size_kb", 64, r"Did you mean 'global_buffer\.size_kib'"),
        ("clock_mh", 100, "Did you mean 'clock_mhz'"),
        ("pe_array.rows", 0, r"pe_array\.rows is 0: it must be at least 1"),
        ("pe_array.rows", "many", r"pe_array\.rows is 'many'"),
        ("global_buffer.width_bits", 24, r"global_buffer.*width_bits \(=24\) must be a whole multiple of word_bits \(=16\)"),
        ("global_buffer.size_kib", 0.001, r"global_buffer.*must be a whole multiple of width_bits"),
        ("clock_mhz", -1, "clock_mhz is -1"),
        ("clock_mhz", float("inf"), "clock_mhz is inf"),
        ("global_buffer.keeps", ["weight"], r"global_buffer\.keeps\[0\] is 'weight'"),
        ("dram.keeps", ["weights"], "the first part must be a memory that keeps weights, inputs and outputs"),
        ("hierarchy", [], "unknown field"),
        ("clock_mhz", True, "clock_mhz is True: a number is needed"),
        ("dram.bandwidth_gb_s", 1e-300, r"dram\.bandwidth_gb_s is 1e-300"),
        ("pe_array.rows", 2**60, r"pe_array\.rows is"),
    ],
)
def test_wrong_fields_are_named(field: str, value: object, text: str) -> None:
    with pytest.raises(InputError, match=text):
        EYERISS.with_({field: value})


@pytest.mark.parametrize("name", ["two_forms_native", "two_forms_nodes"])
def test_timeloops_own_files_are_told_apart(name: str) -> None:
    path = Path(__file__).parents[1] / "data" / "timeloop_designs" / f"{name}.yaml"
    with pytest.raises(
        InputError, match=r"is an architecture in Timeloop's format, not hwflow's; give it with --timeloop-arch"
    ):
        Accelerator.load(path)


def test_values_that_are_long_are_cut_in_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"clock_mhz is \[0, 0.*\.\.\.: ") as caught:
        EYERISS.with_({"clock_mhz": [0] * 300})
    assert len(str(caught.value)) < 400


def test_one_of_ones_own_from_a_preset(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("base: eyeriss\nname: mine\nglobal_buffer: {size_kib: 64}\npe_array.rows: 24\nclock_mhz: 400\n")
    mine = Accelerator.load(path)
    assert (mine.name, mine.mac_units, mine.clock_mhz) == ("mine", 24 * 14, 400)
    assert mine["global_buffer"].size_kib == 64  # type: ignore[union-attr]


def test_one_of_ones_own_in_full(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(EYERISS.model_dump(mode="json", exclude_none=True)))
    assert Accelerator.load(path).fingerprint == EYERISS.fingerprint


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda h: h.pop(), "it must end in one part of kind mac"),
        (lambda h: h.pop(0), r"the first part must be a memory .*; it is global_buffer \(sram\)"),
        (lambda h: h.clear(), "hierarchy: it is empty; it must begin with a memory and end in one part of kind mac"),
        (lambda h: h.__delitem__(slice(0, -1)), r"the first part must be a memory .*; it is mac \(mac\)"),
        (lambda h: h[1].update(word_bit=16), r"global_buffer\.word_bit: unknown field \(did you mean word_bits\?\)"),
        (lambda h: h[1].pop("word_bits"), r"global_buffer\.word_bits: it is missing"),
        (lambda h: h[1].update(kind="rom"), r"kind must be one of dram, sram, regfile, fanout, mac"),
        (lambda h: h.insert(3, {**h[2], "name": "more", "role": "more"}), "two fan-outs in a row"),
        (lambda h: h.insert(2, {**h[1]}), "'global_buffer' appears twice"),
        (lambda h: h.insert(2, {**h[1], "name": "second"}), "the role 'global' is taken"),
        (lambda h: h[1].pop("size_kib"), "give exactly one of size_kib and size_words"),
        (lambda h: h[2].update(rows=None, columns=None), "give rows, columns or both"),
    ],
)
def test_impossible_hierarchies(change: object, text: str) -> None:
    content = EYERISS.model_dump(mode="json", exclude_none=True)
    change(content["hierarchy"])  # type: ignore[operator]
    with pytest.raises(InputError, match=text):
        Accelerator.from_dict(content, "mine")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("base: ./mine.yaml", r"unknown base of .* '\./mine\.yaml'"),
        ("base: eyeriss\nsources: 3", "sources is 3; it must be a mapping"),
        ("base: eyeriss\n1: 2", "1 is no name of a field"),
    ],
)
def test_wrong_derivations(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        Accelerator.load(path)


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.yaml: there is no such file"):
        Accelerator.load(tmp_path / "gone.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("name: [1,\n  2")
    with pytest.raises(InputError, match=r"broken\.yaml, line 3.*is not valid YAML"):
        Accelerator.load(broken)
    twice = tmp_path / "twice.yaml"
    twice.write_text("base: eyeriss\nclock_mhz: 100\nclock_mhz: 200\n")
    with pytest.raises(InputError, match="the key 'clock_mhz' appears twice"):
        Accelerator.load(twice)
    listed = tmp_path / "list.yaml"
    listed.write_text("- 1\n")
    with pytest.raises(InputError, match="is a mapping of fields, not list"):
        Accelerator.load(listed)
    with pytest.raises(InputError, match="Did you mean 'eyeriss'"):
        Accelerator.load("eyeris")


def test_parts_by_kind() -> None:
    kinds = [type(p) for p in EYERISS.hierarchy]
    assert kinds == [Memory, Memory, Fanout, Memory, Memory, Memory, MacUnit]


# Dataflows -----------------------------------------------------------------------------------------------------------


def test_row_stationary_on_eyeriss() -> None:
    rules = {c.level.name: c for c in constrain(EYERISS, "row_stationary")}
    assert set(rules["global_buffer"].spatial) == {"Q", "M", "G"}
    assert set(rules["pe_array"].spatial) == {"S", "C", "M", "G"}
    assert rules["pe_array"].temporal == ()
    assert rules["input_spad"].temporal == ()
    assert rules["weight_spad"].temporal == ("R", "C")
    assert rules["weight_spad"].innermost == ("R",)
    assert len(rules["dram"].temporal) == 8


def test_wiring_limits_every_dataflow() -> None:
    rules = {c.level.name: c for c in constrain(Accelerator.load("tpu_like"), "flexible")}
    assert rules["accumulators"].spatial == ("M",)
    assert set(rules["pe_array"].spatial) == {"C", "R", "S"}


def test_an_illegal_pair_lists_the_legal_ones() -> None:
    with pytest.raises(InputError) as caught:
        constrain(Accelerator.load("tpu_like"), "row_stationary")
    text = str(caught.value)
    assert "'row_stationary' does not fit accelerator 'tpu_like'" in text
    assert "array+input_spad+weight_spad+psum_spad" in text
    assert "Dataflows that fit tpu_like: flexible, weight_stationary" in text
    assert "Accelerators that row_stationary fits: eyeriss, eyeriss_256" in text


@pytest.mark.parametrize("name", dataflows())
def test_every_dataflow_fits_some_preset(name: str) -> None:
    dataflow = load_dataflow(name)
    assert any(dataflow.fits(Accelerator.load(p)) for p in presets())
    assert dataflow.source
    assert dataflow.description


def test_wrong_dataflows(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Did you mean 'row_stationary'"):
        load_dataflow("row_stationry")
    path = tmp_path / "d.yaml"
    path.write_text("name: d\ndescription: x\nsource: y\nrules: {global: {temporal: [P], innermost: [Q]}}\n")
    with pytest.raises(InputError, match=r"rules\.global.*innermost .* names dimensions that temporal"):
        load_dataflow(path)
    path.write_text("name: d\ndescription: x\nsource: y\nrules: {globl: {temporal: []}}\n")
    with pytest.raises(InputError, match=r"unknown role in the rules of dataflow 'd' 'globl'\. Did you mean 'global'"):
        constrain(EYERISS, load_dataflow(path))
    path.write_text("name: d\ndescription: x\nsource: y\nrules: {global: {temporal: [K]}}\n")
    with pytest.raises(InputError, match=r"rules\.global\.temporal\[0\] is 'K'"):
        load_dataflow(path)


# Labels --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "label"),
    [
        ({}, "eyeriss"),
        ({"pe_array.rows": 12}, "eyeriss"),  # what the preset has anyway
        ({"pe_array.rows": 24}, "eyeriss (pe_array.rows=24)"),
        ({"clock_mhz": 100.5}, "eyeriss (clock_mhz=100.5)"),
        ({"dram.bandwidth_gb_s": None}, "eyeriss (dram.bandwidth_gb_s=null)"),
        ({"psum_spad.size_kib": 1}, "eyeriss (psum_spad.size_kib=1)"),
        ({"dataflow": "flexible", "pe_array.columns": 7}, "eyeriss (dataflow=flexible, pe_array.columns=7)"),
        ({"name": "mine", "pe_array.rows": 24}, "mine"),
    ],
)
def test_a_label_names_what_a_variant_changes(changes: dict[str, Any], label: str) -> None:
    base = Accelerator.load("eyeriss")
    variant = base.with_(changes)
    assert variant.label == label
    assert (variant.fingerprint == base.fingerprint) == (set(changes) <= {"name", "dataflow"} or label == "eyeriss")
    assert repr(variant).startswith(f"<Accelerator {label}: dram > global_buffer > ")


def test_a_label_of_a_chip_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("base: eyeriss\nname: mine\nclock_mhz: 100\n")
    own = Accelerator.load(tmp_path / "mine.yaml")
    assert own.label == "mine"
    variant = own.with_({"pe_array.rows": 24}).with_({"clock_mhz": 50})
    assert variant.label == "mine (clock_mhz=50, pe_array.rows=24)"
    assert pickle.loads(pickle.dumps(variant)).label == variant.label
    assert own.with_({}) == own
    assert variant.with_({"pe_array.rows": 12, "clock_mhz": 100}) == own
    assert variant.with_({"pe_array.rows": 12, "clock_mhz": 100}).label == "mine"


def test_a_label_of_many_changes_counts_them_and_stays_unique() -> None:
    base = Accelerator.load("eyeriss")
    wide = {f"{m.name}.{field}": getattr(m, field) * 2 for m in base.memories for field in ("word_bits", "width_bits")}
    one, two = base.with_(wide), base.with_({**wide, "clock_mhz": 123})
    assert re.fullmatch(r"eyeriss \(10 fields changed, [0-9a-f]{8}\)", one.label)
    assert re.fullmatch(r"eyeriss \(11 fields changed, [0-9a-f]{8}\)", two.label)


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("hierarchy", "hierachy", r"hierarchy: it is missing.*hierachy: unknown field \(did you mean hierarchy\?\)"),
        ("clock_mhz", "clock_mh", r"clock_mh: unknown field \(did you mean clock_mhz\?\)"),
        ("description", "descripton", r"descripton: unknown field \(did you mean description\?\)"),
    ],
)
def test_a_misspelt_key_is_named_without_its_content(old: str, new: str, text: str) -> None:
    content = EYERISS.model_dump(mode="json", exclude_none=True)
    content[new] = content.pop(old)
    with pytest.raises(InputError, match=text) as caught:
        Accelerator.from_dict(content, "mine")
    assert len(str(caught.value)) < 200
    assert "pydantic" not in str(caught.value)
