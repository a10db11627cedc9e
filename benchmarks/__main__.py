"""`make bench`: how fast the levels answer, each figure with what it is measured against, in one run.

    python -m benchmarks [--network resnet18] [--accelerator eyeriss]

Absolute times depend on the machine; the ratios are the result. Timeloop's part is left out where it is not on PATH.
"""

from __future__ import annotations

import argparse
import gc
import platform
import shutil
import statistics
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

import numpy as np

import hwflow
from benchmarks import tables
from hwflow.cost import mid
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.dataflow import constrain
from hwflow.hardware.energy_table import EnergyTable, recorded
from hwflow.layers import Layer
from hwflow.loopnest.nest import Nest

SHAPES = ("resnet18", "resnet20", "resnet50", "resnet56", "mobilenet_v2")


def distinct(layers: Iterable[Layer]) -> list[Layer]:
    """One layer of each shape."""
    return list({layer.key: layer for layer in layers}.values())


def searches(layers: Sequence[Layer], chip: Accelerator, table: EnergyTable) -> Iterator[str]:
    """How long new shapes take in a warm process, in processor time and, as `timeit` does it, without garbage collection; where
    ragged tiles gain something, how much."""
    constraints = constrain(chip)
    mid.map_layer(layers[0], chip, constraints, table)  # what is loaded once
    gc.disable()
    found: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    for ragged, results in found.items():
        for layer in layers:
            start = time.process_time()
            cost = mid.map_layer(layer, chip, constraints, table, ragged=ragged).cost
            seconds = time.process_time() - start
            assert cost.energy is not None
            assert cost.cycles is not None
            results.append((seconds, cost.energy * cost.cycles))
        ms = sorted(1e3 * seconds for seconds, _ in results)
        yield (
            f"mid, new shapes of {', '.join(SHAPES)}, {'ragged tiles too' if ragged else 'perfect factors'}: {len(ms)}, median "
            f"{statistics.median(ms):.1f} ms, mean {statistics.mean(ms):.1f} ms, {sum(m < 20 for m in ms)} below 20 ms, "
            f"longest {ms[-1]:.0f} ms"
        )
    gc.enable()
    shares = [new / old for (_, old), (_, new) in zip(found[False], found[True], strict=True)]
    gained = [share for share in shares if share < 0.999]
    if gained:
        mean = statistics.geometric_mean(gained)
        yield f"ragged tiles lower the EDP of {len(gained)} of them, in the mean to {mean:.3f} of it"


def analysis_rate(layer: Layer, accelerator: Accelerator, count: int = 20000) -> float:
    """Mappings that the loop-nest analysis judges in a second, in one process."""
    table = recorded(accelerator)
    assert table is not None
    nest = Nest(layer, accelerator, table)
    found = mid.map_layer(layer, accelerator, constrain(accelerator), table)
    batch = nest.batch_of(found.mapping).take(np.zeros(count, dtype=np.intp))
    start = time.perf_counter()
    nest.evaluate(batch, with_links=False)
    return count / (time.perf_counter() - start)


def timeloop_rate(layer: Layer, accelerator: Accelerator, count: int = 400) -> float:
    """Valid mappings that timeloop-mapper judges in a second on one thread, random_pruned, start-up left out."""
    from hwflow.cost import fine
    from hwflow.timeloop.engine import find_engine
    from hwflow.timeloop.render import SearchSettings

    table = recorded(accelerator)
    assert table is not None
    engine, seconds = find_engine("native"), []
    for size in (10, count):
        settings = SearchSettings(threads=1, search_size=size, victory_condition=10**6, timeout=10**6)
        start = time.perf_counter()
        fine.search(layer, accelerator, constrain(accelerator), table, settings=settings, engine=engine)
        seconds.append(time.perf_counter() - start)
    return (count - 10) / (seconds[1] - seconds[0])


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="resnet18")
    parser.add_argument("--accelerator", default="eyeriss")
    options = parser.parse_args()
    network, chip = hwflow.zoo(options.network), Accelerator.load(options.accelerator)
    layers = distinct(network)
    today = datetime.now(UTC).date()
    print(
        f"{today}, {platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}, "
        f"hwflow {hwflow.__version__}"
    )
    print(f"{network.name} on {chip.name}: {len(layers)} distinct layers")

    table = recorded(chip)
    if table is None:
        sys.exit(f"{chip.name} has no recorded energies; benchmark a preset.")
    for line in searches(distinct(sum((hwflow.zoo(name).layers for name in SHAPES), ())), chip, table):
        print(line)

    for line in tables.figures(hwflow.zoo("resnet56"), chip):
        print(line)

    ours = analysis_rate(layers[len(layers) // 2], chip)
    print(f"mid, loop-nest analysis: {ours:,.0f} mappings a second, one process")
    if shutil.which("timeloop-mapper") is None:
        print("timeloop-mapper is not on PATH: not compared")
        return
    theirs = timeloop_rate(layers[len(layers) // 2], chip)
    print(f"timeloop-mapper, random_pruned, one thread: {theirs:,.0f} valid mappings a second; ratio {ours / theirs:,.0f}")


if __name__ == "__main__":
    main()
