"""`hwflow ppa` and `--level ppa`: from characterisation to fronts on a chip of which two fields are varied."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cli.terminal import Run
from tests.ppa import synthetic

pytest.importorskip("pyarrow")
pytest.importorskip("scipy")
pytest.importorskip("filelock")

FIXED = ("global_buffer.size_kib=108", "input_spad.size_words=12", "weight_spad.size_words=224", "psum_spad.size_words=24")
NET = """
name: tiny
layers:
  - {name: a, C: 4, M: 8, P: 6, Q: 6, R: 3, S: 3}
  - {name: fc, type: linear, C: 32, M: 10}
"""


def test_from_characterisation_to_fronts(hw: Run, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(NET, encoding="utf-8")
    net, run = str(tmp_path / "tiny.yaml"), str(tmp_path / "run")
    ranges = [
        word
        for field in (*FIXED, "pe_array.rows=6:24", "pe_array.columns=14", "dram.bandwidth_gb_s=0.72:4")
        for word in ("--range", field)
    ]
    code, out, err = hw(
        "ppa", "characterise", net, "-o", run, "--pe-types", "int8", "--chips", "9", "-j", "1", "--widths", "1,0.5", *ranges
    )
    assert (code, "9         9       0       4      36" in out, "not synthesis" in out) == (0, True, True), err
    assert "hwflow ppa fit" in err
    code, out, err = hw("ppa", "fit", run)
    assert (code, "not synthesis" in out) == (0, True), err
    assert {line.split()[0] for line in out.splitlines() if re.match(r"int8 ", line)} == {"int8"}
    assert all(re.search(rf"^int8 +{name} ", out, re.MULTILINE) for name in ("energy", "cycles", "power", "area"))
    model = f"{run}/model.json"
    code, out, err = hw("estimate", net, "-a", "int8", "--level", "ppa", "--ppa-model", model)
    assert (code, "Answered by hwflow ppa-1, fitted to mid-" in out, "not synthesis" in out, "held-out errors" in out) == (
        0,
        True,
        True,
        True,
    ), err
    code, out, err = hw("ppa", "fronts", model, net, "-o", f"{run}/fronts", "--designs", "20")
    assert (code, "not synthesis" in out, "tiny     int8" in out) == (0, True, True), err
    code, _, err = hw("report", f"{run}/fronts", "-o", str(tmp_path / "page.html"))
    assert (code, (tmp_path / "page.html").exists()) == (0, True), err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ["ppa", "characterise", "resnet20", "-o", "x", "--range", "pe_array.rows"],
            "must have the form FIELD=LOW:HIGH, such as",
        ),
        (
            ["ppa", "characterise", "resnet20", "-o", "x", "--range", "pe_array.rows=a:b"],
            "--range pe_array.rows is 'a'; it must be a number",
        ),
        (["ppa", "characterise", "resnet20", "-o", "x", "--widths", "half"], "--widths is 'half'; it must be a number"),
        (["ppa", "fit", "nowhere"], "nowhere/records.jsonl: there is no such file. 'hwflow ppa characterise' writes it"),
        (
            ["ppa", "fronts", "none.json", "resnet20", "-o", "x"],
            "none.json: there is no such file. 'hwflow ppa fit' writes one",
        ),
        (["estimate", "resnet20", "-a", "eyeriss", "--level", "ppa"], "level ppa needs a fitted model: name the file"),
        (
            ["estimate", "resnet20", "-a", "eyeriss", "--ppa-model", "m.json"],
            "ppa_model (--ppa-model) is 'm.json', which changes nothing",
        ),
    ],
)
def test_wrong_use_is_refused_in_a_sentence(
    hw: Run, arguments: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = hw(*arguments)
    assert (code, told in err) == (2, True), err
    assert not (tmp_path / "x").exists()


def test_it_compares_with_the_level_that_it_was_fitted_to(hw: Run, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(NET, encoding="utf-8")
    synthetic.model(tmp_path / "model.json", chips=20)
    arguments = ["compare", str(tmp_path / "tiny.yaml"), "-a", "eyeriss", "--levels", "mid,ppa"]
    code, out, err = hw(*arguments, "--ppa-model", str(tmp_path / "model.json"))
    assert (code, "ppa" in out) == (0, True), err
