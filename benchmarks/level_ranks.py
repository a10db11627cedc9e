"""How plans move between the levels, and what is lost by stopping early: random plans of a network on one chip.

    python -m benchmarks.level_ranks [--network resnet20] [--size 14] [--chip simba] [--metric energy] [--share 0.5]
                                     [--plans 12] [--seed 0]

Two questions, without any training. *Ranks*: plans that all use up the same share of the MACs are ranked by their cost at each
level, and the plan that a level holds for the cheapest is costed at the last one. *Budgets*: plans that use up a budget at one
level are costed at the last one, where a share above the budget means that it is exceeded. Mappings minimise the metric. Fine
needs Timeloop on PATH. Seconds are wall-clock time for the shapes that a level's plans needed and the store did not have.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import numpy as np
from scipy.stats import kendalltau

from benchmarks.metric_spread import shares
from hwflow.arrays import Floats
from hwflow.compression.budget import Budget
from hwflow.compression.channels.discovery import find_groups
from hwflow.compression.channels.groups import Widths
from hwflow.compression.channels.plan_tables import PlanTables
from hwflow.compression.level_costs import LevelCosts
from hwflow.compression.plan_costs import PlanTotals
from hwflow.compression.search.plan_space import PlanSpace
from hwflow.compression.search.projection import project
from hwflow.compression.settings import Settings
from hwflow.hardware.accelerator import Accelerator
from hwflow.network.load import load_module
from hwflow.ranking import spearman
from hwflow.results import LevelName

LEVELS: tuple[LevelName, ...] = ("coarse", "mid", "fine")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="resnet20")
    parser.add_argument("--size", type=int, default=14, help="of the images, in pixels")
    parser.add_argument("--chip", default="simba")
    parser.add_argument("--metric", default="energy", choices=("energy", "latency", "edp"))
    parser.add_argument("--share", type=float, default=0.5, help="of the MACs, and of the budget")
    parser.add_argument("--plans", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--levels", default=",".join(LEVELS))
    asked = parser.parse_args()
    levels: list[LevelName] = asked.levels.split(",")
    module = load_module(asked.network, num_classes=10, in_channels=1)
    grouping = find_groups(module, (1, 1, asked.size, asked.size), streams=False, round_to=4, name=asked.network)
    settings = Settings(levels=tuple(levels), budgets=(Budget(asked.metric, asked.share),), round_to=4)
    tables = PlanTables(grouping, LevelCosts(Accelerator.load(asked.chip), settings, store=True, notify=print, progress=None))
    costs = {level: tables.at(level) for level in levels if level != "coarse" or asked.metric == "energy"}
    seconds = dict.fromkeys(costs, 0.0)

    def told(level: LevelName, plans: Sequence[Widths]) -> Floats:
        start = time.perf_counter()
        found = shares(costs[level], plans, asked.metric)
        seconds[level] += time.perf_counter() - start
        return found

    def drawn(level: LevelName, budget: Budget) -> list[Widths]:
        start, numbers = time.perf_counter(), np.random.default_rng(asked.seed)
        space = PlanSpace(costs[level], (budget,))
        plans = [project(space, list(numbers.uniform(0, 1, len(grouping.groups)))) for _ in range(asked.plans)]
        seconds[level] += time.perf_counter() - start
        return plans

    first, last = next(iter(costs)), levels[-1]
    equal = drawn(first, Budget("macs", asked.share))
    truth = told(last, equal)
    print(f"\n{asked.plans} plans with {asked.share:g} of the MACs of {asked.network} on {asked.chip}, by {asked.metric}\n")
    print(f"| level | least, most | Kendall to {last} | Spearman | its cheapest at {last} | lost |\n|---|---|---|---|---|---|")
    for level in costs:
        found = told(level, equal)
        picked = float(truth[int(np.argmin(found))])
        pairs = float(kendalltau(found, truth).statistic), spearman(found.tolist(), truth.tolist())
        ranks = " | ".join("-" if one is None else f"{one:.2f}" for one in pairs)
        lost = f"{100 * (picked / float(truth.min()) - 1):.1f} %"
        print(f"| {level} | {found.min():.3f}, {found.max():.3f} | {ranks} | {picked:.3f} | {lost} |", flush=True)
    print(f"\nplans that use up {asked.metric}={asked.share:g} at a level\n")
    print(f"| level | there: mean | at {last}: least, mean, most | above the budget at {last} |\n|---|---|---|---|")
    for level in costs:
        plans = drawn(level, Budget(asked.metric, asked.share))
        there, found = told(level, plans).mean(), told(last, plans)
        above = f"{int((found > asked.share * (1 + 1e-9)).sum())} of {len(plans)}"
        print(f"| {level} | {there:.3f} | {found.min():.3f}, {found.mean():.3f}, {found.max():.3f} | {above} |", flush=True)
    whole: dict[LevelName, PlanTotals] = costs
    print("\nseconds: " + ", ".join(f"{level} {seconds[level]:.1f}" for level in whole))


if __name__ == "__main__":
    main()
