"""Records of what stands beside the layers of an estimate, and what all records have in common."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def _known(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


Known = Annotated[float | None, BeforeValidator(_known)]
"""A number, or None where it is not known or not finite."""


Share = Annotated[Annotated[float, Field(ge=0, le=1)] | None, BeforeValidator(_known)]
"""A share, known or not."""


class Record(BaseModel):
    """Fields that a report does not show are left unread."""

    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())


class OperatorRecord(Record):
    """An operator beside the layers, as in `OperatorCost.row`."""

    name: str
    type: str
    operations: int = 0
    energy_pj: Known = None
    energy_normalized: Known = None
    cycles: Known = None
    latency_s: Known = None
    dram_bytes: Known = None
    note: str = ""


class StayRecord(Record):
    """A tensor between operations, as in `TensorStay`."""

    name: str
    size_bytes: int
    first: int
    last: int
    memory: str | None
    written: str | None = None
    reason: str = ""


class TilesRecord(Record):
    """An operation and its tiles, as in `OperationTiles`."""

    name: str
    tile_bytes: dict[str, int] = Field(default_factory=dict)


class OccupancyRecord(Record):
    """The memories in the course of a network, as in `Occupancy.to_dict`."""

    memories_bytes: dict[str, int]
    operations: tuple[TilesRecord, ...]
    tensors: tuple[StayRecord, ...]
    weights: tuple[StayRecord, ...] = ()
    proven_optimal: bool = False
