"""A library of six sub-networks of an elastic ResNet-20 on two chips, against networks that are pruned one by one.

    python -m benchmarks.library FOLDER                   # goes on where it was; prints what is there
    python -m benchmarks.library FOLDER --record FILE     # keeps the results that the documentation shows
    python -m benchmarks.library --table FILE

The data and the unpruned network of `benchmarks.contest`: 5,000 training images of Fashion-MNIST at 14 x 14 pixels, 12 epochs.
The library goes on from this network with 4 epochs of all sub-networks (`hwflow.dynamic.build_library`). Then the exact planner
and the agent each prune the same network once for each member, to that member's latency on the first chip, with residual
streams, and fine-tune it. All are given equal work:

    training   the pruned networks of a planner together take as many multiply-accumulates of training as the elastic network,
               rounded up to whole epochs
    search     a planner measures as many plans, for all members together, as the library measured sub-networks, rounded up

The front of accuracy and of the latencies on both chips is compared by its hypervolume (`hwflow.dynamic.hypervolume`).
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import hwflow
from benchmarks.contest import fewer
from benchmarks.reduced import reduced_data, trained, weights_of
from hwflow.compression.accuracy import ProxySettings
from hwflow.compression.budget import Budget
from hwflow.compression.fine_tuning import default_tuning
from hwflow.compression.settings import Settings
from hwflow.datasets import Data
from hwflow.dynamic import build_library, load_units
from hwflow.dynamic.choice_evolution import EvolutionSettings
from hwflow.dynamic.hypervolume import hypervolume
from hwflow.dynamic.library_options import LibrarySettings
from hwflow.dynamic.measurement import machine
from hwflow.dynamic.operating_points import Unit
from hwflow.errors import InputError
from hwflow.hardware.accelerator import Accelerator
from hwflow.network import Network
from hwflow.network.load import load_module
from hwflow.training import Recipe, score
from hwflow.training.threads import limited
from hwflow.training.weights import load_weights

BASE_EPOCHS, EPOCHS, SEED, DRAWN, MEMBERS = 12, 4, 0, 2, 6
CHIPS = ("eyeriss", "simba")
SETTINGS = LibrarySettings(
    members=MEMBERS, drawn=DRAWN, statistics=1000, steps=5, evolution=EvolutionSettings(population=10, generations=3)
)
SEARCHERS = {"exact": "exact planner", "agent": "agent"}
BEYOND = 1.1  # of the whole network's latencies, up to which hypervolumes count, as in a library


def units() -> tuple[Unit, ...]:
    """Each chip at its own clock."""
    points = {chip: [{"clock_mhz": Accelerator.load(chip).clock_mhz}] for chip in CHIPS}
    return load_units({"units": [{"name": chip, "accelerator": chip, "points": points[chip]} for chip in CHIPS]})


def recipe() -> Recipe:
    """Of the elastic training."""
    return Recipe(epochs=EPOCHS, learning_rate=0.1, seed=SEED, device="cpu", precision="float32")


def latencies(network: Network) -> list[float]:
    """On each chip, in seconds."""
    found = [hwflow.estimate(network, chip, level="mid", progress=False).latency_s for chip in CHIPS]
    return [math.nan if latency is None else latency for latency in found]


def library(data: Data, folder: Path, weights: Path) -> dict[str, Any]:
    """Its members, and the multiply-accumulates of its elastic training for each image and epoch, as shares of the whole's."""
    place, begun = folder / "library", time.process_time()
    found = build_library(
        "resnet20",
        data,
        units(),
        settings=SETTINGS,
        recipe=recipe(),
        weights=weights,
        output=place,
        resume=place.exists(),
        progress=False,
        notify=print,
    )
    space = found.network.space
    whole = sum(layer.macs for layer in space.grouping.network.layers)
    smallest = sum(layer.macs for layer in space.layers(space.smallest)) / whole
    drawn = [dict(zip(space.options, values, strict=True)) for values in _evenly(space.options)]
    mean = sum(sum(layer.macs for layer in space.layers(choice)) for choice in drawn) / whole / len(drawn)
    return {
        "seconds": time.process_time() - begun,
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


def pruned(data: Data, weights: Path, searcher: str, share: float, epochs: int, plans: int) -> dict[str, Any]:
    """A network within a share of the latency on the first chip."""
    module = load_module("resnet20", num_classes=10, in_channels=1)
    load_weights(weights, module)
    begun = time.process_time()
    tuning = replace(default_tuning(data, module), epochs=epochs, device="cpu", precision="float32")
    settings = Settings(
        levels=("mid",),
        budgets=(Budget("latency", share),),
        objective="edp",
        searcher=searcher,
        episodes=plans,
        round_to=4,
        streams=True,
        baselines="none",
        tuning=tuning,
        proxy=ProxySettings(samples=500),
    )
    try:
        found = hwflow.prune(module, data, CHIPS[0], metric="latency", budget=share, settings=settings, progress=False)
    except InputError as error:
        return {"budget": share, "epochs": epochs, "plans": plans, "refused": str(error)}
    network = Network.from_torch(found.model, (1, *data.input_shape))
    return {
        "budget": share,
        "epochs": epochs,
        "plans": plans,
        "seconds": time.process_time() - begun,
        "accuracy": found.after.accuracy,
        "params": network.params_total,
        "macs": network.macs,
        "plan": dict(found.plan),
        "latency_s": latencies(network),
    }


def run(folder: Path) -> None:
    """What is missing, one part after the other."""
    data = fewer(reduced_data(60_000))
    module, weights = trained(data, SEED, BASE_EPOCHS, folder), weights_of(data, SEED, BASE_EPOCHS, folder)
    whole = Network.from_torch(module, (1, *data.input_shape))
    if not (folder / "whole.json").exists():
        accuracy = score(module, data.test, device="cpu", precision="float32").accuracy
        _write(
            folder / "whole.json",
            {"accuracy": accuracy, "macs": whole.macs, "params": whole.params_total, "latency_s": latencies(whole), **_where()},
        )
    if not (folder / "library.json").exists():
        _write(folder / "library.json", library(data, folder, weights))
    found, latency = _read(folder / "library.json"), _read(folder / "whole.json")["latency_s"][0]
    members = found["members"]
    epochs = math.ceil(found["training"] / sum(member["share"] for member in members))
    plans = math.ceil(found["measured"] / len(members))
    for number, member in enumerate(members, start=1):
        for searcher in SEARCHERS:
            own = folder / f"{searcher}-{number}.json"
            if not own.exists():
                share = min(1.0, member["latency_s"][0] / latency)
                _write(own, pruned(data, weights, searcher, share, epochs, plans))
                print(f"{own.stem} done", flush=True)


def record(folder: Path) -> dict[str, Any]:
    """All results in one."""
    numbers = range(1, MEMBERS + 1)
    own = {
        name: [_read(folder / f"{name}-{n}.json") for n in numbers if (folder / f"{name}-{n}.json").exists()]
        for name in SEARCHERS
    }
    return {"whole": _read(folder / "whole.json"), "library": _read(folder / "library.json"), **own}


def volume(networks: Sequence[Mapping[str, Any]], whole: Mapping[str, Any]) -> float:
    """The hypervolume of accuracy above guessing and of latencies on both chips as shares of the whole network's."""
    points = [
        (-row["accuracy"], *(own / most for own, most in zip(row["latency_s"], whole["latency_s"], strict=True)))
        for row in networks
        if "refused" not in row
    ]
    return hypervolume(points, (-0.1, *(BEYOND for _ in CHIPS)))


def table(found: Mapping[str, Any]) -> str:
    """A row for each network, in Markdown; a member before what was pruned to its latency."""
    chips = " / ".join(CHIPS)
    headings = ["network", "test accuracy (%)", f"latency on {chips} (us)", "parameters", "epochs", "plans measured"]
    lines = [f"| {' | '.join(headings)} |", "|---" * len(headings) + "|", _row("unpruned", found["whole"])]
    for place, member in enumerate(found["library"]["members"]):
        lines.append(_row(f"member {place + 1}", member))
        for name, label in SEARCHERS.items():
            if place < len(found[name]):
                lines.append(_row(f"{label}, {100 * found[name][place]['budget']:.1f} %", found[name][place]))
    return "\n".join(lines)


def _row(name: str, row: Mapping[str, Any]) -> str:
    work = [str(row.get("epochs", "")), str(row.get("plans", ""))]
    if "refused" in row:
        return f"| {' | '.join([name, 'out of reach', '', '', *work])} |"
    times = " / ".join(f"{1e6 * one:.4g}" for one in row["latency_s"])
    accuracy, size = f"{100 * row['accuracy']:.2f}", f"{row['params']:,}"
    return f"| {' | '.join([name, accuracy, times, size, *work])} |"


def sums(found: Mapping[str, Any]) -> str:
    """What each way took and reached, in Markdown; a hypervolume where all members' budgets were tried."""
    whole, own = found["whole"], found["library"]
    count, spread = len(own["members"]), f"{volume(own['members'], whole):.4f}"
    lines = [
        "| networks | found | training (epochs of the unpruned one) | networks measured | processor time (s) | hypervolume |",
        "|---|---|---|---|---|---|",
        f"| library | {count} | {own['training']:.1f} | {own['measured']} | {own['seconds']:.0f} | {spread} |",
    ]
    for name, label in SEARCHERS.items():
        rows = [row for row in found[name] if "refused" not in row]
        macs = sum(row["epochs"] * row["macs"] for row in rows) / whole["macs"]
        spent, plans = sum(row["seconds"] for row in rows), sum(row["plans"] for row in rows)
        spread = f"{volume(rows, whole):.4f}" if len(found[name]) == count else "-"
        lines.append(f"| {label} | {len(rows)} of {len(found[name])} | {macs:.1f} | {plans} | {spent:.0f} | {spread} |")
    return "\n".join(lines)


def show(found: Mapping[str, Any]) -> None:
    """Print a record."""
    own = found["library"]
    share, bound = f"{100 * own['kept']:.2f} %", f"{own['bound']:.4f}"
    print(f"members keep {share} of the front's hypervolume, the best choice at most {bound} times that")
    print(f"{table(found)}\n\n{sums(found)}")


def _where() -> dict[str, str]:
    return {"date": f"{datetime.now(UTC):%Y-%m-%d}", "machine": machine()}


def _read(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def _write(file: Path, content: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Run what is missing, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--record", type=Path, metavar="FILE", help="run nothing")
    parser.add_argument("--table", type=Path, metavar="FILE", help="of recorded results; run nothing")
    asked = parser.parse_args()
    if asked.table:
        show(_read(asked.table))
        return
    if asked.folder is None:
        parser.error("FOLDER is missing")
    asked.folder.mkdir(parents=True, exist_ok=True)
    if asked.record:
        _write(asked.record, record(asked.folder))
    else:
        with limited(1):
            run(asked.folder)
    show(record(asked.folder))


if __name__ == "__main__":
    main()
