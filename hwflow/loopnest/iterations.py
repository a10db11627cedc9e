"""A mapping's loops in the order in which Timeloop runs them, with imperfect factors: iterations and tile extents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from hwflow.arrays import Ints
from hwflow.layers import DIMS

Vector = tuple[int, ...]
Coefficients = list[list[tuple[int, int]]]
"""For each axis of a tensor, the dimensions that move along it and by how many words."""


class Step(NamedTuple):
    """One loop of a nest. `level` counts from the innermost."""

    dim: int
    bound: int
    residual: int
    spatial: bool
    level: int


class Crossing(NamedTuple):
    """Words between a level and the level below: read above, delivered from above, and forwarded by neighbours."""

    reads: float
    delivered: float
    links: float


class Nesting:
    """The loops of one mapping, innermost first, with their extents; shared by the walks of all tensors."""

    def __init__(self, steps: Sequence[Sequence[Step]]) -> None:
        """`steps`: for each level, the innermost first, its loops (spatial before temporal), bounds above 1 only."""
        self.steps: list[Step] = []
        self.top: list[int] = []
        for k, level in enumerate(steps):
            self.steps += level
            if not any(not s.spatial for s in level):
                self.steps.append(Step(len(DIMS) - 1, 1, 1, False, k))
            self.top.append(len(self.steps) - 1)
        self.stride: list[int] = []
        self.full: list[Vector] = []
        self.last: list[Vector] = []
        full, last = [1] * len(DIMS), [1] * len(DIMS)
        for s in self.steps:
            self.stride.append(full[s.dim])
            last[s.dim] += full[s.dim] * (s.residual - 1)
            full[s.dim] *= s.bound
            self.full.append(tuple(full))
            self.last.append(tuple(last))
        self.inside: list[bool] = []
        ragged: set[int] = set()
        for s in self.steps:
            self.inside.append(s.dim in ragged)
            if s.residual != s.bound:
                ragged.add(s.dim)
        self.bit = {d: 1 << n for n, d in enumerate(sorted(ragged))}
        self.all_last = (1 << len(ragged)) - 1

    def counted(self, level: int) -> int:
        """The loop that delivers to the level below `level`: its outermost spatial loop, or else its innermost temporal one."""
        first = self.top[level - 1] + 1 if level else 0
        spatial = sum(s.spatial and s.level == level for s in self.steps)
        return first + max(spatial - 1, 0)

    def iterations(self, step: Step, i: int, last: bool) -> list[tuple[int, int]]:
        """The iterations that Timeloop simulates, with their weights."""
        end = step.residual if last else step.bound
        if end == 1:
            return [(0, 1)]
        if not (last and self.inside[i]):
            return [(0, 1), (1, end - 1)]
        if step.residual == step.bound:
            return [(0, 1), (1, end - 2), (end - 1, 1)][:: 1 if end > 2 else 2]
        middle = [(1, end - 3)] if end > 3 else []
        return [(0, 1), *middle, *([(end - 2, 1)] if end > 2 else []), (end - 1, 1)]

    def repeats(self, i: int, last: bool) -> bool:
        """Whether loop `i`, directly above a tile, counts its second delta twice and its third not at all."""
        step = self.steps[i]
        end = step.residual if last else step.bound
        return last and self.inside[i] and end > 2 and (step.residual == step.bound or end > 3)

    def is_last(self, step: Step, last: int) -> bool:
        """Whether a loop is in the last pass of its dimension (of a perfect one it does not matter), by the bits of `last`."""
        return bool(last & self.bit.get(step.dim, 0))

    def entered(self, step: Step, last: int, at: int) -> int:
        """Ragged dimensions in their last pass, as bits, inside iteration `at` of a loop; `last`: those outside the loop."""
        return last & ~self.bit.get(step.dim, 0) if at + 1 < step.residual else last

    def ends(self, inner: Sequence[int], last: int) -> Vector:
        """The number of iterations of each of some loops."""
        return tuple(s.residual if self.is_last(s, last) else s.bound for s in (self.steps[j] for j in inner))

    def sides(self, coefficients: Coefficients, i: int, last: int) -> Vector:
        """Words along each axis of the tile that loop `i` and the loops inside it span."""
        full, rest, bit = self.full[i], self.last[i], self.bit
        sides = []
        for axis in coefficients:
            side = 1
            for d, c in axis:
                side += c * ((rest if last & bit.get(d, 0) else full)[d] - 1)
            sides.append(side)
        return tuple(sides)


def terms(coefficients: Ints) -> Coefficients:
    """The non-zero terms of a projection, [axis, dimension]."""
    return [[(d, int(c)) for d, c in enumerate(row) if c] for row in coefficients]
