"""Shared by the folders of compression runs and sweeps: a lock against concurrent runs, and the settings of a resumed run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hwflow.errors import HwflowError, InputError
from hwflow.optional import needed


@contextlib.contextmanager
def held(folder: Path, lock: Path, extra: str) -> Iterator[None]:
    """Keep other runs out of a folder, by a lock file in it that stays; the lock ends with the process.

    Args:
        extra: the extra of the package that installs filelock.

    Raises:
        InputError: where another run has the folder.
        HwflowError: where the lock file cannot be written, or the file system knows no locks.
        MissingDependency: where filelock is not installed.
    """
    needed("filelock", f"the lock of {folder}", extra)
    from filelock import FileLock, Timeout

    taken = FileLock(lock, blocking=False)
    try:
        taken.acquire()
    except Timeout:
        raise InputError(f"another run is writing in {folder}: wait until it has ended, or name another folder.") from None
    except NotImplementedError as error:
        raise HwflowError(
            f"the file system of {folder} knows no locks, so another run could write over this one: name a folder elsewhere."
        ) from error
    except OSError as error:
        raise HwflowError(f"cannot write in {folder}: {error.strerror or error}.") from error
    try:
        yield
    finally:
        taken.release(force=True)


def differences(before: Any, now: Any, path: str = "") -> list[str]:
    """What differs between two plain descriptions, as `field was old, now is new`."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        head = f"{path}." if path else ""
        names = dict.fromkeys([*before, *now])
        return [text for name in names for text in differences(before.get(name), now.get(name), f"{head}{name}")]
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        pairs = enumerate(zip(before, now, strict=True))
        return [text for i, (old, new) in pairs for text in differences(old, new, f"{path}[{i}]")]
    return [] if before == now else [f"{path} was {_shown(before)}, now is {_shown(now)}"]


def _shown(value: Any) -> str:
    return "not there" if value is None else str(value)
