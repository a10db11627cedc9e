"""Fronts of designs, and what bounds prove of them."""

from __future__ import annotations

import numpy as np
import pytest

from hwflow.sweeping.design_front import FrontProof, front, matched
from hwflow.sweeping.searcher import Values
from hwflow.sweeping.space import Design

A, B, C, D = (Design(0, (i,), 0) for i in range(4))


def test_a_front_holds_each_undominated_design_once() -> None:
    values = np.array([[1.0, 4.0], [2.0, 4.0], [3.0, 1.0], [1.0, 4.0], [2.0, 2.0]])
    assert front(values).tolist() == [[1.0, 4.0], [2.0, 2.0], [3.0, 1.0]]


def test_a_design_is_excluded_where_one_is_as_good_as_its_bounds_in_everything() -> None:
    bounds = np.array([[2.0, 2.0], [2.0, 1.9], [3.0, 5.0]])
    assert matched(bounds, np.array([[2.0, 2.0]])).tolist() == [True, False, True]
    assert not matched(bounds, np.zeros((0, 2))).any()


def test_a_front_is_proven_within_what_the_bounds_leave_open() -> None:
    """B is excluded by A. C could be at (2, 1), which D misses by 25 % in the first objective, and A by 100 % in the second."""
    bounds = {A: (1.0, 1.0), B: (1.5, 2.0), C: (2.0, 1.0), D: (2.0, 1.0)}
    proof = FrontProof.of(bounds, {A: (1.0, 2.0), D: (2.5, 1.1)})
    assert proof is not None
    assert (proof.designs, proof.costed, proof.excluded) == (4, 2, 1)
    assert proof.within == pytest.approx(0.25)


def test_a_front_of_all_designs_is_proven() -> None:
    costed = {A: (1.0, 2.0), B: (2.0, 1.0), C: None}
    proof = FrontProof.of({A: (1.0, 1.0), B: (1.0, 1.0), C: (0.0, 0.0)}, costed)
    assert proof == FrontProof(designs=3, costed=3, excluded=0, unknown=0, within=0.0)
    assert FrontProof.of({A: (1.0, 2.0), B: (1.0, 2.0)}, {A: (1.0, 2.0)}) == FrontProof(2, 1, 1, 0, 0.0)


def test_designs_without_bounds_are_counted_apart() -> None:
    """One that no mapping fits has no bound: it takes nothing from what is proven of the others."""
    costed: dict[Design, Values] = {A: (1.0, 2.0)}
    assert FrontProof.of({A: (1.0, 1.0), B: (1.5, 2.0), C: (0.0, 0.0)}, costed) == FrontProof(2, 1, 1, 1, 0.0)
    assert FrontProof.of({A: (0.0, 0.0)}, costed) == FrontProof(1, 1, 0, 0, 0.0)


def test_nothing_is_proven_where_a_bound_is_unknown_or_all_failed() -> None:
    assert FrontProof.of({A: (1.0, 1.0), B: (0.0, 1.0)}, {A: (1.0, 2.0)}) is None
    assert FrontProof.of({A: (1.0, 1.0), B: (1.0, 1.0)}, {A: None}) is None
    assert FrontProof.of({}, {A: (1.0, 1.0)}) is None
