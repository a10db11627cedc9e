from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hwflow
from hwflow.ppa.model_file import _checksum, read_model
from tests.ppa import synthetic


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("ppa") / "model.json"
    synthetic.model(path, chips=20)
    return path.read_text(encoding="utf-8")


def test_a_model_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    written, read = synthetic.model(path, chips=20), read_model(path)
    assert (read.identity, read.name, read.fields, read.layers) == (
        written.identity,
        "model.json",
        written.fields,
        written.layers,
    )
    values = np.array([[low for low, _ in read.fields.values()]], dtype=float)
    np.testing.assert_array_equal(
        read.predict("own", values, synthetic.LAYERS).cycles, written.predict("own", values, synthetic.LAYERS).cycles
    )


def test_it_says_where_it_comes_from(content: str) -> None:
    told = json.loads(content)
    assert "not synthesis" in told["remark"]
    assert (told["level"], told["level_version"][:4], told["energies"]) == ("mid", "mid-", "fitted")
    wanted = {"hwflow", "command", "seed", "hypercube_seed", "chips_of_a_type", "points", "answered", "failed", "held_out"}
    assert wanted <= set(told["provenance"])
    assert set(told["types"]["own"]["errors"]) >= {"energy", "cycles", "area"}


def edit(change: Callable[[dict[str, Any]], object], *, sign: bool = True) -> Callable[[str], str]:
    """A change of the content, under a checksum that fits it."""

    def edited(text: str) -> str:
        data = json.loads(text)
        change(data)
        if sign:
            data["checksum"] = _checksum(data)
        return json.dumps(data)

    return edited


BROKEN: dict[str, tuple[Callable[[str], str], str]] = {
    "cut": (lambda text: text[: len(text) // 2], r"the PPA model .*model.json is no JSON: .* Write it again: hwflow ppa fit"),
    "a list": (lambda _: "[1, 2]", r"model.json is no PPA model: it does not say kind 'hwflow ppa model'"),
    "another tool's": (lambda _: '{"models": {}}', r"model.json is no PPA model"),
    "another format": (edit(lambda d: d.update(format=2)), r"model.json is of format 2, and this version of hwflow reads 1"),
    "edited": (
        edit(lambda d: d["types"]["own"]["layer"]["targets"]["mac"]["coefficients"].__setitem__(0, 3.25), sign=False),
        r"model.json is damaged: its content is not that of which its checksum was written",
    ),
    "a coefficient less": (
        edit(lambda d: d["types"]["own"]["layer"]["targets"]["mac"]["coefficients"].pop()),
        r"model.json is damaged: .*targets.mac has \d+ coefficients, and its degree needs \d+",
    ),
    "not a number": (
        edit(lambda d: d["types"]["own"]["layer"]["centre"].__setitem__(0, float("nan"))),
        r"model.json is damaged: types.own.layer.centre.*finite",
    ),
    "a field more": (edit(lambda d: d.update(extra=1)), r"model.json is damaged: extra"),
    "no PE type": (edit(lambda d: d["types"].update(int7=d["types"].pop("own"))), r"types.int7 is no PE type"),
    "no target": (edit(lambda d: d["types"]["own"]["layer"]["targets"].pop("DRAM bytes")), r"types.own lacks a target"),
    "no base": (edit(lambda d: d["base"].pop("hierarchy")), r"base of model.json: hierarchy"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_damaged_or_foreign_file_is_refused_by_name(case: str, content: str, tmp_path: Path) -> None:
    change, told = BROKEN[case]
    path = tmp_path / "model.json"
    path.write_text(change(content), encoding="utf-8")
    with pytest.raises(hwflow.InputError, match=told):
        read_model(path)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(hwflow.InputError, match=r"none.json: there is no such file. 'hwflow ppa fit' writes one"):
        read_model(tmp_path / "none.json")
