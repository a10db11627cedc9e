"""Differences over seeds: when they count."""

from __future__ import annotations

import math

import pytest

from hwflow.reporting.compression.paired_difference import PairedDifference, paired


def test_only_shared_seeds_count() -> None:
    found = paired({0: 0.9, 1: 0.8, 2: 0.7, 5: 0.1}, {0: 0.88, 1: 0.77, 2: 0.66})
    assert found is not None
    assert (found.seeds, found.mean) == (3, pytest.approx(0.03))
    assert found.error == pytest.approx(0.01 / math.sqrt(3))
    assert found.told_apart
    assert found.text() == "+3.00 ± 0.58"
    assert paired({0: 0.9}, {1: 0.9}) is None


def test_a_mean_within_two_standard_errors_is_not_told_apart() -> None:
    assert PairedDifference(0.02, 0.01, 3).told_apart is False  # exactly two
    assert PairedDifference(0.0201, 0.01, 3).told_apart is True
    assert PairedDifference(-0.01, 0.01, 3).text() == "-1.00 ± 1.00, not told apart"
    assert PairedDifference(0.0, 0.0, 3).told_apart is False


def test_one_seed_tells_nothing() -> None:
    found = paired({0: 0.9}, {0: 0.8})
    assert found is not None
    assert found.told_apart is None
    assert found.text() == "+10.00, one seed"
