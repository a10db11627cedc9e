from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

import hwflow
from hwflow.coexploration.knobs import Knob, configurations, default_knobs, hypercube, knobs_of
from hwflow.hardware.accelerator import Accelerator, presets
from hwflow.hardware.pe_types import PE_TYPES

EYERISS = Accelerator.load("eyeriss")


def test_a_hypercube_covers_each_stratum_of_each_dimension_once() -> None:
    cube = hypercube(8, 50, 3)
    for column in cube.T:
        assert sorted((column * 50).astype(int).tolist()) == list(range(50))
    assert (cube == hypercube(8, 50, 3)).all()
    assert (cube != hypercube(8, 50, 4)).any()


def test_each_pe_type_has_as_many_chips_and_values_span_the_range() -> None:
    knobs = knobs_of(EYERISS, {})
    drawn = configurations(knobs, ["own", "int8", "lightpe1"], 40, 0)
    assert Counter(chip.get("pe_type") for chip in drawn) == {None: 40, "int8": 40, "lightpe1": 40}
    for knob in knobs:
        values = [chip[knob.field] for chip in drawn]
        assert knob.low <= min(values) <= 1.1 * knob.low + (knob.step or 0)
        assert 0.9 * knob.high - (knob.step or 0) <= max(values) <= knob.high
        assert knob.step is None or all(value % knob.step == 0 for value in values)
        middle = np.median(np.log(values))
        assert middle == pytest.approx((np.log(knob.low) + np.log(knob.high)) / 2, abs=0.2 * np.log(knob.high / knob.low))


def test_the_defaults_are_arrays_memories_and_bandwidth() -> None:
    knobs = default_knobs(EYERISS)
    assert {name: (knob.low, knob.high) for name, knob in knobs.items()} == {
        "dram.bandwidth_gb_s": (0.72, 11.52),
        "global_buffer.size_kib": (54, 432),
        "pe_array.rows": (6, 24),
        "pe_array.columns": (7, 28),
        "input_spad.size_words": (8, 24),
        "weight_spad.size_words": (112, 448),
        "psum_spad.size_words": (12, 48),
    }


@pytest.mark.parametrize("name", presets())
def test_every_preset_has_defaults_that_make_chips(name: str) -> None:
    base = Accelerator.load(name)
    for place in (0.0, 0.5, 1.0):
        values = {knob.field: knob.value(place) for knob in default_knobs(base).values()}
        chip = base.with_(values)
        assert values
        assert set(chip.differences(base)) <= set(values)


@pytest.mark.parametrize("pe_type", PE_TYPES)
def test_every_pe_type_takes_the_corners_of_the_range(pe_type: str) -> None:
    for place in (0.0, 0.37, 1.0):
        chip = EYERISS.with_({"pe_type": pe_type, **{k.field: k.value(place) for k in default_knobs(EYERISS).values()}})
        assert chip["weight_spad"].words == default_knobs(EYERISS)["weight_spad.size_words"].value(place)


def test_a_range_of_ones_own_replaces_the_default_and_one_value_fixes_it() -> None:
    knobs = {
        knob.field: knob
        for knob in knobs_of(EYERISS, {"pe_array.rows": [4, 8], "clock_mhz": [200, 400], "psum_spad.size_words": [24]})
    }
    assert knobs["pe_array.rows"] == Knob("pe_array.rows", 4, 8, 1)
    assert knobs["clock_mhz"].step is None
    assert {knobs["psum_spad.size_words"].value(place) for place in (0, 0.5, 1)} == {24}


@pytest.mark.parametrize(
    ("ranges", "told"),
    [
        ({"pe_array.row": [4, 8]}, r"unknown number among the fields of eyeriss 'pe_array.row'. Did you mean 'pe_array.rows'"),
        ({"dataflow": [1, 2]}, "unknown number among the fields of eyeriss 'dataflow'"),
        ({"pe_array.rows": [8, 4]}, r"the range of pe_array.rows is 8 to 4; it must begin above 0, and not end below"),
        ({"pe_array.rows": [0, 4]}, r"the range of pe_array.rows is 0 to 4; it must begin above 0"),
        ({"pe_array.rows": [1, 2, 3]}, r"the range of pe_array.rows is \[1, 2, 3\]; it must be two numbers"),
        (
            {"weight_spad.size_words": [10, 224]},
            r"the range of weight_spad.size_words is 10 to 224; both ends must be multiples of 4",
        ),
    ],
)
def test_ranges_that_cannot_be_used_are_refused(ranges: dict[str, list[float]], told: str) -> None:
    with pytest.raises(hwflow.InputError, match=told):
        knobs_of(EYERISS, ranges)
