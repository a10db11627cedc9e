"""The evolution finds the optimum of an additive toy, keeps the limits, and asks for nothing twice."""

from __future__ import annotations

import itertools
import random

import pytest

from hwflow.compression.decision import Choice
from hwflow.dynamic.choice_evolution import EvolutionSettings, evolve
from hwflow.errors import InputError

OPTIONS = {f"gene{i}": (0, 1, 2) for i in range(6)}
EVERY = [dict(zip(OPTIONS, values, strict=True)) for values in itertools.product(*OPTIONS.values())]


class Toy:
    """Accuracies and costs that add up over genes; 300 of the 729 choices are allowed."""

    def __init__(self, seed: int) -> None:
        draw = random.Random(seed)
        self.worths, self.costs = ({(n, v): v * draw.random() for n in OPTIONS for v in (0, 1, 2)} for _ in range(2))
        self.limit = sorted(self.cost(choice) for choice in EVERY)[300]
        self.asked: list[tuple[int, ...]] = []

    def accuracy(self, choice: Choice) -> float:
        self.asked.append(tuple(choice.values()))
        return self.worth(choice)

    def worth(self, choice: Choice) -> float:
        return sum(self.worths[gene] for gene in choice.items())

    def cost(self, choice: Choice) -> float:
        return sum(self.costs[gene] for gene in choice.items())

    def allowed(self, choice: Choice) -> bool:
        return self.cost(choice) <= self.limit


def test_the_exact_optimum_in_19_of_20_seeds() -> None:
    right, settings = 0, EvolutionSettings(population=24, generations=15)
    for seed in range(20):
        toy = Toy(seed)
        found = evolve(OPTIONS, toy.accuracy, toy.allowed, settings=settings, seed=seed)
        assert toy.allowed(found)
        assert len(toy.asked) == len(set(toy.asked)) < 200  # of the 300 that are allowed
        right += toy.worth(found) == max(toy.worth(choice) for choice in EVERY if toy.allowed(choice))
    assert right >= 19


def test_it_begins_with_what_is_given_and_skips_what_is_known() -> None:
    toy, settings = Toy(0), EvolutionSettings(population=4, generations=2)
    best = max((choice for choice in EVERY if toy.allowed(choice)), key=toy.worth)
    banned = {tuple(choice.values()) for choice in EVERY if choice["gene0"] == 1 and choice != best}
    found = evolve(
        OPTIONS,
        toy.accuracy,
        toy.allowed,
        settings=settings,
        first=[best],
        known=lambda choice: tuple(choice.values()) in banned,
    )
    assert found == best
    assert toy.asked[0] == tuple(best.values())
    assert not banned & set(toy.asked)


def test_limits_that_random_choices_do_not_meet() -> None:
    toy = Toy(1)
    least = sorted(toy.cost(choice) for choice in EVERY)[2]
    found = evolve(OPTIONS, toy.accuracy, lambda c: toy.cost(c) <= least, settings=EvolutionSettings(4, 3))
    assert toy.cost(found) <= least
    with pytest.raises(InputError, match="no choice keeps the limits, not even the smallest: raise the limits"):
        evolve(OPTIONS, toy.accuracy, lambda _: False)
    with pytest.raises(InputError, match=r"mutation is 2; it must be a share of at least 0 and at most 1"):
        EvolutionSettings(mutation=2)
    with pytest.raises(InputError, match="population is 1; it must be a whole number of at least 2"):
        EvolutionSettings(population=1)
