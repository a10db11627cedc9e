"""The documentation's commands print what the pages show, and what they name exists."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "docs" / "pages"
_FILE = re.compile(r'```\w+ title="(?P<name>[^"]+)"\n(?P<text>.*?)```', re.DOTALL)
_RUN = re.compile(r"<!-- run(?:: (?P<kind>slow|training))? -->\n```console\n(?P<session>.*?)```", re.DOTALL)
"""What is run: in the quick suite; with the slow tests; or with the slow tests, and trains, so that accuracies vary."""

_FINE = re.compile(r"^fine .*\n", re.MULTILINE)
"""What a machine with Timeloop prints, or one without it; not shown on the pages."""

_DURATION = re.compile(r"(?<=points in )[\d.,]+ s, [\d.,]+ ms each")


def executed() -> list[str]:
    """The pages that show commands with their output."""
    return sorted(p.relative_to(PAGES).as_posix() for p in PAGES.rglob("*.md") if _RUN.search(p.read_text(encoding="utf-8")))


def runs(page: str, *, slow: bool) -> bool:
    """Whether the page has blocks of that kind."""
    return any(bool(b["kind"]) == slow for b in _RUN.finditer((PAGES / page).read_text(encoding="utf-8")))


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Run a line as a user types it; gives both of its outputs. `hwflow` and `python` are those under test."""
    place = tmp_path / "bin"
    place.mkdir()
    for name, call in (("hwflow", f'"{sys.executable}" -m hwflow'), ("python", f'"{sys.executable}"')):
        (place / name).write_text(f'#!/bin/sh\nexec {call} "$@"\n', encoding="utf-8")
        (place / name).chmod(0o755)
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{place}{os.pathsep}{os.defpath}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("TMPDIR", str(tmp_path))

    def run(line: str) -> str:
        argv = ["bash", "-c", line.replace("PYTHONPATH=.", f"PYTHONPATH=.:{ROOT}")]
        done = subprocess.run(
            argv, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        return done.stdout

    return run


def played(page: str, shell: Callable[[str], str], folder: Path, *, slow: bool) -> list[tuple[str, str, str]]:
    """For each block of the page that was run: what it shows, what its commands really print, and its kind."""
    text = (PAGES / page).read_text(encoding="utf-8")
    for file in _FILE.finditer(text):
        (folder / file["name"]).write_text(file["text"], encoding="utf-8")
    answers = []
    for block in _RUN.finditer(text):
        if block["kind"] and not slow:
            continue
        lines = [line for line in block["session"].splitlines() if line.startswith("$ ")]
        real = "".join(f"{line}\n{shell(line[2:])}" for line in lines)
        answers.append((block[0], block[0].replace(block["session"], real), block["kind"] or ""))
    return answers


def comparable(text: str, kind: str) -> object:
    """All that a block shows but how long it took; of one that trains what is the same on every machine."""
    if kind == "training":
        return words(text), before_training(text)
    return _DURATION.sub("#", text)


def before_training(text: str) -> list[tuple[str, str, str]]:
    """Level, metric and the unpruned network's value in a pruning run's totals, which no training changes."""
    return re.findall(r"^((?:coarse|mid)(?: +(?:-|[a-z]+))?) +(\S+ \(\S+\)) +([\d.,]+)", text, re.MULTILINE)


def words(text: str) -> str:
    """What training prints, without what differs from machine to machine: numbers and the columns that they set, which epoch
    was best, and the level that needs Timeloop.
    """
    text = _FINE.sub("", text.replace(", the best held out,", ""))
    return re.sub(r"\s+", " ", re.sub(r"(?: of epoch)? *\d[\d.,]*|-{2,}", " #", text))


@pytest.mark.parametrize(
    ("page", "slow"),
    [
        pytest.param(page, slow, marks=pytest.mark.slow if slow else ())
        for page in executed()
        for slow in (False, True)
        if runs(page, slow=slow)
    ],
)
def test_a_page_shows_what_its_commands_print(page: str, slow: bool, shell: Callable[[str], str], tmp_path: Path) -> None:
    """Refresh the pages by `HWFLOW_REFRESH=1 pytest tests/docs` when the output has changed on purpose."""
    answers = played(page, shell, tmp_path / "work", slow=slow)
    assert answers
    if os.environ.get("HWFLOW_REFRESH"):
        text = (PAGES / page).read_text(encoding="utf-8")
        for shown, real, kind in answers:
            text = text.replace(shown, _FINE.sub("", real) if kind == "training" else real)
        (PAGES / page).write_text(text, encoding="utf-8")
        return
    for shown, real, kind in answers:
        assert comparable(shown, kind) == comparable(real, kind)


@pytest.mark.parametrize(
    ("kind", "shown", "real", "same"),
    [
        ("slow", "energy (uJ)   428.824", "energy (uJ)   428.482", False),
        ("slow", "Latency 1.906 ms", "Latency 1.907 ms", False),
        ("slow", "6 points, 0 failed.", "5 points, 1 failed.", False),
        ("slow", "finished 6 points in 6.8 s, 1,134 ms each. Of", "finished 6 points in 2.1 s, 350 ms each. Of", True),
        ("slow", "finished 6 points in 6.8 s, 1,134 ms each. Of", "finished 5 points in 6.8 s, 1,134 ms each. Of", False),
        (
            "training",
            "mid  energy (uJ)  60.246  29.611  49.2",
            "mid  energy (uJ)  60.246  28.000  46.5",
            True,
        ),
        (
            "training",
            "mid  energy (uJ)  60.246  29.611  49.2",
            "mid  energy (uJ)  60.240  29.611  49.2",
            False,
        ),
        ("training", "Test accuracy 98.06 %", "Test accuracy 97.50 %", True),
        ("training", "Test accuracy 98.06 %", "Accuracy 98.06 %", False),
    ],
)
def test_numbers_are_compared_but_for_durations_and_accuracies(kind: str, shown: str, real: str, same: bool) -> None:
    assert (comparable(shown, kind) == comparable(real, kind)) == same


def test_every_console_session_is_run() -> None:
    for path in PAGES.rglob("*.md"):
        text = path.read_text(encoding="utf-8")
        assert text.count("```console") == len(_RUN.findall(text)), path.name


def test_pages_name_existing_commands_files_and_variables() -> None:
    from typer.main import get_command

    from hwflow.cli import app

    known = set(getattr(get_command(app), "commands"))  # noqa: B009  (typer's type does not tell)
    code = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "hwflow").rglob("*.py"))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for path in PAGES.rglob("*.md"):
        text = path.read_text(encoding="utf-8")
        used = set(re.findall(r"(?:^ {4}|^\$ |`|&& )hwflow ([a-z]+)\b", text, re.MULTILINE))
        assert used <= known, path.name
        assert all(name in code for name in re.findall(r"\bHWFLOW_[A-Z_]*[A-Z]\b", text) if "ID" not in name), path.name
        targets = set(re.findall(r"`make (\w+)`", text))
        assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets), path.name
        for script in re.findall(r"`((?:docker|benchmarks|arch_templates|mappings)/[\w./-]*)`", text):
            assert (ROOT / script).exists(), script


def test_the_tutorials_budget_was_kept() -> None:
    """The numbers of training vary, the budget does not: what the page shows must keep it."""
    text = (PAGES / "tutorial.md").read_text(encoding="utf-8")
    shares = {
        m[1]: float(m[2])
        for m in re.finditer(r"^mid +(?:energy +)?(energy) \(uJ\) +[\d.,]+ +[\d.,]+ +([\d.]+)$", text, re.MULTILINE)
    }
    assert 0 < shares["energy"] <= 50


_REPLACED = (
    "dearer",
    "held against",
    "of one's own",
    "imagined walk",
    "goes on where",
    "what bounds",
    "costed on",
    "networks of one",
)


def test_pages_use_the_glossarys_words() -> None:
    """Phrases that the glossary has a term for, or that readers had to ask about."""
    for path in (ROOT / "README.md", *PAGES.rglob("*.md")):
        text = path.read_text(encoding="utf-8")
        prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
        assert not [phrase for phrase in _REPLACED if phrase in prose], path.name
