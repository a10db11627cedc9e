"""What the store's values must look like: what hwflow writes is accepted, anything else is computed again."""

from __future__ import annotations

import contextlib
import copy
import json
import sqlite3
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hwflow
from hwflow._cachefile import checksum_of
from hwflow.cost import work
from hwflow.cost.energies import energy_table
from hwflow.cost.records import is_cost, is_energy_table, is_search
from hwflow.dataflow import constrain
from hwflow.layers import Layer
from hwflow.store import Store

LAYER = Layer("a", C=3, M=8, P=6, Q=6, R=3, S=3)


@pytest.fixture(scope="module")
def search() -> dict[str, Any]:
    """What mid's search of one layer is kept as, through JSON."""
    chip = hwflow.Accelerator.load("eyeriss")
    found = work.search_mid(LAYER, work.Chip(chip, constrain(chip), energy_table(chip)), "edp", 1, True)
    return json.loads(json.dumps(found))  # type: ignore[no-any-return]


def _at(content: Any, path: str) -> tuple[Any, Any]:
    """The container and the last key of a place such as `mapping.0.level`."""
    *steps, last = [int(step) if step.isdecimal() else step for step in path.split(".")]
    for step in steps:
        content = content[step]
    return content, last


def test_what_is_written_is_accepted(search: dict[str, Any]) -> None:
    assert is_search(search)
    assert is_cost(search["cost"])
    table = energy_table(hwflow.Accelerator.load("eyeriss"))
    kept = {**table.content(), "source": table.source, "provenance": dict(table.provenance)}
    assert is_energy_table(json.loads(json.dumps(kept)))


@pytest.mark.parametrize("path", ["cost", "mapping", "proven_optimal", "bound", "cost.energy", "cost.note", "mapping.0.axis"])
def test_what_lacks_something_is_not(path: str, search: dict[str, Any]) -> None:
    content = copy.deepcopy(search)
    place, name = _at(content, path)
    del place[name]
    assert not is_search(content)


WRONG: list[tuple[str, Any]] = [
    ("cost.energy", -1.0),
    ("cost.energy", "1"),
    ("cost.energy", True),
    ("cost.energy", float("nan")),
    ("cost.energy", float("inf")),
    ("cost.energy_unit", "J"),
    ("cost.energy_by_level", {"dram": -1.0}),
    ("cost.energy_by_level", [1.0]),
    ("cost.energy_by_level", {"dram": None}),
    ("cost.cycles", -1),
    ("cost.cycles", 1.5),
    ("cost.cycles", "12"),
    ("cost.latency_s", -1e-9),
    ("cost.level", "exact"),
    ("cost.bound_by", 3),
    ("cost.dram_bytes", None),
    ("cost.accesses", {"dram": {"bias": {"reads": 1}}}),
    ("cost.accesses", {"dram": {"weights": {"reads": -1}}}),
    ("cost.mapping", {"target": "dram"}),
    ("cost.note", None),
    ("cost.more", 1),
    ("cost", []),
    ("mapping", {}),
    ("mapping", None),
    ("mapping.0.temporal", [["X", 2, 2]]),
    ("mapping.0.temporal", [["C", 0, 0]]),
    ("mapping.0.temporal", [["C", 2]]),
    ("mapping.0.temporal", [["C", -2, 2]]),
    ("mapping.0.temporal", "C=2"),
    ("mapping.0.keeps", ["bias"]),
    ("mapping.0.axis", "Z"),
    ("proven_optimal", "yes"),
    ("proven_optimal", 1),
    ("bound", -1.0),
]


@pytest.mark.parametrize(("path", "value"), WRONG)
def test_what_is_of_another_form_is_not(path: str, value: Any, search: dict[str, Any]) -> None:
    content = copy.deepcopy(search)
    place, name = _at(content, path)
    place[name] = value
    assert not is_search(content)


@pytest.mark.parametrize("content", [None, [], "text", 1, {}, {"parts": {"dram": {"read": 1}}, "unit": "pJ"}])
def test_rubbish_is_of_no_form(content: Any) -> None:
    assert not any(accepts(content) for accepts in (is_search, is_cost, is_energy_table))


# Through the whole ---------------------------------------------------------------------------------------------------


def _flipped(value: dict[str, Any]) -> dict[str, Any]:
    return {**value, "cost": {**value["cost"], "energy": -value["cost"]["energy"]}}


EDITS: list[tuple[str, Callable[[dict[str, Any]], Any], bool]] = [
    ("a sign", _flipped, False),
    ("a sign, and the checksum made to fit", _flipped, True),
    ("a number", lambda value: {**value, "bound": value["bound"] / 2}, False),
    ("another shape", lambda value: [value], True),
    ("another type", lambda value: "text", True),
    ("an empty object", lambda value: {}, True),
    ("a mapping that is gone", lambda value: {**value, "mapping": []}, True),
    ("not a number", lambda value: {**value, "bound": float("nan")}, True),
]


@pytest.mark.parametrize(("edit", "sums"), [edit[1:] for edit in EDITS], ids=[edit[0] for edit in EDITS])
def test_an_estimate_with_an_edited_store_is_the_same(edit: Callable[[Any], Any], sums: bool, tmp_path: Path) -> None:
    network = hwflow.Network("n", (LAYER, LAYER.with_(name="b", M=16)))
    chip, file = hwflow.Accelerator.load("eyeriss"), tmp_path / "store.sqlite"
    before = hwflow.estimate(network, chip, store=Store(file))
    with contextlib.closing(sqlite3.connect(file)) as db, db:
        for kind, key, text in db.execute("SELECT kind, key, value FROM entries").fetchall():
            new = json.dumps(edit(json.loads(text)), separators=(",", ":"))
            db.execute("UPDATE entries SET value = ? WHERE key = ?", (new, key))
            if sums:
                checksum = checksum_of(kind.encode(), key.encode(), new.encode())
                db.execute("UPDATE entries SET checksum = ? WHERE key = ?", (checksum, key))
    Store(file)._file.close()
    from hwflow import store as module

    module._RECENT.forget(str(file))
    told: list[str] = []
    after = hwflow.estimate(network, chip, store=Store(file), notify=told.append)
    assert after == before
    assert told == [f"the cache at {file} has damaged entries; what they should hold is computed again."]
    module._RECENT.forget(str(file))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert hwflow.estimate(network, chip, store=Store(file)) == before
