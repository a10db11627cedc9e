"""The page says what the records of proofs say."""

from __future__ import annotations

from pathlib import Path

from benchmarks import proofs

PAGE = Path(__file__).resolve().parents[2] / "docs" / "pages" / "explanation" / "proofs.md"


def test_the_page_has_the_table_of_the_records() -> None:
    text = PAGE.read_text(encoding="utf-8").partition("<!-- proofs -->\n")[2].partition("<!-- end proofs -->")[0]
    assert text.strip() == proofs.table(proofs.read(proofs.RECORDS), 0.001).partition("\n\n")[0].strip()
