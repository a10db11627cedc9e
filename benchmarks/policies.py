"""Train the policy that is shipped with hwflow (`--policy shipped`).

    python -m benchmarks.policies [--output runs/policy] [--resume] [--ship]
    python -m benchmarks.policies --judge simba [--budget 0.5] [--policy shipped]

The networks are small: ResNets for CIFAR with 8, 14 and 26 layers, a plain network, and one with depthwise convolutions, on
4,000 images of Fashion-MNIST at 14 x 14 pixels. ResNet-20 and ResNet-56, on which `benchmarks.plans` compares searchers, are
not among them, nor are the accelerators `simba` and `eyeriss_256` and the budgets 0.25 and 0.5. `--ship` copies the policy
into the package.

`--judge` compares a policy with other searches on an accelerator and a budget that it has not seen, in a minute or two of
computing. ResNet-20's accuracies then come from the model of `benchmarks.ablation`, which was fitted to plans for half of the
energy on `eyeriss`, and its importance from the network of `benchmarks.plans`, which compares measured accuracies.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import nn

from benchmarks import plans
from benchmarks.ablation import modelled
from benchmarks.reduced import reduced_data, trained
from hwflow.compression.budget import Budget
from hwflow.compression.channels.criteria import scores
from hwflow.compression.channels.discovery import find_groups
from hwflow.compression.channels.plan_tables import PlanTables
from hwflow.compression.level_costs import LevelCosts
from hwflow.compression.policies.options import PolicyOptions
from hwflow.compression.policies.policy_run import train_policy
from hwflow.compression.search import policy as policies
from hwflow.compression.search.ddpg import Hyperparameters
from hwflow.compression.search.environment import PruningEnv
from hwflow.compression.search.policy import Policy
from hwflow.compression.search.policy_searcher import PolicySearcher
from hwflow.compression.search.registry import SEARCHERS
from hwflow.compression.search.search import best_of, explore
from hwflow.compression.search.searcher import Searcher
from hwflow.compression.settings import Settings
from hwflow.hardware.accelerator import Accelerator
from hwflow.network.load import load_module
from hwflow.network.models.cifar_resnet import CifarResNet
from hwflow.progress import bar, lines

IMAGES = 4000
CHIPS = ("eyeriss", "shidiannao_like", "tpu_like")
OPTIONS = PolicyOptions(budgets=(0.2, 0.3, 0.4, 0.6, 0.8), plans=80, samples=400, epochs=8, round_to=4, streams=True)
NETWORKS = tuple(f"benchmarks.policies:{name}" for name in ("resnet8", "resnet14", "resnet26", "plain8", "separable9"))


def resnet8() -> nn.Module:
    """A block in each stage."""
    return CifarResNet(1, 10, 1)


def resnet14() -> nn.Module:
    """Two blocks in each stage."""
    return CifarResNet(2, 10, 1)


def resnet26() -> nn.Module:
    """Four blocks in each stage."""
    return CifarResNet(4, 10, 1)


def plain8() -> nn.Module:
    """Seven 3 x 3 convolutions with normalisation, one after another."""
    widths = ((1, 16, 1), (16, 16, 1), (16, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1), (64, 64, 1))
    parts = [_unit(inputs, outputs, stride) for inputs, outputs, stride in widths]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def separable9() -> nn.Module:
    """A convolution, then four pairs of depthwise and pointwise ones."""
    widths = ((16, 32, 1), (32, 64, 2), (64, 64, 1), (64, 96, 2))
    parts = [_unit(1, 16, 1)]
    for inputs, outputs, stride in widths:
        parts += [_unit(inputs, inputs, stride, groups=inputs), _unit(inputs, outputs, 1, size=1)]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(96, 10))


def _unit(inputs: int, outputs: int, stride: int, *, size: int = 3, groups: int = 1) -> nn.Module:
    convolution = nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


SEARCHES = (("uniform", 1), *((name, count) for count in (10, 100) for name in ("random", "evolution", "exact")))
SEEDS = 3


def judge(chip: str, share: float, policy: str, folder: Path) -> None:
    """Print the mean accuracy of the best plan, in percent, by search and number of evaluations."""
    accuracy, quality = modelled()
    print(f"model of ResNet-20's accuracies: {quality}", flush=True)
    grouping = find_groups(load_module("resnet20", num_classes=10, in_channels=1), (1, 1, 28, 28), round_to=4, name="resnet20")
    settings = Settings(budgets=(Budget("energy", share),), round_to=4)
    tables = PlanTables(grouping, LevelCosts(Accelerator.load(chip), settings, store=True, notify=print, progress=None))
    tables.fill("mid")
    importance = scores(trained(reduced_data(plans.IMAGES), 0, plans.EPOCHS, folder), grouping, "lamp")
    env = PruningEnv(tables.at("mid"), accuracy, settings.budgets, scores=importance)

    def best(make: Callable[[Hyperparameters, int], Searcher], evaluations: int) -> str:
        learner = Settings(episodes=evaluations).learner
        found = [best_of(explore(env, make(learner, seed), evaluations)).accuracy for seed in range(SEEDS)]
        return f"{100 * statistics.mean(found):.2f} ({', '.join(f'{100 * one:.2f}' for one in found)})"

    kept = Policy.load(policy)
    for evaluations in (1, 10):  # the first plan follows from no evaluation
        print(f"policy, {evaluations}: {best(lambda s, seed: PolicySearcher(env, s, seed, kept), evaluations)}", flush=True)
    for name, evaluations in SEARCHES:
        print(f"{name}, {evaluations}: {best(partial(SEARCHERS[name], env), evaluations)}", flush=True)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/policy"))
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--ship", action="store_true")
    parser.add_argument("--episodes", type=int, default=OPTIONS.episodes)
    parser.add_argument("--log", action="store_true", help="progress as lines")
    parser.add_argument("--judge", metavar="CHIP", help="train nothing, compare")
    parser.add_argument("--budget", type=float, default=0.5)
    parser.add_argument("--policy", default=policies.SHIPPED)
    parser.add_argument("--folder", type=Path, default=Path("runs/plans"), help="of the network of benchmarks.plans")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.judge:
        judge(asked.judge, asked.budget, asked.policy, asked.folder)
        return
    with (lines if asked.log else bar)("policy") as told:
        found = train_policy(
            NETWORKS,
            reduced_data(IMAGES),
            CHIPS,
            output=asked.output,
            options=OPTIONS,
            episodes=asked.episodes,
            resume=asked.resume,
            command="python -m benchmarks.policies",
            progress=told,
            notify=print,
        )
    print(found.about["reached"], found.about["accuracy_models"])
    if asked.ship:
        shutil.copyfile(asked.output / policies.FILE, policies.SHIPPED_FILE)


if __name__ == "__main__":
    main()
