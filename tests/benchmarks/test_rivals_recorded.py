"""What was recorded of the rivals, what the page says of it, and how Timeloop is asked."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import versus_timeloop
from benchmarks.rivals.records import RECORDS, below_bound, better_inside, read, tables
from benchmarks.rivals.tools import COLUMNS
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.energy_table import recorded
from hwflow.layers import Layer
from hwflow.timeloop.render import SearchSettings

RECORDED: dict[str, Callable[[], str]] = {
    "rivals": lambda: tables(read(RECORDS)),
    "timeloop": lambda: versus_timeloop.table_of(versus_timeloop.read(versus_timeloop.RECORDS)),
}
PAGE = Path(__file__).resolve().parents[2] / "docs" / "pages" / "explanation" / "rivals.md"
LAYER = Layer("hand", C=4, M=24, P=28, Q=6, R=3, S=3)


def test_no_recorded_mapping_of_a_rival_beats_hwflow_in_its_own_space() -> None:
    records = read(RECORDS)
    assert records
    assert better_inside(records) == below_bound(records) == []


def test_the_page_shows_the_recorded_tables() -> None:
    """HWFLOW_REFRESH=1 writes them into the page."""
    for name, printed in RECORDED.items():
        assert shown(name) == printed()


def shown(name: str) -> str:
    """What stands between two marks of the page."""
    page = PAGE.read_text(encoding="utf-8")
    start, end = f"<!-- {name} -->\n", f"\n<!-- end {name} -->"
    if os.environ.get("HWFLOW_REFRESH"):
        table = (
            tables(read(RECORDS))
            if name == "rivals"
            else versus_timeloop.table_of(versus_timeloop.read(versus_timeloop.RECORDS))
        )
        page = page[: page.index(start) + len(start)] + table + page[page.index(end) :]
        PAGE.write_text(page, encoding="utf-8")
    return page[page.index(start) + len(start) : page.index(end)]


def test_timeloop_is_asked_in_each_column() -> None:
    chip = Accelerator.load("eyeriss")
    table = recorded(chip)
    assert table is not None
    perfect, imperfect, everything = (
        versus_timeloop.files_of(LAYER, chip, table, "edp", column, SearchSettings()) for column in COLUMNS
    )
    assert "template: uber" in perfect["mapper.yaml"]
    assert "template: ruby" in imperfect["mapper.yaml"]
    assert imperfect["constraints.yaml"] == perfect["constraints.yaml"]
    assert 'target: "global_buffer", type: "bypass", keep: [], bypass: ["Weights"]' in everything["constraints.yaml"]
    assert 'target: "dram", type: "bypass", keep: ["Weights", "Inputs", "Outputs"]' in everything["constraints.yaml"]


def test_recorded_answers_of_timeloop_serve_the_perfect_column(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")  # no Timeloop
    asked = ["versus", "--recorded", "--layers", "fc", "--records", str(tmp_path / "records.jsonl")]
    monkeypatch.setattr("sys.argv", [*asked, "--columns", "perfect"])
    versus_timeloop.main()
    (record,) = versus_timeloop.read(tmp_path / "records.jsonl")
    assert (record["asked"], record["theirs"]["cpu_s"]) == ("2026-11-21", 3.67)
    assert record["ours"]["value"] <= record["theirs"]["value"] * (1 + 1e-6)
    monkeypatch.setattr("sys.argv", asked)
    with pytest.raises(SystemExit):
        versus_timeloop.main()
    assert "--recorded: only answers to --columns perfect" in capsys.readouterr().err


def test_timeloops_table_has_its_columns() -> None:
    asked = {"network": "n", "accelerator": "a", "objective": "edp", "layer": "fc", "column": "perfect"}
    ours = {"value": 8.0, "cpu_s": 0.5}
    found = asked | {"ours": ours, "theirs": {"value": 10.0, "cpu_s": 20.0}}
    failed = asked | {"column": "imperfect", "layer": "conv1", "ours": ours, "theirs": {"value": None, "cpu_s": 3.0}}
    theirs = {"value": 10.0, "cpu_s": 20.0, "bypassed": {"buffer": ["inputs", "outputs"]}}
    free: dict[str, Any] = {"column": "everything", "ours": {"value": 12.0, "cpu_s": 9.0}, "theirs": theirs}
    free["bypassing"] = {"value": 6.0, "cpu_s": 4.0}
    table = versus_timeloop.table_of([found, failed, found | free])
    assert "| fc | 0.800, 20.0 s : 0.50 s |  | 0.600 (1.200), 20.0 s : 4.00 s |" in table
    assert "| conv1 |  | none found |  |" in table
    assert "- fc: timeloop-mapper's mapping bypasses buffer (inputs, outputs)" in table
    assert "| CPU seconds | 40 times hwflow's (40 to 40) |  | 5 times hwflow's (5 to 5) |" in table
    worse = asked | {"column": "imperfect", "ours": ours, "theirs": {"value": 16.0, "cpu_s": 3.0}}
    assert "| fc | 0.800, 20.0 s : 0.50 s | 0.800†, 3.0 s : 0.50 s |  |" in versus_timeloop.table_of([found, worse])
