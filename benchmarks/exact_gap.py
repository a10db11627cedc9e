"""How far the exact planner's plans can be from the best ones, and how long it takes: networks of the zoo.

    python -m benchmarks.exact_gap [--networks resnet20,...] [--accelerator eyeriss] [--level mid] [--widths 16] [--streams]
                                   [--jobs 1]

Weights are untrained, since the gap is one of the optimisation: losses are the importance that is removed, by LAMP. The gap is
over the widths that are considered, evenly spaced where a group has more than `--widths`; the plan is then refined among its
neighbours. The first call costs rows that the store does not have yet; the second shows the solver's time.
"""

from __future__ import annotations

import argparse
import time

import torch

from hwflow.compression.budget import parse_budgets
from hwflow.compression.channels.criteria import scores
from hwflow.compression.channels.discovery import find_groups
from hwflow.compression.channels.plan_tables import PlanTables
from hwflow.compression.level_costs import LevelCosts
from hwflow.compression.search.environment import PruningEnv
from hwflow.compression.search.planner import MOST, Planner
from hwflow.compression.search.refinement import shares_of
from hwflow.compression.search.sensitivity import importance_losses
from hwflow.compression.settings import Settings
from hwflow.hardware.accelerator import Accelerator
from hwflow.network import model_zoo

NETWORKS = "resnet20,resnet56,resnet18,mobilenet_v1,mobilenet_v2,alexnet,vgg16,resnet50,deeplabv3_resnet50"
BUDGETS = ("energy=0.5", "energy=0.5,latency=0.5", "energy=0.5,latency=0.5,params=0.4")


def main() -> None:
    """Print a row for each network and budget."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default=NETWORKS)
    parser.add_argument("--accelerator", default="eyeriss")
    parser.add_argument("--level", default="mid")
    parser.add_argument("--widths", type=int, default=MOST)
    parser.add_argument("--streams", action="store_true")
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    print("| network | groups | budget | gap | over | shares | first call (s) | again (s) |")
    print("|---|---|---|---|---|---|---|---|")
    for network in options.networks.split(","):
        rows(network, options)


def rows(network: str, options: argparse.Namespace) -> None:
    """The budgets of one network."""
    torch.manual_seed(0)
    module, entry = model_zoo.load_model(network), model_zoo.ZOO[network]
    round_to = 4 if max(entry.input_shape[2:]) <= 32 else 8
    grouping = find_groups(module, entry.input_shape, streams=options.streams, round_to=round_to, name=network)
    importance = scores(module, grouping, "lamp")
    losses = importance_losses(grouping.groups, importance)
    for text in BUDGETS:
        budgets = parse_budgets(text, "energy")
        settings = Settings(levels=(options.level,), budgets=budgets, objective="edp", jobs=options.jobs)
        chip = Accelerator.load(options.accelerator)
        costs = PlanTables(grouping, LevelCosts(chip, settings, store=True, notify=print, progress=None)).at(options.level)
        start = time.perf_counter()
        env = PruningEnv(costs, lambda _: 0.0, budgets)
        found = Planner(env, most=options.widths).plan(losses)
        first = time.perf_counter() - start
        again = Planner(env, most=options.widths).plan(losses)
        shares = shares_of(costs, found.choice)
        kept = ", ".join(f"{b.metric} {shares[b.metric]:.4f}" for b in budgets)
        over = "all widths" if found.every_width else f"{found.candidates} widths a group"
        print(
            f"| {network} | {len(grouping.groups)} | {text} | {100 * found.gap:.2f} % | {over} | {kept} | {first:.1f} | "
            f"{again.seconds:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
