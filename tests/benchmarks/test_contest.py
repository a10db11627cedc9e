"""The published contest: the page shows the table of what is recorded."""

from __future__ import annotations

from pathlib import Path

from benchmarks.contest import table

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_shows_the_recorded_table() -> None:
    page = (ROOT / "docs" / "pages" / "explanation" / "pruning-measured.md").read_text()
    found = table(ROOT / "benchmarks" / "results" / "contest")
    assert "| scratch |" in found
    assert found in page
