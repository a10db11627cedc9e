"""The comparison with random search and an elastic network: its table, and that the page shows what was recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.single_path import RECORDS, append, read, table

PAGE = Path(__file__).resolve().parents[2] / "docs" / "pages" / "explanation" / "search-measured.md"


def record(method: str, share: float, seed: int, accuracy: float) -> dict[str, Any]:
    found = {"latency_s": 0.4e-3, "reached": 0.98 * share, "macs": 0.5, "accuracy": accuracy, "seconds": 61.4}
    return {"method": method, "share": share, "seed": seed, **found}


def test_the_table_has_a_row_for_each_run_target_by_target(tmp_path: Path) -> None:
    file = tmp_path / "records.jsonl"
    assert read(file) == []
    elastic = record("elastic", 0.5, 0, 0.71) | {"shared_seconds": 30.2}
    for one in (record("random", 0.5, 0, 0.7), elastic, record("singlepath", 0.5, 0, 0.72), record("singlepath", 0.7, 0, 0.75)):
        append(file, one)
    rows = table(read(file)).splitlines()[2:]
    assert rows == [
        "| 0.7 | Single-Path | 0.400 ms | 98.0 % | 50 % | 75.00 % | 61 s |",
        "| 0.5 | Single-Path | 0.400 ms | 98.0 % | 50 % | 72.00 % | 61 s |",
        "| 0.5 | elastic, evolution | 0.400 ms | 98.0 % | 50 % | 71.00 % | 61 s (30 s once for all targets) |",
        "| 0.5 | random 1 | 0.400 ms | 98.0 % | 50 % | 70.00 % | 61 s |",
    ]


def test_the_page_shows_what_was_recorded() -> None:
    records = read(RECORDS)
    assert records
    assert table(records) in PAGE.read_text(encoding="utf-8")
    reached: dict[str, list[float]] = {one["method"]: [] for one in records}
    for one in records:
        reached[one["method"]].append(one["reached"] / one["share"])
    assert all(share <= 1 for own in reached.values() for share in own)
    assert min(reached["singlepath"] + reached["random"]) >= 0.95
