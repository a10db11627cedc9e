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
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hwflow.arrays import Floats, Ints
from hwflow.hardware.dataflow import LevelConstraint
from hwflow.loopnest.nest import Nest
from hwflow.mapper.layer_facts import LayerFacts
from hwflow.mapper.partial_mapping import Partial, begin_transfers
from hwflow.mapper.remaining_cost import RemainingCost
from hwflow.mapper.spatial import SLACK, SpatialLoops
from hwflow.mapper.temporal import TemporalLoops

_LAST = 4  # in the last stage, so many times as many as are wanted are compared for dominance


class Explored(NamedTuple):
    """What a search found.

    Attributes:
        tilings: complete ones, the best.
        dropped: the least score of any partial one that was dropped for want of width.
        level, prefix: all partial mappings below a level that are worth anything, for another search to begin with.
    """

    tilings: Partial
    dropped: float
    level: int
    prefix: Partial


@dataclass(frozen=True)
class Beam:
    """The stages of one layer on one accelerator, under a dataflow's constraints.

    Attributes:
        cost: what partial mappings can still cost.
        spatial, temporal: the loops of each level, the innermost first; None where it can have none. The outermost memory's
            temporal loops are what is left.
    """

    cost: RemainingCost
    spatial: tuple[SpatialLoops | None, ...]
    temporal: tuple[TemporalLoops | None, ...]

    @classmethod
    def of(
        cls,
        nest: Nest,
        constraints: Sequence[LevelConstraint],
        objective: str,
        *,
        sound: bool = False,
        linked: int = -1,
        padded: Sequence[tuple[int, ...]] = (),
    ) -> Beam:
        """See `LayerFacts.of` for `sound` and `padded`, `SpatialLoops` for `linked`."""
        cost = RemainingCost.of(LayerFacts.of(nest, constraints, sound=sound, padded=padded), objective)
        levels = list(enumerate(cost.facts.levels))
        return cls(
            cost,
            tuple(None if level.spatial is None else SpatialLoops(cost, k, level.spatial, linked) for k, level in levels),
            tuple(TemporalLoops(cost, k) if level.temporal.any() else None for k, level in levels[:-1]),
        )

    @property
    def facts(self) -> LayerFacts:
        """Of the layer on the chip."""
        return self.cost.facts

    def explore(self, width: int, final: int, cut: float = math.inf, *, after: Explored | None = None) -> Explored:
        """The best complete tilings.

        Partial ones that can't come below `cut` are dropped, too, and not counted as dropped for want of width.

        Args:
            width: partial mappings kept at a stage; `final`: tilings at the end.
            after: an earlier search, whose prefix is taken over.
        """
        first, state = (after.level, after.prefix) if after is not None else (0, self._start())
        level, prefix = first, state
        state, dropped = state.take((state.score < cut).nonzero()[0]), math.inf
        last = max((k for k, loops in enumerate(self.temporal) if loops is not None), default=-1)
        for k in range(first, len(self.spatial)):
            over = self.spatial[k]
            if over is not None and state.size:
                state, lost = over.enlarge(state, width, cut)
                dropped = min(dropped, lost)
            elif k:
                state.parallel[k] = state.parallel[k - 1]
            if k == len(self.temporal):
                break
            loops = self.temporal[k]
            if loops is not None and state.size:
                kept, compared = (final, final * _LAST) if k == last else (width, width * SLACK)
                state, lost = loops.enlarge(state, kept, compared, cut)
                dropped = min(dropped, lost)
            else:  # its tile is what lies below
                fits = self.facts.levels[k].fits[state.place].nonzero()[0]
                state = begin_transfers(self.facts, state.take(fits), k)
            if cut == dropped == math.inf:
                level, prefix = k + 1, state
        state.history[0, -1] = self.facts.tiles.lattice.rest[state.place]
        whole = self.facts.levels[-1].from_here[state.place].nonzero()[0]
        return Explored(state.take(whole), dropped, level, prefix)

    def score(self, tilings: Partial) -> Floats:
        """The objective of complete tilings, [mapping]."""
        return self.cost.score(tilings)

    def loops_of(self, tilings: Partial) -> tuple[Ints, Ints]:
        """Bounds of the temporal and of the spatial loops, [level, dimension, mapping]."""
        temporal, spatial = np.moveaxis(self.facts.tiles.lattice.tiles[:, tilings.history[:2]], 0, 2)
        return temporal, spatial

    def _start(self) -> Partial:
        """Nothing mapped: the arithmetic, which asks for its operands at every iteration."""
        tiles, prices, count = self.facts.tiles, self.facts.prices, len(self.spatial)
        number = len(prices.transfers)
        slides = prices.of[tiles.windowed] if tiles.slides else slice(0, 0)
        places = np.array([part.start for part in tiles.lattice.parts])
        layers = len(places)
        history = np.zeros((3, count, layers), dtype=np.intp)
        history[2] = -1
        words = np.array([[tiles.macs if t.low < 0 else 0.0] for t in prices.transfers])
        return Partial(
            places,
            np.zeros(layers),
            np.repeat(words, layers, axis=1),
            np.ones((number, layers)),
            np.zeros((number, layers), dtype=np.bool_),
            np.zeros((slides.stop - slides.start, layers), dtype=np.intp),
            np.tile(1 / tiles.waste[places], (count, 1)),
            history,
        )
