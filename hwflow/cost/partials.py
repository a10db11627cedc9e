"""Partial mappings of a search: what is known of them, and which of many are worth keeping."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from hwflow.cost.nest import Bools, Floats, Ints

_SAME = 2  # partial mappings of one tile that a full beam prefers
_MIX = np.random.default_rng(2).uniform(1, 2, size=64)  # a fixed random projection: equal rows, equal value


@dataclass(frozen=True)
class Partial:
    """Partial mappings, arrays [mapping, ...].

    Attributes:
        tile: extents of each dimension so far, [mapping, dimension].
        words, cast: F and the multicast, [mapping, transfer]; words is 0 before the tile is known.
        waits: whether no relevant loop has come yet, [mapping, transfer].
        sides: the windows' sides of the tile, [mapping, transfer, window].
        parallel: product of the spatial loops up to a level's fan-out, [mapping, level].
        temporal, spatial: loop bounds, [mapping, level, dimension]; `stays`: the class of each level, [mapping, level].
    """

    tile: Ints
    words: Floats
    cast: Floats
    waits: Bools
    sides: Floats
    parallel: Floats
    temporal: Ints
    spatial: Ints
    stays: Ints

    @property
    def size(self) -> int:
        """Number of partial mappings."""
        return len(self.tile)

    def light(self, index: npt.NDArray[np.intp]) -> Partial:
        """The partial mappings at `index`, without the loops that led to them."""
        none = np.zeros((0, 0, 0), dtype=np.int64)
        return Partial(
            self.tile[index],
            self.words[index],
            self.cast[index],
            self.waits[index],
            self.sides[index],
            self.parallel[index],
            none,
            none,
            none,
        )

    def remember(self, old: Partial, index: npt.NDArray[np.intp]) -> Partial:
        """With the loops of the mappings at `index` of `old`."""
        return replace(self, temporal=old.temporal[index], spatial=old.spatial[index], stays=old.stays[index])

    def take(self, index: npt.NDArray[np.intp]) -> Partial:
        """The partial mappings at `index`."""
        return self.light(index).remember(self, index)


def concatenate(parts: list[Partial]) -> Partial:
    """All partial mappings of several."""
    return Partial(
        np.concatenate([p.tile for p in parts]),
        np.concatenate([p.words for p in parts]),
        np.concatenate([p.cast for p in parts]),
        np.concatenate([p.waits for p in parts]),
        np.concatenate([p.sides for p in parts]),
        np.concatenate([p.parallel for p in parts]),
        np.concatenate([p.temporal for p in parts]),
        np.concatenate([p.spatial for p in parts]),
        np.concatenate([p.stays for p in parts]),
    )


def select(
    state: Partial, code: npt.NDArray[np.intp], scores: Floats, k: int, width: int
) -> tuple[npt.NDArray[np.intp], float]:
    """The `width` best partial mappings, and the best score that was left out.

    One of which another with the same future has moved no more words of any tensor is no loss. If there are still too
    many, the best two of every tile go first: bounds that are loose are so for whole tiles. `code` tells tiles apart.
    """
    future = np.concatenate(
        [
            code[:, None],
            state.waits,
            state.parallel[:, : k + 1],
            state.cast,
            np.where(state.waits[:, :, None], state.sides, 0).reshape(state.size, 2 * state.words.shape[1]),
        ],
        axis=1,
    )
    _, group = np.unique(future @ _MIX[: future.shape[1]], return_inverse=True)
    place, ranked = _places(group, scores)
    leader = ranked[np.maximum.accumulate(np.where(place[ranked] == 0, np.arange(len(ranked)), 0))]
    beaten = np.zeros(state.size, dtype=np.bool_)
    beaten[ranked] = (state.words[leader] <= state.words[ranked] * (1 + 1e-12)).all(axis=1) & (leader != ranked)
    index = np.flatnonzero(~beaten)
    index = index[np.argsort(scores[index], kind="stable")]
    if len(index) <= width:
        return index, math.inf
    place, _ = _places(code[index], scores[index])
    index = index[np.argsort(place >= _SAME, kind="stable")]
    return np.sort(index[:width]), float(scores[index[width:]].min())


def _places(group: npt.NDArray[np.intp], scores: Floats) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """The place of each within its group by score, and all sorted by group and score."""
    ranked = np.lexsort((scores, group))
    begins = np.r_[True, np.diff(group[ranked]) > 0] if len(ranked) else np.zeros(0, dtype=np.bool_)
    counter = np.arange(len(ranked))
    place = np.empty(len(ranked), dtype=np.intp)
    place[ranked] = counter - np.maximum.accumulate(np.where(begins, counter, 0))
    return place, ranked
