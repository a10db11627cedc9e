"""How plans for a budget of latency differ where tensors stay on the chip: ResNet-20 on eyeriss, Fashion-MNIST at 14 x 14.

    python -m benchmarks.resident_plans [--share 0.5] [--episodes 30] [--epochs 3]

Each run prunes to a share of the unpruned network's latency under one rule, and its plan is costed under both.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import hwflow
from benchmarks.reduced import reduced_data, trained
from hwflow.compression.budget import Budget
from hwflow.compression.fine_tuning import default_tuning
from hwflow.compression.result import PruneResult
from hwflow.compression.settings import Settings
from hwflow.types import Activations

RULES: tuple[Activations, ...] = ("dram", "resident")


def shares(result: PruneResult, settings: Settings) -> list[str]:
    """Energy and latency of the plan's network as shares of the unpruned one's, under each rule, and its MACs."""
    network, found = result.grouping.network, []
    pruned = result.grouping.network_for(result.plan)
    for rule in RULES:
        options = replace(settings.cost_options("mid"), activations=rule)
        before, after = (hwflow.estimate(one, "eyeriss", options=options) for one in (network, pruned))
        found.append(f"{(after.latency_s or 0) / (before.latency_s or 1):.3f}")
    return [*found, f"{pruned.macs / network.macs:.3f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=0.5)
    parser.add_argument("--episodes", type=int, default=30)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--images", type=int, default=8000)
    parser.add_argument("--folder", type=Path, default=Path("runs/resident_plans"))
    options = parser.parse_args()
    data = reduced_data(options.images)
    module = trained(data, 0, 8, options.folder)
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
        rows.append([rule, *(f"{100 * a:.1f}" for a in accuracies), *shares(result, settings)])
        kept.append([rule, *map(str, result.plan.values())])
    headings = ["activations", "uniform, before tuning (%)", "applied, before (%)", "test, after (%)"]
    headings += [*(f"latency with {rule}" for rule in RULES), "MACs"]
    for head, body in ((headings, rows), (["activations", *result.plan], kept)):
        print("| " + " | ".join(head) + " |", "|---" * len(head) + "|", sep="\n")
        print(*("| " + " | ".join(row) + " |" for row in body), "", sep="\n")


if __name__ == "__main__":
    main()
