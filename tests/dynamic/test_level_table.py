"""Tables of levels: the front, the file, and damage by field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hwflow.dynamic.level_table import LevelTable, dominators, front, read_table
from hwflow.errors import InputError
from tests.dynamic.rows import drawn, ladder, row, table


def test_dominated_rows_are_those_that_another_one_beats() -> None:
    for seed in range(50):
        (one,) = drawn(seed)
        criteria = [r.criteria for r in one.rows]
        for mine, by in zip(one.rows, dominators(criteria, [r.unit for r in one.rows]), strict=True):
            better = [
                r
                for r in one.rows
                if r.unit == mine.unit and r is not mine and all(a <= b for a, b in zip(r.criteria, mine.criteria, strict=True))
            ]
            assert (by is None) == (not better)
            assert by is None or one.rows[by] in better


def test_of_equal_rows_one_stays_and_power_keeps_a_slow_one() -> None:
    same = [row(1, 100), row(1, 200)]
    assert front(same) == same[:1]
    slow = [row(1, 100, latency=2, energy=1), row(1, 200, latency=1, energy=1)]  # half the power
    assert front(slow) == slow
    without = [row(1, 100, latency=2, energy=None), row(1, 200, latency=1, energy=None)]
    assert front(without) == without[1:]


def test_a_row_is_worth_having_if_it_is_a_hundredth_faster() -> None:
    rows = [row(1, 200, latency=1.0, energy=1), row(1, 250, latency=0.995, energy=1.2), row(1, 300, latency=0.98, energy=1.3)]
    assert table(*rows).kept == (rows[0], rows[2])


def test_the_file_gives_the_table_again(tmp_path: Path) -> None:
    staged = LevelTable(
        "net", "modelled", (row(stages=((0.25, 0.25), (0.75, 0.1)), static_w=0.5), row(2, latency=2)), {"data": "x"}
    )
    (tmp_path / "table.json").write_text(staged.to_json())
    assert read_table(tmp_path) == staged
    assert read_table(tmp_path / "table.json").to_json() == staged.to_json()
    written = json.loads(staged.to_json())["rows"]
    assert [r["dominated_by"] for r in written] == [None, None]
    poor = table(row(), row(2, latency=2, energy=3))
    assert json.loads(poor.to_json())["rows"][1]["dominated_by"] == [1, "u", 100]


def changed(index: int, **fields: Any) -> Any:
    def change(content: dict[str, Any]) -> Any:
        content["rows"][index] |= fields
        return content

    return change


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            changed(2, latency_s=-1),
            "rows[2].latency_s is -1; it must be a number above 0. Write it again with 'hwflow levels' or 'hwflow library'.",
        ),
        (changed(0, latency_s=None), "rows[0].latency_s is None; it must be a number above 0"),
        (changed(1, accuracy=1.5), "rows[1].accuracy is 1.5; it must be a number of at least 0 and at most 1"),
        (changed(0, level=0), "rows[0].level is 0; it must be a whole number of at least 1"),
        (changed(0, unit=3), "rows[0].unit is 3; it must be a name"),
        (changed(0, network="other"), "rows[0].network is 'other'; the table is of net"),
        (
            changed(0, stages=[[1, 2]]),
            "rows[0].stages is [[1, 2]]; it must be a list of pairs: latency, and DRAM transfer time",
        ),
        (changed(0, stages=[[0.1, 0.1]]), "rows[0].stages take 0.1 s together, but latency_s is 1"),
        (changed(1, clock_mhz=100), "has two rows for level 1 of net on u at 100 MHz; remove one"),
        (changed(1, energy_j=None), "has rows with energy_j and rows without (level 1 on u): energies cannot be compared"),
        (lambda c: {**c, "rows": []}, "has no rows; at least one is needed"),
        (lambda c: {**c, "rows": [1]}, "rows[0] is 1; it must be a mapping of fields"),
        (lambda c: {**c, "kind": "guessed"}, "kind is 'guessed'; it must be modelled or measured"),
        (lambda c: {**c, "network": ""}, "network is ''; it must be a name"),
        (lambda c: {**c, "about": 1}, "about is 1; it must be a mapping"),
        (lambda c: {**c, "format": 2}, "is no table of levels of format 1: it must hold format, network, kind and rows"),
        (lambda _: [], "is no table of levels"),
    ],
)
def test_a_damaged_table_is_refused_by_field(tmp_path: Path, change: Any, text: str) -> None:
    file = tmp_path / "table.json"
    file.write_text(json.dumps(change(json.loads(ladder().to_json()))))
    with pytest.raises(InputError) as error:
        read_table(file)
    assert text in str(error.value)
    assert str(file) in str(error.value)


def test_what_is_no_file_of_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "table.json").write_text("{")
    with pytest.raises(InputError, match="is damaged: it is no JSON"):
        read_table(tmp_path)
    with pytest.raises(InputError, match=r"the table .*none cannot be read: No such file or directory"):
        read_table(tmp_path / "none")
