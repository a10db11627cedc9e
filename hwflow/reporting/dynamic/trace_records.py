"""The record of a trace that was played, `hwflow manage --format json`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from hwflow.files import parse_json
from hwflow.reporting.pruning.cost_details import Known, Record
from hwflow.reporting.pruning.run_records import parsed, text_of

_Count = Annotated[int, Field(ge=0)]


class LimitsRecord(Record):
    """Limits of a frame."""

    latency_s: float | dict[str, float] | None = None
    energy_j: Known = None
    power_w: Known = None

    def latency_of(self, network: str) -> float | None:
        """The limit of one network."""
        return self.latency_s.get(network) if isinstance(self.latency_s, dict) else self.latency_s


class PlacedRecord(Record):
    """What runs of a network."""

    level: Annotated[int, Field(ge=1)]
    unit: str
    clock_mhz: float
    accuracy: float
    latency_s: Annotated[float, Field(gt=0)]
    energy_j: Known = None


class SegmentRecord(Record):
    """Frames in which nothing changes."""

    start: _Count
    limits: LimitsRecord
    offline: tuple[str, ...] = ()
    dram_share: float = 1.0
    rows: dict[str, PlacedRecord | None]
    broken: tuple[str, ...] = ()


class PolicyRecord(Record):
    """One policy on the trace."""

    policy: str
    violations: _Count
    accuracy: float
    energy_j: Known = None
    switches: _Count
    segments: tuple[SegmentRecord, ...]


class EventRecord(Record):
    """What changes before a frame."""

    frame: _Count
    note: str = ""


class TraceHead(Record):
    """What was played."""

    name: str
    frames: Annotated[int, Field(ge=1)]
    frame_s: Known = None
    events: tuple[EventRecord, ...] = ()


class TraceRecord(Record):
    """A trace with all policies."""

    trace: TraceHead
    networks: tuple[str, ...]
    kinds: tuple[str, ...] = ()
    runs: Annotated[tuple[PolicyRecord, ...], Field(min_length=1)]


def is_trace(file: Path) -> bool:
    """Whether a file holds what `hwflow manage` found."""
    try:
        content: Any = parse_json(text_of(file))
    except ValueError:
        return False
    return isinstance(content, dict) and {"trace", "runs"} <= set(content)


def read_trace(file: Path) -> TraceRecord:
    """The record in a file.

    Raises:
        InputError: where it is damaged: which field.
    """
    return parsed(file, text_of(file), TraceRecord)


__all__ = ["PolicyRecord", "SegmentRecord", "TraceRecord", "is_trace", "read_trace"]
