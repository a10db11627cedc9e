"""A library of six sub-networks of an elastic ResNet-20 on two chips, against networks pruned one by one by the exact planner.

    python -m benchmarks.library FOLDER          # goes on where it was; prints what is there
    python -m benchmarks.library FOLDER --show   # prints only

Fashion-MNIST at 14 x 14 pixels (`benchmarks.reduced`), a part of its training images. Both begin with one network, trained
for E epochs. The library's further training takes E epochs of all sub-networks (`hwflow.dynamic.build_library`). For each
member the exact planner prunes the same network to the member's share of the latency on the first chip, and fine-tunes it;
all of them for so many epochs that they take about as many multiply-accumulates of training as the library, rounded up.
"""

from __future__ import annotations

import argparse
import json
import math
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hwflow
from benchmarks.reduced import reduced_data, trained
from hwflow.compression.accuracy import ProxySettings
from hwflow.compression.budget import Budget
from hwflow.compression.settings import Settings
from hwflow.datasets import Data
from hwflow.dynamic import build_library, load_units
from hwflow.dynamic.choice_evolution import EvolutionSettings
from hwflow.dynamic.library_options import LibrarySettings
from hwflow.dynamic.operating_points import Unit
from hwflow.errors import InputError
from hwflow.hardware.accelerator import Accelerator
from hwflow.network import Network
from hwflow.network.load import load_module
from hwflow.training import Recipe
from hwflow.training.threads import limited
from hwflow.training.weights import load_weights

EPOCHS, IMAGES, SEED, DRAWN, MEMBERS = 4, 5000, 0, 2, 6
CHIPS = ("eyeriss", "simba")
SETTINGS = LibrarySettings(
    members=MEMBERS, drawn=DRAWN, statistics=1000, steps=5, evolution=EvolutionSettings(population=10, generations=4)
)
PLANS = 10
"""That the exact planner measures for each network."""


def units() -> tuple[Unit, ...]:
    """Each chip at its own clock."""
    points = {chip: [{"clock_mhz": Accelerator.load(chip).clock_mhz}] for chip in CHIPS}
    return load_units({"units": [{"name": chip, "accelerator": chip, "points": points[chip]} for chip in CHIPS]})


def recipe(epochs: int, learning_rate: float = 0.1) -> Recipe:
    """Of a training."""
    return Recipe(epochs=epochs, learning_rate=learning_rate, seed=SEED, device="cpu", precision="float32")


def latencies(network: Network) -> list[float]:
    """On each chip, in seconds."""
    found = [hwflow.estimate(network, chip, level="mid", progress=False).latency_s for chip in CHIPS]
    return [math.nan if latency is None else latency for latency in found]


def library(data: Data, folder: Path, weights: Path) -> dict[str, Any]:
    """Its members, and the multiply-accumulates of its elastic training for each image and epoch, as shares of the whole's."""
    place = folder / "library"
    found = build_library(
        "resnet20",
        data,
        units(),
        settings=SETTINGS,
        recipe=recipe(EPOCHS),
        weights=weights,
        output=place,
        resume=place.exists(),
        measure=(1, 2),
        progress=False,
        notify=print,
    )
    space = found.network.space
    whole = sum(layer.macs for layer in space.grouping.network.layers)
    smallest = sum(layer.macs for layer in space.layers(space.smallest)) / whole
    drawn = [dict(zip(space.options, values, strict=True)) for values in _evenly(space.options)]
    mean = sum(sum(layer.macs for layer in space.layers(choice)) for choice in drawn) / whole / len(drawn)
    return {
        "training": EPOCHS * (1 + smallest + DRAWN * mean),
        "measured": len(found.archive),
        "kept": found.kept.volume / found.kept.all_volume,
        "bound": found.kept.bound / found.kept.volume,
        "members": [
            {
                "accuracy": member.accuracy,
                "held_accuracy": member.held_accuracy,
                "share": member.macs / whole,
                "params": member.params,
                "choice": member.choice,
                "latency_s": [member.costs[chip] for chip in CHIPS],
            }
            for member in found.members
        ],
    }


def _evenly(options: Mapping[str, tuple[int, ...]]) -> list[list[int]]:
    """Random choices, for a mean."""
    draw = random.Random(0)
    return [[draw.choice(own) for own in options.values()] for _ in range(500)]


def pruned(data: Data, weights: Path, member: Mapping[str, Any], epochs: int, whole: list[float]) -> dict[str, Any]:
    """A network within a member's latency on the first chip, by the exact planner."""
    module = load_module("resnet20", num_classes=10, in_channels=1)
    load_weights(weights, module)
    budget = min(1.0, member["latency_s"][0] / whole[0])
    try:
        found = hwflow.prune(
            module,
            data,
            CHIPS[0],
            metric="latency",
            budget=budget,
            settings=Settings(
                levels=("mid",),
                budgets=(Budget("latency", budget),),
                objective="edp",
                searcher="exact",
                episodes=PLANS,
                round_to=4,
                baselines="none",
                tuning=recipe(epochs, 0.025),
                proxy=ProxySettings(samples=500),
            ),
            progress=False,
        )
    except InputError as error:
        return {"budget": budget, "refused": str(error)}
    network = Network.from_torch(found.model, (1, *data.input_shape))
    return {
        "budget": budget,
        "accuracy": found.after.accuracy,
        "params": network.params_total,
        "macs": network.macs,
        "plan": dict(found.plan),
        "latency_s": latencies(network),
    }


def run(folder: Path) -> None:
    """What is missing, one part after the other."""
    data = reduced_data(IMAGES)
    trained(data, SEED, EPOCHS, folder)
    weights = folder / f"resnet20-{len(data.train)}-{EPOCHS}-{SEED}.pt"
    file = folder / "library.json"
    if not file.exists():
        _write(file, library(data, folder, weights))
    found = json.loads(file.read_text(encoding="utf-8"))
    module = load_module("resnet20", num_classes=10, in_channels=1)
    whole = latencies(Network.from_torch(module, (1, *data.input_shape)))
    epochs = math.ceil(found["training"] / sum(member["share"] for member in found["members"]))
    for number, member in enumerate(found["members"], start=1):
        own = folder / f"pruned-{number}.json"
        if not own.exists():
            _write(own, {"epochs": epochs, **pruned(data, weights, member, epochs, whole)})
            print(f"pruned {number} done", flush=True)


def _write(file: Path, content: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def show(folder: Path) -> None:
    """Print what there is."""
    file = folder / "library.json"
    if not file.exists():
        print("library: not made yet")
        return
    found = json.loads(file.read_text(encoding="utf-8"))
    print(
        f"library: {found['measured']} sub-networks measured; {len(found['members'])} members keep "
        f"{100 * found['kept']:.2f} % of the front's hypervolume, the best choice at most {found['bound']:.4f} times that"
    )
    for number, member in enumerate(found["members"], start=1):
        print(f"  member {number}: {_told(member)}")
        own = folder / f"pruned-{number}.json"
        if own.exists():
            other = json.loads(own.read_text(encoding="utf-8"))
            told = other["refused"] if "refused" in other else _told(other)
            print(f"    pruned to {100 * other['budget']:.1f} %, {other['epochs']} epochs: {told}")


def _told(row: Mapping[str, Any]) -> str:
    times = ", ".join(f"{chip} {1e3 * one:.3f} ms" for chip, one in zip(CHIPS, row["latency_s"], strict=True))
    held = f" (held out {100 * row['held_accuracy']:.1f} %)" if "held_accuracy" in row else ""
    return f"{100 * row['accuracy']:.2f} %{held}, {row['params']:,} parameters, {times}"


def main() -> None:
    """Run what is missing, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--show", action="store_true")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    if not asked.show:
        with limited(1):
            run(asked.folder)
    show(asked.folder)


if __name__ == "__main__":
    main()
