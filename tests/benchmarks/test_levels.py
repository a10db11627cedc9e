"""What is recorded of levels, as the page shows it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from benchmarks.levels import LATENCIES, PARTS, read, table

ROOT = Path(__file__).resolve().parents[2]
RECORD = ROOT / "benchmarks" / "results" / "levels"
PAGE = ROOT / "docs" / "pages" / "explanation" / "levels-measured.md"


def test_the_page_shows_the_recorded_levels() -> None:
    found = table(RECORD)
    assert len(found.splitlines()) == 2 + 3 * 4
    assert list(read(RECORD)) == list(PARTS)
    assert found in PAGE.read_text(encoding="utf-8")


def test_latencies_are_the_least_that_were_measured(tmp_path: Path) -> None:
    shutil.copy(RECORD / "grouped.json", tmp_path)
    names = [f"{part} {level}" for part in PARTS for level in range(1, 5)]
    content = {"1": {name: {"least_s": 0.001 * number, "median_s": 9} for number, name in enumerate(names, start=1)}}
    (tmp_path / LATENCIES).write_text(json.dumps(content), encoding="utf-8")
    assert [row.rsplit("|", 2)[1].strip() for row in table(tmp_path).splitlines()[2:]] == ["1.00", "2.00", "3.00", "4.00"]
    content["2"] = {name: {"least_s": 0.0005, "median_s": 9} for name in names}
    (tmp_path / LATENCIES).write_text(json.dumps(content), encoding="utf-8")
    assert table(tmp_path).splitlines()[2].endswith("| 1.00 / 0.50 |")
