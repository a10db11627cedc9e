"""Beam search over tilings, from the arithmetic outwards: spatial loops, then the temporal loops of each memory.

A stage extends partial mappings to all larger tiles at once, and computes a lower bound on the cost of the rest. The number of
words that cross a boundary depends on the order of the loops above it only through the tensor that stays stationary, so one
class per stationary tensor represents all orders. Partial mappings with the same tile and class have the same completions.

Padded layers can be searched together. The words and the parallel work that padding adds are subtracted, so that scores are
those of the layer and can be compared.

Timeloop's finer rules (rounding, windows that return to an earlier position, links) are left to the exact analysis of the
mappings that remain.
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

_LAST = 4  # last stage: candidates compared for dominance, as a multiple of those wanted


class Explored(NamedTuple):
    """What a search found.

    Attributes:
        tilings: the best complete tilings.
        dropped: the lowest score among partial tilings that were dropped because the beam was full.
        level, prefix: all partial mappings below a level that were not ruled out, from which another search can start.
    """

    tilings: Partial
    dropped: float
    level: int
    prefix: Partial


@dataclass(frozen=True)
class Beam:
    """The stages of one layer on one accelerator, under a dataflow's constraints.

    Attributes:
        cost: lower bounds on the cost of completing partial mappings.
        spatial, temporal: the loops of each level, innermost first; None where a level can have none. The outermost memory's
            temporal loops are the remaining factors.
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
        """Of the layer on the accelerator."""
        return self.cost.facts

    def explore(self, width: int, final: int, cut: float = math.inf, *, after: Explored | None = None) -> Explored:
        """The best complete tilings.

        Partial tilings whose bound is not below `cut` are also dropped; they do not count towards `Explored.dropped`.

        Args:
            width: partial mappings kept per stage; `final`: tilings kept at the end.
            after: an earlier search, whose prefix is reused.
        """
        first, state = (after.level, after.prefix) if after is not None else (0, self._start())
        level, prefix = first, state
        state, dropped = state.where(state.score < cut), math.inf
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
            else:  # its tile is that of the level below
                state = begin_transfers(self.facts, state.where(self.facts.levels[k].fits[state.place]), k)
            if cut == dropped == math.inf:
                level, prefix = k + 1, state
        state.history[0, -1] = self.facts.tiles.lattice.rest[state.place]
        return Explored(state.where(self.facts.levels[-1].from_here[state.place]), dropped, level, prefix)

    def score(self, tilings: Partial) -> Floats:
        """The objective of complete tilings, [mapping]."""
        return self.cost.score(tilings)

    def loops_of(self, tilings: Partial) -> tuple[Ints, Ints]:
        """Bounds of the temporal and the spatial loops, [level, dimension, mapping]."""
        temporal, spatial = np.moveaxis(self.facts.tiles.lattice.tiles[:, tilings.history[:2]], 0, 2)
        return temporal, spatial

    def _start(self) -> Partial:
        """The empty mapping: the MAC units, which read their operands in every iteration."""
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
