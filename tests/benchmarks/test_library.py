"""A library against networks that are pruned one by one: its tables, and that the page shows what was recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.library import sums, table, volume

ROOT = Path(__file__).resolve().parents[2]
RECORD = ROOT / "benchmarks" / "results" / "library.json"
PAGE = ROOT / "docs" / "pages" / "explanation" / "levels-measured.md"


def network(accuracy: float, first: float, **more: Any) -> dict[str, Any]:
    return {"accuracy": accuracy, "latency_s": [first, 2e-3], "params": 1000, "macs": 50, **more}


def test_a_member_stands_before_what_was_pruned_to_its_latency() -> None:
    whole = network(0.8, 4e-3, macs=100)
    member = network(0.7, 2e-3, share=0.5)
    own = {"members": [member], "training": 8.0, "measured": 30, "seconds": 60.0}
    pruned = network(0.62, 1.9e-3, budget=0.5, epochs=16, plans=30, seconds=20.0)
    found = {
        "whole": whole,
        "library": own,
        "exact": [pruned],
        "agent": [{"budget": 0.5, "epochs": 16, "plans": 30, "refused": ""}],
    }
    assert table(found).splitlines()[2:] == [
        "| unpruned | 80.00 | 4000 / 2000 | 1,000 |  |  |",
        "| member 1 | 70.00 | 2000 / 2000 | 1,000 |  |  |",
        "| exact planner, 50.0 % | 62.00 | 1900 / 2000 | 1,000 | 16 | 30 |",
        "| agent, 50.0 % | out of reach |  |  | 16 | 30 |",
    ]
    assert volume([member], whole) == pytest.approx((0.7 - 0.1) * (1.1 - 0.5) * (1.1 - 1.0))
    assert sums(found).splitlines()[2:4] == [
        "| library | 1 | 8.0 | 30 | 60 | 0.0360 |",
        "| exact planner | 1 of 1 | 8.0 | 30 | 20 | 0.0325 |",
    ]


def test_the_page_shows_what_was_recorded() -> None:
    found = json.loads(RECORD.read_text(encoding="utf-8"))
    page = PAGE.read_text(encoding="utf-8")
    assert table(found) in page
    assert sums(found) in page
