"""The result store: one SQLite file with every result that took time, shared by all processes of a user.

Values are JSON, found by a kind (`mid`, `fine`, `energy`, ...) and a key, which is a hash of everything that the value depends
on. Each has a checksum: a value that is not as it was written, or not of the form that is asked for, is ignored. A *claim*
says that a process is computing a value, so that two processes at once share the work instead of repeating it; the claim of a
process that died is taken over. A store that cannot be used never loses a result: the work goes on without it, and `notices`
says so once.

What a process has lately read from or written to a file it finds in its own memory, without a look into the file. That is safe
because a key's value never changes, whoever computes it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Never

from hwflow.errors import HwflowError
from hwflow.store import owner as _owner
from hwflow.store.sqlite_file import CacheFile, checksum_of, transaction

HEARTBEAT_S = 5.0
STALE_S = 60.0
"""A claim from another machine (or container) whose heart has not beaten for so long is taken over."""
RECENT = 4096
"""Values that a process remembers; one of a layer is about 3 kB of text."""

Accepts = Callable[[Any], bool]
"""Whether a value has the form that it must have."""

_PUT = "INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?)"
_UNCLAIM = "DELETE FROM claims WHERE kind = ? AND key = ? AND token = ?"


@dataclass(frozen=True)
class StoreInfo:
    """What `hwflow cache info` prints."""

    path: Path
    size_bytes: int
    entries: dict[str, int]
    writable: bool


@dataclass(frozen=True)
class Claim:
    """The right, and the duty, to compute one value: end it with `Store.fulfil` or `Store.release`."""

    kind: str
    key: str
    token: str


@dataclass(frozen=True)
class Busy:
    """Somebody else is computing the value; `owner` says who, for people."""

    owner: str


@dataclass(frozen=True)
class Hit:
    """The value is there."""

    value: Any


def default_path() -> Path:
    """$XDG_CACHE_HOME/hwflow/store.sqlite, by default below ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(base) if os.path.isabs(base) else Path("~/.cache").expanduser()
    return root / "hwflow" / "store.sqlite"


def key_of(*content: Any) -> str:
    """The key of a value that depends on `content` (plain data): equal content, equal key."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


class Store:
    """One SQLite file. Safe with many threads and many processes at once, and after `kill -9`."""

    def __init__(self, path: str | Path | None = None) -> None:
        self._file = CacheFile(default_path() if path is None else Path(path), own_folder=path is None)
        self._held: dict[tuple[str, str], str] = {}
        self._pid = 0
        self._heart: threading.Thread | None = None
        self._stop = threading.Event()

    @property
    def path(self) -> Path:
        """Where the file is."""
        return self._file.path

    @property
    def notices(self) -> tuple[str, ...]:
        """Sentences for the user, each once: that nothing is kept, and why."""
        return tuple(self._file.notices)

    # Values ----------------------------------------------------------------------------------------------------------

    def get(self, kind: str, key: str, accepts: Accepts | None = None) -> Any | None:
        """The value, or None where there is none, or none that `accepts`; each call gives a value of its own."""
        recent = _RECENT.get((str(self.path), kind, key))
        if recent is not None:
            return json.loads(recent)
        with self._file.using("read") as db:
            found = None if db is None else self._read(db, kind, key, accepts)
            if found is not None:
                _RECENT.add((str(self.path), kind, key), found[0])
                return found[1]
        return None

    def put(self, kind: str, key: str, value: Any) -> None:
        """Keep a value (plain data). Where the store cannot be written it is not kept, and `notices` says so."""
        text = _text_of(value)
        with self._file.using("write") as db:
            if db is not None and text is not None:
                db.execute(_PUT, _row(kind, key, text))
                _RECENT.add((str(self.path), kind, key), text)

    def _read(self, db: sqlite3.Connection, kind: str, key: str, accepts: Accepts | None) -> tuple[str, Any] | None:
        """The value as text and as it is, where it is as it was written and has the form that it must have."""
        row = db.execute("SELECT value, checksum FROM entries WHERE kind = ? AND key = ?", (kind, key)).fetchone()
        if row is None:
            return None
        text, checksum = row
        if isinstance(text, str) and checksum == _row(kind, key, text)[3]:
            with contextlib.suppress(ValueError, RecursionError):
                value = _DECODER.decode(text)
                if value is not None and (accepts is None or accepts(value)):
                    return text, value
        self._file.notice(f"the cache at {self.path} has damaged entries; what they should hold is computed again.")
        return None

    # Claims ----------------------------------------------------------------------------------------------------------

    def begin(self, kind: str, key: str, accepts: Accepts | None = None) -> Hit | Claim | Busy:
        """The value, the claim to compute it, or who is computing it now; a claim whose owner died is taken over."""
        claim = Claim(kind, key, uuid.uuid4().hex)
        found = self.get(kind, key, accepts)
        if found is not None:
            return Hit(found)
        with self._file.using("write") as db:
            if db is None:
                return claim
            with transaction(db):
                written = self._read(db, kind, key, accepts)
                answer = _claim(db, claim) if written is None else Hit(written[1])
            if isinstance(answer, Claim):
                self._held[kind, key] = claim.token
                self._start_heart()
            return answer
        return claim

    def fulfil(self, claim: Claim, value: Any) -> None:
        """Keep the value that was claimed, and end the claim, in one transaction."""
        text = _text_of(value)
        self._held.pop((claim.kind, claim.key), None)
        with self._file.using("write") as db:
            if db is not None:
                with transaction(db):
                    if text is not None:
                        db.execute(_PUT, _row(claim.kind, claim.key, text))
                    db.execute(_UNCLAIM, (claim.kind, claim.key, claim.token))
                if text is not None:
                    _RECENT.add((str(self.path), claim.kind, claim.key), text)

    def release(self, claim: Claim) -> None:
        """End a claim without a value: the work failed or was interrupted."""
        if self._held.pop((claim.kind, claim.key), None) is not None:
            with self._file.using("write") as db:
                if db is not None:
                    db.execute(_UNCLAIM, (claim.kind, claim.key, claim.token))

    # The file --------------------------------------------------------------------------------------------------------

    def info(self) -> StoreInfo:
        """Path, size, number of entries by kind, and whether the store can be written."""
        entries: dict[str, int] = {}
        if os.path.exists(self.path):
            with self._file.using("read") as db:
                if db is not None:
                    entries = dict(db.execute("SELECT kind, COUNT(*) FROM entries GROUP BY kind ORDER BY kind").fetchall())
        writable = self.writable()
        size = sum(p.stat().st_size for p in self._file.files() if os.path.exists(p))
        return StoreInfo(self.path, size, entries, writable)

    def writable(self) -> bool:
        """Whether a value can be kept; where not, `notices` says why."""
        with self._file.using("write") as db:
            if db is not None:
                db.execute("BEGIN IMMEDIATE")
                db.execute(_PUT, _row("", "probe", "null"))
                db.execute("ROLLBACK")
        return self._file.writable

    def clear(self) -> int:
        """Remove all entries; gives their number.

        Raises:
            HwflowError: where the store cannot be written.
        """
        _RECENT.forget(str(self.path))
        if not os.path.exists(self.path):
            return 0
        removed = 0
        with self._file.using("write") as db:
            if db is not None:
                removed = int(db.execute("DELETE FROM entries").rowcount)
                db.execute("DELETE FROM claims")
                with contextlib.suppress(sqlite3.OperationalError):  # another process reads: the space is reused later
                    db.execute("VACUUM")
        if not self._file.writable:
            raise HwflowError(self.notices[-1])
        return removed

    def close(self) -> None:
        """End the heartbeat and the connection; the store opens again when it is used."""
        self._stop.set()
        self._file.close()

    # The heartbeat: claims are seen to be alive from other machines --------------------------------------------------

    def _start_heart(self) -> None:
        if self._pid != os.getpid():  # a fork took the claims along, but not the right to them
            mine = list(self._held.items())[-1:]
            self._pid, self._heart, self._held = os.getpid(), None, dict(mine)
        if self._heart is None or not self._heart.is_alive() or self._stop.is_set():
            self._stop = threading.Event()
            self._heart = threading.Thread(target=self._beat, args=(self._stop,), name="hwflow-store", daemon=True)
            self._heart.start()

    def _beat(self, stop: threading.Event) -> None:
        while not stop.wait(HEARTBEAT_S):
            with self._file.using("write") as db:
                held = list(self._held.values())
                if db is not None and held:
                    marks = ",".join("?" * len(held))
                    db.execute(f"UPDATE claims SET heartbeat = ? WHERE token IN ({marks})", (time.time(), *held))


class _Recent:
    """Values, as text, that were read or written last, of all files: (path, kind, key). Bounded; what is used stays longest."""

    def __init__(self) -> None:
        self.begin()
        os.register_at_fork(after_in_child=self.begin)  # another thread may hold the lock when a process forks

    def begin(self) -> None:
        self._lock = threading.Lock()
        self._texts: OrderedDict[tuple[str, str, str], str] = OrderedDict()

    def get(self, place: tuple[str, str, str]) -> str | None:
        with self._lock:
            if place in self._texts:
                self._texts.move_to_end(place)
            return self._texts.get(place)

    def add(self, place: tuple[str, str, str], text: str) -> None:
        with self._lock:
            self._texts[place] = text
            while len(self._texts) > RECENT:
                self._texts.popitem(last=False)

    def forget(self, path: str) -> None:
        with self._lock:
            for place in [p for p in self._texts if p[0] == path]:
                del self._texts[place]


_RECENT = _Recent()


def _text_of(value: Any) -> str | None:
    """A value as JSON; None where it is not finite, for which JSON has no words: it is not kept."""
    try:
        return json.dumps(value, separators=(",", ":"), allow_nan=False)
    except ValueError:
        return None


def _row(kind: str, key: str, text: str) -> tuple[str, str, str, str]:
    return kind, key, text, checksum_of(kind.encode(), key.encode(), text.encode())


def _refuse(constant: str) -> Never:
    raise ValueError(f"{constant} is no JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse)


def _claim(db: sqlite3.Connection, claim: Claim) -> Claim | Busy:
    where = (claim.kind, claim.key)
    owner = db.execute("SELECT host, pid, started, heartbeat FROM claims WHERE kind = ? AND key = ?", where).fetchone()
    if owner is not None:
        host, pid, started, heartbeat = owner
        if _owner.alive(host, pid, started, heartbeat, STALE_S):
            return Busy(f"process {pid} on {host.partition('/')[0]}")
    me = (_owner.host(), os.getpid(), _owner.started(os.getpid()), time.time())
    db.execute("INSERT OR REPLACE INTO claims VALUES (?, ?, ?, ?, ?, ?, ?)", (claim.kind, claim.key, claim.token, *me))
    return claim


__all__ = ["Busy", "Claim", "Hit", "Store", "StoreInfo", "default_path", "key_of"]
