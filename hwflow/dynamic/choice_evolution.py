"""`evolve`: the most accurate choice that is allowed, by an evolution as once-for-all networks are searched with (Cai et al.,
ICLR 2020, arXiv:1908.09791): the best quarter are parents, half of the children are mutations of one, the others crossovers of
two, and children that are not allowed are drawn again.

What is ours: a child that was measured before is drawn again, too, so that no measurement is spent twice; and where drawing
again does not help, genes are lowered one after the other until the child is allowed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from hwflow.compression.decision import Choice
from hwflow.errors import InputError, check_whole, is_number

_TRIES = 30


@dataclass(frozen=True)
class EvolutionSettings:
    """How long and how broadly is searched.

    Attributes:
        population: choices of a generation.
        generations: how many there are, the first, random one included.
        parents: the share of a generation that has children.
        mutants: the share of children that are mutations.
        mutation: the chance of each gene to change in a mutation; one changes at least.
    """

    population: int = 20
    generations: int = 10
    parents: float = 0.25
    mutants: float = 0.5
    mutation: float = 0.1

    def __post_init__(self) -> None:
        check_whole("population", self.population, 10_000, 2)
        check_whole("generations", self.generations, 100_000)
        for name in ("parents", "mutants", "mutation"):
            value = getattr(self, name)
            if not is_number(value) or not 0 <= value <= 1:
                raise InputError(f"{name} is {value!r}; it must be a share of at least 0 and at most 1.")


def evolve(
    options: Mapping[str, Sequence[int]],
    accuracy: Callable[[Choice], float],
    allowed: Callable[[Choice], bool],
    *,
    settings: EvolutionSettings | None = None,
    seed: int = 0,
    canonical: Callable[[Choice], Choice] = dict,
    first: Iterable[Choice] = (),
    known: Callable[[Choice], bool] = lambda _: False,
) -> Choice:
    """The most accurate choice found; equal arguments give equal ones.

    Args:
        options: by gene its values, ascending; the first ones together must be allowed.
        accuracy: of a choice, the larger the better; the same whenever it is asked for.
        canonical: of choices that are the same thing the one to ask for.
        first: that the first generation begins with, such as are allowed.
        known: whether the accuracy is known without a measurement; by default it is not.

    Raises:
        InputError: where the smallest choice is not allowed.
    """
    used, draw = settings or EvolutionSettings(), random.Random(seed)
    smallest = canonical({name: own[0] for name, own in options.items()})
    if not allowed(smallest):
        raise InputError("no choice keeps the limits, not even the smallest: raise the limits.")
    measured: dict[tuple[int, ...], tuple[float, Choice]] = {}

    def fresh(make: Callable[[], Choice]) -> Choice:
        """A child that is allowed, and new where that can be had."""
        fallback: Choice | None = None
        for _ in range(_TRIES):
            child = canonical(make())
            if allowed(child):
                if tuple(child.values()) not in measured and not known(child):
                    return child
                fallback = child
        return _lowered(make(), options, allowed, canonical, draw) if fallback is None else fallback

    def measure(children: Iterable[Choice]) -> list[Choice]:
        made = {tuple(child.values()): child for child in children}
        for key, child in made.items():
            if key not in measured:
                measured[key] = accuracy(child), child
        return list(made.values())

    def uniform() -> Choice:
        return {name: draw.choice(own) for name, own in options.items()}

    begun = [choice for choice in map(canonical, first) if allowed(choice)][: used.population]
    population = measure([*begun, *(fresh(uniform) for _ in range(used.population - len(begun)))])
    for _ in range(used.generations - 1):
        ranked = sorted(population, key=lambda c: -measured[tuple(c.values())][0])
        parents = ranked[: max(2, round(used.parents * used.population))]
        children: list[Choice] = []
        for place in range(used.population - len(parents)):
            mutant = place < used.mutants * (used.population - len(parents))

            def make(mutant: bool = mutant, parents: list[Choice] = parents) -> Choice:
                if mutant or len(parents) == 1:
                    return _mutated(draw.choice(parents), options, used.mutation, draw)
                one, other = draw.sample(parents, 2)
                return {name: draw.choice((one[name], other[name])) for name in options}

            children.append(fresh(make))
        population = measure([*parents, *children])
    return max(measured.values(), key=lambda one: one[0])[1]


def _mutated(parent: Choice, options: Mapping[str, Sequence[int]], chance: float, draw: random.Random) -> Choice:
    child = dict(parent)
    free = [name for name, own in options.items() if len(own) > 1]
    must = draw.choice(free)
    for name in free:
        if name == must or draw.random() < chance:
            child[name] = draw.choice([value for value in options[name] if value != child[name]])
    return child


def _lowered(
    choice: Choice,
    options: Mapping[str, Sequence[int]],
    allowed: Callable[[Choice], bool],
    canonical: Callable[[Choice], Choice],
    draw: random.Random,
) -> Choice:
    """The choice with random genes lowered by one option at a time, until it is allowed."""
    choice = dict(choice)
    while not allowed(canonical(choice)):
        name = draw.choice([name for name, own in options.items() if choice[name] > own[0]])
        choice[name] = options[name][options[name].index(choice[name]) - 1]
    return canonical(choice)


__all__ = ["EvolutionSettings", "evolve"]
