"""Constraints on each level of a chip: which tiles fit, and which loops a dataflow allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hwflow.arrays import Bools, Places
from hwflow.hardware.dataflow import LevelConstraint
from hwflow.layers import DIMS
from hwflow.loopnest.nest import Nest
from hwflow.mapper.tile_lattice import spreads
from hwflow.mapper.tile_tables import Order, TileTables


@dataclass(frozen=True)
class LevelTiles:
    """One level, the fan-out below it included.

    Attributes:
        temporal: the dimensions that its temporal loops can have, [dimension].
        spatial: the tiles that the loops over its fan-out can span, or None where it has no fan-out.
        order: what the order of its loops can achieve; `forced`: whether its innermost loops are fixed.
        fits: whether a tile fits it and every level above, [tile].
        reach: the dimensions that loops up to it can have, [dimension]; `spans`: whether a tile spans only these, [tile].
        room: the tiles that this level can have.
        from_here: whether its temporal loops and the loops above it can complete a tile, [tile]; `from_above`: these alone.
    """

    temporal: Bools
    spatial: Places | None
    order: Order
    forced: bool
    fits: Bools
    reach: Bools
    spans: Bools
    room: Places
    from_here: Bools
    from_above: Bools


def level_tiles(
    nest: Nest, constraints: Sequence[LevelConstraint], tables: TileTables, padded: Sequence[tuple[int, ...]] = ()
) -> tuple[LevelTiles, ...]:
    """The levels, innermost first; constraints are given outermost first."""
    rules = list(reversed(constraints))
    several = tables.sizes > 1
    temporal = [np.array([d in rule.temporal for d in DIMS]) & several for rule in rules]
    layers = padded or [tuple(int(n) for n in tables.sizes)]
    spatial = [_spatial(tables, layers, rule) if rule.level.fanout > 1 else None for rule in rules]
    innermost = [tuple(DIMS.index(d) for d in rule.innermost) for rule in rules]
    orders = {dims: tables.order(dims) for dims in dict.fromkeys(innermost)}
    fits = _fits(nest, tables)
    over = [np.array([d in rule.spatial for d in DIMS]) & several & (rule.level.fanout > 1) for rule in rules]
    reach = [np.logical_or.reduce([*temporal[: k + 1], *over[: k + 1]]) for k in range(len(rules))]
    spanning = {bytes(dims): tables.lattice.spanning(dims) for dims in reach}
    from_here, from_above = _completable(tables, temporal, over)
    return tuple(
        LevelTiles(
            temporal=temporal[k],
            spatial=spatial[k],
            order=orders[innermost[k]],
            forced=any(d in tables.extents for d in innermost[k]),
            fits=fits[k],
            reach=reach[k],
            spans=spanning[bytes(reach[k])],
            room=(fits[k] & spanning[bytes(reach[k])]).nonzero()[0],
            from_here=from_here[k],
            from_above=from_above[k],
        )
        for k in range(len(rules))
    )


def _spatial(tables: TileTables, layers: Sequence[tuple[int, ...]], rule: LevelConstraint) -> Places:
    """The tiles that the loops over a fan-out can span."""
    allowed = tuple(d in rule.spatial for d in DIMS)
    tiles = [tables.lattice.places(spreads(sizes, allowed, rule.level.fanout), i) for i, sizes in enumerate(layers)]
    return np.concatenate(tiles)


def _fits(nest: Nest, tables: TileTables) -> list[Bools]:
    fits = np.ones(tables.lattice.size, dtype=np.bool_)
    result: list[Bools] = []
    for k in reversed(range(len(nest.levels))):
        room = nest.memories.room[k, 0]
        if np.isfinite(room):
            kept = nest.keep[k]
            bits = tables.volume[kept] * nest.memories.widths.sums[k, kept]
            fits = fits & (bits.sum(axis=0) <= room)
        result.append(fits)
    return result[::-1]


def _completable(tables: TileTables, temporal: Sequence[Bools], over: Sequence[Bools]) -> tuple[list[Bools], list[Bools]]:
    """Whether each tile can be completed: a dimension that no loop above a level may have must be complete below it."""
    later = np.zeros(len(DIMS), dtype=np.bool_)
    whole: dict[bytes, Bools] = {}
    here: list[Bools] = []
    above: list[Bools] = []
    for k in reversed(range(len(temporal))):
        for found, further in ((above, temporal[k]), (here, over[k])):
            if later.tobytes() not in whole:
                whole[later.tobytes()] = tables.whole_along(~later)
            found.append(whole[later.tobytes()])
            later = later | further
    return here[::-1], above[::-1]
