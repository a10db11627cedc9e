"""`hwflow compress` and `hwflow list methods`, from the command line to what stands on the screen."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from hwflow import cli
from hwflow.cli.console import Page
from hwflow.datasets import load_data
from hwflow.datasets.holdout import with_holdout
from hwflow.training.weights import save_weights

NET = (
    "import torch\nfrom torch import nn\n"
    "def net():\n"
    "    torch.manual_seed(0)\n"
    "    layers = [nn.Conv2d(1, 16, 3, 2), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Flatten()]\n"
    "    return nn.Sequential(*layers, nn.Linear(16, 10))\n"
)


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A command without its method and folder, in a folder with a network and its weights."""
    (tmp_path / "compress_net.py").write_text(NET)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("hwflow.compression.run.export_onnx", lambda model, shape, path: None)
    import compress_net  # type: ignore[import-not-found]

    save_weights(tmp_path / "w.pt", compress_net.net(), {})
    torch.manual_seed(0)
    return ["compress", "compress_net:net", "--data", "digits", "--weights", "w.pt", "--level", "coarse", "--epochs", "2"]


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    shown = capsys.readouterr()
    return int(ended.value.code or 0), shown.out, shown.err


def test_one_method_leaves_the_folder_of_prune(asked: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    given = [*asked, "--budget", "0.6", "--method", "srfp", "--scale-start", "0.8", "--scale-law", "cosine", "-o", "one"]
    code, out, err = run(given, capsys)
    assert code == 0, err
    assert "budget energy=0.6, method srfp" in out
    assert "Cut: after 1 epochs of srfp" in out
    settings = json.loads(Path("one/config.json").read_text())["settings"]
    assert settings["gradual"]["scale_law"] == "cosine"
    assert settings["method"] == "srfp"
    assert {"plan.json", "log.jsonl", "metrics.json", "model.pt", "report.html"} <= {p.name for p in Path("one").iterdir()}


def test_bits_and_channels_are_decided_together(asked: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    given = [*asked, "--budget", "0.2", "--search", "exact", "--episodes", "2", "--samples", "20", "--round-to", "4"]
    code, out, err = run([*given, "--decide", "bits,channels", "--word-bits", "4,8", "-o", "both"], capsys)
    assert code == 0, err
    assert "budget energy=0.2, search for channels and bits at coarse" in out
    assert "Channels kept: 0: " in out
    assert "Bits: 0: weights " in out
    content = json.loads(Path("both/plan.json").read_text())
    assert {one["name"] for one in content["decisions"]} >= {"0.weight_bits", "3.activation_bits"}
    assert json.loads(Path("both/config.json").read_text())["settings"]["method"] == "mixed"
    assert {"sensitivities.json", "comparison.json", "report.html"} <= {p.name for p in Path("both").iterdir()}
    capsys.readouterr()
    given = [*asked, "--budget", "0.5", "--episodes", "2", "--samples", "20", "-o", "other", "--epochs", "1"]
    code, _, err = run(["prune", *given[1:], "--method", "bits"], capsys)
    assert code == 0, err


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (["--decide", "bits,chanels"], r"unknown decision 'chanels'. Did you mean 'channels'\? Known: bits, channels"),
        (["--decide", "bits", "--method", "int8"], "--method and --decide both say what is done; give one of them"),
        ([], "--method or --decide is missing. --decide bits,channels searches both"),
        (["--method", "l1", "--word-bits", "4,8"], "--word-bits 4,8 changes nothing with --method l1, only where bits are"),
        (["--method", "int8", "--search", "exact"], "--search exact changes nothing with --method int8, only where plans are"),
        (["--decide", "bits", "--word-bits", "1,8"], "word_bits is 1; it must be a whole number of at least 2"),
        (["--decide", "bits", "--search", "legr"], "the search legr ranks channels by their scores, and bits have none"),
        (
            ["--decide", "bits", "--budget", "energy=0.01"],
            r"energy=0\.01 cannot be reached: with every layer at its fewest bits the network still needs energy=0\.\d+ of the "
            r"unpruned one\. Raise the budget, offer fewer bits \(--word-bits, --edge-bits of .*; or decide channels, too",
        ),
        (
            ["--decide", "bits,channels", "--budget", "energy=0.01"],
            "with every group at its cheapest width and every layer at its",
        ),
    ],
)
def test_what_cannot_be_decided_is_refused(
    given: list[str], text: str, asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run([*asked, "--round-to", "4", *given, "-o", "refused"], capsys)
    assert code == 2
    assert re.search(text, " ".join(err.split())), err
    assert not Path("refused/plan.json").exists()


def test_a_plan_of_channels_is_no_plan_of_bits(asked: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Path("plan.json").write_text('{"groups": [{"name": "0", "kept": 8}]}')
    code, _, err = run(["prune", *asked[1:], "--method", "bits", "--plan", "plan.json", "-o", "p"], capsys)
    assert code == 2
    assert "unknown decision '0'" in err
    assert "This run decides bits alone; the plan is of another one (--decide)" in " ".join(err.split())


def test_a_method_of_shifts_runs_on_the_chip_that_it_asks_for(asked: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    given = [*asked, "--method", "lightnn1", "--budget", "1", "-o", "shifts"]
    code, _, err = run([*given, "--pe-type", "lightpe1"], capsys)
    assert code == 2
    assert "--accelerator (or --timeloop-arch) is missing" in err
    code, _, err = run([*given, "-a", "eyeriss", "--pe-type", "lightpe1"], capsys)
    assert code == 0, err
    assert json.loads(Path("shifts/config.json").read_text())["accelerator"] == "eyeriss (pe_type=lightpe1)"


def test_widths_alone_need_no_budget(asked: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """On a chip whose own words are one power of two, filters of two cost more than the uncompressed network."""
    given = [*asked, "-a", "eyeriss", "--pe-type", "lightpe1", "--method", "flightnn", "--mean-k", "2", "-o", "free"]
    code, out, err = run([*given, "--budget", "none"], capsys)
    assert code == 0, err
    assert "powers of two a filter: 2 on average, at most 2 were asked for" in out
    assert json.loads(Path("free/config.json").read_text())["settings"]["budgets"] == []


def test_options_of_quantization_reach_the_run(asked: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    given = [*asked, "--method", "agent+int", "--weight-bits", "4", "--scheme", "affine", "--post-training", "-o", "both"]
    code, out, err = run([*given, "--budget", "0.4", "--episodes", "2", "--samples", "16"], capsys)
    assert code == 0, err
    assert "weights of 4 bits, activations of 8; affine, a step for each output channel; rounded after training" in out
    settings = json.loads(Path("both/config.json").read_text())["settings"]
    assert (settings["method"], settings["quantization"]["weight_bits"]) == ("channels+int", 4)
    code, _, err = run([*asked, "--method", "int8", "--mean-k", "1.5", "-o", "other"], capsys)
    assert code == 2
    assert "--mean-k 1.5 changes nothing with --method int8, only where filters differ in their powers of two" in err
    code, _, err = run([*asked, "--method", "flightnn", "--mean-k", "3", "-o", "other"], capsys)
    assert code == 2
    assert "mean_k is 3.0; it must be a number of powers of two a filter, 1 to 2" in err


def test_the_chip_can_have_processing_elements_of_a_type(asked: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    given = [*asked, "--accelerator", "eyeriss", "--pe-type", "lightpe1", "--method", "l1", "--criterion", "fpgm"]
    code, out, err = run([*given, "--budget", "0.7", "-o", "typed"], capsys)
    assert code == 0, err
    assert "on eyeriss (pe_type=lightpe1), budget energy=0.7, method l1" in out
    assert json.loads(Path("typed/config.json").read_text())["settings"]["criterion"] == "fpgm"


def test_several_make_a_contest(asked: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    given = [
        *asked,
        "--method",
        "sfp",
        "--budget",
        "0.6",
        "--budget",
        "macs=0.7",
        "--episodes",
        "2",
        "--samples",
        "8",
        "--holdout",
        "test:0.5",
        "-o",
        "c",
    ]
    code, out, err = run(given, capsys)
    assert code == 0, err
    for budget in ("energy=0.6", "macs=0.7"):
        assert budget in out
    for words in ("unpruned", "scratch", "channels", "against l1", "one seed"):
        assert words in out
    assert len(json.loads(Path("c/results.json").read_text())) == 8
    identity = json.loads(Path("c/contest.json").read_text())["data_identity"]
    assert identity == with_holdout(load_data("digits"), "test:0.5").identity
    code, _, err = run(given, capsys)
    assert code == 2
    assert "c holds a contest already: --resume continues it" in err


def test_curves_make_a_contest_of_one_method(
    asked: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[list[str]] = []
    shown: list[tuple[Any, ...]] = []

    def contest_of(*_: Any, **given: Any) -> Any:
        held.append(given["methods"])
        return SimpleNamespace(failed={})

    monkeypatch.setattr("hwflow.pruning.compress_many", contest_of)
    monkeypatch.setattr("hwflow.dynamic.contest_curves.add_curves", lambda *given, **_: shown.append(given))
    monkeypatch.setattr("hwflow.cli.contest_page.contest_page", lambda *_: Page("contest", []))
    given = [*asked, "--method", "l1", "--budget", "0.6", "--curves", "runs/levels", "--curves", "runs/library", "-o", "c"]
    code, _, err = run(given, capsys)
    assert code == 2
    assert "runs/levels holds no networks" in err
    assert held == [], "what cannot be shown is refused before anything is trained"
    monkeypatch.setattr("hwflow.dynamic.contest_curves.check_folders", lambda *_: {})
    code, _, err = run(given, capsys)
    assert code == 0, err
    assert held == [["l1"]]
    ((contest, folders, whole, data, chip, settings),) = shown
    assert (contest, folders) == (Path("c"), [Path("runs/levels"), Path("runs/library")])
    assert (data.name, chip, settings.levels, settings.budgets[0].share) == ("digits", None, ("coarse",), 0.6)
    assert whole(torch.zeros(1, 1, 8, 8)).shape == (1, 10)


def test_wrong_use_is_named(asked: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for more, words in (
        (["--method", "srpf"], "unknown method 'srpf'. Did you mean 'srfp'?"),
        (["--method", "sfp", "--allocate", "nowhere.json"], "unknown allocation or file of a plan 'nowhere.json'"),
        (["--method", "agent", "--allocate", "runs/a"], "chooses how many channels are kept itself"),
        (["--method", "greg1"], "Train for at least 5 epochs"),
        (["--method", "sfp", "--unit", "row"], "unit is 'row'; allowed: channel, column"),
    ):
        code, _, err = run([*asked, *more, "-o", "wrong"], capsys)
        assert (code, words in " ".join(err.split())) == (2, True), err


def test_methods_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(["list", "methods"], capsys)
    assert code == 0
    lines = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert {"channels", "l1", "sfp", "asfp", "srfp", "asrfp", "increg", "greg1", "greg2", "scratch"} <= lines.keys()
    assert "the chip needs" not in lines["greg1"]
    assert "the chip needs shifts (--pe-type lightpe1)" in lines["lightnn1"]
    assert "arXiv:2012.09243" in lines["greg1"]
