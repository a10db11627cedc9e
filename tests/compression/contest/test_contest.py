"""Contests: what is always in, what a continued one repeats, what is refused, and a method of one's own."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import nn

import hwflow
from hwflow.compression.budget import Budget
from hwflow.compression.channels.planned import OneShot
from hwflow.compression.contest.contest import _holds, _scratch
from hwflow.compression.contest.entries import entries
from hwflow.compression.method import Compressed, Task
from hwflow.compression.registry import METHODS
from hwflow.compression.settings import Settings
from hwflow.datasets import Data, from_datasets
from hwflow.errors import HwflowError, InputError
from hwflow.reporting import write_report
from hwflow.training import Recipe, train

PAGE = Path(__file__).resolve().parents[3] / "docs" / "pages" / "how-to" / "compress.md"
TUNING = Recipe(epochs=2, batch_size=16, learning_rate=0.05, precision="float32", device="cpu")
GIVEN: dict[str, Any] = {
    **{"level": "coarse", "budgets": [0.6], "tuning": TUNING, "episodes": 2, "samples": 4, "round_to": 4},
    **{"store": False, "progress": False, "notify": lambda text: None},
}


@pytest.fixture(autouse=True)
def no_export(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most of the time of a run of so small a network."""
    monkeypatch.setattr("hwflow.compression.run.export_onnx", lambda model, shape, path: None)


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 12, 3), nn.BatchNorm2d(12)]
    return nn.Sequential(*layers, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 2))


@pytest.fixture(scope="module")
def data() -> Data:
    images = torch.randn(80, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    samples = torch.utils.data.TensorDataset(images, (images.mean((1, 2, 3)) > 0).long())
    return from_datasets("halves", samples, samples, classes=2)


def hold(data: Data, folder: Path, methods: list[str], **more: Any) -> hwflow.Contest:
    return hwflow.compress_many(network(), data, methods=methods, output=folder, **{**GIVEN, **more})


def test_a_criterion_reaches_the_methods_that_rank_by_it() -> None:
    """The small network from fresh weights is always in, and has no channels to rank."""
    asked = Settings(criterion="l2")
    found = {run.method: run.settings(asked, None).criterion for run in entries(["exact"], "uniform", (0,), [asked.budgets])}
    assert found == {"l1": "l2", "channels": "l2", "exact": "l2", "scratch": "l1"}


@pytest.mark.parametrize("method", ["scratch", "tp-lamp"])
def test_a_criterion_beside_a_method_that_ranks_nothing_is_refused(method: str, data: Data) -> None:
    options = {name: GIVEN[name] for name in ("level", "tuning", "store", "progress")}
    with pytest.raises(InputError, match=f"criterion is 'l2', and the method {method} does not choose channels by it"):
        hwflow.compress(network(), data, method=method, criterion="l2", **options)


def test_runs_come_budget_by_budget_and_seed_by_seed() -> None:
    budgets = [(Budget("energy", 0.5),), (Budget("energy", 0.25), Budget("latency", 0.5))]
    found = entries(["sfp", "l1"], "uniform", (0, 1), budgets)
    names = ["l1", "channels", "scratch", "sfp"]
    assert [(e.budget, e.seed, e.name) for e in found] == [
        (budget, seed, name) for budget in ("energy=0.5", "energy=0.25,latency=0.5") for seed in (0, 1) for name in names
    ]
    planned = entries(["sfp"], "runs/a", (0,), budgets[:1])
    assert [e.name for e in planned] == ["l1", "channels", "scratch", "sfp+plan"]
    assert planned[-1].folder == "runs/energy=0.5/sfp+plan-seed0"
    for wrong, message in (
        ((["sfp", "sfp"], "uniform", (0,), budgets), "the method sfp is named twice"),
        ((["sfp"], "uniform", (0, 0), budgets), "the seed 0 is named twice"),
        ((["sfp"], "uniform", (), budgets), "a contest needs at least one seed"),
        ((["sfp"], "uniform", (0,), [()]), "a contest needs budgets: methods are compared at the same cost"),
        ((["spf"], "uniform", (0,), budgets), "unknown method 'spf'. Did you mean 'sfp'"),
    ):
        with pytest.raises(InputError, match=message):
            entries(*wrong)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def held(data: Data, tmp_path_factory: pytest.TempPathFactory) -> tuple[hwflow.Contest, Path]:
    folder = tmp_path_factory.mktemp("contests") / "one"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hwflow.compression.run.export_onnx", lambda model, shape, path: None)
        return hold(data, folder, ["sfp"], seeds=[0, 1]), folder


def test_a_contest_leaves_records_tables_and_a_report(held: tuple[hwflow.Contest, Path]) -> None:
    contest, folder = held
    frame = contest.to_frame()
    assert list(frame["name"]) == 2 * ["l1", "channels", "scratch", "sfp"]
    assert frame["keeps"].all()
    assert not contest.failed
    assert (frame["coarse_energy_normalized"] <= 0.6).all()
    trained = frame.set_index("name")["images_trained"]
    assert set(trained["sfp"]) == set(trained["l1"]) == {2 * 72}  # of 80 images 8 are held out
    for name in ("results.csv", "results.parquet"):
        read = pd.read_csv(folder / name) if name.endswith("csv") else pd.read_parquet(folder / name)
        assert list(read["accuracy"]) == list(frame["accuracy"])
    report = (folder / "report.html").read_text()
    for words in (
        "Methods that compress Sequential",
        "against l1 (points)",
        "unpruned",
        "images trained",
        "What each method cost",
    ):
        assert words in report
    before = report
    write_report(folder)
    assert (folder / "report.html").read_text() == before
    small = hwflow.load_compressed(folder / "runs" / "energy=0.6" / "sfp-seed0", network())
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in network().parameters())


def test_what_is_finished_is_not_repeated_and_methods_are_added(held: tuple[hwflow.Contest, Path], data: Data) -> None:
    _, folder = held
    stamps = {path: path.stat().st_mtime_ns for path in folder.rglob("metrics.json")}
    found = hold(data, folder, ["sfp", "srfp"], seeds=[0, 1], resume=True)
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert list(found.to_frame()["name"]) == 2 * ["l1", "channels", "scratch", "sfp", "srfp"]


def test_methods_that_follow_no_allocation_are_not_named_after_one(data: Data) -> None:
    found = entries(["l1", "int8", "tp-lamp", "legr"], "exact", (0,), [(Budget("energy", 0.5),)])
    assert [run.name for run in found] == ["l1", "channels", "scratch", "l1+exact", "int8", "tp-lamp", "legr"]
    with pytest.raises(InputError, match="the method int8 chooses how many channels are kept itself"):
        hwflow.compress(network(), data, method="int8", allocate="exact", level="coarse")


def test_budgets_are_judged_in_whichever_unit_energies_are() -> None:
    before, after = ({"energy_pj": None, "energy_normalized": e, "latency_s": t, "edp_pj_s": None} for e, t in ((8, 2), (4, 1)))
    for metric, share in (("energy", 0.5), ("edp", 0.25)):
        assert _holds(Budget(metric, share), before, after)
        assert not _holds(Budget(metric, share - 0.01), before, after)
    assert not _holds(Budget("peak_activation_bytes", 0.5), before, after)
    assert _holds(Budget("energy", 0.3), {"energy_pj": 1.0}, {"energy_pj": 0.1 + 0.2}), "sums in another order"


def test_another_contest_is_refused(held: tuple[hwflow.Contest, Path], data: Data, tmp_path: Path) -> None:
    _, folder = held
    with pytest.raises(InputError, match="holds a contest already: --resume continues it"):
        hold(data, folder, ["sfp"], seeds=[0, 1])
    with pytest.raises(InputError, match=r"holds another contest, .*settings.tuning.epochs was 2, now is 3") as caught:
        hold(data, folder, ["sfp"], seeds=[0, 1], resume=True, epochs=3)
    assert str(caught.value).count("epochs was") == 1
    with pytest.raises(
        InputError, match=r"holds another contest, .*give (--method, )?--seed as before; .* can only be added\."
    ):
        hold(data, folder, ["sfp"], seeds=[2], resume=True)
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(InputError, match="is no contest's folder and is not empty"):
        hold(data, tmp_path, ["sfp"])


def test_what_cannot_work_is_refused_before_anything_runs(data: Data, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="regularisation cannot grow in 4 steps"):
        hold(data, tmp_path / "c", ["sfp", "greg1"])
    with pytest.raises(InputError, match=r"the budget energy=0.001 cannot be reached"):
        hold(data, tmp_path / "c", ["sfp"], budgets=[0.6, 0.001])
    assert not (tmp_path / "c" / "runs").exists()
    with pytest.raises(InputError, match="holds a contest without a result yet"):
        write_report(tmp_path / "c")


def test_a_run_that_fails_is_recorded_and_the_others_go_on(data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(OneShot):
        name = "failing"
        works = False

        def compress(self, task: Task) -> Compressed:
            if not self.works:
                raise HwflowError("the disk is full.")
            return super().compress(task)

    monkeypatch.setitem(METHODS, "failing", Failing)
    told: list[str] = []
    contest = hold(data, tmp_path / "c", ["failing"], notify=told.append)
    assert contest.failed == {"runs/energy=0.6/failing-seed0": "the disk is full."}
    assert any("failing, seed 0, energy=0.6 failed: the disk is full." in text for text in told)
    assert "Runs that failed" in (tmp_path / "c" / "report.html").read_text()
    monkeypatch.setattr(Failing, "works", True)
    assert not hold(data, tmp_path / "c", ["failing"], resume=True).failed


def test_the_small_network_from_scratch_trains_as_long_as_all_together(data: Data, tmp_path: Path) -> None:
    train(network(), data, recipe=Recipe(**{**vars(TUNING), "epochs": 3}), output=tmp_path / "w.pt", progress=False)
    asked = Settings(levels=("coarse",), tuning=TUNING)
    assert _scratch(asked, network(), tmp_path / "w.pt").epochs == 3 + 2
    assert _scratch(asked, network(), None).epochs == 2


def test_the_pages_own_method_joins(data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = re.search(r'```python title="slimming.py"\n(.*?)```', PAGE.read_text(), re.DOTALL)
    assert code is not None
    assert len(code[1].splitlines()) < 50
    monkeypatch.setattr("hwflow.compression.registry.METHODS", METHODS)
    exec(compile(code[1], "slimming.py", "exec"), {})
    try:
        contest = hold(data, tmp_path / "c", ["slimming"])
        record = next(record for record in contest.records if record["name"] == "slimming")
        assert record["keeps"]
        assert record["images_trained"] == 2 * 72
        assert "penalises scales" in (tmp_path / "c" / "report.html").read_text()
    finally:
        del METHODS["slimming"]


def test_a_damaged_record_names_the_file(held: tuple[hwflow.Contest, Path], tmp_path: Path) -> None:
    _, folder = held
    for name in ("contest.json", "results.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    records = json.loads((tmp_path / "results.json").read_text())
    records[0]["accuracy"] = 1.5
    (tmp_path / "results.json").write_text(json.dumps(records))
    with pytest.raises(InputError, match=r"results.json is damaged: 0.accuracy: "):
        write_report(tmp_path)
