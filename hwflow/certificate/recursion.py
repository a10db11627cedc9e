"""The least cost of all temporal loops under one choice of spatial loops, by Bellman's recursion from DRAM inwards."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from hwflow.certificate.space import OUTPUTS, Space, Transfer
from hwflow.certificate.words import Bools, Fans, Floats, Words, power
from hwflow.layers import TENSORS

_SLACK = 1 - 1e-12  # quotients of whole numbers, before they are rounded up


READS, WRITES, BOTH = range(3)


class Rate(NamedTuple):
    """A bandwidth: what an instance of a level reads, writes, or both, over its limit of words per cycle."""

    level: int
    way: int


@dataclass(frozen=True)
class Price:
    """What is counted: `energy` times the energy of all accesses, and for some bandwidths the cycles that they take."""

    energy: float = 0.0
    rates: tuple[tuple[Rate, float], ...] = ()


class After(NamedTuple):
    """Least costs of what begins outside a level, with a run of one tensor directly outside its tiles, [tile, end of the run];
    [tile] where the run has all that is `whole`."""

    costs: Floats
    whole: bool


def outside(space: Space, price: Price) -> list[After]:
    """The least costs outside the outermost fan-out, around all tiles that can be below it; the same for all spatial loops."""
    words = Words(space, None)
    top = len(space.levels) - 1
    complete = words.one > 0
    for d, tile in enumerate(words.tile(top - 1)):
        if d not in space.levels[top].temporal:
            complete = complete & (tile == words.left[d])
    start = np.where(complete, 0.0, np.inf) * np.ones(words.shape_of(top - 1))
    after = [After(start, True) for _ in TENSORS]
    for k in reversed(range(space.outermost_fan, top)):
        after = _within(words, k, _begun(words, price, k, after))
    return after


def inside(words: Words, price: Price, after: Sequence[After], *, tiles: bool = True) -> Floats:
    """The least of all mappings with each choice of spatial loops, [choice]; infinite where there are none.

    Args:
        after: of `outside`.
        tiles: whether to count the transfers between the memories around the fan-outs; otherwise a lower bound.
    """
    space = words.space
    after = [_below(words, each, run) for run, each in enumerate(after)]
    for k in reversed(range(space.outermost_fan)) if tiles else ():
        after = _within(words, k, _begun(words, price, k, after))
    least = [each.costs.min(axis=tuple(range(each.costs.ndim - 1))) for each in after]
    return np.asarray(operands(words.fans, price) + np.minimum.reduce(least))


def operands(fans: Fans, price: Price) -> Floats:
    """What the MAC units' operands and results cost, which they move in every cycle."""
    moved = (t for t in fans.space.transfers if t.low < 0)
    return sum((_cost(fans, price, transfer, fans.cycles, fans.cycles) for transfer in moved), start=np.zeros(()))


def _below(words: Words, after: After, run: int) -> After:
    """The costs around the tiles below the fan-outs."""
    space = words.space
    reach = space.reach[space.outermost_fan - 1]
    index, ends = [], []
    for a, (d, prime, most) in enumerate(words.axes):
        own = power(space.sizes[d] // words.left[d], prime)
        has = after.costs.shape[a] > 1
        index.append(slice(own, own + (most if d in reach else 0) + 1) if has else slice(0, 1))
        if d in space.idle[run]:
            ends.append(slice(own, None))
    return After(after.costs[(*index, *(() if after.whole else ends))], after.whole)


def _begun(words: Words, price: Price, k: int, after: Sequence[After]) -> list[After]:
    begun = [t for t in words.space.transfers if t.low == k]
    if not begun and not words.space.levels[k].keeps:
        return list(after)
    fits = np.where(words.fits(k), 0.0, np.inf)
    return [After(_with(words, price, begun, run, each, fits, k), each.whole) for run, each in enumerate(after)]


def _with(words: Words, price: Price, begun: Sequence[Transfer], run: int, after: After, fits: Floats, k: int) -> Floats:
    """The costs with those of the transfers that begin at level k."""

    def over(array: Floats) -> Floats:
        return array if after.whole else words.tiles(np.broadcast_to(array, words.shape_of(k)), run)

    costs = after.costs + over(fits)
    for transfer in begun:
        sent = over(words.delivered(transfer))
        if transfer.tensor == run:
            sent = sent / np.maximum(words.growth(words.space.idle[run], run, k, after.whole), 1.0)
        share, fewer = words.shares(transfer, run, whole=after.whole)
        costs = costs + _cost(words.fans, price, transfer, sent * share, sent * fewer)
    return costs


def _within(words: Words, k: int, here: Sequence[After]) -> list[After]:
    """The least costs outside level k - 1 from those outside level k, over all loops of level k."""
    space, level = words.space, words.space.levels[k]
    if not level.temporal:
        return list(here)
    shape, axes = words.shape_of(k), range(len(words.axes))
    ends = [tuple(range(len(axes), each.costs.ndim - 1)) for each in here]
    any_run = np.minimum.reduce([np.broadcast_to(each.costs.min(axis=e), shape) for each, e in zip(here, ends, strict=True)])
    below = words.shape_of(k - 1) if k else (1,) * len(shape)
    inner = tuple(slice(None) if below[a] > 1 or shape[a] == 1 else slice(0, 1) for a in axes)
    result = []
    for run, each in enumerate(here):
        idle = words.run_axes(run)
        moves = words.axes_of(level.temporal & space.relevant[run])
        first = level.innermost & space.relevant[run]
        fixed = [] if level.innermost & space.idle[run] else words.axes_of(first)
        # a run that ends at this level, behind a loop of a relevant dimension or at the level's end
        free = words.ends(_least_beyond(any_run, moves), run)
        bound = words.ends(_least_beyond(any_run, [a for a in moves if a not in fixed]), run) if fixed else free
        full = (words.axes[a][2] + 1 for a in idle)
        costs = np.full((*(1 if inner[a] == slice(0, 1) else shape[a] for a in axes), *full, words.count), np.inf)
        own: tuple[Any, ...] = (..., *(slice(0, shape[a]) for a in idle), slice(None))
        starts, grows = _ends_beyond(words, k, run)
        some = (*inner, *(slice(0, shape[a]) for a in idle))
        free, bound = (x[tuple(slice(None) if x.shape[a] == 1 else inner[a] for a in axes)] for x in (free, bound))
        costs[own] = np.where(starts[some], free, np.where(grows[some], bound, np.inf))
        # a run that goes on outside
        on = _least_beyond(each.costs, [a for a in idle if words.axes[a][0] in level.temporal])[inner]
        if each.whole:
            last: tuple[Any, ...] = (..., *(-1 for _ in idle), slice(None))
            costs[last] = np.minimum(costs[last], on)
        else:
            costs = np.minimum(costs, on)
        result.append(After(costs, False))
    return result


def _ends_beyond(words: Words, k: int, run: int) -> tuple[Bools, Bools]:
    """Whether a run is empty, and whether the idle loops of level k can make it, [tile, end of the run]."""
    n, idle = len(words.axes), words.run_axes(run)
    empty = np.ones((1,) * (n + len(idle) + 1), dtype=np.bool_)
    possible = empty
    for b, a in enumerate(idle):
        size = words.shape_of(k)[a]
        tile, end = np.arange(size), np.arange(size)
        at, to = [1] * (n + len(idle) + 1), [1] * (n + len(idle) + 1)
        at[a], to[n + b] = size, size
        tile, end = tile.reshape(at), end.reshape(to)
        empty = empty & (tile == end)
        possible = possible & ((tile <= end) if words.axes[a][0] in words.space.levels[k].temporal else (tile == end))
    return empty, possible


def _least_beyond(costs: Floats, axes: Collection[int]) -> Floats:
    """The least over all tiles that are at least as large along some axes."""
    for a in axes:
        costs = np.flip(np.minimum.accumulate(np.flip(costs, a), axis=a), a)
    return costs


def _cost(fans: Fans, price: Price, transfer: Transfer, sent: Floats, needed: Floats) -> Floats:
    """What a transfer costs at both levels.

    Args:
        sent: words for an instance of the lower level; `needed`: those of them that no neighbour hands on.
    """
    low, high, sums = transfer.low, transfer.high, transfer.tensor == OUTPUTS
    levels = fans.space.levels
    asked = needed * fans.fan(transfer)
    asked = np.minimum(asked, np.floor(asked + 0.5))  # where hand-overs leave fractions, the analysis rounds to the nearest
    read = np.maximum(asked - fans.parts(high), 0.0) if sums else asked
    filled: Floats = np.zeros(())
    if low >= 0:  # averages over instances are rounded down where neighbours hand on
        filled = np.maximum(needed - np.where(needed < sent, 1.0, 0.0) - (fans.parts(low) if sums else 0.0), 0.0)
    total: Floats = np.zeros(())
    if price.energy:
        outer = levels[high]
        energy = outer.read * np.ceil(read * _SLACK / outer.block)
        if sums:
            energy = energy + outer.update * np.ceil(asked * _SLACK / outer.block)
        total = energy * fans.instances[high]
        if low >= 0:
            inner = levels[low]
            total = total + inner.write * np.ceil(filled * _SLACK / inner.block) * fans.instances[low]
        total = total * price.energy
    for (k, way), factor in price.rates:
        moved: Floats = np.zeros(())
        if high == k and way != WRITES:
            moved = moved + read
        if high == k and way != READS and sums:
            moved = moved + asked
        if low == k and way != READS:
            moved = moved + filled
        total = total + moved * (factor / levels[k].limits[way])
    return np.asarray(total)
