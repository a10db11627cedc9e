"""Spatial loops over one fan-out: all spatial mappings that extend partial mappings."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hwflow.arrays import Bools, Floats, Places
from hwflow.mapper.layer_facts import LayerFacts
from hwflow.mapper.partial_mapping import Partial, concatenate, keep_best
from hwflow.mapper.remaining_cost import RemainingCost
from hwflow.mapper.tile_tables import TileTables

_SCORED = 1 << 16  # candidates scored per batch, approximately: bounds memory use
_MANY = 1 << 10  # from this number of candidates on, a bound without their multicast first saves time
SLACK = 12
"""Candidates compared for dominance, as a multiple of the beam's width."""


@dataclass(frozen=True)
class SpatialLoops:
    """Extends partial mappings by spatial loops over the fan-out below level k; `spread` are the tiles that these loops span.

    `linked`: the tensor that neighbouring MACs below the fan-out forward to each other while it is stationary; -1 for none.
    """

    cost: RemainingCost
    k: int
    spread: Places
    linked: int

    @property
    def _facts(self) -> LayerFacts:
        return self.cost.facts

    @property
    def _tiles(self) -> TileTables:
        return self.cost.facts.tiles

    def enlarge(self, state: Partial, width: int, cut: float) -> tuple[Partial, float]:
        """The best partial mappings after this fan-out, and the lowest score among those that the beam dropped."""
        cost, tiles, level, k = self.cost, self._tiles, self._facts.levels[self.k], self.k
        masks = tiles.lattice.masks
        steps = self.spread - tiles.lattice.origin[self.spread]
        kept: list[Partial] = []
        dropped = math.inf
        step = max(1, 4 * _SCORED // len(self.spread))
        for begin in range(0, state.size, step):
            block = state.take(slice(begin, begin + step))
            rows, columns = np.nonzero((masks[self.spread] & ~masks[tiles.lattice.rest[block.place]][:, None]) == 0)
            wider = block.place[rows] + steps[columns]
            fits = (level.fits[wider] & level.from_here[wider]).nonzero()[0]
            rows, columns = rows[fits], columns[fits]
            # most of many exceed the cut even if the whole fan-out shared every word
            if math.isfinite(cut) and k and not tiles.sound and len(rows) > _MANY:
                over, reached = self.spread[columns], block.place[rows] + steps[columns]
                least = cost.settled(block, *cost.uses(block, k - 1), k - 1).take(rows, axis=1) + cost.later[k].take(
                    reached, axis=1
                )
                growth = tiles.span[over] * cost.growth[k][reached]
                some = (cost.objective_of(least, block.parallel, k - 1, growth, rows) < cut).nonzero()[0]
                rows, columns = rows[some], columns[some]
            new = self._wider(block.bare().take(rows), self.spread[columns])
            new = new._replace(score=cost.partial_score(new, k))
            ranked = np.argsort(new.score, kind="stable")
            ranked = ranked[: np.searchsorted(new.score[ranked], cut)]
            if len(ranked) > width * SLACK:
                dropped = min(dropped, float(new.score[ranked[width * SLACK]]))
            new = new.take(ranked[: width * SLACK])
            index, lost = keep_best(self._facts, new, k, width, energy_only=cost.energy_only)
            dropped = min(dropped, lost)
            new, over = new.take(index).remember(block)
            new.history[1, k] = over + tiles.lattice.origin[new.place]
            kept.append(new)
        if len(kept) == 1:
            return kept[0], dropped
        new = concatenate(kept)
        index, lost = keep_best(self._facts, new, k, width, energy_only=cost.energy_only)
        return new.take(index), min(dropped, lost)

    def _wider(self, old: Partial, over: Places) -> Partial:
        """The mappings with these spatial loops added."""
        tiles, prices, k = self._tiles, self._facts.prices, self.k
        words, cast, waits, parallel = old.words.copy(), old.cast.copy(), old.waits.copy(), old.parallel.copy()
        parallel[k] = tiles.span[over] * (parallel[k - 1] if k else 1.0)
        for t, mine in enumerate(prices.of):
            crossing = [p for p in range(mine.start, mine.stop) if prices.transfers[p].low < k <= prices.transfers[p].high]
            if not crossing:
                continue
            shared = self._multicast(t, old.place, over)
            if tiles.sound and t == tiles.windowed:  # averages over instances are rounded down
                linked, most = self._handed(old.place, over)
                shared = np.where(linked, most, shared)
                words[crossing] -= np.where(linked, math.prod(level.fanout for level in self._facts.nest.levels), 0.0)
            cast[crossing] *= shared
            if k == 0 and t == self.linked:
                waits[crossing] = tiles.idle[t][over] > 1
        return old._replace(
            place=old.place + over - tiles.lattice.origin[over], words=words, cast=cast, waits=waits, parallel=parallel
        )

    def _multicast(self, t: int, place: Places, over: Places) -> Floats:
        """How many instances share each word of tensor t, whose tiles are at `place`, under the spatial loops `over`."""
        tiles = self._tiles
        slides = tiles.slides if t == tiles.windowed else ()
        if not any(((tiles.extents[s.dim][over] > 1) & (tiles.extents[s.other][over] > 1)).any() for s in slides):
            return np.asarray(tiles.idle[t][over])
        extents = tiles.lattice.tiles
        return np.asarray(tiles.span[over] / self._facts.nest.shapes[t].distinct(extents[:, over], extents[:, place]))

    def _handed(self, place: Places, over: Places) -> tuple[Bools, Floats]:
        """Where neighbours along a window could forward tiles, because a loop of its other dimension moves the window, and the
        largest number of instances that then share each word."""
        tiles, extents = self._tiles, self._tiles.lattice.tiles
        linked, most = np.zeros(len(over), dtype=np.bool_), tiles.idle[tiles.windowed][over]
        for window in tiles.windows:
            for d, other in zip(window.dims, window.dims[::-1], strict=True):
                still_open = extents[other, place + over - tiles.lattice.origin[over]] < tiles.sizes[other]
                spread = extents[d, over]
                linked |= (spread > 1) & still_open
                most = most * spread
        return linked, most
