"""Accuracy before fine-tuning by criterion, at the same plan: ResNet-20 on Fashion-MNIST of 14 x 14 pixels, pruned uniformly.

    python -m benchmarks.criteria [--seeds 3] [--images 8000] [--epochs 8] [--shares 0.5] [--streams] [--folder runs/criteria]

Plans keep the same share of every group and the given share of the energy on eyeriss at mid. Statistics of batch normalisation
are re-estimated on 1,000 training images; accuracies are of 3,000 test images, as the cut leaves the network and after what
reads the channels was refitted by least squares. Differences to l1 are paired by the seed of the training; the error is the
standard error of their mean.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import torch

from benchmarks.reduced import environment, reduced_data, trained
from hwflow.compression.channels.criteria import CRITERIA
from hwflow.compression.channels.reconstruction import reconstruct
from hwflow.compression.channels.surgery import prune_model, rank_channels
from hwflow.compression.search.baselines import uniform_plan
from hwflow.training.score import reestimate_batchnorm, score

JUDGED = 3000


def main() -> None:
    """Print a row for each criterion."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--images", type=int, default=8000)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--shares", default="0.5")
    parser.add_argument("--streams", action="store_true")
    parser.add_argument("--folder", type=Path, default=Path("runs/criteria"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = reduced_data(options.images)
    fit_on, _ = data.hold_out()
    judged = data.test.subset(range(JUDGED))
    shares = [float(text) for text in options.shares.split(",")]
    found: dict[tuple[str, float, bool], list[float]] = {}
    for seed in range(options.seeds):
        module = trained(data, seed, options.epochs, options.folder)
        whole = score(module, judged, precision="float32").accuracy
        print(f"seed {seed}: unpruned {100 * whole:.1f} %", flush=True)
        for share in shares:
            env, grouping = environment(module, data, share, streams=options.streams)
            plan = uniform_plan(env)
            for name in CRITERIA:
                ranking = rank_channels(module, grouping, name, fit_on, seed=seed)
                small = prune_model(module, grouping, plan, ranking=ranking)
                for refitted in (False, True):
                    if refitted:
                        small = prune_model(module, grouping, plan, ranking=ranking)
                        reconstruct(small, module, grouping, plan, ranking, fit_on, seed=seed)
                    reestimate_batchnorm(small, fit_on, batches=4, precision="float32")
                    accuracy = 100 * score(small, judged, precision="float32").accuracy
                    found.setdefault((name, share, refitted), []).append(accuracy)
    ways = [(share, refitted) for share in shares for refitted in (False, True)]
    headings = [f"energy {share}{' refitted' if refitted else ''}: % | to l1" for share, refitted in ways]
    print(f"\n| criterion | {' | '.join(headings)} |")
    print(f"|---|{'---|---|' * len(ways)}")
    for name in CRITERIA:
        cells = []
        for way in ways:
            values = found[name, *way]
            apart = [a - b for a, b in zip(values, found["l1", *way], strict=True)]
            error = statistics.stdev(apart) / len(apart) ** 0.5 if len(apart) > 1 else float("nan")
            cells.append(f"{statistics.mean(values):.1f} | {statistics.mean(apart):+.1f} ± {error:.1f}")
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
