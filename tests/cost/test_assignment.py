"""The choice of what stays: equal to trying everything, on problems with branches, joins and reuse far apart."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwflow.cost import assignment
from hwflow.cost.assignment import Ask, Price, Problem, Step, ask_of, left, solve, value_of
from hwflow.types import Objective


@dataclass
class Invented:
    """Prices that less room never lowers; `known` holds what is exact beside what is needed at the start."""

    problem: Problem
    seed: int
    lazy: bool = False

    def __post_init__(self) -> None:
        self.known: set[Ask] = set()
        self.drawn: dict[tuple[int, tuple[bool, ...]], tuple[int, int, int, int, int]] = {}

    def true(self, ask: Ask) -> Price | None:
        if (ask.step, ask.stays) not in self.drawn:
            rng = random.Random(f"{self.seed} {ask.step} {ask.stays}")
            drawn = rng.randint(5, 40), rng.randint(5, 40), rng.randint(0, 6), rng.randint(0, 2), rng.randint(0, 1)
            self.drawn[ask.step, ask.stays] = drawn
        energy, cycles, need, more_energy, more_cycles = self.drawn[ask.step, ask.stays]
        if any(ask.stays) and need > min(ask.room):
            return None
        less = sum(self.problem.sizes) - sum(ask.room)
        return Price(energy + more_energy * less, cycles + more_cycles * less)

    def price(self, ask: Ask) -> Price | None:
        found = self.true(ask)
        if found is None or not self.lazy or not any(ask.stays) or ask in self.known:
            return found
        return Price(5, 5, exact=False)

    def least(self, step: int) -> Price:
        return Price(5, 5)


def drawn(rng: random.Random, most: int) -> Problem:
    """Tensors with lives of any length, two or three of them at every operation, in one memory or two."""
    count, tensors = rng.randint(2, 9), rng.randint(1, most)
    sizes = tuple(rng.randint(4, 20) for _ in range(rng.choice([1, 2])))
    lives = [sorted((rng.randrange(count), rng.randrange(count))) for _ in range(tensors)]
    bits = [tuple(rng.randint(1, 8) for _ in sizes) for _ in range(tensors)]
    steps = []
    for s in range(count):
        alive = [t for t in range(tensors) if lives[t][0] <= s <= lives[t][1]]
        own = tuple(t for t in alive if s in lives[t] or rng.random() < 0.2)[:3]
        held = {t: tuple(rng.randint(0, 2) for _ in sizes) if t in own and rng.random() < 0.5 else bits[t] for t in alive}
        steps.append(Step(own, held))
    return Problem(tuple(steps), frozenset(t for t in range(tensors) if rng.random() < 0.9), sizes)


def tried(problem: Problem, prices: Invented, objective: Objective) -> float:
    """The least objective of all choices."""
    best, candidates = float("inf"), sorted(problem.candidates)
    for flags in itertools.product([False, True], repeat=len(candidates)):
        stays = frozenset(t for t, flag in zip(candidates, flags, strict=True) if flag)
        if any(left(problem, s, stays) is None for s in range(len(problem.steps))):
            continue
        found = [prices.true(ask_of(problem, s, stays)) for s in range(len(problem.steps))]
        if None not in found:
            best = min(best, value_of(sum(p.energy for p in found if p), sum(p.cycles for p in found if p), objective))
    return best


@given(seed=st.integers(0, 10**6), most=st.sampled_from([3, 5, 7]))
@settings(max_examples=40)
def test_nothing_is_better(seed: int, most: int) -> None:
    problem = drawn(random.Random(seed), most)
    for objective in get_args(Objective):
        prices = Invented(problem, seed)
        found = solve(problem, prices, objective)
        assert found.proven
        assert value_of(found.energy, found.cycles, objective) == tried(problem, prices, objective)


@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_better_among_twelve_tensors(seed: int) -> None:
    problem = drawn(random.Random(seed), 1)
    rng = random.Random(seed)
    lives = [sorted((rng.randrange(6), rng.randrange(6))) for _ in range(12)]
    steps = tuple(
        Step(tuple(t for t in range(12) if s in lives[t])[:3], {t: (2,) for t in range(12) if lives[t][0] <= s <= lives[t][1]})
        for s in range(6)
    )
    problem = Problem(steps, frozenset(range(12)), (9,))
    prices = Invented(problem, seed)
    found = solve(problem, prices, "edp")
    assert value_of(found.energy, found.cycles, "edp") == tried(problem, prices, "edp")


@given(seed=st.integers(0, 10**6))
@settings(max_examples=15)
def test_prices_that_the_choice_needs_are_named_until_all_are_known(seed: int) -> None:
    problem = drawn(random.Random(seed), 6)
    for objective in get_args(Objective):
        prices = Invented(problem, seed, lazy=True)
        while (found := solve(problem, prices, objective)).unknown:
            assert not found.proven
            assert not prices.known & set(found.unknown)
            prices.known |= set(found.unknown)
        assert found.proven
        assert value_of(found.energy, found.cycles, objective) == tried(problem, prices, objective)


def test_of_equal_choices_the_one_with_nothing_on_the_chip_is_taken() -> None:
    class Flat:
        def price(self, ask: Ask) -> Price:
            return Price(1, 1)

        def least(self, step: int) -> Price:
            return Price(1, 1)

    problem = Problem((Step((0,), {0: (1,)}),) * 3, frozenset({0}), (4,))
    assert solve(problem, Flat(), "edp").stays == frozenset()


def test_what_is_dropped_for_want_of_room_is_not_proven(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assignment, "MOST", 1)
    steps = tuple(Step((s, s + 1), dict.fromkeys((s, s + 1), (1,))) for s in range(4))
    problem = Problem(steps, frozenset(range(5)), (2,))
    found = []
    for seed in range(20):
        prices = Invented(problem, seed)
        cut, least = solve(problem, prices, "energy"), tried(problem, prices, "energy")
        assert cut.energy == least or not cut.proven
        found.append((cut.proven, cut.energy == least))
    assert {(True, True), (False, False)} <= set(found)
