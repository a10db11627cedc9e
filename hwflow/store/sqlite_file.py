"""The SQLite file of the store: opened on first use, replaced when damaged, and ignored when it cannot be written."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import stat
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

SCHEMA = 2
"""Version of the tables. Those of version 1, which had no checksums, are given them; other versions are left alone, unused."""

_BUSY_S = 30.0
_TABLES = """
CREATE TABLE IF NOT EXISTS entries (kind TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL,
    checksum TEXT NOT NULL, PRIMARY KEY (kind, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS claims (kind TEXT NOT NULL, key TEXT NOT NULL, token TEXT NOT NULL, host TEXT NOT NULL,
    pid INTEGER NOT NULL, started TEXT NOT NULL, heartbeat REAL NOT NULL, PRIMARY KEY (kind, key)) WITHOUT ROWID;
"""
_WITHOUT_CHECKSUMS = 1
_ADD_CHECKSUMS = (
    "ALTER TABLE entries ADD COLUMN checksum TEXT NOT NULL DEFAULT ''",
    "UPDATE entries SET checksum = checksum_of(CAST(kind AS BLOB), CAST(key AS BLOB), CAST(value AS BLOB))",
    f"PRAGMA user_version = {SCHEMA}",
)
_ROW_BYTES = 64 * 2**20  # a longer one was not written by hwflow, and would fill the memory
_REMEDY = "Set XDG_CACHE_HOME to a folder that can be written, to keep them."
_ORPHANS: list[sqlite3.Connection] = []


def checksum_of(kind: bytes, key: bytes, value: bytes) -> str:
    """What shows that a row is as it was written, its key included."""
    return hashlib.blake2b(b"\0".join((kind, key, value)), digest_size=16).hexdigest()


class CacheFile:
    """One SQLite file with the store's tables, for the threads of this process. Other users can neither read nor write it.

    Attributes:
        path: where it is.
        own_folder: whether its folder is there for this file alone, and is made private, too. Folders that are made always are.
        notices: sentences for the user, each once.
        writable: False from the moment at which it refused a write.
    """

    def __init__(self, path: Path, *, own_folder: bool = False) -> None:
        self.path, self.own_folder = path, own_folder
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
        self._make_folder()
        if os.path.exists(self.path) and not os.access(self.path, os.W_OK):
            self._give_up("the file is read-only")
            return _open_read_only(self.path)
        deadline = time.monotonic() + _BUSY_S
        while True:
            self._inode = self.path.stat().st_ino if os.path.exists(self.path) else 0
            db = sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
            try:
                _prepare(db)
                new, self._inode = not self._inode, self.path.stat().st_ino
                for file in self.files():
                    _make_private(file, stat.S_IRUSR | stat.S_IWUSR if new else None)
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

    def _make_folder(self) -> None:
        for folder in reversed([p for p in (self.path.parent, *self.path.parent.parents) if not p.exists()]):
            folder.mkdir(exist_ok=True)
            _make_private(folder, stat.S_IRWXU)
        if self.own_folder:
            _make_private(self.path.parent)

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
        self.notice(f"the cache at {self.path} was damaged ({why}); it was set aside as {aside.name}, and a new one is begun.")

    def _give_up(self, why: str) -> None:
        if self.writable:
            self.writable = False
            self.notice(f"the cache at {self.path} cannot be written: {why}; results are not kept. {_REMEDY}")

    def notice(self, text: str) -> None:
        """Keep a sentence for the user, once."""
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
    try:
        _prepare_tables(db)
    except UnicodeDecodeError as error:  # of SQLite's message, which quotes the damaged file
        damaged = sqlite3.DatabaseError("file is not a database")
        damaged.sqlite_errorcode = sqlite3.SQLITE_NOTADB
        raise damaged from error


def _prepare_tables(db: sqlite3.Connection) -> None:
    _set_up(db)
    version = _version(db)
    if version not in (0, _WITHOUT_CHECKSUMS, SCHEMA):
        raise _other(version)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    if version == 0:
        db.executescript(f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version = {SCHEMA}; COMMIT;")
    if version == _WITHOUT_CHECKSUMS:
        db.create_function("checksum_of", 3, checksum_of, deterministic=True)
        with transaction(db):
            if _version(db) == _WITHOUT_CHECKSUMS:  # no other process was faster
                for statement in _ADD_CHECKSUMS:
                    db.execute(statement)
    db.execute("SELECT COUNT(checksum) FROM entries WHERE kind = ''").fetchone()
    db.execute("SELECT COUNT(*) FROM claims").fetchone()


def _set_up(db: sqlite3.Connection) -> None:
    """What was written by others may be no UTF-8, or of any size."""
    db.text_factory = lambda text: text.decode("utf-8", errors="replace")
    db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _ROW_BYTES)


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _other(version: int) -> sqlite3.DatabaseError:
    return sqlite3.DatabaseError(f"its tables are of version {version}, and this hwflow reads version {SCHEMA}")


def _open_read_only(path: Path) -> sqlite3.Connection:
    """Where the folder cannot be written either, the log's index cannot be made: then the file is read as it stands."""
    for mode in ("mode=ro", "immutable=1"):
        db = sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True, isolation_level=None, check_same_thread=False)
        try:
            _set_up(db)
            db.execute("SELECT COUNT(*) FROM entries").fetchone()
            if (version := _version(db)) != SCHEMA:
                raise _other(version)
            return db
        except sqlite3.OperationalError as error:
            db.close()
            refused = error
    raise refused


def _damaged(error: sqlite3.DatabaseError) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _make_private(path: Path, mode: int | None = None) -> None:
    """Remove the permissions of other users, or set `mode` on a new path; files of other users are left alone."""
    with contextlib.suppress(FileNotFoundError, PermissionError):
        now = stat.S_IMODE(path.stat().st_mode)
        wanted = now & stat.S_IRWXU if mode is None else mode
        if now != wanted:
            path.chmod(wanted)
