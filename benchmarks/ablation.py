"""What each part of the pruning agent adds, on a model of the accuracies that were measured
(`benchmarks/results/pruning_runs`).

    python -m benchmarks.ablation [--seeds 6] [--episodes 200]

A Gaussian process on every plan of ResNet-20 that the energy experiment measured stands for the network, so that a search takes
half a minute and many seeds can be compared; costs and budget are the real ones. Its kernel (Matern, a length for each group)
is not that of the agent's accuracy model. Still both are Gaussian processes, so the model may look better here than on images.
"""

from __future__ import annotations

import argparse
import gzip
import json
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from hwflow.compression.budget import Budget
from hwflow.compression.channels.discovery import find_groups
from hwflow.compression.channels.plan_tables import PlanTables
from hwflow.compression.level_costs import LevelCosts
from hwflow.compression.search.ddpg import Hyperparameters
from hwflow.compression.search.environment import PruningEnv
from hwflow.compression.search.registry import SEARCHERS
from hwflow.compression.search.search import best_of, explore
from hwflow.compression.settings import Settings
from hwflow.hardware.accelerator import Accelerator
from hwflow.network.load import load_module

Floats = npt.NDArray[np.float64]

LOG = Path(__file__).parent / "results" / "pruning_runs" / "resnet20-energy" / "log.jsonl.gz"
FITTED = 500  # plans on which the kernel is fitted
HELD_OUT = 200  # plans that tell how good the model is, before it learns them, too
GOOD = 0.65  # accuracy from which on plans are told apart at a search's end

UNIFORM = {"noise": 100.0, "noise_decay": 1.0, "least_noise": 100.0}  # actions so noisy that they are uniformly random
WAYS: dict[str, dict[str, Any]] = {
    "the agent": {},
    "without its learned policy": {"around_best": 1.0},
    "without walks around the best plan": {"around_best": 0.0},
    "without both: random walks": {"around_best": 0.0, **UNIFORM},
    "without simulated walks": {"imagined": 1},
}
"""What of the agent's settings is changed, by what is left out."""


def modelled() -> tuple[Callable[[dict[str, int]], float], str]:
    """The accuracy of any plan by the model, and how well that predicted plans that it had not seen."""
    rows = [json.loads(line) for line in gzip.decompress(LOG.read_bytes()).decode().splitlines()]
    measured = {tuple(row["plan"].values()): row["accuracy"] for row in rows}
    names = tuple(rows[0]["plan"])
    order = np.random.default_rng(0).permutation(len(measured))
    plans, accuracies = np.log(np.array(list(measured)))[order], np.array(list(measured.values()))[order]
    kernel = ConstantKernel() * Matern(np.ones(len(names)), nu=2.5) + WhiteKernel(0.01)
    fitted = GaussianProcessRegressor(kernel, normalize_y=True, random_state=0).fit(plans[:FITTED], accuracies[:FITTED])
    model = GaussianProcessRegressor(fitted.kernel_, optimizer=None, normalize_y=True)
    known = model.fit(plans[:-HELD_OUT], accuracies[:-HELD_OUT]).predict(plans[-HELD_OUT:])
    true = accuracies[-HELD_OUT:]
    good = true >= GOOD
    best = f"the {good.sum()} of {100 * GOOD:.0f} % or more: {_near(known[good], true[good])}"
    quality = f"{len(measured)} plans; {HELD_OUT} held out: {_near(known, true)}; {best}"
    model.fit(plans, accuracies)
    found: dict[tuple[int, ...], float] = {}

    def accuracy(plan: dict[str, int]) -> float:
        key = tuple(plan[name] for name in names)
        if key not in found:
            found[key] = float(np.clip(model.predict(np.log([key]))[0], 0.0, 1.0))
        return found[key]

    return accuracy, quality


def _near(known: Floats, true: Floats) -> str:
    return f"off by {100 * np.sqrt(np.mean((known - true) ** 2)):.1f} points, correlation {np.corrcoef(known, true)[0, 1]:.3f}"


def environment(accuracy: Callable[[dict[str, int]], float]) -> PruningEnv:
    """That of the energy experiment, but for where accuracies come from."""
    module = load_module("resnet20", num_classes=10, in_channels=1)
    groups = find_groups(module, (1, 1, 28, 28), round_to=4, name="resnet20")
    settings = Settings(budgets=(Budget("energy", 0.5),), round_to=4)
    costs = LevelCosts(Accelerator.load("eyeriss"), settings, store=True, notify=print, progress=None)
    tables = PlanTables(groups, costs)
    tables.fill("mid")
    return PruningEnv(tables.at("mid"), accuracy, settings.budgets)


def main() -> None:
    """Print the best plan's accuracy by each way, by seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--episodes", type=int, default=200)
    options = parser.parse_args()
    accuracy, quality = modelled()
    print(f"model of ResNet-20's accuracies: {quality}")
    env = environment(accuracy)
    usual = replace(Hyperparameters(), warmup=min(Hyperparameters().warmup, options.episodes // 3))
    ways = {name: replace(usual, **changes) for name, changes in WAYS.items()}
    tried = {name: (SEARCHERS["ddpg"], settings) for name, settings in ways.items()}
    for name, (make, settings) in {**tried, "random plans": (SEARCHERS["random"], usual)}.items():
        searchers = [make(env, settings, seed) for seed in range(options.seeds)]
        best = [100 * best_of(explore(env, searcher, options.episodes)).accuracy for searcher in searchers]
        each = ", ".join(f"{value:.1f}" for value in best)
        print(f"{name:36} mean {statistics.mean(best):.2f} %; by seed {each}", flush=True)


if __name__ == "__main__":
    main()
