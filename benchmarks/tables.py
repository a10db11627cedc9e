"""Part of `make bench`: how long a cost table takes to fill, and what an answer costs that is known already."""

from __future__ import annotations

import tempfile
import time
import timeit
from collections.abc import Callable, Iterator
from pathlib import Path

import hwflow
from hwflow.hardware.accelerator import Accelerator
from hwflow.network import Network


def figures(network: Network, chip: Accelerator, jobs: int = 2) -> Iterator[str]:
    """Sentences with figures, from an empty store on."""
    with tempfile.TemporaryDirectory() as folder:
        store = hwflow.Store(Path(folder) / "store.sqlite")
        table, seconds = _timed(lambda: hwflow.cost_table(network, chip, jobs=jobs, store=store))
        yield (
            f"table of {network.name} on {chip.name}, widths in steps of 8, {jobs} processes: {seconds:.1f} s for {len(table)} "
            f"shapes, {seconds / len(table) * 1e3:.0f} ms a shape"
        )
        _, seconds = _timed(lambda: hwflow.cost_table(network, chip, store=store))
        yield f"the same table again in the same process: {seconds * 1e3:.0f} ms"
        layer = network.layers[len(network) // 2]
        narrow = layer.with_(C=8)
        by_layer = _each(lambda: table[narrow], 10_000)
        by_name = _each(lambda: table.cost(layer.name, C=8), 10_000)
        yield f"known shape: {by_layer * 1e6:.1f} us by layer, {by_name * 1e6:.1f} us by name"
        estimate = _each(lambda: hwflow.estimate(network, chip, store=store), 30)
        yield f"known network: {estimate * 1e3:.2f} ms for {len(network)} rows, {estimate / len(network) * 1e6:.0f} us a row"
        mapping = _each(lambda: hwflow.map_layer(layer, chip, store=store), 100)
        yield f"known mapping: {mapping * 1e6:.0f} us"
        store.close()


def _timed(call: Callable[[], hwflow.CostTable]) -> tuple[hwflow.CostTable, float]:
    start = time.perf_counter()
    return call(), time.perf_counter() - start


def _each(call: Callable[[], object], number: int) -> float:
    """Seconds of one call: the best of five times `number`, in processor time."""
    return min(timeit.repeat(call, number=number, repeat=5, timer=time.process_time)) / number
