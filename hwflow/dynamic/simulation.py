"""`simulate`: a manager and its baselines on a trace, with violations, accuracy, energy and switches of each.

    manager     with hysteresis
    fixed       the most accurate level at its unit's highest clock, whatever the limits
    clock       the most accurate level; chooses unit and clock (DVFS)
    level       the units' highest clocks; chooses unit and level
    oracle      the best placement of each frame, without hysteresis

`clock`, `level` and `oracle` choose anew in every frame, as the manager does without hysteresis. `fixed` takes the unit that is
best under the first frame's limits and keeps it until it fails; then it takes the best one that is left, and comes back when
the first one does. Of equally accurate levels the smallest is taken. A unit's highest clock is that of its operating points,
whether a manager would take it or not. Switching takes no time and no energy here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from hwflow.dynamic.level_table import LevelTable, Row
from hwflow.dynamic.manager import Decision, Manager
from hwflow.dynamic.placement import Limits, excess
from hwflow.dynamic.trace import Trace, TraceLimits
from hwflow.errors import InputError
from hwflow.progress import Progress

POLICIES: dict[str, str] = {
    "manager": "level, unit and clock, with hysteresis",
    "fixed": "the most accurate level at its unit's highest clock",
    "clock": "the most accurate level; chooses unit and clock (DVFS only)",
    "level": "the units' highest clocks; chooses unit and level (levels only)",
    "oracle": "level, unit and clock, the best of each frame",
}
"""What is compared, in this order."""

_TELL = 10_000


@dataclass(frozen=True)
class Segment:
    """Frames in which nothing changes, from `start` on.

    Attributes:
        limits: as of `hwflow.dynamic.placement.Limits`.
        rows: by network what runs: level, unit, clock, latency, energy; None where it does not run.
        broken: the limits that do not hold, by name.
    """

    start: int
    limits: Mapping[str, Any]
    offline: tuple[str, ...]
    dram_share: float
    rows: Mapping[str, Mapping[str, Any] | None]
    broken: tuple[str, ...]


@dataclass(frozen=True)
class PolicyRun:
    """One policy on a trace.

    Attributes:
        violations: frames in which a limit was broken or a network did not run.
        accuracy: mean over frames and networks; a network that does not run has 0.
        energy_j: of all frames; None where the rows have none.
        switches: frames that differ in level, unit or clock from the one before.
        segments: what ran when.
    """

    policy: str
    violations: int
    accuracy: float
    energy_j: float | None
    switches: int
    segments: tuple[Segment, ...]


@dataclass(frozen=True)
class Simulation:
    """All policies on one trace."""

    trace: Trace
    networks: tuple[str, ...]
    kinds: tuple[str, ...]
    runs: tuple[PolicyRun, ...]

    def run(self, policy: str) -> PolicyRun:
        """One of them."""
        return next(run for run in self.runs if run.policy == policy)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as `hwflow manage --format json` prints it."""
        return {
            "format": 1,
            "trace": self.trace.model_dump(mode="json"),
            "networks": list(self.networks),
            "kinds": list(self.kinds),
            "runs": [asdict(run) for run in self.runs],
        }


def simulate(
    tables: Sequence[LevelTable],
    trace: Trace,
    *,
    hold: int | None = None,
    margin: float | None = None,
    weights: Mapping[str, float] | None = None,
    policies: Sequence[str] = tuple(POLICIES),
    progress: Progress | None = None,
) -> Simulation:
    """Play a trace.

    Args:
        hold, margin: of the manager; None takes those of the trace, or the manager's own, 10 and 0.05.

    Raises:
        InputError: as `Manager`, and where the trace limits what the tables do not know.
    """
    own = {"hold": trace.hold if hold is None else hold, "margin": trace.margin if margin is None else margin}
    usual: dict[str, Any] = {name: value for name, value in own.items() if value is not None}
    runs = []
    for policy in policies:
        kept = [replace(table, rows=tuple(_rows_of(policy, table.rows))) for table in tables]
        manager = Manager(kept, **(usual if policy == "manager" else {"hold": 0, "margin": 0.0}), weights=weights)
        try:
            runs.append(_play(policy, manager, trace, progress))
        except InputError as error:
            raise InputError(f"trace {trace.name}: {error}") from None
    return Simulation(trace, tuple(t.network for t in tables), tuple(t.kind for t in tables), tuple(runs))


def _rows_of(policy: str, rows: Sequence[Row]) -> list[Row]:
    """What a policy may choose from."""
    best = min(rows, key=lambda row: (-row.accuracy, row.level)).level
    top: dict[str, float] = {}
    for row in rows:
        top[row.unit] = max(row.clock_mhz, top.get(row.unit, 0.0))
    if policy in ("fixed", "clock"):
        rows = [row for row in rows if row.level == best]
    if policy in ("fixed", "level"):
        rows = [row for row in rows if row.clock_mhz == top[row.unit]]
    return list(rows)


def _play(policy: str, manager: Manager, trace: Trace, progress: Progress | None) -> PolicyRun:
    events = iter([*trace.events, None])
    event, limits, offline, share = next(events), _limits(trace.limits), set[str](), 1.0
    first = limits if policy == "fixed" else None  # by which it chooses, and as if it had the whole bandwidth
    violations = switches = 0
    accuracy = energy = 0.0
    known = True
    segments: list[Segment] = []
    before: tuple[Any, ...] = ()
    counted: tuple[Decision, tuple[str, ...], float, float] | None = None
    for frame in range(trace.frames):
        while event is not None and event.frame == frame:
            counted = None
            if event.limits is not None:
                limits = _changed(limits, event.limits)
            if event.offline or event.online:
                offline = (offline | set(event.offline)) - set(event.online)
                manager.set_offline(offline & set(manager.units))
            if event.dram_share is not None:
                share = event.dram_share
                if first is None:
                    manager.set_dram_share(share)
            event = next(events)
        told = decision = manager.decide(limits if first is None else first)
        if counted is None or counted[0] is not told:
            if first is not None:
                decision = replace(told, rows={name: row and row.at_share(share) for name, row in told.rows.items()})
            broken = _broken(decision, limits)
            rows = [row for row in decision.rows.values() if row is not None]
            known = known and all(row.energy_j is not None for row in rows)
            counted = (
                told,
                broken,
                sum(row.accuracy for row in rows) / len(decision.rows),
                sum(row.energy_j or 0.0 for row in rows),
            )
            now = (limits, frozenset(offline), share, {name: row and row.key for name, row in decision.rows.items()}, broken)
            if now != before:
                segments.append(_segment(frame, limits, offline, share, decision, broken))
            before = now
        violations += bool(counted[1])
        switches += decision.switched
        accuracy += counted[2]
        energy += counted[3]
        if progress is not None and frame % _TELL == 0:
            progress(frame, trace.frames, policy)
    return PolicyRun(policy, violations, accuracy / trace.frames, energy if known else None, switches, tuple(segments))


def _broken(decision: Decision, limits: Limits) -> tuple[str, ...]:
    """The limits that do not hold, and the networks that do not run."""
    found = [f"{name} does not run" for name, row in decision.rows.items() if row is None]
    rows = {name: row for name, row in decision.rows.items() if row is not None}
    if any(excess(row.latency_s, limits.latency_of(name)) for name, row in rows.items()):
        found.append("latency")
    if excess(sum(row.energy_j or 0.0 for row in rows.values()), limits.energy_j):
        found.append("energy")
    if excess(sum(row.power_w or 0.0 for row in rows.values()), limits.power_w):
        found.append("power")
    return tuple(found)


def _segment(
    frame: int, limits: Limits, offline: set[str], share: float, decision: Decision, broken: tuple[str, ...]
) -> Segment:
    fields: tuple[str, ...] = ("level", "unit", "clock_mhz", "accuracy", "latency_s", "energy_j")
    rows = {
        name: None if row is None else {field: getattr(row, field) for field in fields} for name, row in decision.rows.items()
    }
    return Segment(frame, asdict(limits), tuple(sorted(offline)), share, rows, broken)


def _limits(given: TraceLimits) -> Limits:
    return Limits(given.latency_s, given.energy_j, given.power_w)


def _changed(limits: Limits, change: TraceLimits) -> Limits:
    """The limits with those fields changed that an event names, also to null."""
    return replace(limits, **{name: getattr(change, name) for name in change.model_fields_set})


__all__ = ["POLICIES", "PolicyRun", "Segment", "Simulation", "simulate"]
