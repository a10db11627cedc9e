"""What densities by position are worth, and mappings that are compared with their zeros.

    python -m benchmarks.zero_positions [--level mid|fine] [--mappings]

One layer (64 > 64, 56 x 56, kernel 3 x 3, weights at random) runs as F(4 x 4, 3 x 3) with 90 % of its transformed weights
zero, chosen as `winograd-native` and `winograd` choose them, on an Eyeriss that skips zero weights and stores them compressed
in DRAM. It is costed with the mean of all positions, with densities as `hwflow.weight_densities` gives them, and with each by
itself.

`--mappings`: on 20 pairs of layers and chips, the energy-delay product of the mapping that is best with its zeros among those
that are best without, over that of the mapping that is best without.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

import hwflow
from hwflow.compression.winograd.positions import error_factors, output_norms, position_pattern
from hwflow.compression.winograd.winograd_conv import WinogradConv2d
from hwflow.cost import mid
from hwflow.layers import Densities, Layer
from hwflow.network import Network

ZEROS = 0.9
SKIPPING = {"skips": "weights", "compressed": {"dram": {"weights": "rle", "index_bits": 5}}}
CHIPS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("eyeriss", SKIPPING),
    ("eyeriss", {"gates": "inputs", "compressed": {"dram": {"inputs": "rle", "outputs": "rle", "index_bits": 5}}}),
    ("simba", {"skips": "weights"}),
    ("tpu_like", {"compressed": {"dram": {"weights": "bitmask"}}}),
)
LAYERS = (
    Layer("64 > 64, 56 x 56, 3 x 3", C=64, M=64, P=56, Q=56, R=3, S=3),
    Layer("256 > 256, 14 x 14, 3 x 3", C=256, M=256, P=14, Q=14, R=3, S=3),
    Layer("512 > 512, 7 x 7, 1 x 1", C=512, M=512, P=7, Q=7),
    Layer("6 positions of 64 > 64, 196 tiles", C=64, M=64, P=196, G=6),
    Layer("linear 512 > 1000", type="linear", C=512, M=1000),
)


def densities(importance: torch.Tensor) -> dict[str, list[float] | float]:
    """By how positions are put together, the densities of a layer with random weights."""
    torch.manual_seed(0)
    layer = WinogradConv2d.of(nn.Conv2d(64, 64, 3, padding=1, bias=False), 4)
    keep = position_pattern(layer.weight, importance, ZEROS)
    with torch.no_grad():
        layer.weight.mul_(keep)
    each = [float(share) for share in keep.double().mean(dim=(1, 2))]
    found: list[float] = hwflow.weight_densities(nn.Sequential(layer))["0"]["positions"]
    return {"mean of all": sum(each) / len(each), "within 0.05": found, "each by itself": each}


def positions(level: str) -> Iterator[str]:
    """The table of one layer."""
    chip = hwflow.Accelerator.load("eyeriss").with_({"sparsity": SKIPPING})
    net = Network("net", (LAYERS[0],))
    yield "| chosen by | densities | problems | energy, uJ | kcycles |"
    yield "|---|---|---|---|---|"
    for name, importance in (("norms of outputs", output_norms(4)), ("error factors", error_factors(4))):
        for how, given in densities(importance).items():
            known = net.with_densities({"*": {"positions": given}})
            cost = hwflow.estimate(known, chip, level=level, execution="winograd4", store=False)
            problems = len(set(given) - {0.0}) if isinstance(given, list) else 1
            yield f"| {name} | {how} | {problems} | {(cost.energy_pj or 0) / 1e6:.1f} | {(cost.cycles or 0) / 1e3:.0f} |"


def mappings() -> Iterator[str]:
    """The pairs for which another mapping is taken, and how many there are in all."""
    usual, better, pairs = mid._SEVERAL, 0, 0
    for base, sparsity in CHIPS:
        chip = hwflow.Accelerator.load(base).with_({"sparsity": sparsity})
        for layer in LAYERS:
            values = []
            for count in (1, usual):
                mid._SEVERAL = count
                cost = hwflow.map_layer(layer.with_(densities=Densities(0.2, 0.5, 0.5)), chip, store=False).cost
                values.append((cost.energy or 0) * (cost.cycles or 0))
            pairs += 1
            if values[1] < values[0]:
                better += 1
                yield f"{base} ({', '.join(sparsity)}), {layer.name}: {values[1] / values[0]:.4f}"
    mid._SEVERAL = usual
    yield f"{better} of {pairs} pairs"


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--level", default="mid", choices=("mid", "fine"))
    parser.add_argument("--mappings", action="store_true")
    asked = parser.parse_args()
    for line in mappings() if asked.mappings else positions(asked.level):
        print(line, flush=True)


if __name__ == "__main__":
    main()
