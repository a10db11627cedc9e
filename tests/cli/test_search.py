"""`hwflow search`: a run from the command line, its report, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hwflow import cli
from hwflow.training.weights import save_weights

NET = (
    "from torch import nn\n"
    "from hwflow.network.models.mobilenet import InvertedResidual\n"
    "def net():\n"
    "    blocks = [InvertedResidual(4, 4, 1, 2, 5), InvertedResidual(4, 4, 1, 2, 5)]\n"
    "    return nn.Sequential(nn.Conv2d(1, 4, 3, 4, 1), *blocks, nn.Flatten(), nn.Linear(16, 10))\n"
)


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(["search", *arguments])
    return int(ended.value.code or 0)


def test_a_search_runs_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And its report shows thresholds and lambda; a second run in the folder is refused."""
    (tmp_path / "search_net.py").write_text(NET)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("hwflow.compression.run.export_onnx", lambda model, shape, path: None)
    import search_net  # type: ignore[import-not-found]

    save_weights(tmp_path / "w.pt", search_net.net(), {})
    asked = ["search_net:net", "--data", "digits", "--weights", "w.pt", "--level", "coarse", "--metric", "macs", "-o", "run"]
    code = run(*asked, "--epochs", "1", "--search-epochs", "2", "--budget", "0.7")
    shown = capsys.readouterr()
    assert code == 0, shown.err
    assert "budget macs=0.7, method singlepath" in shown.out
    assert "after training from fresh weights for 1 epoch" in shown.out
    assert "Plan: 1.kernel: " in shown.out
    assert "Thresholds: they leave " in shown.out
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["after"]["coarse"]["macs"] <= 0.7 * metrics["before"]["coarse"]["macs"]
    report = (tmp_path / "run" / "report.html").read_text()
    for words in ("searched", "2 epochs of the search", "lambda of MACs", "Training from fresh weights", "Every decision"):
        assert words in report, words
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["stage"] for line in lines] == ["preparation", "preparation", "fine-tuning"]
    assert set(lines[0]["strengths"]) == {"macs"}
    assert run(*asked, "--epochs", "1") == 2
    assert "holds a pruning run already: --resume continues it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["resnet20", "--level", "coarse"], "resnet20 has no block to search: none of its modules is an inverted residual"),
        (["small_mbconv"], "--accelerator (or --timeloop-arch) is missing: only --level coarse does without one."),
        (["small_mbconv", "--level", "coarse", "--strength", "-1"], "is -1.0; it must be a number of at least 0"),
        (["small_mbconv", "--level", "coarse", "--seed", "0,1"], "--seed is '0,1'; a search has one seed."),
        (["small_mbconv", "--level", "corse", "-a", "eyeriss"], "unknown level 'corse'"),
    ],
)
def test_what_cannot_be_searched_is_refused(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments, "--data", "digits", "-o", str(tmp_path / "run"), "--metric", "macs") == 2
    assert words in capsys.readouterr().err
