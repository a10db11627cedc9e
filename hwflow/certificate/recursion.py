"""The least cost of all temporal loops outside all fan-outs, by Bellman's recursion from DRAM inwards."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from hwflow.certificate.space import OUTPUTS, Space, Transfer
from hwflow.certificate.words import Bools, Fans, Floats, Words
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
        costs = begun(words, price, k, [each.whole for each in after])
        after = _within(words, k, [After(each.costs + cost, each.whole) for each, cost in zip(after, costs, strict=True)])
    return after


def ends_whole(space: Space) -> bool:
    """Whether no level outside the outermost fan-out ends runs, so that those of `outside` have all that is left."""
    return not any(level.temporal for level in space.levels[space.outermost_fan : -1])


def operands(fans: Fans, price: Price) -> Floats:
    """What the MAC units' operands and results cost, which they move in every cycle."""
    moved = (t for t in fans.space.transfers if t.low < 0)
    return sum((_cost(fans, price, transfer, fans.cycles, fans.cycles) for transfer in moved), start=np.zeros(()))


def begun(words: Words, price: Price, k: int, wholes: Sequence[bool]) -> list[Floats]:
    """What the transfers that begin at level k cost, for each tensor that can have a run there; infinite around tiles that do
    not fit. [tile, end of the run], or [tile] for runs that are `wholes`."""
    if not words.space.levels[k].keeps:
        return [np.zeros(()) for _ in wholes]
    plain, fits = _plain(words, price, k), np.where(words.fits(k), 0.0, np.inf)
    return [_with(words, price, plain, run, fits, k, whole) for run, whole in enumerate(wholes)]


def _plain(words: Words, price: Price, k: int) -> dict[Transfer, Floats]:
    """What the transfers that begin at level k cost if every step sends a whole tile, [tile]."""
    begun = [t for t in words.space.transfers if t.low == k]
    return {t: _cost(words.fans, price, t, words.delivered(t), words.delivered(t)) * words.one for t in begun}


def _with(words: Words, price: Price, plain: dict[Transfer, Floats], run: int, fits: Floats, k: int, whole: bool) -> Floats:
    """The costs of the transfers that begin at level k if a tensor has a run there, and those of tiles that do not fit."""

    def over(array: Floats) -> Floats:
        return array if whole else words.tiles(array, run)

    alike = fits + sum((cost for t, cost in plain.items() if t.tensor != run and not words.slides(t, run)), np.zeros(()))
    costs = over(alike * words.one)
    for transfer, usual in plain.items():
        if transfer.tensor == run:
            sent = words.kept(transfer, whole=whole)
            if words.slides(transfer, run):
                share, fewer = words.shares(transfer, run, whole=whole)
                cost = _cost(words.fans, price, transfer, sent * share, sent * fewer)
                cost = np.where(words.growth(words.space.idle[run], run, k, whole) > 1, cost, over(usual))
            else:
                cost = _cost(words.fans, price, transfer, sent, sent)
            costs = costs + cost
        elif words.slides(transfer, run):
            share, fewer = words.shares(transfer, run, whole=whole)
            sent = over(words.delivered(transfer))
            costs = costs + _cost(words.fans, price, transfer, sent * share, sent * fewer)
    return costs


def least_run(words: Words, costs: Sequence[Floats]) -> Floats:
    """The least costs over all runs and their ends, [tile]."""
    ends = (tuple(range(len(words.axes), each.ndim - 1)) for each in costs)
    return np.asarray(reduce(np.minimum, (each.min(axis=axes) for each, axes in zip(costs, ends, strict=True))))


def _within(words: Words, k: int, here: Sequence[After]) -> list[After]:
    """The least costs outside level k - 1 from those outside level k, over all loops of level k."""
    space, level = words.space, words.space.levels[k]
    if not level.temporal:
        return [After(each.costs[tuple(slice(0, n) for n in words.shape_of(k - 1)[:-1])], each.whole) for each in here]
    shape, inner = words.shape_of(k), tuple(slice(0, n) for n in words.shape_of(k - 1)[:-1])
    any_run = least_run(words, [each.costs for each in here])
    result = []
    for run, each in enumerate(here):
        idle = words.run_axes(run)
        moves = words.axes_of(level.temporal & space.relevant[run])
        first = level.innermost & space.relevant[run]
        fixed = [] if level.innermost & space.idle[run] else words.axes_of(first)
        # a run that ends at this level, behind a loop of a relevant dimension or at the level's end
        free = _ending(words, least_beyond(any_run, moves), run, inner)
        bound = _ending(words, least_beyond(any_run, [a for a in moves if a not in fixed]), run, inner) if fixed else free
        starts, grows = ends_beyond(words, k, run)
        some = (*inner, *(slice(0, shape[a]) for a in idle))
        ending = np.where(starts[some], free, np.where(grows[some], bound, np.inf))
        # a run that goes on outside
        on = least_beyond(each.costs, [a for a in idle if words.axes[a][0] in level.temporal])[inner]
        full = (words.axes[a][2] + 1 for a in idle)
        costs = np.full((*(s.stop for s in inner), *full, words.count), np.inf)
        if each.whole:
            last: tuple[Any, ...] = (..., *(-1 for _ in idle), slice(None))
            costs[last] = on
        else:
            costs[...] = on
        here_ending: tuple[Any, ...] = (..., *(slice(0, shape[a]) for a in idle), slice(None))
        np.minimum(costs[here_ending], ending, out=costs[here_ending])
        result.append(After(costs, False))
    return result


def _ending(words: Words, costs: Floats, run: int, inner: tuple[slice, ...]) -> Floats:
    """Costs around the ends of runs, for the tiles below."""
    costs = words.ends(costs, run)
    return costs[tuple(slice(None) if costs.shape[a] == 1 else part for a, part in enumerate(inner))]


def ends_beyond(words: Words, k: int, run: int) -> tuple[Bools, Bools]:
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


def least_beyond(costs: Floats, axes: Collection[int]) -> Floats:
    """The least over all tiles that are at least as large along some axes."""
    costs = np.array(costs)
    for a in axes:
        for n in reversed(range(costs.shape[a] - 1)):
            own: tuple[Any, ...] = (slice(None),) * a
            np.minimum(costs[(*own, n)], costs[(*own, n + 1)], out=costs[(*own, n)])
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
