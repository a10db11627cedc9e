"""The contest of the documentation: `python -m benchmarks.contest [--resume]` runs what is missing of it.

ResNet-20 on 5,000 training images of Fashion-MNIST at 14 x 14 pixels, on eyeriss, at a quarter, a half and an eighth of the
energy. All methods start from one network, have the same number of epochs, and are run with three seeds, all methods of a
seed before the next.
torch-pruning's methods leave residual streams whole and have a contest of their own, at half of the energy: `--methods
tp-group-norm tp-growing tp-lamp --budgets energy=0.5 --output runs/guests`. What was interrupted goes on; `--record FOLDER`
copies the results that the documentation shows, and `--table FOLDER` prints their table. One thread: accuracies are the
same bits only for one number of threads.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from statistics import mean

import torch

import hwflow
from benchmarks.fastnas import FastNas
from benchmarks.reduced import reduced_data
from hwflow.compression import registry
from hwflow.compression.accuracy import ProxySettings
from hwflow.compression.budget import parse_budgets
from hwflow.compression.fine_tuning import default_tuning
from hwflow.compression.settings import Settings
from hwflow.datasets import Data
from hwflow.datasets.split import stratified
from hwflow.dynamic import add_curves
from hwflow.network.load import load_module
from hwflow.reporting.compression.contest_records import CURVES, read_contest
from hwflow.reporting.compression.contest_report import differences
from hwflow.training.recipe import default_recipe

HERE = Path("runs/contest")
IMAGES = 5000
METHODS = ("greg1", "asrfp", "legr", "increg", "exact", "greg2", "sfp", "srfp", "asfp")
BUDGETS = ("energy=0.25", "energy=0.5", "energy=0.125")
KEPT = ("contest.json", "results.json", "results.csv", CURVES)


def fewer(data: Data, count: int = IMAGES) -> Data:
    """So many training images, each class with its share; the whole test set."""
    labels = data.train.labels
    assert labels is not None
    chosen, _ = stratified(labels, count, 0)
    return replace(data, name=f"{data.name}, {count:,} images", train=data.train.subset(chosen))


def table(folder: Path) -> str:
    """The results of a contest in Markdown, as far as it has come; methods by their mean accuracy at the first budget."""
    found = read_contest(folder)
    reference = found.config.reference
    lines = [
        f"| budget | method | seeds | test accuracy (%) | to {reference} (points) | energy | images trained on | evaluated |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for budget in found.budgets:
        apart = differences(found, budget)
        whole = next(run.before for run in found.runs if run.budget == budget and run.before is not None)
        lines.append(f"| {budget} | unpruned | | {100 * whole:.2f} | | 1.000 | | |")
        by = {name: runs for name in found.names if (runs := found.of(budget, name))}
        means = {name: mean(run.accuracy or 0.0 for run in runs) for name, runs in by.items()}
        for name in sorted(by, key=lambda name: -means[name]):
            runs, difference = by[name], apart.get(name)
            energy = mean(run.shares[found.config.level]["energy_pj"] or 0.0 for run in runs)
            seen = [mean(getattr(run, field) for run in runs) for field in ("images_trained", "images_evaluated")]
            cells = [budget, name, str(len(runs)), f"{100 * means[name]:.2f}", "" if difference is None else difference.text()]
            lines.append(f"| {' | '.join([*cells, f'{energy:.3f}', *(f'{count:,.0f}' for count in seen)])} |")
    return "\n".join(lines)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", default="resnet20")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--base-epochs", type=int, default=12, help="of the unpruned network")
    parser.add_argument("--episodes", type=int, default=30, help="plans of each search")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--budgets", nargs="+", default=list(BUDGETS))
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--curves", type=Path, nargs="+", default=[], help="folders whose networks the report also shows")
    parser.add_argument("--output", type=Path, default=HERE)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--record", type=Path, default=None, metavar="FOLDER", help="run nothing")
    parser.add_argument("--table", type=Path, default=None, metavar="FOLDER", help="of recorded results; run nothing")
    asked = parser.parse_args()
    if asked.table:
        print(table(asked.table))
        return
    if asked.record:
        asked.record.mkdir(parents=True, exist_ok=True)
        for name in KEPT:
            if name != CURVES or (asked.output / name).exists():
                shutil.copyfile(asked.output / name, asked.record / name)
        return
    if FastNas.name in asked.methods:
        registry.METHODS[FastNas.name] = FastNas
    torch.set_num_threads(1)
    data = fewer(reduced_data(60_000))
    network = load_module(asked.network, num_classes=data.classes, in_channels=data.input_shape[0])
    tuning = replace(default_tuning(data, network), epochs=asked.epochs, device="cpu", precision="float32")
    training = replace(default_recipe(data, network), epochs=asked.base_epochs, device="cpu", precision="float32")
    settings = Settings(
        levels=("mid",),
        round_to=4,
        streams=True,  # without the residual streams a quarter of the energy is hardly reached
        episodes=asked.episodes,
        proxy=ProxySettings(samples=250, batches=2),
        tuning=tuning,
    )
    contest = hwflow.compress_many(
        asked.network,
        data,
        "eyeriss",
        methods=asked.methods,
        budgets=asked.budgets,
        seeds=asked.seeds,
        settings=settings,
        training=training,
        output=asked.output,
        resume=asked.resume,
        progress=False,
        notify=lambda text: print(text, flush=True),
    )
    if asked.curves:
        budget = replace(settings, budgets=parse_budgets(asked.budgets[0], settings.metric))
        add_curves(asked.output, asked.curves, network, data, "eyeriss", budget, notify=print)
    print(contest.to_frame().to_string())
    sys.exit(1 if contest.failed else 0)


if __name__ == "__main__":
    main()
