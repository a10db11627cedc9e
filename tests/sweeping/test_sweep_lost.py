"""Sweeps that are killed, and workers that are lost: the tables are those of a sweep that nothing happened to."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hwflow.sweeping import run
from tests.sweeping.conftest import Sweep, swept, tables

CHIPS = swept(pe_array__rows={"from": 2, "to": 12, "step": 2}, global_buffer__size_kib=[8, 16, 0.001])


def command(path: Path, out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "hwflow", "sweep", str(path), "-o", str(out), "--jobs", "2", *more]


def lines(out: Path) -> list[str]:
    path = out / "records.jsonl"
    return path.read_text().splitlines() if path.exists() else []


@pytest.mark.slow
def test_killed_twenty_times_at_random_moments(sweep_file: Sweep, tmp_path: Path) -> None:
    """Each run loses what it was at only: no line that was whole is ever lost or written again."""
    path, out = sweep_file(accelerators=CHIPS), tmp_path / "out"
    start = time.monotonic()
    run(path, tmp_path / "whole", jobs=2, store=False)
    chance, longest = random.Random(0), 1.5 * (time.monotonic() - start)
    kept: list[str] = []
    for _ in range(20):
        process = subprocess.Popen(
            command(path, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(chance.uniform(0, longest))
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        process.wait()
        now = lines(out)
        assert now[: len(kept)] == kept
        kept = [line for line in now if line.endswith("}")][: len(now) - 1]  # the last may be torn, or not the last in bytes
    done = subprocess.run(command(path, out), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert tables(out) == tables(tmp_path / "whole")
    points = [line.split(",")[0] for line in lines(out)[1:]]
    assert len(points) == len(set(points))


def test_ctrl_c_ends_with_what_is_there_and_says_how_to_go_on(sweep_file: Sweep, tmp_path: Path, own_cache: Path) -> None:
    path, out = sweep_file(accelerators=CHIPS, networks=["tiny.yaml", "resnet18"]), tmp_path / "out"
    process = subprocess.Popen(command(path, out), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while len(lines(out)) < 4 and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 130, stderr
    assert stdout == ""
    assert "points are finished" in stderr
    assert "the same command goes on" in stderr
    assert stderr.count("\n") == 1
    assert len((out / "results.csv").read_text().splitlines()) == len(lines(out))


def descendants(root: int) -> Iterator[tuple[int, str]]:
    """All processes that one started, by number, with their titles."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    for pid in parents:
        above = pid
        while above in parents and above != root:
            above = parents[above]
        if above == root and pid != root:
            with contextlib.suppress(OSError):
                yield pid, (Path("/proc") / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")


@pytest.mark.slow
def test_a_ray_cluster_of_which_a_worker_is_killed(sweep_file: Sweep, tmp_path: Path, own_cache: Path) -> None:
    pytest.importorskip("ray")
    path, out = sweep_file(accelerators=CHIPS, networks=["tiny.yaml", "resnet20"]), tmp_path / "out"
    run(path, tmp_path / "whole", jobs=2, store=False)
    with subprocess.Popen(
        command(path, out, "--runner", "ray"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        half, busy = len(lines(tmp_path / "whole")) // 2, list[int]()
        while not busy and process.poll() is None:
            if len(lines(out)) >= half:
                busy = [pid for pid, title in descendants(process.pid) if title.startswith("ray::cost_unit")]
            time.sleep(0.02)
        assert busy, "no worker was seen at work"
        os.kill(busy[0], signal.SIGKILL)
        stdout, stderr = process.communicate(timeout=500)
    assert process.returncode == 0, stderr
    assert "failed" in stdout
    assert tables(out) == tables(tmp_path / "whole")
