"""Sweep files: what fields mean, and what is said of one that cannot be used."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import hwflow
from hwflow.errors import InputError
from hwflow.sweeping.case import cases_of
from hwflow.sweeping.constraint import Constraint
from hwflow.sweeping.description import expand, load_description
from hwflow.sweeping.sampling import count, draw
from hwflow.sweeping.space import Space, space_of
from tests.sweeping.conftest import Sweep, swept


def space(path: Path) -> Space:
    return space_of(load_description(path), path.parent)


@pytest.mark.parametrize(
    ("value", "values"),
    [
        ([32, 64, 108], (32, 64, 108)),
        (64, (64,)),
        ({"from": 8, "to": 32, "step": 8}, (8, 16, 24, 32)),
        ({"from": 8, "to": 31, "step": 8}, (8, 16, 24)),
        ({"from": 0.1, "to": 0.4, "step": 0.1}, (0.1, 0.2, 0.3, 0.4)),
        ({"log2": [8, 64]}, (8, 16, 32, 64)),
        ({"log2": [0.5, 3]}, (0.5, 1.0, 2.0)),
        ([["inputs"], ["inputs", "outputs"]], (["inputs"], ["inputs", "outputs"])),
    ],
)
def test_values_of_a_field(value: Any, values: tuple[Any, ...]) -> None:
    found = expand(value)
    assert found == values
    assert [type(v) for v in found] == [type(v) for v in values]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"networs": []}, r"unknown field 'networs'\. Did you mean 'networks'\?"),
        ({"activations": "onchip"}, r"\.yaml: unknown activations 'onchip'. Known: dram, resident"),
        ({"networks": []}, "networks: it is empty; give at least one"),
        ({"networks": ["tiny.yaml", "tiny.yaml"]}, "networks: it names 'tiny.yaml' twice"),
        ({"accelerators": "eyeriss"}, "accelerators is 'eyeriss': it must be a list"),
        ({"accelerators": ["eyeris"]}, "unknown accelerator 'eyeris'. Did you mean 'eyeriss'"),
        ({"accelerators": swept(pe_array__row=[4])}, r"unknown field .*'pe_array.row'. Did you mean 'pe_array.rows'"),
        ({"accelerators": swept(pe_aray__rows=[4])}, "unknown part in field 'pe_aray.rows'"),
        ({"accelerators": swept(pe_array__rows=[])}, r"accelerators\[0\]\.set\.pe_array\.rows.* is empty"),
        ({"accelerators": swept(pe_array__rows=[4, "many"])}, "pe_array.rows is 'many': it must be a whole number"),
        ({"accelerators": swept(pe_array__rows=[4, "8"])}, "pe_array.rows is '8', a text: write 8, without quotes"),
        ({"accelerators": swept(pe_array__rows=[4, 0])}, "pe_array.rows is 0: it must be at least 1"),
        ({"accelerators": swept(pe_array__rows={"from": 9, "to": 8, "step": 1})}, r"empty: from \(=9\) is above to \(=8\)"),
        ({"accelerators": swept(pe_array__rows={"from": 8, "to": 9, "step": 0})}, r"step \(=0\) must be above 0"),
        ({"accelerators": swept(pe_array__rows=[4, "1e30"])}, "pe_array.rows is '1e30': it must be a whole number"),
        ({"accelerators": swept(pe_array__rows=[4.5])}, r"pe_array.rows is 4\.5: it must be a whole number"),
        ({"accelerators": swept(clock_mhz=[-1])}, "clock_mhz is -1: it must be above 0"),
        ({"accelerators": swept(pe_array__rows={"from": 1, "to": 10**30, "step": 1})}, r"to \(=10+\) must be a finite number"),
        ({"accelerators": swept(pe_array__rows={"from": 1, "to": "9", "step": 1})}, r"to \(='9'\) must be a number"),
        ({"accelerators": swept(pe_array__rows={"log2": [1, float("inf")]})}, r"log2 \(=inf\) must be a finite number below"),
        ({"accelerators": swept(pe_array__rows=[[4], [4]])}, r"it names \[4\] twice"),
        ({"accelerators": swept(pe_array__rows={"log2": [8, 4]})}, "range is empty: log2 begins with 8, above its end 4"),
        ({"accelerators": swept(pe_array__rows={"log2": [0, 4]})}, "log2 must begin above 0"),
        ({"accelerators": swept(pe_array__rows={"log": [1, 4]})}, "a value, a list, a range"),
        (
            {"accelerators": swept(pe_array__rows={"from": 0, "to": 1e9, "step": 1})},
            "1,000,000,001 values; the most is 100,000",
        ),
        ({"accelerators": swept(dataflow=["flexible"])}, "dataflow cannot be swept here: name dataflows beside accelerators"),
        ({"dataflows": ["rowstationary"]}, "unknown dataflow 'rowstationary'"),
        ({"levels": ["medium"]}, r"levels\[0\] is 'medium': it must be coarse, mid, fine or ppa"),
        ({"batch": [0]}, r"batch\[0\] is 0"),
        ({"sample": {"method": "random"}}, "points is missing: random needs the number of designs"),
        ({"sample": {"points": 3}}, "a grid costs every design: leave points out"),
        (
            {"sample": {"method": "lhs", "points": 3, "objectives": ["energy_pj"]}},
            "of the methods nsga2 and surrogate, not of lhs",
        ),
        ({"sample": {"method": "nsga2", "points": 3, "objectives": ["speed"]}}, "unknown objective 'speed'"),
        ({"sample": {"method": "nsga2", "points": 3}}, "nsga2 searches at one level"),
    ],
)
def test_what_is_said_of_a_wrong_file(sweep_file: Sweep, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        space(sweep_file(**changes))


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("pe_array.rows * 2 <", "is no expression"),
        ("pe_array.rows ** 2 < 9", r"holds 'pe_array.rows \*\* 2'; it may hold fields, numbers"),
        ("__import__('os').system('true')", "holds .*__import__"),
        ("pe_array.rows.real.__class__ == 1", r"unknown field in accelerators\[0\].where 'pe_array.rows.real.__class__'"),
        ("(lambda: 1)() == 1", "holds"),
        ("[x for x in (1, 2)] == 1", "holds"),
        ("pe_array.rows[0] == 1", "holds"),
        ("pe_array.cols < 9", "unknown field .*'pe_array.cols'"),
        ("pe_array.rows / 0 < 1", "cannot be computed where pe_array.rows=4: division by zero"),
        ("pe_array.rows * 'a' == 1", "cannot be computed .*'a' is no number"),
        ("'%999999999d' % pe_array.rows == 1", "cannot be computed"),
        ("pe_array.rows < 4", r"leaves no design: it holds for none of the 3 combinations"),
        ("-" * 20000 + "1", "is no expression"),
    ],
)
def test_what_is_said_of_a_wrong_constraint(sweep_file: Sweep, where: str, message: str) -> None:
    accelerators = swept(pe_array__rows={"from": 4, "to": 12, "step": 4})
    with pytest.raises(InputError, match=message):
        space(sweep_file(accelerators=[{**accelerators[0], "where": where}]))


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("a.b * 2 + 1 == 7 and c < 5", True),
        ("a.b in [1, 2] or not c != 4", True),
        ("1 < a.b <= c // 2", False),
        ("-a.b < 0 and (a.b, 1) == (3, 1)", True),
        ("a.b % 2 == 0", False),
        ("name == 'x'", True),
    ],
)
def test_constraints_mean_what_they_say(text: str, holds: bool) -> None:
    assert Constraint(text, "where").holds({"a.b": 3, "c": 4, "name": "x"}) is holds


def test_a_grid_has_every_combination_once_and_in_order(sweep_file: Sweep) -> None:
    found = space(sweep_file(dataflows=["row_stationary", "flexible"]))
    designs = list(found.designs())
    assert len(designs) == len(set(designs)) == 10
    assert found.size == 12
    assert found.label(designs[0]) == "eyeriss (global_buffer.size_kib=16, pe_array.rows=4)"
    assert [found.dataflow(d) for d in designs[:2]] == ["row_stationary", "flexible"]
    assert [found.fields(d)["pe_array.rows"] for d in designs[::2]] == [4, 8, 4, 8, 12]
    assert count(found) == 10


def test_a_place_in_the_cube_is_one_design(sweep_file: Sweep) -> None:
    accelerators = [*swept(pe_array__rows=[4, 8, 12]), {"base": "simba"}]
    found = space(sweep_file(accelerators=accelerators, dataflows=[None, "flexible"]))
    for design in found.designs():
        assert found.decode(found.encode(design)) == design


@pytest.mark.parametrize("method", ["random", "lhs"])
def test_samples_are_different_allowed_and_repeatable(sweep_file: Sweep, method: str) -> None:
    rows = {"from": 1, "to": 40, "step": 1}
    accelerators = swept(pe_array__rows=rows, pe_array__columns=rows)
    found = space(sweep_file(accelerators=[{**accelerators[0], "where": "pe_array.rows <= pe_array.columns"}]))
    designs = draw(found, method, 60, 3)
    assert len(designs) == len(set(designs)) == 60
    assert all(found.allows(d) for d in designs)
    assert designs == draw(found, method, 60, 3) != draw(found, method, 60, 4)
    assert draw(found, method, 10_000, 0) == list(found.designs())


def test_a_latin_hypercube_has_every_value_equally_often(sweep_file: Sweep) -> None:
    found = space(sweep_file(accelerators=swept(pe_array__rows=[4, 8, 12, 16], pe_array__columns={"log2": [1, 1024]})))
    values = [found.fields(d)["pe_array.rows"] for d in draw(found, "lhs", 8, 0)]
    assert {values.count(v) for v in (4, 8, 12, 16)} <= {1, 2, 3}  # 2 each, but where two draws were one design


def test_a_sample_that_a_constraint_all_but_forbids_is_refused(sweep_file: Sweep) -> None:
    every = {"from": 1, "to": 2000, "step": 1}
    accelerators = swept(pe_array__rows=every, pe_array__columns=every)
    accelerators = [{**accelerators[0], "where": "pe_array.rows == 1 and pe_array.columns == 1"}]
    with pytest.raises(InputError, match="where allows too few of 4,000,000"):
        draw(space(sweep_file(accelerators=accelerators)), "random", 2, 0)


def test_a_batch_that_comes_twice_is_refused(sweep_file: Sweep) -> None:
    """null is the network's own batch, which is 1 here."""
    path = sweep_file(batch=[None, 1])
    with pytest.raises(InputError, match=r"batch, bits: tiny at batch 1 comes 2 times"):
        cases_of(load_description(path), path)


@pytest.mark.parametrize(
    ("changes", "field", "levels"),
    [
        ({"mapper": "timeloop", "levels": ["coarse", "mid"]}, "mapper is 'timeloop'", "coarse, mid: it is for fine"),
        ({"engine": "container", "levels": ["mid"]}, "engine is 'container'", "mid: it is for fine, and for energy accelergy"),
        ({"effort": 2, "levels": ["coarse"]}, "effort is 2", "coarse: it is for mid and fine"),
        ({"objective": "energy", "levels": ["coarse"]}, "objective is 'energy'", "coarse: it is for mid and fine"),
        ({"dataflows": [None, "flexible"], "levels": ["coarse"]}, "dataflow is 'flexible'", "coarse: it is for mid and fine"),
    ],
)
def test_an_option_that_no_level_looks_at_is_refused(
    sweep_file: Sweep, tmp_path: Path, changes: dict[str, Any], field: str, levels: str
) -> None:
    file = sweep_file(**changes)
    expected = re.escape(f"{file}: {field}, which changes nothing at level {levels}.")
    with pytest.raises(InputError, match=expected):
        hwflow.sweep(file, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("changes", [{"effort": 2}, {"objective": "energy"}, {"dataflows": [None, "flexible"]}])
def test_an_option_that_one_of_the_levels_looks_at_is_used(sweep_file: Sweep, tmp_path: Path, changes: dict[str, Any]) -> None:
    file = sweep_file(accelerators=["eyeriss"], networks=["tiny.yaml"], **changes)
    assert (hwflow.sweep(file, tmp_path / "out", store=False)["status"] == "ok").all()


def test_an_address_needs_the_runner_ray(sweep_file: Sweep, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="address is 'auto', which is of a Ray cluster: it needs the runner ray"):
        hwflow.sweep(sweep_file(), tmp_path / "out", address="auto")


def test_a_missing_input_shape_is_asked_for_in_the_words_of_the_file(sweep_file: Sweep) -> None:
    """`hwflow sweep` has no option --input."""
    path = sweep_file(networks=["os.path:join"])
    words = r"needs the shape of its input.*; in sweep\.yaml that is networks: \[\{network: os\.path:join, input: \["
    with pytest.raises(InputError, match=words):
        cases_of(load_description(path), path, ("os.path",))
