"""Temporary folders that are removed by the next process if theirs was killed.

A process holds a lock on a file in each of its folders, which the system releases when the process ends in any way. A folder
whose lock is free belongs to a dead process. A folder that is kept for the user has no such file.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_LOCK, _MAKING = ".hwflow-lock", ".hwflow-lock-new"


@dataclass
class Scratch:
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


def hold(folder: Path) -> Scratch:
    """A fresh folder, held by this process as long as it lives."""
    making = folder / _MAKING
    lock = os.open(making, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    with contextlib.suppress(OSError):  # a file system without locks: others find the file, and cannot lock it either
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    making.rename(folder / _LOCK)  # locked when it can first be seen
    return Scratch(folder, lock)


def clean(place: Path, prefix: str, before: Callable[[Path], None] = lambda _: None) -> list[Path]:
    """Remove the folders of this user's dead processes whose names begin so; `before` is told of each. Gives those gone."""
    gone = []
    for file in place.glob(f"{prefix}*/{_LOCK}"):
        folder = file.parent
        with contextlib.suppress(OSError):  # of another user, held, or removed meanwhile
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            lock = os.open(file, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                before(folder)
                shutil.rmtree(folder)
                gone.append(folder)
            finally:
                os.close(lock)
    return gone
