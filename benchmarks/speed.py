"""What changes of the code brought in speed: commits in turns, in one run.

    python -m benchmarks.speed COMMIT [COMMIT ...] [--rounds 5] [--network resnet18] [--accelerator eyeriss] [--record FILE]

Every commit, and the working tree after them, is measured by this file in processes of its own, one after the other, `--rounds`
times. Counted is processor time, and of several rounds the least; absolute figures depend on the machine and on what else it
does, so the result is the ratio to the first commit. Two things are measured:

- mappings analysed a second in batches of 32,768, without links: mappings drawn at random, and one mapping many times;
- milliseconds for a new shape in a warm process, the median over the network's shapes, with perfect and with ragged factors.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve()
BATCH = 32768
REPEATS = 3  # of the analysis, in each process
RATES, TIMES = ("drawn", "one"), ("perfect", "ragged")
HEADERS = ("mappings a second, drawn", "times", "one mapping", "times", "new shape, perfect", "share", "ragged", "share")


def drawn(nest: Any, rules: Sequence[Any], count: int, seed: int = 0) -> Any:
    """Mappings with perfect factors: each prime factor of a dimension at random in a loop that the dataflow allows."""
    from hwflow.layers import DIMS
    from hwflow.loopnest.nest import Batch
    from hwflow.mapper.tile_lattice import powers

    random = np.random.default_rng(seed)
    levels, rules = len(nest.levels), list(reversed(rules))
    temporal = np.ones((levels, len(DIMS), count), dtype=np.int64)
    spatial = np.ones_like(temporal)
    for d, dim in enumerate(DIMS):
        places = [(temporal, k) for k in range(levels) if nest.levels[k].memory is not None and dim in rules[k].temporal]
        places += [(spatial, k) for k in range(levels) if nest.levels[k].fanout > 1 and dim in rules[k].spatial]
        for prime in (base for base, exponent in powers(int(nest.sizes[d])) for _ in range(exponent)):
            chosen = random.integers(len(places), size=count)
            for i, (bounds, k) in enumerate(places):
                mine = chosen == i
                wide = mine & (spatial[k].prod(axis=0) * prime > nest.levels[k].fanout) if bounds is spatial else mine & False
                bounds[k, d, mine & ~wide] *= prime
                temporal[-1, d, wide] *= prime  # outside all fan-outs
    order = np.argsort(random.random(temporal.shape) + (temporal == 1), axis=1)  # bounds of 1 last, as in searches
    across = tuple(tuple(DIMS.index(d) for d in rule.spatial) if rule.level.fanout > 1 else () for rule in rules)
    return Batch(temporal, spatial, order.astype(np.int8), across)


def measure(network: str, accelerator: str) -> dict[str, Any]:
    """Seconds of one process: of a batch's analysis, and of each shape."""
    import hwflow
    from hwflow.cost import mid
    from hwflow.hardware.accelerator import Accelerator
    from hwflow.hardware.dataflow import constrain
    from hwflow.hardware.energy_table import recorded
    from hwflow.loopnest.nest import Nest

    chip = Accelerator.load(accelerator)
    table, rules = recorded(chip), constrain(chip)
    if table is None:
        sys.exit(f"{chip.name} has no recorded energies; measure a preset.")
    layers = list({layer.key: layer for layer in hwflow.zoo(network)}.values())
    mid.map_layer(layers[0], chip, rules, table)  # what is loaded once
    gc.disable()
    found: dict[str, Any] = {name: [] for name in TIMES}
    for name in TIMES:
        for layer in layers:
            start = time.process_time()
            mid.map_layer(layer, chip, rules, table, ragged=name == "ragged")
            found[name].append(time.process_time() - start)
    layer = layers[len(layers) // 2]
    nest, best = Nest(layer, chip, table), mid.map_layer(layer, chip, rules, table, ragged=False)
    batches = {
        "drawn": drawn(nest, rules, BATCH),
        "one": nest.batch_of(best.mapping).take(np.zeros(BATCH, dtype=np.intp)),
    }
    for name, batch in batches.items():
        seconds = []
        for _ in range(REPEATS):
            start = time.process_time()
            nest.evaluate(batch, with_links=False)
            seconds.append(time.process_time() - start)
        found[name] = min(seconds)
    return found


def least(runs: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Mappings a second and milliseconds a shape, from the least of all runs."""
    rates = {name: BATCH / min(run[name] for run in runs) for name in RATES}
    shapes = {name: [min(seconds) for seconds in zip(*(run[name] for run in runs), strict=True)] for name in TIMES}
    return rates | {name: 1e3 * statistics.median(seconds) for name, seconds in shapes.items()}


def rows(figures: dict[str, dict[str, float]]) -> list[str]:
    """A Markdown table, each row with its ratios to the first one."""
    first = next(iter(figures.values()))
    lines = [f"| commit | {' | '.join(HEADERS)} |", "|---" * (len(HEADERS) + 1) + "|"]
    for name, own in figures.items():
        rates = [f"{own[key]:,.0f} | {own[key] / first[key]:.2f}" for key in RATES]
        times = [f"{own[key]:.1f} ms | {own[key] / first[key]:.2f}" for key in TIMES]
        lines.append(f"| {name} | {' | '.join(rates + times)} |")
    return lines


def main() -> None:
    """Print a row for each commit and one for the working tree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commits", nargs="*")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--network", default="resnet18")
    parser.add_argument("--accelerator", default="eyeriss")
    parser.add_argument("--record", type=Path, help="a file to which the figures are added, a line of JSON")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.network, options.accelerator)))
        return
    with tempfile.TemporaryDirectory() as folder:
        trees = {}
        for commit in options.commits:
            trees[commit] = Path(folder, commit)
            trees[commit].mkdir()
            packed = subprocess.run(["git", "archive", commit], cwd=HERE.parents[1], check=True, stdout=subprocess.PIPE).stdout
            subprocess.run(["tar", "-x", "-C", trees[commit]], input=packed, check=True)
        trees["working tree"] = HERE.parents[1]
        command = [sys.executable, "-P", HERE, "--measure", "--network", options.network, "--accelerator", options.accelerator]
        runs: dict[str, list[dict[str, Any]]] = {name: [] for name in trees}
        for _ in range(options.rounds):
            for name, tree in trees.items():
                environment = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
                done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
                runs[name].append(json.loads(done.stdout))
    figures = {name: least(some) for name, some in runs.items()}
    print(*rows(figures), sep="\n")
    if options.record is not None:
        line = {
            "date": str(datetime.now(UTC).date()),
            "network": options.network,
            "accelerator": options.accelerator,
            "rounds": options.rounds,
            "figures": figures,
        }
        with options.record.open("a") as file:
            file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
