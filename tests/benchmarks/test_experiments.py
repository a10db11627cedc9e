"""The documented pruning experiments: the page shows what the recorded runs say, and the records bear out what it claims."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import ablation
from benchmarks.experiments import RUNS, table

ROOT = Path(__file__).resolve().parents[2]
RECORDS = ROOT / "benchmarks" / "results" / "pruning_runs"
PAGE = ROOT / "docs" / "pages" / "explanation" / "pruning-measured.md"
RECORDED = [run for run in RUNS if (RECORDS / run.name).is_dir()]
SEARCHES = [run for run in RECORDED if (RECORDS / run.name / "comparison.json").exists()]


def read(run: str, name: str) -> Any:
    return json.loads((RECORDS / run / name).read_text(encoding="utf-8"))


def test_every_pruning_run_is_recorded() -> None:
    assert {run.name for run in RECORDED} == {run.name for run in RUNS if not run.name.endswith(".pt")}


@pytest.mark.parametrize("run", RECORDED, ids=lambda run: run.name)
def test_the_page_shows_the_tables_of_the_records(run: Any) -> None:
    shown = PAGE.read_text(encoding="utf-8")
    for line in table(run, RECORDS / run.name).splitlines():
        assert line in shown


@pytest.mark.parametrize("run", SEARCHES, ids=lambda run: run.name)
def test_the_agent_beats_uniform_pruning_and_as_many_random_plans_in_every_seed(run: Any) -> None:
    found = read(run.name, "comparison.json")["candidates"]
    judged = {(c["by"], c["seed"]): c["judged"] for c in found}
    seeds = [c["seed"] for c in found if c["by"] == "agent"]
    assert seeds
    for seed in seeds:
        assert judged["agent", seed] > judged["random", seed]
        assert judged["agent", seed] >= judged["uniform", None]
    assert all(c["keeps_budget"] for c in found if c["by"] in ("agent", "random", "uniform"))


@pytest.mark.parametrize("run", SEARCHES, ids=lambda run: run.name)
def test_the_log_holds_every_plan_and_the_best_of_them_was_chosen(run: Any) -> None:
    log = gzip.decompress((RECORDS / run.name / "log.jsonl.gz").read_bytes()).decode()
    tried = [json.loads(line) for line in log.splitlines()]
    for candidate in read(run.name, "comparison.json")["candidates"]:
        if candidate["evaluations"] > 1:
            own = [row["accuracy"] for row in tried if (row["by"], row["seed"]) == (candidate["by"], candidate["seed"])]
            assert len(own) == candidate["evaluations"]
            assert max(own) == candidate["searched"]


@pytest.mark.parametrize("run", [r for r in RECORDED if r.name.startswith("resnet20")], ids=lambda run: run.name)
def test_fine_tuned_accuracy_is_within_half_a_point_of_the_unpruned_network(run: Any) -> None:
    metrics = read(run.name, "metrics.json")
    assert metrics["after"]["accuracy"] > metrics["before"]["accuracy"] - 0.005


@pytest.mark.slow
def test_the_ablation_compares_every_way_on_a_model_that_knows_the_network(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["ablation", "--seeds", "1", "--episodes", "60"])
    ablation.main()
    first, *rows = capsys.readouterr().out.splitlines()
    assert float(first.split("correlation ")[1].split(";")[0]) > 0.98
    best = {row[:36].rstrip(): float(row.split("mean ")[1].split(" %")[0]) for row in rows}
    assert [*best] == [*ablation.WAYS, "random plans"]
    assert best["the agent"] > max(best["without both: random walks"], best["without simulated walks"])
    assert min(best, key=lambda way: best[way]) == "random plans"
