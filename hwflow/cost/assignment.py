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

Where a batch runs in several rounds, weights can stay over all of them (`Problem.weights`). They take room during every
operation, that of rounds before included, so `solve` is told how much is `reserved` for all of them together and how much they
may take at `most`; which of them stay is chosen with the rest. See `hwflow.cost.batch_rounds`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
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
    """A price that is wanted: of an operation, if the tensors that it reads and writes stay as flagged, and its weights if they
    are `kept`, and others leave it `room`."""

    step: int
    stays: tuple[bool, ...]
    room: Room
    kept: bool = False


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
    """The operations in their order, the tensors that may stay (alive where a step holds them), the size of each memory.

    Attributes:
        weights: of operations whose weights may stay over all rounds, what these take of the memory `place`, in bits.
        reserved: of that memory, for all weights that stay.
        most: that these may take together.
    """

    steps: tuple[Step, ...]
    candidates: frozenset[int]
    sizes: Room
    weights: Mapping[int, int] = field(default_factory=dict)
    place: int = 0
    reserved: int = 0
    most: int = 0


@dataclass(frozen=True)
class Assignment:
    """The tensors that stay, what the network costs then, and whether that is proven to be the least.

    `unknown`: prices in it that are no more than bounds. `kept`: operations whose weights stay over all rounds.
    """

    stays: frozenset[int]
    energy: float
    cycles: float
    proven: bool
    unknown: tuple[Ask, ...]
    kept: frozenset[int] = frozenset()


class _Way(NamedTuple):
    energy: float
    cycles: float
    chosen: frozenset[int]  # of all tensors so far
    kept: frozenset[int] = frozenset()
    used: int = 0  # bits of the weights that are kept


class Prices(Protocol):
    """What the operations cost. Neither answer changes during a call of `solve`."""

    def price(self, ask: Ask) -> Price | None:
        """Of one operation; None where it cannot run so. With no tensor on the chip it is exact."""
        ...

    def least(self, step: int) -> Price:
        """What an operation undercuts neither in energy nor in cycles, whatever stays."""
        ...


def solve(problem: Problem, prices: Prices, objective: Objective, most: float = math.inf) -> Assignment:
    """The choice that costs least; of equal ones, that with the fewest tensors on the chip.

    Args:
        most: of the objective; what costs more need not be found, and leaving everything in DRAM is then the answer.
    """
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
    limit = min(most, value_of(by_dram.energy, by_dram.cycles, objective))
    ways: dict[frozenset[int], list[_Way]] = {frozenset(): [_Way(0.0, 0.0, frozenset())]}
    seen: frozenset[int] = frozenset()
    dropped = math.inf
    for s, step in enumerate(steps):
        begun, seen = sorted(alive[s] - seen), seen | alive[s]
        after = alive[s + 1] if s + 1 < len(steps) else frozenset()
        grown: dict[frozenset[int], list[_Way]] = {}
        for held, some in ways.items():
            for here in _subsets(held, begun):
                for own in ((), (s,)) if s in problem.weights else ((),):
                    room = left(problem, s, here, own)
                    flags = tuple(t in here for t in step.tensors)
                    cost = None if room is None else price(Ask(s, flags, room, bool(own)))
                    if cost is None:
                        continue
                    new, taken = here - held, problem.weights[s] if own else 0
                    for way in some:
                        energy, cycles, used = way.energy + cost.energy, way.cycles + cost.cycles, way.used + taken
                        least_value = value_of(energy + later[s + 1][0], cycles + later[s + 1][1], objective)
                        if used <= problem.most and least_value <= limit * (1 + _ROUNDING):
                            found = _Way(energy, cycles, way.chosen | new, way.kept.union(own), used)
                            grown.setdefault(here & after, []).append(found)
        ways = {held: _undominated(some, objective) for held, some in grown.items()}
        if sum(map(len, ways.values())) > MOST:
            ways, worst = _best(ways, *later[s + 1], objective)
            dropped = min(dropped, worst)
    best = min(
        (way for some in [*ways.values(), [by_dram]] for way in some),
        key=lambda w: (value_of(w.energy, w.cycles, objective), w.used, len(w.chosen), sorted(w.chosen)),
    )
    asks = (ask_of(problem, s, best.chosen, best.kept) for s in range(len(steps)))
    unknown = tuple(ask for ask in asks if not (price(ask) or Price(0.0, 0.0)).exact)
    proven = not unknown and value_of(best.energy, best.cycles, objective) <= dropped
    return Assignment(best.chosen, best.energy, best.cycles, proven, unknown, best.kept)


def value_of(energy: float, cycles: float, objective: Objective) -> float:
    """The objective of sums of energies and cycles."""
    return energy if objective == "energy" else cycles if objective == "latency" else energy * cycles


def left(problem: Problem, step: int, stays: Iterable[int], kept: Iterable[int] = ()) -> Room | None:
    """What the tensors that stay leave of the memories while an operation runs, or None where they do not fit.

    What is reserved for weights is taken off, too, but for those of the operation itself.
    """
    room = list(problem.sizes)
    if problem.reserved:
        own = problem.weights[step] if step in kept else 0
        room[problem.place] = min(problem.sizes[problem.place], room[problem.place] - problem.reserved + own)
    held = problem.steps[step].held
    for tensor in stays:
        for m, bits in enumerate(held.get(tensor, ())):
            room[m] -= bits
    return tuple(room) if min(room, default=0) >= 0 else None


def ask_of(problem: Problem, step: int, stays: frozenset[int], kept: frozenset[int] = frozenset()) -> Ask:
    """The price that an operation has under a choice that fits."""
    room = left(problem, step, stays, kept)
    assert room is not None
    return Ask(step, tuple(t in stays for t in problem.steps[step].tensors), room, step in kept)


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
    """Of ways with the same tensors in the memories, those that matter, the cheapest first: others use neither less of what is
    minimised nor less room for weights."""
    if objective == "latency":
        ranked = sorted(ways, key=lambda w: (w.cycles, w.energy, w.used, len(w.chosen), sorted(w.chosen)))
    else:
        ranked = sorted(ways, key=lambda w: (w.energy, w.cycles, w.used, len(w.chosen), sorted(w.chosen)))
    kept: list[_Way] = []
    by_weights = any(way.used for way in ways)
    for way in ranked:
        if objective == "edp":
            others = kept if by_weights else kept[-1:]
            dominated = any(one.cycles <= way.cycles and one.used <= way.used for one in others)
        else:
            dominated = bool(kept) and kept[-1].used <= way.used
        if not dominated:
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
