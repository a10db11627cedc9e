"""`train_levels`: exact levels after training, the folder, kill and resume, tables, measurements, and `hwflow levels`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from hwflow.cost.options import CostOptions
from hwflow.datasets import Data, load_data
from hwflow.dynamic import Levels, Limits, Manager, load_levels, load_units, read_table, train_levels
from hwflow.dynamic import level_run as run_module
from hwflow.dynamic.measurement import time_in_turns
from hwflow.dynamic.operating_points import Unit
from hwflow.errors import InputError, ToolMissing
from hwflow.hardware.accelerator import Accelerator
from hwflow.training import Recipe, score
from hwflow.training.checkpoint import digest
from tests.dynamic.nets import plain, resnet

RECIPE = Recipe(epochs=1, learning_rate=0.05, device="cpu", precision="float32", batch_size=64)
COARSE = CostOptions(level="coarse")  # of chips other tests tell enough
POINTS = {
    "units": [
        {"name": "npu", "nominal_v": 1.0, "points": [{"clock_mhz": 50, "voltage_v": 0.8}, {"clock_mhz": 200}]},
        {
            "name": "cpu",
            "processor": {"macs_per_cycle": 1, "dynamic_uw_per_mhz_v2": 90, "static_w": 0.01},
            "points": [{"clock_mhz": 500, "voltage_v": 1}],
        },
    ]
}


@pytest.fixture(scope="module")
def data() -> Data:
    whole = load_data("digits")
    return replace(whole, train=whole.train.subset(torch.arange(200)), test=whole.test.subset(torch.arange(100)))


def units() -> tuple[Unit, ...]:
    return load_units(POINTS, Accelerator.load("eyeriss"))


def run(data: Data, **changes: Any) -> Levels:
    asked: dict[str, Any] = {"groups": 2, "recipe": RECIPE, "options": COARSE, "store": False, "progress": False}
    asked["notify"] = lambda _: None
    return train_levels(resnet(), data, units(), **(asked | changes))


@pytest.fixture(scope="module")
def made(data: Data, tmp_path_factory: pytest.TempPathFactory) -> tuple[Levels, Path]:
    folder = tmp_path_factory.mktemp("levels") / "run"
    return run(data, output=folder, measure=(1,)), folder


def test_levels_are_exact_after_later_groups_were_trained(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.randn(4, *data.input_shape, generator=torch.Generator().manual_seed(0))
    logits: dict[int, torch.Tensor] = {}
    own_score = run_module.score

    def scored(network: Any, *given: Any, **more: Any) -> Any:
        logits[network.level] = network.eval()(images).detach()
        return own_score(network, *given, **more)

    monkeypatch.setattr(run_module, "score", scored)
    found = run(data)
    assert sorted(logits) == [1, 2]
    for level, wanted in logits.items():
        found.network.set_level(level)
        assert torch.equal(found.network(images), wanted)


def test_the_table_has_every_level_at_every_point(made: tuple[Levels, Path], data: Data) -> None:
    found, folder = made
    assert [(row.level, row.unit, row.clock_mhz) for row in found.table.rows] == [
        (level, *point) for level in (1, 2) for point in (("npu", 50), ("npu", 200), ("cpu", 500))
    ]
    small, large = found.table.rows[1], found.table.rows[4]
    assert large.latency_s > small.latency_s
    assert (small.energy_j or 0) < (large.energy_j or 0) < 2.1 * (small.energy_j or 0)
    assert found.table.rows[2].static_w == 0.01
    assert found.levels[1].params * 2 == large.memory_bytes  # 16 bit on the accelerator, 32 on the processor
    assert found.table.rows[5].memory_bytes == 4 * found.levels[1].params
    tested = score(found.network.at_level(2), data.test, device="cpu", precision="float32")
    assert tested.accuracy == found.levels[1].accuracy
    assert {row.accuracy for row in found.table.rows} <= {level.held_accuracy for level in found.levels}
    assert read_table(folder) == found.table
    about = found.table.about
    assert (about["level"], about["answered"], about["notes"]) == ("coarse", {"npu": "coarse", "cpu": "processor"}, [])


def test_a_manager_works_with_modelled_and_with_measured_rows(made: tuple[Levels, Path]) -> None:
    found, folder = made
    measured = read_table(folder / "measured.json")
    assert found.measured == measured
    assert [row.unit for row in measured.rows] == ["cpu-1-thread"] * 2
    timing = measured.about["timings"]["cpu-1-thread"]["1"]
    assert 0 < timing["least_s"] <= timing["lower_quartile_s"] <= timing["median_s"] <= timing["upper_quartile_s"]
    assert (timing["threads"], timing["frames"]) == (1, 60)
    assert measured.about["machine"]
    for table in (found.table, measured):
        assert Manager([table]).decide(Limits(latency_s=10)).keeps_limits


def test_what_the_folder_holds_makes_the_network_again(made: tuple[Levels, Path]) -> None:
    found, folder = made
    with pytest.raises(InputError, match=r"was made from a module of your own, Sequential: give it as `model=`"):
        load_levels(folder)
    assert digest(load_levels(folder, resnet())) == digest(found.network)
    with pytest.raises(InputError, match="do not fit the network"):
        load_levels(folder, plain())
    assert {entry.name for entry in folder.iterdir()} >= {"config.json", "levels.pt", "levels.json", "table.json"}


def test_equal_runs_give_equal_bytes_killed_or_not(data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(data, output=tmp_path / "whole")
    own_fit, calls = run_module.fit, 0

    def killed(*given: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return own_fit(*given, **more)

    monkeypatch.setattr(run_module, "fit", killed)
    with pytest.raises(KeyboardInterrupt):
        run(data, output=tmp_path / "parts")
    monkeypatch.undo()
    with pytest.raises(
        InputError, match=r"holds levels that are not finished: it has no levels\.json\. Continue with --resume"
    ):
        load_levels(tmp_path / "parts", resnet())
    run(data, output=tmp_path / "parts", resume=True)
    for name in ("config.json", "levels.pt", "levels.json", "table.json"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes(), name
    with pytest.raises(InputError, match="parts holds levels already: --resume continues that run; or name another folder"):
        run(data, output=tmp_path / "parts")
    with pytest.raises(InputError, match="holds another run, which cannot be continued by this one: groups was 2, now is 4"):
        run(data, output=tmp_path / "parts", resume=True, groups=4)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x").write_text("")
    with pytest.raises(InputError, match="other is no folder of levels and is not empty: name another, or a new one"):
        run(data, output=tmp_path / "other")


def test_a_missing_tool_is_told_before_the_training(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing else answers in its place."""

    def trained(*_: Any) -> None:
        raise AssertionError("a training began")

    monkeypatch.setattr(run_module, "_trained", trained)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ToolMissing, match="timeloop-model is not on PATH"):
        run(data, options=CostOptions(level="fine", engine="native"))
    with pytest.raises(InputError, match="fallback is 'coarse', and every row of a table of levels is of the level"):
        run(data, options=CostOptions(level="coarse", fallback="coarse"))


def test_a_level_that_is_no_better_is_told(data: Data) -> None:
    told: list[str] = []
    run(data, recipe=replace(RECIPE, learning_rate=1e-9), notify=told.append)
    found = [text for text in told if "is no more accurate than level 1 on held-out samples" in text]
    assert len(found) <= 1  # with so little learning either is possible, and none is an error


def test_measurements_are_robust() -> None:
    timings = time_in_turns({1: plain(), 2: plain()}, (1, 8, 8), 1, frames=4)
    assert set(timings) == {1, 2}
    with pytest.raises(InputError, match="frames is 1; it must be a whole number of at least 2"):
        time_in_turns({1: plain()}, (1, 8, 8), 1, frames=1)
