"""Prices of transfers between levels, as arrays: energy first, then the cycles that each bandwidth takes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np

from hwflow.arrays import Floats, Places
from hwflow.layers import TENSORS
from hwflow.loopnest.nest import Nest
from hwflow.mapper.resources import Transfer, prices_of


@dataclass(frozen=True)
class TransferPrices:
    """Prices of one layer's transfers on a chip; `[.., level]` is the level that a mapping has reached.

    Attributes:
        transfers: all of them, by tensor, the innermost first; `of`: the slice of each tensor's.
        levels: the level of each resource, -1 for energy, [resource].
        low, high, spared_low, spared_high: prices of a word, [resource, transfer]; see `hwflow.mapper.resources`.
        future: instances below those of a transfer's fan-outs that are above a level, [level, transfer, 1].
        begun: transfers that have begun, by level; `shared`: those that cross a fan-out so far; `fans`: fan-outs so far.
        leaks: leakage per cycle: of the levels with as many active instances as the level reached, and of each other level.
        paces: runs of resources with a level that has as many active instances, or -1 where all instances are active.
    """

    transfers: tuple[Transfer, ...]
    of: tuple[slice, ...]
    levels: tuple[int, ...]
    low: Floats
    high: Floats
    spared_low: Floats
    spared_high: Floats
    future: Floats
    begun: tuple[Places, ...]
    shared: tuple[Places, ...]
    fans: tuple[Places, ...]
    leaks: tuple[tuple[float, tuple[tuple[int, float], ...]], ...]
    paces: tuple[tuple[tuple[slice, int], ...], ...]


def transfer_prices(nest: Nest) -> TransferPrices:
    """The prices of the transfers of a layer on a chip."""
    transfers, levels, (low, high, spared_low, spared_high) = prices_of(nest)
    count = len(nest.levels)
    ends = np.searchsorted([t.tensor for t in transfers], range(len(TENSORS) + 1))
    fanout = [level.fanout for level in nest.levels]
    spread = frozenset(k for k, n in enumerate(fanout) if n > 1)
    table = nest.table.parts
    leak = [table[level.memory.name].leak if level.memory is not None else 0.0 for level in nest.levels]
    moves = list(enumerate(transfers))
    fans = [[m for m in range(k + 1) if m in spread] for k in range(count)]
    return TransferPrices(
        transfers=tuple(transfers),
        of=tuple(slice(int(a), int(b)) for a, b in itertools.pairwise(ends)),
        levels=tuple(levels),
        low=low,
        high=high,
        spared_low=spared_low,
        spared_high=spared_high,
        future=np.array(
            [[[math.prod(fanout[max(k, t.low) + 1 : t.high + 1])] for t in transfers] for k in range(count)],
            dtype=np.float64,
        ),
        begun=tuple(_places(p for p, t in moves if t.low <= k) for k in range(count)),
        shared=tuple(_places(p for p, t in moves if any(t.low < m <= t.high for m in some)) for some in fans),
        fans=tuple(_places(some) for some in fans),
        leaks=tuple(_leaks(k, leak, spread) for k in range(count)),
        paces=tuple(_paces(k, levels, spread) for k in range(count)),
    )


def _leaks(k: int, leak: list[float], spread: Collection[int]) -> tuple[float, tuple[tuple[int, float], ...]]:
    alike, others = sum(leak[k:]), []
    for m in range(k):
        if any(f in spread for f in range(m + 1, k + 1)):
            others.append((m, leak[m]))
        else:
            alike += leak[m]
    return alike, tuple((m, each) for m, each in others if each)


def _paces(k: int, levels: list[int], spread: Collection[int]) -> tuple[tuple[slice, int], ...]:
    result: list[tuple[slice, int]] = []
    for r, level in enumerate(levels[1:], start=1):
        between = [m for m in range(level + 1, k + 1) if m in spread]
        like = between[0] - 1 if between else -1
        if result and result[-1][1] == like:
            result[-1] = slice(result[-1][0].start, r + 1), like
        else:
            result.append((slice(r, r + 1), like))
    return tuple(result)


def _places(numbers: Iterable[int]) -> Places:
    return np.array(list(numbers), dtype=np.intp)
