"""How fast plans are measured, and how alike faster measurements rank them: ResNet-20 on Fashion-MNIST of 14 x 14 pixels.

    python -m benchmarks.measurements [--plans 50] [--share 0.5] [--streams] [--images 8000] [--epochs 8] [--seed 0]
                                      [--folder runs/criteria] [--samples 500,300]

Plans are random walks within a share of the energy at coarse. Every plan is measured in all ways before the next one, so that
other work on the machine slows all of them alike. The first way is that of version 0.1: a copy of the network, statistics
from 1,000 training images, 2,500 held-out samples. Times are processor time on one thread, without the choice of the
samples, which is made once. Ranks are compared with those of the first way (Spearman), all plans and the better half.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.reduced import environment, reduced_data, trained
from hwflow.compression.accuracy import Proxy, ProxySettings
from hwflow.compression.channels.surgery import prune_model, rank_channels
from hwflow.compression.measured_samples import representative
from hwflow.compression.search.baselines import uniform_plan
from hwflow.ranking import spearman
from hwflow.training import Recipe
from hwflow.training.score import reestimate_batchnorm, score

QUICK = ProxySettings()
FULL = replace(QUICK, samples=2500)
WAYS: dict[str, tuple[ProxySettings, bool]] = {
    # settings, and whether samples are representative or drawn at random
    "statistics of 1,000 training images, 2,500 samples": (replace(FULL, statistics="training"), False),
    "statistics of the batch, 2,500 samples": (FULL, False),
    "race from 500 of these": (replace(FULL, first=500), True),
    "statistics of the batch, 800 samples": (replace(QUICK, samples=800), True),
    "statistics of the batch, 500 samples": (QUICK, True),
    "the same, drawn at random": (QUICK, False),
    "statistics of the batch, 400 samples": (replace(QUICK, samples=400), True),
    "statistics of the batch, 300 samples": (replace(QUICK, samples=300), True),
    "statistics of 250 training images, 500 samples": (replace(QUICK, statistics="training", batches=1), True),
}
BEFORE = "version 0.1"


def main() -> None:
    """Print a row for each way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plans", type=int, default=50)
    parser.add_argument("--share", type=float, default=0.5)
    parser.add_argument("--streams", action="store_true")
    parser.add_argument("--images", type=int, default=8000)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--samples", default="", help="only the ways with these numbers of samples, chosen to be representative"
    )
    parser.add_argument("--folder", type=Path, default=Path("runs/criteria"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = reduced_data(options.images)
    fit_on, _ = data.hold_out()
    module = trained(data, options.seed, options.epochs, options.folder)
    env, grouping = environment(module, data, options.share, level="coarse", streams=options.streams)
    uniform, drawn = uniform_plan(env), np.random.default_rng(options.seed)
    plans: list[dict[str, int]] = []
    while len(plans) < options.plans:
        plans.append(dict(env.project(list(drawn.uniform(size=len(grouping.groups))))))
    recipe = Recipe(device="cpu", precision="float32").resolved()
    pool = data.test.subset(torch.randperm(len(data.test), generator=torch.Generator().manual_seed(0))[: FULL.samples])
    ranking = rank_channels(module, grouping)

    def before(plan: Mapping[str, int]) -> float:
        small = prune_model(module, grouping, plan, ranking=ranking)
        reestimate_batchnorm(small, fit_on, batches=4, device="cpu", precision="float32")
        return score(small, pool, device="cpu", precision="float32").accuracy

    ways: dict[str, Callable[[Mapping[str, int]], float]] = {BEFORE: before}
    only = {int(count) for count in options.samples.split(",") if count}
    for name, (settings, chosen) in WAYS.items():
        if only and not (chosen and settings.statistics == "batch" and settings.samples in only and not settings.first):
            continue
        count = settings.samples
        held = (
            representative(module, pool, count, task="classification", recipe=recipe) if chosen else pool.subset(range(count))
        )
        proxy = ways[name] = Proxy(module, grouping, fit_on, held, settings, recipe)
        proxy(uniform)  # images are read, and kernels chosen
        if settings.first:
            proxy.race_against(uniform)
    found: dict[str, list[float]] = {name: [] for name in ways}
    seconds = dict.fromkeys(ways, 0.0)
    for plan in plans:
        for name, measured in ways.items():
            start = time.process_time()
            found[name].append(measured(plan))
            seconds[name] += time.process_time() - start
    full = found[BEFORE]
    better = [i for i, accuracy in enumerate(full) if accuracy >= np.median(full)]
    print(f"{len(plans)} plans, accuracies from {min(full):.3f} to {max(full):.3f}\n")
    print("| measurement | plans a minute | times as many | Spearman | of the better half |\n|---|---|---|---|---|")
    for name, accuracies in found.items():
        both = [spearman([full[i] for i in part], [accuracies[i] for i in part]) for part in (range(len(plans)), better)]
        speed = 60 * len(plans) / seconds[name]
        print(f"| {name} | {speed:.0f} | {seconds[BEFORE] / seconds[name]:.1f} | {both[0]:.3f} | {both[1]:.3f} |", flush=True)


if __name__ == "__main__":
    main()
