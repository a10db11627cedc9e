"""The Ray cluster that a sweep starts on this machine; a cluster left by a killed sweep is stopped by the next one.

After a kill Ray's agents and workers stay for half a minute or more, with their memory and ports. They change their names, but
all write their logs to the session's folder, which no other session has.
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
_GRACE_S = 2.0
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
    """This user's processes that write to files of the session, where the system has /proc."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            if process.stat().st_uid == os.getuid() and int(process.name) != os.getpid() and _writes(process, session):
                found.append(int(process.name))
    return found


def _writes(process: Path, folder: str) -> bool:
    for link in (process / "fd").iterdir():
        with contextlib.suppress(OSError, IndexError):
            if os.readlink(link).startswith(f"{folder}/"):
                flags = (process / "fdinfo" / link.name).read_text().partition("flags:")[2].split()[0]
                if int(flags, 8) & os.O_ACCMODE != os.O_RDONLY:  # whoever only reads a log is none of Ray's
                    return True
    return False
