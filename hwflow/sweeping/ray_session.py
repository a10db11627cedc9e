"""The Ray cluster that a sweep starts on this machine, ended with it: by itself, or by the next sweep where it was killed.

After a kill Ray's own processes stay for half a minute, with their memory and ports. All of a session name its folder, which no
other has, in their command lines.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from hwflow import scratch

PREFIX = "hwflow_ray-"
_SESSION = "session"
_GRACE_S = 5.0
_NAMED = re.compile(r"/.*/session_[\w.-]{8,}")  # the time of day and the driver's process id


@contextlib.contextmanager
def recorded(session: str) -> Iterator[None]:
    """Leave word of a session, by its folder, as long as the block runs."""
    record = scratch.hold(Path(tempfile.mkdtemp(prefix=PREFIX)))
    try:
        (record.path / _SESSION).write_text(session, encoding="utf-8")
        yield
    finally:
        record.remove()


def end_dead() -> None:
    """End the sessions of sweeps that were killed."""
    scratch.clean(Path(tempfile.gettempdir()), PREFIX, before=_end)


def _end(record: Path) -> None:
    with contextlib.suppress(OSError):
        session = (record / _SESSION).read_text(encoding="utf-8").strip()
        deadline = time.monotonic() + _GRACE_S
        last = signal.SIGTERM
        while _NAMED.fullmatch(session) and (found := _processes(session)):
            for pid in found:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, last)
            if last == signal.SIGKILL and time.monotonic() > deadline + _GRACE_S:
                return
            if time.monotonic() > deadline:
                last = signal.SIGKILL
            time.sleep(0.1)


def _processes(session: str) -> list[int]:
    """This user's processes that name the session in their command lines, where the system has /proc."""
    found = []
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if (
                line.stat().st_uid == os.getuid()
                and session.encode() in line.read_bytes()
                and int(line.parent.name) != os.getpid()
            ):
                found.append(int(line.parent.name))
    return found
