"""`train_policy` and `hwflow.prune(..., policy=)` on digits: what the folders hold, interruptions, and bad input."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import hwflow
from hwflow import cli
from hwflow.compression.accuracy import ProxySettings
from hwflow.compression.budget import Budget
from hwflow.compression.policies.options import LEARNER, PolicyOptions
from hwflow.compression.policies.policy_run import train_policy
from hwflow.compression.search.policy import Policy
from hwflow.compression.settings import Settings
from hwflow.datasets import Data, load_data
from hwflow.errors import InputError
from hwflow.training import Recipe

OPTIONS = PolicyOptions(
    budgets=(0.3, 0.6),
    level="coarse",
    plans=10,
    episodes=12,
    samples=40,
    learner=replace(LEARNER, warmup=4, hidden=8, updates=0.2),
)
SETTINGS = Settings(
    levels=("coarse",),
    budgets=(Budget("energy", 0.45),),
    episodes=0,
    policy="",
    proxy=ProxySettings(samples=40, batches=1, batch_size=60),
    tuning=Recipe(epochs=1, batch_size=128, precision="float32", device="cpu"),
)
CHIPS = ["eyeriss", "simba"]


class Net(nn.Module):
    """Two convolutions and a classifier, for 8 x 8 images."""

    def __init__(self, wide: int = 32) -> None:
        super().__init__()
        self.one, self.norm = nn.Conv2d(1, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16)
        self.two, self.head = nn.Conv2d(16, wide, 3, 2, 1), nn.Linear(wide, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.two(self.norm(self.one(x)).relu()).relu().mean((2, 3)))


def nets() -> dict[str, Any]:
    torch.manual_seed(0)
    return {"narrow": Net(), "wide": Net(64)}


@pytest.fixture(scope="module")
def digits() -> Data:
    return load_data("digits")


@pytest.fixture(scope="module")
def folder(digits: Data, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("policy") / "p"
    train_policy(nets(), digits, CHIPS, output=place, options=OPTIONS, command="hwflow train-policy ...", store=False)
    return place


def again(place: Path, data: Data, **changes: Any) -> Policy:
    return train_policy(nets(), data, CHIPS, output=place, options=OPTIONS, resume=True, store=False, **changes)


def test_the_policy_says_where_it_comes_from(folder: Path) -> None:
    policy = Policy.load(folder)
    about = policy.about
    assert about["command"] == "hwflow train-policy ..."
    assert set(about["networks"]) == {"narrow", "wide"}
    assert set(about["accelerators"]) == set(CHIPS)
    assert 4 <= about["reached"]["problems"] <= 8
    assert about["accuracy_models"]["wide"]["plans"] == 10
    assert about["versions"]["hwflow"] == hwflow.__version__
    plans = json.loads((folder / "networks" / "wide.json").read_text())
    assert len({tuple(one["plan"].values()) for one in plans}) > 2


def test_what_was_interrupted_ends_with_the_same_bytes(folder: Path, digits: Data, tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(done: int, total: int, text: str) -> None:
        if done == 4 and "plans of wide" in text:
            raise Stop

    place = tmp_path / "p"
    command = "hwflow train-policy ..."
    with pytest.raises(Stop):
        train_policy(nets(), digits, CHIPS, output=place, options=OPTIONS, command=command, store=False, progress=stop)
    again(place, digits)
    assert (place / "policy.pt").read_bytes() == (folder / "policy.pt").read_bytes()


def test_a_longer_training_goes_on_where_the_shorter_one_ended(folder: Path, digits: Data, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "p")
    longer = again(tmp_path / "p", digits, episodes=16)
    whole = train_policy(nets(), digits, CHIPS, output=tmp_path / "w", options=replace(OPTIONS, episodes=16), store=False)
    assert longer.digest == whole.digest != Policy.load(folder).digest
    with pytest.raises(InputError, match=r"options\.episodes was 16, now is 12"):
        again(tmp_path / "p", digits)


def test_only_the_same_training_goes_on(folder: Path, digits: Data, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"holds another training, .*: options\.plans was 10, now is 9\. To continue it, ask the same"
    ):
        again(folder, digits, plans=9)
    with pytest.raises(InputError, match="holds a policy's training already: --resume continues it"):
        train_policy(nets(), digits, CHIPS, output=folder, options=OPTIONS)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="is no folder of a policy's training and is not empty"):
        train_policy(nets(), digits, CHIPS, output=tmp_path, options=OPTIONS)


def test_bad_input_is_refused(digits: Data, tmp_path: Path) -> None:
    def refused(message: str, *chips: str, **changes: Any) -> None:
        with pytest.raises(InputError, match=message):
            train_policy(nets(), digits, chips or CHIPS, output=tmp_path / "x", options=OPTIONS, **changes)

    refused("unknown accelerator 'eyeris'. Did you mean 'eyeriss'", "eyeris")
    refused("'episode' is no option of train_policy; there are budgets,", episode=3)
    refused(r"the budget of energy is 1\.5; it must be a share", budgets=(1.5,))
    refused("unknown metric 'heat'", metrics=("heat",))
    refused("plans is 3; it must be a whole number of at least 8", plans=3)
    refused("no budget of 0.001 can be reached by narrow: name larger ones", budgets=(0.001,))


def test_a_run_plans_without_an_evaluation_and_names_the_policy(folder: Path, digits: Data, tmp_path: Path) -> None:
    run, told = tmp_path / "run", list[str]()
    settings = replace(SETTINGS, policy=str(folder))
    found = hwflow.prune(nets()["wide"], digits, "eyeriss", settings=settings, output=run, store=False, notify=told.append)
    policy = Policy.load(folder)
    assert found.contest is not None
    assert [candidate.by for candidate in found.contest.candidates] == ["unpruned", "global", "uniform", "agent"]
    assert all(candidate.keeps_budget for candidate in found.contest.candidates[1:])
    plan = json.loads((run / "plan.json").read_text())
    assert plan["policy"] == {"name": str(folder), "digest": policy.digest}
    assert json.loads((run / "config.json").read_text())["policy_identity"] == policy.digest
    assert found.summary["agent"] == f"the agent started from {policy.told}"
    assert "started from the policy" in (run / "report.html").read_text(encoding="utf-8")
    assert json.loads((run / "searches.json").read_text())["agent"]["about"]["command"] == "hwflow train-policy ..."


def test_a_few_evaluations_refine_it(folder: Path, digits: Data, tmp_path: Path) -> None:
    settings, told = replace(SETTINGS, policy=str(folder), episodes=4, baselines="none"), list[str]()
    found = hwflow.prune(
        nets()["wide"], digits, "simba", settings=settings, output=tmp_path / "run", store=False, notify=told.append
    )
    assert found.contest is not None
    assert [(candidate.by, candidate.keeps_budget) for candidate in found.contest.candidates] == [
        ("unpruned", False),
        ("agent", True),
    ]
    assert "agent, seed 0" in found.summary
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    changed = replace(Policy.load(other), mean=Policy.load(other).mean + 1)
    changed.save(other / "policy.pt")
    with pytest.raises(InputError, match=r"the policy is another"):
        hwflow.prune(
            nets()["wide"],
            digits,
            "simba",
            settings=replace(settings, policy=str(other)),
            output=tmp_path / "run",
            resume=True,
        )


def test_a_policy_where_it_means_nothing_is_refused(folder: Path, digits: Data) -> None:
    with pytest.raises(InputError, match="is what the agent's search starts from, and the method l1 has none: leave it out"):
        hwflow.prune(Net(), digits, "eyeriss", settings=replace(SETTINGS, policy=str(folder)), method="l1")
    with pytest.raises(InputError, match="changes nothing beside a plan that is given: leave out one of the two"):
        hwflow.prune(Net(), digits, "eyeriss", settings=replace(SETTINGS, policy=str(folder)), plan="uniform")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            ["prune", "resnet20", "--policy", "shipped", "--search", "exact"],
            "the searcher is 'exact': leave out the policy",
        ),
        (["prune", "resnet20", "--policy", "shipped", "--method", "l1"], "--policy shipped changes nothing beside --method l1"),
        (
            ["prune", "resnet20", "--policy", "shipped", "--plan", "uniform"],
            "--policy shipped changes nothing beside --plan",
        ),
        (["prune", "resnet20", "--policy", "no.pt", "--episodes", "0"], "the policy no.pt: there is no such file"),
        (["train-policy", "resnet20="], "resnet20= names no file of weights; write resnet20=FILE"),
        (["train-policy", "resnet20", "resnet20"], "the network resnet20 is named twice"),
        (["train-policy", "resnet20", "--budgets", "half"], "--budgets has 'half', which is no number"),
        (["train-policy", "resnet20", "-a", "eyeris"], "unknown accelerator 'eyeris'"),
    ],
)
def test_the_command_line_refuses(given: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        cli.main([*given, "--data", "digits", *(() if "-a" in given else ("-a", "eyeriss")), "-o", str(tmp_path / "x")])
    assert said in " ".join(capsys.readouterr().err.split())


def test_show_prints_the_provenance(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["show", str(folder)])
    assert end.value.code in (0, None)
    assert json.loads(capsys.readouterr().out)["about"]["data"] == "digits"
