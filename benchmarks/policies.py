"""Train the policy that is shipped with hwflow (`--policy shipped`).

    python -m benchmarks.policies [--output runs/policy] [--resume] [--ship]

The networks are small: ResNets for CIFAR with 8, 14 and 26 layers, a plain network, and one with depthwise convolutions, on
4,000 images of Fashion-MNIST at 14 x 14 pixels. ResNet-20 and ResNet-56, on which `benchmarks.plans` compares searchers, are
not among them, nor are the accelerators `simba` and `eyeriss_256` and the budgets 0.25 and 0.5. `--ship` copies the policy
into the package.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import torch
from torch import nn

from benchmarks.reduced import reduced_data
from hwflow.compression.policies.options import PolicyOptions
from hwflow.compression.policies.policy_run import train_policy
from hwflow.compression.search import policy
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


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/policy"))
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--ship", action="store_true")
    parser.add_argument("--episodes", type=int, default=OPTIONS.episodes)
    parser.add_argument("--log", action="store_true", help="progress as lines")
    asked = parser.parse_args()
    torch.set_num_threads(1)
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
        shutil.copyfile(asked.output / policy.FILE, policy.SHIPPED_FILE)


if __name__ == "__main__":
    main()
