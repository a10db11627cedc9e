"""An independent, slow second opinion on the loop-nest analysis: it walks Timeloop's iterations with real sets of points.

Nothing here is shared with `hwflow.cost`. Every loop is visited in Timeloop's order (`NestAnalysis::ComputeDeltas`): its first
iteration, the second one weighted with all that remain, and the last one where an imperfect factor inside makes it different.
Every tile is a set of points of the tensor, so overlap, multicast and link transfers are plain set operations. For tiny layers.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field

from hwflow.accelerator import Accelerator
from hwflow.layers import DIMS, TENSORS, Layer
from hwflow.mapping import Mapping

Point = tuple[int, ...]
Points = frozenset[Point]


@dataclass
class _Loop:
    dim: str
    end: int
    residual: int
    spatial: bool
    level: int


@dataclass
class _State:
    """What one loop's body remembers of its last visit, and what was counted there."""

    last: tuple[Point, Point] | None = None  # low and high corner of the last tile
    motion: Point | None = None
    neighbours: dict[int, Points] = field(default_factory=dict)  # what each instance received last
    size: int = 0
    accesses: float = 0
    weighted: float = 0
    links: float = 0


@dataclass(frozen=True)
class Counts:
    """Per level name and tensor: reads, fills, updates, tile; per level: instances; and the cycles of the computation."""

    accesses: dict[str, dict[str, dict[str, float]]]
    tiles: dict[str, dict[str, int]]
    instances: dict[str, int]
    compute_cycles: int


def simulate(layer: Layer, accelerator: Accelerator, mapping: Mapping) -> Counts:
    """What Timeloop counts for `mapping`, by walking through it."""
    levels = list(reversed(accelerator.levels))
    mapped = list(reversed(mapping.levels))
    keeps = {t: [t in m.keeps for m in mapped] for t in TENSORS}
    walks = {t: _Walk(layer, mapped, t) for t in TENSORS}
    reads_fills_updates = {t: _post(walks[t], keeps[t], t == "outputs") for t in TENSORS}
    accesses = {
        lv.name: {t: reads_fills_updates[t][k] for t in TENSORS if keeps[t][k]}
        for k, lv in enumerate(levels)
        if lv.memory is not None
    }
    some = walks["weights"]
    return Counts(
        accesses,
        {lv.name: {t: walks[t].size(k) for t in TENSORS if keeps[t][k]} for k, lv in enumerate(levels)},
        {lv.name: some.instances[k] for k, lv in enumerate(levels)},
        math.prod(loop.end for loop in some.nest if not loop.spatial),
    )


class _Walk:
    """One tensor's way through the nest."""

    def __init__(self, layer: Layer, mapped: list, tensor: str) -> None:
        self.axes = layer.projections[tensor]
        self.nest: list[_Loop] = []
        self.top: list[int] = []  # for each level its outermost loop
        for k, level in enumerate(mapped):
            self.nest += [_loop(x, True, k) for x in reversed(level.spatial)]
            self.nest += [_loop(x, False, k) for x in reversed(level.temporal)] or [_Loop("G", 1, 1, False, k)]
            self.top.append(len(self.nest) - 1)
        self.state = [_State() for _ in self.nest]
        self.index = [0] * len(self.nest)
        self.at = dict.fromkeys(DIMS, 0)
        self.epochs = 1
        self.stride, self.full, self.ragged = [], [], []
        scale, rest = dict.fromkeys(DIMS, 1), dict.fromkeys(DIMS, 1)
        for loop in self.nest:
            self.stride.append(scale[loop.dim])
            rest[loop.dim] += scale[loop.dim] * (loop.residual - 1)
            scale[loop.dim] *= loop.end
            self.full.append(dict(scale))
            self.ragged.append(dict(rest))
        self.instances = self._instances(len(mapped))
        self.visit(len(self.nest) - 1)

    def _instances(self, levels: int) -> list[int]:
        """Instances in use, on average over time and then cut off, as Timeloop keeps them."""
        product, result = 1.0, [0] * levels
        outer: dict[str, int] = {}
        for loop in reversed(self.nest):
            if not loop.spatial:
                result[loop.level] = int(product)
            else:
                passes = outer.get(loop.dim, 1)
                product = product * (loop.residual + loop.end * (passes - 1)) / passes
            outer[loop.dim] = loop.residual + loop.end * (outer.get(loop.dim, 1) - 1)
        return result

    def inner(self, k: int) -> int:
        """The loop of level k that delivers to what lies below it: its outermost spatial one, or its innermost one."""
        start = self.top[k - 1] + 1 if k else 0
        while self.nest[start].spatial and self.nest[start + 1].spatial:
            start += 1
        return start

    def size(self, k: int) -> int:
        return self.state[self.top[k]].size

    def is_last(self, above: int, dim: str) -> bool:
        return all(self.index[i] + 1 >= loop.residual for i, loop in enumerate(self.nest) if i >= above and loop.dim == dim)

    def end(self, i: int) -> int:
        return self.nest[i].residual if self.is_last(i + 1, self.nest[i].dim) else self.nest[i].end

    # The walk --------------------------------------------------------------------------------------------------------

    def visit(self, i: int) -> Points:
        """The points that were not there at the last visit."""
        if self.nest[i].spatial:
            self.spread(i)
        else:
            self.iterate(i)
        low, high = self.tile(i)
        state = self.state[i]
        points = _points(low, high)
        state.size = max(state.size, len(points))
        delta = points
        if state.last is not None:
            motion = _motion(state.last, (low, high))
            old = _points(*state.last)
            if not any(motion):
                delta = points - old
            elif state.motion is None:
                delta, state.motion = points - old, motion
            elif state.motion == motion:
                delta = points - old
            else:
                state.motion = None
        state.last = (low, high)
        return delta

    def tile(self, i: int) -> tuple[Point, Point]:
        extents = {d: (self.ragged if self.is_last(i + 1, d) else self.full)[i][d] for d in DIMS}
        low = tuple(sum(t.coefficient * self.at[t.dim] for t in axis) for axis in self.axes)
        high = tuple(
            lo + sum(t.coefficient * (extents[t.dim] - 1) for t in axis) for lo, axis in zip(low, self.axes, strict=True)
        )
        return low, high

    def iterate(self, i: int) -> None:
        loop, end, state = self.nest[i], self.end(i), self.state[i]
        if i == 0:
            state.accesses += end * self.epochs
            state.weighted += end * self.epochs
            return
        inside = any(x.dim == loop.dim and x.end != x.residual for x in self.nest[:i])
        last = inside and self.is_last(i + 1, loop.dim)
        careful = last and loop.end != loop.residual
        times: list[tuple[int, int]] = [(0, 1)]  # iteration, weight
        if end > 1:
            if not last:
                times.append((1, end - 1))
            else:
                before = end - 3 if careful else end - 2
                if before > 0:
                    times.append((1, before))
                if careful and end >= 3:
                    times.append((end - 2, 1))
                times.append((end - 1, 1))
        saved, deltas = self.at[loop.dim], []
        for at, weight in times:
            self.index[i] = at
            self.at[loop.dim] = saved + at * self.stride[i]
            saved_epochs, self.epochs = self.epochs, self.epochs * weight
            deltas.append((len(self.visit(i - 1)), weight))
            self.epochs = saved_epochs
        self.at[loop.dim] = saved
        if last and end >= 3:  # Timeloop counts the tile before the last in place of the last, or of the one before it
            if not careful:
                deltas[-1] = (deltas[-2][0], 1)
            elif end >= 4:
                deltas[-2] = (deltas[-3][0], 1)
        if i - 1 in self.top:
            total = sum(n * weight for n, weight in deltas) * self.epochs
            state.accesses += total
            state.weighted += total

    def spread(self, i: int) -> None:
        start = i
        while start > 0 and self.nest[start - 1].spatial:
            start -= 1
        loops = range(i, start - 1, -1)
        ends = [self.end(j) for j in loops]
        state = self.state[i]
        for j in loops:
            self.index[j] = 0
        mine: Points | None = None if start == 0 else self.visit(start - 1)
        deltas: dict[int, Points] = {}
        for number, where in enumerate(itertools.product(*map(range, ends))):
            shift = dict.fromkeys(DIMS, 0)
            for j, at in zip(loops, where, strict=True):
                shift[self.nest[j].dim] += at * self.stride[j]
            if mine is None:
                shift = {d: shift[d] + self.at[d] for d in DIMS}
            by = tuple(sum(t.coefficient * shift[t.dim] for t in axis) for axis in self.axes)
            there = {(0,) * len(by)} if mine is None else mine
            deltas[number] = frozenset(tuple(a + b for a, b in zip(p, by, strict=True)) for p in there)
        plain = self.multicast(deltas)
        linked = {n for n, d in deltas.items() if d and any(state.neighbours.get(other) == d for other in (n - 1, n + 1))}
        fewer = self.multicast({n: d for n, d in deltas.items() if n not in linked})
        if fewer[0] < plain[0]:
            plain = fewer
            state.links += sum(len(deltas[n]) for n in linked) * self.epochs
        state.accesses += plain[0]
        state.weighted += plain[1]
        state.neighbours = deltas

    def multicast(self, deltas: dict[int, Points]) -> tuple[int, int]:
        different = set(deltas.values())
        return sum(map(len, different)) * self.epochs, sum(map(len, deltas.values())) * self.epochs


def _loop(loop: tuple, spatial: bool, level: int) -> _Loop:
    dim, bound, *residual = loop
    return _Loop(dim, bound, residual[0] if residual else bound, spatial, level)


def _points(low: Point, high: Point) -> Points:
    return frozenset(itertools.product(*(range(a, b + 1) for a, b in zip(low, high, strict=True))))


def _motion(old: tuple[Point, Point], new: tuple[Point, Point]) -> Point:
    """How far the centre moves, to the nearest whole, halves away from zero."""
    moved = []
    for a, b, c, d in zip(*old, *new, strict=True):
        twice = (c + d) - (a + b)
        moved.append((abs(twice) + 1) // 2 * (1 if twice > 0 else -1))
    return tuple(moved)


# From what crossed each boundary to what each memory saw -------------------------------------------------------------------


def _post(walk: _Walk, keep: list[bool], accumulates: bool) -> list[dict[str, float]]:
    count = len(keep)
    content = [walk.state[walk.inner(k)].accesses for k in range(count)]
    weighted = [walk.state[walk.inner(k)].weighted for k in range(count)]
    links = [walk.state[walk.inner(k)].links for k in range(count)]
    fanout = [math.prod(x.end for x in walk.nest if x.spatial and x.level == k) for k in range(count)]
    share = [weighted[k + 1] / fanout[k + 1] if k + 1 < count else 0.0 for k in range(count)]
    part = [0] * count
    part[-1] = walk.size(count - 1)
    for k in range(count - 2, -1, -1):
        outer = walk.inner(k + 1)
        whole = walk.state[outer].size if walk.nest[outer].spatial else walk.size(k)
        part[k] = part[k + 1] * walk.size(k) // whole
    for k in range(count - 1):
        if not keep[k]:
            factor = content[k] * fanout[k + 1] / weighted[k + 1]
            content[k + 1] *= factor
            weighted[k + 1] *= factor
            links[k + 1] = 0
    peer = [links[k + 1] / walk.instances[k] if k + 1 < count else 0.0 for k in range(count)]
    result = []
    for k in range(count):
        outermost = not any(keep[k + 1 :])
        come = 0.0 if outermost else share[k]
        if accumulates:
            result.append(
                {
                    "reads": max(0.0, _round(content[k] + peer[k] - part[k])),
                    "fills": max(0.0, _round(come + peer[k] - (0 if outermost else part[k]))),
                    # each word of its share is written once, those that no product reaches included
                    "updates": _round(content[k]) + max(0.0, part[k] - _round(content[k] + peer[k])),
                }
            )
        else:
            result.append({"reads": _round(content[k] + peer[k]), "fills": float(math.floor(come + peer[k])), "updates": 0.0})
    return result


def _round(value: float) -> float:
    return float(math.floor(value + 0.5))
