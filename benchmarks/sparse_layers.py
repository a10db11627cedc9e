"""CPU time of sparse layers against the best direct convolution, in one thread on one core.

    python -m benchmarks.sparse_layers [--sparsities 0.8,0.9,0.95] [--layers 512x14,256x14] [--rounds 15] [--networks resnet18]

Square layers of 3 x 3, one image, weights that are zero at random: a Winograd product F(4 x 4, 3 x 3) whose transformed weights
are sparse, and im2col + CSR at the same share of zeros (of four times fewer weights). The best of NCHW and NHWC is the direct
convolution. All are timed in turn, in CPU time, pinned to one core; the least of all rounds counts. The direct convolution's
GMAC/s stand beside: where they are far below a core's peak, the machine was too busy, and nothing is reported.

`--networks` times whole networks instead, as `hwflow compress` does: each layer runs as it is fastest.
"""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import nn

from hwflow.compression.kernels.cpu_time import CpuTime, cpu_times
from hwflow.compression.kernels.layer_kernels import PatchKernel, WinogradKernel
from hwflow.compression.kernels.measured_times import measured
from hwflow.compression.kernels.sparse_product import libraries
from hwflow.compression.winograd.winograd_conv import WinogradConv2d, why_not
from hwflow.compression.winograd.winograd_method import transform
from hwflow.network.load import load_module
from hwflow.network.replica import replica

LAYERS = ((64, 56), (128, 28), (256, 14), (512, 14), (512, 7))
"""Channels and height."""
SANE = 10.0
"""GMAC/s of a direct convolution, below which ratios say more about the machine than about the layers."""


def pin() -> int:
    """Stay on one of the cores that this process may use, where the system can; its number."""
    core = min(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    return core


def layer_times(channels: int, height: int, sparsity: float, rounds: int = 15) -> dict[str, CpuTime]:
    """CPU time of each way to run one layer, all timed in turn."""
    torch.manual_seed(0)
    images = torch.randn(1, channels, height, height)
    conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
    last = nn.Conv2d(channels, channels, 3, padding=1, bias=False).to(memory_format=torch.channels_last)
    layer: Any = WinogradConv2d.of(conv, 4)
    transformed = layer.weight.detach() * (torch.rand_like(layer.weight) >= sparsity)
    spatial = conv.weight.detach() * (torch.rand_like(conv.weight) >= sparsity)
    calls: dict[str, Callable[[], Any]] = {
        "direct, NCHW": partial(conv, images),
        "direct, NHWC": partial(last, images.to(memory_format=torch.channels_last)),
        "dense Winograd": partial(layer, images),
    }
    for library in libraries():
        calls[f"sparse Winograd, {library}"] = partial(WinogradKernel(transformed, None, 4, (1, 1), library), images)
        calls[f"im2col + CSR, {library}"] = partial(PatchKernel(spatial, None, (1, 1), (1, 1), (1, 1), library), images)
    return cpu_times(calls, rounds=rounds)


def speed(channels: int, height: int, times: dict[str, CpuTime]) -> tuple[float, float]:
    """Seconds of the best direct convolution, and its GMAC/s."""
    seconds = min(times[name].least_s for name in ("direct, NCHW", "direct, NHWC"))
    return seconds, 9e-9 * channels**2 * height**2 / seconds


def rows(layers: list[tuple[int, int]], sparsities: list[float], rounds: int) -> Iterator[str]:
    """A table in Markdown: milliseconds of the direct convolution, and by how much others are faster."""
    yield "| layer, zeros | direct, ms (GMAC/s) | dense Winograd | sparse Winograd | im2col + CSR |"
    yield "|---|---|---|---|---|"
    for channels, height in layers:
        for sparsity in sparsities:
            times = layer_times(channels, height, sparsity, rounds)
            direct, rate = speed(channels, height, times)
            head = f"{channels} > {channels}, {height} x {height}, {sparsity:.0%}"
            if rate < SANE:
                yield f"| {head} | {1e3 * direct:.2f} ({rate:.0f}): the machine is too busy | | | |"
                continue
            told = []
            for kind in ("dense Winograd", "sparse Winograd", "im2col + CSR"):
                own = {name: found for name, found in times.items() if name.startswith(kind)}
                best = min(own, key=lambda name: own[name].least_s)
                library = best.rpartition(", ")[2] if "," in best else ""
                told.append(f"{direct / own[best].least_s:.2f}x{f' ({library})' if library else ''}")
            yield f"| {head} | {1e3 * direct:.2f} ({rate:.0f}) | {' | '.join(told)} |"


def network_rows(name: str, sparsities: list[float]) -> Iterator[str]:
    """A network for 224 x 224 pixels with zeros at random: as Winograd layers where they can be, and as plain convolutions."""
    yield "| network, zeros | before, ms | sparse Winograd layers | layers that run so | im2col + CSR | layers that run so |"
    yield "|---|---|---|---|---|---|"
    for sparsity in sparsities:
        told = []
        for tiles in (True, False):
            torch.manual_seed(0)
            model = load_module(name, num_classes=1000, in_channels=3).eval()
            after = replica(model)
            if tiles:
                transform(after, [layer for layer, module in after.named_modules() if not why_not(module)], 4)
            with torch.no_grad():
                for module in after.modules():
                    if isinstance(module, WinogradConv2d if tiles else nn.Conv2d):
                        module.weight *= torch.rand_like(module.weight) >= sparsity
            found = measured(model, after, (1, 3, 224, 224))
            fast = sum(layer.way != "dense" for layer in found.layers)
            told += [f"{1 / found.share:.2f}x", f"{fast} of {len(found.layers)}"]
        yield f"| {name}, {sparsity:.0%} | {1e3 * found.networks['before'].least_s:.0f} | {' | '.join(told)} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sparsities", default="0.8,0.9,0.95")
    parser.add_argument("--layers", default=",".join(f"{c}x{h}" for c, h in LAYERS))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--networks", default="")
    asked = parser.parse_args()
    core, today = pin(), datetime.now(UTC).date()
    print(f"{today}, {platform.machine()}, PyTorch {torch.__version__}, {' and '.join(libraries())}, core {core}, one thread\n")
    sparsities = [float(text) for text in asked.sparsities.split(",")]
    layers = [(int(c), int(h)) for c, _, h in (text.partition("x") for text in asked.layers.split(","))]
    parts = [network_rows(name, sparsities) for name in filter(None, asked.networks.split(","))]
    for line in chain(*parts or [rows(layers, sparsities, asked.rounds)]):
        print(line, flush=True)


if __name__ == "__main__":
    main()
