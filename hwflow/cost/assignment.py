"""Which tensors of a network stay on the chip: the exact choice over their live ranges.

A tensor stays in a memory from the operation that writes it to the last one that reads it, or it goes through DRAM; there is
nothing between. An operation's price depends on which of the tensors that it reads and writes stay, and on the room that the
other tensors leave which stay meanwhile. The operations run one after the other, so energies and cycles add up.

`solve` walks over the operations and holds, for every set of tensors that may lie in the memories at a time, the cheapest way
there (for EDP, a product of two sums, every pair of energy and cycles that no other pair equals or undercuts in both). It is
exact: what happens from an operation on depends on the past through that set alone, and the objective grows with each of the
two sums, so a way that is dropped has another one, with the same set, whose every completion costs no more. (This is
dynamic programming; R. Bellman, Dynamic Programming, 1957.) Also dropped are ways that do not fit, and those whose energy and
cycles so far, with the least of each operation to come, exceed what leaving everything in DRAM costs.

A price may be a lower bound instead of the value. If all that the best choice consists of is exact, no other choice costs less,
since its own price, or the bound in its place, is higher already; what is not exact is named, to be computed before the next
call. So only few of the prices have to be computed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from hwflow.types import Objective

MOST = 50_000
"""Ways held at an operation; with more, the rest is dropped and the choice not proven."""

_ROUNDING = 1e-9  # sums of the same prices differ by their order

Room = tuple[int, ...]
"""Bits of each memory."""


class Price(NamedTuple):
    """What an operation costs: `exact`, or at least."""

    energy: float
    cycles: float
    exact: bool = True


class Ask(NamedTuple):
    """A price that is wanted: of an operation, if the tensors that it reads and writes stay as flagged and leave it `room`."""

    step: int
    stays: tuple[bool, ...]
    room: Room


@dataclass(frozen=True)
class Step:
    """One operation.

    Attributes:
        tensors: whose stay its price depends on.
        held: what each tensor that stays takes of the memories while it runs, in bits, beside what its price answers for.
    """

    tensors: tuple[int, ...]
    held: Mapping[int, Room]


@dataclass(frozen=True)
class Problem:
    """The operations in their order, the tensors that may stay (alive where a step holds them), the size of each memory."""

    steps: tuple[Step, ...]
    candidates: frozenset[int]
    sizes: Room


@dataclass(frozen=True)
class Assignment:
    """The tensors that stay, what the network costs then, and whether that is proven to be the least.

    `unknown`: prices in it that are no more than bounds.
    """

    stays: frozenset[int]
    energy: float
    cycles: float
    proven: bool
    unknown: tuple[Ask, ...]


class _Way(NamedTuple):
    energy: float
    cycles: float
    chosen: frozenset[int]  # of all tensors so far


class Prices(Protocol):
    """What the operations cost. Neither answer changes during a call of `solve`."""

    def price(self, ask: Ask) -> Price | None:
        """Of one operation; None where it cannot run so. With no tensor on the chip it is exact."""
        ...

    def least(self, step: int) -> Price:
        """What an operation undercuts neither in energy nor in cycles, whatever stays."""
        ...


def solve(problem: Problem, prices: Prices, objective: Objective) -> Assignment:
    """The choice that costs least; of equal ones, that with the fewest tensors on the chip."""
    known: dict[Ask, Price | None] = {}

    def price(ask: Ask) -> Price | None:
        if ask not in known:
            known[ask] = prices.price(ask)
        return known[ask]

    steps = problem.steps
    alive = [frozenset(step.held) & problem.candidates for step in steps]
    least = [prices.least(s) for s in range(len(steps))]
    later = [(sum(p.energy for p in least[s:]), sum(p.cycles for p in least[s:])) for s in range(len(steps) + 1)]
    by_dram = _all_in_dram(problem, price)
    limit = value_of(by_dram.energy, by_dram.cycles, objective)
    ways: dict[frozenset[int], list[_Way]] = {frozenset(): [_Way(0.0, 0.0, frozenset())]}
    seen: frozenset[int] = frozenset()
    dropped = math.inf
    for s, step in enumerate(steps):
        begun, seen = sorted(alive[s] - seen), seen | alive[s]
        after = alive[s + 1] if s + 1 < len(steps) else frozenset()
        grown: dict[frozenset[int], list[_Way]] = {}
        for held, some in ways.items():
            for here in _subsets(held, begun):
                room = left(problem, s, here)
                cost = None if room is None else price(Ask(s, tuple(t in here for t in step.tensors), room))
                if cost is None:
                    continue
                new = here - held
                for way in some:
                    energy, cycles = way.energy + cost.energy, way.cycles + cost.cycles
                    if value_of(energy + later[s + 1][0], cycles + later[s + 1][1], objective) <= limit * (1 + _ROUNDING):
                        grown.setdefault(here & after, []).append(_Way(energy, cycles, way.chosen | new))
        ways = {held: _undominated(some, objective) for held, some in grown.items()}
        if sum(map(len, ways.values())) > MOST:
            ways, worst = _best(ways, *later[s + 1], objective)
            dropped = min(dropped, worst)
    best = min(
        (way for some in [*ways.values(), [by_dram]] for way in some),
        key=lambda w: (value_of(w.energy, w.cycles, objective), len(w.chosen), sorted(w.chosen)),
    )
    asks = (ask_of(problem, s, best.chosen) for s in range(len(steps)))
    unknown = tuple(ask for ask in asks if not (price(ask) or Price(0.0, 0.0)).exact)
    proven = not unknown and value_of(best.energy, best.cycles, objective) <= dropped
    return Assignment(best.chosen, best.energy, best.cycles, proven, unknown)


def value_of(energy: float, cycles: float, objective: Objective) -> float:
    """The objective of sums of energies and cycles."""
    return energy if objective == "energy" else cycles if objective == "latency" else energy * cycles


def left(problem: Problem, step: int, stays: Iterable[int]) -> Room | None:
    """What the tensors that stay leave of the memories while an operation runs, or None where they do not fit."""
    room = list(problem.sizes)
    held = problem.steps[step].held
    for tensor in stays:
        for m, bits in enumerate(held.get(tensor, ())):
            room[m] -= bits
    return tuple(room) if min(room, default=0) >= 0 else None


def ask_of(problem: Problem, step: int, stays: frozenset[int]) -> Ask:
    """The price that an operation has under a choice that fits."""
    room = left(problem, step, stays)
    assert room is not None
    return Ask(step, tuple(t in stays for t in problem.steps[step].tensors), room)


def _all_in_dram(problem: Problem, price: Callable[[Ask], Price | None]) -> _Way:
    found = [price(ask_of(problem, s, frozenset())) for s in range(len(problem.steps))]
    assert None not in found, "an operation that cannot run at all"
    return _Way(sum(p.energy for p in found if p), sum(p.cycles for p in found if p), frozenset())


def _subsets(held: frozenset[int], new: Sequence[int]) -> list[frozenset[int]]:
    sets = [held]
    for tensor in new:
        sets += [one | {tensor} for one in sets]
    return sets


def _undominated(ways: list[_Way], objective: Objective) -> list[_Way]:
    """Of ways with the same tensors in the memories, those that matter, the least energy first."""
    if objective == "latency":
        return [min(ways, key=lambda w: (w.cycles, w.energy, len(w.chosen), sorted(w.chosen)))]
    ranked = sorted(ways, key=lambda w: (w.energy, w.cycles, len(w.chosen), sorted(w.chosen)))
    if objective == "energy":
        return ranked[:1]
    kept: list[_Way] = []
    for way in ranked:
        if not kept or way.cycles < kept[-1].cycles:
            kept.append(way)
    return kept


def _best(
    ways: dict[frozenset[int], list[_Way]], energy: float, cycles: float, objective: Objective
) -> tuple[dict[frozenset[int], list[_Way]], float]:
    """As many as are held, by what they cost at least in the end, and the least of the others."""
    ranked = sorted(
        (
            (value_of(way.energy + energy, way.cycles + cycles, objective), held, way)
            for held, some in ways.items()
            for way in some
        ),
        key=lambda entry: (entry[0], sorted(entry[1]), sorted(entry[2].chosen)),
    )
    kept: dict[frozenset[int], list[_Way]] = {}
    for _, held, way in ranked[:MOST]:
        kept.setdefault(held, []).append(way)
    return kept, ranked[MOST][0]


__all__ = ["MOST", "Ask", "Assignment", "Prices", "Problem", "Room", "Step", "ask_of", "left", "solve", "value_of"]
