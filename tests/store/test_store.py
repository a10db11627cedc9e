"""The store: what it keeps, who may compute, and what happens when files, disks and processes fail."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import hwflow.store.store as store_module
from hwflow.errors import HwflowError
from hwflow.store import Busy, Claim, Hit, Store, default_path, key_of
from hwflow.store import owner as _owner


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "store.sqlite"


@pytest.fixture(autouse=True)
def _forgetful(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests are about the file; what a process remembers of it has tests of its own."""
    if "remembering" not in request.fixturenames:
        monkeypatch.setattr(store_module, "RECENT", 0)


@pytest.fixture
def remembering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "_RECENT", store_module._Recent())


@contextlib.contextmanager
def python(program: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A process of its own that runs `program`; killed at the end."""
    argv = [sys.executable, "-c", program, *map(str, arguments)]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


# What a process remembers --------------------------------------------------------------------------------------------


def gone(path: Path) -> None:
    """Empty the file behind the back of this process."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("DELETE FROM entries")
        db.commit()


@pytest.mark.usefixtures("remembering")
def test_what_was_read_or_written_is_remembered_without_the_file(file: Path) -> None:
    Store(file).put("mid", "put", [1])
    claim = Store(file).begin("mid", "fulfilled")
    assert isinstance(claim, Claim)
    Store(file).fulfil(claim, [2])
    gone(file)
    store = Store(file)
    assert (store.get("mid", "put"), store.begin("mid", "fulfilled")) == ([1], Hit([2]))
    with python(f"from hwflow.store import Store; print(Store({str(file)!r}).get('mid', 'put'))") as other:
        assert line_of(other) == "None"


@pytest.mark.usefixtures("remembering")
def test_what_others_wrote_is_found_and_then_remembered(file: Path) -> None:
    store = Store(file)
    assert store.get("mid", "k") is None
    with python(f"from hwflow.store import Store; Store({str(file)!r}).put('mid', 'k', 7); print('done')") as other:
        assert line_of(other) == "done"
    assert store.get("mid", "k") == 7
    gone(file)
    assert store.get("mid", "k") == 7


@pytest.mark.usefixtures("remembering")
def test_memory_belongs_to_a_file_and_ends_with_clear(file: Path, tmp_path: Path) -> None:
    other = Store(tmp_path / "other.sqlite")
    Store(file).put("mid", "k", 1)
    other.put("mid", "other", 2)
    assert other.get("mid", "k") is None
    assert Store(file).clear() == 1
    assert Store(file).get("mid", "k") is None
    assert other.get("mid", "other") == 2


@pytest.mark.usefixtures("remembering")
def test_nobody_can_change_what_is_remembered(file: Path) -> None:
    store = Store(file)
    store.put("mid", "k", {"a": [1]})
    store.get("mid", "k")["a"].append(2)
    assert store.get("mid", "k") == {"a": [1]}


@pytest.mark.usefixtures("remembering")
def test_memory_is_bounded_and_keeps_what_is_used(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "RECENT", 3)
    store = Store(file)
    for key in "abc":
        store.put("mid", key, key)
    store.get("mid", "a")
    store.put("mid", "d", "d")
    gone(file)
    assert [store.get("mid", key) for key in "abcd"] == ["a", None, "c", "d"]


@pytest.mark.usefixtures("remembering")
def test_a_value_that_was_not_written_is_not_remembered(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = Store(tmp_path / "file" / "store.sqlite")
    store.put("mid", "k", 1)
    assert store.get("mid", "k") is None


@pytest.mark.usefixtures("remembering")
def test_threads_share_a_memory(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "RECENT", 8)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: Store(file).put("mid", str(n % 20), n % 20), range(200)))
        answers = list(pool.map(lambda n: Store(file).get("mid", str(n % 20)), range(200)))
    assert answers == [n % 20 for n in range(200)]


# Values --------------------------------------------------------------------------------------------------------------


def test_keeps_plain_data_exactly(file: Path) -> None:
    value = {"a": [1, 2.5, 0.1 + 0.2, None, "µ"], "b": {"c": True}}
    Store(file).put("mid", "k", value)
    assert Store(file).get("mid", "k") == value
    assert Store(file).get("fine", "k") is None
    assert Store(file).get("mid", "other") is None


def test_a_value_can_be_null_like(file: Path) -> None:
    store = Store(file)
    store.put("mid", "zero", 0)
    assert store.begin("mid", "zero") == Hit(0)


def test_equal_content_has_equal_keys() -> None:
    assert key_of({"a": 1, "b": (1, 2)}) == key_of({"b": [1, 2], "a": 1})
    assert key_of(1) != key_of("1") != key_of([1])


def test_default_place_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert default_path() == Path(os.environ["XDG_CACHE_HOME"]) / "hwflow" / "store.sqlite"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/paths/are/ignored")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_path() == tmp_path / ".cache" / "hwflow" / "store.sqlite"


def test_info_and_clear(file: Path) -> None:
    store = Store(file)
    assert store.clear() == 0
    store.put("mid", "a", 1)
    store.put("mid", "b", 2)
    store.put("fine", "a", 3)
    info = store.info()
    assert (info.path, info.entries, info.writable) == (file, {"fine": 1, "mid": 2}, True)
    assert info.size_bytes > 0
    assert store.clear() == 3
    assert store.info().entries == {}
    assert store.get("mid", "a") is None
    assert store.notices == ()


# Claims --------------------------------------------------------------------------------------------------------------


def test_one_computes_the_others_wait(file: Path) -> None:
    one, two = Store(file), Store(file)
    claim = one.begin("mid", "k")
    assert isinstance(claim, Claim)
    busy = two.begin("mid", "k")
    assert isinstance(busy, Busy)
    assert str(os.getpid()) in busy.owner
    one.fulfil(claim, {"x": 1})
    assert two.begin("mid", "k") == Hit({"x": 1})


def test_a_released_claim_is_free(file: Path) -> None:
    one, two = Store(file), Store(file)
    claim = one.begin("mid", "k")
    assert isinstance(claim, Claim)
    one.release(claim)
    assert isinstance(two.begin("mid", "k"), Claim)


_OWN = """
import sys, time
from hwflow.store import Store
store = Store(sys.argv[1])
print(type(store.begin("mid", "k")).__name__, flush=True)
time.sleep(60)
"""


def test_the_claim_of_a_killed_process_is_taken_over(file: Path) -> None:
    store = Store(file)
    with python(_OWN, file) as owner:
        assert line_of(owner) == "Claim"
        assert isinstance(store.begin("mid", "k"), Busy)
        os.kill(owner.pid, signal.SIGKILL)
        owner.wait()
        assert isinstance(store.begin("mid", "k"), Claim)


def test_the_claim_of_an_unreaped_process_is_taken_over(file: Path) -> None:
    store = Store(file)
    with python(_OWN, file) as owner:
        assert line_of(owner) == "Claim"
        os.kill(owner.pid, signal.SIGKILL)
        deadline = time.monotonic() + 5
        while isinstance(store.begin("mid", "k"), Busy):  # a zombie until the `with` ends
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.mark.parametrize(
    ("host", "started", "age", "taken"),
    [
        ("here", "1", 0.0, True),  # the process id lives, but as another process
        ("here", "now", 1e6, False),  # alive here: its age does not matter
        ("elsewhere/boot", "1", 5.0, False),
        ("elsewhere/boot", "1", 1000.0, True),
    ],
)
def test_who_counts_as_alive(file: Path, host: str, started: str, age: float, taken: bool) -> None:
    store = Store(file)
    store.put("x", "x", 1)
    row = (
        _owner.host() if host == "here" else host,
        os.getpid(),
        _owner.started(os.getpid()) if started == "now" else started,
        time.time() - age,
    )
    with contextlib.closing(sqlite3.connect(file)) as db, db:
        db.execute("INSERT INTO claims VALUES ('mid', 'k', 'token', ?, ?, ?, ?)", row)
    assert isinstance(store.begin("mid", "k"), Claim if taken else Busy)


def test_the_heart_beats_while_a_claim_is_held(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hwflow.store.HEARTBEAT_S", 0.02)
    store = Store(file)
    claim = store.begin("mid", "k")
    with contextlib.closing(sqlite3.connect(file)) as db:
        first = db.execute("SELECT heartbeat FROM claims").fetchone()[0]
        deadline = time.monotonic() + 60
        while db.execute("SELECT heartbeat FROM claims").fetchone()[0] <= first:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert isinstance(claim, Claim)
    store.release(claim)
    store.close()


_SHARE = """
import os, random, sys, time
from hwflow.store import Busy, Claim, Hit, Store
path, log, count, seed = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
store = Store(path)
todo = list(range(count))
random.Random(seed).shuffle(todo)
while todo:
    n = todo.pop(0)
    state = store.begin("mid", str(n))
    if isinstance(state, Busy):
        todo.append(n)
        time.sleep(0.001)
    elif isinstance(state, Claim):
        with open(log, "a") as f:
            f.write(f"{n}\\n")
        time.sleep(0.002)
        store.fulfil(state, {"square": n * n})
    else:
        assert state == Hit({"square": n * n}), state
assert store.notices == (), store.notices
"""


def test_many_processes_neither_corrupt_nor_repeat_work(file: Path, tmp_path: Path) -> None:
    log, count = tmp_path / "log", 60
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(python(_SHARE, file, log, count, seed)) for seed in range(6)]
        assert [w.wait(timeout=60) for w in workers] == [0] * 6
    assert sorted(map(int, log.read_text().split())) == list(range(count))
    with contextlib.closing(sqlite3.connect(file)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert db.execute("SELECT COUNT(*) FROM entries").fetchone() == (count,)
        assert db.execute("SELECT COUNT(*) FROM claims").fetchone() == (0,)


_WRITE = """
import sys
from hwflow.store import Claim, Store
store = Store(sys.argv[1])
n = 0
while True:
    claim = store.begin("mid", f"{sys.argv[2]}-{n}")
    assert isinstance(claim, Claim)
    store.fulfil(claim, {"n": n, "filling": "x" * 5000})
    print(n, flush=True)
    n += 1
"""


def test_kill_9_while_writing_loses_at_most_what_was_in_flight(file: Path) -> None:
    for round_ in range(4):
        with python(_WRITE, file, round_) as writer:
            for _ in range(5 + 7 * round_):
                last = int(line_of(writer))
            os.kill(writer.pid, signal.SIGKILL)
            writer.wait()
        store = Store(file)
        for n in range(last + 1):
            assert store.get("mid", f"{round_}-{n}") == {"n": n, "filling": "x" * 5000}
        assert store.notices == ()
        store.close()


# What others changed -------------------------------------------------------------------------------------------------

WHOLE = {"energy": 2.5, "cycles": 3}


def changed(file: Path, statement: str, *values: object) -> None:
    """Edit the file behind the back of the store, which is told nothing."""
    with contextlib.closing(sqlite3.connect(file)) as db, db:
        db.execute(statement, values)


@pytest.mark.parametrize(
    "value",
    [
        "no JSON",
        '{"energy":-2.5,"cycles":3}',
        '{"energy":NaN,"cycles":3}',
        '{"energy":2.5}',
        '{"energy":2.5,"cycles":3} ',
        "null",
        "",
        "[" * 100_000,
        b"\xff\xfe",
        b'{"energy":2.5,"cycles":3}',
        7,
        2.5,
    ],
    ids=str,
)
def test_an_edited_value_counts_as_none_and_is_replaced(file: Path, value: object) -> None:
    store = Store(file)
    for key in ("k", "l"):
        store.put("mid", key, WHOLE)
    store.put("mid", "whole", WHOLE)
    changed(file, "UPDATE entries SET value = ? WHERE key != 'whole'", value)
    assert store.get("mid", "k") is None
    assert store.get("mid", "whole") == WHOLE
    for key in ("k", "l"):
        claim = store.begin("mid", key)
        assert isinstance(claim, Claim)
        store.fulfil(claim, WHOLE)
        assert store.begin("mid", key) == Hit(WHOLE)
    assert store.notices == (f"the cache at {file} has damaged entries; what they should hold is computed again.",)


@pytest.mark.parametrize("checksum", ["", "0" * 32, "x", 5, b"\xff", "é"])
def test_a_checksum_that_does_not_fit_is_no_checksum(file: Path, checksum: object) -> None:
    Store(file).put("mid", "k", WHOLE)
    changed(file, "UPDATE entries SET checksum = ?", checksum)
    assert Store(file).get("mid", "k") is None


@pytest.mark.parametrize("statement", ["UPDATE entries SET kind = 'fine'", "UPDATE entries SET key = 'l'"])
def test_a_value_under_another_key_counts_as_none(file: Path, statement: str) -> None:
    Store(file).put("mid", "k", WHOLE)
    changed(file, statement)
    store = Store(file)
    assert [store.get(kind, key) for kind in ("mid", "fine") for key in "kl"] == [None] * 4
    assert len(store.notices) == 1


def test_bytes_that_are_no_text_in_a_text_column(file: Path) -> None:
    Store(file).put("mid", "k", WHOLE)
    changed(file, "UPDATE entries SET value = CAST(x'7bff7d' AS TEXT), checksum = CAST(x'ff' AS TEXT)")
    store = Store(file)
    assert store.get("mid", "k") is None
    store.put("mid", "k", WHOLE)
    assert store.get("mid", "k") == WHOLE


def test_a_row_that_would_fill_the_memory_is_not_read(file: Path) -> None:
    Store(file).put("mid", "k", WHOLE)
    changed(file, "UPDATE entries SET value = zeroblob(70000000)")
    store = Store(file)
    assert store.get("mid", "k") is None
    assert isinstance(store.begin("mid", "k"), Claim)


def test_a_value_of_another_form_counts_as_none(file: Path) -> None:
    store = Store(file)
    store.put("mid", "k", WHOLE)
    assert store.get("mid", "k", lambda value: "mapping" in value) is None
    assert isinstance(store.begin("mid", "k", lambda value: "mapping" in value), Claim)
    assert store.get("mid", "k", lambda value: "energy" in value) == WHOLE
    assert len(store.notices) == 1


@pytest.mark.parametrize("value", [float("nan"), [float("inf")], {"a": -float("inf")}])
def test_what_json_has_no_words_for_is_not_kept(file: Path, value: object) -> None:
    store = Store(file)
    store.put("mid", "k", value)
    claim = store.begin("mid", "k")
    assert isinstance(claim, Claim)
    store.fulfil(claim, value)
    assert isinstance(store.begin("mid", "k"), Claim)
    assert store.notices == ()


@pytest.mark.parametrize("name", ["host", "pid", "started", "heartbeat"])
@pytest.mark.parametrize("value", ["x", "", b"\xff", -1, 0, 2**63 - 1, 1.5, float("inf"), -float("inf")], ids=repr)
def test_a_claim_of_any_form_neither_fails_nor_blocks(file: Path, name: str, value: object) -> None:
    Store(file).put("mid", "x", 1)
    row = {"host": _owner.host(), "pid": 2**22 + 1, "started": "1", "heartbeat": time.time(), name: value}
    changed(file, "INSERT INTO claims VALUES ('mid', 'k', 'token', ?, ?, ?, ?)", *row.values())
    store = Store(file)
    if name == "host" and not isinstance(value, bytes):  # another machine, whose claim ends unless its heart beats
        assert isinstance(store.begin("mid", "k"), Busy)
    else:
        assert isinstance(store.begin("mid", "k"), Claim)


@pytest.mark.parametrize("ahead_s", [100.0, 1e6, 1e12, 1e300])
def test_a_claim_from_a_clock_ahead_does_not_block(file: Path, ahead_s: float) -> None:
    Store(file).put("mid", "x", 1)
    row = ("elsewhere/boot", 1, "1", time.time() + ahead_s)
    changed(file, "INSERT INTO claims VALUES ('mid', 'k', 'token', ?, ?, ?, ?)", *row)
    assert isinstance(Store(file).begin("mid", "k"), Claim)


# Who may look --------------------------------------------------------------------------------------------------------


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def umask() -> Iterator[Callable[[int], int]]:
    before = os.umask(0)
    yield os.umask
    os.umask(before)


@pytest.mark.parametrize("mask", [0o000, 0o002, 0o022, 0o077, 0o777])
def test_a_store_is_private_whatever_the_umask(mask: int, tmp_path: Path, umask: Callable[[int], int]) -> None:
    file = tmp_path / "new" / "hwflow" / "store.sqlite"
    umask(mask)
    store = Store(file)
    store.put("mid", "k", 1)
    beside = sorted(p.name for p in file.parent.iterdir())
    assert beside == ["store.sqlite", "store.sqlite-shm", "store.sqlite-wal"]
    assert [_mode(p) for p in (file.parent, file.parent.parent)] == [0o700] * 2
    assert [_mode(p) for p in file.parent.iterdir()] == [0o600] * 3
    assert Store(file).get("mid", "k") == 1


def test_an_open_store_becomes_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    Store().put("mid", "k", 1)
    for path, mode in ((tmp_path, 0o755), (tmp_path / "hwflow", 0o755), (default_path(), 0o644)):
        path.chmod(mode)
    assert Store().get("mid", "k") == 1
    assert [_mode(p) for p in (tmp_path, tmp_path / "hwflow", default_path())] == [0o755, 0o700, 0o600]


def test_a_folder_that_was_there_is_left_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    Store(tmp_path / "mine.sqlite").put("mid", "k", 1)
    assert (_mode(tmp_path), _mode(tmp_path / "mine.sqlite")) == (0o755, 0o600)


# Stores of before ----------------------------------------------------------------------------------------------------

_VERSION_1 = """
CREATE TABLE entries (kind TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (kind, key)) WITHOUT ROWID;
CREATE TABLE claims (kind TEXT NOT NULL, key TEXT NOT NULL, token TEXT NOT NULL, host TEXT NOT NULL,
    pid INTEGER NOT NULL, started TEXT NOT NULL, heartbeat REAL NOT NULL, PRIMARY KEY (kind, key)) WITHOUT ROWID;
INSERT INTO entries VALUES ('mid', 'k', '{"energy":2.5,"cycles":3}'), ('mid', 'é', '"é"'), ('mid', 'nan', 'NaN');
INSERT INTO entries VALUES ('mid', 'text', 'no JSON'), ('mid', 'bytes', x'ff'), ('mid', 'number', 7);
INSERT INTO entries VALUES ('mid', 'no text', CAST(x'22ff22' AS TEXT));
PRAGMA user_version = 1;
"""


@pytest.fixture
def old(file: Path) -> Path:
    file.parent.mkdir()
    with contextlib.closing(sqlite3.connect(file)) as db:
        db.executescript(_VERSION_1)
    return file


def test_a_store_without_checksums_is_given_them(old: Path) -> None:
    for store in (Store(old), Store(old)):
        assert (store.get("mid", "k"), store.get("mid", "é")) == (WHOLE, "é")
        assert store.notices == ()
        assert [store.get("mid", key) for key in ("nan", "text", "bytes", "no text")] == [None] * 4
    changed(old, "UPDATE entries SET value = replace(value, '2.5', '-2.5')")
    assert Store(old).get("mid", "k") is None
    with contextlib.closing(sqlite3.connect(old)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (2,)


def test_a_store_without_checksums_that_cannot_be_written_is_not_read(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK and real(path, mode))  # root may write anything
    store = Store(old)
    assert store.get("mid", "k") is None
    assert any("its tables are of version 1" in notice or "read-only" in notice for notice in store.notices)


def test_processes_that_open_an_old_store_at_once(old: Path) -> None:
    program = f"from hwflow.store import Store; s = Store({str(old)!r}); print(s.get('mid', 'k'), s.notices)"
    with contextlib.ExitStack() as stack:
        others = [stack.enter_context(python(program)) for _ in range(4)]
        assert [line_of(other) for other in others] == [f"{WHOLE} ()"] * 4


# What fails ----------------------------------------------------------------------------------------------------------


def test_a_place_that_cannot_be_written_loses_no_result_and_says_so_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    store = Store(tmp_path / "file" / "hwflow" / "store.sqlite")
    claim = store.begin("mid", "k")
    assert isinstance(claim, Claim)
    store.fulfil(claim, 1)
    store.put("mid", "l", 2)
    assert store.get("mid", "k") is None
    assert isinstance(store.begin("mid", "k"), Claim)
    assert len(store.notices) == 1
    assert f"the cache at {store.path} cannot be written: Not a directory; results are not kept." in store.notices[0]
    assert "XDG_CACHE_HOME" in store.notices[0]
    assert not store.info().writable


def test_a_read_only_file_is_still_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Store(file).put("mid", "k", 1)
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK and real(path, mode))  # root may write anything
    store = Store(file)
    assert store.get("mid", "k") == 1
    assert isinstance(store.begin("mid", "new"), Claim)
    assert len(store.notices) == 1
    assert "read-only" in store.notices[0]
    with pytest.raises(HwflowError, match="cannot be written: the file is read-only"):
        store.clear()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anything")
def test_a_read_only_folder_is_still_read(file: Path) -> None:
    store = Store(file)
    store.put("mid", "k", 1)
    store.close()
    file.chmod(0o444)
    file.parent.chmod(0o555)
    try:
        store = Store(file)
        assert store.get("mid", "k") == 1
        store.put("mid", "l", 1)
        assert "results are not kept" in store.notices[0]
    finally:
        file.parent.chmod(0o755)


def test_a_full_disk_is_said_once_and_reading_goes_on(file: Path) -> None:
    store = Store(file)
    store.put("mid", "k", 1)
    db = store._file._connection
    assert db is not None
    pages = db.execute("PRAGMA page_count").fetchone()[0]
    db.execute(f"PRAGMA max_page_count = {pages}")
    for n in range(3):
        store.put("mid", f"large{n}", "x" * 100_000)
    assert len(store.notices) == 1
    assert "database or disk is full; results are not kept" in store.notices[0]
    assert store.get("mid", "k") == 1


@pytest.mark.parametrize("content", [b"this is no database at all" * 40, bytes(range(256)) * 64])
def test_a_damaged_file_is_set_aside(file: Path, content: bytes) -> None:
    file.parent.mkdir()
    file.write_bytes(content)
    store = Store(file)
    assert store.get("mid", "k") is None
    store.put("mid", "k", 1)
    assert Store(file).get("mid", "k") == 1
    assert len(store.notices) == 1
    aside = next(file.parent.glob("store.sqlite.damaged-*"))
    assert aside.name in store.notices[0]
    assert aside.read_bytes() == content


def test_damage_that_shows_later_is_survived(file: Path) -> None:
    store = Store(file)
    for n in range(200):
        store.put("mid", str(n), "x" * 3000)
    store.close()
    content = bytearray(file.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    file.write_bytes(content)
    store = Store(file)
    answers = [store.get("mid", str(n)) for n in range(200)]
    assert set(answers) <= {None, "x" * 3000}
    store.put("mid", "new", 1)
    assert store.get("mid", "new") == 1
    assert any("was damaged" in n for n in store.notices)


def test_a_file_of_another_version_is_left_alone(file: Path) -> None:
    Store(file).put("mid", "k", 1)
    with contextlib.closing(sqlite3.connect(file)) as db:
        db.execute("PRAGMA user_version = 99")
    store = Store(file)
    assert store.get("mid", "k") is None
    store.put("mid", "l", 1)
    assert len(store.notices) == 1
    assert "its tables are of version 99" in store.notices[0]
    with contextlib.closing(sqlite3.connect(file)) as db:
        assert db.execute("SELECT COUNT(*) FROM entries").fetchone() == (1,)
