"""The published accuracies of number formats: the page shows the tables of what is recorded."""

from __future__ import annotations

from pathlib import Path

from benchmarks.bits import RECORDS, read, tables

PAGE = Path(__file__).resolve().parents[2] / "docs" / "pages" / "explanation" / "pruning-measured.md"


def test_the_page_shows_the_recorded_tables() -> None:
    page = PAGE.read_text(encoding="utf-8")
    shown = page[page.index("<!-- bits -->") : page.index("<!-- end bits -->")]
    parts = tables(read(RECORDS)).split("\n\n")
    assert len(parts) == 3
    for part in parts:
        assert part in shown
