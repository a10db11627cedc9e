"""How good are the plans of each searcher after equal fine-tuning?

    python -m benchmarks.tuned_plans [--budgets energy=0.25] [--networks resnet20] [--searchers exact,random] [--seeds 3]
                                     [--evaluations 50] [--epochs 8] [--streams] [--table]

Takes the best plans that `python -m benchmarks.plans` has recorded, cuts the network by magnitude, and trains every one for
the same number of epochs with the recipe of `hwflow prune`, the seed of the search being that of the training. `scratch` is
the uniform plan's network from fresh weights, for as many epochs as the unpruned network and the fine-tuning together.
Accuracies are of all 10,000 test images, by which nothing was chosen. Every run adds a line to a file of records; what is
recorded is not done again.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import itertools
import json
import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.plans import EPOCHS, IMAGES, RECORDS, ROUND_TO, Record, Setup, read
from benchmarks.reduced import reduced_data, trained
from hwflow.compression.channels.discovery import find_groups
from hwflow.compression.channels.surgery import prune_model
from hwflow.compression.fine_tuning import default_tuning
from hwflow.compression.search.registry import WITHOUT_EVALUATIONS
from hwflow.datasets import Data
from hwflow.network.replica import replica
from hwflow.training.loop import fit
from hwflow.training.recipe import Recipe
from hwflow.training.score import score

TUNED = RECORDS.with_name("tuned_plans.jsonl")
SCRATCH = "scratch"


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default="resnet20", help="names, with commas between them")
    parser.add_argument("--chips", default="eyeriss", help="presets")
    parser.add_argument("--budgets", nargs="*", default=["energy=0.25"], help="each as --budget of 'hwflow prune'")
    parser.add_argument("--streams", action="store_true", help="plans that prune residual streams, too")
    parser.add_argument("--searchers", default="", help="titles in the records, with commas between them; by default all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--evaluations", type=int, default=50)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--folder", type=Path, default=Path("runs/plans"), help="of trained networks")
    parser.add_argument("--plans", type=Path, default=RECORDS)
    parser.add_argument("--records", type=Path, default=TUNED)
    parser.add_argument("--table", action="store_true", help="run nothing")
    asked = parser.parse_args()
    names = set(filter(None, asked.searchers.split(",")))
    torch.set_num_threads(1)
    data = None if asked.table else reduced_data(IMAGES)
    for network, chip, budget in itertools.product(asked.networks.split(","), asked.chips.split(","), asked.budgets):
        setup = Setup(network, chip, budget, asked.streams)
        if data is not None:
            plans = [r for r in read(asked.plans) if setup.holds(r) and r["evaluations"] == asked.evaluations]
            plans = [r for r in plans if r["searcher"] != "unpruned" and (not names or r["searcher"] in names)]
            run(setup, plans, range(asked.seeds), asked.epochs, data, asked.folder, asked.records)
        print(table(setup, read(asked.records), asked.epochs))


def run(setup: Setup, plans: Sequence[Record], seeds: Sequence[int], epochs: int, data: Data, folder: Path, file: Path) -> None:
    """Train what is not recorded, all searchers with the first seed before the next one."""
    done = {(r["searcher"], r["seed"]) for r in read(file) if setup.holds(r) and r["epochs"] == epochs}
    for seed in seeds:
        of_seed = [r for r in plans if r["seed"] == seed or r["searcher"] in WITHOUT_EVALUATIONS]
        uniform = [r | {"searcher": SCRATCH} for r in of_seed if r["searcher"] == "uniform"]
        for record in [*of_seed, *uniform]:
            if (record["searcher"], seed) in done:
                continue
            accuracy = tuned(setup, record["plan"], seed, epochs, data, folder, fresh=record["searcher"] == SCRATCH)
            line = {
                **vars(setup),
                "searcher": record["searcher"],
                "seed": seed,
                "epochs": epochs,
                "evaluations": record["evaluations"],
                "accuracy": accuracy,
                "shares": record["shares"],
                "date": datetime.date.today().isoformat(),
            }
            with file.open("a", encoding="utf-8") as handle:
                handle.write(json.dumps(line) + "\n")
            print(f"{setup.title}: {record['searcher']}, seed {seed}: {100 * accuracy:.2f} %", flush=True)


def tuned(setup: Setup, plan: dict[str, int], seed: int, epochs: int, data: Data, folder: Path, *, fresh: bool) -> float:
    """The accuracy on the test set of a plan's network after training."""
    whole = trained(data, 0, EPOCHS, folder, setup.network)
    grouping = find_groups(whole, (1, *data.input_shape), streams=setup.streams, round_to=ROUND_TO, name=setup.network)
    small = prune_model(whole, grouping, plan)
    recipe = replace(default_tuning(data, whole), epochs=epochs, seed=seed, precision="float32", device="cpu")
    if fresh:
        torch.manual_seed(seed)
        for module in small.modules():
            with contextlib.suppress(AttributeError):
                module.reset_parameters()
        recipe = Recipe(epochs=EPOCHS + epochs, learning_rate=0.1, seed=seed, precision="float32", device="cpu")
    fit_on, held = data.hold_out()
    fit(small, fit_on, held, recipe, teacher=replica(whole) if recipe.distillation else None)
    return score(small, data.test, device="cpu", precision="float32").accuracy


def table(setup: Setup, records: Sequence[Record], epochs: int) -> str:
    """What is known of one setup, the best first, in Markdown; differences to uniform pruning are paired by seed."""
    found: dict[str, dict[int, float]] = {}
    energy: dict[str, float] = {}
    for record in records:
        if setup.holds(record) and record["epochs"] == epochs:
            found.setdefault(record["searcher"], {})[record["seed"]] = 100 * record["accuracy"]
            energy[record["searcher"]] = record["shares"]["energy"]
    if not found:
        return f"\n{setup.title}: nothing is recorded yet."
    lines = [f"\n{setup.title}, {epochs} epochs of fine-tuning", ""]
    lines += ["| plan by | seeds | test accuracy (%) | spread | to uniform | energy |", "|---|---|---|---|---|---|"]
    for name in sorted(found, key=lambda name: -statistics.mean(found[name].values())):
        values = list(found[name].values())
        apart = [found[name][seed] - found["uniform"][seed] for seed in found[name] if seed in found.get("uniform", {})]
        cells = [name, str(len(values)), f"{statistics.mean(values):.2f}"]
        cells.append(f"{statistics.stdev(values):.2f}" if len(values) > 1 else "")
        if name == "uniform" or not apart:
            cells.append("")
        elif len(apart) == 1:
            cells.append(f"{apart[0]:+.2f}, one seed")
        else:
            middle, error = statistics.mean(apart), statistics.stdev(apart) / len(apart) ** 0.5
            cells.append(f"{middle:+.2f} ± {error:.2f}{'' if abs(middle) > 2 * error else ', not told apart'}")
        lines.append(f"| {' | '.join([*cells, f'{energy[name]:.3f}'])} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
