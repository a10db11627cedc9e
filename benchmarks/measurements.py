"""How fast plans are measured, and how alike faster measurements rank them: ResNet-20 on Fashion-MNIST of 14 x 14 pixels.

    python -m benchmarks.measurements [--plans 50] [--images 8000] [--epochs 8] [--seed 0] [--folder runs/criteria]

Plans are random walks within half of the energy at coarse. Each way measures all of them anew; its time is processor
time on one thread, and its ranks are compared with those of the full measurement (Spearman), all plans and the better half.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.reduced import environment, reduced_data, trained
from hwflow.compression.accuracy import Proxy, ProxySettings
from hwflow.compression.search.baselines import uniform_plan
from hwflow.ranking import spearman
from hwflow.training import Recipe

FULL = ProxySettings()
WAYS: dict[str, ProxySettings] = {
    "full: 4 batches, 2,500 samples": FULL,
    "1 batch": replace(FULL, batches=1),
    "race from 300 samples": replace(FULL, first=300),
    "both": replace(FULL, batches=1, first=300),
    "1 batch of 128, 300 samples": replace(FULL, batches=1, batch_size=128, samples=300),
}


def main() -> None:
    """Print a row for each way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plans", type=int, default=50)
    parser.add_argument("--images", type=int, default=8000)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("runs/criteria"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = reduced_data(options.images)
    fit_on, _ = data.hold_out()
    module = trained(data, options.seed, options.epochs, options.folder)
    env, grouping = environment(module, data, 0.5, level="coarse", streams=False)
    uniform, drawn = uniform_plan(env), np.random.default_rng(options.seed)
    plans: list[dict[str, int]] = []
    while len(plans) < options.plans:
        plans.append(dict(env.project(list(drawn.uniform(size=len(grouping.groups))))))
    recipe = Recipe(device="cpu", precision="float32")
    held = torch.randperm(len(data.test), generator=torch.Generator().manual_seed(0))
    full: list[float] = []
    print("| measurement | plans a minute | times the full one | Spearman | of the better half |\n|---|---|---|---|---|")
    rate = 0.0
    for name, settings in WAYS.items():
        proxy = Proxy(module, grouping, fit_on, data.test.subset(held[: settings.samples]), settings, recipe)
        start = time.process_time()
        if settings.first:
            proxy.race_against(uniform)
        found = [proxy(plan) for plan in plans]
        speed = 60 * len(plans) / (time.process_time() - start)
        full, rate = full or found, rate or speed
        better = [i for i, accuracy in enumerate(full) if accuracy >= np.median(full)]
        both = [spearman([full[i] for i in part], [found[i] for i in part]) for part in (range(len(plans)), better)]
        print(f"| {name} | {speed:.0f} | {speed / rate:.1f} | {both[0]:.3f} | {both[1]:.3f} |", flush=True)


if __name__ == "__main__":
    main()
