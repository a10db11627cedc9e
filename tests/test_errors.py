"""The checks that every part of hwflow shares, and that no part writes its own."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hwflow
from hwflow.errors import InputError, check_whole, is_number, is_whole

PACKAGE = Path(hwflow.__file__).parent


@pytest.mark.parametrize(
    ("value", "least", "most", "told"),
    [
        (0, 1, math.inf, "it is 0; it must be a whole number of at least 1."),
        (-3, 0, math.inf, "it is -3; it must be a whole number of at least 0."),
        (True, 1, math.inf, "it is True; it must be a whole number of at least 1."),
        (1.0, 1, math.inf, "it is 1.0; it must be a whole number of at least 1."),
        ("8", 1, math.inf, "it is '8'; it must be a whole number of at least 1."),
        (None, 2, math.inf, "it is None; it must be a whole number of at least 2."),
        (math.nan, 1, math.inf, "it is nan; it must be a whole number of at least 1."),
        (2000, 1, 1024, "it is 2000; it must be a whole number of at least 1, and at most 1,024."),
        pytest.param(10**5000, 1, 1024, "it is a number of thousands of digits; it must be a whole", id="huge"),
    ],
)
def test_what_is_no_whole_number_is_refused_by_name(value: Any, least: int, most: float, told: str) -> None:
    with pytest.raises(InputError, match=re.escape(told)):
        check_whole("it", value, most, least)


@pytest.mark.parametrize(("value", "least"), [(1, 1), (0, 0), (10**30, 1), (2, 2)])
def test_whole_numbers_are_taken(value: int, least: int) -> None:
    check_whole("it", value, least=least)
    assert is_whole(value, least)
    assert is_number(value)


@pytest.mark.parametrize(("value", "number"), [(1.5, True), (-0.0, True), (True, False), ("1", False), (None, False)])
def test_a_number_is_no_truth_value(value: object, number: bool) -> None:
    assert is_number(value) is number
    assert not is_whole(value)


def test_a_number_of_numpys_is_no_whole_number_of_ours() -> None:
    assert not is_whole(np.int64(3))


def test_checks_of_whole_numbers_have_one_home() -> None:
    own = re.compile(r"isinstance\((\w+(?:\.\w+)*), bool\) or not isinstance\(\1,")
    assert [str(path) for path in PACKAGE.rglob("*.py") if own.search(path.read_text(encoding="utf-8"))] == []
