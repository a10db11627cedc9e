"""What other ways to run 3 x 3 convolutions cost: energy and cycles beside the layer run directly, and what bounds each.

    python -m benchmarks.executions [--networks resnet18,vgg16] [--chips eyeriss,simba,tpu_like] [--level mid] [--four]

First four layers of usual sizes, with half of the columns of the im2col product, too; then every different 3 x 3 layer of
stride 1 of the networks, on each chip. Transformed tensors go through DRAM, and transforms, layouts and interpolations are not
counted (`hwflow estimate --operators all` counts them). In parentheses is what bounds a row: c the MAC units, or the first
letter of the memory whose bandwidth does. About a minute at mid.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

import hwflow
from hwflow.cost.executed_network import EXECUTIONS, executed
from hwflow.cost.execution import Execution, MatrixProduct
from hwflow.cost.winograd import Winograd
from hwflow.layers import DIRECT, Layer
from hwflow.network import Network
from hwflow.results import LayerCost

FOUR = tuple(Layer(f"{c} > {c}, {p} x {p}", C=c, M=c, P=p, Q=p, R=3, S=3) for c, p in ((64, 56), (64, 16), (256, 14), (16, 32)))
NAMES = (DIRECT, *EXECUTIONS)
HALF = "half the columns"


def costs(layer: Layer, chip: str, level: str, ways: Sequence[str]) -> dict[str, LayerCost]:
    """A layer's row by way to run it, with energy in picojoule on presets."""
    found = {}
    for way in ways:
        execution = _half(layer) if way == HALF else EXECUTIONS.get(way)
        network = Network(layer.name, (layer,))
        network = network if execution is None else executed(network, {layer.name: execution})
        found[way] = hwflow.estimate(network, chip, level=level, fallback="none").rows[0]
    return found


def _half(layer: Layer) -> Execution:
    return MatrixProduct(layer.C * layer.R * layer.S // 2)


def layers_of(names: Sequence[str]) -> list[Layer]:
    """Every different layer of these networks that Winograd's product can run, named by its network."""
    way = Winograd(4)
    found: dict[object, Layer] = {}
    for name in names:
        for layer in hwflow.zoo(name):
            if not way.why_not(layer):
                found.setdefault(layer.key, layer.with_(name=f"{name} {layer.name}"))
    return list(found.values())


def table(layers: Sequence[Layer], chip: str, level: str, ways: Sequence[str]) -> Iterator[str]:
    """Lines of a table in Markdown."""
    yield f"| {chip}, {level}: uJ / kcycles | {' | '.join(ways)} |"
    yield f"|---|{'---|' * len(ways)}"
    for layer in layers:
        found = costs(layer, chip, level, ways)
        yield f"| {_title(layer)} | {' | '.join(map(_cell, found.values()))} |"


def _title(layer: Layer) -> str:
    sizes = f"{layer.C} > {layer.M}, {layer.P} x {layer.Q}"
    return layer.name if layer.name == sizes else f"{layer.name}: {sizes}"


def _cell(row: LayerCost) -> str:
    assert row.energy_pj is not None
    assert row.cycles is not None
    return f"{row.energy_pj / 1e6:,.0f} / {row.cycles / 1e3:,.0f} ({(row.bound_by or '-')[0]})"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--networks", default="resnet18,vgg16")
    parser.add_argument("--chips", default="eyeriss,simba,tpu_like")
    parser.add_argument("--level", default="mid")
    parser.add_argument("--four", action="store_true", help="the four layers only")
    asked = parser.parse_args()
    chips = asked.chips.split(",")
    for chip in chips:
        print("\n".join(table(FOUR, chip, asked.level, (*NAMES, HALF))), end="\n\n", flush=True)
    if not asked.four:
        layers = layers_of(asked.networks.split(","))
        for chip in chips:
            print("\n".join(table(layers, chip, asked.level, NAMES)), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
