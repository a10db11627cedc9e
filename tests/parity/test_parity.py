"""hwflow's analysis against numbers of real timeloop-model: recorded ones everywhere, fresh ones where it is on PATH."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from benchmarks import parity
from hwflow.timeloop.engine import find_engine

RECORDED = Path(__file__).parents[1] / "data" / "parity.json.gz"
RESIDENT = RECORDED.with_name("parity_resident.json.gz")


@pytest.fixture(scope="module")
def recorded() -> dict[str, Any]:
    return parity.load(RECORDED)


def test_recorded_numbers_of_timeloop_are_met(recorded: dict[str, Any]) -> None:
    report = parity.Report()
    for record in recorded["records"]:
        case, theirs = parity.from_record(record)
        case.mapping.check(case.layer, case.accelerator)
        report.add(case, parity.analysed(case), theirs)
    assert not report.wrong, "\n".join(report.lines())


def test_the_record_is_broad_and_says_where_it_comes_from(recorded: dict[str, Any]) -> None:
    assert {"tool", "version", "recorded"} <= set(recorded["provenance"])
    records = recorded["records"]
    assert len(records) >= 60
    assert {"random", "hwflow", "timeloop", "ragged", "hwflow_ragged"} <= {r["source"] for r in records}
    chips = Counter(r["accelerator"]["name"] for r in records)
    assert {"eyeriss", "eyeriss_256", "simba", "tpu_like", "shidiannao_like"} <= set(chips)
    assert len({r["layer"]["name"] for r in records}) >= 14


def test_a_record_is_a_case(recorded: dict[str, Any], tmp_path: Path) -> None:
    case, theirs = parity.from_record(recorded["records"][0])
    assert json.loads(json.dumps(parity.to_record(case, theirs))) == recorded["records"][0]
    parity.save(tmp_path / "a", recorded["provenance"], recorded["records"][:3])
    assert parity.load(tmp_path / "a") == {"provenance": recorded["provenance"], "records": recorded["records"][:3]}


def test_a_deviation_is_reported_with_both_numbers(recorded: dict[str, Any]) -> None:
    case, theirs = parity.from_record(recorded["records"][0])
    wrong = {kind: {label: value * 1.5 + 2 for label, value in of.items()} for kind, of in theirs.items()}
    report = parity.Report()
    report.add(case, wrong, theirs)
    assert len(report.wrong) == 1
    assert f"{case}: reads of dram." in report.wrong[0]
    assert "1 beyond tolerance" in list(report.lines())
    lost = {kind: {} for kind in theirs}
    report.add(case, lost, theirs)
    assert "stand on one side only" in report.wrong[1]


def test_recorded_numbers_of_mappings_whose_tensors_bypass_dram_are_met() -> None:
    report, records = parity.Report(), parity.load(RESIDENT)["records"]
    for record in records:
        case, theirs = parity.from_record(record)
        assert not {"inputs", "outputs"} <= set(case.mapping.levels[0].keeps)
        case.mapping.check(case.layer, case.accelerator)
        report.add(case, parity.analysed(case), theirs)
    assert not report.wrong, "\n".join(report.lines())
    assert len(records) >= 30
    assert {"eyeriss", "eyeriss_256", "simba", "tpu_like", "shidiannao_like"} == {r["accelerator"]["name"] for r in records}


@pytest.mark.timeloop
@pytest.mark.slow
def test_timeloop_gives_the_same_numbers_for_tensors_that_bypass_dram() -> None:
    report, records, _ = parity.run(find_engine("native"), resident=True)
    assert not report.wrong, "\n".join(report.lines())
    assert len(records) >= 100


@pytest.mark.timeloop
@pytest.mark.slow
def test_timeloop_gives_the_same_numbers_now() -> None:
    report, records, _ = parity.run(find_engine("native"))
    assert not report.wrong, "\n".join(report.lines())
    assert len(records) >= 200
