"""The least energy of all temporal loops outside the fan-outs, around every tile, for mappings with imperfect factors.

Around a tile T the loops directly outside that a tensor t does not depend on, a *run*, leave its words in place; they end at a
larger tile U. A tensor that is not in the run is sent, over the whole layer, its words once for each pass over its idle
dimensions outside T, and t once for each pass outside U. Around a tile at most one tensor has a run that is not empty, since no
dimension is idle for two. So from DRAM inwards, for every tile of level k,

    R_k(T, t, p) = words of the other tensors that begin at level k + X_k+1(T, t, p + words of t that begin there)
    X_k(Y, t, p) = min( least over U of p passes(U) + S_k(U),      the run ends among the loops of level k
                        least over T of R_k(T, t, p) )             it goes on outside them
    S_k(U)       = least over T and t of R_k(T, t, 0)

where U and T are as large as Y along the dimensions that t depends on, and larger along its idle ones as far as level k has
loops of these; in S_k, T is larger than U along all dimensions of level k. p is what each pass outside the run's end costs, of
all transfers that the run spans; words depend only on relevant dimensions, along which a run changes nothing. DRAM's loops can
all be in the run.

If the innermost relevant loop outside a run has a single iteration in the last pass of its dimension, the run goes on there.
That takes two loops of the dimension, so three passes over it at least, of which it is the last: at most one of n tiles.
"""

from __future__ import annotations

import functools
from collections.abc import Collection

import numpy as np

from hwflow.arrays import Floats
from hwflow.layers import TENSORS
from hwflow.loopnest.nest import OUTPUTS
from hwflow.loopnest.tiles import touched
from hwflow.mapper.ragged_space import RaggedSpace, boxes, extents, swept


class Outside:
    """Least energies outside the fan-outs, arrays over tiles, [dimension, ...], whose axes may have length 1.

    Attributes:
        extents: the extents of tiles along each dimension; `passes`: over each dimension outside a tile.
        saved: energy that outputs' first writes save, which need no read.
        costs: energy of a tensor's words that begin at a level, for one pass over its idle dimensions; `once`: the least of
            those that begin at DRAM, from where each word comes at least once.
    """

    def __init__(self, space: RaggedSpace) -> None:
        self.space = space
        self.extents = [np.array(extents(n), dtype=np.int64) for n in space.sizes]
        self.tile = boxes(space.sizes, self.extents)
        self.passes = boxes(space.sizes, [-(-n // x) for n, x in zip(space.sizes, self.extents, strict=True)])
        self.one = np.ones((1,) * len(space.sizes))
        self.shape = tuple(map(len, self.extents))
        self.idle = [functools.reduce(np.multiply, (self.passes[d] for d in idle), self.one) for idle in space.idle]
        self.saved, self.costs, self.once = 0.0, {}, {}
        for t in range(len(TENSORS)):
            words = self._words(t)
            for low, high in zip(space.kept[t], space.kept[t][1:], strict=False):
                if low < space.outer:
                    continue
                (read, _, update), write = space.prices(high), space.prices(low)[1]
                price = read + write + (update if t == OUTPUTS else 0.0)
                self.costs[t, low] = words * price
                if high == len(space.temporal) - 1:
                    self.once[t, low] = price * touched(space.nest.layer, TENSORS[t])
                    if not space.idle[t]:
                        self.costs[t, low] = np.maximum(self.costs[t, low], self.once[t, low])
                self.saved += space.outputs * (read + write) if t == OUTPUTS else 0.0
        last = [d for d, n in enumerate(space.sizes) if n > 1 and d not in space.temporal[-1]]
        self.placed = sum((np.where(self.passes[d] == 1, 0.0, np.inf) for d in last), start=self.one * 0.0)
        self.fits = {
            k: np.where(space.room_for(k, self.tile), 0.0, np.inf) for k in range(space.outer, len(space.temporal) - 1)
        }
        self.least: dict[int, Floats] = {}
        self.least_beyond: dict[int, Floats] = {}
        for k in reversed(self.fits):
            runs = [self.outside(t, k, self.one * 0.0) for t in range(len(TENSORS))]
            self.least[k] = functools.reduce(np.minimum, runs)
            self.least_beyond[k] = self._least_beyond(self.least[k], space.temporal[k])

    def _words(self, t: int) -> Floats:
        """Words of a tensor in all tiles together, if a step along one window sends only what it renews."""
        words, share = self.one, self.one
        for d, step in self.space.singles[t]:
            words = words * (step * self.space.sizes[d] - (step - 1) * self.passes[d])
        for pair in self.space.windows[t]:
            (d, a), (e, b) = pair
            (n, m), (x, y) = ((of[d], of[e]) for of in (self.passes, self.tile))
            N, M = self.space.sizes[d], self.space.sizes[e]
            whole = n * m * (1 - a - b) + a * N * m + b * M * n
            most = np.where(n > 1, 1 + a * (N - 1) + b * (y - 1), 1 + a * (x - 1) + b * (M - 1))
            sent = np.minimum(np.minimum(whole, most), swept((n, m), (x, y), (a * x, b * y), pair, M))
            words, share = words * whole, np.minimum(share, sent / whole)
        return np.asarray(words * share)

    def counted(self, t: int, k: int) -> Floats:
        """Passes over a tensor's idle dimensions outside a tile, where levels k and further out have the loops."""
        space, on = self.space, self.one * 0.0
        for d in space.relevant[t]:
            if sum(d in temporal for temporal in space.temporal[k:]) > 1:
                on = np.maximum(on, np.where(self.passes[d] >= 3, 1 / self.passes[d], 0.0))
        return np.asarray(self.idle[t] * (1 - on) + on)

    def outside(self, t: int, k: int, pending: Floats) -> Floats:
        """R_k, around tiles of level k that have a run of tensor t directly outside."""
        cost = self.fits[k]
        for other in range(len(TENSORS)):
            if other != t and (other, k) in self.costs:
                words = self.costs[other, k] * self.counted(other, k + 1)
                cost = cost + np.maximum(words, self.once.get((other, k), 0.0))
        own = self.costs.get((t, k), 0.0)
        if k == len(self.space.temporal) - 2:  # a single pass
            own = np.maximum(own, self.once.get((t, k), 0.0))
        return np.asarray(cost + self.around(t, k + 1, pending + own))

    def around(self, t: int, k: int, pending: Floats) -> Floats:
        """X_k, around tiles outside which the loops of level k begin."""
        if k == len(self.space.temporal) - 1:
            return np.asarray(self.placed + pending)
        idle = self.space.idle[t] & self.space.temporal[k]
        ends = self._least_beyond(pending * self.counted(t, k) + self.least_beyond[k], idle)
        return np.minimum(ends, self._least_beyond(self.outside(t, k, pending), idle))

    def _least_beyond(self, costs: Floats, dims: Collection[int]) -> Floats:
        """The least over all tiles that are at least as large along some dimensions."""
        full = tuple(n if d in dims else own for d, (n, own) in enumerate(zip(self.shape, costs.shape, strict=True)))
        costs = np.broadcast_to(costs, full)
        for d in sorted(dims):
            costs = np.flip(np.minimum.accumulate(np.flip(costs, d), axis=d), d)
        return costs

    # The tiles of the least ------------------------------------------------------------------------------------------

    def chosen(self, t: int, pending: Floats, place: tuple[int, ...]) -> list[tuple[int, ...]]:
        """Tiles of the levels outside the fan-outs that have the least energy around a tile, from the innermost outwards.

        Args:
            t: the tensor with a run directly outside the tile; `pending`: what each pass outside the run costs.
            place: of the tile in the arrays.
        """
        tiles = []
        for k in range(self.space.outer, len(self.space.temporal) - 1):
            temporal = self.space.temporal[k]
            idle = self.space.idle[t] & temporal
            going, on = self._first(self.outside(t, k, pending), place, idle)
            ending, end = self._first(pending * self.counted(t, k) + self.least_beyond[k], place, idle)
            if ending < going:
                _, place = self._first(self.least[k], end, temporal)
                t = int(np.argmin([self._at(self.outside(u, k, self.one * 0.0), place) for u in range(len(TENSORS))]))
                pending = self.one * 0.0
            else:
                place = on
            pending = pending + self.costs.get((t, k), 0.0)
            tiles.append(tuple(int(x[i]) for x, i in zip(self.extents, place, strict=True)))
        return tiles

    def _at(self, costs: Floats, place: tuple[int, ...]) -> float:
        return float(np.broadcast_to(costs, self.shape)[place])

    def _first(self, costs: Floats, place: tuple[int, ...], dims: Collection[int]) -> tuple[float, tuple[int, ...]]:
        """The least cost of all tiles that are at least as large along some dimensions, and the first of these tiles."""
        part = np.broadcast_to(costs, self.shape)[
            tuple(slice(i, None) if d in dims else slice(i, i + 1) for d, i in enumerate(place))
        ]
        index = np.unravel_index(int(part.argmin()), part.shape)
        return float(part[index]), tuple(i + int(more) for i, more in zip(place, index, strict=True))
