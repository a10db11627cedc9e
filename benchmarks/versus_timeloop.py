"""How long hwflow and timeloop-mapper take to a mapping of a layer, and how good it is; needs Timeloop on PATH.

    python -m benchmarks.versus_timeloop [--network resnet18] [--accelerator eyeriss] [--layers 3] [--objective edp]

timeloop-mapper searches as in `tools.references`: random_pruned, two threads, victory condition 1000, timeout 10000. It
is asked first; hwflow's time is what it needs for a mapping as good: its search, repeated with twice the effort as long as the
mapping is worse. Ratios are of CPU seconds, which do not depend on what else the machine does; timeloop-mapper's are those of
both its threads, so on two idle cores it would be done in about half of them.
"""

from __future__ import annotations

import argparse
import math
import platform
import resource
import shutil
import statistics
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime

import hwflow
from hwflow.cost import fine, mid
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.dataflow import constrain
from hwflow.hardware.energy_table import EnergyTable, recorded
from hwflow.layers import Layer
from hwflow.results import LayerCost
from hwflow.timeloop.engine import find_engine
from hwflow.types import Objective
from tools.references import SETTINGS

EFFORTS = (1, 2, 4, 8, 16)


@dataclass(frozen=True)
class Search:
    """What a search ended with: the objective's value (pJ, cycles or their product), its CPU and wall-clock seconds."""

    value: float
    cpu_s: float
    wall_s: float


def timeloop(layer: Layer, chip: Accelerator, table: EnergyTable, objective: Objective) -> Search:
    """timeloop-mapper's search."""
    engine = find_engine("native")
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    cost = fine.search(layer, chip, constrain(chip), table, objective=objective, settings=SETTINGS, engine=engine)
    wall_s, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Search(_value(cost, objective), cpu_s, wall_s)


def as_good(layer: Layer, chip: Accelerator, table: EnergyTable, objective: Objective, value: float) -> Search:
    """hwflow's searches, all of them, until one is as good as `value`, or the last effort is spent."""
    start, cpu = time.perf_counter(), time.process_time()
    best = math.inf
    for effort in EFFORTS:
        found = mid.map_layer(layer, chip, constrain(chip), table, objective=objective, effort=effort)
        best = min(best, _value(found.cost, objective))
        if best <= value * (1 + 1e-6):  # Timeloop prints energies with few digits
            break
    return Search(best, time.process_time() - cpu, time.perf_counter() - start)


def _value(cost: LayerCost, objective: Objective) -> float:
    assert cost.energy is not None
    assert cost.cycles is not None
    return {"energy": cost.energy, "latency": float(cost.cycles), "edp": cost.energy * cost.cycles}[objective]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="resnet18")
    parser.add_argument("--accelerator", default="eyeriss")
    parser.add_argument("--layers", type=int, default=3, help="so many of the distinct layers, evenly spread; 0: all")
    parser.add_argument("--objective", choices=("edp", "energy", "latency"), default="edp")
    options = parser.parse_args()
    if shutil.which("timeloop-mapper") is None:
        print("timeloop-mapper: not compared, it is not on PATH. 'hwflow doctor' says how to get it.")
        return
    chip = Accelerator.load(options.accelerator)
    table = recorded(chip)
    if table is None:
        sys.exit(f"{chip.name} has no recorded energies; benchmark a preset.")
    distinct = list({layer.key: layer for layer in hwflow.zoo(options.network)}.values())
    wanted = options.layers or len(distinct)
    layers = distinct[:: max(1, len(distinct) // wanted)][:wanted]
    tool = find_engine("native").version("timeloop-mapper")[:12]
    print(
        f"{datetime.now(UTC).date()}, {platform.machine()}, hwflow {hwflow.__version__} against timeloop-mapper {tool} "
        f"({SETTINGS.algorithm}, {SETTINGS.threads} threads, victory condition {SETTINGS.victory_condition}); "
        f"{options.network} on {chip.name}, {options.objective}, {len(layers)} of {len(distinct)} distinct layers"
    )
    ratios: list[tuple[float, float, float]] = []
    for layer in layers:
        theirs = timeloop(layer, chip, table, options.objective)
        ours = as_good(layer, chip, table, options.objective, theirs.value)
        ratios.append((theirs.cpu_s / ours.cpu_s, theirs.wall_s / ours.wall_s, ours.value / theirs.value))
        print(
            f"{layer.name:24} CPU s: timeloop-mapper {theirs.cpu_s:6.1f}, hwflow {ours.cpu_s:5.2f}, ratio {ratios[-1][0]:.0f}; "
            f"wall-clock s {theirs.wall_s:6.1f}, {ours.wall_s:5.2f}, ratio {ratios[-1][1]:5.0f}; "
            f"{options.objective}, hwflow's to timeloop-mapper's: {ratios[-1][2]:.3f}",
            flush=True,
        )
    cpu, wall, value = (list(column) for column in zip(*ratios, strict=True))
    for title, times in (("CPU seconds", cpu), ("wall-clock seconds", wall)):
        print(
            f"time to a mapping as good, timeloop-mapper's to hwflow's, {title}: geometric mean "
            f"{statistics.geometric_mean(times):.0f}, least {min(times):.0f}, largest {max(times):.0f}"
        )
    print(
        f"{options.objective}, hwflow's to timeloop-mapper's: geometric mean {statistics.geometric_mean(value):.3f}, "
        f"least {min(value):.3f}, largest {max(value):.3f}; worse in {sum(v > 1 + 1e-6 for v in value)} of {len(value)} layers"
    )


if __name__ == "__main__":
    main()
