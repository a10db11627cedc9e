"""`run_live`: frames through a network on this machine, whose level a manager chooses by what frames really take.

After the controller of Dynamic-OFA (Lou et al., CVPRW 2021, arXiv:2105.03596), which looks at the last 20 latencies. Ours: how
many times slower the last frames were than the table says, by the median, divides the limit that the manager is told; it
chooses, with its hysteresis, as it does on a device. What it was told is a trace that `hwflow manage --measured` plays again.
"""

from __future__ import annotations

import contextlib
import itertools
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from hwflow.dynamic.kept_networks import networks_in
from hwflow.dynamic.level_table import MEASURED, LevelTable, read_table, units_of
from hwflow.dynamic.manager import Manager
from hwflow.dynamic.measurement import unit_name
from hwflow.dynamic.placement import Limits
from hwflow.errors import InputError, check_whole, is_number, not_found
from hwflow.training.score import first_output
from hwflow.training.threads import limited

WINDOW = 20
"""Frames whose latencies tell how slow the machine is."""
_STEP = 0.05  # changes of the slowdown below this share are not told: limits would change in every frame
_BUSY = "while True: pass"


@dataclass(frozen=True)
class Frame:
    """One frame.

    Attributes:
        level: that ran.
        latency_s: what it took.
        limit_s: what the manager was told, the limit divided by how slow the machine was.
        right: whether the class was found.
    """

    level: int
    latency_s: float
    limit_s: float
    right: bool


@dataclass(frozen=True)
class Phase:
    """Frames from one change of the rival load to the next.

    Attributes:
        start: the first frame.
        rivals: processes that compute beside.
        levels: how many frames each level ran, the most frequent first.
        late: frames over the limit.
    """

    start: int
    frames: int
    rivals: int
    levels: Mapping[int, int]
    median_s: float
    late: int
    accuracy: float


@dataclass(frozen=True)
class LiveRun:
    """What happened.

    Attributes:
        limit_s: on the latency of every frame.
        unit: of the table's rows.
        others: units of the table that did not run.
        hold, margin: of the manager.
    """

    network: str
    unit: str
    limit_s: float
    frames: tuple[Frame, ...]
    phases: tuple[Phase, ...]
    others: tuple[str, ...]
    hold: int
    margin: float

    def trace(self) -> dict[str, Any]:
        """What the manager was told, as a trace for `hwflow manage --measured`; the table's other units are off line in it."""
        events: list[dict[str, Any]] = []
        if self.others:
            events.append({"frame": 0, "offline": list(self.others)})
        told = self.frames[0].limit_s
        starts = {phase.start: phase.rivals for phase in self.phases[1:]}
        for number, frame in enumerate(self.frames):
            note = {"note": _processes(starts[number])} if number in starts else {}
            if frame.limit_s != told or note:
                events.append({"frame": number, "limits": {"latency_s": frame.limit_s}, **note})
                told = frame.limit_s
        return {
            "name": f"live {self.network}",
            "frames": len(self.frames),
            "hold": self.hold,
            "margin": self.margin,
            "limits": {"latency_s": self.frames[0].limit_s},
            "events": events,
        }


def run_live(
    networks: Mapping[int, nn.Module],
    table: LevelTable,
    samples: Sequence[tuple[Tensor, int]],
    limit_s: float,
    *,
    threads: int = 1,
    frames: int = 600,
    rival: tuple[int, int] | None = None,
    rivals: int = 2,
    hold: int = 10,
    margin: float = 0.05,
    clock: Callable[[], float] = time.perf_counter,
) -> LiveRun:
    """Run frames one after the other, each by the level that a manager chooses.

    Args:
        networks: by level.
        table: of measured rows, from `hwflow levels` or `library` with `--measure`; those of this number of threads count.
        samples: images (1, C, H, W) and their classes, which are taken in turns.
        limit_s: that every frame should keep.
        rival: from which frame on, and up to which, `rivals` other processes compute.
        hold, margin: of the manager.
        clock: in seconds.

    Raises:
        InputError: for arguments that cannot be used, or a table without rows for this number of threads.
    """
    if not is_number(limit_s) or not 0 < limit_s < float("inf"):
        raise InputError(f"the limit is {limit_s!r} s; it must be a number above 0.")
    check_whole("frames", frames, 10**7)
    check_whole("rival processes", rivals, 256)
    start, stop = rival or (frames, frames)
    if rival is not None and not 0 <= start < stop <= frames:
        raise InputError(
            f"the rival load is from frame {start} to {stop}; give two frames, the later one last, up to {frames}."
        )
    before = f"cpu, {threads} {'thread' if threads == 1 else 'threads'}"  # as tables of the first days have it
    known = units_of(table.rows)
    unit = before if before in known else unit_name(threads)
    rows = tuple(row for row in table.rows if row.unit == unit)
    if not rows:
        raise not_found("unit of the measured table", unit, known, "Measure with --measure.")
    if missing := {row.level for row in rows} - set(networks):
        raise InputError(f"the table has level {min(missing)}, but there is no such network; give all of them.")
    manager = Manager([LevelTable(table.network, table.kind, rows, table.about)], hold=hold, margin=margin)
    expected = {row.level: row.latency_s for row in rows}
    slow: deque[float] = deque(maxlen=WINDOW)
    told, limits = 1.0, Limits(limit_s)
    found: list[Frame] = []
    with limited(threads), torch.inference_mode(), contextlib.ExitStack() as load:
        for network in networks.values():
            network.eval()(samples[0][0])
        for number in range(frames):
            if number == start:
                load.enter_context(_computing(rivals))
            if number == stop:
                load.close()
            row = manager.decide(limits).rows[table.network]
            assert row is not None
            image, label = samples[number % len(samples)]
            begun = clock()
            logits = first_output(networks[row.level](image))
            taken = clock() - begun
            right = int(logits.argmax()) == label
            found.append(Frame(row.level, taken, limits.latency_s, right))  # type: ignore[arg-type]
            slow.append(taken / expected[row.level])
            now = max(1.0, median(slow))
            if len(slow) == WINDOW and abs(now / told - 1) > _STEP:
                told, limits = now, Limits(limit_s / now)
    bounds = sorted({0, min(start, frames), min(stop, frames), frames})
    phases = tuple(_phase(found[a:b], a, rivals if start <= a < stop else 0, limit_s) for a, b in itertools.pairwise(bounds))
    others = tuple(name for name in known if name != unit)
    return LiveRun(table.network, unit, float(limit_s), tuple(found), phases, others, hold, margin)


def networks_of(
    folder: str | Path, model: nn.Module | None = None, *, allow_import: Sequence[str] = ()
) -> tuple[dict[int, nn.Module], LevelTable]:
    """The networks of a folder of levels or a library, by level, and its measured rows.

    Raises:
        InputError: as `load_levels` and `load_library`, and where nothing was measured.
    """
    table = read_table(Path(folder) / MEASURED)
    return networks_in(folder, model, allow_import=allow_import), table


def _phase(frames: Sequence[Frame], start: int, rivals: int, limit_s: float) -> Phase:
    levels = Counter(frame.level for frame in frames)
    return Phase(
        start=start,
        frames=len(frames),
        rivals=rivals,
        levels=dict(levels.most_common()),
        median_s=median(frame.latency_s for frame in frames),
        late=sum(frame.latency_s > limit_s for frame in frames),
        accuracy=sum(frame.right for frame in frames) / len(frames),
    )


def _processes(count: int) -> str:
    return f"{count} rival {'process' if count == 1 else 'processes'}"


@contextlib.contextmanager
def _computing(count: int) -> Iterator[None]:
    """Other processes that do nothing but compute."""
    running = [subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
        for process in running:
            process.wait()


__all__ = ["WINDOW", "Frame", "LiveRun", "Phase", "networks_of", "run_live"]
