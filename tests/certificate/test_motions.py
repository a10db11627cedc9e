"""What one loop of a sliding window undoes of another's motion, against all sequences of loops."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import pytest

from hwflow.certificate.motions import advances, loops_between, primes, returns, sums

Loop = tuple[int, int]  # dimension and bound


def factorizations(number: int) -> Iterator[tuple[int, ...]]:
    """All ordered products of bounds above 1."""
    if number == 1:
        yield ()
    for bound in range(2, number + 1):
        if number % bound == 0:
            yield from ((bound, *rest) for rest in factorizations(number // bound))


def interleaved(one: list[Loop], two: list[Loop]) -> Iterator[list[Loop]]:
    """All orders that keep the order of each."""
    for places in itertools.combinations(range(len(one) + len(two)), len(one)):
        first, second = iter(one), iter(two)
        yield [next(first if n in places else second) for n in range(len(one) + len(two))]


def least_undoing(step: int, grows: int, left: int, other: int, rest: int) -> int:
    """By definition: loops step once each inside a loop that steps; where the window is back, the product of loops inside it
    over that of the run is counted. Where the next loop is of the run's dimension, one of a third dimension ends the run."""
    found = []
    for run, more, second in itertools.product(factorizations(grows), factorizations(left), factorizations(rest)):
        for outside in interleaved([(0, bound) for bound in more], [(1, bound) for bound in second]):
            distance, moved, product = [step, other], 0, 1
            for n, (dim, bound) in enumerate([*((0, bound) for bound in run), *outside]):
                if n >= len(run) and distance[dim] == moved:
                    found.append(product // grows)
                moved += distance[dim]
                distance[dim] *= bound
                product *= bound
    return min(found, default=0)


@pytest.mark.parametrize("grows", [2, 3, 4, 5, 6, 12])
@pytest.mark.parametrize(("left", "rest"), [(1, 3), (2, 2), (3, 3), (13, 3), (4, 2), (6, 4), (2, 5)])
def test_loops_that_undo_a_run_are_found(grows: int, left: int, rest: int) -> None:
    """Those between are at least as many as stated, and stated to undo nothing only where none does."""
    seen = set()
    for step, other in itertools.product([1, 2, 3, 5], [1, 2, 3, 4, 6, 12]):
        stated, true = loops_between(step, grows, left, other, rest, 1), least_undoing(step, grows, left, other, rest)
        assert bool(stated) == bool(true), f"steps of {step} and {other}"
        assert stated <= true
        seen.add(bool(true))
    assert seen == {False, True}


def test_spatial_factors_only_add_motions() -> None:
    for step, other in itertools.product([1, 2, 3], [1, 2, 4, 6]):
        alone, spread = (loops_between(step, 4, 3, other, 3, fans) for fans in (1, 2))
        assert alone == 0 or 0 < spread <= alone


def test_sums_of_all_products_are_those_of_divisors() -> None:
    for number in (2, 6, 12, 30):
        divisors = [n for n in range(2, number + 1) if number % n == 0]
        assert returns(number) == frozenset().union(*map(sums, divisors))
        assert min(advances(number)) == 1
        assert math.prod(primes(number)) in divisors
