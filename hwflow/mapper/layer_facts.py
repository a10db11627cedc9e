"""Quantities of one layer on one chip that a search uses throughout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hwflow.hardware.dataflow import LevelConstraint
from hwflow.loopnest.nest import Nest
from hwflow.mapper.level_tiles import LevelTiles, level_tiles
from hwflow.mapper.tile_tables import TileTables, tile_tables
from hwflow.mapper.transfer_prices import TransferPrices, transfer_prices


@dataclass(frozen=True)
class LayerFacts:
    """What tiles hold, what each level allows (the innermost first), and what transfers cost."""

    nest: Nest
    tiles: TileTables
    levels: tuple[LevelTiles, ...]
    prices: TransferPrices

    @classmethod
    def of(
        cls,
        nest: Nest,
        constraints: Sequence[LevelConstraint],
        *,
        sound: bool = False,
        padded: Sequence[tuple[int, ...]] = (),
    ) -> LayerFacts:
        """The facts of a layer on an accelerator.

        Args:
            sound: whether scores are lower bounds for every mapping under Timeloop's finer rules.
            padded: sizes of one or several padded layers to use instead of the layer's own.
        """
        tiles = tile_tables(nest, sound=sound, padded=padded)
        return cls(nest, tiles, level_tiles(nest, constraints, tiles, padded), transfer_prices(nest))

    def spread_above(self, k: int) -> bool:
        """Whether there are fan-outs above level k."""
        return any(level.spatial is not None for level in self.levels[k + 1 :])
