"""Sweeps as they run: tables, deduplication, what fails, what is continued, and that none of it changes the result."""

from __future__ import annotations

import json
import re
import resource
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import hwflow
from hwflow import cli
from hwflow.errors import HwflowError, InputError
from hwflow.files import folder as resources
from hwflow.hardware.accelerator import Accelerator
from hwflow.network import Network
from hwflow.reporting.sweeps.sweep_folder import read_sweep
from hwflow.sweeping import Interrupted, coverage, nsga2, run, runners, sweep_run
from hwflow.sweeping import unit as costing
from hwflow.sweeping.description import SEARCHES
from hwflow.sweeping.point_record import SUMS
from hwflow.sweeping.registry import SEARCHERS
from hwflow.sweeping.searcher import Values
from hwflow.sweeping.unit import Answer, Unit, cost_unit
from tests.sweeping.conftest import Sweep, swept, tables

FAILING = swept(global_buffer__size_kib=[0.0078125, 16, 0.001], global_buffer__buffering=[1, 3])


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The layers that are costed, in order, by the shapes' sizes."""
    seen: list[str] = []

    def count(unit: Unit) -> Answer:
        seen.extend(f"{unit.options.level} {unit.accelerator.fingerprint[:8]} {layer.key}" for layer in unit.layers)
        return cost_unit(unit)

    monkeypatch.setattr(runners, "cost_unit", count)
    monkeypatch.setattr(coverage, "cost_unit", count)
    return seen


def test_a_sweep_gives_what_estimate_gives(sweep_file: Sweep, tmp_path: Path) -> None:
    frame = hwflow.sweep(sweep_file(), tmp_path / "out", store=False)
    assert list(frame["point"]) == list(range(20))
    assert (frame["status"] == "ok").all()
    layers = pd.read_parquet(tmp_path / "out" / "layers.parquet")
    for row in frame.to_dict("records"):
        chip = Accelerator.load("eyeriss").with_({name: row[name] for name in ("global_buffer.size_kib", "pe_array.rows")})
        network = Network.from_yaml(tmp_path / f"{row['network']}.yaml")
        cost = hwflow.estimate(network, chip, level=row["level"], energy="normalized", store=False)
        for name in (*SUMS, "edp_pj_s", "utilization", "macs", "params"):
            value = getattr(cost, name)
            assert row[name] == value or (value is None and pd.isna(row[name])), name
        mine = layers[layers["point"] == row["point"]]
        assert list(mine["layer"]) == [r.layer.name for r in cost.rows]
        assert list(mine["energy_normalized"]) == [r.energy_normalized for r in cost.rows]
        assert list(mine["energy_dram"]) == [r.energy_by_level["dram"] for r in cost.rows]
    assert pd.read_csv(tmp_path / "out" / "results.csv")["latency_s"].equals(frame["latency_s"])
    assert (tmp_path / "out" / "sweep.yaml").read_text() == (tmp_path / "sweep.yaml").read_text()


def test_python_and_the_command_leave_the_same_files(sweep_file: Sweep, tmp_path: Path) -> None:
    path = sweep_file(levels=["coarse"])
    hwflow.sweep(path, tmp_path / "python", store=False)
    with pytest.raises(SystemExit) as ended:
        cli.main(["sweep", str(path), "-o", str(tmp_path / "command")])
    assert not ended.value.code
    found = [{file.name: file.read_bytes() for file in (tmp_path / way).iterdir()} for way in ("python", "command")]
    assert found[0].keys() == found[1].keys()
    assert found[0]["report.html"] == found[1]["report.html"]


def test_a_sweep_without_plotly_says_that_no_report_was_written(
    sweep_file: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "plotly", None)
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.warns(hwflow.HwflowWarning, match=r"report\.html was not written: a report needs plotly"):
        frame = hwflow.sweep(sweep_file(levels=["coarse"]), tmp_path / "out", store=False)
    assert len(frame) == 10
    assert not (tmp_path / "out" / "report.html").exists()


def test_a_layer_is_computed_once_on_a_chip(sweep_file: Sweep, tmp_path: Path, counted: list[str]) -> None:
    result = run(sweep_file(), tmp_path / "out", store=False)
    assert len(counted) == len(set(counted)) == result.counts.asked == result.counts.computed
    assert len(counted) == 2 * 5 * 3  # levels, chips, different layers of both networks
    assert result.counts.layers == 2 * 5 * 5
    again = run(sweep_file(), tmp_path / "out", store=False)
    assert len(counted) == 2 * 5 * 3
    assert (again.counts.points, again.points) == (0, 20)


def test_densities_make_networks_of_their_own(sweep_file: Sweep, tmp_path: Path) -> None:
    (tmp_path / "few.yaml").write_text("conv2: {weights: 0.125}\n")
    chips = [{"base": "eyeriss", "set": {"sparsity.skips": ["weights"]}}]
    file = sweep_file(networks=["tiny.yaml"], accelerators=chips, levels=["mid"], densities=[None, "weights=0.25", "few.yaml"])
    frame = hwflow.sweep(file, tmp_path / "out", store=False)
    assert list(frame["network"]) == ["tiny", "tiny, density weights=0.25", "tiny, density few.yaml"]
    chip = Accelerator.load("eyeriss").with_({"sparsity.skips": "weights"})
    net = Network.from_yaml(tmp_path / "tiny.yaml")
    given: list[dict[str, dict[str, float]]] = [{}, {"*": {"weights": 0.25}}, {"conv2": {"weights": 0.125}}]
    for found, densities in zip(frame["energy_normalized"], given, strict=True):
        cost = hwflow.estimate(net.with_densities(densities), chip, energy="normalized", store=False)
        assert found == cost.energy_normalized
    sweep = read_sweep(tmp_path / "out")
    assert sweep.command(sweep.points[1]).startswith("hwflow estimate tiny.yaml --density weights=0.25 --accelerator eyeriss")
    with pytest.raises(InputError, match=r"densities is 'weights=many'; it must be shares of nonzero elements"):
        run(sweep_file(densities=["weights=many"]), tmp_path / "other", store=False)
    chips[0]["set"] = {"sparsity.skips": ["outputs"]}
    with pytest.raises(InputError, match=r"accelerators\[0\]\.set: accelerator eyeriss: sparsity\.skips"):
        run(sweep_file(accelerators=chips), tmp_path / "other", store=False)


def test_equal_chips_of_two_entries_are_one(sweep_file: Sweep, tmp_path: Path, counted: list[str]) -> None:
    twice = swept(pe_array__rows=[4, 12]) + swept(pe_array__rows=[12], clock_mhz=[200])
    result = run(sweep_file(accelerators=twice, levels=["mid"]), tmp_path / "out", store=False)
    assert (result.points, len(counted)) == (6, 2 * 3)


def test_the_number_of_jobs_changes_no_byte(sweep_file: Sweep, tmp_path: Path, own_cache: Path) -> None:
    path = sweep_file(accelerators=FAILING, batch=[1, 2], bits=[None, [8, 8]])
    one = run(path, tmp_path / "one", store=False)
    two = run(path, tmp_path / "two", jobs=2)
    assert tables(tmp_path / "one") == tables(tmp_path / "two")
    assert one.failures == two.failures
    third = run(path, tmp_path / "three", jobs=2)
    assert two.counts.asked == two.counts.computed == 96  # 4 chips, 3 layers, 2 batches, 2 widths, 2 levels
    assert third.counts.asked - third.counts.computed == 48 - 12  # mid's, but those that failed
    assert tables(tmp_path / "one") == tables(tmp_path / "three")


def test_what_fails_is_told_and_stops_nothing(sweep_file: Sweep, tmp_path: Path) -> None:
    result = run(sweep_file(accelerators=FAILING), tmp_path / "out", store=False)
    frame = result.frame()
    failed = frame[frame["status"] == "failed"]
    assert len(frame) == 24
    assert set(failed["global_buffer.size_kib"]) == {0.001, 0.0078125}
    whole = failed[failed["global_buffer.size_kib"] == 0.001]
    assert len(whole) == 8
    assert whole["reason"].str.contains("global_buffer.*must be a whole multiple of width_bits").all()
    small = failed[failed["global_buffer.size_kib"] == 0.0078125]
    assert list(small["level"]) == ["mid", "mid"]
    assert list(small["global_buffer.buffering"]) == [3, 3]
    reasons = list(small["reason"])
    assert "layer conv1 has no mapping on eyeriss: global_buffer holds 1 word(s), but keeps 2 tensors" in reasons[0]
    assert reasons[1].startswith("layer first has no mapping")
    assert result.failures.total() == 10


def test_reasons_name_their_own_chip_however_far_the_sweep_had_come(sweep_file: Sweep, tmp_path: Path) -> None:
    """Two names of one chip share its answers; what one is told must not hang on who was costed in this run."""
    preset = resources("arch_templates") / "accelerators" / "eyeriss.yaml"
    (tmp_path / "copy.yaml").write_text(preset.read_text().replace("name: eyeriss", "name: copy", 1))
    fields = {"global_buffer.size_kib": [0.0078125], "global_buffer.buffering": [3]}
    path = sweep_file(accelerators=[{"base": base, "set": fields} for base in ("eyeriss", "copy.yaml")], levels=["mid"])
    frame = hwflow.sweep(path, tmp_path / "out", store=False)
    assert [text.split(":")[0] for text in frame["reason"]] == [
        f"layer {layer} has no mapping on {chip}" for chip in ("eyeriss", "copy") for layer in ("conv1", "first")
    ]
    whole = tables(tmp_path / "out")
    cut(tmp_path / "out", 2)
    hwflow.sweep(path, tmp_path / "out", store=False)
    assert tables(tmp_path / "out") == whole


def test_layers_of_failed_points_count_as_layers(sweep_file: Sweep, tmp_path: Path) -> None:
    result = run(sweep_file(accelerators=FAILING, levels=["mid"]), tmp_path / "out", store=False)
    assert result.counts.failed == 6
    assert (result.counts.layers, result.counts.asked) == (4 * 5, 4 * 3)


def test_a_sweep_in_which_all_fails_exits_with_1(sweep_file: Sweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = sweep_file(accelerators=swept(global_buffer__size_kib=[0.001]))
    with pytest.raises(SystemExit) as ended:
        cli.main(["sweep", str(path), "-o", str(tmp_path / "out"), "--jobs", "1"])
    out, err = capsys.readouterr()
    assert ended.value.code == 1
    assert "4 points, 4 failed." in out
    assert "4 failed: accelerator eyeriss: global_buffer" in out
    assert "all 4 points failed" in err


def test_the_end_says_what_was_done(sweep_file: Sweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["sweep", str(sweep_file()), "-o", str(tmp_path / "out"), "--jobs", "1"])
    out, err = capsys.readouterr()
    assert not ended.value.code
    assert "20 points, 0 failed." in out
    assert "40.0 % were deduplicated" in out
    assert err == f"hwflow: wrote {tmp_path / 'out'}\n"


def test_small_values_keep_three_digits(sweep_file: Sweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = sweep_file(networks=["other.yaml"], accelerators=["tpu_like"], levels=["coarse"])
    with pytest.raises(SystemExit):
        cli.main(["sweep", str(path), "-o", str(tmp_path / "out"), "--jobs", "1"])
    latency_ms = 1e3 * pd.read_csv(tmp_path / "out" / "results.csv")["latency_s"][0]
    assert latency_ms < 1e-2
    assert f"{latency_ms:.3g}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("size", "energy", "told"), [([54, 108], "auto", True), ([54, 108], "fitted", False), ([54, 64], "auto", False)]
)
def test_parts_that_are_priced_in_two_ways_are_told(
    sweep_file: Sweep, tmp_path: Path, size: list[int], energy: str, told: bool
) -> None:
    """eyeriss has 108 KiB: only for that size energies are recorded."""
    said: list[str] = []
    path = sweep_file(accelerators=swept(global_buffer__size_kib=size, pe_array__rows=[4, 8]), energy=energy, levels=["coarse"])
    sources = set(run(path, tmp_path / "out", store=False, notify=said.append).frame()["energy_source"])
    assert (len(sources) == 2) is told
    assert [text.startswith("the energies of global_buffer are recorded for some") for text in said] == [True] * told


# Continuing ----------------------------------------------------------------------------------------------------------


def cut(folder: Path, keep: int, torn: str = "") -> None:
    """As if the sweep had been killed after `keep` points."""
    path = folder / "records.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[: keep + 1]) + torn)
    for name in ("results.parquet", "results.csv", "layers.parquet"):
        (folder / name).unlink()


@pytest.mark.parametrize(("keep", "torn"), [(0, ""), (7, ""), (7, '{"point":8,"netw'), (13, "{")])
def test_a_part_is_continued_to_the_same_bytes(
    sweep_file: Sweep, tmp_path: Path, counted: list[str], keep: int, torn: str
) -> None:
    path, out = sweep_file(), tmp_path / "out"
    run(path, out, store=False)
    whole, kept = tables(out), (out / "records.jsonl").read_text().splitlines()[: keep + 1]
    cut(out, keep, torn)
    counted.clear()
    result = run(path, out, store=False)
    assert result.counts.points == 20 - keep
    assert tables(out) == whole
    lines = (out / "records.jsonl").read_text().splitlines()
    assert lines[: keep + 1] == kept
    assert len(lines) == 21
    assert [json.loads(line)["point"] for line in lines[keep + 1 :]] not in ([], None)


def test_a_changed_file_says_what_changed(sweep_file: Sweep, tmp_path: Path) -> None:
    out = tmp_path / "out"
    hwflow.sweep(sweep_file(), out, store=False)
    before = tables(out)
    path = sweep_file(accelerators=swept(pe_array__rows=[4, 8]), effort=2)
    message = r"another sweep than .*accelerators\[0\]\.set\.pe_array\.rows was .*; effort was not there, now is 2"
    with pytest.raises(InputError, match=message):
        hwflow.sweep(path, out, store=False)
    path = sweep_file()
    path.write_text("# a comment changes nothing\n" + path.read_text())
    hwflow.sweep(path, out, store=False)
    assert tables(out) == before
    (tmp_path / "tiny.yaml").write_text((tmp_path / "tiny.yaml").read_text().replace("M: 8", "M: 4"))
    with pytest.raises(InputError, match=r"content of networks\.tiny at batch 1 was"):
        hwflow.sweep(path, out, store=False)


def test_a_random_sample_grows(sweep_file: Sweep, tmp_path: Path, counted: list[str]) -> None:
    """Its first designs are those of the smaller sample, so that only the others are costed."""

    def sample(method: str, points: int) -> Path:
        chips = swept(pe_array__rows=list(range(1, 25)))
        return sweep_file(accelerators=chips, levels=["coarse"], sample={"method": method, "points": points})

    out = tmp_path / "out"
    run(sample("random", 3), out, store=False)
    counted.clear()
    grown = run(sample("random", 5), out, store=False)
    layers = len(counted)
    whole = run(sample("random", 5), tmp_path / "whole", store=False)
    assert tables(out) == tables(tmp_path / "whole")
    assert grown.counts.points * 5 == whole.counts.points * 2
    assert layers < len(counted) - layers
    assert (out / "sweep.yaml").read_bytes() == (tmp_path / "whole" / "sweep.yaml").read_bytes()
    for path in (sample("random", 3), sample("random", 24)):
        with pytest.raises(InputError, match=r"sample.points was 5, now is \d+ \(only a sample of method random, smaller than"):
            run(path, out, store=False)
    run(sample("lhs", 3), tmp_path / "lhs", store=False)
    with pytest.raises(InputError, match=r"sample.points was 3, now is 5 \(only a sample of method random"):
        run(sample("lhs", 5), tmp_path / "lhs", store=False)


@pytest.mark.parametrize("name", ["thesis.tex", "sweep.yaml"])
def test_folders_that_are_something_else_are_left_alone(sweep_file: Sweep, tmp_path: Path, name: str) -> None:
    (out := tmp_path / "out").mkdir()
    (out / name).write_text("x")
    with pytest.raises(InputError, match="is no sweep's folder and is not empty"):
        hwflow.sweep(sweep_file(), out, store=False)
    assert [(p.name, p.read_text()) for p in out.iterdir()] == [(name, "x")]


def test_a_damaged_first_line_is_not_to_be_removed(sweep_file: Sweep, tmp_path: Path) -> None:
    out = tmp_path / "out"
    hwflow.sweep(sweep_file(), out, store=False)
    lines = (out / "records.jsonl").read_text().splitlines(keepends=True)
    for first in (["garbage\n"], []):
        (out / "records.jsonl").write_text("".join([*first, *lines[1:]]))
        with pytest.raises(InputError, match=r"records.jsonl, line 1 is damaged: it says what was swept. Name another folder"):
            hwflow.sweep(sweep_file(), out, store=False)


def test_what_no_longer_fits_on_the_disk_is_told_and_the_rest_is_kept(sweep_file: Sweep, tmp_path: Path) -> None:
    path = sweep_file()
    hwflow.sweep(path, tmp_path / "whole", store=False)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8000, hard))
    try:
        with pytest.raises(HwflowError, match=r"cannot write .*records.jsonl: File too large. What is there already is kept"):
            hwflow.sweep(path, tmp_path / "out", store=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    result = run(path, tmp_path / "out", store=False)
    assert 0 < result.counts.points < 20
    assert tables(tmp_path / "out") == tables(tmp_path / "whole")


def test_an_interruption_leaves_tables_and_goes_on(sweep_file: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = sweep_file()
    hwflow.sweep(path, tmp_path / "whole", store=False)
    done: list[Unit] = []

    def stopping(unit: Unit) -> Answer:
        if len(done) == 4:
            raise KeyboardInterrupt
        done.append(unit)
        return cost_unit(unit)

    monkeypatch.setattr(runners, "cost_unit", stopping)
    with pytest.raises(Interrupted) as stopped:
        run(path, tmp_path / "out", store=False)
    assert 0 < stopped.value.result.points < 20
    assert len(pd.read_parquet(tmp_path / "out" / "results.parquet")) == stopped.value.result.points
    monkeypatch.setattr(runners, "cost_unit", cost_unit)
    run(path, tmp_path / "out", store=False)
    assert tables(tmp_path / "out") == tables(tmp_path / "whole")


def test_what_failed_for_its_surroundings_is_tried_again(
    sweep_file: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = sweep_file()
    hwflow.sweep(path, tmp_path / "whole", store=False)

    def broken(unit: Unit) -> Answer:
        return costing.lost(unit, costing.failure(MemoryError("no room")))

    monkeypatch.setattr(runners, "cost_unit", broken)
    result = run(path, tmp_path / "out", store=False)
    assert result.failures == {"MemoryError: no room": 10}
    monkeypatch.setattr(runners, "cost_unit", cost_unit)
    result = run(path, tmp_path / "out", store=False)
    assert (result.counts.points, result.failures.total()) == (10, 0)
    assert tables(tmp_path / "out") == tables(tmp_path / "whole")


# Large ones, and searches ---------------------------------------------------------------------------------------------


def test_a_million_points_by_mistake_are_refused_with_their_time(sweep_file: Sweep, tmp_path: Path) -> None:
    every = {"from": 1, "to": 1000, "step": 1}
    path = sweep_file(accelerators=swept(pe_array__rows=every, pe_array__columns=every), levels=["coarse"])
    with pytest.raises(InputError, match=r"2,000,000 points .*about [0-9.,]+ (minutes|days) with 1 job.*--yes"):
        hwflow.sweep(path, tmp_path / "out", store=False)
    assert not (tmp_path / "out").exists()


def test_yes_confirms(sweep_file: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_run, "MANY", 19)
    with pytest.raises(InputError, match="20 points"):
        hwflow.sweep(sweep_file(), tmp_path / "out", store=False)
    assert len(hwflow.sweep(sweep_file(), tmp_path / "out", store=False, yes=True)) == 20


SEARCH: dict[str, Any] = {
    "accelerators": swept(pe_array__rows={"log2": [2, 32]}, pe_array__columns={"log2": [2, 32]}, clock_mhz=[100, 200]),
    "levels": ["coarse"],
    "sample": {"method": "nsga2", "points": 24, "seed": 1, "objectives": ["energy_normalized", "latency_s"]},
}


def test_the_end_of_a_search_says_what_is_proven(sweep_file: Sweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sample = {"method": "surrogate", "points": 7, "objectives": ["latency_s", "energy_normalized"]}
    chips = swept(pe_array__rows=[4, 5, 6, 7, 8, 9, 10])
    path = sweep_file(networks=["tiny.yaml"], accelerators=chips, levels=["mid"], sample=sample)
    with pytest.raises(SystemExit):
        cli.main(["sweep", str(path), "-o", str(tmp_path / "out"), "--jobs", "1"])
    out = " ".join(capsys.readouterr().out.split())
    assert "Proven by lower bounds: for each of 7 designs the front has one that is at most " in out
    told = re.search(r"(\d+) of them were costed, (\d+) excluded \(.*\), and (\d+) left", out)
    assert told is not None
    assert sum(map(int, told.groups())) == 7


def test_a_space_that_is_costed_whole_is_proven(sweep_file: Sweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sample = {"method": "surrogate", "points": 3, "objectives": ["latency_s", "energy_normalized"]}
    path = sweep_file(networks=["tiny.yaml"], accelerators=swept(pe_array__rows=[4, 6]), levels=["mid"], sample=sample)
    with pytest.raises(SystemExit):
        cli.main(["sweep", str(path), "-o", str(tmp_path / "out"), "--jobs", "1"])
    out = " ".join(capsys.readouterr().out.split())
    assert (
        "for each of 2 designs the front has one that is at most 0.0 % worse in every objective. 2 of them were costed" in out
    )


@pytest.mark.parametrize("method", SEARCHERS)
def test_a_search_repeats_and_is_continued(sweep_file: Sweep, tmp_path: Path, method: str) -> None:
    path = sweep_file(**{**SEARCH, "sample": {**SEARCH["sample"], "method": method}})
    frame = hwflow.sweep(path, tmp_path / "one", store=False)
    assert len(frame) == 48
    assert frame.groupby("accelerator").size().eq(2).all()
    hwflow.sweep(path, tmp_path / "two", store=False)
    assert tables(tmp_path / "one") == tables(tmp_path / "two")
    cut(tmp_path / "two", 17)
    result = run(path, tmp_path / "two", store=False)
    assert result.counts.points == 48 - 17
    assert tables(tmp_path / "one") == tables(tmp_path / "two")


def test_the_searches_of_sweep_files_are_those_that_there_are() -> None:
    assert tuple(SEARCHERS) == SEARCHES


def test_a_search_finds_the_front_of_a_space_that_is_known(sweep_file: Sweep, tmp_path: Path) -> None:
    """Of 45 x 45 designs 200 are tried; the least of a bowl is among them, which random draws find with odds of 1 to 10."""
    from hwflow.sweeping.description import load_description
    from hwflow.sweeping.space import Design, space_of

    every = {"from": 1, "to": 45, "step": 1}
    path = sweep_file(accelerators=swept(pe_array__rows=every, pe_array__columns=every))
    space = space_of(load_description(path), tmp_path)

    def cover(designs: Any) -> list[Values]:
        def values(design: Design) -> Values:
            x, y = design.values
            return None if (x, y) == (3, 4) else (float((x - 30) ** 2 + (y - 7) ** 2), 1.0)

        return [values(d) for d in designs]

    found = nsga2.search(space, points=200, seed=0, objectives=2, cover=cover)
    assert len(found) == 200
    assert min(v for v in found.values() if v is not None) <= (1.0, 1.0)


def test_a_search_whose_objective_is_unknown_is_refused(sweep_file: Sweep, tmp_path: Path) -> None:
    sample = {**SEARCH["sample"], "objectives": ["energy_pj"]}
    with pytest.raises(InputError, match=r"sample.objectives: energy_pj is not known of eyeriss \("):
        hwflow.sweep(sweep_file(**{**SEARCH, "sample": sample}), tmp_path / "out", store=False)


def test_a_search_that_goes_another_way_takes_no_old_design_for_a_new_one(
    sweep_file: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tool fails in the first generation, and answers when the search is continued: then other designs follow."""
    path = sweep_file(**SEARCH)
    hwflow.sweep(path, tmp_path / "whole", store=False)
    calls: list[Unit] = []

    def broken(unit: Unit) -> Answer:
        calls.append(unit)
        return costing.lost(unit, costing.failure(MemoryError("no room"))) if len(calls) < 8 else cost_unit(unit)

    monkeypatch.setattr(coverage, "cost_unit", broken)
    hwflow.sweep(path, tmp_path / "out", store=False)
    assert list(pd.read_csv(tmp_path / "out" / "results.csv")["accelerator"]) != list(
        pd.read_csv(tmp_path / "whole" / "results.csv")["accelerator"]
    )
    monkeypatch.setattr(coverage, "cost_unit", cost_unit)
    hwflow.sweep(path, tmp_path / "out", store=False)
    assert tables(tmp_path / "out") == tables(tmp_path / "whole")


def test_a_worker_that_dies_is_replaced(tmp_path: Path) -> None:
    """A unit that kills whoever costs it fails in the end; those beside it do not."""
    chip = Accelerator.load("eyeriss")
    layer = hwflow.zoo("resnet20").layers[0]
    good = Unit(chip, (layer,), (layer,), hwflow.CostOptions(level="coarse"), keep=False)
    bad = replace(good, accelerator=Deadly())  # type: ignore[arg-type]
    with runners.local(2) as runner:
        answers = list(runner([good, bad, good, good]))
    assert len(answers) == 4
    for unit, answer in answers:
        found = answer.layers[0]
        if unit is bad:
            assert isinstance(found, costing.Failure)
            assert found.transient
            assert "died 3 times" in found.reason
        else:
            assert isinstance(found, costing.Costed)


class Deadly:
    """An accelerator that ends the process which looks at it."""

    def __getattr__(self, name: str) -> Any:
        import os

        if name.startswith("__"):
            raise AttributeError(name)
        os._exit(9)


def test_an_unknown_runner_and_an_address_without_ray_are_refused(sweep_file: Sweep, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="runner is 'cloud'; allowed: local, ray"):
        hwflow.sweep(sweep_file(), tmp_path / "out", runner="cloud")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="address is 'auto', which is of a Ray cluster"):
        hwflow.sweep(sweep_file(), tmp_path / "out", address="auto")


@pytest.mark.slow
def test_a_pruned_network_is_swept_beside_the_whole_one(sweep_file: Sweep, tmp_path: Path) -> None:
    from hwflow.compression.channels.discovery import rebuild
    from hwflow.network.load import load_module
    from hwflow.training.weights import save_weights

    shape, plan = (1, 1, 8, 8), {"layer1.0.conv1": 8, "layer3.2.conv1": 16}
    pruned = tmp_path / "pruned"
    pruned.mkdir()
    config = {"network": "resnet20", "module": False, "classes": 10, "input_shape": shape[1:]}
    (pruned / "config.json").write_text(json.dumps(config))
    groups = [{"name": name, "kept": kept} for name, kept in plan.items()]
    (pruned / "plan.json").write_text(json.dumps({"groups": groups}))
    model = rebuild(load_module("resnet20", num_classes=10, in_channels=1), shape, plan)
    save_weights(pruned / "model.pt", model, {})
    whole = {"network": "resnet20", "input": [1, 1, 8, 8]}
    path = sweep_file(networks=[whole], plans=["pruned"], accelerators=["eyeriss"], levels=["coarse"], batch=[1, 4])
    frame = hwflow.sweep(path, tmp_path / "out", store=False)
    assert list(frame["network"]) == ["resnet20", "resnet20 pruned in pruned"] * 2
    assert list(frame["batch"]) == [1, 1, 4, 4]
    expected = Network.from_torch(model, shape)
    assert list(frame["macs"])[1::2] == [expected.macs, 4 * expected.macs]
    assert expected.macs < frame["macs"][0]


def test_a_plan_with_zeros_says_what_was_costed(sweep_file: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its layers keep their densities, which labels say; and the report's command costs the folder, zeros included."""
    from hwflow.cli.inputs import load_network
    from hwflow.network.load import load_module
    from hwflow.training.weights import save_weights

    run_folder = tmp_path / "pruned"
    run_folder.mkdir()
    config = {"network": "resnet20", "module": False, "classes": 10, "input_shape": (1, 8, 8), "settings": {"method": "sparse"}}
    (run_folder / "config.json").write_text(json.dumps(config))
    (run_folder / "plan.json").write_text(json.dumps({"decisions": [{"name": "weights of conv1", "chosen": 72}]}))
    model = load_module("resnet20", num_classes=10, in_channels=1)
    model.get_submodule("conv1").weight.data[8:] = 0  # type: ignore[union-attr]
    save_weights(run_folder / "model.pt", model, {})
    zeros = [None, "weights=0.25"]
    path = sweep_file(networks=["tiny.yaml"], plans=["pruned"], accelerators=["eyeriss"], levels=["coarse"], densities=zeros)
    frame = hwflow.sweep(path, tmp_path / "out", store=False)
    name, all_of_it = "resnet20 pruned in pruned", "but for 20 of 20 layers, which have their own"
    assert list(frame["network"])[2:] == [name, f"{name}, density weights=0.25 {all_of_it}"]
    assert list(frame["network"])[:2] == ["tiny", "tiny, density weights=0.25"]
    sweep = read_sweep(tmp_path / "out")
    assert sweep.command(sweep.points[2]).startswith("hwflow estimate pruned --accelerator eyeriss --level coarse")
    monkeypatch.chdir(tmp_path)
    costed = load_network("pruned", None, None, None)
    assert costed["conv1"].densities == (0.5, 1.0, 1.0)
    assert costed.macs == frame["macs"][2]
    with pytest.raises(InputError, match="leave --input out"):
        load_network("pruned", ["1x1x8x8"], None, None)


@pytest.mark.slow
def test_compressed_networks_are_swept_at_their_widths_and_as_they_run(sweep_file: Sweep, tmp_path: Path) -> None:
    from hwflow.compression.registry import method_named
    from hwflow.network.load import load_module
    from hwflow.training.weights import save_weights

    shape = (1, 1, 8, 8)
    plans = {"int4": {"conv1": 8, "layer1.0.conv1": 4}, "sfp": {"columns of layer1.0.conv1": 72}}
    for method, plan in plans.items():
        folder = tmp_path / method
        folder.mkdir()
        config = {
            "network": "resnet20",
            "module": False,
            "classes": 10,
            "input_shape": shape[1:],
            "settings": {"method": method},
        }
        (folder / "config.json").write_text(json.dumps(config))
        decisions = [{"name": name, "chosen": chosen} for name, chosen in plan.items()]
        (folder / "plan.json").write_text(json.dumps({"decisions": decisions}))
        model = load_module("resnet20", num_classes=10, in_channels=1)
        save_weights(folder / "model.pt", method_named(method).rebuild(model, shape, plan), {})
    whole = {"network": "resnet20", "input": list(shape)}
    path = sweep_file(networks=[whole], plans=list(plans), accelerators=["eyeriss"], levels=["coarse"])
    frame = hwflow.sweep(path, tmp_path / "out", store=False)
    before, narrow, columns = (frame.loc[i] for i in range(3))
    first, second = (
        Network.from_torch(load_module("resnet20", num_classes=10, in_channels=1), shape).layers[i] for i in (0, 1)
    )
    saved = sum(
        (16 - bits) * la.words("weights") + 8 * (la.words("inputs") + la.words("outputs"))
        for la, bits in ((first, 8), (second, 4))
    )
    assert before["dram_bytes"] - narrow["dram_bytes"] == saved / 8
    assert before["macs"] - columns["macs"] == second.macs // 2
