"""Mappings: to and from Timeloop's directives, as text, and what is refused."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from hwflow.errors import InputError
from hwflow.hardware.accelerator import Accelerator
from hwflow.layers import TENSORS, Layer
from hwflow.mapping import LevelMapping, Loop, Mapping
from tests.loopnest.cases import triples

LAYER = Layer("k", C=2, M=37, P=4)


@pytest.fixture
def chip() -> Accelerator:
    word = {"word_bits": 16, "width_bits": 16}
    hierarchy = [
        {"name": "dram", "kind": "dram", "role": "dram", "dram_type": "LPDDR4", **word},
        {"name": "buffer", "kind": "sram", "role": "global", "size_words": 256, "keeps": ["inputs", "outputs"], **word},
        {"name": "pes", "kind": "fanout", "role": "array", "columns": 8},
        {"name": "mac", "kind": "mac", "multiplier_bits": 16, "adder_bits": 16},
    ]
    return Accelerator.from_dict({"name": "chip", "technology_nm": 65, "clock_mhz": 200, "hierarchy": hierarchy})


def mapping(dram: tuple, buffer: tuple = (("C", 2),), over: tuple = (Loop("M", 8, 5),), **more: tuple) -> Mapping:
    return Mapping(
        (
            LevelMapping("dram", dram, (), more.get("dram_keeps", TENSORS)),
            LevelMapping("buffer", buffer, over, more.get("keeps", ("inputs", "outputs")), "X"),
        )
    )


GOOD = mapping((("P", 4), ("M", 5)))
DIRECTIVES = [
    {"target": "dram", "type": "datatype", "keep": ["Weights", "Inputs", "Outputs"], "bypass": []},
    {"target": "buffer", "type": "datatype", "keep": ["Inputs", "Outputs"], "bypass": ["Weights"]},
    {"target": "dram", "type": "temporal", "factors": "N=1 G=1 C=1 M=5 P=4 Q=1 R=1 S=1", "permutation": "MPNGCQRS"},
    {"target": "buffer", "type": "temporal", "factors": "N=1 G=1 C=2 M=1 P=1 Q=1 R=1 S=1", "permutation": "CNGMPQRS"},
    {
        "target": "buffer",
        "type": "spatial",
        "factors": "N=1 G=1 C=1 M=8,5 P=1 Q=1 R=1 S=1",
        "permutation": "MNGCPQRS",
        "split": 8,
    },
]


def test_directives_are_timeloops(chip: Accelerator) -> None:
    GOOD.check(LAYER, chip)
    assert GOOD.directives() == DIRECTIVES
    assert Mapping.from_directives(DIRECTIVES, chip) == GOOD


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(triples(ragged=True))
def test_directives_and_pickles_give_the_mapping_back(triple: tuple[Layer, Accelerator, Mapping]) -> None:
    layer, accelerator, given = triple
    given.check(layer, accelerator)
    assert Mapping.from_directives(given.directives(), accelerator) == given
    assert pickle.loads(pickle.dumps(given)) == given


def test_files_round_trip(chip: Accelerator, tmp_path: Path) -> None:
    path = tmp_path / "map.yaml"
    GOOD.to_timeloop(path)
    assert "M=8,5" in path.read_text()
    assert Mapping.from_timeloop(path, LAYER, chip) == GOOD


def test_what_people_write_by_hand_is_read(chip: Accelerator) -> None:
    entries = [
        {"target": "dram", "type": "temporal", "factors": "P4 M 5", "permutation": "MP"},
        {"target": "buffer", "type": "temporal", "factors": ["C=2"], "permutation": ["C"]},
        {"target": "buffer", "type": "spatial", "factors": "M8,5"},
        {"target": "buffer", "type": "bypass", "bypass": ["Weights"]},
    ]
    assert Mapping.from_directives(entries, chip) == GOOD


def test_a_bypass_of_some_leaves_the_others(chip: Accelerator) -> None:
    entries = [*DIRECTIVES[2:], {"target": "buffer", "type": "bypass", "bypass": ["Inputs"]}]
    assert Mapping.from_directives(entries, chip).levels[1].keeps == ("outputs",)


def changed(target: str, kind: str, **fields: object) -> list[dict]:
    """The directives with some fields of one changed."""
    return [{**d, **fields} if (d["target"], d["type"]) == (target, kind) else d for d in DIRECTIVES]


KEEPS = {  # mapping/parser.cpp: each directive sets what it names, in the order of the file
    "two that bypass": ([{"bypass": ["Inputs"]}, {"bypass": ["Weights"]}], ("outputs",)),
    "one keeps, one bypasses": ([{"bypass": ["Inputs", "Weights"]}, {"keep": ["Outputs"]}], ("outputs",)),
    "kept again": ([{"bypass": ["Inputs", "Outputs"]}, {"keep": ["Inputs"]}], ("inputs",)),
    "bypassed again": ([{"keep": ["Inputs"]}, {"bypass": ["Inputs"]}], ("outputs",)),
    "both in one": ([{"keep": ["Inputs", "Outputs"], "bypass": ["Inputs"]}], ("outputs",)),
    "nothing said": ([{}], ("inputs", "outputs")),
    "all bypassed, one by one": ([{"bypass": ["Inputs"]}, {"bypass": ["Outputs"]}, {"bypass": ["Weights"]}], ()),
}


@pytest.mark.parametrize("case", KEEPS)
def test_bypass_directives_of_one_level_add_up(case: str, chip: Accelerator) -> None:
    said, kept = KEEPS[case]
    kinds = ("bypass", "datatype", "dataspace")
    own = [{"target": "buffer", "type": kinds[i % 3], **one} for i, one in enumerate(said)]
    assert Mapping.from_directives([DIRECTIVES[0], *own, *DIRECTIVES[2:]], chip).levels[1].keeps == kept


SAME = {  # mapping/parser.cpp, ParseUserFactors and ParseUserPermutations
    "a comment": changed("dram", "temporal", factors="N=1 G=1 C=1 M=5 P=4 # not M=7 Q=1"),
    "commas": changed("dram", "temporal", factors="M=5,P=4, C=1"),
    "two signs": changed("dram", "temporal", factors="M==5 P = 4"),
    "no signs": changed("dram", "temporal", factors="M5 P4"),
    "an empty field": changed("dram", "temporal", no_reuse=[]),
    "no split": changed("buffer", "spatial", split=None),
    "a split of all": changed("buffer", "spatial", split=999),
    "a split of one": changed("buffer", "spatial", split=1),
    "a split of a problem without groups": changed("buffer", "spatial", split=7, permutation="NCPQRSM"),
    "the same without a permutation": changed("buffer", "spatial", split=7, permutation=""),
    "the last of two": [{"target": "dram", "type": "temporal", "factors": "P=9", "permutation": "P"}, *DIRECTIVES],
}


@pytest.mark.parametrize("case", SAME)
def test_directives_are_read_as_timeloop_reads_them(case: str, chip: Accelerator) -> None:
    assert Mapping.from_directives(SAME[case], chip) == GOOD


WRONG = {
    "a word for a number": (changed("dram", "temporal", factors="M=five P=4"), r"dram: factors is 'M=five P=4'; it must be"),
    "a space before the residual": (changed("buffer", "spatial", factors="M=8, 5"), r"buffer: factors is 'M=8, 5'; it must be"),
    "a fraction": (changed("dram", "temporal", factors="M=2.5"), r"dram: factors is 'M=2\.5'"),
    "nothing on X": (
        changed("buffer", "spatial", split=0),
        r"buffer: M=8,5 lies on Y with a split of 0, but the fan-out is on X",
    ),
    "too small a split": (
        changed("buffer", "spatial", split=1, permutation="CMNPQRSG"),
        r"buffer: M=8,5 lies on Y with a split of 1",
    ),
    "an undecided split": (
        changed("buffer", "spatial", split=3, permutation="CR"),
        r"split \(=3\) goes beyond its permutation",
    ),
    "a split below 0": (changed("buffer", "spatial", split=-1), r"buffer: split is -1; it must be a whole number"),
    "a split that is no number": (changed("buffer", "spatial", split="x"), r"buffer: split is 'x'; it must be a whole number"),
    "a split that is none": (changed("buffer", "spatial", split=2.5), r"buffer: split is 2\.5; it must be a whole number"),
    "a true split": (changed("buffer", "spatial", split=True), r"buffer: split is True"),
    "a dimension twice": (changed("dram", "temporal", permutation="MPM"), r"dram: permutation is 'MPM'; it must be dimensions"),
    "an unknown dimension": (
        changed("dram", "temporal", permutation="MK"),
        r"dram: permutation is 'MK'; it must be dimensions",
    ),
    "a comment in a permutation": (changed("dram", "temporal", permutation="MP # x"), r"dram: permutation is 'MP # x'"),
    "no reuse": (
        changed("dram", "temporal", no_reuse=["Weights"]),
        r"dram: no_reuse is \['Weights'\]; it changes what is reused",
    ),
    "no multicast": (changed("buffer", "spatial", no_link_transfer=["Inputs"]), r"buffer: no_link_transfer is"),
    "no coalescing": (changed("buffer", "datatype", no_coalesce=["Inputs"]), r"buffer: no_coalesce is"),
    "a misspelt field": (changed("dram", "temporal", factor="M=3"), r"'factor'. Did you mean 'factors'\?"),
    "a split in time": (changed("dram", "temporal", split=3), r"unknown field of the temporal directive for dram"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_timeloop_would_pass_over_or_stop_at_is_refused(case: str, chip: Accelerator) -> None:
    entries, message = WRONG[case]
    with pytest.raises(InputError, match=message):
        Mapping.from_directives(entries, chip)


def test_the_loop_nest_as_text() -> None:
    assert str(GOOD) == (
        "dram [weights, inputs, outputs]\n"
        "  for P in [0:4)\n"
        "    for M in [0:5)\n"
        "      buffer [inputs, outputs]\n"
        "        for C in [0:2)\n"
        "          parallel-for M in [0:8)  # over X, 5 in the last pass\n"
        "            multiply-accumulate"
    )


def test_pairs_are_perfect_loops() -> None:
    level = LevelMapping("dram", (("P", 4),), [("M", 2)], TENSORS)
    assert level.loops == (Loop("P", 4, 4), Loop("M", 2, 2))
    assert not level.temporal[0].ragged
    assert GOOD.ragged
    assert (str(Loop("M", 8, 5)), str(Loop("M", 8))) == ("M=8,5", "M=8")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (mapping((("P", 4), ("M", 4))), r"the factors of M multiply to 29, but layer k has M=37"),
        (mapping((("M", 5),)), r"the factors of P multiply to 1, but layer k has P=4"),
        (
            mapping((("P", 4), ("M", 5)), over=(Loop("M", 8, 9),)),
            r"buffer: M=8,9: a residual is at least 1 and at most the bound",
        ),
        (mapping((("P", 4), ("M", 5)), over=(Loop("M", 8, 0),)), r"buffer: M=8,0: a residual is at least 1"),
        (
            mapping((Loop("P", 5, 4), ("M", 5))),
            r"dram: P=5,4 is the outermost loop of P, so it has no pass but the last one. Write P=4",
        ),
        (mapping((("P", 4), ("M", 3)), over=(("M", 13),)), r"buffer spreads 13 instances over a fan-out of 8 \(pes\)"),
        (mapping((("P", 4), ("M", 5)), keeps=TENSORS), r"buffer keeps weights, but chip keeps inputs, outputs there"),
        (
            mapping((("P", 4), ("M", 5)), dram_keeps=("inputs",)),
            r"dram must keep every tensor that no other memory holds whole; it does not keep weights, and no other level does",
        ),
        (
            mapping((("P", 4), ("M", 5)), dram_keeps=("weights", "inputs")),
            r"it does not keep outputs, and P=4 M=5 outside buffer steps through it",
        ),
        (mapping((("P", 2), ("P", 2), ("M", 5))), r"dram has two loops over one dimension: P=2 P=2 M=5"),
        (Mapping(GOOD.levels[:1]), r"its levels are \['dram'\]; chip has \['dram', 'buffer'\]"),
    ],
)
def test_what_does_not_belong_is_refused(wrong: Mapping, message: str, chip: Accelerator) -> None:
    with pytest.raises(InputError, match=message):
        wrong.check(LAYER, chip)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"target": "bufer", "type": "temporal"}, r"unknown target in the mapping 'bufer'. Did you mean 'buffer'\?"),
        (
            {"target": "buffer", "type": "temporel"},
            r"type of the directive for buffer in the mapping 'temporel'. Did you mean 'temporal'\?",
        ),
        ({"target": "buffer", "type": "temporal", "factors": "K=4"}, r"unknown dimension in the mapping 'K'"),
        (
            {"target": "buffer", "type": "temporal", "factors": "C=0"},
            r"buffer: C=0: a factor is at least 1 .Timeloop.s 0 is the whole dimension.; write the number of steps",
        ),
        (
            {"target": "buffer", "type": "bypass", "bypass": ["Weight"]},
            r"tensor at buffer in the mapping 'Weight'. Did you mean 'Weights'\?",
        ),
    ],
)
def test_a_wrong_directive_is_named(entry: dict, message: str, chip: Accelerator) -> None:
    with pytest.raises(InputError, match=message):
        Mapping.from_directives([entry], chip)


@pytest.mark.parametrize("text", ["mapping: 3", "- a\n- b", "mapping: [a, b]", "{}"])
def test_a_file_without_directives_is_refused(text: str, chip: Accelerator, tmp_path: Path) -> None:
    path = tmp_path / "map.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"map\.yaml has no list 'mapping:' of directives, as Timeloop writes it"):
        Mapping.from_timeloop(path, LAYER, chip)
