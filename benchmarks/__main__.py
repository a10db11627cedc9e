"""`make bench`: how fast the levels answer, each figure with what it is measured against, in one run.

    python -m benchmarks [--network resnet18] [--accelerator eyeriss]

Absolute times depend on the machine; the ratios are the result. Timeloop's part is left out where it is not on PATH.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import statistics
import sys
import time
from datetime import UTC, datetime

import numpy as np

import hwflow
from benchmarks import tables
from hwflow.accelerator import Accelerator
from hwflow.cost import mid
from hwflow.cost.nest import Nest
from hwflow.dataflow import constrain
from hwflow.energy import recorded
from hwflow.layers import Layer
from hwflow.network import Network


def distinct(network: Network) -> list[Layer]:
    """One layer of each shape."""
    return list({layer.key: layer for layer in network}.values())


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
    constraints, times = constrain(chip), []
    for layer in layers:
        start = time.perf_counter()
        mid.map_layer(layer, chip, constraints, table)
        times.append(time.perf_counter() - start)
    print(f"mid, search of a new layer: median {statistics.median(times) * 1e3:.0f} ms, longest {max(times) * 1e3:.0f} ms")

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
