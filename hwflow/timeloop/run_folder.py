"""The folder of one run of a tool: removed when it has answered, kept where it failed, and not left by a run that was killed.

A run holds a lock on a file in its folder, which the system lets go when the process dies, however it dies. The next run
removes folders whose lock nobody holds. A folder that is kept for its user has no such file.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from hwflow.timeloop.process import new_folder

PREFIX = "hwflow-"
_LOCK, _MAKING = ".hwflow-lock", ".hwflow-lock-new"


@dataclass
class RunFolder:
    """A folder and its lock."""

    path: Path
    lock: int

    def keep(self) -> None:
        """Leave it to the user."""
        with contextlib.suppress(OSError):
            (self.path / _LOCK).unlink()
        self._release()

    def remove(self) -> None:
        """Remove it with all that it holds."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._release()

    def _release(self) -> None:
        if self.lock >= 0:
            os.close(self.lock)
        self.lock = -1


def open_folder() -> RunFolder:
    """A fresh folder for one run; the first one of a process removes what dead runs have left.

    Raises:
        ToolError: where none can be made.
    """
    _clean_once(tempfile.gettempdir())
    path = new_folder(PREFIX)
    making = path / _MAKING
    lock = os.open(making, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    with contextlib.suppress(OSError):  # a file system without locks: others find the file, and cannot lock it either
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    making.rename(path / _LOCK)  # locked when it can first be seen
    return RunFolder(path, lock)


@functools.cache
def _clean_once(place: str) -> None:
    clean(Path(place))


def clean(place: Path) -> list[Path]:
    """Remove the folders of dead runs of this user; gives those that are gone."""
    gone = []
    for file in place.glob(f"{PREFIX}*/{_LOCK}"):
        folder = file.parent
        with contextlib.suppress(OSError):  # of another user, or removed meanwhile
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            lock = os.open(file, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
                gone.append(folder)
            finally:
                os.close(lock)
    return gone
