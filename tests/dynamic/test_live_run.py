"""Frames on this machine: the level falls while frames take longer than the table says, and rises afterwards."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from hwflow.dynamic.level_table import LevelTable
from hwflow.dynamic.live_run import WINDOW, LiveRun, run_live
from hwflow.dynamic.simulation import simulate
from hwflow.dynamic.trace import Trace
from hwflow.errors import InputError
from tests.dynamic.rows import row


class Clock:
    """Tells the time that networks say they take."""

    def __init__(self) -> None:
        self.now, self.slow = 0.0, 1.0

    def __call__(self) -> float:
        return self.now


class Level(nn.Module):
    """Takes a time, and is right about every image of its class and those of smaller levels."""

    def __init__(self, level: int, clock: Clock) -> None:
        super().__init__()
        self.level, self.clock, self.calls = level, clock, 0

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        self.clock.now += self.level * 0.001 * self.clock.slow
        return torch.nn.functional.one_hot(torch.tensor([min(int(images[0, 0, 0, 0]), self.level)]), 4).float()


def table() -> LevelTable:
    rows = (row(k, 0, 0.5 + 0.1 * k, 0.001 * k, None, unit="cpu-1-thread", voltage_v=None) for k in (1, 2, 3))
    return LevelTable("net", "measured", tuple(rows))


SAMPLES = [(torch.full((1, 1, 1, 1), float(label)), label) for label in (1, 2, 3)]


def run(slow: dict[int, float] | None = None, frames: int = 300, measured: LevelTable | None = None, hold: int = 10) -> LiveRun:
    """With a machine that is so many times slower from these frames on."""
    clock = Clock()
    levels = {k: Level(k, clock) for k in (1, 2, 3)}

    def tell() -> float:
        done = sum(level.calls for level in levels.values()) - len(levels)
        clock.slow = (slow or {}).get(done, clock.slow)
        return clock()

    return run_live(levels, measured or table(), SAMPLES, 0.0035, frames=frames, hold=hold, clock=tell)


def test_it_goes_down_under_a_load_and_up_afterwards() -> None:
    found = run({100: 2.5, 200: 1.0})
    levels = [frame.level for frame in found.frames]
    assert levels[:100] == [3] * 100
    assert levels[100:130] != [3] * 30
    assert set(levels[100 + WINDOW : 200]) == {1}  # 2 would take 5 ms
    assert set(levels[200 + WINDOW + 10 :]) == {3}
    late = [number for number, frame in enumerate(found.frames) if frame.latency_s > 0.0035]
    assert late == list(range(100, 100 + len(late)))
    assert len(late) <= WINDOW // 2 + 1  # until the median has moved
    (phase,) = found.phases
    assert (phase.start, phase.frames, phase.rivals, phase.late) == (0, 300, 0, len(late))
    assert phase.accuracy == sum(frame.right for frame in found.frames) / 300


def test_what_it_was_told_is_a_trace_that_gives_the_same_levels() -> None:
    found = run({100: 2.5, 200: 1.0})
    trace = Trace.model_validate(found.trace())
    assert 2 <= len(trace.events) < 20
    (again,) = simulate([table()], trace, policies=("manager",)).runs
    levels = {number: frame.level for number, frame in enumerate(found.frames)}
    for one in again.segments:
        told = one.rows["net"]
        assert told is not None
        assert levels[one.start] == told["level"]


def test_a_trace_of_one_unit_among_several_gives_the_same_levels() -> None:
    """The other unit, which is faster here, is off line in it; hold and margin are those of the run."""
    others = (row(k, 0, 0.5 + 0.1 * k, 1e-5 * k, None, unit="cpu-2-threads", voltage_v=None) for k in (1, 2, 3))
    both = LevelTable("net", "measured", (*table().rows, *others))
    found = run({100: 2.5, 200: 1.0}, measured=both, hold=3)
    trace = Trace.model_validate(found.trace())
    assert (trace.hold, trace.margin) == (3, 0.05)
    assert (trace.events[0].frame, trace.events[0].offline) == (0, ("cpu-2-threads",))
    again = simulate([both], trace, policies=("manager",)).run("manager")
    starts = {one.start: one.rows["net"] for one in again.segments}
    told = None
    for number, frame in enumerate(found.frames):
        told = starts.get(number, told)
        assert told is not None
        assert (told["level"], told["unit"]) == (frame.level, "cpu-1-thread"), number


def test_a_table_of_the_first_days_has_its_units_other_names() -> None:
    rows = tuple(replace(one, unit="cpu, 1 thread") for one in table().rows)
    assert run(frames=2, measured=replace(table(), rows=rows)).unit == "cpu, 1 thread"


def test_other_processes_compute_meanwhile() -> None:
    found = run_live({k: Level(k, Clock()) for k in (1, 2, 3)}, table(), SAMPLES, 0.1, frames=6, rival=(2, 4), rivals=1)
    assert [(phase.start, phase.frames, phase.rivals) for phase in found.phases] == [(0, 2, 0), (2, 2, 1), (4, 2, 0)]
    assert {"frame": 2, "limits": {"latency_s": 0.1}, "note": "1 rival process"} in found.trace()["events"]


def test_what_cannot_be_run() -> None:
    networks: dict[int, nn.Module] = {k: Level(k, Clock()) for k in (1, 2, 3)}
    with pytest.raises(InputError, match="the limit is 0 s; it must be a number above 0"):
        run_live(networks, table(), SAMPLES, 0)
    with pytest.raises(InputError, match="unknown unit of the measured table 'cpu-2-threads'"):
        run_live(networks, table(), SAMPLES, 1, threads=2)
    with pytest.raises(InputError, match="the rival load is from frame 5 to 4; give two frames, the later one last, up to 600"):
        run_live(networks, table(), SAMPLES, 1, rival=(5, 4))
    with pytest.raises(InputError, match="the table has level 3, but there is no such network; give all of them"):
        run_live({1: networks[1], 2: networks[2]}, table(), SAMPLES, 1)
