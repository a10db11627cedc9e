"""Commands that are interrupted or killed, and two at once."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from terminal import command, one_paragraph


def children(pid: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    return False


def kept(file: Path) -> int:
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as db:
        return int(db.execute("SELECT COUNT(*) FROM entries").fetchone()[0])
    return 0


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_an_interrupted_run_goes_on_where_it_was(own_cache: Path, how: signal.Signals, jobs: str) -> None:
    argv = command("estimate", "alexnet", "-a", "eyeriss", "--energy", "normalized", "--jobs", jobs, "--format", "json")
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: kept(own_cache) >= 2)
    workers = children(process.pid)
    process.send_signal(how)
    out, err = process.communicate(timeout=30)
    assert out == ""
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert "interrupted. What was finished until then is kept" in one_paragraph(err)
    wait_for(lambda: not any(alive(pid) for pid in workers))
    before = kept(own_cache)
    assert 2 <= before < 8
    again = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert again.stderr == ""
    assert kept(own_cache) == 8
    assert len(json.loads(again.stdout)["layers"]) == 8


def test_an_interruption_at_fine_ends_the_tool(tiny: str, tmp_path: Path, own_cache: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("timeloop-model", "timeloop-mapper"):
        (tools / name).write_text(f"#!/bin/sh\necho $$ > {tmp_path}/started\nexec sleep 60\n")
        (tools / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{tools}:/usr/bin:/bin"}
    argv = command("estimate", tiny, "-a", "eyeriss", "--level", "fine", "--engine", "native", "--jobs", "2")
    process = subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    started = tmp_path / "started"
    wait_for(lambda: started.exists() and started.read_text().strip() != "")
    tool = int(started.read_text())
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "")
    assert "interrupted" in one_paragraph(err)
    wait_for(lambda: not alive(tool))


def test_two_runs_at_once_share_the_work(own_cache: Path) -> None:
    argv = command("estimate", "alexnet", "-a", "eyeriss", "--energy", "normalized", "--jobs", "1", "--format", "json")
    runs = [subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    (one, silent), (two, silent_too) = (run.communicate(timeout=60) for run in runs)
    assert silent == silent_too == ""
    assert one == two  # the time that each answer took included: each was computed by one of them only
    assert kept(own_cache) == 8
