"""`hwflow estimate --level fine` where Timeloop is missing or fails."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from terminal import Run, one_paragraph, untimed


@pytest.mark.usefixtures("no_timeloop")
def test_without_timeloop_mid_answers_and_every_row_says_so(hw: Run, tiny: str) -> None:
    code, out, err = hw("estimate", tiny, "-a", "eyeriss", "--level", "fine", "--format", "json")
    assert code == 0
    assert "fine cannot answer; mid answers instead" in one_paragraph(err)
    data = json.loads(out)
    assert data["level"] == "mid"
    assert all(r["level"] == "mid" and r["note"].startswith("answered at mid instead of fine: ") for r in data["layers"])
    table = hw("estimate", tiny, "-a", "eyeriss", "--level", "fine")[1]
    assert table.count("mid *") == 3
    assert "* answered at mid instead of fine: Timeloop was not found" in table


@pytest.mark.usefixtures("no_timeloop")
@pytest.mark.parametrize("option", [["--strict"], ["--fallback", "none"]])
def test_without_timeloop_strict_fails_with_the_remedy(hw: Run, tiny: str, option: list[str]) -> None:
    code, out, err = hw("estimate", tiny, "-a", "eyeriss", "--level", "fine", *option)
    assert (code, out) == (1, "")
    assert "timeloop-model is not on PATH" in one_paragraph(err)
    assert "Install Timeloop" in err


def test_a_timeloop_that_crashes_moves_the_network_or_fails(
    hw: Run, tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_cache: Path
) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("timeloop-model", "timeloop-mapper"):
        (tools / name).write_text("#!/bin/sh\necho 'ERROR: no such thing'; exit 3\n")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    code, out, err = hw(
        "estimate", tiny, "-a", "eyeriss", "--level", "fine", "--engine", "native", "--format", "json", "--jobs", "1"
    )
    assert code == 0
    assert json.loads(out)["level"] == "mid"
    assert "timeloop-model on layer conv1 failed with exit status 3" in one_paragraph(err)
    again = hw("estimate", tiny, "-a", "eyeriss", "--level", "fine", "--engine", "native", "--format", "json", "--jobs", "1")
    assert untimed(again[1]) == untimed(out)
    code, out, err = hw("estimate", tiny, "-a", "eyeriss", "--level", "fine", "--engine", "native", "--strict")
    assert (code, out) == (1, "")
    assert "ERROR: no such thing" in one_paragraph(err)
