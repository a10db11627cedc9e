"""A killed sweep's Ray processes are ended by the next sweep: those of its session and no others."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from hwflow.sweeping import ray_session

SLEEP = "import time; time.sleep(60)"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_the_next_sweep_ends_what_a_killed_one_left(place: Path, tmp_path: Path) -> None:
    session, other = f"{tmp_path}/ray/session_2026-11-30_1", f"{tmp_path}/ray/session_2026-11-30_2"
    for folder in (session, other):
        Path(folder, "logs").mkdir(parents=True)
    agents = []
    for number in range(2):
        with Path(session, "logs", f"{number}.out").open("w") as log:
            agents.append(subprocess.Popen([sys.executable, "-c", SLEEP], stdout=log))
    with Path(other, "logs", "0.out").open("w") as log, Path(session, "logs", "0.out").open() as read:
        stranger = subprocess.Popen([sys.executable, "-c", SLEEP, session], stdout=log)
        reader = subprocess.Popen([sys.executable, "-c", SLEEP, session], stdin=read)
    program = (
        f"import tempfile, time; tempfile.tempdir = {str(place)!r}\n"
        "from hwflow.sweeping import ray_session\n"
        f"with ray_session.recorded({session!r}): print('there', flush=True); time.sleep(60)\n"
    )
    sweep = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    try:
        assert sweep.stdout is not None
        sweep.stdout.readline()
        ray_session.end_dead()  # it lives
        assert [agent.poll() for agent in agents] == [None, None]
        sweep.send_signal(signal.SIGKILL)
        sweep.wait()
        assert len(list(place.iterdir())) == 1
        ender = subprocess.Popen(
            [sys.executable, "-c", f"import tempfile; tempfile.tempdir = {str(place)!r}\n"
             "from hwflow.sweeping import ray_session; ray_session.end_dead()"]
        )  # fmt: skip
        assert [agent.wait(30) for agent in agents] == [-signal.SIGTERM, -signal.SIGTERM]
        assert ender.wait(30) == 0
        assert (stranger.poll(), reader.poll()) == (None, None)
        assert list(place.iterdir()) == []
    finally:
        if sweep.stdout is not None:
            sweep.stdout.close()
        for process in (*agents, stranger, reader, sweep):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
            process.wait()


def test_a_session_that_ends_leaves_no_word(place: Path) -> None:
    with ray_session.recorded("/tmp/ray/session_x"):
        assert len(list(place.iterdir())) == 1
    assert list(place.iterdir()) == []


def test_a_damaged_record_ends_nothing(place: Path) -> None:
    for text in ("", "/", "/session_", "/tmp/ray/session_", "python"):
        record = ray_session.scratch.hold(Path(tempfile.mkdtemp(prefix=ray_session.PREFIX)))
        (record.path / "session").write_text(text)
        os.close(record.lock)
    start = time.monotonic()
    ray_session.end_dead()
    assert time.monotonic() - start < 5
    assert list(place.iterdir()) == []
