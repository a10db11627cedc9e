"""`build_library`: members on the front, their own statistics, the folder, kill and resume, plans of a search, refusals."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from hwflow.compression.budget import Budget
from hwflow.cost.options import CostOptions
from hwflow.datasets import Data, load_data
from hwflow.dynamic import (
    Library,
    LibrarySettings,
    Limits,
    Manager,
    build_library,
    library_folder,
    library_run,
    load_library,
    load_units,
    read_table,
)
from hwflow.dynamic.choice_evolution import EvolutionSettings
from hwflow.dynamic.live_run import networks_of
from hwflow.dynamic.operating_points import Unit
from hwflow.errors import HwflowError, InputError
from hwflow.hardware.accelerator import Accelerator
from hwflow.reporting import write_report
from hwflow.training import Recipe, score
from tests.dynamic.nets import staged

RECIPE = Recipe(epochs=1, learning_rate=0.05, device="cpu", precision="float32", batch_size=54)
SETTINGS = LibrarySettings(members=2, statistics=50, steps=2, drawn=1, evolution=EvolutionSettings(4, 2))
FILES = ("archive.jsonl", "config.json", "elastic.pt", "library.json", "statistics.pt", "table.json")


@pytest.fixture(scope="module")
def data() -> Data:
    whole = load_data("digits")
    return replace(whole, train=whole.train.subset(torch.arange(120)), test=whole.test.subset(torch.arange(100)))


@pytest.fixture(scope="module", autouse=True)
def searched_once() -> Iterator[None]:
    """The groups of the one network of these tests are found once: that takes longer than all else."""
    known: dict[str, Any] = {}
    patch = pytest.MonkeyPatch()
    for module, name in ((library_run, "elastic_space"), (library_run, "space_with"), (library_folder, "space_with")):
        own = getattr(module, name)

        def remembered(model: Any, *given: Any, own: Any = own, **more: Any) -> Any:
            key = repr((own.__name__, given, more))
            if key not in known:
                known[key] = own(model, *given, **more)
            return known[key]

        patch.setattr(module, name, remembered)
    yield
    patch.undo()


def units() -> tuple[Unit, ...]:
    points = {"name": "npu", "nominal_v": 1.0, "points": [{"clock_mhz": 100, "voltage_v": 0.8}, {"clock_mhz": 200}]}
    return (*load_units({"units": [points]}, Accelerator.load("eyeriss")), load_units("exynos5422")[0])


def build(data: Data, **changes: Any) -> Library:
    asked: dict[str, Any] = {"settings": SETTINGS, "recipe": RECIPE, "options": CostOptions(level="coarse"), "store": False}
    asked |= {"progress": False, "notify": lambda _: None}
    torch.manual_seed(5)
    return build_library(staged(), data, units(), **(asked | changes))


@pytest.fixture(scope="module")
def made(data: Data, tmp_path_factory: pytest.TempPathFactory) -> tuple[Library, Path]:
    folder = tmp_path_factory.mktemp("library") / "run"
    return build(data, output=folder, measure=(1,)), folder


def test_members_are_on_the_front_of_all_that_was_measured(made: tuple[Library, Path], data: Data) -> None:
    found, _ = made
    assert [member.number for member in found.members] == [1, 2]
    assert found.members[0].macs <= found.members[1].macs
    for member in found.members:
        costs = tuple(member.costs.values())
        assert list(member.costs) == ["npu", "a15"]
        assert not [
            one
            for one in found.archive
            if one.accuracy > member.held_accuracy and all(x <= y for x, y in zip(one.costs, costs, strict=True))
        ]
    assert 0 < found.kept.volume <= found.kept.all_volume
    module = found.module(1)
    assert score(module, data.test, device="cpu", precision="float32").accuracy == found.members[0].accuracy
    assert score(module, data.hold_out()[1], device="cpu", precision="float32").accuracy == found.members[0].held_accuracy


def test_the_tables_are_for_a_manager(made: tuple[Library, Path]) -> None:
    found, folder = made
    assert [(row.level, row.unit) for row in found.table.rows][:3] == [(1, "npu"), (1, "npu"), (1, "a15")]
    assert found.table.rows[1].latency_s == pytest.approx(found.members[0].costs["npu"])
    assert found.table.rows[0].memory_bytes == 2 * found.members[0].params
    assert read_table(folder) == found.table
    measured = read_table(folder / "measured.json")
    assert {row.level for row in measured.rows} == {1, 2}
    for table in (found.table, measured):
        assert Manager([table]).decide(Limits(latency_s=10)).keeps_limits


def test_the_folder_gives_the_same_networks(made: tuple[Library, Path], tmp_path: Path) -> None:
    found, folder = made
    images = torch.randn(3, 1, 8, 8)
    with pytest.raises(InputError, match="was made from a module of your own, Sequential: give it as `model=`"):
        load_library(folder)
    again = load_library(folder, staged())
    assert again.members == found.members
    for number in (1, 2):
        assert torch.equal(again.module(number)(images), found.module(number)(images))
    with pytest.raises(InputError, match="unknown member of the library '3'"):
        again.module(3)
    without = again.network.extracted(found.members[0].choice)  # with the whole network's statistics
    assert not torch.allclose(without(images), found.module(1)(images), atol=0.01)
    for name in (*FILES, "report.html"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "statistics.pt").unlink()
    with pytest.raises(InputError, match=r"statistics\.pt is missing: without its own statistics of normalisations a member"):
        load_library(tmp_path, staged())
    (tmp_path / "library.json").unlink()
    with pytest.raises(InputError, match=r"holds a library that is not finished: it has no library\.json"):
        load_library(tmp_path, staged())
    with pytest.raises(InputError, match="The same 'hwflow library' command with --resume goes on"):
        write_report(tmp_path)


def test_a_report(made: tuple[Library, Path]) -> None:
    pytest.importorskip("plotly")
    page = (made[1] / "report.html").read_text(encoding="utf-8")
    for text in ("library of Sequential: 2 members", "Sub-networks on npu", "Sub-networks on a15", "Measured latency"):
        assert text in page


def test_equal_runs_give_equal_bytes_killed_or_not(
    made: tuple[Library, Path], data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the search, with a torn last line; and continued with another number of members."""
    own, calls = library_run.Judge.score, 0

    def killed(*given: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 6:
            raise KeyboardInterrupt
        return own(*given)

    monkeypatch.setattr(library_run.Judge, "score", killed)
    with pytest.raises(KeyboardInterrupt):
        build(data, output=tmp_path / "run", measure=(1,), settings=replace(SETTINGS, members=1))
    monkeypatch.undo()
    archive = tmp_path / "run" / "archive.jsonl"
    assert archive.read_text().count("\n") == 5
    with archive.open("a") as handle:
        handle.write('{"choice": {"3": 1, "3.0')
    build(data, output=tmp_path / "run", measure=(1,), resume=True)
    for name in FILES:
        assert (made[1] / name).read_bytes() == (tmp_path / "run" / name).read_bytes(), name
    with pytest.raises(InputError, match="run holds a library already: --resume continues that run"):
        build(data, output=tmp_path / "run", measure=(1,))
    with pytest.raises(InputError, match="cannot be continued by this one: statistics was 50, now is 60"):
        build(data, output=tmp_path / "run", measure=(1,), resume=True, settings=replace(SETTINGS, statistics=60))
    with pytest.raises(InputError, match=r"90 members are asked for, but only \d+ of \d+ measured sub-networks are on"):
        build(data, output=tmp_path / "run", measure=(1,), resume=True, settings=replace(SETTINGS, members=90))


def test_a_library_of_the_plans_of_a_search(data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plans = [({"4.conv1": width}, accuracy) for width, accuracy in ((4, 0.3), (8, 0.5), (12, 0.4), (16, 0.6), (8, 0.1))]
    lines = [json.dumps({"by": "exact", "plan": plan, "accuracy": accuracy}) for plan, accuracy in plans]
    (tmp_path / "log.jsonl").write_text("\n".join([*lines, '{"plan"']))
    (tmp_path / "config.json").write_text('{"settings": {"criterion": "l2"}}')
    ordered: list[str] = []
    own = library_run.sorted_network
    monkeypatch.setattr(library_run, "sorted_network", lambda *given, **more: ordered.append(given[2]) or own(*given, **more))
    budget = LibrarySettings(members=1, statistics=50, budgets=(Budget("latency", 0.99),))
    found = build(data, plans=tmp_path, settings=budget)
    assert [one.choice["4.conv1"] for one in found.archive] == [4, 8]  # 12 is worse than 8, 16 beyond the budget
    assert ordered == ["l2"]
    with pytest.raises(InputError, match=r"log\.jsonl: there is no such file; plans are taken from the folder of a search"):
        build(data, plans=tmp_path / "none")
    (tmp_path / "config.json").write_text('{"settings": {"method": "singlepath"}}')
    with pytest.raises(InputError, match=r"is of method singlepath, which tries no plans .* that searched channels"):
        build(data, plans=tmp_path)
    (tmp_path / "config.json").unlink()
    (tmp_path / "log.jsonl").write_text('{"accuracy": 1}\n{"accuracy": 1}\n')
    with pytest.raises(InputError, match=r"log\.jsonl, line 1, is no tried plan"):
        build(data, plans=tmp_path)


class _Killed(BaseException):
    """What `kill -9` leaves behind: nothing is tidied up."""


def test_a_finished_library_that_is_chosen_anew_is_whole_or_unfinished(
    made: tuple[Library, Path], data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(made[1], tmp_path / "run")
    again = {"output": folder, "measure": (1,), "resume": True}
    config = (folder / "config.json").read_bytes()
    with pytest.raises(InputError, match="90 members are asked for"):
        build(data, **again, settings=replace(SETTINGS, members=90))
    assert (folder / "config.json").read_bytes() == config
    assert load_library(folder, staged()).members == made[0].members

    def killed(*_: Any) -> None:
        raise _Killed

    monkeypatch.setattr(library_run, "save_statistics", killed)
    with pytest.raises(_Killed):
        build(data, **again, settings=replace(SETTINGS, members=1))
    monkeypatch.undo()
    with pytest.raises(InputError, match=r"holds a library that is not finished"):
        load_library(folder, staged())
    with pytest.raises(InputError, match=r"holds a library that is not finished"):
        networks_of(folder, staged())
    shutil.copy(made[1] / "library.json", folder)  # as if it had been left there
    with pytest.raises(InputError, match=r"table\.json is of other members than library\.json: the folder's files are of two"):
        load_library(folder, staged())
    for name in ("table.json", "measured.json"):
        (folder / name).unlink()
    found = build(data, **again, settings=replace(SETTINGS, members=1))
    assert load_library(folder, staged()).members == found.members
    shutil.copy(made[1] / "statistics.pt", folder)
    with pytest.raises(InputError, match=r"statistics\.pt is of other members than library\.json"):
        load_library(folder, staged())


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"level": "fine", "engine": "native"}, "timeloop-model is not on PATH"),
        (
            {"level": "coarse", "activations": "resident"},
            "activations is 'resident', and a library prices each layer by itself",
        ),
        ({"level": "coarse", "fallback": "coarse"}, "fallback is 'coarse', and every row of a library is of the level"),
    ],
)
def test_what_costs_need_is_missed_before_the_training(
    data: Data, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], text: str
) -> None:
    def trained(*_: Any) -> None:
        raise AssertionError("a training began")

    monkeypatch.setattr(library_run, "_train_whole", trained)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(HwflowError, match=text):
        build(data, options=CostOptions(**options))


def test_what_cannot_be_built(data: Data) -> None:
    with pytest.raises(InputError, match="unknown metric of a library 'params'"):
        LibrarySettings(metric="params")
    with pytest.raises(InputError, match="members is 0; it must be a whole number of at least 1"):
        LibrarySettings(members=0)
    with pytest.raises(InputError, match="a library needs a unit on which its members run"):
        build_library(staged(), data, (), settings=SETTINGS)
    with pytest.raises(InputError, match=r"the smallest sub-network of Sequential does not keep the budget latency=0\.01"):
        build(data, settings=replace(SETTINGS, budgets=(Budget("latency", 0.01),)))
    with pytest.raises(InputError, match=r"plans are cut from a trained network: give the weights \(--weights\)"):
        build_library("resnet20", data, units(), settings=SETTINGS, plans="somewhere")
