"""`Trace`: how a device's limits, units and bandwidth change over frames, from a YAML file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

from hwflow.errors import InputError, not_found
from hwflow.files import read_yaml
from hwflow.validation import Strict, explain

_Limit = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class TraceLimits(Strict):
    """Limits of a frame; a field that is null has none.

    Attributes:
        latency_s: of every network, or of each by its name.
        energy_j, power_w: of all networks together.
    """

    latency_s: _Limit | dict[str, _Limit] | None = None
    energy_j: _Limit | None = None
    power_w: _Limit | None = None


class Event(Strict):
    """What changes before a frame, and stays so.

    Attributes:
        frame: from 0.
        limits: those fields that change.
        offline, online: units that fail, and that come back.
        dram_share: of DRAM's bandwidth that other work leaves.
        note: shown in the report.
    """

    frame: Annotated[int, Field(ge=0)]
    limits: TraceLimits | None = None
    offline: tuple[str, ...] = ()
    online: tuple[str, ...] = ()
    dram_share: Annotated[float, Field(gt=0, le=1)] | None = None
    note: str = ""

    @model_validator(mode="before")
    @classmethod
    def _lists(cls, content: Any) -> Any:
        if not isinstance(content, Mapping):
            return content
        single = {name: [content[name]] for name in ("offline", "online") if isinstance(content.get(name), str)}
        return {**content, **single}

    @model_validator(mode="after")
    def _check(self) -> Event:
        if both := sorted(set(self.offline) & set(self.online)):
            raise ValueError(f"{both[0]} goes off line and comes back in the same frame; keep one of them")
        if self.limits is None and self.dram_share is None and not self.offline and not self.online:
            raise ValueError("nothing changes; give limits, offline, online or dram_share")
        return self


class Trace(Strict):
    """A trace.

    Attributes:
        frames: how many there are.
        frame_s: from one frame to the next, for the reports' time axis; None counts frames.
        hold, margin: of the manager that a trace was recorded with, by which it is played if no other is asked for.
        limits: at the beginning.
        events: by frame, the first first.
    """

    name: str = "trace"
    frames: Annotated[int, Field(ge=1, le=100_000_000)]
    frame_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    hold: Annotated[int, Field(ge=0)] | None = None
    margin: Annotated[float, Field(ge=0, lt=1)] | None = None
    limits: TraceLimits = TraceLimits()
    events: tuple[Event, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Trace:
        before = 0
        for event in self.events:
            if event.frame < before:
                raise ValueError(f"events: frame {event.frame} comes after frame {before}; list events by frame")
            if event.frame >= self.frames:
                raise ValueError(f"events: frame {event.frame} is never reached: there are {self.frames} frames, from 0")
            before = event.frame
        return self


def load_trace(path: str | Path, units: tuple[str, ...], networks: tuple[str, ...]) -> Trace:
    """A trace for these units and networks.

    Raises:
        InputError: naming the file, the event and the field whose value cannot be used, and what is allowed.
    """
    content, where = read_yaml(path, "trace"), f"trace: {path}"
    if isinstance(content, dict) and "name" not in content:
        content = {"name": Path(path).stem, **content}
    try:
        trace = Trace.model_validate(content)
    except ValidationError as error:
        raise InputError(explain(error, content, where, _FIELDS)) from None
    for i, event in enumerate(trace.events):
        for unit in (*event.offline, *event.online):
            if unit not in units:
                raise not_found(f"unit in events[{i}] of {where}", unit, units)
    for limits in (trace.limits, *(event.limits for event in trace.events if event.limits is not None)):
        for network in limits.latency_s if isinstance(limits.latency_s, dict) else ():
            if network not in networks:
                raise not_found(f"network in the limits of {where}", network, networks)
    return trace


_FIELDS = frozenset(name for model in (Trace, Event, TraceLimits) for name in model.model_fields)

__all__ = ["Event", "Trace", "TraceLimits", "load_trace"]
