"""Channels, bits, and both at the same energy: ResNet-20 on Fashion-MNIST of 14 x 14 pixels, eyeriss.

    python -m benchmarks.mixed [--share 0.2] [--edge-bits 4] [--images 8000] [--epochs 8] [--tuning 3] [--episodes 12]
                               [--seeds 1] [--decide channels,bits,mixed] [--folder runs/mixed]

The network is trained once for each seed. Channels, those of residual streams included, are kept in multiples of 4; bits are
2, 4, 8 or the chip's 16, in the first and last layer `--edge-bits` at least. The exact planner searches at coarse, and the best
plans are fitted to the budget at mid. Accuracies are of the 10,000 test images, after fine-tuning for `--tuning` epochs. Runs
that are complete are left alone.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import hwflow
from benchmarks.reduced import reduced_data, trained
from hwflow.compression.accuracy import ProxySettings
from hwflow.compression.budget import Budget
from hwflow.compression.fine_tuning import default_tuning
from hwflow.compression.folder import read_json
from hwflow.compression.settings import Settings


def main() -> None:
    """Print a row for each of the methods."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=0.2)
    parser.add_argument("--images", type=int, default=8000)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--tuning", type=int, default=3)
    parser.add_argument("--episodes", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--decide", default="channels,bits,mixed")
    parser.add_argument("--edge-bits", type=int, default=4)
    parser.add_argument("--folder", type=Path, default=Path("runs/mixed"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = reduced_data(options.images)
    found: dict[str, list[tuple[float, float, float, float]]] = {}
    for seed in range(options.seeds):
        module = trained(data, seed, options.epochs, options.folder)
        for method in options.decide.split(","):
            settings = Settings(
                levels=("coarse", "mid"),
                budgets=(Budget("energy", options.share),),
                method=method,
                searcher="exact",
                episodes=options.episodes,
                seeds=(seed,),
                streams=True,
                round_to=4,
                proxy=ProxySettings(samples=400, batches=2),
                baselines="quick",
                edge_bits=options.edge_bits,
            )
            more: dict[str, Any] = {"epochs": options.tuning, "precision": "float32", "device": "cpu"}
            settings = replace(settings, tuning=replace(default_tuning(data, module), **more))
            folder = options.folder / f"{method}-{options.share:g}-{options.edge_bits}-{seed}"
            if not (folder / "metrics.json").exists():
                resume = (folder / "config.json").exists()
                hwflow.prune(
                    module, data, "eyeriss", settings=settings, output=folder, resume=resume, progress=False, notify=print
                )
            metrics, applied = read_json(folder / "metrics.json"), read_json(folder / "comparison.json")["finalists"][0]
            before, after = metrics["before"], metrics["after"]
            row = (
                before["accuracy"],
                applied["judged"],
                after["accuracy"],
                after["mid"]["energy_pj"] / before["mid"]["energy_pj"],
            )
            print(f"{method}, seed {seed}: {row}", flush=True)
            found.setdefault(method, []).append(row)
    print("\n| decided | before | before fine-tuning | after | energy (%) |\n|---|---|---|---|---|")
    for method, rows in found.items():
        means = [100 * statistics.mean(column) for column in zip(*rows, strict=True)]
        print(f"| {method} | {' | '.join(f'{mean:.1f}' for mean in means)} |")


if __name__ == "__main__":
    main()
