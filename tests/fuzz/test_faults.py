"""What breaks from outside: a disk that is full while a command writes, a store that was cut off anywhere or overwritten."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from hwflow.store import Store

_KEYS = [f"{i:064x}" for i in range(40)]


def value(key: str) -> dict[str, str]:
    return {"key": key, "text": key * 20}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A store's file with forty values in it."""
    path = tmp_path_factory.mktemp("store") / "store.sqlite"
    store = Store(path)
    for key in _KEYS:
        store.put("mid", key, value(key))
    store.close()
    return path.read_bytes()


@pytest.mark.parametrize("seed", range(40))
def test_a_store_that_was_cut_off_gives_what_is_whole_and_keeps_on(seed: int, whole: bytes, tmp_path: Path) -> None:
    draw = random.Random(seed)
    path = tmp_path / "store.sqlite"
    path.write_bytes(whole[: draw.randrange(len(whole))])
    store = Store(path)
    assert all(store.get("mid", key) in (None, value(key)) for key in _KEYS)
    store.put("mid", "new", 1)
    store.close()
    after = Store(path)
    assert all(after.get("mid", key) in (None, value(key)) for key in _KEYS)
    after.close()
    assert store.writable


@pytest.mark.parametrize("seed", range(40))
def test_a_store_with_a_page_overwritten_raises_nothing(seed: int, whole: bytes, tmp_path: Path) -> None:
    """SQLite keeps no checksums, so what stands in an overwritten page may be lost; the program goes on."""
    draw = random.Random(seed)
    content = bytearray(whole)
    page = 4096 * draw.randrange(len(whole) // 4096)
    content[page : page + 4096] = draw.randbytes(4096)
    path = tmp_path / "store.sqlite"
    path.write_bytes(content)
    store = Store(path)
    assert all(store.get("mid", key) in (None, value(key)) for key in _KEYS)
    store.put("mid", "new", 1)
    store.info()
    store.close()


@pytest.mark.parametrize("before", [None, "an older answer\n"])
def test_a_full_disk_leaves_the_old_file_or_none(before: str | None, tmp_path: Path) -> None:
    """`ulimit -f` makes writes beyond 8 kB fail as a full disk does: the output's, and the cache's."""
    output = tmp_path / "cost.json"
    if before is not None:
        output.write_text(before, encoding="utf-8")
    estimate = f"estimate resnet20 -a eyeriss --level coarse --format json -o '{output}'"
    command = f"trap '' XFSZ; ulimit -f 8; exec '{sys.executable}' -m hwflow {estimate}"
    root = str(Path(__file__).resolve().parents[2])
    environment = {
        "PATH": os.defpath,
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "PYTHONPATH": root,
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert f"cannot write {output}: File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert (output.read_text(encoding="utf-8") if output.exists() else None) == before
    assert not list(tmp_path.glob(".cost.json.*"))
