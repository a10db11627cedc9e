"""Partial mappings of a search: what is known of them, and which of many are worth keeping."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hwflow.arrays import Bools, Floats, Ints, Places
from hwflow.mapper.layer_facts import LayerFacts

_SAME = 2  # partial mappings of one tile that a full beam prefers
_ODD = 0x3C79AC492BA7B653  # random: the base in which columns are numbers, modulo 2**64


class Partial(NamedTuple):
    """Partial mappings, arrays [..., mapping]. Tiles and loop bounds are given by their places in the lattice.

    Attributes:
        place: the tile so far.
        score: what the objective can still be at least.
        words, cast: words that a transfer brings to an instance of its lower level, and how many instances share one,
            [transfer, mapping]; words is 0 before the tile is known.
        waits: whether no relevant loop has come yet, [transfer, mapping].
        since: the tile around which a transfer of the tensor with sliding windows began, [its transfer, mapping].
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
            return Partial._make(field[..., index] for field in self)
        return Partial._make(field.take(index, axis=-1) for field in self)

    def bare(self) -> Partial:
        """The same without history, until `remember`: while there are far more than will be kept."""
        return self._replace(history=np.arange(self.size)[None])

    def remember(self, old: Partial) -> tuple[Partial, Places]:
        """With the history of those of `old` that they came from, and by what their tiles have grown since."""
        origin = self.history[0]
        return self._replace(history=old.history.take(origin, axis=-1)), self.place - old.place[origin]


def concatenate(parts: list[Partial]) -> Partial:
    """All partial mappings of several."""
    if len(parts) == 1:
        return parts[0]
    return Partial._make(np.concatenate(fields, axis=-1) for fields in zip(*parts, strict=True))


def begin_transfers(facts: LayerFacts, state: Partial, k: int) -> Partial:
    """The transfers of the tensors that level k keeps begin: their words are known from the tile."""
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


def keep_best(facts: LayerFacts, state: Partial, k: int, width: int) -> tuple[Places, float]:
    """Which partial mappings to keep, whose loops have come to level k, and the best score that is left out."""
    tiles, prices = facts.tiles, facts.prices
    memory = [
        state.place,
        state.waits[prices.begun[k]],
        state.cast[prices.shared[k]],
        state.parallel[prices.fans[k]],
    ]
    if tiles.slides:
        memory.append(np.where(state.waits[prices.of[tiles.windowed]], tiles.sides[:, state.since], 0.0))
    return select(state, memory, tiles.lattice.origin[state.place], width)


def select(state: Partial, memory: list[npt.NDArray[Any]], layer: Places, width: int) -> tuple[Places, float]:
    """The `width` best partial mappings, and the best score that was left out.

    One of which another with the same future has moved no more words of any tensor is no loss. If there are still too
    many, the best two of every tile go first: bounds that are loose are so for whole tiles; and layers have equal shares.

    Args:
        memory: what of the past beside the words decides the future, arrays [..., mapping].
        layer: which one is mapped, [mapping].
    """
    future = hashed(memory)
    place, ranked = ranks(future, state.score)
    leader = ranked[np.maximum.accumulate(np.where(place[ranked] == 0, np.arange(len(ranked)), 0))]
    beaten = np.zeros(state.size, dtype=np.bool_)
    beaten[ranked] = (state.words[:, leader] <= state.words[:, ranked] * (1 + 1e-12)).all(axis=0) & (leader != ranked)
    index = (~beaten).nonzero()[0]
    index = index[np.argsort(state.score[index], kind="stable")]
    if len(index) <= width:
        return index, math.inf
    place, _ = ranks(state.place[index], state.score[index])
    share, _ = ranks(layer[index], state.score[index])
    index = index[np.lexsort((share, place >= _SAME))]
    return np.sort(index[:width]), float(state.score[index[width:]].min())


def hashed(fields: list[npt.NDArray[Any]]) -> Ints:
    """A number for each column of some fields, [..., column]: the same for equal columns, and else hardly ever."""
    size = fields[0].shape[-1]
    rows = [np.ascontiguousarray(f).reshape(math.prod(f.shape[:-1]), size) for f in fields]
    bits = np.concatenate([f.view(np.int64) if f.dtype == np.float64 else f.astype(np.int64) for f in rows])
    bits ^= bits >> 32  # whole numbers as floats have their digits at the upper end
    return np.asarray(np.multiply.accumulate(np.full(len(bits), _ODD)) @ bits)


def ranks(group: Ints | Places, scores: Floats) -> tuple[Places, Places]:
    """The rank of each within its group by score, and all sorted by group and score."""
    ranked = np.lexsort((scores, group))
    begins = np.ones(len(ranked), dtype=np.bool_)
    begins[1:] = group[ranked[1:]] != group[ranked[:-1]]
    counter = np.arange(len(ranked))
    place = np.empty(len(ranked), dtype=np.intp)
    place[ranked] = counter - np.maximum.accumulate(np.where(begins, counter, 0))
    return place, ranked
