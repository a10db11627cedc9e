"""Tilings by stages, from the arithmetic outwards: spatial loops, then the temporal ones of each memory.

A stage extends partial mappings to all larger tiles at once, and bounds from below what the rest can cost. How many words
cross a boundary depends on the loops above it only by which tensor they leave alone: a class, the tensor that stays stationary,
stands for all their orders. Partial mappings with the same tile share their futures: only the tile and the class matter.

Padded layers can be searched together. What padding adds is taken off the words that they move and off what they do in
parallel, so that their scores are those of the layer, and compare.

Timeloop's finer rules (rounding, windows that land where they were, links) are left to the analysis that judges the survivors.
"""

from __future__ import annotations

import math

import numpy as np

from hwflow.loopnest.nest import Bools, Floats, Ints
from hwflow.mapper.partial_mappings import Partial, concatenate
from hwflow.mapper.temporal import SCORED, Loops
from hwflow.mapper.tile_lattice import Places

_SLACK, _LAST = 12, 4  # so many times the width are compared for dominance; in the last stage


class Tilings(Loops):
    """The stages of one layer on one accelerator, under a dataflow's constraints."""

    reached: tuple[int, Partial] | None = None
    """A level, and all partial mappings below it that are worth anything: what one search leaves to the next."""

    def explore(self, width: int, final: int, cut: float = math.inf) -> tuple[Partial, float]:
        """The best complete tilings, and the least score of any partial one that was dropped for want of width.

        Partial ones that can't come below `cut` are dropped, too, and not counted as that.
        """
        first, state = self.reached or (0, self.start())
        state, dropped = state.take((state.score < cut).nonzero()[0]), math.inf
        last = max((k for k in range(self.count - 1) if self.temporal[k].any()), default=-1)
        for k in range(first, self.count):
            if k in self.ways and state.size:
                state, lost = self._spread(state, k, width, cut)
                dropped = min(dropped, lost)
            elif k:
                state.parallel[k] = state.parallel[k - 1]
            if k == self.count - 1:
                break
            if self.temporal[k].any() and state.size:
                kept, compared = (final, final * _LAST) if k == last else (width, width * _SLACK)
                state, lost = self.enlarge(state, k, kept, compared, cut)
                dropped = min(dropped, lost)
            else:  # its tile is what lies below
                state = self.begin(state.take(self.fits[k][state.place].nonzero()[0]), k)
            if cut == dropped == math.inf:
                self.reached = k + 1, state
        state.history[0, -1] = self.lattice.rest[state.place]
        return state.take(self.from_here[-1][state.place].nonzero()[0]), dropped

    def start(self) -> Partial:
        """Nothing mapped: the arithmetic, which asks for its operands at every iteration."""
        number = len(self.transfers)
        slides = self.of[self.windowed] if self.slides else slice(0, 0)
        places = np.array([part.start for part in self.lattice.parts])
        layers = len(places)
        history = np.zeros((3, self.count, layers), dtype=np.intp)
        history[2] = -1
        words = np.array([[self.macs if t.low < 0 else 0.0] for t in self.transfers])
        return Partial(
            places,
            np.zeros(layers),
            np.repeat(words, layers, axis=1),
            np.ones((number, layers)),
            np.zeros((number, layers), dtype=np.bool_),
            np.zeros((slides.stop - slides.start, layers), dtype=np.intp),
            np.tile(1 / self.waste[places], (self.count, 1)),
            history,
        )

    def loops_of(self, state: Partial) -> tuple[Ints, Ints]:
        """Bounds of the temporal and of the spatial loops, [level, dimension, mapping]."""
        temporal, spatial = np.moveaxis(self.lattice.tiles[:, state.history[:2]], 0, 2)
        return temporal, spatial

    def _spread(self, state: Partial, k: int, width: int, cut: float) -> tuple[Partial, float]:
        """All ways to spread loops over the fan-out below level k."""
        places, masks = self.ways[k], self.lattice.masks
        steps = places - self.lattice.origin[places]
        kept: list[Partial] = []
        dropped = math.inf
        step = max(1, 4 * SCORED // len(places))
        for begin in range(0, state.size, step):
            block = state.take(slice(begin, begin + step))
            rows, columns = np.nonzero((masks[places] & ~masks[self.lattice.rest[block.place]][:, None]) == 0)
            wider = block.place[rows] + steps[columns]
            fits = (self.fits[k][wider] & self.from_here[k][wider]).nonzero()[0]
            rows, columns = rows[fits], columns[fits]
            if math.isfinite(cut) and k and not self.sound:  # most are too dear even if all of the fan-out shared every word
                over, tiles = places[columns], block.place[rows] + steps[columns]
                least = self.settled(block, *self.uses(block, k - 1)).take(rows, axis=1) + self.later[k].take(tiles, axis=1)
                growth = self.span[over] * self.growth[k][tiles]
                some = (self.objective_of(least, block.parallel, k - 1, growth, rows) < cut).nonzero()[0]
                rows, columns = rows[some], columns[some]
            new = self._wider(block.bare().take(rows), places[columns], k)
            new = new._replace(score=self.partial_score(new, k))
            ranked = np.argsort(new.score, kind="stable")
            ranked = ranked[: np.searchsorted(new.score[ranked], cut)]
            if len(ranked) > width * _SLACK:
                dropped = min(dropped, float(new.score[ranked[width * _SLACK]]))
            new = new.take(ranked[: width * _SLACK])
            index, lost = self.select(new, k, width)
            dropped = min(dropped, lost)
            new, over = new.take(index).remember(block)
            new.history[1, k] = over + self.lattice.origin[new.place]
            kept.append(new)
        if len(kept) == 1:
            return kept[0], dropped
        new = concatenate(kept)
        index, lost = self.select(new, k, width)
        return new.take(index), min(dropped, lost)

    def _wider(self, old: Partial, over: Places, k: int) -> Partial:
        """The mappings with loops spread over the fan-out below level k."""
        words, cast, waits, parallel = old.words.copy(), old.cast.copy(), old.waits.copy(), old.parallel.copy()
        parallel[k] = self.span[over] * (parallel[k - 1] if k else 1.0)
        for t, mine in enumerate(self.of):
            crossing = [p for p in range(len(self.transfers))[mine] if self.transfers[p].low < k <= self.transfers[p].high]
            if not crossing:
                continue
            shared = self._multicast(t, old.place, over)
            if self.sound and t == self.windowed:  # averages over instances are rounded down
                linked, most = self._handed(old.place, over)
                shared = np.where(linked, most, shared)
                words[crossing] -= np.where(linked, math.prod(level.fanout for level in self.nest.levels), 0.0)
            cast[crossing] *= shared
            if k == 0 and t == self.linked:
                waits[crossing] = self.idle[t][over] > 1
        return old._replace(
            place=old.place + over - self.lattice.origin[over], words=words, cast=cast, waits=waits, parallel=parallel
        )

    def _multicast(self, t: int, place: Places, over: Places) -> Floats:
        """How many instances share each word of tensor t, whose tiles are at `place`, if loops are spread `over` them."""
        slides = self.slides if t == self.windowed else []
        if not any(((self.extents[s.dim][over] > 1) & (self.extents[s.other][over] > 1)).any() for s in slides):
            return np.asarray(self.idle[t][over])
        tiles = self.lattice.tiles
        return np.asarray(self.span[over] / self.nest.shapes[t].distinct(tiles[:, over], tiles[:, place]))

    def _handed(self, place: Places, over: Places) -> tuple[Bools, Floats]:
        """Where neighbours along a window could hand on tiles, because a loop of its other dimension moves them; and how many
        instances share each word then at most."""
        linked, most = np.zeros(len(over), dtype=np.bool_), self.idle[self.windowed][over]
        for _, pair, _ in self.windows:
            for d, other in zip(pair, pair[::-1], strict=True):
                still_open = self.lattice.tiles[other, place + over - self.lattice.origin[over]] < self.sizes[other]
                spread = self.lattice.tiles[d, over]
                linked |= (spread > 1) & still_open
                most = most * spread
        return linked, most
