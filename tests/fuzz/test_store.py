"""Whatever stands in the store, hwflow answers as if nothing did: damaged files, rows, claims, and values of any form."""

from __future__ import annotations

import contextlib
import json
import random
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

import hwflow.store as store_module
from hwflow.cost.backend import BACKENDS
from hwflow.cost.chip import Chip
from hwflow.cost.energy_sources import energy_table
from hwflow.cost.options import CostOptions
from hwflow.cost.serialization import cost_from_data, cost_to_data, is_cost
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.dataflow import constrain
from hwflow.layers import Layer
from hwflow.mapping import loops_of
from hwflow.store import Busy, Claim, Hit, Store, owner
from hwflow.store.sqlite_file import checksum_of
from tests.fuzz.mutations import damaged, garbled
from tests.fuzz.test_parsers import SEEDS, fuzzed

LAYER = Layer("a", C=3, M=8, P=4, Q=4, R=3, S=3)


@pytest.fixture(autouse=True)
def _forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "RECENT", 0)


@pytest.fixture(scope="module")
def whole() -> dict[str, Any]:
    chip = Accelerator.load("eyeriss")
    job = BACKENDS["mid"].job(LAYER, Chip(chip, constrain(chip), energy_table(chip)), CostOptions(), None)
    return json.loads(json.dumps(cost_to_data(job.cost())))  # type: ignore[no-any-return]


def accepts(content: Any) -> bool:
    return is_cost(content, "mid", mapped=True)


@fuzzed
@given(seed=SEEDS)
def test_values_that_were_damaged_and_summed_again(seed: int, whole: dict[str, Any], tmp_path: Path) -> None:
    """What is accepted can be used: amounts are finite and not negative, mappings are mappings."""
    file = tmp_path / "store.sqlite"
    changed = garbled(json.dumps(whole).encode(), seed).decode("utf-8", errors="replace")
    if seed % 2:
        with contextlib.suppress(ValueError, TypeError):  # of what JSON has no words for, or Python prints no digits
            changed = json.dumps(damaged(whole, seed), default=str)
    with contextlib.closing(Store(file)) as store:
        store.put("mid", "k", whole)
        with contextlib.closing(sqlite3.connect(file)) as db, db, contextlib.suppress(UnicodeEncodeError):
            summed = checksum_of(b"mid", b"k", changed.encode())
            db.execute("UPDATE entries SET value = ?, checksum = ?", (changed, summed))
        state = store.begin("mid", "k", accepts)
        if isinstance(state, Hit):
            cost = cost_from_data(state.value, LAYER)
            assert cost.energy is None or cost.energy >= 0
            assert all(loop.bound > 1 for entry in cost.mapping or () for loop in loops_of(entry))
        else:
            assert isinstance(state, Claim)
            store.fulfil(state, whole)
            assert store.begin("mid", "k", accepts) == Hit(whole)


@fuzzed
@given(seed=SEEDS)
def test_files_that_were_damaged(seed: int, whole: dict[str, Any], tmp_path: Path) -> None:
    """Nothing that is read is another value than was written."""
    file = tmp_path / "store.sqlite"
    for path in tmp_path.iterdir():
        path.unlink()
    with contextlib.closing(Store(file)) as store:
        for key in "abc":
            store.put("mid", key, whole)
    file.write_bytes(garbled(file.read_bytes(), seed))
    with contextlib.closing(Store(file)) as store:
        for key in "abc":
            assert store.get("mid", key) in (None, whole)
            state = store.begin("mid", key)
            assert isinstance(state, (Hit, Claim, Busy))
            if isinstance(state, Claim):
                store.fulfil(state, whole)
        store.info()


@fuzzed
@given(seed=SEEDS)
def test_claims_of_any_form(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    file = tmp_path / "store.sqlite"
    values: list[Any] = [
        "",
        "x",
        b"\xff",
        -1,
        0,
        1,
        2**63 - 1,
        -(2**63),
        1.5,
        float("inf"),
        time.time(),
        owner.host(),
        "é" * 99,
    ]
    with contextlib.closing(Store(file)) as store:
        store.put("mid", "x", 1)
        with contextlib.closing(sqlite3.connect(file)) as db, db:
            row = [draw.choice(values) for _ in range(5)]
            db.execute("INSERT OR REPLACE INTO claims VALUES ('mid', 'k', ?, ?, ?, ?, ?)", row)
        state = store.begin("mid", "k")
        assert isinstance(state, (Claim, Busy))
        if isinstance(state, Claim):
            store.release(state)
