"""The experiment on QUIDAM's claims: its networks, its figures from known samples, and the page that shows the record."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks import quidam
from benchmarks.quidam import RESULT, claims, networks, table
from hwflow.coexploration.samples import samples_of
from tests.ppa import synthetic

PAGE = Path(__file__).resolve().parents[2] / "docs" / "pages" / "explanation" / "ppa.md"
_SHOWN = re.compile(r"(?<=<!-- quidam -->\n).*?(?=<!-- end -->)", re.DOTALL)


def test_networks_have_so_many_weighted_layers() -> None:
    assert {name: len(net) for name, net in networks().items()} == {"resnet8": 8, "resnet14": 14, "resnet20": 20}
    assert len({layer.key for net in networks().values() for layer in net}) == 7


def test_spreads_and_gains_are_those_of_the_samples() -> None:
    net = networks()["resnet8"]
    records = synthetic.records(pe_types=("int16", "lightpe1"), layers=tuple({la.key: la for la in net}.values()), chips=6)
    found = {pe_type: samples_of(records, pe_type) for pe_type in ("int16", "lightpe1")}
    areas = {pe_type: np.full(6, 2e6) for pe_type in found}
    told = claims(found, areas, records.header, net)
    energies, cycles = {}, {}
    for pe_type in found:
        answers = [a for n, a in records.answers.items() if records.header["configurations"][n][0] == pe_type]
        rows = [[answer.rows[0], *answer.rows[1:]] for answer in answers]
        counts = [sum(la.key == own.key for la in net) for own in {la.key: la for la in net}.values()]
        energies[pe_type] = [sum(c * sum(r.energies.values()) for c, r in zip(counts, each, strict=True)) for each in rows]
        cycles[pe_type] = [sum(c * r.cycles for c, r in zip(counts, each, strict=True)) for each in rows]
    every = [*energies["int16"], *energies["lightpe1"]]
    assert told["spread of energy"] == pytest.approx(max(every) / min(every))
    assert told["energy of int16 over it"]["lightpe1"] == pytest.approx(min(energies["int16"]) / min(energies["lightpe1"]))
    assert told["performance per area over int16"]["lightpe1"] == pytest.approx(min(cycles["int16"]) / min(cycles["lightpe1"]))


def test_the_page_shows_what_was_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refresh it by `HWFLOW_REFRESH=1` after the experiment was run again."""
    text, record = PAGE.read_text(encoding="utf-8"), json.loads(RESULT.read_text(encoding="utf-8"))
    if os.environ.get("HWFLOW_REFRESH"):
        PAGE.write_text(_SHOWN.sub(lambda _: table(record), text), encoding="utf-8")
    else:
        assert _SHOWN.findall(text) == [table(record)]


def test_prediction_was_a_thousand_times_faster_than_mid() -> None:
    assert json.loads(RESULT.read_text(encoding="utf-8"))["speed"]["ratio"] > 1000
    assert quidam.COLD >= 10
