"""ResNet-20 in four groups against separately trained networks and a slimmable one: accuracy, memory, energy and time.

    python -m benchmarks.levels FOLDER          # trains what is missing, one part after the other; prints what is there
    python -m benchmarks.levels FOLDER --part slimmable
    python -m benchmarks.levels FOLDER --show   # prints only

Fashion-MNIST at 14 x 14 pixels (`benchmarks.reduced`), a part of its training images. Trainings that were killed go on.

    grouped     four groups, each trained for E epochs with those before frozen (`hwflow.dynamic.train_levels`)
    separate    for each level k a network with k groups, trained as a whole for E epochs
    slimmable   one dense network whose levels are trained together for E epochs

At the end the latency of every level on this CPU is measured, all in turns. The table has the least of many rounds, which comes
nearest to a machine that does nothing else; medians are kept beside it. Where the machine is busy, set GOMP_SPINCOUNT=20000 for
this part: threads that wait for one another then sleep, instead of using up the time that they get. Latencies with as many
threads as cores need a free machine all the same.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.reduced import reduced_data
from benchmarks.slimmable import AllLevels, SlimmableNetwork
from hwflow.cost.options import CostOptions
from hwflow.datasets import Data
from hwflow.dynamic import load_levels, load_units, train_levels
from hwflow.dynamic.grouped_network import grouped
from hwflow.dynamic.measurement import machine, time_in_turns
from hwflow.dynamic.operating_points import Unit
from hwflow.dynamic.point_costs import point_costs
from hwflow.dynamic.simulation import simulate
from hwflow.dynamic.trace import load_trace
from hwflow.hardware.accelerator import Accelerator
from hwflow.network import Network
from hwflow.network.load import load_module
from hwflow.training import Recipe, fit, score
from hwflow.training.threads import limited
from hwflow.training.weights import load_weights, save_weights

GROUPS, EPOCHS, IMAGES, SEED, ROUNDS = 4, 4, 5000, 0, 200
THREADS = (1, 2)
CLOCKS = (100, 200)
TRACE = Path(__file__).with_name("levels_trace.yaml")


def recipe(epochs: int) -> Recipe:
    """Of every training."""
    return Recipe(epochs=epochs, learning_rate=0.1, seed=SEED, device="cpu", precision="float32")


def units() -> tuple[Unit, ...]:
    """Eyeriss, and a core of the Exynos that takes over where it fails."""
    (core,) = (unit for unit in load_units("exynos5422") if unit.name == "a15")
    return (*load_units("eyeriss", Accelerator.load("eyeriss")), core)


def trained(network: nn.Module, file: Path, data: Data, epochs: int, *, slimmable: bool = False) -> None:
    """Fill a network from its file, or train it and write the file."""
    if not file.exists():
        train, held = data.hold_out()
        hooks = [AllLevels()] if slimmable else []
        fit(network, train, held, recipe(epochs), hooks=hooks, checkpoint=file.with_suffix(".checkpoint"))
        save_weights(file, network, {"network": file.stem})
    load_weights(file, network)
    network.eval()


def levels_of(part: str, data: Data, folder: Path) -> dict[int, nn.Module]:
    """The levels of a part as plain modules."""
    shape = (1, *data.input_shape)
    model = load_module("resnet20", num_classes=10, in_channels=1)
    if part == "grouped":
        place = folder / "grouped"
        if not (place / "levels.json").exists():
            train_levels("resnet20", data, units(), groups=GROUPS, recipe=recipe(EPOCHS), output=place, resume=place.exists())
        whole = load_levels(place)
        return {k: whole.at_level(k) for k in range(1, GROUPS + 1)}
    if part == "separate":
        found = {}
        for k in range(1, GROUPS + 1):
            network = grouped(model, shape, GROUPS, SEED)
            network.set_level(k)
            for g, group in enumerate(network.groups):
                group.requires_grad_(g < k)
            trained(network, folder / f"separate-{k}-{EPOCHS}.pt", data, EPOCHS)
            found[k] = network.at_level(k)
        return found
    slim = SlimmableNetwork(model, shape, GROUPS)
    trained(slim, folder / f"slimmable-{EPOCHS}.pt", data, EPOCHS, slimmable=True)
    return {k: slim.plain(k) for k in range(1, GROUPS + 1)}


NAMES = {"grouped": "in groups", "slimmable": "slimmable", "separate": "separate"}
PARTS = tuple(NAMES)
LATENCIES = "latencies.json"  # not measured.json, which `hwflow levels --measure` writes


def results(part: str, data: Data, folder: Path) -> dict[str, Any]:
    """Accuracy, size and costs of a part's levels; kept in a file."""
    file = folder / f"{part}.json"
    if file.exists():
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return found
    levels = levels_of(part, data, folder)
    networks = [Network.from_torch(network, (1, *data.input_shape), name=f"{part} {k}") for k, network in levels.items()]
    costs = point_costs(networks, units()[:1], CostOptions(), progress=False)
    rows: list[dict[str, Any]] = [
        {
            "level": k,
            "accuracy": score(network, data.test, device="cpu", precision="float32").accuracy,
            "macs": rows.macs,
            "params": rows.params_total,
            "points": [{key: value for key, value in asdict(cost).items() if key != "stages"} for cost in own],
        }
        for (k, network), rows, own in zip(levels.items(), networks, costs, strict=True)
    ]
    stored = sum(row["params"] for row in rows) if part == "separate" else rows[-1]["params"]
    found = {"part": part, "epochs": EPOCHS, "images": len(data.train), "stored": stored, "levels": rows}
    file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return found


def measurements(data: Data, folder: Path) -> None:
    """Latency of all levels of all parts on this CPU, in turns; kept in a file."""
    file = folder / LATENCIES
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    missing = [threads for threads in THREADS if str(threads) not in content]
    every = {(part, k): network for part in PARTS for k, network in levels_of(part, data, folder).items()} if missing else {}
    content |= {"machine": machine(), "torch": torch.__version__, "date": f"{datetime.now(UTC):%Y-%m-%d}"} if missing else {}
    for threads in missing:
        timings = time_in_turns(dict(enumerate(every.values())), data.input_shape, threads, frames=ROUNDS)
        content[str(threads)] = {f"{part} {k}": asdict(timings[i]) for i, (part, k) in enumerate(every)}
        file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def span(values: Sequence[float]) -> float:
    """The largest by the smallest."""
    return max(values) / min(values)


def read(folder: Path) -> dict[str, dict[str, Any]]:
    """The parts that are finished."""
    files = {part: folder / f"{part}.json" for part in PARTS}
    return {part: json.loads(file.read_text(encoding="utf-8")) for part, file in files.items() if file.exists()}


def table(folder: Path) -> str:
    """A row for each level of each part that is finished, in Markdown."""
    file = folder / LATENCIES
    measured = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    clocks, threads = " / ".join(map(str, CLOCKS)), " / ".join(map(str, THREADS))
    headings = ["network", "level", "test accuracy (%)", "MACs (M)", "weights at 16 bit (kB)"]
    headings += [f"energy at {clocks} MHz (uJ)", f"latency at {clocks} MHz (ms)", f"CPU, {threads} threads (ms)"]
    lines = [f"| {' | '.join(headings)} |", "|---" * len(headings) + "|"]
    for part, found in read(folder).items():
        for row in found["levels"]:
            points = {point["clock_mhz"]: point for point in row["points"]}
            energies = " / ".join(f"{1e6 * points[clock]['energy_j']:.2f}" for clock in CLOCKS)
            latencies = " / ".join(f"{1e3 * points[clock]['latency_s']:.3f}" for clock in CLOCKS)
            name = f"{part} {row['level']}"
            timings = [measured[str(count)][name] for count in THREADS if str(count) in measured]
            least = " / ".join(f"{1e3 * timing['least_s']:.2f}" for timing in timings) or "-"
            cells = [NAMES[part], str(row["level"]), f"{100 * row['accuracy']:.2f}", f"{row['macs'] * 1e-6:.2f}"]
            cells += [f"{row['params'] * 2e-3:.1f}", energies, latencies, least]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def show(folder: Path) -> None:
    """Print what there is."""
    print(table(folder))
    for part, found in read(folder).items():
        print(
            f"{NAMES[part]}: {found['images']:,} images, {found['epochs']} epochs; {found['stored'] * 2e-3:,.1f} kB at 16 bit"
        )
        _ranges(found["levels"])
    if (folder / LATENCIES).exists():
        _measured_ranges(json.loads((folder / LATENCIES).read_text(encoding="utf-8")))
    if (folder / "grouped" / "table.json").exists():
        from hwflow.dynamic import read_table

        rows = read_table(folder / "grouped")
        trace = load_trace(TRACE, tuple(dict.fromkeys(row.unit for row in rows.rows)), (rows.network,))
        for run in simulate([rows], trace).runs:
            energy = f"{1e3 * (run.energy_j or 0):.1f} mJ"
            print(f"  {run.policy}: {run.violations} violations, {100 * run.accuracy:.2f} %, {energy}, {run.switches} switches")


def _ranges(levels: Sequence[Mapping[str, Any]]) -> None:
    """How far time and energy reach: by levels at 200 MHz, by clocks of the largest level, by both."""
    whole = [point for row in levels for point in row["points"]]
    sets = {
        "levels": [p for p in whole if p["clock_mhz"] == 200],
        "clocks": levels[-1]["points"],
        "both": whole,
    }
    for name, points in sets.items():
        times, energies = [p["latency_s"] for p in points], [p["energy_j"] for p in points]
        print(f"  range by {name}: time {span(times):.2f}, energy {span(energies):.2f}")


def _measured_ranges(measured: Mapping[str, Any]) -> None:
    """How far the measured latencies of each part reach."""
    for part in PARTS:
        told = []
        for threads in (count for count in THREADS if str(count) in measured):
            own = [timing for name, timing in measured[str(threads)].items() if name.startswith(f"{part} ")]
            medians = f"{span([timing['median_s'] for timing in own]):.2f} by the medians"
            told.append(f"{threads}: {span([timing['least_s'] for timing in own]):.2f} ({medians})")
        print(f"  {NAMES[part]}, range of CPU latency by threads: {'; '.join(told)}")


def main() -> None:
    """Train what is missing, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--part", choices=PARTS, action="append")
    parser.add_argument("--show", action="store_true")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    if not asked.show:
        data = reduced_data(IMAGES)
        with limited(1):
            for part in asked.part or PARTS:
                results(part, data, asked.folder)
                print(f"{part} done", flush=True)
        if not asked.part:
            measurements(data, asked.folder)
    show(asked.folder)


if __name__ == "__main__":
    main()
