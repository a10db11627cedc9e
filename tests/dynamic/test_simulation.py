"""Traces: their file, and what the manager and its baselines make of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from hwflow.dynamic.simulation import POLICIES, simulate
from hwflow.dynamic.trace import Event, Trace, TraceLimits, load_trace
from hwflow.errors import InputError
from tests.dynamic.rows import drawn, ladder, row, table

TWO = table(*ladder().rows, *(row(k, 50, 0.5 + 0.1 * k, 3 * k, k / 8, unit="spare") for k in (1, 2, 3)))


def trace(**fields: Any) -> Trace:
    return Trace.model_validate({"frames": 100, **fields})


BUSY = trace(
    limits={"latency_s": 4.0},
    events=[
        {"frame": 20, "limits": {"latency_s": 1.1}},
        {"frame": 40, "limits": {"latency_s": 4.0, "power_w": 0.6}},
        {"frame": 60, "offline": "u", "limits": {"power_w": None}},
        {"frame": 70, "online": "u"},
        {"frame": 90, "limits": {"latency_s": 0.2}},
    ],
)


def test_the_policies_on_a_busy_trace() -> None:
    found = simulate([TWO], BUSY)
    assert [run.policy for run in found.runs] == list(POLICIES)
    runs = {run.policy: run for run in found.runs}
    assert runs["oracle"].violations == 10  # nothing keeps the last limit
    assert runs["manager"].violations == 10
    assert runs["clock"].violations == 20 + 10 + 10  # the large level is too slow at 1.1 s, and on the spare unit
    assert runs["fixed"].violations == 20 + 20 + 10 + 10  # and takes too much power
    assert runs["level"].violations == 10  # on the spare unit it keeps the limit on power
    assert runs["oracle"].accuracy > runs["manager"].accuracy > 0.9 * runs["oracle"].accuracy
    assert runs["fixed"].accuracy == pytest.approx(0.8)
    assert runs["fixed"].energy_j == pytest.approx(90 * 3 + 10 * 3 / 8)  # on the spare unit only while the other one fails
    assert runs["manager"].switches <= runs["oracle"].switches
    assert runs["fixed"].switches == 2


def test_baselines_are_what_they_are_called() -> None:
    """The most accurate level is not the largest one; the highest clock buys nothing, and is a unit's all the same."""
    levels = ((1, 0.5), (2, 0.9), (3, 0.8))
    rows = [row(k, 100 * f, a, k / min(f, 2), k * f / 2) for k, a in levels for f in (1, 2, 3)]
    both = table(*rows, *(row(k, 50, a, 5, 0.01 * k, unit="spare") for k, a in levels))
    found = simulate([both], trace(limits={"latency_s": 3.0}, events=[{"frame": 50, "limits": {"latency_s": 9.0}}]))

    def ran(policy: str) -> list[tuple[int, str, float]]:
        told = [segment.rows["net"] for segment in found.run(policy).segments]
        return [(one["level"], one["unit"], one["clock_mhz"]) for one in told if one]

    assert ran("fixed") == [(2, "u", 300)] * 2  # though the spare unit keeps the later limit with less energy
    assert ran("level") == [(2, "u", 300), (2, "spare", 50)]
    assert ran("clock") == [(2, "u", 100), (2, "spare", 50)]
    staged = table(row(1, latency=2, stages=((1.0, 0.0), (1.0, 1.0))))
    halved = trace(limits={"latency_s": 2.5}, events=[{"frame": 60, "dram_share": 0.5}])
    assert simulate([staged], halved).run("fixed").violations == 40


def test_hold_and_margin_of_a_trace_are_the_managers() -> None:
    rising: dict[str, Any] = {"limits": {"latency_s": 0.6}, "events": [{"frame": 10, "limits": {"latency_s": 4.0}}]}
    for hold, given, first in ((30, None, 39), (30, 5, 14), (None, None, 19)):
        run = simulate([ladder()], trace(**rising, hold=hold), hold=given, policies=["manager"]).run("manager")
        assert [segment.start for segment in run.segments][-1] == first


def test_segments_are_the_changes() -> None:
    run = simulate([TWO], BUSY, policies=["manager"]).run("manager")
    starts = [segment.start for segment in run.segments]
    assert starts == sorted(set(starts))
    assert {20, 40, 60, 70, 90} <= set(starts)
    at = {segment.start: segment for segment in run.segments}
    assert at[60].offline == ("u",)
    assert at[60].limits == {"latency_s": 4.0, "energy_j": None, "power_w": None}
    assert at[90].broken == ("latency",)
    plain = json.loads(json.dumps(simulate([TWO], BUSY).to_dict()))
    assert plain["runs"][0]["segments"][0]["rows"]["net"]["level"] == 3


def test_shared_bandwidth_and_a_day_in_few_segments() -> None:
    staged = table(row(1, latency=1), row(2, accuracy=0.8, latency=2, stages=((1.0, 0.0), (1.0, 1.0))))
    events = [{"frame": 1000 * k, "dram_share": 1.0 if k % 2 else 0.5} for k in range(1, 6)]
    run = simulate([staged], trace(frames=6000, limits={"latency_s": 2.5}, events=events), policies=["manager"]).run("manager")
    assert run.violations == 0
    assert len(run.segments) < 12
    assert [s.rows["net"]["level"] for s in run.segments if s.rows["net"]][:4] == [2, 1, 1, 2]


def test_a_network_without_a_unit_counts_as_a_violation() -> None:
    tables = drawn(0, networks=2, units=1)
    run = simulate(tables, trace(), policies=["oracle"]).run("oracle")
    assert run.violations == 100
    assert run.segments[0].broken in {("net0 does not run",), ("net1 does not run",)}


def test_within_the_oracles_accuracy_at_no_more_violations_than_dvfs_alone() -> None:
    """Limits that fall and rise slowly, as heat and batteries make them."""
    wave = [0.6, 1.1, 1.7, 2.5, 4.0, 2.5, 1.7, 1.1]
    events = [{"frame": 250 * k, "limits": {"latency_s": wave[k % 8]}} for k in range(1, 16)]
    found = simulate([TWO], trace(frames=4000, limits={"latency_s": 0.6}, events=events))
    manager, oracle, clock = (found.run(name) for name in ("manager", "oracle", "clock"))
    assert manager.violations == oracle.violations == 0
    assert manager.violations <= clock.violations
    assert manager.accuracy >= 0.95 * oracle.accuracy


def write(tmp_path: Path, content: Any) -> Path:
    file = tmp_path / "night.yaml"
    file.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return file


def test_a_trace_file(tmp_path: Path) -> None:
    file = write(tmp_path, {"frames": 9, "frame_s": 0.04, "events": [{"frame": 3, "offline": "u"}]})
    read = load_trace(file, ("u",), ("net",))
    assert read == Trace(name="night", frames=9, frame_s=0.04, events=(Event(frame=3, offline=("u",)),))
    assert TraceLimits().latency_s is None


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"frames": 0}, "frames is 0: it must be at least 1"),
        ({"frames": 9, "limits": {"latency_s": -1}}, "limits.latency_s"),
        ({"frames": 9, "limits": {"latency": 1}}, "limits.latency: unknown field (did you mean latency_s?)"),
        ({"frames": 9, "events": [{"frame": 1}]}, "events[0]: nothing changes; give limits, offline, online or dram_share"),
        ({"frames": 9, "events": [{"frame": 1, "dram_share": 2}]}, "events[0].dram_share is 2: it must be at most 1"),
        (
            {"frames": 9, "events": [{"frame": 9, "offline": "u"}]},
            "events: frame 9 is never reached: there are 9 frames, from 0",
        ),
        (
            {"frames": 9, "events": [{"frame": 5, "offline": "u"}, {"frame": 4, "online": "u"}]},
            "events: frame 4 comes after frame 5; list events by frame",
        ),
        (
            {"frames": 9, "events": [{"frame": 5, "offline": "u", "online": ["u"]}]},
            "u goes off line and comes back in the same frame; keep one of them",
        ),
        ({"frames": 9, "events": [{"frame": 5, "offline": "npu"}]}, "unknown unit in events[0] of trace:"),
        ({"frames": 9, "limits": {"latency_s": {"ent": 1}}}, "unknown network in the limits of trace:"),
        ("frames: [", "is not valid YAML"),
    ],
)
def test_a_damaged_trace_is_refused_by_field(tmp_path: Path, content: Any, text: str) -> None:
    file = write(tmp_path, content)
    with pytest.raises(InputError) as error:
        load_trace(file, ("u",), ("net",))
    assert text in str(error.value)
    assert str(file) in str(error.value)


def test_a_limit_that_the_tables_do_not_know_is_refused() -> None:
    with pytest.raises(InputError, match="trace trace: power_w is limited, but the rows of net have no energies"):
        simulate([table(row(energy=None))], trace(limits={"power_w": 1.0}))
