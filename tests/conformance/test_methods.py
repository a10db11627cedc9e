"""What every compression method promises: budgets hold, equal seeds give equal bytes, interrupted runs can be continued.

Two toys, registered here and nowhere else, go through `hwflow.prune`, the folder, the command line and the report.
"""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import hwflow
from hwflow import cli
from hwflow.compression.accuracy import ProxySettings
from hwflow.compression.budget import Budget
from hwflow.compression.channels.discovery import find_groups, rebuild
from hwflow.compression.channels.gradual_options import GradualSettings
from hwflow.compression.channels.plan_tables import PlanTables
from hwflow.compression.channels.surgery import prune_model
from hwflow.compression.method import Choice, Compressed, Decision, Execution, Method, Task
from hwflow.compression.registry import METHODS
from hwflow.compression.search.baselines import uniform_plan
from hwflow.compression.search.environment import PruningEnv
from hwflow.compression.settings import DECIDES, Settings
from hwflow.compression.single_path.options import SinglePathSettings
from hwflow.datasets import Data, from_datasets
from hwflow.errors import InputError
from hwflow.layers import Bits, Layer
from hwflow.network import OtherOp
from hwflow.network.models.mobilenet import InvertedResidual
from hwflow.network.replica import replica
from hwflow.training import Recipe, train
from hwflow.training.hooks import TrainingHook
from hwflow.training.weights import save_weights

TUNING = Recipe(epochs=2, batch_size=32, learning_rate=0.02, distillation=0.5, precision="float32", device="cpu")
SETTINGS = Settings(
    levels=("coarse",),
    budgets=(Budget("energy", 0.7),),
    episodes=3,
    proxy=ProxySettings(samples=8, batches=1, batch_size=32),
    tuning=TUNING,
)


class Uniform(Method):
    """A toy: the same share of every group is cut, and the network is fine-tuned for one epoch."""

    name = "uniform"

    def compress(self, task: Task) -> Compressed:
        grouping = find_groups(task.model, task.input_shape, name=task.name)
        costs = PlanTables(grouping, task.costs).at(task.settings.levels[-1])
        plan = uniform_plan(PruningEnv(costs, lambda _: 0.0, task.budgets, metric=task.settings.metric))
        small = prune_model(task.model, grouping, plan)
        tuning = task.fine_tune(small, recipe=replace(task.recipe, epochs=1))
        return Compressed(small, plan, grouping=grouping, tuning=tuning, summary={"cut": "the same share of every group"})

    def rebuild(self, model: nn.Module, input_shape: tuple[int, ...], plan: Mapping[str, int]) -> nn.Module:
        return rebuild(model, input_shape, plan)


@dataclass
class Zeroed(TrainingHook):
    """Keeps the smallest half of a convolution's weights at zero."""

    layer: str

    def start(self, model: nn.Module, steps: int) -> None:
        self.weight: torch.Tensor = model.get_submodule(self.layer).weight  # type: ignore[assignment]
        self.kept = self.weight.detach().abs() >= self.weight.detach().abs().median()

    def after_step(self, step: int) -> None:
        with torch.no_grad():
            self.weight.mul_(self.kept)


class TwoHalves(Execution):
    """An execution: a convolution runs in two halves of its output channels, whose results are joined."""

    def rows(self, layer: Layer) -> tuple[Layer, ...]:
        return (layer.with_(name=f"{layer.name}.0", M=layer.M // 2), layer.with_(name=f"{layer.name}.1", M=layer.M // 2))

    def other(self, layer: Layer) -> tuple[OtherOp, ...]:
        return (OtherOp(f"{layer.name}.join", "Concat", layer.words("outputs"), layer.words("outputs")),)


class NarrowWords(Method):
    """A toy that prunes no channels: one layer gets weights of 8 bits, half of them zero, and another runs in two halves."""

    name = "words"

    def compress(self, task: Task) -> Compressed:
        model = replica(task.model)
        tuning = task.fine_tune(model, hooks=[Zeroed("1")])
        decision = Decision("1", (4, 8, 16), (1,))
        choice: Choice = {"1": 8}
        return Compressed(
            model,
            choice,
            (decision,),
            tuning=tuning,
            bits={"1": Bits(weights=8, inputs=16, outputs=16)},
            executions={"3": TwoHalves()},
        )


TOYS: dict[str, type[Method]] = {"uniform": Uniform, "words": NarrowWords}
TOGETHER = ["l1+flightnn", "l1+bnn"]
SHIPPED = [
    name
    for name in METHODS
    if name not in ("channels", "int", "int8", "int4", "lightnn1")  # which are lightnn2 in other codes
    and name not in ("winograd-spatial", "winograd-magnitude")  # which are parts of winograd
]
SHIPPED += TOGETHER
ALL = ["channels", *TOYS, *SHIPPED]
LONG = ("mixed", "l1+flightnn", "winograd-native", "vip", "sparse", "singlepath")
"""Take seconds a run, and differ little from others here."""
REPEATED = [pytest.param(name, marks=pytest.mark.slow) if name in LONG else name for name in ALL]
"""For what runs a method several times."""
EXECUTED = ("winograd", "vip")
"""Run layers otherwise; on so small a network that does not save energy."""
BUDGETED = ["channels", "uniform", "l1", "mixed"]
SEARCHING = ("channels", *(name for name in DECIDES.values() if name != "channels"))


@pytest.fixture(autouse=True, scope="module")
def toys() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, toy in TOYS.items():
            patch.setitem(METHODS, name, toy)
        yield


def settings_for(method: str) -> Settings:
    """Regularisation that grows takes ten steps at least."""
    if method not in SHIPPED or method in SEARCHING:
        return SETTINGS
    if method in ("singlepath", "thresholds"):
        return replace(SETTINGS, single_path=SinglePathSettings(search_epochs=2))
    tuning = replace(TUNING, epochs=8, batch_size=8, distillation=0.0, warmup_epochs=0.5)
    asked = replace(SETTINGS, tuning=tuning, gradual=GradualSettings(interval=1))
    if method == "sparse":  # changes no cost
        return replace(asked, budgets=(Budget("macs", 1.0),))
    return replace(asked, budgets=(Budget("macs", 0.7),)) if method.startswith(EXECUTED) else asked


def network(method: str = "") -> nn.Module:
    """Two groups of channels between three convolutions; with normalization before the sign of binary networks; inverted
    residuals where blocks are searched."""
    torch.manual_seed(0)
    if method == "singlepath":
        blocks = [InvertedResidual(8, 8, 1, 6, 5), InvertedResidual(8, 8, 1, 6, 5)]
        return nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
    if method.endswith("bnn"):
        act = nn.Sequential(nn.BatchNorm2d(32), nn.ReLU())
        layers = [nn.Conv2d(1, 16, 3, 2, 1), nn.Conv2d(16, 32, 3, 1, 1), act, nn.Conv2d(32, 16, 1), nn.ReLU()]
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 2))
    layers = [nn.Conv2d(1, 16, 3, 2, 1), nn.Conv2d(16, 32, 3, 1, 1), nn.ReLU(), nn.Conv2d(32, 16, 1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 2))


@pytest.fixture(scope="module")
def data() -> Data:
    images = torch.randn(160, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    samples = torch.utils.data.TensorDataset(images, (images.mean((1, 2, 3)) > 0).long())
    return from_datasets("halves", samples, samples, classes=2)


@dataclass
class Runs:
    """Runs a method on one network and data set; `finished` is a run that tests only read."""

    data: Data
    folder: Path

    @cache  # noqa: B019
    def weights(self, method: str) -> Path:
        """Of the method's network, trained."""
        kind = next((kind for kind in ("bnn", "singlepath") if method.endswith(kind)), "plain")
        file = self.folder / f"weights-{kind}.pt"
        if not file.exists():
            recipe = replace(TUNING, epochs=3, distillation=0.0)
            train(network(method), self.data, recipe=recipe, output=file)
        return file

    def __call__(self, method: str, folder: Path, settings: Settings | None = None, **more: Any) -> hwflow.PruneResult:
        more = {"method": method, "weights": self.weights(method), "output": folder, "store": False, **more}
        with pytest.MonkeyPatch.context() as patch:
            if method in SHIPPED:  # most of the time of a run of so small a network is its export, which all share
                patch.setattr("hwflow.compression.run.export_onnx", lambda model, shape, path: None)
            return hwflow.prune(network(method), self.data, settings=settings or settings_for(method), **more)

    @cache  # noqa: B019  (as long as the module's tests run)
    def finished(self, method: str) -> tuple[hwflow.PruneResult, Path]:
        return self(method, self.folder / method), self.folder / method

    __hash__ = object.__hash__


@pytest.fixture(scope="module")
def run(data: Data, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(data, tmp_path_factory.mktemp("runs"))


def results(folder: Path) -> dict[str, bytes]:
    timed = ("times.json", "report.html")
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file() and path.name not in timed}


@pytest.mark.parametrize("budgets", [(Budget("energy", 0.6),), (Budget("macs", 0.5), Budget("params", 0.6))])
@pytest.mark.parametrize("method", BUDGETED)
def test_budgets_hold(method: str, budgets: tuple[Budget, ...], run: Runs, tmp_path: Path) -> None:
    before, after = run(method, tmp_path / "run", replace(settings_for(method), budgets=budgets)).costs["coarse"]
    totals = {"energy": (before.energy_normalized, after.energy_normalized), "macs": (before.macs, after.macs)}
    totals["params"] = (before.params, after.params)
    for budget in budgets:
        old, new = totals[budget.metric]
        assert new <= budget.share * old  # type: ignore[operator]


@pytest.mark.parametrize("method", [name for name in SHIPPED if name not in BUDGETED])
def test_its_budget_holds(method: str, run: Runs) -> None:
    before, after = run.finished(method)[0].costs["coarse"]
    (budget,) = settings_for(method).budgets
    old, new = ((c.macs, c.energy_normalized)[budget.metric == "energy"] for c in (before, after))
    assert new <= budget.share * old  # type: ignore[operator]


@pytest.mark.parametrize("method", ALL)
def test_a_choice_is_an_option_of_every_decision(method: str, run: Runs) -> None:
    """And `plan.json` holds it, as a report reads it."""
    result, folder = run.finished(method)
    content = json.loads((folder / "plan.json").read_text())
    assert all(result.plan[group.name] in group.widths for group in result.grouping.groups)
    kept = {row["name"]: row["kept"] for row in content.get("groups", ())}
    assert list(kept) == [group.name for group in result.grouping.groups]
    assert kept | {one["name"]: one["chosen"] for one in content.get("decisions", ())} == result.plan
    assert all(one["chosen"] in one["options"] for one in content.get("decisions", ()))


@pytest.mark.parametrize("method", REPEATED)
def test_equal_seeds_give_equal_bytes(method: str, run: Runs, tmp_path: Path) -> None:
    """Of a module as of a file of weights; the module that is given is not changed."""
    _, first = run.finished(method)
    model = network(method)
    hwflow.load_weights(run.weights(method), model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.MonkeyPatch.context() as patch:
        if method in SHIPPED:
            patch.setattr("hwflow.compression.run.export_onnx", lambda model, shape, path: None)
        hwflow.prune(model, run.data, settings=settings_for(method), method=method, output=tmp_path, store=False)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    one, two = (results(folder) for folder in (first, tmp_path))
    assert one.keys() == two.keys() >= {"config.json", "plan.json", "tuning.json", "costs.json", "metrics.json", "model.pt"}
    assert [name for name in one if one[name] != two[name]] == ["config.json"]


class Stop(Exception):
    """The process is killed."""


@pytest.mark.parametrize("method", REPEATED)
def test_an_interrupted_run_ends_as_an_uninterrupted_one(method: str, run: Runs, tmp_path: Path) -> None:
    def kill(done: int, total: int, text: str) -> None:
        if text.startswith("fine-tuning") and done > total // 2:
            raise Stop

    with pytest.raises(Stop):
        run(method, tmp_path, progress=kill)
    assert not (tmp_path / "metrics.json").exists()
    run(method, tmp_path, resume=True)
    assert results(tmp_path) == results(run.finished(method)[1])


@pytest.mark.parametrize("method", ALL)
def test_the_compressed_network_comes_back(method: str, run: Runs) -> None:
    result, folder = run.finished(method)
    images, _ = next(run.data.test.batches(20))
    again = hwflow.load_pruned(folder, network(method))
    with torch.no_grad():
        assert torch.equal(again(images), result.model(images))


@pytest.mark.parametrize("method", [name for name in ALL if name != "words"])  # a toy that does not say how loaded rows run
def test_the_network_that_comes_back_costs_what_the_run_says(method: str, run: Runs) -> None:
    """At its word widths and as its rows run; a network that is compressed again is taken for a whole one."""
    result, folder = run.finished(method)
    again = hwflow.load_pruned(folder, network(method))
    for model in (again, replica(again), result.model, pickle.loads(pickle.dumps(result.model))):
        cost = hwflow.estimate(model, input_shape=(1, 1, 8, 8), level="coarse", store=False)
        expected = result.costs["coarse"][1]
        assert [row.layer for row in cost.rows] == [row.layer for row in expected.rows]
        assert (cost.energy_normalized, cost.not_counted) == (expected.energy_normalized, expected.not_counted)


@pytest.mark.parametrize("method", ALL)
def test_a_report_shows_the_plan(method: str, run: Runs) -> None:
    result, folder = run.finished(method)
    text = (folder / "report.html").read_text()
    assert ("Channels kept" if result.grouping.groups else "Every decision") in text
    assert all(words in text for pair in result.summary.items() for words in pair)
    assert (f"The method {method} chose what is removed" in text) == (method not in SEARCHING)


# What is shared --------------------------------------------------------------------------------------------------------


def test_a_toy_method_runs_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "toy_net.py").write_text(
        "from torch import nn\n"
        "def net():\n"
        "    return nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.Flatten(), nn.Linear(256, 10))\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    import toy_net  # type: ignore[import-not-found]

    save_weights(tmp_path / "w.pt", toy_net.net(), {})
    asked = ["prune", "toy_net:net", "--data", "digits", "--weights", "w.pt", "--level", "coarse", "--epochs", "1"]
    with pytest.raises(SystemExit) as ended:
        cli.main([*asked, "--method", "uniform", "-o", "run"])
    shown = capsys.readouterr()
    assert ended.value.code in (0, None), shown.err
    assert re.search(r"Channels kept: 0: \d+ of 16; 2: \d+ of 16\.", shown.out)
    assert "cut: the same share of every group." in shown.out
    assert json.loads((tmp_path / "run" / "config.json").read_text())["settings"]["method"] == "uniform"
    kept = json.loads((tmp_path / "run" / "plan.json").read_text())["groups"][0]["kept"]
    first: Any = hwflow.load_pruned(tmp_path / "run", allow_import=["toy_net"]).get_submodule("0")
    assert first.out_channels == kept < 16
    with pytest.raises(SystemExit) as ended:
        cli.main([*asked, "--method", "unifrom", "-o", "other"])
    assert ended.value.code == 2
    assert "unknown method 'unifrom'. Did you mean 'uniform'?" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_word_widths_and_executions_are_costed(run: Runs) -> None:
    before, after = run.finished("words")[0].costs["coarse"]
    rows = {row.layer.name: row for row in after.rows}
    assert rows["1"].layer.bits == Bits(8, 16, 16)
    assert rows["1"].dram_bytes < next(row for row in before.rows if row.layer.name == "1").dram_bytes
    assert [row.layer.name for row in after.rows] == ["0", "1", "3.0", "3.1", "7"]
    assert after.macs == before.macs
    assert after.not_counted["Concat"] == 1


@pytest.mark.parametrize("field", ["bits", "executions"])
def test_a_row_that_the_network_does_not_have_is_named(field: str) -> None:
    found = Compressed(network(), {}, **{field: {"conv1": Bits(8, 8, 8) if field == "bits" else TwoHalves()}})  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"unknown row of the compressed net 'conv1'.* Known: 0, 1, 3, 7"):
        found.network((1, 1, 8, 8), "net")


def test_a_plan_is_refused_by_a_method_that_chooses_its_own(run: Runs, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the method uniform takes no plan, it chooses one itself: leave out the plan uniform"):
        run("uniform", tmp_path / "run", plan="uniform")
    assert not (tmp_path / "run").exists()


def test_a_folder_of_an_unknown_method_is_refused(run: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    _, folder = run.finished("uniform")
    monkeypatch.delitem(METHODS, "uniform")
    with pytest.raises(InputError, match=r"unknown method 'uniform'.* Known: .*channels"):
        hwflow.load_pruned(folder, network())


def test_a_folder_without_the_new_fields_is_continued(run: Runs) -> None:
    """Folders of version 0.1 name neither method nor searcher; at their defaults neither is written."""
    _, folder = run.finished("channels")
    settings = json.loads((folder / "config.json").read_text())["settings"]
    assert not {"method", "searcher", "word_bits", "edge_bits"} & settings.keys()
    run("channels", folder, searcher="ddpg", resume=True)
    with pytest.raises(InputError, match=r"holds another run.*settings\.method"):
        run("uniform", folder, resume=True)
