"""Imperfect factors (ragged loops), counted exactly as Timeloop does, by a memoised walk through one mapping.

Timeloop runs the first two iterations of a temporal loop and weighs the second with the number of the remaining ones; where a
loop of the same dimension inside is ragged, and all of that dimension's loops outside are in their last pass, it runs the last
one too (`NestAnalysis::ComputeTemporalWorkingSet`). There tiles are smaller, fewer instances work, and the jump to the last
iteration makes it forget what a tile held, which changes the cost of the next steps. No closed form is known for tensors with
sliding windows, so this is a walk. But what a loop's body delivers depends only on which dimensions are in their last pass and
on what was held before, relative to where the body starts: a few states, each of which is walked once.

Two more of Timeloop's rules are followed. Directly above a storage boundary the smaller delta of a last iteration is not
used if there are three iterations or more: the one before it counts twice. And only the first instance of a fan-out is walked;
the others are assumed equal, so a ragged loop inside a spatial loop of the same dimension has no effect.
"""

from __future__ import annotations

import math
import operator
from typing import NamedTuple

import numpy as np

from hwflow.arrays import Bools, Ints
from hwflow.loopnest.iterations import Crossing, Nesting, Step, Vector, terms

Box = tuple[Vector, Vector]
"""The lowest corner, and the corner just beyond the highest."""


class _Fan(NamedTuple):
    """Positions of the instances' tiles relative to the first one's, in mesh order and encoded as one number each; the number
    of different positions; their extent along each axis, and the value of one word along it in this encoding."""

    places: Ints
    distinct: int
    span: Vector
    weights: Vector


class _Held(NamedTuple):
    """What an instance and its neighbours received last; positions are relative to the walk's current position."""

    tile: Box | None = None
    motion: Vector | None = None
    delta: tuple[Box, ...] = ()
    origin: Vector = ()
    spread: Vector = ()

    def seen_from(self, move: Vector, times: int) -> _Held:
        """The same after the walk has advanced by `times` this `move`."""
        if not times or not any(move) or (self.tile is None and not self.origin):
            return self
        shift = tuple(x * times for x in move)
        tile = None if self.tile is None else (_minus(self.tile[0], shift), _minus(self.tile[1], shift))
        return self._replace(tile=tile, origin=_minus(self.origin, shift) if self.origin else ())


class Walk:
    """The walk of one tensor through a loop nest, at one boundary."""

    def __init__(self, nesting: Nesting, coefficients: Ints, level: int) -> None:
        self.nesting, self.level = nesting, level
        self.coefficients = terms(coefficients)
        self.goal = nesting.counted(level)
        self.below = nesting.top[level - 1] if level else -1
        self.moves = [tuple(int(c) for c in coefficients[:, s.dim] * nesting.stride[i]) for i, s in enumerate(nesting.steps)]
        self.known: dict[tuple[int, int, _Held], tuple[_Held, Crossing]] = {}
        self.fans: dict[Vector, _Fan] = {}

    def crossing(self) -> Crossing:
        """Over the whole layer, for one instance of the level."""
        return self.run(len(self.nesting.steps) - 1, self.nesting.all_last, _Held())[1]

    def run(self, i: int, last: int, held: _Held) -> tuple[_Held, Crossing]:
        """Loop `i`, with the ragged dimensions in the bits of `last` in their last pass: what is then held, what crossed."""
        key = (i, last, held)
        found = self.known.get(key)
        if found is None:
            step = self.nesting.steps[i]
            if not step.spatial:
                found = self.count(i, step, last, held) if i == self.goal else self.loop(i, step, last, held)
            elif i == self.goal:
                found = self.spread(i, last, held)
            else:
                found = self.run(i - 1, self.nesting.entered(step, last, 0), held)
            self.known[key] = found
        return found

    def loop(self, i: int, step: Step, last: int, held: _Held) -> tuple[_Held, Crossing]:
        """An outer temporal loop."""
        reads = delivered = links = 0.0
        before = 0
        for at, weight in self.nesting.iterations(step, i, self.nesting.is_last(step, last)):
            held = held.seen_from(self.moves[i], at - before)
            held, crossed = self.run(i - 1, self.nesting.entered(step, last, at), held)
            reads, delivered = reads + weight * crossed.reads, delivered + weight * crossed.delivered
            links, before = links + weight * crossed.links, at
        return held.seen_from(self.moves[i], -before), Crossing(reads, delivered, links)

    def count(self, i: int, step: Step, last: int, held: _Held) -> tuple[_Held, Crossing]:
        """The temporal loop directly above the tile."""
        final = self.nesting.is_last(step, last)
        if i == 0:  # MAC units read their operands in every iteration
            times = float(step.residual if final else step.bound)
            return held, Crossing(times, times, 0.0)
        deltas: list[tuple[int, int]] = []
        before = 0
        for at, weight in self.nesting.iterations(step, i, final):
            held = held.seen_from(self.moves[i], at - before)
            held, delta = self.visit(self.nesting.entered(step, last, at), held)
            deltas.append((_size(delta), weight))
            before = at
        if self.nesting.repeats(i, final):
            deltas[2] = (deltas[1][0], 1)
        total = float(sum(size * weight for size, weight in deltas))
        return held.seen_from(self.moves[i], -before), Crossing(total, total, 0.0)

    # At the boundary -------------------------------------------------------------------------------------------------

    def visit(self, last: int, held: _Held) -> tuple[_Held, tuple[Box, ...]]:
        """The tile below at the walk's current position: which part is new by Timeloop's rules of reuse."""
        origin = (0,) * len(self.coefficients)
        tile: Box = (origin, self.nesting.sides(self.coefficients, self.below, last))
        if held.tile is None:
            return held._replace(tile=tile), (tile,)
        motion = tuple(map(_centre_step, *held.tile, *tile))
        forget = any(motion) and held.motion is not None and held.motion != motion
        delta = (tile,) if forget else _cut(tile, held.tile)
        next_motion = (None if forget else motion) if any(motion) else held.motion
        return held._replace(tile=tile, motion=next_motion), delta

    def spread(self, i: int, last: int, held: _Held) -> tuple[_Held, Crossing]:
        """The fan-out: the first instance's delta, its copies, and what neighbours hold."""
        loops = range(i, self.below, -1)
        ends, inside = self.nesting.ends(loops, last), last
        for j in loops:
            inside = self.nesting.entered(self.nesting.steps[j], inside, 0)
        if self.level:
            held, delta = self.visit(inside, held)
        else:
            point = (0,) * len(self.coefficients)
            delta = ((point, (1,) * len(point)),)
        fan = self.fan(i, ends)
        size = _size(delta)
        crossed = Crossing(size * fan.distinct, float(size * len(fan.places)), 0.0)
        if size and held.delta and held.origin:
            taken = self.taken(fan, delta, held)
            if taken is not None and (fewer := len(np.unique(fan.places[~taken]))) < fan.distinct:
                linked = int(taken.sum())
                crossed = Crossing(size * fewer, float(size * (len(fan.places) - linked)), float(size * linked))
        return held._replace(delta=delta, origin=(0,) * len(self.coefficients), spread=ends), crossed

    def fan(self, i: int, ends: Vector) -> _Fan:
        """Positions of the instances' tiles, with the `ends` of each spatial loop from `i` inwards."""
        if ends not in self.fans:
            inner = range(i, self.below, -1)
            moves = [self.moves[j] for j in inner]
            span = [
                sum(m[a] * (self.nesting.steps[j].bound - 1) for m, j in zip(moves, inner, strict=True))
                for a in range(len(moves[0]))
            ]
            # In this radix, sums and differences of two positions and an anchor stay distinct.
            weights = [1]
            for s in span[:-1]:
                weights.append(weights[-1] * (4 * s + 1))
            places = np.zeros(1, dtype=np.int64)
            distinct = [{0} for _ in span]
            for move, end in zip(moves, ends, strict=True):
                step = sum(m * w for m, w in zip(move, weights, strict=True))
                places = np.add.outer(places, np.arange(end) * step).reshape(-1)
                distinct = [
                    {x + m * n for x in on for n in range(end)} if m else on for m, on in zip(move, distinct, strict=True)
                ]
            self.fans[ends] = _Fan(places, math.prod(map(len, distinct)), tuple(span), tuple(weights))
        return self.fans[ends]

    def taken(self, fan: _Fan, delta: tuple[Box, ...], held: _Held) -> Bools | None:
        """Which instances find exactly their delta at the previous or next neighbour, as of one step ago; None if none does."""
        (anchor, shape), (old_anchor, old_shape) = _normal(delta), _normal(held.delta)
        apart = _minus(_plus(old_anchor, held.origin), anchor)
        if shape != old_shape or any(abs(x) > s for x, s in zip(apart, fan.span, strict=True)):
            return None
        now, taken = fan.places, np.zeros(len(fan.places), dtype=np.bool_)
        old = self.fans[held.spread].places + sum(x * w for x, w in zip(apart, fan.weights, strict=True))
        after, before = min(len(now), len(old) - 1), min(len(now) - 1, len(old))
        taken[:after] |= now[:after] == old[1 : after + 1]
        taken[1 : before + 1] |= now[1 : before + 1] == old[:before]
        return taken


# Boxes ---------------------------------------------------------------------------------------------------------------


def _minus(a: Vector, b: Vector) -> Vector:
    return tuple(map(operator.sub, a, b))


def _plus(a: Vector, b: Vector) -> Vector:
    return tuple(map(operator.add, a, b))


def _centre_step(old_low: int, old_high: int, low: int, high: int) -> int:
    """The motion of the centre, rounded to a whole number, halves away from zero."""
    twice = low + high - old_low - old_high
    return (abs(twice) + 1) // 2 * (1 if twice > 0 else -1)


def _cut(a: Box, b: Box) -> tuple[Box, ...]:
    """The part of a outside b, as boxes."""
    if any(a1 <= b0 or b1 <= a0 for a0, a1, b0, b1 in zip(*a, *b, strict=True)):
        return (a,)
    low, high, parts = list(a[0]), list(a[1]), []
    for axis, (b0, b1) in enumerate(zip(*b, strict=True)):
        if low[axis] < b0:
            parts.append((tuple(low), (*high[:axis], b0, *high[axis + 1 :])))
            low[axis] = b0
        if b1 < high[axis]:
            parts.append(((*low[:axis], b1, *low[axis + 1 :]), tuple(high)))
            high[axis] = b1
    return tuple(parts)


def _size(boxes: tuple[Box, ...]) -> int:
    total = 0
    for low, high in boxes:
        words = 1
        for a, b in zip(low, high, strict=True):
            words *= b - a
        total += words
    return total


def _normal(boxes: tuple[Box, ...]) -> tuple[Vector, tuple[Box, ...]]:
    """A set of boxes as a position and a shape."""
    anchor = tuple(map(min, *(low for low, _ in boxes))) if len(boxes) > 1 else boxes[0][0]
    return anchor, tuple((_minus(low, anchor), _minus(high, anchor)) for low, high in boxes)
