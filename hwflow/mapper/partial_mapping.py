"""Partial mappings of a search, and the selection of those that are kept."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hwflow.arrays import Bools, Floats, Ints, Places
from hwflow.loopnest.nest import OUTPUTS
from hwflow.mapper.layer_facts import LayerFacts

_SAME = 2  # partial mappings of one tile that a full beam keeps first
_ODD = 0x3C79AC492BA7B653  # random base of the hash of columns, modulo 2**64


class Partial(NamedTuple):
    """Partial mappings, arrays [..., mapping]. Tiles and loop bounds are given by their places in the lattice.

    Attributes:
        place: the tile so far.
        score: lower bound on the objective.
        words, cast: words that a transfer moves to an instance of its lower level, and how many instances share each,
            [transfer, mapping]; words is 0 before the tile is known.
        waits: whether no relevant loop has been placed yet, [transfer, mapping].
        since: the tile around which each transfer of the tensor with sliding windows began, [transfer, mapping].
        parallel: product of the spatial loops up to a level's fan-out, [level, mapping].
        history: temporal bounds, spatial bounds and class of each level, [3, level, mapping].
    """

    place: Places
    score: Floats
    words: Floats
    cast: Floats
    waits: Bools
    since: Places
    parallel: Floats
    history: Places

    @property
    def size(self) -> int:
        """Number of partial mappings."""
        return len(self.place)

    def take(self, index: Places | slice) -> Partial:
        """The partial mappings at `index`."""
        if isinstance(index, slice):
            return Partial._make([field[..., index] for field in self])
        return Partial._make([field.take(index, axis=-1) for field in self])

    def where(self, flags: Bools) -> Partial:
        """The partial mappings with these flags: this object itself where that is all of them."""
        return self if flags.all() else self.take(flags.nonzero()[0])

    def ranked(self) -> Partial:
        """The same by ascending score: this object itself where they are so already."""
        return self if ascending(self.score) else self.take(np.argsort(self.score, kind="stable"))

    def bare(self) -> Partial:
        """The same without history, until `remember`: saves memory while there are many more than will be kept."""
        return self._replace(history=np.arange(self.size)[None])

    def remember(self, old: Partial) -> tuple[Partial, Places]:
        """With the history of their predecessors in `old`, and the factors by which their tiles have grown since."""
        origin = self.history[0]
        return self._replace(history=old.history.take(origin, axis=-1)), self.place - old.place[origin]


def concatenate(parts: list[Partial]) -> Partial:
    """The partial mappings of all arguments together."""
    if len(parts) == 1:
        return parts[0]
    return Partial._make(np.concatenate(fields, axis=-1) for fields in zip(*parts, strict=True))


def begin_transfers(facts: LayerFacts, state: Partial, k: int) -> Partial:
    """Start the transfers of the tensors that level k keeps: the tile determines their words."""
    tiles, prices = facts.tiles, facts.prices
    begun = [p for p, t in enumerate(prices.transfers) if t.low == k]
    if not begun:
        return state
    words, waits, since = state.words.copy(), state.waits.copy(), state.since.copy()
    inside = tiles.macs / tiles.span[state.place]
    for p in begun:
        t = prices.transfers[p].tensor
        words[p] = tiles.volume[t, state.place] * inside
        waits[p] = True
        if tiles.slides and t == tiles.windowed:
            since[p - prices.of[t].start] = state.place
    return state._replace(words=words, waits=waits, since=since)


def keep_best(facts: LayerFacts, state: Partial, k: int, width: int, *, energy_only: bool = False) -> tuple[Places, float]:
    """Which partial mappings with loops up to level k to keep, and the best score that is left out.

    Args:
        energy_only: whether nothing but energy counts, and no level leaks; used by sound scores.
    """
    tiles, prices = facts.tiles, facts.prices
    if tiles.sound and tiles.slides:  # bounds on the words of a window say nothing of which mapping moves more of them
        return fitting(state, np.arange(state.size), tiles.lattice.origin[state.place], width)
    memory: list[npt.NDArray[Any]] = [state.place, state.waits[prices.begun[k]]]
    amounts = state.words
    if tiles.sound:
        amounts, cast = _unsettled(facts, state, k, slice(0, 1) if energy_only else slice(None))
        memory.append(cast[prices.shared[k]])
    else:
        memory.append(state.cast[prices.shared[k]])
    if not energy_only:
        memory.append(state.parallel[prices.fans[k]])
    if tiles.slides:
        memory.append(np.where(state.waits[prices.of[tiles.windowed]], tiles.sides[:, state.since], 0.0))
    return select(state, memory, amounts, tiles.lattice.origin[state.place], width)


def _unsettled(facts: LayerFacts, state: Partial, k: int, resources: slice) -> tuple[Floats, Floats]:
    """What partial mappings with loops up to level k have spent and can still spend: the costs of settled transfers, all of
    whose fan-outs and stationary loops are fixed, together with the words of the others, [amount, mapping]; and how many
    instances share each word of these, [transfer, mapping].

    First writes of partial sums, which cost no read, are the same for mappings whose outputs are shared alike.
    """
    prices = facts.prices
    inside = np.array([transfer.high <= k for transfer in prices.transfers])[:, None] & ~state.waits
    spent = np.where(inside, state.words, 0.0)
    low, high = prices.each[:, resources]
    cost = np.einsum("rp,pn->rn", low, spent) + np.einsum("rp,pn->rn", high, spent / state.cast)
    sums = np.array([transfer.tensor == OUTPUTS for transfer in prices.transfers])[:, None]
    return np.concatenate([cost, np.where(inside, 0.0, state.words)]), np.where(inside & ~sums, 0.0, state.cast)


def select(state: Partial, memory: list[npt.NDArray[Any]], amounts: Floats, layer: Places, width: int) -> tuple[Places, float]:
    """The `width` best partial mappings, and the best score that was left out.

    A partial mapping is dominated, and dropped without loss, if another one with the same possible completions has moved no
    more words of any tensor, or spent no more.

    Args:
        memory: what determines the possible completions beside the amounts, arrays [..., mapping].
        amounts: what no completion can undo, [amount, mapping].
        layer: index of the layer that is mapped, [mapping].
    """
    future = hashed(memory)
    ranked, begin = _grouped(future, state.score)
    later = (begin != np.arange(len(ranked))).nonzero()[0]
    leader, ranked = ranked[begin[later]], ranked[later]
    kept = np.ones(state.size, dtype=np.bool_)
    kept[ranked] = (amounts[:, leader] > amounts[:, ranked] * (1 + 1e-12)).any(axis=0)
    return fitting(state, kept.nonzero()[0], layer, width)


def fitting(state: Partial, index: Places, layer: Places, width: int) -> tuple[Places, float]:
    """The `width` best of the partial mappings at `index`, and the best score that was left out.

    If there are too many, the best two of every tile are kept first, because loose bounds are loose for whole tiles; padded
    layers get equal shares of the width.
    """
    if not ascending(state.score):
        index = index[np.argsort(state.score[index], kind="stable")]
    if len(index) <= width:
        return index, math.inf
    place, _ = ranks(state.place[index], state.score[index])
    share, _ = ranks(layer[index], state.score[index])
    index = index[np.lexsort((share, place >= _SAME))]
    return np.sort(index[:width]), float(state.score[index[width:]].min())


def hashed(fields: list[npt.NDArray[Any]]) -> Ints:
    """A hash of each column of some fields, [..., column]."""
    size = fields[0].shape[-1]
    rows = [np.ascontiguousarray(f).reshape(math.prod(f.shape[:-1]), size) for f in fields]
    bits = np.concatenate([f.view(np.int64) if f.dtype == np.float64 else f.astype(np.int64) for f in rows])
    bits ^= bits >> 32  # floats that hold whole numbers have their digits in the upper bits
    return np.asarray(_powers(len(bits)) @ bits)


@functools.cache
def _powers(count: int) -> Ints:
    return np.multiply.accumulate(np.full(count, _ODD))


def ranks(group: Ints | Places, scores: Floats) -> tuple[Places, Places]:
    """The rank of each element by score within its group, and the order that sorts by group and score."""
    ranked, begin = _grouped(group, scores)
    place = np.empty(len(ranked), dtype=np.intp)
    place[ranked] = np.arange(len(ranked)) - begin
    return place, ranked


def _grouped(group: Ints | Places, scores: Floats) -> tuple[Places, Places]:
    """The order that sorts by group and score, and for each position in it the first of the group."""
    ranked = np.argsort(group, kind="stable") if ascending(scores) else np.lexsort((scores, group))
    same, begin = group[ranked], np.arange(len(ranked))
    begin[1:] *= same[1:] != same[:-1]
    return ranked, np.maximum.accumulate(begin)


def ascending(scores: Floats) -> bool:
    """Most states are sorted already."""
    return bool((scores[1:] >= scores[:-1]).all())
