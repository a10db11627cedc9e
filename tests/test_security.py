"""SECURITY.md: every promise names tests that exist, and what hwflow does to its surroundings."""

from __future__ import annotations

import ast
import functools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")

# Runs commands of hwflow, and writes down what Python is asked to open for writing and to connect to.
WATCHED = """
import json, os, sys
from pathlib import Path
events = []
def watch(event, args):
    if event in ("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.gethostbyname"):
        events.append(["network", str(args)])
    elif event == "open" and isinstance(args[0], (str, bytes)) and (args[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        events.append(["written", os.path.abspath(os.fsdecode(args[0]))])
    elif event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "sqlite3.connect"):
        events.extend(["written", os.path.abspath(os.fsdecode(a))] for a in args if isinstance(a, (str, bytes)))
sys.addaudithook(watch)
from hwflow import cli
for command in json.loads(sys.argv[2]):
    try:
        cli.main(command)
    except SystemExit as ended:
        assert not ended.code, command
Path(sys.argv[1]).write_text(json.dumps(list(events)))
"""


@functools.cache
def functions(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


def section(title: str) -> str:
    """The text below a heading, up to the next of any depth."""
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    return re.split(r"^#", text.partition(f"\n{title}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def test_every_promise_names_tests_that_exist() -> None:
    named = NAMED.findall((ROOT / "SECURITY.md").read_text(encoding="utf-8"))
    assert len(named) > 20
    assert [f"{file}::{name}" for file, name in named if name not in functions(file)] == []
    for title in ("### Data", "### What hwflow does to its surroundings"):
        rows = [line for line in section(title).splitlines() if line.startswith("|")][2:]
        assert rows
        assert [row for row in rows if not NAMED.search(row)] == []


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[list[str]]]:
    """What some commands did, and the folder in which they had what they may write to."""
    pytest.importorskip("pyarrow", reason="comes with the extra sweep")
    place = tmp_path_factory.mktemp("watched")
    for name in ("home", "cache", "temporary", "out", "current"):
        (place / name).mkdir()
    sweep = "networks: [resnet20]\naccelerators: [eyeriss, simba]\nlevels: [coarse, mid]\n"
    (place / "current" / "sweep.yaml").write_text(sweep, encoding="utf-8")
    out = place / "out"
    commands = [
        [
            "estimate",
            "resnet20",
            "-a",
            "eyeriss",
            "--format",
            "json",
            "-o",
            str(out / "cost.json"),
            "--html",
            str(out / "a.html"),
        ],
        ["sweep", "sweep.yaml", "-o", str(out / "sweep"), "--jobs", "1"],
        ["report", str(out / "sweep"), "-o", str(out / "b.html")],
        ["doctor", "--quick"],
    ]
    environment = {
        "PATH": os.defpath,
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": str(place / "home"),
        "XDG_CACHE_HOME": str(place / "cache"),
        "TMPDIR": str(place / "temporary"),
    }
    file = place / "events.json"
    subprocess.run(
        [sys.executable, "-c", WATCHED, str(file), json.dumps(commands)],
        cwd=place / "current",
        env=environment,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return place, json.loads(file.read_text(encoding="utf-8"))


def test_nothing_is_asked_of_the_network(events: tuple[Path, list[list[str]]]) -> None:
    assert [what for kind, what in events[1] if kind == "network"] == []


def test_nothing_is_written_elsewhere(events: tuple[Path, list[list[str]]]) -> None:
    place, found = events
    written = {what for kind, what in found if kind == "written"}
    allowed = [str(place / name) for name in ("cache", "temporary", "out")]
    assert [path for path in sorted(written) if not path.startswith((*allowed, os.devnull))] == []
    assert str(place / "out" / "sweep") in written
    assert list((place / "home").iterdir()) == list((place / "temporary").iterdir()) == []
    assert [path.name for path in (place / "current").iterdir()] == ["sweep.yaml"]
