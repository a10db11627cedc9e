"""Prices of transfers between levels, as arrays: energy first, then the cycles that each bandwidth takes."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hwflow.arrays import Floats, Places
from hwflow.layers import TENSORS
from hwflow.loopnest.nest import OUTPUTS, Nest
from hwflow.mapper.resources import Transfer, prices_of


class Begin(NamedTuple):
    """A transfer that begins at a level, with its prices of the resources that those of the level use, [resource, 1].

    Attributes:
        price: of a word, where the `fans` between its levels are fully used; `high` at its upper level alone, [resource].
        spared: of all first writes of partial sums to instances.
    """

    transfer: int
    tensor: int
    fans: float
    price: Floats
    high: Floats
    spared: Floats


@dataclass(frozen=True)
class TransferPrices:
    """Prices of one layer's transfers on a chip; `[.., level]` is the level that a mapping has reached.

    Attributes:
        transfers: all of them, by tensor, the innermost first; `of`: the slice of each tensor's.
        levels: the level of each resource, -1 for energy, [resource].
        each, spared: prices of a word at its lower and at its upper level, [2, resource, transfer]; see
            `hwflow.mapper.resources`.
        sums: of the outputs' transfers, how many have begun, by level, and the least that their words cost at the upper level
            even if their first writes are spared, [2, resource, transfer, 1].
        future: instances below those of a transfer's fan-outs that are above a level, [level, transfer, 1].
        begins: by level, the resources that transfers which begin there use, and these.
        begun: transfers that have begun, by level; `shared`: those that cross a fan-out so far; `fans`: fan-outs so far.
        leaks: leakage per cycle: of the levels with as many active instances as the level reached, and of each other level.
        paces: runs of resources with a level that has as many active instances, or -1 where all instances are active.
    """

    transfers: tuple[Transfer, ...]
    of: tuple[slice, ...]
    levels: tuple[int, ...]
    each: Floats
    spared: Floats
    sums: tuple[tuple[int, ...], Floats]
    future: Floats
    begins: tuple[tuple[Places, tuple[Begin, ...]], ...]
    begun: tuple[Places, ...]
    shared: tuple[Places, ...]
    fans: tuple[Places, ...]
    leaks: tuple[tuple[float, tuple[tuple[int, float], ...]], ...]
    paces: tuple[tuple[tuple[slice, int], ...], ...]

    def paid(self, which: slice, words: Floats) -> Floats:
        """Costs of words of some transfers at their lower and upper levels, [2, transfer, mapping], as [resource, mapping]."""
        each, some = self.each[:, :, which], words[:, which]
        low, high = each * some if which.stop == which.start + 1 else np.einsum("xrp,xpn->xrn", each, some)
        return np.asarray(low + high)


class _Chip:
    """What prices depend on, as a key: the same for all layers on a chip whose elements are equally wide."""

    def __init__(self, nest: Nest) -> None:
        widths = nest.memories.widths
        self.nest = nest  # which keeps the objects alive whose identity is part of the key
        self.key = id(nest.accelerator), id(nest.table), *(a.tobytes() for a in (nest.keep, widths.own, widths.sums))

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Chip) and self.key == other.key


def transfer_prices(nest: Nest) -> TransferPrices:
    """The prices of the transfers of a layer on a chip."""
    return _transfer_prices(_Chip(nest))


@functools.lru_cache(maxsize=16)
def _transfer_prices(chip: _Chip) -> TransferPrices:
    nest = chip.nest
    transfers, levels, (low, high, spared_low, spared_high) = prices_of(nest)
    count = len(nest.levels)
    ends = np.searchsorted([t.tensor for t in transfers], range(len(TENSORS) + 1))
    of = tuple(slice(int(a), int(b)) for a, b in itertools.pairwise(ends))
    fanout = [level.fanout for level in nest.levels]
    spread = frozenset(k for k, n in enumerate(fanout) if n > 1)
    table = nest.table.parts
    leak = [table[level.memory.name].leak if level.memory is not None else 0.0 for level in nest.levels]
    moves = list(enumerate(transfers))
    fans = [[m for m in range(k + 1) if m in spread] for k in range(count)]
    sums = of[OUTPUTS]
    least = np.stack([np.zeros_like(low[:, sums]), high[:, sums] - spared_high[:, sums]])[..., None]
    future = np.array(
        [[[math.prod(fanout[max(k, t.low) + 1 : t.high + 1])] for t in transfers] for k in range(count)],
        dtype=np.float64,
    )

    def begins(k: int) -> tuple[Places, tuple[Begin, ...]]:
        begun = [p for p, t in moves if t.low == k]
        which = np.flatnonzero((low[:, begun] + high[:, begun]).any(axis=1))
        copies, found = math.prod(fanout[k + 1 :]), []
        for p in begun:
            over = float(future[0, p, 0])
            price = (low[which, p] + high[which, p] / over)[:, None]
            spared = (copies * (spared_low[which, p] + spared_high[which, p] / over))[:, None]
            found.append(Begin(p, transfers[p].tensor, over, price, high[which, p], spared))
        return which, tuple(found)

    return TransferPrices(
        transfers=tuple(transfers),
        of=of,
        levels=tuple(levels),
        each=np.stack([low, high]),
        spared=np.stack([spared_low, spared_high]),
        sums=(tuple(sum(t.low <= k for t in transfers[sums]) for k in range(count)), least),
        future=future,
        begins=tuple(begins(k) for k in range(count)),
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
