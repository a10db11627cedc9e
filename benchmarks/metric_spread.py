"""How far energy and latency part ways with MACs: random plans that all use up the same budget of MACs, on several chips.

    python -m benchmarks.metric_spread [--network resnet20] [--size 28] [--share 0.5] [--chips eyeriss,tpu_like,simba]
                                       [--plans 300] [--streams]

At mid, without training. A row gives the smallest, the mean and the largest share of the unpruned network's energy, latency and
bytes to and from DRAM; mappings minimise the metric that the column is of, energy for the last. `predicted` is the part of the
variance of the energy over plans of all sizes (MACs from 0.2 to 0.8) that a straight line over their MACs explains.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np

from hwflow.arrays import Floats
from hwflow.compression.budget import Budget
from hwflow.compression.channels.discovery import find_groups
from hwflow.compression.channels.groups import Grouping, Widths
from hwflow.compression.channels.plan_tables import PlanTables
from hwflow.compression.level_costs import LevelCosts
from hwflow.compression.plan_costs import PlanTotals
from hwflow.compression.search.plan_space import PlanSpace
from hwflow.compression.search.projection import project
from hwflow.compression.settings import Settings
from hwflow.hardware.accelerator import Accelerator
from hwflow.network.load import load_module

LINE = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)  # shares of MACs of the plans that the straight line is fitted to


def main() -> None:
    """Print a row for each chip."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="resnet20")
    parser.add_argument("--size", type=int, default=28, help="of the images, in pixels")
    parser.add_argument("--share", type=float, default=0.5, help="of the MACs")
    parser.add_argument("--chips", default="eyeriss,tpu_like,simba")
    parser.add_argument("--plans", type=int, default=300)
    parser.add_argument("--streams", action="store_true")
    asked = parser.parse_args()
    module = load_module(asked.network, num_classes=10, in_channels=1)
    shape = (1, 1, asked.size, asked.size)
    grouping = find_groups(module, shape, streams=asked.streams, round_to=4, name=asked.network)
    print("| chip | MACs | energy: least, mean, most | latency: least, mean, most | DRAM: least, mean, most | predicted |")
    print("|---|---|---|---|---|---|")
    for chip in asked.chips.split(","):
        energy, latency = (costs_of(grouping, chip, metric) for metric in ("energy", "latency"))
        plans = drawn(energy, asked.share, asked.plans)
        columns = [
            shares(costs, plans, name) for costs, name in ((energy, "energy"), (latency, "latency"), (energy, "dram_bytes"))
        ]
        cells = [f"{column.min():.3f}, {column.mean():.3f}, {column.max():.3f}" for column in columns]
        every = [plan for share in LINE for plan in drawn(energy, share, asked.plans // len(LINE))]
        predicted = np.corrcoef(shares(energy, every, "macs"), shares(energy, every, "energy"))[0, 1] ** 2
        macs = shares(energy, plans, "macs")
        print(f"| {chip} | {macs.min():.3f} to {macs.max():.3f} | {' | '.join(cells)} | {predicted:.3f} |", flush=True)


def costs_of(grouping: Grouping, chip: str, metric: str) -> PlanTotals:
    """At mid, with mappings that minimise the metric."""
    settings = Settings(budgets=(Budget(metric, 0.5),), round_to=4)
    tables = PlanTables(grouping, LevelCosts(Accelerator.load(chip), settings, store=True, notify=print, progress=None))
    tables.fill("mid")
    return tables.at("mid")


def drawn(costs: PlanTotals, share: float, count: int) -> list[Widths]:
    """Random plans that use up a budget of MACs."""
    space, numbers = PlanSpace(costs, (Budget("macs", share),)), np.random.default_rng(0)
    return [project(space, list(numbers.uniform(0, 1, len(costs.groups)))) for _ in range(count)]


def shares(costs: PlanTotals, plans: Sequence[Widths], metric: str) -> Floats:
    """Of the unpruned network's metric, [plan]."""
    whole = costs.metric(costs.totals(costs.full), metric)
    return np.asarray(costs.metric(costs.totals_of(plans), metric) / whole)


if __name__ == "__main__":
    main()
