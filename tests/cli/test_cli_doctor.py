"""`hwflow doctor`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from terminal import Run


@pytest.mark.usefixtures("no_timeloop")
def test_doctor_says_what_answers_and_the_next_command(hw: Run) -> None:
    code, out, err = hw("doctor")
    assert (code, err) == (0, "")
    for part in ("numpy ", "timeloop-model   not on PATH", "native ", "pytimeloop ", "container ", "eyeriss_256 ", "writable"):
        assert part in out
    assert re.search(r"eyeriss +recorded \(Accelergy: ", out)
    why, next_command = out.splitlines()[-2:]
    assert why == "Next (the fine level needs Timeloop; coarse and mid work):"
    assert next_command.strip().startswith("sudo apt-get install")


def test_doctor_sees_a_cache_that_cannot_be_written(hw: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    code, out, _ = hw("doctor", "--quick")
    assert code == 0
    assert re.search(r"writable +no", out)
    assert out.splitlines()[-1].strip().startswith("export XDG_CACHE_HOME=")
