"""The store: what it keeps, who may compute, and what happens when files, disks and processes fail."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import hwflow.store as store_module
from hwflow import _owner
from hwflow.errors import HwflowError
from hwflow.store import Busy, Claim, Hit, Store, default_path, key_of


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
        deadline = time.monotonic() + 5
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
