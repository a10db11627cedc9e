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
from hwflow.cost import mid
from hwflow.cost.backend import BACKENDS
from hwflow.cost.chip import Chip
from hwflow.cost.energy_sources import energy_table
from hwflow.cost.serialization import cost_to_data, is_cost, is_energy_table, stored_key
from hwflow.hardware.dataflow import constrain
from hwflow.layers import Layer
from hwflow.store import Store, key_of
from hwflow.store.sqlite_file import checksum_of

LAYER = Layer("a", C=3, M=8, P=6, Q=6, R=3, S=3)


CHIP = hwflow.Accelerator.load("eyeriss")
ON = Chip(CHIP, constrain(CHIP), energy_table(CHIP))


@pytest.fixture(scope="module")
def search() -> dict[str, Any]:
    """What mid's search of one layer is kept as, through JSON."""
    job = BACKENDS["mid"].job(LAYER, ON, hwflow.CostOptions(), None)
    return json.loads(json.dumps(cost_to_data(job.cost())))  # type: ignore[no-any-return]


def accepted(content: Any) -> bool:
    return is_cost(content, "mid", mapped=True)


def _at(content: Any, path: str) -> tuple[Any, Any]:
    """The container and the last key of a place such as `mapping.0.level`."""
    *steps, last = [int(step) if step.isdecimal() else step for step in path.split(".")]
    for step in steps:
        content = content[step]
    return content, last


def test_what_is_written_is_accepted(search: dict[str, Any]) -> None:
    assert accepted(search)
    assert not is_cost(search, "fine", mapped=True)
    table = energy_table(CHIP)
    kept = {**table.content(), "source": table.source, "provenance": dict(table.provenance)}
    assert is_energy_table(json.loads(json.dumps(kept)))


@pytest.mark.parametrize(
    "path", ["mapping", "proven_optimal", "bound", "energy", "note", "mapping.0.keep", "mapping.7.factors"]
)
def test_what_lacks_something_is_not(path: str, search: dict[str, Any]) -> None:
    content = copy.deepcopy(search)
    place, name = _at(content, path)
    del place[name]
    assert not accepted(content)


WRONG: list[tuple[str, Any]] = [
    ("energy", -1.0),
    ("energy", "1"),
    ("energy", True),
    ("energy", float("nan")),
    ("energy", float("inf")),
    ("energy_unit", "J"),
    ("energy_by_level", {"dram": -1.0}),
    ("energy_by_level", [1.0]),
    ("energy_by_level", {"dram": None}),
    ("cycles", -1),
    ("cycles", 1.5),
    ("cycles", "12"),
    ("latency_s", -1e-9),
    ("level", "exact"),
    ("bound_by", 3),
    ("dram_bytes", None),
    ("accesses", {"dram": {"bias": {"reads": 1}}}),
    ("accesses", {"dram": {"weights": {"reads": -1}}}),
    ("mapping", {"target": "dram"}),
    ("note", None),
    ("more", 1),
    ("mapping", {}),
    ("mapping", None),
    ("mapping", []),
    ("mapping.0.keep", ["Bias"]),
    ("mapping.0.type", "bypassed"),
    ("mapping.0.target", None),
    ("mapping.7.factors", "N=1 G=1 C=0 M=1 P=1 Q=1 R=1 S=1"),
    ("mapping.7.factors", "N=1 G=1 C=2,0 M=1 P=1 Q=1 R=1 S=1"),
    ("mapping.7.factors", "N=1 G=1 C=-2 M=1 P=1 Q=1 R=1 S=1"),
    ("mapping.7.factors", "N=1 G=1 X=2 M=1 P=1 Q=1 R=1 S=1"),
    ("mapping.7.factors", "C=2"),
    ("mapping.7.factors", ["C=2"]),
    ("mapping.7.permutation", "NGCMPQRR"),
    ("mapping.7.permutation", "NGC"),
    ("mapping.8.split", 3),
    ("proven_optimal", "yes"),
    ("proven_optimal", 1),
    ("bound", -1.0),
]


@pytest.mark.parametrize(("path", "value"), WRONG)
def test_what_is_of_another_form_is_not(path: str, value: Any, search: dict[str, Any]) -> None:
    content = copy.deepcopy(search)
    place, name = _at(content, path)
    place[name] = value
    assert not accepted(content)


@pytest.mark.parametrize("content", [None, [], "text", 1, {}, {"parts": {"dram": {"read": 1}}, "unit": "pJ"}])
def test_rubbish_is_of_no_form(content: Any) -> None:
    assert not accepted(content)
    assert not is_energy_table(content)


# Through the whole ---------------------------------------------------------------------------------------------------


def _flipped(value: dict[str, Any]) -> dict[str, Any]:
    return {**value, "energy": -value["energy"]}


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
    from hwflow.store import store as module

    module._RECENT.forget(str(file))
    told: list[str] = []
    after = hwflow.estimate(network, chip, store=Store(file), notify=told.append)
    assert after == before
    assert told == [f"the cache at {file} has damaged entries; what they should hold is computed again."]
    module._RECENT.forget(str(file))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert hwflow.estimate(network, chip, store=Store(file)) == before


def test_what_a_store_holds_in_an_older_form_is_computed_again(search: dict[str, Any], tmp_path: Path) -> None:
    """Until 0.1 a search was kept as a mapping beside its cost, under the key of the search itself."""
    file, told = tmp_path / "store.sqlite", list[str]()
    old = {"mapping": [], "cost": {**search, "energy": 1.0}, "proven_optimal": True, "bound": 1.0}
    store = Store(file)
    store.put("mid", key_of(mid.VERSION, LAYER.key, ON.identity, "edp", 1, True), old)
    found = hwflow.map_layer(LAYER, CHIP, store=store, notify=told.append)
    assert (found.cost.energy, found.bound, told) == (search["energy"], search["bound"], [])
    store.put("mid", stored_key(BACKENDS["mid"].job(LAYER, ON, hwflow.CostOptions(), None).key), old)
    Store(file)._file.close()
    from hwflow.store import store as module

    module._RECENT.forget(str(file))
    found = hwflow.map_layer(LAYER, CHIP, store=Store(file), notify=told.append)
    assert (found.cost.energy, found.bound) == (search["energy"], search["bound"])
    assert told == [f"the cache at {file} has damaged entries; what they should hold is computed again."]
