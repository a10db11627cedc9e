"""Hypervolumes, and the points that keep most of them."""

from __future__ import annotations

import itertools
import math
import random

import pytest

from hwflow.dynamic.hypervolume import hypervolume, kept_points
from hwflow.errors import InputError


def front(count: int, criteria: int, seed: int) -> list[tuple[float, ...]]:
    """Points on a sphere, none of which dominates another."""
    draw, found = random.Random(seed), []
    for _ in range(count):
        values = [abs(draw.gauss(0, 1)) for _ in range(criteria)]
        found.append(tuple(1 - value / math.hypot(*values) for value in values))
    return found


def test_volumes_by_hand() -> None:
    assert hypervolume([(0.2,), (0.5,)], (1.0,)) == 0.8
    assert hypervolume([(1.0, 3.0), (2.0, 1.0)], (4.0, 4.0)) == 3 * 1 + 2 * 2  # of the second what the first has not
    assert hypervolume([(1.0, 3.0), (2.0, 1.0), (2.5, 2.0), (5.0, 0.0)], (4.0, 4.0)) == 7  # dominated, and beyond
    assert hypervolume([(0.0, 0.0, 1.0), (1.0, 1.0, 0.0)], (2.0, 2.0, 2.0)) == 4 + 1
    assert hypervolume([], (1.0, 1.0)) == 0


@pytest.mark.parametrize("criteria", [2, 3])
def test_the_kept_points_against_all_choices(criteria: int) -> None:
    reference = (1.1,) * criteria
    for seed in range(6):
        points = front(9, criteria, seed)
        found = kept_points(points, reference, 3)
        best = max(hypervolume(choice, reference) for choice in itertools.combinations(points, 3))
        assert found.volume == pytest.approx(hypervolume([points[i] for i in found.places], reference))
        assert found.all_volume == pytest.approx(hypervolume(points, reference))
        assert found.volume <= best * (1 + 1e-9) <= found.bound * (1 + 2e-9)
        assert found.volume >= (1 - 1 / math.e) * best
        if criteria == 2:
            assert found.proven
            assert found.volume == pytest.approx(best)


def test_all_points_and_more() -> None:
    points = [*front(4, 2, 0), (0.5, 2.0)]  # the last is beyond the reference
    found = kept_points(points, (1.1, 1.1), 5)
    assert found.places == (0, 1, 2, 3, 4)
    assert found.volume == found.all_volume
    with pytest.raises(InputError, match=r"6 points shall be kept, but there are 5; ask for at most 5"):
        kept_points(points, (1.1, 1.1), 6)
