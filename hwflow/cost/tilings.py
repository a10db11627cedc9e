"""Tilings by stages: from the arithmetic outwards, level by level, keeping the partial mappings that can still be the best.

The idea (ours; AccelForge's joining of partial mappings and LOMA's loop classes are its relatives): written as totals over all
instances, what a transfer costs depends on little. The words that a tensor's tile brings to its level are

    F = words(tile) * MACs / (iterations inside the tile) / stationarity * halo,

where the stationarity is the product of the loops directly outside the tile that the tensor does not depend on, and the reads
of the memory above are F over the multicast of the fan-outs between. No loop leaves two tensors of a layer alone at once (the
dimensions irrelevant to weights, inputs and outputs are disjoint), so of all orders of a level's loops only three classes
count: which tensor is stationary. So a partial mapping is summarised by its tile, its parallelism, one F and one multicast a
transfer, and whether the transfer still waits for its first relevant loop. A stage spreads loops over a fan-out, or jumps to a
larger tile of the lattice of divisors that fits the memory; of all jumps only the tile and the class matter, so they are scored
as an outer sum.

Timeloop's finer rules (rounding, windows that land where they were, links) are left to the analysis that judges the survivors.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from hwflow.cost.loops import PAIRS, SLACK, Loops
from hwflow.cost.nest import Bools, Floats, Ints
from hwflow.cost.partials import Partial, concatenate, select
from hwflow.layers import DIMS


class Tilings(Loops):
    """The stages of one layer on one accelerator, under a dataflow's constraints."""

    def explore(self, width: int, final: int, cut: float = math.inf) -> tuple[Partial, float]:
        """The best complete tilings, and the least score of any partial one that was dropped for want of width.

        Partial ones that can't come below `cut` are dropped, too, and not counted as that.
        """
        state, dropped = self.start(), math.inf
        last = max((k for k in range(self.count - 1) if self.temporal[k].any()), default=-1)
        for k in range(self.count):
            if state.size == 0:
                return state, dropped
            if self.spatial[k] is not None:
                state, lost = self._spread(state, k, width, cut)
                dropped = min(dropped, lost)
            else:
                state.parallel[:, k] = state.parallel[:, k - 1] if k else 1.0
            if k == self.count - 1:
                break
            if self.temporal[k].any():
                state, lost = self.enlarge(state, k, final if k == last else width, cut)
                dropped = min(dropped, lost)
            else:
                state = self._held(state, k)
        state.temporal[:, -1] = self.sizes // state.tile
        allowed = (state.temporal[:, -1] == 1) | self.temporal[-1]
        return state.take(np.flatnonzero(allowed.all(axis=1))), dropped

    def start(self) -> Partial:
        """Nothing mapped: the arithmetic, which asks for its operands at every iteration."""
        number = len(self.transfers)
        words = np.array([[self.macs if t.low < 0 else 0.0 for t in self.transfers]])
        ones = np.ones((1, self.count, len(DIMS)), dtype=np.int64)
        return Partial(
            np.ones((1, len(DIMS)), dtype=np.int64),
            words,
            np.ones((1, number)),
            np.zeros((1, number), dtype=np.bool_),
            np.ones((1, number, 2)),
            np.ones((1, self.count)),
            ones,
            ones.copy(),
            np.full((1, self.count), -1),
        )

    def _held(self, state: Partial, k: int) -> Partial:
        """A level without loops of its own: its tile is what lies below."""
        fits = self.fits[k][self.code(state.tile)]
        return self.begin(state.take(np.flatnonzero(fits)), k)

    def _spread(self, state: Partial, k: int, width: int, cut: float) -> tuple[Partial, float]:
        """All ways to spread loops over the fan-out below level k."""
        options = self.spatial[k]
        assert options is not None
        active = np.flatnonzero((options > 1).any(axis=0))
        rest = self.sizes // state.tile
        over_size = options.prod(axis=1)
        kept: list[tuple[Floats, Partial]] = []
        dropped = math.inf
        step = max(1, PAIRS // len(options))
        for begin in range(0, state.size, step):
            block = rest[begin : begin + step]
            valid = np.ones((len(block), len(options)), dtype=np.bool_)
            for d in active:
                valid &= block[:, d, None] % options[None, :, d] == 0
            rows, columns = np.nonzero(valid)
            rows += begin
            tile = state.tile[rows] * options[columns]
            fits = np.flatnonzero(self.fits[k][self.code(tile)])
            rows, columns, tile = rows[fits], columns[fits], tile[fits]
            light = state.light(rows)
            for p, transfer in enumerate(self.transfers):
                if transfer.low < k <= transfer.high:
                    cast, linked = self._multicast(k, transfer.tensor, state, options, (rows, columns))
                    light.cast[:, p] *= cast
                    if linked is not None:  # averages over instances are rounded down
                        light.words[:, p] -= np.where(linked, self.everywhere, 0.0)
                if k == 0 and transfer.low < 0 and transfer.tensor == self.linked:
                    light.waits[:, p] = (options[columns][:, ~self.relevant[self.linked]] > 1).any(axis=1)
            light.parallel[:, k] = (light.parallel[:, k - 1] if k else 1.0) * over_size[columns]
            light = replace(light, tile=tile)
            scores = self.partial_score(light, k)
            ranked = np.argsort(scores, kind="stable")
            ranked = ranked[: np.searchsorted(scores[ranked], cut)]
            if len(ranked) > width * SLACK:
                dropped = min(dropped, float(scores[ranked[width * SLACK]]))
                ranked = ranked[: width * SLACK]
            scores, rows, columns, light = scores[ranked], rows[ranked], columns[ranked], light.light(ranked)
            index, lost = select(light, self.code(light.tile), scores, k, width)
            dropped = min(dropped, lost)
            new = light.light(index).remember(state, rows[index])
            new.spatial[:, k] = options[columns[index]]
            kept.append((scores[index], new))
        if len(kept) == 1:
            return kept[0][1], dropped
        return self._merge(kept, k, width, dropped)

    def _multicast(
        self, k: int, t: int, state: Partial, options: Ints, pairs: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]
    ) -> tuple[Floats, Bools | None]:
        """How many instances share each word of tensor t, and, for sound bounds, where neighbours could share more."""
        rows, columns = pairs
        over_size = options.prod(axis=1)
        if t != self.windowed:
            return options[:, ~self.relevant[t]].prod(axis=1).astype(np.float64)[columns], None
        dims = [d for _, pair, _ in self.windows for d in pair]
        inner, first, which = np.unique(state.tile[:, dims], axis=0, return_index=True, return_inverse=True)
        del inner
        shared = np.empty((len(first), len(options)))
        for i, row in enumerate(first):
            tiles = np.broadcast_to(state.tile[row][:, None], (len(DIMS), len(options)))
            shared[i] = over_size / self.nest.shapes[t].distinct(options.T, tiles)
        cast = shared[which.reshape(-1)[rows], columns]
        if not self.sound:
            return cast, None
        # neighbours along a window can hand tiles on, if a loop of its other dimension moves them
        linked = np.zeros(len(rows), dtype=np.bool_)
        for _, pair, _ in self.windows:
            for d, other in zip(pair, pair[::-1], strict=True):
                still_open = self.sizes[other] > state.tile[rows, other] * options[columns, other]
                linked |= (options[columns, d] > 1) & still_open
        plain = [d for d in np.flatnonzero(self.relevant[t]) if d not in dims]
        return np.where(linked, (over_size / options[:, plain].prod(axis=1))[columns], cast), linked

    def _merge(self, kept: list[tuple[Floats, Partial]], k: int, width: int, dropped: float) -> tuple[Partial, float]:
        scores = np.concatenate([s for s, _ in kept])
        state = concatenate([p for _, p in kept])
        index, lost = select(state, self.code(state.tile), scores, k, width)
        return state.take(index), min(dropped, lost)
