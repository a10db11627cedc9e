"""`hwflow show`, and what is printed as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from terminal import Run, one_paragraph

from hwflow.accelerator import Accelerator, presets
from hwflow.dataflow import dataflows, load_dataflow


@pytest.mark.parametrize("name", [*presets(), *dataflows()])
def test_what_is_shown_can_be_used_as_a_file(hw: Run, tmp_path: Path, name: str) -> None:
    target = tmp_path / "copy.yaml"
    code, out, err = hw("show", name)
    assert (code, err) == (0, "")
    assert hw("show", name, "-o", str(target))[2] == f"hwflow: wrote {target}\n"
    assert target.read_text(encoding="utf-8") == out
    if name in presets():
        assert Accelerator.load(target) == Accelerator.load(name)
    else:
        assert load_dataflow(target) == load_dataflow(name)


def test_an_unknown_name_is_told_what_was_meant(hw: Run) -> None:
    code, out, err = hw("show", "row_stationery")
    assert (code, out) == (2, "")
    assert "Did you mean 'row_stationary'" in one_paragraph(err)


@pytest.mark.parametrize("what", ["networks", "accelerators", "dataflows", "datasets"])
def test_lists_as_json(hw: Run, what: str) -> None:
    code, out, _ = hw("list", what, "--format", "json")
    assert code == 0
    assert list(json.loads(out)) == [line.split()[0] for line in hw("list", what)[1].splitlines()]


def test_quiet_says_nothing_but_errors(hw: Run, tiny: str, tmp_path: Path) -> None:
    assert hw("-q", "estimate", tiny, "-o", str(tmp_path / "a.csv")) == (0, "", "")
    assert hw("estimate", tiny, "-o", str(tmp_path / "b.csv"), "--quiet") == (0, "", "")
    assert one_paragraph(hw("-q", "estimate", "resnet19")[2])


def test_verbose_tells_progress_where_there_is_no_terminal(hw: Run, tiny: str) -> None:
    assert hw("-v", "estimate", tiny, "-a", "eyeriss")[2].startswith("hwflow: tiny at mid\n")


def test_completion_can_be_installed(hw: Run) -> None:
    assert "--install-completion" in hw("--help")[1]
