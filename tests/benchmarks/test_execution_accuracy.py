"""The tables of accuracies of networks whose layers run otherwise, of records and on the page."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks import execution_accuracy
from benchmarks.execution_tables import tables

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "pages" / "explanation" / "executions-measured.md"


def test_runs_that_differ_in_their_seed_are_one_row() -> None:
    runs = [["winograd", "vgg_like", "winograd", 0.9, seed] for seed in (0, 1)]
    records = [{"run": run, "before": 0.8, "after": 0.7 + 0.1 * run[-1]} for run in runs]  # type: ignore[operator]
    records[0]["cpu"] = {"networks": {"before": {"least_s": 2.0}, "executed": {"least_s": 1.0}}}
    text = tables(records)
    assert (
        "| 90 | stages 1 and 2 (`winograd`) | 75.00 (70.00, 80.00) | 80.00 (80.00, 80.00) | 0.50 of that before | 2 |" in text
    )


def test_every_run_is_named_once() -> None:
    runs = list(execution_accuracy.runs((0, 1, 2)))
    assert len({tuple(run.key) for run in runs}) == len({run.folder for run in runs}) == len(runs)


def test_the_page_has_the_tables_of_the_records() -> None:
    lines = (ROOT / execution_accuracy.RECORDS).read_text(encoding="utf-8").splitlines()
    text = PAGE.read_text(encoding="utf-8")
    for line in tables([json.loads(line) for line in lines]).splitlines():
        assert line in text
