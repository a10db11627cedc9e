"""The recorded live run: the page shows it, and its trace can be played."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.live import PHASES, TRACE, table
from hwflow.dynamic import load_trace, read_table, simulate
from hwflow.dynamic.level_table import MEASURED

ROOT = Path(__file__).resolve().parents[2]
RECORD = ROOT / "benchmarks" / "results" / "live"
PAGE = ROOT / "docs" / "pages" / "explanation" / "levels-measured.md"


def test_the_page_shows_the_recorded_run() -> None:
    assert table(RECORD) in PAGE.read_text(encoding="utf-8")


def test_the_recorded_trace_is_played() -> None:
    rows = read_table(RECORD / MEASURED)
    trace = load_trace(RECORD / TRACE, tuple(dict.fromkeys(row.unit for row in rows.rows)), (rows.network,))
    assert trace.frames == json.loads((RECORD / PHASES).read_text(encoding="utf-8"))["frames"]
    assert {run.policy for run in simulate([rows], trace).runs} >= {"manager", "oracle"}
