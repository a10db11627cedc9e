"""In which form answers come: the suffix of `-o`, `--format`, and that a variant is named wherever it is shown."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest

from hwflow.cli.output import SUFFIXES, form_of
from tests.cli.terminal import Run

VARIANT = ["-a", "eyeriss", "--set", "pe_array.rows=24", "--set", "dram.bandwidth_gb_s=2"]


def label_in(text: str) -> bool:
    """Whether the label is there; fields are told in the order of the chip's parts."""
    return "pe_array.rows=24" in text and "dram.bandwidth_gb_s=2" in text and "eyeriss (" in text


@pytest.mark.parametrize("command", ["estimate", "compare"])
def test_a_variant_is_named_in_every_form(hw: Run, tiny: str, tmp_path: Path, command: str) -> None:
    asked = [command, tiny, *VARIANT]
    shown = hw(*asked)[1]
    if command == "estimate":
        assert label_in(shown.splitlines()[0])
    else:
        assert all(label_in(line) for line in shown.splitlines() if re.match(r"eyeriss.*/(coarse|mid)", line))
    for name in ("out.json", "out.csv", "out.md", "out.html", "out.txt"):
        code, out, err = hw(*asked, "-o", str(tmp_path / name))
        assert (code, out, err) == (0, "", f"hwflow: wrote {tmp_path / name}\n")
    whole = json.loads((tmp_path / "out.json").read_text())
    costs = [whole] if command == "estimate" else [v["cost"] for v in whole["variants"]]
    assert all(label_in(cost["accelerator"]) for cost in costs)
    assert all(cost["provenance"]["accelerator"]["name"] == "eyeriss" for cost in costs)
    assert all(set(c["provenance"]["accelerator"]["changes"]) == {"pe_array.rows", "dram.bandwidth_gb_s"} for c in costs)
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))
    assert rows
    assert all(label_in(row["accelerator"]) for row in rows)
    assert (tmp_path / "out.txt").read_text() == shown
    markdown = (tmp_path / "out.md").read_text()
    assert markdown.startswith("### ")
    assert "| --- " not in shown
    assert re.search(r"^\| layer \| .*\n\| :---( \| :?---:?)+ \|$", markdown, re.MULTILINE)
    assert label_in((tmp_path / "out.html").read_text())
    code, _, err = hw("report", str(tmp_path / "out.json"))
    assert code == 0, err


def test_map_and_render_name_the_variant(hw: Run, tiny: str, tmp_path: Path) -> None:
    assert label_in(hw("map", tiny, "--layer", "conv1", "--quick", *VARIANT)[1].splitlines()[0])
    assert label_in(hw("render", tiny, *VARIANT, "-o", str(tmp_path / "run"))[1].splitlines()[0])


def test_the_preset_alone_is_called_by_its_name(hw: Run, tiny: str) -> None:
    assert hw("estimate", tiny, "-a", "eyeriss")[1].startswith("tiny on eyeriss, level mid, batch 1\n")
    wide = hw("estimate", tiny, "-a", "eyeriss", "--bits", "8,8")[1].splitlines()[0]
    assert wide == "tiny on eyeriss, level mid, batch 1, 8-bit weights, 8-bit activations"


@pytest.mark.parametrize(("suffix", "form"), [*SUFFIXES.items(), (".JSON", "json"), ("", "table")])
def test_the_suffix_decides(suffix: str, form: str) -> None:
    assert form_of(None, Path(f"out{suffix}"), ("table", "json", "csv", "markdown", "html")) == form


def test_a_format_beside_a_suffix_that_says_nothing(hw: Run, tiny: str, tmp_path: Path) -> None:
    target = tmp_path / "cost.dat"
    assert hw("estimate", tiny, "-a", "eyeriss", "--format", "json", "-o", str(target))[0] == 0
    assert json.loads(target.read_text())["network"] == "tiny"
    assert hw("estimate", tiny, "-a", "eyeriss", "--format", "json", "-o", str(tmp_path / "same.json"))[0] == 0
