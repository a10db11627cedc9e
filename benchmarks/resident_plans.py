"""How plans for a budget of latency differ where tensors stay on the chip: ResNet-20 on eyeriss, Fashion-MNIST at 14 x 14.

    python -m benchmarks.resident_plans [--share 0.5] [--episodes 30] [--epochs 3]
    python -m benchmarks.resident_plans --planned

Each run prunes to a share of the unpruned network's latency under one rule, and its plan is costed under both. With --planned,
nothing is searched: plans are uniform ones and those that lose the least importance (LAMP), by the exact planner.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import nn

import hwflow
from benchmarks.reduced import reduced_data, trained
from hwflow.compression.accuracy import Proxy, ProxySettings
from hwflow.compression.budget import Budget
from hwflow.compression.channels.criteria import scores
from hwflow.compression.channels.discovery import find_groups
from hwflow.compression.channels.groups import Grouping
from hwflow.compression.channels.plan_tables import PlanTables
from hwflow.compression.fine_tuning import default_tuning
from hwflow.compression.level_costs import LevelCosts
from hwflow.compression.search.baselines import uniform_plan
from hwflow.compression.search.environment import PruningEnv
from hwflow.compression.search.planner import Planner
from hwflow.compression.search.sensitivity import importance_losses
from hwflow.compression.settings import Settings
from hwflow.datasets import Data
from hwflow.hardware.accelerator import Accelerator
from hwflow.types import Activations

RULES: tuple[Activations, ...] = ("dram", "resident")


def costed(grouping: Grouping, plan: Mapping[str, int], settings: Settings) -> list[str]:
    """Latency of the plan's network as a share of the unpruned one's, under each rule, and its MACs."""
    network, found = grouping.network, []
    pruned = grouping.network_for(plan)
    for rule in RULES:
        options = replace(settings.cost_options("mid"), activations=rule)
        before, after = (hwflow.estimate(one, "eyeriss", options=options) for one in (network, pruned))
        found.append(f"{(after.latency_s or 0) / (before.latency_s or 1):.3f}")
    return [*found, f"{pruned.macs / network.macs:.3f}"]


def planned(module: nn.Module, data: Data, share: float) -> None:
    """Print the plans of least importance lost under each rule, and what they cost under both."""
    grouping = find_groups(module, (1, *data.input_shape), round_to=4, name="resnet20")
    fit_on, held = data.hold_out()
    importance = scores(module, grouping, "lamp", fit_on, seed=0)
    recipe = replace(default_tuning(data, module), device="cpu", precision="float32").resolved()
    accuracy = Proxy(module, grouping, fit_on, held, ProxySettings(), recipe, data.task, None)
    rows = []
    for rule in RULES:
        settings = Settings(budgets=(Budget("latency", share),), round_to=4, activations=rule)
        levels = LevelCosts(Accelerator.load("eyeriss"), settings, store=True, notify=print, progress=None)
        env = PruningEnv(PlanTables(grouping, levels).at("mid"), lambda _: 0.0, settings.budgets)
        found = Planner(env).plan(importance_losses(grouping.groups, importance))
        for name, plan in (("uniform", uniform_plan(env)), (f"exact, gap {100 * found.gap:.1f} %", found.choice)):
            costs = costed(grouping, plan, settings)
            rows.append([rule, name, *costs, f"{100 * accuracy(plan):.1f}", " ".join(map(str, plan.values()))])
    headings = [
        "activations",
        "plan",
        *(f"latency with {rule}" for rule in RULES),
        "MACs",
        "held out, before tuning (%)",
        "channels kept",
    ]
    print("| " + " | ".join(headings) + " |", "|---" * len(headings) + "|", sep="\n")
    print(*("| " + " | ".join(row) + " |" for row in rows), "", sep="\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=0.5)
    parser.add_argument("--planned", action="store_true")
    parser.add_argument("--episodes", type=int, default=30)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--images", type=int, default=8000)
    parser.add_argument("--folder", type=Path, default=Path("runs/resident_plans"))
    options = parser.parse_args()
    data = reduced_data(options.images)
    module = trained(data, 0, 8, options.folder)
    if options.planned:
        planned(module, data, options.share)
        return
    rows, kept = [], []
    for rule in RULES:
        settings = Settings(
            budgets=(Budget("latency", options.share),),
            searcher="exact",
            baselines="quick",
            episodes=options.episodes,
            round_to=4,
            activations=rule,
            tuning=replace(default_tuning(data, module), epochs=options.epochs, device="cpu", precision="float32"),
        )
        output = options.folder / f"{rule}-{options.share:g}"
        result = hwflow.prune(module, data, "eyeriss", settings=settings, output=output, resume=True, progress=False)
        assert result.contest is not None
        uniform = next(c for c in result.contest.candidates if c.by == "uniform")
        accuracies = (uniform.judged, result.contest.applied.judged, result.after.accuracy)
        rows.append([rule, *(f"{100 * a:.1f}" for a in accuracies), *costed(result.grouping, result.plan, settings)])
        kept.append([rule, *map(str, result.plan.values())])
    headings = ["activations", "uniform, before tuning (%)", "applied, before (%)", "test, after (%)"]
    headings += [*(f"latency with {rule}" for rule in RULES), "MACs"]
    for head, body in ((headings, rows), (["activations", *result.plan], kept)):
        print("| " + " | ".join(head) + " |", "|---" * len(head) + "|", sep="\n")
        print(*("| " + " | ".join(row) + " |" for row in body), "", sep="\n")


if __name__ == "__main__":
    main()
