"""One walker, two vocabularies: Timeloop's arithmetic and a sweep's constraints."""

from __future__ import annotations

from typing import Any

import pytest

from hwflow.errors import InputError
from hwflow.sweeping.constraint import Constraint
from hwflow.timeloop.importer.expressions import Unreadable, value_of

FIELDS: dict[str, Any] = {"pe_array.rows": 8, "pe_array.columns": 16, "dataflow": "flexible", "clock_mhz": 500.0, "limit": None}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 + 2 * 3 - 4 // 3 % 2", 6),
        ("-x + +x", 0),
        ("not x", False),
        ("1 < x <= 4 != 5", True),
        ("x > 3 or nowhere", True),
        ("x < 3 and nowhere", False),
        ("nowhere if x < 3 else x", 4),
        ("name == '45nm'", True),
        ("min(x, 2) ** 10", 1024),
        ("+".join(["1"] * 480), 480),
    ],
)
def test_timeloops_arithmetic(text: str, value: object) -> None:
    assert value_of(text, {"x": 4, "name": "45nm"}) == value


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x.real", "'x.real' is none of numbers, names, arithmetic, comparisons and abs, ceil"),
        ("[1, 2]", "'[1, 2]' is none of numbers"),
        ("x in 'abc'", r"\"x in 'abc'\" is none of|is none of numbers"),
        ("eval(x)", "'eval(x)' is none of numbers"),
        ("max(x, key=x)", "is none of numbers"),
        ("x << 3", "'x << 3' is none of numbers"),
        ("~x", "'~x' is none of numbers"),
        ("y + 1", "'y' is not known"),
        ("name + 1", "'45nm' is no number"),
        ("-name", "'45nm' is no number"),
        ("b'1'", "is none of numbers"),
        ("-" * 999 + "1", "recursion"),
        ("1" * 1001, "it is too long"),
    ],
)
def test_what_is_none_of_timeloops_arithmetic(text: str, told: str) -> None:
    with pytest.raises(Unreadable) as caught:
        value_of(text, {"x": 4, "name": "45nm"})
    assert any(part.replace('\\"', '"') in str(caught.value) for part in told.split("|"))


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("pe_array.rows * pe_array.columns <= 512", True),
        ("dataflow in ['flexible', 'row_stationary'] and pe_array.rows not in (1, 2)", True),
        ("not limit", True),
        ("pe_array.rows > 4 or limit * 2 > 1", True),
        ("-pe_array.rows > 0", False),
        ("[pe_array.rows, 1] == [8, 1]", True),
        ("pe_array.rows == " + "+".join(["1"] * 400), False),
    ],
)
def test_constraints_of_sweeps(text: str, holds: bool) -> None:
    assert Constraint(text, "where").holds(FIELDS) is holds


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("rows ** 2 < 9", r"holds 'rows \*\* 2'; it may hold fields, numbers"),
        ("1 if rows else 2", "holds '1 if rows else 2'"),
        ("max(rows, 2) < 9", r"holds 'max\(rows, 2\)'"),
        ("rows[0] < 9", r"holds 'rows\[0\]'"),
        ("(lambda: 1)() == 1", "it may hold"),
        ("rows or ().__class__", "it may hold"),
        ("rows <", "is no expression"),
    ],
)
def test_what_a_constraint_cannot_hold(text: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        Constraint(text, "where")


@pytest.mark.parametrize(("text", "told"), [("a / b > 1", "b=0"), ("a < c", "c='x'"), ("-c < a", "'x' is no number")])
def test_a_constraint_that_cannot_be_computed_tells_the_values(text: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        Constraint(text, "where").holds({"a": 1, "b": 0, "c": "x"})
