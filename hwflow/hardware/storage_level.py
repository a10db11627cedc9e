"""`Level`: a storage level of a chip with the fan-out below it, and `LevelConstraint`: what mappings may do there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from hwflow.hardware.components import Fanout, Memory
from hwflow.layers import DIMS
from hwflow.types import Dim


@dataclass(frozen=True)
class Level:
    """A storage level as the loop-nest analysis and Timeloop see it, with the spatial boundary below it.

    A two-dimensional fan-out is two boundaries: its columns below the memory above it, its rows below a level of its own
    that stores nothing (`memory` is None), so that one loop dimension can lie on both axes. `cluster`: so many instances are
    one physical array, and an access of any of them pays for all of it (Timeloop's `cluster_size`).
    """

    name: str
    memory: Memory | None
    instances: int
    mesh_x: int
    mesh_y: int
    fanout: int = 1
    axis: Literal["X", "Y"] | None = None
    array: str | None = None
    spatial_dims: tuple[Dim, ...] = ()
    cluster: int = 1


@dataclass(frozen=True)
class LevelConstraint:
    """A dataflow's rules resolved for one `Level` of one accelerator.

    `temporal`: dimensions whose temporal loops may be longer than 1 here. `innermost`: their forced innermost order.
    `spatial`: dimensions that may be spread over the fan-out below.
    """

    level: Level
    temporal: tuple[Dim, ...]
    innermost: tuple[Dim, ...]
    spatial: tuple[Dim, ...]


def with_fanout(level: Level, array: Fanout, axis: Literal["X", "Y"]) -> Level:
    """`level` with one axis of `array` below it. A fan-out of 1 is none: Timeloop knows no spatial loops there."""
    count, dims = (array.columns, array.column_dims) if axis == "X" else (array.rows, array.row_dims)
    if count is None or count == 1:
        return level
    return replace(level, fanout=count, axis=axis, array=array.name, spatial_dims=DIMS if dims is None else dims)
