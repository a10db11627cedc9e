"""`hwflow manage`: the table, JSON and the page of a trace."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.terminal import Run
from tests.dynamic.rows import ladder
from tests.reporting.reading import Read

TRACE = """
frames: 60
frame_s: 0.1
limits: {latency_s: 4, power_w: 9}
events:
  - {frame: 20, limits: {latency_s: 0.6}, note: "another <task> begins"}
  - {frame: 40, limits: {latency_s: 0.1}}
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "levels").mkdir()
    (tmp_path / "levels" / "table.json").write_text(ladder().to_json())
    (tmp_path / "evening.yaml").write_text(TRACE)
    return tmp_path


def test_a_trace_is_played(hw: Run, place: Path) -> None:
    code, out, err = hw("manage", str(place / "levels"), "--trace", str(place / "evening.yaml"))
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "trace evening: net, 60 frames, modelled costs"
    manager = next(line for line in lines if line.startswith("manager"))
    assert manager.split()[-4:] == ["20", "66.67", "70,000.000", "1"]
    assert [line.split()[0] for line in lines[4:9]] == ["manager", "fixed", "clock", "level", "oracle"]


def test_the_report_shows_limits_choices_and_violations(hw: Run, place: Path) -> None:
    pytest.importorskip("plotly")
    found = place / "found.json"
    assert hw("manage", str(place / "levels"), "--trace", str(place / "evening.yaml"), "-o", str(found))[0] == 0
    assert json.loads(found.read_text())["runs"][0]["policy"] == "manager"
    assert hw("report", str(found), "-o", str(place / "a.html"))[0] == 0
    assert hw("manage", str(place / "levels"), "--trace", str(place / "evening.yaml"), "-o", str(place / "b.html"))[0] == 0
    assert (place / "a.html").read_bytes() == (place / "b.html").read_bytes()
    read = Read(place / "b.html")
    assert [row[2:] for row in read.tables["Policies"][1:2]] == [["20", "66.67", "70.00 J", "1"]]
    assert [row[0] for row in read.tables["Segments"][1:]] == ["0", "20", "40"]
    assert read.tables["Segments"][3][4] == "latency"
    assert "frame 20: another <task> begins" in read.text
    titles = [figure["layout"]["yaxis"]["title"]["text"] for figure in read.figures]
    assert titles == ["level", "latency (ms)", "energy (µJ a frame)", "power (mW)"]
    assert read.figures[0]["data"][0]["x"] == [0, 2, 4, 6]  # seconds


def test_what_cannot_be_played_is_refused(hw: Run, place: Path) -> None:
    trace = str(place / "evening.yaml")
    assert "the table" in hw("manage", str(place), "--trace", trace)[2]
    assert "measured.json cannot be read" in hw("manage", str(place / "levels"), "--trace", trace, "--measured")[2]
    code, _, err = hw("manage", str(place / "levels"), "--trace", trace, "--weight", "net")
    assert (code, "--weight 'net' must have the form NETWORK=W" in err) == (2, True)
    assert "unknown network 'other'" in hw("manage", str(place / "levels"), "--trace", trace, "--weight", "other=2")[2]
    assert "trace" in hw("manage", str(place / "levels"), "--trace", str(place / "none.yaml"))[2]
