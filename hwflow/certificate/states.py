"""The least costs of all temporal loops under given spatial loops, apart for each state around the tiles below the fan-outs.

A state is a tile with a run: the tensor that stays and the tile in which its run ends. What is outside the fan-outs is the same
for all spatial loops (`hwflow.certificate.recursion`); here the costs inside are added, from the MAC units outwards. Every
mapping goes through one state, so that energy and cycles can be bounded for each by itself.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import reduce
from typing import Any, Literal

import numpy as np

from hwflow.certificate.recursion import After, Price, begun, ends_beyond, least_beyond, least_run, operands
from hwflow.certificate.words import Floats, Words, power
from hwflow.layers import TENSORS

Counted = Literal["nothing", "longest", "every"]
"""How transfers between the memories around the fan-outs count: not, as if one tensor had the longest run around each tile, or
with every run."""


def least(words: Words, price: Price, after: Sequence[After], counted: Counted) -> list[Floats]:
    """The least of all mappings with each choice of spatial loops, [..., choice]; infinite where there are none.

    With "every", an array over states for each tensor that can have a run; every mapping has one of all these states.
    Otherwise a lower bound, [choice].

    Args:
        after: of `hwflow.certificate.recursion.outside`.
    """
    moved = operands(words.fans, price)
    if counted == "every":
        return [moved + costs for costs in _through(words, price, after)]
    space = words.space
    costs = _below(words, After(least_run(words, [each.costs for each in after]), True), 0)
    for k in reversed(range(space.outermost_fan)) if counted == "longest" else ():
        costs = costs + reduce(np.minimum, begun(words, price, k, [True] * len(TENSORS)))
        costs = least_beyond(costs, words.axes_of(space.levels[k].temporal))
        costs = costs[tuple(slice(0, n) for n in words.shape_of(k - 1))]
    return [np.asarray(moved + costs.min(axis=tuple(range(costs.ndim - 1))))]


def _below(words: Words, after: After, run: int) -> Floats:
    """The costs outside the fan-outs, around the tiles below."""
    space, idle = words.space, () if after.whole else words.run_axes(run)
    shape = [*words.shape_of(space.outermost_fan - 1)[:-1], *(words.axes[a][2] + 1 for a in idle)]
    taken = np.array([power(space.sizes[d], prime) for d, prime, _ in words.axes])[:, None] - words.powers
    origins, which = np.unique(taken, axis=1, return_inverse=True)
    result = np.full((*shape, words.count if origins.shape[1] > 1 else 1), np.inf)
    for n, origin in enumerate(origins.T.tolist()):
        starts = (*origin, *(origin[a] for a in idle))
        costs = after.costs[tuple(slice(start, start + size) for start, size in zip(starts, shape, strict=True))]
        own = slice(None) if result.shape[-1] == 1 else np.flatnonzero(which.ravel() == n)
        result[(*(slice(0, size) for size in costs.shape[:-1]), own)] = costs
    return result


def _through(words: Words, price: Price, after: Sequence[After]) -> list[Floats]:
    """The least costs of all mappings with each state, [tile, end of the run, choice]; [tile, choice] where runs are whole."""
    top = words.space.outermost_fan
    costs = [np.zeros((*(1 for _ in words.axes), *_ends(words, run), words.count)) for run in range(len(TENSORS))]
    for k in range(top):
        wholes = [k == top - 1 and each.whole for each in after]
        inner = _from_inside(words, k, costs, wholes)
        costs = [one + cost for one, cost in zip(inner, begun(words, price, k, wholes), strict=True)]
    if not top:
        costs = [
            _whole(words, one, run) if each.whole else one for run, (one, each) in enumerate(zip(costs, after, strict=True))
        ]
    return [one + _below(words, each, run) for run, (one, each) in enumerate(zip(costs, after, strict=True))]


def _from_inside(words: Words, k: int, costs: Sequence[Floats], wholes: Sequence[bool]) -> list[Floats]:
    """The least costs inside the tiles of level k from those inside the tiles of level k - 1, over all loops of level k."""
    space, level = words.space, words.space.levels[k]
    shape = words.shape_of(k)[:-1]
    any_run = np.full((*shape, words.count), np.inf)  # of runs that end at this level
    result = []
    for run, (inner, whole) in enumerate(zip(costs, wholes, strict=True)):
        idle = words.run_axes(run)
        grown = np.full((*shape, *_ends(words, run), words.count), np.inf)
        grown[tuple(slice(0, n) for n in inner.shape[: len(shape)])] = inner
        if level.temporal:
            on = _least_before(grown, [a for a in idle if words.axes[a][0] in level.temporal])
            first = level.innermost & space.relevant[run]
            moves = words.axes_of(level.temporal & space.relevant[run])
            fixed = [] if level.innermost & space.idle[run] else words.axes_of(first)
            starts, grows = ends_beyond(words, k, run)
            ends: tuple[Any, ...] = (..., *(slice(0, shape[a]) for a in idle), slice(None))
            here = grown[ends]
            for possible, axes in ((starts, moves), (grows, [a for a in moves if a not in fixed])):
                ended = np.where(possible, here, np.inf).min(axis=tuple(idle))
                ended = np.moveaxis(ended, range(len(shape) - len(idle), len(shape)), idle)
                np.minimum(any_run, _least_before(ended, axes), out=any_run)
            grown = on
        result.append(_whole(words, grown, run) if whole else grown)
    if not level.temporal:
        return result
    return [
        np.minimum(grown, any_run if whole else words.tiles(any_run, run))
        for run, (grown, whole) in enumerate(zip(result, wholes, strict=True))
    ]


def _ends(words: Words, run: int) -> list[int]:
    return [words.axes[a][2] + 1 for a in words.run_axes(run)]


def _whole(words: Words, costs: Floats, run: int) -> Floats:
    """The costs of runs that end with all that is left."""
    last: tuple[Any, ...] = (..., *(-1 for _ in words.run_axes(run)), slice(None))
    return np.asarray(costs[last])


def _least_before(costs: Floats, axes: Collection[int]) -> Floats:
    """The least over all tiles that are at most as large along some axes."""
    costs = np.array(costs)
    for a in axes:
        for n in range(1, costs.shape[a]):
            own: tuple[Any, ...] = (slice(None),) * a
            np.minimum(costs[(*own, n)], costs[(*own, n - 1)], out=costs[(*own, n)])
    return costs
