"""The SQLite file under the store: opened when it is used, set aside when damaged, done without when it cannot be written."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

SCHEMA = 1
"""Version of the tables. A file of another version is left alone, and not used."""

_BUSY_S = 30.0
_TABLES = """
CREATE TABLE IF NOT EXISTS entries (kind TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL,
    PRIMARY KEY (kind, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS claims (kind TEXT NOT NULL, key TEXT NOT NULL, token TEXT NOT NULL, host TEXT NOT NULL,
    pid INTEGER NOT NULL, started TEXT NOT NULL, heartbeat REAL NOT NULL, PRIMARY KEY (kind, key)) WITHOUT ROWID;
"""
_REMEDY = "Set XDG_CACHE_HOME to a folder that can be written, to keep them."
_ORPHANS: list[sqlite3.Connection] = []


class CacheFile:
    """One SQLite file with the store's tables, for the threads of this process.

    Attributes:
        path: where it is.
        notices: sentences for the user, each once.
        writable: False from the moment at which it refused a write.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notices: list[str] = []
        self.writable = True
        self._readable = True
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._pid = 0
        self._inode = 0

    def __del__(self) -> None:
        if self._connection is not None and self._pid == os.getpid():
            self._connection.close()

    def close(self) -> None:
        """Close the connection; the next use opens it again."""
        with self._lock:
            if self._connection is not None and self._pid == os.getpid():
                self._connection.close()
            self._connection = None

    def files(self) -> list[Path]:
        """The file itself and those that SQLite keeps beside it."""
        return [self.path.with_name(self.path.name + suffix) for suffix in ("", "-wal", "-shm")]

    @contextlib.contextmanager
    def using(self, purpose: Literal["read", "write"]) -> Iterator[sqlite3.Connection | None]:
        """The connection, or None where the store is out of use. What SQLite refuses ends the block, not the program."""
        with self._lock:
            if not self._readable or (purpose == "write" and not self.writable):
                yield None
                return
            db: sqlite3.Connection | None = None
            try:
                db = self._connect()
                yield db
            except sqlite3.DatabaseError as error:
                self._failed(error)
            except OSError as error:
                self._give_up(error.strerror or str(error))
            if db is None:
                yield None

    def _failed(self, error: sqlite3.DatabaseError) -> None:
        if not _damaged(error):
            self._give_up(str(error))
            return
        try:
            self._set_aside(str(error))
        except OSError as refused:
            self._give_up(f"it is damaged ({error}) and cannot be set aside: {refused.strerror}")

    def _connect(self) -> sqlite3.Connection:
        if self._connection is not None and self._pid == os.getpid():
            return self._connection
        if self._connection is not None:
            _ORPHANS.append(self._connection)  # opened before a fork: closing it here would harm the parent's
        self._pid = os.getpid()
        try:
            self._connection = self._open()
        except sqlite3.DatabaseError as error:
            if not _damaged(error):
                self._readable = False
                raise
            self._set_aside(str(error))
            self._connection = self._open()
        except OSError:
            self._readable = False
            raise
        return self._connection

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if os.path.exists(self.path) and not os.access(self.path, os.W_OK):
            self._give_up("the file is read-only")
            return _open_read_only(self.path)
        deadline = time.monotonic() + _BUSY_S
        while True:
            self._inode = self.path.stat().st_ino if os.path.exists(self.path) else 0
            db = sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
            try:
                _prepare(db)
                self._inode = self.path.stat().st_ino
                return db
            except sqlite3.OperationalError as error:
                db.close()
                busy = getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
                if not busy or time.monotonic() > deadline:
                    raise  # turning on the write-ahead log does not wait for others that do the same, so wait here
                time.sleep(0.02)
            except BaseException:
                db.close()
                raise

    def _set_aside(self, why: str) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if not os.path.exists(self.path) or self.path.stat().st_ino != self._inode:
            return  # another process has done so already
        aside = self.path.with_name(f"{self.path.name}.damaged-{uuid.uuid4().hex[:8]}")
        os.replace(self.path, aside)
        for file in self.files()[1:]:
            file.unlink(missing_ok=True)
        self._notice(f"the cache at {self.path} was damaged ({why}); it was set aside as {aside.name}, and a new one is begun.")

    def _give_up(self, why: str) -> None:
        if self.writable:
            self.writable = False
            self._notice(f"the cache at {self.path} cannot be written: {why}; results are not kept. {_REMEDY}")

    def _notice(self, text: str) -> None:
        if text not in self.notices:
            self.notices.append(text)


@contextlib.contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All of the block, or nothing of it."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            db.execute("ROLLBACK")
        raise


def _prepare(db: sqlite3.Connection) -> None:
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    if version not in (0, SCHEMA):
        raise sqlite3.DatabaseError(f"its tables are of version {version}, and this hwflow reads version {SCHEMA}")
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    if version == 0:
        db.executescript(f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version = {SCHEMA}; COMMIT;")
    db.execute("SELECT COUNT(*) FROM claims").fetchone()


def _open_read_only(path: Path) -> sqlite3.Connection:
    """Where the folder cannot be written either, the log's index cannot be made: then the file is read as it stands."""
    for mode in ("mode=ro", "immutable=1"):
        db = sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True, isolation_level=None, check_same_thread=False)
        try:
            db.execute("SELECT COUNT(*) FROM entries").fetchone()
            return db
        except sqlite3.OperationalError as error:
            db.close()
            refused = error
    raise refused


def _damaged(error: sqlite3.DatabaseError) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
