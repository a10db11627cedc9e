"""Names from files of others: terminals and spreadsheets show them, and are not told anything by them."""

from __future__ import annotations

import csv
import io
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

import hwflow
from hwflow.console import Page, Table, deliver, deliver_text, say
from hwflow.text import csv_of, visible

ACTING = {
    "colour": ("a\x1b[31mb", r"a\x1b[31mb"),
    "title": ("\x1b]0;owned\x07", r"\x1b]0;owned\x07"),
    "screen": ("\x1b[2J\x1b[H", r"\x1b[2J\x1b[H"),
    "C1": ("\x9b31m", r"\x9b31m"),
    "delete": ("a\x7f", r"a\x7f"),
    "backspace": ("safe\x08\x08\x08\x08evil", r"safe\x08\x08\x08\x08evil"),
    "return": ("safe\revil", r"safe\revil"),
    "line": ("a\nb", r"a\nb"),
    "tab": ("a\tb", r"a\tb"),
    "null": ("a\0b", r"a\x00b"),
    "override": ("a\u202eb", r"a\u202eb"),
    "isolate": ("a\u2066b", r"a\u2066b"),
    "mark": ("a\u200fb", r"a\u200fb"),
    "separator": ("a\u2028b", r"a\u2028b"),
    "surrogate": ("a\udcffb", r"a\udcffb"),
    "tag": ("a\U000e0041", r"a\U000e0041"),
}
PLAIN = ["conv1", "Größe", "層", "a b", "a\u00a0b", "👩\u200d🔬", "layer[0]/conv", "[red]x[/]", "", r"\x1b"]


@pytest.mark.parametrize(("text", "shown"), ACTING.values(), ids=ACTING)
def test_what_acts_on_a_terminal_is_written_out(text: str, shown: str) -> None:
    assert visible(text) == shown
    assert visible(text, keep=text) == text


@pytest.mark.parametrize("text", PLAIN)
def test_what_does_not_is_left_alone(text: str) -> None:
    assert visible(text) == text


@pytest.mark.parametrize(("text", "shown"), ACTING.values(), ids=ACTING)
def test_everything_that_is_printed_is_made_visible(text: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    deliver(Page("title\n\nof two", [Table([text], [[f"<{text}>"]], [f"total {text}"])], [f"line {text}"]))
    say(f"said {text}")
    told = capsys.readouterr()
    assert all(part in told.out for part in ("title\n\nof two", f"<{shown}>", f"total {shown}", f"line {shown}"))
    if not text.isspace() and not any(c.isspace() for c in text):  # a message is one paragraph, whatever it is made of
        assert f"said {shown}" in told.err


_TERMINAL = """
import sys
from hwflow.console import Page, Table, deliver, deliver_text, progress, say
text = sys.argv[1]
with progress(text) as bar:
    bar(1, 2, text)
deliver(Page(text, [Table(["name"], [[text]])], [text]))
deliver_text("name,energy\\n" + text + ",1\\n")
say(text)
"""


@pytest.mark.parametrize("text", ["x\x1b]0;owned\x07", "x\x9b31m", "[/red] [bold]x\x1b[5m", "\u202eevil"])
def test_a_terminal_is_told_nothing_by_names(text: str) -> None:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "dumb", "NO_COLOR": "1", "COLUMNS": "200", "PYTHONUTF8": "1"}
    argv = [sys.executable, "-c", _TERMINAL, text]
    with subprocess.Popen(argv, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        heard = b""
        while True:
            try:
                piece = os.read(ours, 4096)
            except OSError:  # Linux: the other end is closed
                break
            if not piece:
                break
            heard += piece
    os.close(ours)
    assert process.returncode == 0, heard
    shown = heard.decode()
    assert all(c not in shown for c in "\x07\x9b\u202e")
    assert "\x1b]" not in shown
    assert "\x1b[5m" not in shown
    assert shown.count(visible(text)) >= 4


# Spreadsheets --------------------------------------------------------------------------------------------------------

FORMULAS = ["=1+1", "=cmd|' /C calc'!A0", "+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\uff1d1", "\uff0d1"]


@pytest.mark.parametrize("text", FORMULAS)
def test_no_cell_is_a_formula(text: str) -> None:
    read = list(csv.reader(io.StringIO(csv_of([{"name": text, text: 1}, {"name": "a", "value": -1.5}]), newline="")))
    cell = f"'{text}".replace("\r", r"\r")
    assert read == [["name", cell, "value"], [cell, "1", ""], ["a", "", "-1.5"]]


@pytest.mark.parametrize("value", [-1, -1.5, 1e-9, 0, None, True, "a=1", "a-b", " =1", "'=1", "1+1"])
def test_other_cells_are_left_alone(value: object) -> None:
    assert csv_of([{"a": value}]) == f"a\n{'' if value is None else value}\n".replace("a\n\n", 'a\n""\n')


@pytest.mark.parametrize("text", FORMULAS)
def test_costs_as_csv_hold_no_formula(text: str) -> None:
    network = hwflow.Network(text, (hwflow.Layer(text, C=3, M=8),))
    cost = hwflow.estimate(network, None, level="coarse")
    (row,) = csv.DictReader(io.StringIO(cost.to_csv(), newline=""))
    assert row["network"] == row["name"] == f"'{text}".replace("\r", r"\r")
    assert cost.records()[0]["name"] == text


def test_text_in_a_pipe_is_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    deliver_text("a\x1b[31m\n")
    assert capsys.readouterr().out == "a\x1b[31m\n"


def test_a_name_that_the_encoding_lacks(tmp_path: Path) -> None:
    (tmp_path / "n.yaml").write_text("layers: [{name: é, C: 3, M: 8, type: linear}]", encoding="utf-8")
    program = "import sys; from hwflow.cli import main; main(sys.argv[1:])"
    argv = [sys.executable, "-c", program, "estimate", str(tmp_path / "n.yaml")]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert r"\xe9" in done.stdout
