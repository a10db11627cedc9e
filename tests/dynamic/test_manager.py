"""The manager: hysteresis, events, state that survives a power loss, no imports, no growing memory."""

from __future__ import annotations

import gc
import json
import random
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import pytest

from hwflow.dynamic.level_table import LevelTable
from hwflow.dynamic.manager import Manager
from hwflow.dynamic.placement import Limits
from hwflow.errors import HwflowError, InputError
from tests.dynamic.rows import drawn, ladder, row, table


def levels(manager: Manager, limits: Sequence[Limits]) -> list[int]:
    chosen = [manager.decide(one).rows["net"] for one in limits]
    return [one.level if one is not None else 0 for one in chosen]


TIGHT, LOOSE = Limits(latency_s=0.6), Limits(latency_s=9)


def test_down_at_once_and_up_after_ten_frames() -> None:
    manager = Manager([ladder()])
    assert levels(manager, [LOOSE, TIGHT]) == [3, 1]
    assert levels(manager, [LOOSE] * 12) == [1] * 9 + [3] * 3
    first = Manager([ladder()])
    assert not first.decide(LOOSE).switched
    assert first.decide(TIGHT).switched
    assert not first.decide(TIGHT).switched


def test_up_needs_a_margin() -> None:
    """Level 2 at the fast clock takes 1 s."""
    manager = Manager([ladder()])
    levels(manager, [TIGHT])
    assert levels(manager, [Limits(latency_s=1.04)] * 20) == [1] * 20
    assert levels(manager, [Limits(latency_s=1.06)] * 10) == [1] * 9 + [2]


def test_what_is_chosen_has_kept_the_tightest_limits_of_the_wait() -> None:
    manager = Manager([ladder()])
    levels(manager, [TIGHT])
    assert levels(manager, [LOOSE] * 5 + [Limits(latency_s=1.1)] + [LOOSE] * 4)[-1] == 2  # 3 needs 1.5 s


def test_constant_limits_make_no_switch_and_a_square_wave_makes_one_at_most() -> None:
    manager = Manager([ladder()])
    assert not any(manager.decide(LOOSE).switched for _ in range(50))
    wave = ([TIGHT] * 4 + [LOOSE] * 4) * 20
    manager = Manager([ladder()])
    assert sum(manager.decide(one).switched for one in wave) == 0  # from the first frame on it keeps the tight one
    other = Manager([ladder()])
    other.decide(LOOSE)
    assert sum(other.decide(one).switched for one in wave) == 1
    wide = ([TIGHT] * 20 + [LOOSE] * 20) * 5
    assert sum(Manager([ladder()], hold=10).decide(one).switched for one in wide) <= 2 * 5
    eager = Manager([ladder()], hold=0, margin=0)
    assert sum(eager.decide(one).switched for one in wave) == 39


def test_equal_limits_in_new_objects_and_the_same_object_give_the_same() -> None:
    """Frames with the same object are answered from memory."""
    draw = random.Random(0)
    pool = [Limits(latency_s=draw.uniform(0.4, 4), power_w=draw.choice([None, draw.uniform(0.2, 3)])) for _ in range(6)]
    sequence = [draw.choice(pool) for _ in range(400) for _ in range(draw.choice([1, 1, 12]))]
    same, fresh = Manager([ladder()]), Manager([ladder()])
    assert [same.decide(one).rows for one in sequence] == [fresh.decide(one.scaled(1)).rows for one in sequence]


def test_units_fail_and_come_back() -> None:
    tables = [table(row(1, unit="fast", accuracy=0.9), row(1, unit="slow", accuracy=0.4, latency=3))]
    manager = Manager(tables)
    chosen = manager.decide(LOOSE).rows["net"]
    assert chosen is not None
    assert chosen.unit == "fast"
    manager.set_offline({"fast"})
    decision = manager.decide(LOOSE)
    assert decision.rows["net"] is not None
    assert (decision.rows["net"].unit, decision.switched, decision.keeps_limits) == ("slow", True, True)
    manager.set_offline({"fast", "slow"})
    none = manager.decide(LOOSE)
    assert (none.rows, none.keeps_limits) == ({"net": None}, False)
    manager.set_offline(())
    again = manager.decide(LOOSE)
    assert again.rows["net"] is not None
    assert again.rows["net"].unit == "fast"
    with pytest.raises(InputError, match=r"unknown unit 'fats'\. Did you mean 'fast'"):
        manager.set_offline({"fats"})


def test_less_bandwidth_makes_rows_slower() -> None:
    """Half of the large level's time is transfers, all of the small one's is computation."""
    manager = Manager([table(row(1, latency=1), row(2, accuracy=0.8, latency=2, stages=((1.0, 0.0), (1.0, 1.0))))])
    assert levels(manager, [Limits(latency_s=2.5)]) == [2]
    manager.set_dram_share(0.5)
    assert levels(manager, [Limits(latency_s=2.5)]) == [1]
    assert levels(manager, [Limits(latency_s=3.2)] * 10)[-1] == 2
    with pytest.raises(InputError, match="dram_share is 0; it must be a number above 0 and at most 1"):
        manager.set_dram_share(0)


def test_several_networks_on_several_units() -> None:
    manager = Manager(drawn(5, networks=3, units=3), weights={"net0": 2})
    decision = manager.decide(Limits())
    assert len({one.unit for one in decision.rows.values() if one is not None}) == 3
    manager.set_offline({"u0", "u1"})
    running = [name for name, one in manager.decide(Limits()).rows.items() if one is not None]
    assert running == ["net0"]


def test_its_memory_does_not_grow() -> None:
    """A day at a frame a second would be 86,400 decisions; every limit is new, and events come all the time."""
    manager, draw = Manager(drawn(1, networks=2, units=2, levels=2, clocks=2)), random.Random(0)

    def play(frames: int) -> None:
        for frame in range(frames):
            manager.decide(Limits(latency_s=draw.uniform(1, 5), power_w=draw.uniform(1, 5)))
            if frame % 100 == 0:
                manager.set_dram_share(draw.uniform(0.1, 1))
                manager.set_offline(draw.choice([(), ("u0",), ("u1",)]))

    def held() -> int:
        """Bytes that hwflow.dynamic holds; those that the test runner's own threads take meanwhile are not counted."""
        manager.set_offline(())
        manager.set_dram_share(1)
        gc.collect()  # which also empties Python's lists of free tuples
        snapshot = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, "*/hwflow/dynamic/*")])
        return sum(trace.size for trace in snapshot.traces)

    play(200)
    tracemalloc.start()
    try:
        play(300)
        before = held()
        play(900)
        after = held()
    finally:
        tracemalloc.stop()
    assert after - before < 4096


def test_nothing_but_the_standard_library_is_imported() -> None:
    program = (
        "import sys; before = set(sys.modules); from hwflow.dynamic import Limits, Manager, read_table; "
        "new = {m.split('.')[0] for m in set(sys.modules) - before}; print(' '.join(sorted(new - sys.stdlib_module_names)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["hwflow"]


# The state -----------------------------------------------------------------------------------------------------------


def test_a_state_goes_on_where_it_was(tmp_path: Path) -> None:
    draw = random.Random(3)
    limits = [Limits(latency_s=draw.uniform(0.6, 4)) for _ in range(60)]
    whole, first, second = (Manager([ladder()], hold=4) for _ in range(3))
    expected = levels(whole, limits)
    for cut in (1, 17, 33):
        first = Manager([ladder()], hold=4)
        levels(first, limits[:cut])
        first.save(tmp_path / "state.json")
        second.load(tmp_path / "state.json")
        assert levels(second, limits[cut:]) == expected[cut:]
    first.set_dram_share(0.5)
    first.set_offline(["u"])
    first.save(tmp_path / "state.json")
    second.load(tmp_path / "state.json")
    assert (second.dram_share, set(second.offline)) == (0.5, {"u"})


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda _: "{", "is damaged: it is no JSON"),
        (lambda s: json.dumps({**s, "format": 2}), "is damaged: it is not of format 1. Remove it to start anew."),
        (lambda s: json.dumps({**s, "rows": "x"}), "is of other tables than these, whose rows differ"),
        (lambda s: json.dumps({**s, "chosen": [["net", 9, "u", 1]]}), "which are no rows of the tables"),
        (lambda s: json.dumps({**s, "dram_share": 0}), "offline is [] and dram_share 0"),
        (lambda s: json.dumps({**s, "frames": -1}), "frames is -1"),
        (lambda s: json.dumps({**s, "window": {"power_w": -1}}), "the limit power_w is -1"),
        (lambda s: json.dumps({**s, "window": {"volts": 1}}), "is damaged"),
    ],
)
def test_a_damaged_state_is_refused_by_name(tmp_path: Path, change: object, text: str) -> None:
    manager, file = Manager([ladder()]), tmp_path / "state.json"
    manager.decide(TIGHT)
    manager.save(file)
    file.write_text(change(json.loads(file.read_text())))  # type: ignore[operator]
    other = Manager([ladder()])
    with pytest.raises(InputError) as error:
        other.load(file)
    assert text in str(error.value)
    assert str(file) in str(error.value)
    assert levels(other, [LOOSE]) == [3]
    with pytest.raises(InputError, match=r"the state .*missing cannot be read: No such file"):
        other.load(tmp_path / "missing")
    with pytest.raises(HwflowError, match=r"cannot write the state .*: .* What stood there before still does"):
        other.save(tmp_path / "no" / "folder" / "state.json")


def test_a_process_killed_while_writing_leaves_a_whole_state(tmp_path: Path) -> None:
    """kill -9 at some moment of a process that does nothing but write."""
    file = tmp_path / "state.json"
    program = (
        "import sys\nsys.path.insert(0, '.')\nfrom tests.dynamic.rows import ladder\n"
        "from hwflow.dynamic.manager import Manager\nfrom hwflow.dynamic.placement import Limits\n"
        "m = Manager([ladder()])\nwhile True:\n"
        "    for s in (0.6, 9.0):\n        m.decide(Limits(latency_s=s)); m.save(sys.argv[1])\n"
    )
    for moment in (0.0, 0.003, 0.011):
        with subprocess.Popen([sys.executable, "-c", program, str(file)]) as writer:
            for _ in range(2000):
                if file.exists():
                    break
                time.sleep(0.005)
            time.sleep(moment)
            writer.send_signal(signal.SIGKILL)
        Manager([ladder()]).load(file)
        assert {entry.name for entry in tmp_path.iterdir()} <= {"state.json", ".state.json.new"}


# What is refused -----------------------------------------------------------------------------------------------------


def test_what_cannot_be_managed_is_refused() -> None:
    with pytest.raises(InputError, match="the tables are of net, net; give one table for each network"):
        Manager([ladder(), ladder()])
    with pytest.raises(InputError, match="hold is -1; it must be a whole number of at least 0"):
        Manager([ladder()], hold=-1)
    with pytest.raises(InputError, match="margin is 1; it must be a number of at least 0 and below 1"):
        Manager([ladder()], margin=1)
    with pytest.raises(InputError, match=r"unknown network 'nett'\. Did you mean 'net'"):
        Manager([ladder()], weights={"nett": 1})
    with pytest.raises(InputError, match="the weight of net is 0; it must be a number above 0"):
        Manager([ladder()], weights={"net": 0})
    with pytest.raises(InputError, match=r"the limits are 3; they must be a hwflow\.dynamic\.Limits"):
        Manager([ladder()]).decide(3)  # type: ignore[arg-type]
    measured = LevelTable("net", "measured", (row(energy=None),))
    with pytest.raises(InputError, match="power_w is limited, but the rows of net have no energies; leave it out"):
        Manager([measured]).decide(Limits(power_w=1))
    assert Manager([measured]).decide(Limits(latency_s=2)).keeps_limits
    mixed = LevelTable("other", "measured", (row(energy=None, network="other"),))
    with pytest.raises(InputError, match="the manager has rows with energy_j and rows without"):
        Manager([ladder(), mixed])
    with pytest.raises(InputError, match="unknown network 'nte'"):
        Manager([ladder()]).decide(Limits(latency_s={"nte": 1}))
