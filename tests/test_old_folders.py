"""Folders written by commit 8e21d58, before the packages were arranged anew: read with equal results, or refused."""

from __future__ import annotations

import csv
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

import hwflow
from hwflow.errors import InputError

torch = pytest.importorskip("torch")
pytest.importorskip("pyarrow")

from hwflow.datasets import load_data  # noqa: E402
from hwflow.reporting import write_report  # noqa: E402
from hwflow.reporting.sweeps.sweep_folder import read_sweep  # noqa: E402
from hwflow.training.score import score  # noqa: E402
from tools.folder_fixtures import SETTINGS, Small  # noqa: E402

ARCHIVE = Path(__file__).parent / "data" / "folders_8e21d58.tar.gz"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "folders"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def rows(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))


def test_a_pruned_network_scores_as_it_did(old: Path) -> None:
    pytest.importorskip("sklearn")
    told = json.loads((old / "prune" / "metrics.json").read_text())["after"]
    found = score(hwflow.load_pruned(old / "prune", Small()), load_data("digits").test)
    assert found.accuracy == told["accuracy"]
    assert found.loss == pytest.approx(told["loss"], rel=1e-5)


def test_both_are_reported(old: Path) -> None:
    metrics = json.loads((old / "prune" / "metrics.json").read_text())
    page = write_report(old / "prune").read_text(encoding="utf-8")
    assert f"{metrics['after']['coarse']['energy_pj'] * 1e-3:.0f}" in page  # nJ
    write_report(old / "sweep")
    points = read_sweep(old / "sweep").points
    assert [point.row.cycles for point in points] == [int(float(row["cycles"])) for row in rows(old / "sweep" / "results.csv")]


def test_a_sweep_is_not_continued_but_repeated_with_equal_results(old: Path, tmp_path: Path) -> None:
    before = contents(old / "sweep")
    with pytest.raises(InputError, match=r"records \(format 1\) this one \(format 2\) does not continue: name another folder"):
        hwflow.sweep(old / "sweep.yaml", old / "sweep", store=False)
    assert {name: text for name, text in contents(old / "sweep").items() if name != ".lock"} == before
    hwflow.sweep(old / "sweep.yaml", tmp_path / "again", store=False)
    old_rows, new_rows = rows(old / "sweep" / "results.csv"), rows(tmp_path / "again" / "results.csv")
    same = ("energy_normalized", "cycles", "latency_s", "dram_bytes", "utilization", "macs", "params")
    assert [[row[name] for name in same] for row in new_rows] == [[row[name] for name in same] for row in old_rows]


def test_a_pruning_run_is_not_continued_and_left_as_it_is(old: Path) -> None:
    """Its plans were measured otherwise; with another version of PyTorch its trainings differ, too."""
    pytest.importorskip("sklearn")
    run, versions = old / "prune", json.loads((old / "prune" / "config.json").read_text())["versions"]
    before = contents(run)
    same = versions["torch"] == torch.__version__
    said = r"settings\.proxy\.statistics was not there, now is batch" if same else r"versions\.torch was"
    for changes, message in (({}, said), ({"keep": 2}, r"settings\.keep was 8, now is 2")):
        told: list[str] = []
        options: dict[str, Any] = {"settings": SETTINGS, "store": False, "resume": True, "notify": told.append, **changes}
        with pytest.raises(InputError, match=message):
            hwflow.prune(Small(), load_data("digits"), "eyeriss", output=run, **options)
        assert contents(run) == before
