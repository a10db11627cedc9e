"""The published contests: the page shows the tables of what is recorded."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.contest import table

ROOT = Path(__file__).resolve().parents[2]


RECORDS = sorted(folder.name for folder in (ROOT / "benchmarks" / "results").glob("contest*"))


@pytest.mark.parametrize("record", RECORDS)
def test_the_page_shows_the_recorded_table(record: str) -> None:
    page = (ROOT / "docs" / "pages" / "explanation" / "pruning-measured.md").read_text()
    found = table(ROOT / "benchmarks" / "results" / record)
    assert "| scratch |" in found
    assert f"<!-- {record} -->\n{found}\n<!-- end {record} -->" in page
