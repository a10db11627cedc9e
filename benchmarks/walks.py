"""How long a walk takes, whether it uses the budgets up, and what it keeps by position: random plans of a network on a chip.

    python -m benchmarks.walks [--network resnet56] [--input 1x1x28x28] [--chip eyeriss] [--level mid]
                               [--budget energy=0.5,latency=0.5] [--round-to 4] [--streams] [--walks 200]

Times are of this process's processor. The costs of all widths are computed first, which is timed apart.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from hwflow.compression.budget import parse_budgets
from hwflow.compression.channels.discovery import find_groups
from hwflow.compression.channels.plan_tables import PlanTables
from hwflow.compression.level_costs import LevelCosts
from hwflow.compression.search.ddpg import Hyperparameters
from hwflow.compression.search.environment import PruningEnv
from hwflow.compression.search.registry import SEARCHERS
from hwflow.compression.settings import Settings
from hwflow.hardware.accelerator import Accelerator
from hwflow.network.load import load_module


def main() -> None:
    """Print the times, the largest share of a budget that plans use, and the mean share kept of each group."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="resnet56")
    parser.add_argument("--input", default="1x1x28x28")
    parser.add_argument("--chip", default="eyeriss")
    parser.add_argument("--level", default="mid")
    parser.add_argument("--budget", default="energy=0.5,latency=0.5")
    parser.add_argument("--round-to", type=int, default=4)
    parser.add_argument("--streams", action="store_true")
    parser.add_argument("--walks", type=int, default=200)
    asked = parser.parse_args()
    shape = tuple(map(int, asked.input.split("x")))
    budgets = parse_budgets(asked.budget, "energy")
    module = load_module(asked.network, num_classes=10, in_channels=shape[1])
    grouping = find_groups(module, shape, streams=asked.streams, round_to=asked.round_to, name=asked.network)
    settings = Settings(levels=(asked.level,), budgets=budgets, round_to=asked.round_to, streams=asked.streams)
    costs = LevelCosts(Accelerator.load(asked.chip), settings, store=True, notify=print, progress=None)
    tables = PlanTables(grouping, costs)
    start = time.process_time()
    tables.fill(asked.level)
    print(f"shapes costed in {time.process_time() - start:.1f} s")
    start = time.process_time()
    env = PruningEnv(tables.at(asked.level), lambda plan: 0.5, budgets)
    print(f"environment of {len(env.costs.groups)} groups made in {1e3 * (time.process_time() - start):.1f} ms")
    searcher = SEARCHERS["random"](env, Hyperparameters(), 0)
    shares, seconds, used = [], [], []
    for _ in range(asked.walks):
        start = time.process_time()
        plan = searcher.ask(env)
        seconds.append(time.process_time() - start)
        searcher.tell(plan, 0.5, 0.5)
        shares.append(env.shares(plan))
        used.append((env.space.values([tuple(plan.values())])[0] / env.space.limits).max())
    print(f"a walk: {1e3 * np.median(seconds):.1f} ms in the median, {1e3 * max(seconds):.1f} ms at most")
    print(f"of the tightest budget, plans use {min(used):.4f} at least and {np.mean(used):.4f} in the mean")
    print("mean share kept of each group:", ", ".join(f"{share:.2f}" for share in np.mean(shares, axis=0)))


if __name__ == "__main__":
    main()
