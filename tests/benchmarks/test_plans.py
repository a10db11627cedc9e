"""The comparison of searchers: it goes on where it was, tells apart what it can, and the page shows what was recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import nn

from benchmarks import plans, tuned_plans
from benchmarks.plans import RECORDS, Setup, read, run, table
from hwflow.compression.budget import Budget
from hwflow.compression.search.environment import PruningEnv
from tests.compression.toys import chain_costs, nearness

PAGE = Path(__file__).resolve().parents[2] / "docs" / "pages" / "explanation" / "pruning-measured.md"
SETUP = Setup("toy", "chip", "macs=0.5", False)


def record(searcher: str, seed: int, judged: float) -> dict[str, Any]:
    return {
        **vars(SETUP),
        "searcher": searcher,
        "seed": seed,
        "evaluations": 25,
        "judged": {"10": judged - 0.1, "25": judged} if searcher != "uniform" else {"0": judged},
        "shares": {"macs": 0.5},
    }


def test_what_is_recorded_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    costs = chain_costs((64, 32, 64))
    near = nearness({g.name: 0.5 for g in costs.groups}, {g.name: g.channels for g in costs.groups})
    made: list[Setup] = []

    def bed(setup: Setup, *more: object) -> plans.Bed:
        made.append(setup)
        return plans.Bed(PruningEnv(costs, near, (Budget("macs", 0.5),)), near, nn.Identity(), (1,))  # type: ignore[arg-type]

    monkeypatch.setattr(plans.Bed, "of", bed)
    file = tmp_path / "records.jsonl"

    def do(names: list[str], seeds: int) -> list[tuple[str, int]]:
        run(SETUP, names, range(seeds), 10, None, tmp_path, None, file)  # type: ignore[arg-type]
        return [(found["searcher"], found["seed"]) for found in read(file)]

    assert do(["random", "uniform"], 1) == [("unpruned", 0), ("random", 0), ("uniform", 0)]
    again = do(["random", "uniform"], 2)
    assert again == [("unpruned", 0), ("random", 0), ("uniform", 0), ("random", 1)]
    assert do(["random", "uniform"], 2) == again
    assert len(made) == 2, "where nothing is missing, nothing is trained or costed"
    assert list(read(file)[1]["judged"]) == ["10"]


def test_the_table_tells_apart_what_is_more_than_two_standard_errors_away() -> None:
    records = [record("agent", seed, 0.50 + 0.01 * seed) for seed in range(3)]
    records += [record("random", seed, value) for seed, value in enumerate((0.51, 0.50, 0.50))]
    records += [record("greedy", seed, 0.40 + 0.01 * seed) for seed in range(3)]
    records += [record("uniform", 0, 0.30), {**record("agent", 0, 0.9), "budget": "macs=0.4"}]
    rows = {line.split("|")[1].strip(): line for line in table(SETUP, records, 25).splitlines() if line.startswith("| ")}
    assert list(rows) == ["plan by", "agent", "random", "greedy", "uniform"]
    assert "| 41.00 | 51.00 | 1.00 |  |" in rows["agent"]
    assert "not told apart" in rows["random"]
    assert "-10.00 ± 0.00 |" in rows["greedy"]
    assert "-21.00 ± 0.58 |" in rows["uniform"]


def test_the_page_shows_the_recorded_tables() -> None:
    shown, records = PAGE.read_text(encoding="utf-8"), read(RECORDS)
    assert records
    for setup in dict.fromkeys(Setup(r["network"], r["chip"], r["budget"], r["streams"]) for r in records):
        for line in table(setup, records, 50).strip().splitlines():
            assert line in shown


def test_the_page_shows_the_recorded_accuracies_after_fine_tuning() -> None:
    shown, records = PAGE.read_text(encoding="utf-8"), read(tuned_plans.TUNED)
    assert records
    for setup in dict.fromkeys(Setup(r["network"], r["chip"], r["budget"], r["streams"]) for r in records):
        for line in tuned_plans.table(setup, records, 6).strip().splitlines():
            assert line in shown
