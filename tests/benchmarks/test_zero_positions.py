"""The benchmark of densities by position."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from benchmarks import zero_positions
from hwflow.compression.winograd.positions import error_factors


def test_all_ways_to_give_densities_have_the_same_mean() -> None:
    found = zero_positions.densities(error_factors(4))
    mean, together, each = (found[how] for how in ("mean of all", "within 0.05", "each by itself"))
    assert isinstance(together, list)
    assert isinstance(each, list)
    assert mean == pytest.approx(0.1, abs=1e-4)
    assert sum(together) == pytest.approx(sum(each)) == pytest.approx(36 * 0.1, abs=1e-2)
    assert len(set(together)) < len(set(each))
    assert max(abs(a - b) for a, b in zip(together, each, strict=True)) <= 0.05
