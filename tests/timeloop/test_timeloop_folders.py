"""Folders of runs: gone after an answer, kept after a failure, and removed by the next run where a run was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from hwflow.errors import ToolError
from hwflow.scratch import Scratch, clean, hold
from hwflow.timeloop import running
from hwflow.timeloop.engine import Native
from hwflow.timeloop.process import new_folder
from hwflow.timeloop.running import PREFIX, run_tool
from tests.timeloop.conftest import Install


def open_folder() -> Scratch:
    return hold(new_folder(PREFIX))


def test_a_living_runs_folder_is_left_alone_and_a_kept_one_too(runs: Path) -> None:
    living, kept = open_folder(), open_folder()
    kept.keep()
    assert clean(runs, PREFIX) == []
    assert sorted(p.name for p in runs.iterdir()) == sorted([living.path.name, kept.path.name])
    assert list(kept.path.iterdir()) == []
    living.remove()
    assert [p.name for p in runs.iterdir()] == [kept.path.name]


def test_a_dead_runs_folder_is_removed_and_nothing_else(runs: Path, tmp_path: Path) -> None:
    dead = open_folder()
    (dead.path / "problem.yaml").write_text("problem: {}\n")
    os.close(dead.lock)  # what the system does when the process dies
    (runs / "hwflow-mine").mkdir()
    (runs / "hwflow-mine" / "notes.txt").write_text("no run's\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / ".hwflow-lock").write_text("")
    (runs / "hwflow-link").symlink_to(elsewhere)
    (runs / "other").mkdir()
    (runs / "other" / ".hwflow-lock").write_text("")
    assert clean(runs, PREFIX) == [dead.path]
    assert sorted(p.name for p in runs.iterdir()) == ["hwflow-link", "hwflow-mine", "other"]
    assert (elsewhere / ".hwflow-lock").exists()


def test_killed_runs_leave_nothing_to_the_next(runs: Path, tool: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    tool("timeloop-model", "/bin/sleep 60")
    program = textwrap.dedent(
        f"""
        import tempfile
        tempfile.tempdir = {str(runs)!r}
        from hwflow.timeloop.engine import Native
        from hwflow.timeloop.running import run_tool
        run_tool(["timeloop-model"], {{"a.yaml": "a: 1"}}, Native(), limit_s=60, read=lambda f: 0, what="a run")
        """
    )
    killed = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(3)]
    deadline = time.monotonic() + 60
    while len(list(runs.glob("hwflow-*/output.log"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    for process in killed:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert len(list(runs.iterdir())) == 3
    running._clean_once.cache_clear()  # another process
    tool("timeloop-model", "exit 0")
    run_tool(["timeloop-model"], {}, Native(), limit_s=60, read=lambda _: None, what="a run")
    assert list(runs.iterdir()) == []


def test_a_failed_run_keeps_its_folder_through_later_ones(runs: Path, tool: Install) -> None:
    tool("timeloop-model", "exit 3")
    with pytest.raises(ToolError, match="failed with exit status 3"):
        run_tool(["timeloop-model"], {"a.yaml": "a: 1"}, Native(), limit_s=60, read=lambda _: None, what="a run")
    running._clean_once.cache_clear()
    tool("timeloop-model", "exit 0")
    run_tool(["timeloop-model"], {}, Native(), limit_s=60, read=lambda _: None, what="a run")
    (kept,) = runs.iterdir()
    assert sorted(p.name for p in kept.iterdir()) == ["a.yaml", "command.txt", "output.log"]
