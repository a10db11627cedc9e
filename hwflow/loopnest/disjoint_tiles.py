"""Imperfect factors (ragged loops) of a tensor without sliding windows, whose tiles are equal or disjoint.

Deliveries then depend only on whether a loop of one of the tensor's dimensions has advanced, and neighbours never hold the tile
that an instance needs next. Timeloop's walk (see `hwflow.loopnest.imperfect_factors`) reduces to a sum with one term for each
loop and each set of dimensions in their last pass (hwflow's own derivation; a test compares it with the walk). This holds for
boundaries above a memory; MAC units read their operands whether these are new or not.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from hwflow.arrays import Ints
from hwflow.loopnest.iterations import Crossing, Nesting, Step, terms


class _Pass(NamedTuple):
    """Words that one pass through some loops reads and delivers if its first tile is already held, the words of that tile, both
    as (reads, delivered), and whether the pass ends with another tile."""

    rest: tuple[float, float]
    first: tuple[float, float]
    moves: bool


class DisjointWalk:
    """The walk of one tensor through a loop nest, at one boundary above a memory."""

    def __init__(self, nesting: Nesting, coefficients: Ints, level: int) -> None:
        assert level > 0
        self.nesting, self.coefficients = nesting, terms(coefficients)
        self.goal, self.below = nesting.counted(level), nesting.top[level - 1]
        relevant = {d for axis in self.coefficients for d, _ in axis}
        self.relevant = [s.dim in relevant for s in nesting.steps]
        self.known: dict[tuple[int, int], _Pass] = {}

    def crossing(self) -> Crossing:
        """Over the whole layer, for one instance of the level."""
        rest, first, _ = self.run(len(self.nesting.steps) - 1, self.nesting.all_last)
        return Crossing(rest[0] + first[0], rest[1] + first[1], 0.0)

    def run(self, i: int, last: int) -> _Pass:
        """Loop `i`; the bits of `last` are the ragged dimensions in their last pass."""
        found = self.known.get((i, last))
        if found is None:
            step = self.nesting.steps[i]
            if not step.spatial:
                found = self.count(i, step, last) if i == self.goal else self.loop(i, step, last)
            elif i == self.goal:
                found = self.spread(i, last)
            else:
                found = self.run(i - 1, self.nesting.entered(step, last, 0))
            self.known[i, last] = found
        return found

    def loop(self, i: int, step: Step, last: int) -> _Pass:
        """An outer temporal loop: all passes but the first deliver their first tile if something has moved."""
        first, reads, delivered, moves = (0.0, 0.0), 0.0, 0.0, False
        for at, weight in self.nesting.iterations(step, i, self.nesting.is_last(step, last)):
            inner = self.run(i - 1, self.nesting.entered(step, last, at))
            reads, delivered = reads + weight * inner.rest[0], delivered + weight * inner.rest[1]
            if at == 0:
                first = inner.first
            elif self.relevant[i] or moves:
                reads, delivered = reads + weight * inner.first[0], delivered + weight * inner.first[1]
            moves = inner.moves or (self.relevant[i] and at > 0)
        return _Pass((reads, delivered), first, moves)

    def count(self, i: int, step: Step, last: int) -> _Pass:
        """The temporal loop directly above the tile."""
        final = self.nesting.is_last(step, last)
        sizes = [
            (self.size(self.nesting.entered(step, last, at)), weight) for at, weight in self.nesting.iterations(step, i, final)
        ]
        first = float(sizes[0][0])
        if not self.relevant[i]:
            return _Pass((0.0, 0.0), (first, first), moves=False)
        if self.nesting.repeats(i, final):
            sizes[2] = (sizes[1][0], 1)
        rest = float(sum(size * weight for size, weight in sizes[1:]))
        return _Pass((rest, rest), (first, first), moves=len(sizes) > 1)

    def spread(self, i: int, last: int) -> _Pass:
        """The fan-out: the first instance's tile and its copies."""
        loops = range(i, self.below, -1)
        ends, inside = self.nesting.ends(loops, last), last
        for j in loops:
            inside = self.nesting.entered(self.nesting.steps[j], inside, 0)
        size = self.size(inside)
        distinct = math.prod(end for j, end in zip(loops, ends, strict=True) if self.relevant[j])
        return _Pass((0.0, 0.0), (float(size * distinct), float(size * math.prod(ends))), moves=False)

    def size(self, last: int) -> int:
        """Words of the tile below the boundary."""
        return math.prod(self.nesting.sides(self.coefficients, self.below, last))
