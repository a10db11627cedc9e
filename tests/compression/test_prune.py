"""`hwflow.prune` from end to end on digits: what the folder holds, budgets, interruptions, and bad input."""

from __future__ import annotations

import json
import math
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import hwflow
from hwflow import cli
from hwflow.cli.pruning_page import pruned_page
from hwflow.compression.accuracy import ProxySettings
from hwflow.compression.budget import Budget
from hwflow.compression.channels.pruning import parts
from hwflow.compression.registry import method_named
from hwflow.compression.search.ddpg import Hyperparameters
from hwflow.compression.settings import Settings
from hwflow.datasets import Data, load_data
from hwflow.errors import InputError
from hwflow.reporting import write_report
from hwflow.training import Diverged, Recipe, train
from hwflow.training.weights import record_training, save_weights

TUNING = Recipe(epochs=2, batch_size=64, learning_rate=0.05, distillation=0.5, precision="float32", device="cpu")
SETTINGS = Settings(
    levels=("coarse",),
    episodes=6,
    agent=Hyperparameters(hidden=16),
    proxy=ProxySettings(samples=60, batches=2, batch_size=60),
    tuning=TUNING,
)


DESIGNS = Path(__file__).resolve().parents[1] / "data" / "timeloop_designs"


class Small(nn.Module):
    """Three convolutions and a residual addition, for 8 x 8 images."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16)
        self.inner, self.inner_norm = nn.Conv2d(16, 32, 3, 1, 1, bias=False), nn.BatchNorm2d(32)
        self.outer, self.outer_norm = nn.Conv2d(32, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        self.wide = nn.Conv2d(16, 40, 1)
        self.head = nn.Linear(40, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x)).relu()
        x = (x + self.outer_norm(self.outer(self.inner_norm(self.inner(x)).relu()))).relu()
        return self.head(self.wide(x).relu().mean((2, 3)))


@pytest.fixture(scope="session")
def digits() -> Data:
    return load_data("digits")


@pytest.fixture(scope="session")
def trained(digits: Data) -> dict[str, Tensor]:
    torch.manual_seed(0)
    model, _ = train(Small(), digits, recipe=replace(TUNING, epochs=15, learning_rate=0.1, distillation=0.0))
    return model.state_dict()


@pytest.fixture
def small(trained: dict[str, Tensor], digits: Data) -> Small:
    model = Small()
    model.load_state_dict(trained)
    record_training(model, digits.identity)
    return model.eval()


def run(model: nn.Module, data: Data, folder: Path | None, settings: Settings = SETTINGS, **more: Any) -> hwflow.PruneResult:
    """Without an accelerator unless one is given, and without the user's store."""
    return hwflow.prune(
        model, data, more.pop("accelerator", None), settings=settings, output=folder, store=more.pop("store", False), **more
    )


def test_a_run_leaves_everything(small: Small, digits: Data, tmp_path: Path) -> None:
    before = {name: value.clone() for name, value in small.state_dict().items()}
    result = run(small, digits, tmp_path / "run")
    for name, value in small.state_dict().items():
        assert torch.equal(value, before[name]), "the given network was changed"
    folder = tmp_path / "run"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["after"]["coarse"]["energy_normalized"] <= 0.5 * metrics["before"]["coarse"]["energy_normalized"]
    assert metrics["before"]["accuracy"] == result.before.accuracy > 0.8
    assert metrics["after"]["accuracy"] == result.after.accuracy
    assert metrics["not_available"].keys() == {"mid", "fine"}
    costs = json.loads((folder / "costs.json").read_text())
    fresh = hwflow.Network.from_torch(result.model, (1, *digits.input_shape))
    rows = costs["coarse"]["after"]["layers"]
    assert [(row["name"], row["macs"], row["params"]) for row in rows] == [(la.name, la.macs, la.params) for la in fresh]
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [(entry["by"], entry["number"]) for entry in log] == [("agent", number) for number in range(1, 7)]
    plan = json.loads((folder / "plan.json").read_text())
    assert {row["name"]: row["kept"] for row in plan["groups"]} == dict(result.plan)
    assert "stem" in plan["left_out"]
    comparison = json.loads((folder / "comparison.json").read_text())
    by = {entry["by"]: entry for entry in comparison["candidates"]}
    assert by["unpruned"]["shares"]["energy"] == 1.0
    assert all(by[name]["shares"]["energy"] <= 0.5 and by[name]["keeps_budget"] for name in ("uniform", "agent"))
    applied = comparison["finalists"][0]
    assert applied["plan"] == dict(result.plan)
    assert applied["chosen"] == max(one["chosen"] for one in comparison["finalists"])
    report = (folder / "report.html").read_text()
    assert "Small" in report
    assert f"the plan of {applied['by']}" in report
    assert f"Applied: the plan of {applied['by']}" in "".join(pruned_page(result, SETTINGS).lines)
    assert by["agent"]["searched"] == max(entry["accuracy"] for entry in log if entry["by"] == "agent")


def test_the_chosen_plans_network_is_refitted(small: Small, digits: Data, tmp_path: Path) -> None:
    """And the report tells what that brought."""
    settings = replace(SETTINGS, reconstruct="plan", tuning=replace(TUNING, epochs=1))
    result = run(small, digits, tmp_path / "run", settings, plan={"inner": 16, "wide": 24})
    expected = r"2 layers refitted, whose outputs were .* % \(mean square\) from .* without and .* with it, on held-out images"
    assert re.fullmatch(expected, result.summary["reconstruction"])
    assert json.loads((tmp_path / "run" / "config.json").read_text())["settings"]["reconstruct"] == "plan"
    assert "reconstruct" not in SETTINGS.to_data()
    with pytest.raises(InputError, match="unknown reconstruct 'all'"):
        replace(SETTINGS, reconstruct="all")  # type: ignore[arg-type]


def test_a_network_of_streams_says_how_to_prune_them(digits: Data) -> None:
    class Streams(Small):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.outer = nn.Conv2d(16, 4, 3, 1, 1, bias=False), nn.Conv2d(4, 16, 3, 1, 1, bias=False)
            self.inner_norm, self.wide, self.head = nn.BatchNorm2d(4), nn.Identity(), nn.Linear(16, 10)

    expected = (
        r"nothing can be pruned of Streams: --streams \(streams=True\) offers the group stem, which additions tie together; in"
    )
    with pytest.raises(InputError, match=expected):
        run(Streams(), digits, None)


def test_the_pruned_network_comes_back(small: Small, digits: Data, tmp_path: Path) -> None:
    result = run(small, digits, tmp_path / "run", plan={"inner": 16, "wide": 24})
    images, _ = next(digits.test.batches(50))
    again = hwflow.load_pruned(tmp_path / "run", model=Small())
    assert isinstance(again, Small)
    assert again.inner.weight.shape == (16, 16, 3, 3)
    with torch.no_grad():
        assert torch.equal(again(images), result.model(images))
    with pytest.raises(InputError, match="module of your own, Small: give it as `model=`"):
        hwflow.load_pruned(tmp_path / "run")


def test_the_onnx_file_computes_the_same(small: Small, digits: Data, tmp_path: Path) -> None:
    reference = pytest.importorskip("onnx.reference")
    result = run(small, digits, tmp_path / "run", plan={"inner": 8})
    images, _ = next(digits.test.batches(7))
    found = reference.ReferenceEvaluator(str(tmp_path / "run" / "model.onnx")).run(None, {"images": images.numpy()})[0]
    with torch.no_grad():
        assert torch.allclose(torch.from_numpy(found), result.model(images), atol=1e-4)
    imported = hwflow.Network.from_onnx(tmp_path / "run" / "model.onnx", input_shape=(1, *digits.input_shape))
    assert [la.key for la in imported] == [la.key for la in hwflow.Network.from_torch(result.model, (1, *digits.input_shape))]


TIMED = ("times.json", "report.html")


def results(folder: Path) -> dict[str, bytes]:
    """All files of a run but the two that hold times."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file() and path.name not in TIMED}


def test_equal_runs_give_equal_files(small: Small, digits: Data, tmp_path: Path) -> None:
    """Every one, but for the times and the page that shows them; with the same times, the page as well."""
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        run(small, digits, folder, replace(SETTINGS, levels=("coarse", "mid")), accelerator=hwflow.Accelerator.load("eyeriss"))
    assert results(one) == results(two)
    assert {"comparison.json", "costs.json", "log.jsonl", "metrics.json", "model.onnx", "model.pt"} <= results(one).keys()
    assert {path.name for path in one.iterdir()} - results(one).keys() == {*TIMED, "checkpoints"}
    assert json.loads((one / "times.json").read_text())["seconds"]["searches"] > 0
    assert "seconds" not in json.loads((one / "comparison.json").read_text())
    (two / "times.json").write_bytes((one / "times.json").read_bytes())
    write_report(two)
    assert (one / "report.html").read_bytes() == (two / "report.html").read_bytes()


class Stop(Exception):
    """The plug is pulled."""


@pytest.mark.parametrize("moment", ["agent, seed 0", "fine-tuning"])
def test_an_interrupted_run_ends_as_an_uninterrupted_one(small: Small, digits: Data, tmp_path: Path, moment: str) -> None:
    seen = 0

    def pull(done: int, total: int, text: str) -> None:
        nonlocal seen
        seen += text.startswith(moment)
        if seen == 4:
            raise Stop

    with pytest.raises(Stop):
        run(small, digits, tmp_path / "broken", progress=pull)
    assert not (tmp_path / "broken" / "metrics.json").exists()
    with pytest.raises(InputError, match="not finished: it has no model"):
        hwflow.load_pruned(tmp_path / "broken")
    with pytest.raises(InputError, match="json is a file; name the folder of a run"):
        hwflow.load_pruned(tmp_path / "broken" / "config.json")
    run(small, digits, tmp_path / "broken", resume=True)
    run(small, digits, tmp_path / "whole")
    assert results(tmp_path / "broken") == results(tmp_path / "whole")


def test_accuracies_are_kept_in_the_store(small: Small, digits: Data, tmp_path: Path) -> None:
    store = hwflow.Store(tmp_path / "store.sqlite")
    first = run(small, digits, None, store=store)
    again = run(small, digits, None, store=store)
    store.close()
    assert first.contest is not None
    assert again.contest is not None
    assert again.contest.candidates == first.contest.candidates
    assert first.contest.seconds["accuracy of plans"] > 0
    assert again.contest.seconds["accuracy of plans"] == 0


def test_several_levels_and_budgets_on_a_chip(small: Small, digits: Data, tmp_path: Path) -> None:
    """The search at coarse, the kept plans cut to the budgets at mid: what is applied keeps them there."""
    chip = hwflow.Accelerator.load("eyeriss")
    budgets = (Budget("energy", 0.75), Budget("latency", 0.8))
    settings = replace(SETTINGS, levels=("coarse", "mid"), budgets=budgets, keep=3, seeds=(0, 1))
    result = run(small, digits, tmp_path / "run", settings, accelerator=chip)
    before, after = result.costs["mid"]
    assert after.energy_pj is not None
    assert after.latency_s is not None
    assert after.energy_pj <= 0.75 * (before.energy_pj or 0)
    assert after.latency_s <= 0.8 * (before.latency_s or 0)
    assert result.contest is not None
    ranks = result.contest.refined
    assert 1 <= len(ranks) <= 3
    assert [row.rank for row in ranks] == list(range(1, len(ranks) + 1))
    assert dict(result.plan) in [row.plan for row in ranks]
    assert {(c.by, c.seed) for c in result.contest.candidates} >= {("agent", 0), ("agent", 1), ("uniform", None)}


def test_uniform_and_given_plans(small: Small, digits: Data, tmp_path: Path) -> None:
    uniform = run(small, digits, tmp_path / "uniform", plan="uniform")
    assert uniform.contest is None
    before, after = uniform.costs["coarse"]
    assert 0.4 < (after.energy_normalized or 0) / (before.energy_normalized or 1) <= 0.5
    again = run(small, digits, tmp_path / "again", plan=tmp_path / "uniform" / "plan.json")
    assert again.plan == uniform.plan
    with pytest.raises(InputError, match="keeps 17 channels of 'inner'; allowed: "):
        run(small, digits, tmp_path / "wrong", plan={"inner": 17})


def test_settings_change_by_name_as_in_train(small: Small, digits: Data, tmp_path: Path) -> None:
    """`episodes` and `round_to` are of the settings, `epochs` of the fine-tuning's recipe, `samples` of the proxy."""
    asked = {"level": "coarse", "metric": "macs", "episodes": 2, "epochs": 1, "samples": 40, "round_to": 4, "device": "cpu"}
    result = hwflow.prune(small, digits, "eyeriss", output=tmp_path / "run", **asked)  # type: ignore[arg-type]
    settings = json.loads((tmp_path / "run" / "config.json").read_text())["settings"]
    assert (settings["episodes"], settings["round_to"], settings["proxy"]["samples"]) == (2, 4, 40)
    assert settings["tuning"]["epochs"] == 1
    assert len(result.tuning.epochs) == 1
    assert repr(result).startswith("<PruneResult Small: test accuracy ")
    assert "<table>" in result._repr_html_()
    pytest.importorskip("plotly")
    assert result.plot().layout.title.text == "Energy per layer at coarse"
    assert {bar.name for bar in result.plot("energy").data} == set(result.costs["coarse"][0].rows[0].energy_by_level)
    with pytest.raises(InputError, match=r"unknown setting of prune 'episode'\. Did you mean 'episodes'"):
        hwflow.prune(small, digits, level="coarse", episode=3)
    with pytest.raises(InputError, match=r"mapper \(--mapper\) is 'timeloop', which changes nothing at level coarse"):
        hwflow.prune(small, digits, level="coarse", mapper="timeloop")


def test_a_folder_is_not_overwritten(small: Small, digits: Data, tmp_path: Path) -> None:
    run(small, digits, tmp_path / "run", plan={"inner": 16})
    with pytest.raises(InputError, match="holds a pruning run already: --resume continues it"):
        run(small, digits, tmp_path / "run", plan={"inner": 16})
    other = replace(SETTINGS, episodes=7)
    with pytest.raises(InputError, match=r"holds another run.*settings\.episodes was 6, now is 7"):
        run(small, digits, tmp_path / "run", other, plan={"inner": 16}, resume=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(InputError, match="is not empty"):
        run(small, digits, tmp_path / "mine")


def contents(folder: Path) -> dict[str, bytes]:
    """Of a finished run, without what differs between equal runs."""
    files = {p.name: p for p in folder.iterdir() if p.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if name not in ("times.json", "report.html")}


def test_a_longer_search_goes_on_as_if_it_had_not_ended(small: Small, digits: Data, tmp_path: Path) -> None:
    """Bit for bit the run that had the longer search's settings from the start, interrupted once more in between."""
    folder = tmp_path / "run"
    asked = replace(SETTINGS, episodes=3, tuning=replace(TUNING, epochs=1))
    longer = replace(asked, episodes=5)
    run(small, digits, folder, asked)
    before = (folder / "log.jsonl").read_text().splitlines()
    config = (folder / "config.json").read_bytes()
    with pytest.raises(
        InputError, match=r": settings\.keep was 8, now is 3; settings\.episodes was 3, now is 5\. .*--keep, --episodes as"
    ):
        run(small, digits, folder, replace(longer, keep=3), resume=True)
    assert (folder / "config.json").read_bytes() == config
    assert (folder / "metrics.json").exists()

    class Killed(Exception):
        pass

    def kill(done: int, total: int, text: str) -> None:
        if "accuracy" in text and done > total * 0.8:
            raise Killed

    with pytest.raises(Killed):
        run(small, digits, folder, longer, resume=True, progress=kill)
    assert not (folder / "metrics.json").exists(), "the results of the shorter search are not those of this run"
    run(small, digits, folder, longer, resume=True)
    run(small, digits, tmp_path / "whole", replace(longer, begun_with=3))
    assert contents(folder) == contents(tmp_path / "whole")
    after = (folder / "log.jsonl").read_text().splitlines()
    assert len(after) * 3 == len(before) * 5
    assert set(before) < set(after)
    with pytest.raises(InputError, match=r"settings\.episodes was 5, now is 3\. .*--episodes as"):
        run(small, digits, folder, asked, resume=True)


def test_the_warm_up_is_fitted_to_the_episodes_that_a_search_was_begun_with() -> None:
    """Where it is shorter than a third of these anyway, a longer search is the one that a fresh run makes."""
    short = Hyperparameters(warmup=2)
    assert Settings(episodes=60, begun_with=12).learner.warmup == 4
    assert Settings(episodes=60, begun_with=12, agent=short).learner == Settings(episodes=60, agent=short).learner
    assert "begun_with" not in Settings(episodes=60).to_data()
    with pytest.raises(InputError, match="begun_with"):
        Settings(episodes=6, begun_with=7)


def test_two_runs_do_not_share_a_folder(small: Small, digits: Data, tmp_path: Path) -> None:
    """The second is refused while the first one runs, and changes nothing of it; later it may go on."""
    refused: list[str] = []

    def second(done: int, total: int, text: str) -> None:
        if text.startswith("fine-tuning") and not refused:
            config = (tmp_path / "run" / "config.json").read_bytes()
            for resume in (False, True):
                with pytest.raises(InputError) as caught:
                    run(small, digits, tmp_path / "run", replace(SETTINGS, episodes=9), plan={"inner": 8}, resume=resume)
                refused.append(str(caught.value))
            assert (tmp_path / "run" / "config.json").read_bytes() == config

    run(small, digits, tmp_path / "run", plan={"inner": 16}, progress=second)
    assert len(refused) == 2
    assert all("another run is writing in" in text for text in refused)
    run(small, digits, tmp_path / "run", plan={"inner": 16}, resume=True)


def test_what_a_killed_process_left_goes_when_the_run_goes_on(small: Small, digits: Data, tmp_path: Path) -> None:
    run(small, digits, tmp_path / "run", plan={"inner": 16})
    left = [tmp_path / "run" / ".model.pt.a1b2c3_z", tmp_path / "run" / "checkpoints" / ".tuning.pt.00000000"]
    kept = [tmp_path / "run" / ".notes", tmp_path / "run" / ".gitignore"]
    for path in left + kept:
        path.write_text("x")
    run(small, digits, tmp_path / "run", plan={"inner": 16}, resume=True)
    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in kept)


def test_accuracies_are_those_of_the_forward_at_hand(small: Small, digits: Data, tmp_path: Path) -> None:
    """The same modules and weights, put together in another way, are another network."""

    class Other(Small):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(-x)

        def __repr__(self) -> str:
            return Small.__repr__(self).replace("Other", "Small")

    other = Other()
    other.load_state_dict(small.state_dict())
    record_training(other, digits.identity)
    store = hwflow.Store(tmp_path / "store.sqlite")
    first = run(small, digits, None, store=store)
    stale = run(other.eval(), digits, None, store=store)
    fresh = run(other.eval(), digits, None)
    store.close()
    assert stale.contest is not None
    assert fresh.contest is not None
    assert first.contest is not None
    assert stale.contest.candidates == fresh.contest.candidates
    assert stale.contest.candidates[0].judged < first.contest.candidates[0].judged


def test_a_budget_out_of_reach_says_what_is_reachable(small: Small, digits: Data, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"energy=0.02 cannot be reached.*still needs energy=0\.\d+") as caught:
        run(small, digits, tmp_path / "run", replace(SETTINGS, budgets=(Budget("energy", 0.02),)))
    least = float(str(caught.value).split("still needs energy=")[1].split()[0])
    run(small, digits, tmp_path / "least", replace(SETTINGS, budgets=(Budget("energy", least),), episodes=1))
    with pytest.raises(InputError, match="cannot be reached"):
        run(small, digits, tmp_path / "less", replace(SETTINGS, budgets=(Budget("energy", least - 0.001),)))


def test_what_cannot_be_done_shows_before_the_training(digits: Data, tmp_path: Path) -> None:
    """Nothing was done, so the corrected call may have the folder."""
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"settings": replace(SETTINGS, budgets=(Budget("energy", 0.02),))}, "cannot be reached"),
        ({"settings": replace(SETTINGS, objective="heat")}, "unknown objective"),
        ({"plan": {"layer1.0.conv1": 9}}, "allowed: 8, 16"),
        ({"plan": "unifrom"}, "the plan unifrom is no file or folder"),
    ]
    for more, message in wrong:
        with pytest.raises(InputError, match=message):
            hwflow.prune("resnet20", digits, output=tmp_path / "run", store=False, **{"settings": SETTINGS, **more})
        assert not (tmp_path / "run" / "base.pt").exists()
        assert not (tmp_path / "run" / "base.pt.checkpoint").exists()


def test_a_module_with_weights_of_a_file_goes_on(small: Small, digits: Data, tmp_path: Path) -> None:
    """The module's own first weights, which are others in each process, do not matter."""
    save_weights(tmp_path / "weights.pt", small, {})
    mine = Small()
    before = mine.stem.weight.clone()
    first = run(mine, digits, tmp_path / "run", plan={"inner": 16}, weights=tmp_path / "weights.pt")
    assert torch.equal(mine.stem.weight, before), "the given module was changed"
    again = run(Small(), digits, tmp_path / "run", plan={"inner": 16}, weights=tmp_path / "weights.pt", resume=True)
    assert again.after == first.after


def test_the_command_prunes_for_a_chip_of_timeloops_files(
    small: Small, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_weights(tmp_path / "weights.pt", small, {})
    arch = tmp_path / "chip.yaml"
    arch.write_text((DESIGNS / "two_forms_native.yaml").read_text(encoding="utf-8"), encoding="utf-8")

    def prune(*more: str) -> tuple[int, str]:
        model = [f"{Small.__module__}:Small", "--data", "digits", "--weights", str(tmp_path / "weights.pt")]
        way = ["--timeloop-arch", str(arch), "--plan", "uniform", "--epochs", "1", "--device", "cpu", "--jobs", "1"]
        with pytest.raises(SystemExit) as ended:
            cli.main(["prune", *model, *way, "-o", str(tmp_path / "run"), *more])
        return int(ended.value.code or 0), capsys.readouterr().err

    assert prune()[0] == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    chip = hwflow.from_timeloop(arch)
    assert (config["accelerator"], config["accelerator_identity"]) == ("chip", chip.fingerprint)
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    before = hwflow.estimate(hwflow.Network.from_torch(Small(), (1, 1, 8, 8)), chip, objective="energy", store=False)
    assert metrics["before"]["mid"]["energy_pj"] == pytest.approx(before.energy_pj)
    assert metrics["after"]["mid"]["energy_pj"] <= 0.5 * metrics["before"]["mid"]["energy_pj"]
    assert prune("--resume")[0] == 0
    arch.write_text(arch.read_text().replace("global_cycle_seconds: 2e-9", "global_cycle_seconds: 4e-9"))
    code, words = prune("--resume")
    assert code == 2
    assert "accelerator" in words


def test_plans_are_judged_after_a_few_steps_where_asked(small: Small, digits: Data, tmp_path: Path) -> None:
    store = hwflow.Store(tmp_path / "store.sqlite")
    proxy = replace(SETTINGS.proxy, epochs=1, tuned_on=200)
    settings = replace(SETTINGS, proxy=proxy, episodes=2)
    run(small, digits, None, settings, store=store)
    seconds = []
    for tuning in (TUNING, replace(TUNING, momentum=0.5)):
        result = run(small, digits, None, replace(settings, tuning=tuning), store=store)
        assert result.contest is not None
        seconds.append(result.contest.seconds["accuracy of plans"])
    store.close()
    assert seconds[0] == 0 < seconds[1], "accuracies depend on how the steps are trained"


def test_the_parts_of_a_sorted_set_are_apart_and_have_all_classes() -> None:
    """Folders come class by class. What searches see is neither what the last choice sees, nor what the report does."""
    found = parts(200, 2500)
    assert [len(part) for part in found] == [100, 50, 50]
    assert len({place for part in found for place in part.tolist()}) == 200
    for part in found:
        assert 0.3 < int((part < 100).sum()) / len(part) < 0.7
    assert [len(part) for part in parts(5000, 1500)] == [1500, 1500, 1500]
    assert [len(part) for part in parts(3, 10)] == [1, 1, 1]


def test_nothing_to_prune(small: Small, digits: Data, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing can be pruned of Small: .*excluded"):
        run(small, digits, tmp_path / "run", replace(SETTINGS, exclude=("inner", "wide")))


def test_a_loss_that_is_no_number_stops(small: Small, digits: Data, tmp_path: Path) -> None:
    wild = replace(SETTINGS, tuning=replace(TUNING, learning_rate=1e12, warmup_epochs=0))
    with pytest.raises(Diverged):
        run(small, digits, tmp_path / "run", wild, plan={"inner": 16})
    assert not (tmp_path / "run" / "metrics.json").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"levels": ("mild",)}, "unknown level 'mild'"),
        ({"levels": ("mid", "mid")}, "name each level once"),
        ({"episodes": 0}, "episodes is 0"),
        ({"seeds": (1, 1)}, "give each seed once"),
        ({"seeds": (1.5,)}, "a seed is 1.5"),
        ({"metric": "heat"}, "unknown metric 'heat'"),
        ({"budgets": (Budget("macs", 0.5), Budget("macs", 0.4))}, "names macs twice"),
    ],
)
def test_settings_that_cannot_be_used(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(SETTINGS, **change)


def test_a_soft_budget_weighs_cost_against_error(small: Small, digits: Data, tmp_path: Path) -> None:
    result = run(small, digits, tmp_path / "run", replace(SETTINGS, budgets=(), metric="macs"))
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    entry = next(e for e in log if e["by"] == "agent")
    macs = result.grouping.network_for(entry["plan"]).macs
    assert entry["reward"] == pytest.approx(-(1 - entry["accuracy"]) * math.log(macs))


# Who has seen the images ----------------------------------------------------------------------------------------------


def told(model: nn.Module, data: Data, **more: Any) -> list[str]:
    """What a run says of the images that plans are judged on."""
    notes: list[str] = []
    short = replace(SETTINGS, episodes=3, tuning=replace(TUNING, epochs=1))
    run(model, data, more.pop("output", None), short, notify=notes.append, **more)
    return [note for note in notes if "it is not known whether" in note]


def test_a_module_of_unknown_training_is_told_of(small: Small, digits: Data, tmp_path: Path) -> None:
    """A state dict says nothing of its training; a record of `hwflow.train`, in the module or in its file, does."""
    model = Small()
    model.load_state_dict(small.state_dict())
    [note] = told(model, digits)
    assert note.startswith("plans are compared on 143 images held out of the training set of digits")
    assert "whether Small was trained on them (hwflow did not train it)" in note
    torch.save(small.state_dict(), tmp_path / "plain.pt")
    assert len(told(Small(), digits, weights=tmp_path / "plain.pt")) == 1
    assert told(small, digits, plan={"inner": 16}) == []
    assert "--holdout (holdout=) names images that it has not seen, for instance test:0.3" in note
    assert told(model, digits, holdout="test:0.5", output=tmp_path / "held") == []
    assert json.loads((tmp_path / "held" / "config.json").read_text())["holdout"] == "test:0.5"


def test_a_module_that_hwflow_trained_is_known(digits: Data, tmp_path: Path) -> None:
    model, _ = train(Small(), digits, recipe=replace(TUNING, epochs=1, distillation=0.0), output=tmp_path / "w.pt")
    assert told(model, digits) == []
    assert told(Small(), digits, weights=tmp_path / "w.pt") == []
    save_weights(tmp_path / "other.pt", model, {"data_identity": "another"})
    [note] = told(Small(), digits, weights=tmp_path / "other.pt")
    assert "it was trained on other data, or its files were moved since" in note


# What the mappings are for ---------------------------------------------------------------------------------------------


def test_costs_say_what_their_mappings_minimise(small: Small, digits: Data, tmp_path: Path) -> None:
    """Mappings for energy are slower than those that `estimate` finds by itself; both are there, and said."""
    chip = hwflow.Accelerator.load("eyeriss")
    settings = replace(SETTINGS, levels=("mid",), budgets=(Budget("energy", 0.9),))
    result = run(small, digits, tmp_path / "run", settings, accelerator=chip, plan={"inner": 16})
    assert result.objective == "energy"
    usual = hwflow.estimate(result.grouping.network, chip, level="mid")
    before, after = result.remapped["edp"]
    assert (before.cycles, before.energy_pj) == (usual.cycles, usual.energy_pj)
    assert result.costs["mid"][0].energy_pj <= before.energy_pj
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["objective"] == "energy"
    assert metrics["remapped"]["edp"]["after"]["cycles"] == after.cycles
    page = pruned_page(result, settings)
    assert page.title.endswith("search at mid, mappings for energy")
    rows = page.tables[-1].rows
    assert page.tables[-1].headings[:3] == ["level", "mapped for", "metric"]
    told = {(row[0], row[1]) for row in rows if row[0] != "fine"}  # which is there where Timeloop is
    assert told == {("coarse", "-"), ("mid", "energy"), ("mid", "edp")}
    text = (tmp_path / "run" / "report.html").read_text()
    assert "At mid the mappings minimize energy; with other mappings the same networks cost what the second table says" in text
    assert "Totals with other mappings" in text
    same = run(small, digits, None, replace(settings, objective="edp"), accelerator=chip, plan={"inner": 16})
    assert (same.objective, same.remapped) == ("edp", {})


def test_a_run_of_a_callable_needs_permission_to_come_back(
    digits: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Typed as NETWORK it runs; a folder that names it does not, but where the user allows it or gives the module."""
    (tmp_path / "typed_nets.py").write_text(
        "from torch import nn\n"
        "def net():\n"
        "    return nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.Flatten(), nn.Linear(256, 10))\n",
        encoding="utf-8",
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    result = hwflow.prune(
        "typed_nets:net",
        digits,
        settings=SETTINGS,
        plan="uniform",
        training=replace(TUNING, distillation=0.0),
        output=tmp_path / "run",
        store=False,
    )
    made = sys.modules.pop("typed_nets").net
    with pytest.raises(InputError, match=r"run.config\.json names the network 'typed_nets:net', .* --allow-import typed_nets"):
        hwflow.load_pruned(tmp_path / "run")
    assert "typed_nets" not in sys.modules
    monkeypatch.syspath_prepend(str(tmp_path))
    images, _ = next(digits.test.batches(20))
    for again in (
        hwflow.load_pruned(tmp_path / "run", allow_import=["typed_nets"]),
        hwflow.load_pruned(tmp_path / "run", model=made()),
    ):
        with torch.no_grad():
            assert torch.equal(again(images), result.model(images))


def test_a_resumed_run_takes_nothing_but_data_from_its_folder(small: Small, digits: Data, tmp_path: Path) -> None:
    run(small, digits, tmp_path / "run", plan={"inner": 16})
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    (tmp_path / "run" / "config.json").write_text(json.dumps({**config, "network": "os:abort", "module": False}))
    with pytest.raises(InputError, match=r"holds another run.*network was os:abort, now is Small"):
        run(small, digits, tmp_path / "run", plan={"inner": 16}, resume=True)


def test_a_resumed_run_notices_another_dataflow_of_the_chip(small: Small, digits: Data, tmp_path: Path) -> None:
    """A fingerprint leaves the dataflow out; folders of earlier versions, which do not record it, still go on."""

    class Stop(Exception):
        pass

    def stop(done: int, total: int, text: str) -> None:
        raise Stop

    content = {**hwflow.Accelerator.load("eyeriss").model_dump(exclude_none=True), "name": "mine"}
    settings = replace(SETTINGS, levels=("mid",))

    def begin(dataflow: str, *, resume: bool) -> None:
        chip = hwflow.Accelerator.from_dict({**content, "dataflow": dataflow})
        hwflow.prune(small, digits, chip, settings=settings, output=tmp_path / "run", resume=resume, progress=stop, store=False)

    with pytest.raises(Stop):
        begin("row_stationary", resume=False)
    (tmp_path / "run" / "plan.json").write_text("{}")
    with pytest.raises(InputError, match="cannot be continued by this one: dataflow was row_stationary, now is flexible"):
        begin("flexible", resume=True)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    del config["dataflow"]
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    with pytest.raises(Stop):
        begin("row_stationary", resume=True)


@pytest.mark.parametrize("method", ["exact", "legr", "global"])
def test_a_method_that_allocates_takes_no_plan(method: str, small: Small, digits: Data) -> None:
    with pytest.raises(InputError, match=f"the method {method} takes no plan, .*: leave out the plan uniform, or take"):
        hwflow.prune(small, digits, settings=SETTINGS, method=method, plan="uniform")


def test_the_agent_is_the_method_channels_everywhere(small: Small, digits: Data) -> None:
    assert type(method_named("agent")) is type(method_named("channels"))
    given: dict[str, Any] = {"settings": replace(SETTINGS, tuning=replace(TUNING, epochs=1)), "plan": "uniform", "store": False}
    one, other = (hwflow.prune(small, digits, method=name, **given) for name in ("agent", "channels"))
    assert one.plan == other.plan
    with pytest.raises(InputError, match=r"unknown method 'agnt'\. Did you mean 'agent'"):
        method_named("agnt")
