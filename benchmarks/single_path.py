"""Single-Path search against random search and an elastic network: small_mbconv on Fashion-MNIST, two latencies on eyeriss.

    python -m benchmarks.single_path [--images 5000] [--epochs 12] [--search-epochs 8] [--shares 0.5,0.7] [--random 2]
                                     [--folder runs/single_path] [--records FILE]

Images have 14 x 14 pixels. The largest network is trained once; every search begins there. For each target

    singlepath   trains thresholds on the largest network's parts
    random       draws choices uniformly until one costs 95 to 100 % of the target
    elastic      trains all choices together, for as many epochs as a search, once for all targets; then an evolution looks for
                 the choice within the target that is best on held-out images

All networks found are trained from fresh weights with one recipe, and judged once on the 10,000 test images. Seconds are
processor time on one thread; the elastic training is counted at every target. It goes on where it was: a record is written
after every run. `--table` prints the records.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

import hwflow
from benchmarks.elastic_blocks import ElasticBlocks, evolved, trained_together
from benchmarks.reduced import reduced_data, trained, weights_of
from hwflow.compression.budget import Budget
from hwflow.compression.channels.plan_tables import PlanTables
from hwflow.compression.decision import Choice
from hwflow.compression.level_costs import LevelCosts
from hwflow.compression.plan_costs import PlanTotals
from hwflow.compression.settings import Settings
from hwflow.compression.single_path.block_rows import BlockRows
from hwflow.compression.single_path.blocks import find_blocks
from hwflow.datasets import Data
from hwflow.dynamic.choice_evolution import EvolutionSettings
from hwflow.hardware.accelerator import Accelerator
from hwflow.training import Recipe

NETWORK, CHIP, METRIC = "small_mbconv", "eyeriss", "latency"
EVOLUTION = EvolutionSettings(population=12, generations=5)
RECORDS = Path(__file__).resolve().parent / "results" / "single_path.jsonl"
NEAR = 0.95
ORDER = ("singlepath", "elastic", "random")


@dataclass(frozen=True)
class Setup:
    """What all records of a comparison share.

    Attributes:
        images: training images, a tenth of which is held out.
        epochs: of the largest network's training, and of each network that was found.
    """

    images: int
    epochs: int
    search_epochs: int


def main() -> None:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--search-epochs", type=int, default=8)
    parser.add_argument("--shares", default="0.5,0.7")
    parser.add_argument("--random", type=int, default=2, help="networks that random search trains for each target")
    parser.add_argument("--folder", type=Path, default=Path("runs/single_path"))
    parser.add_argument("--records", type=Path, default=RECORDS)
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    setup = Setup(options.images, options.epochs, options.search_epochs)
    if not options.table:
        torch.set_num_threads(1)
        run(setup, [float(share) for share in options.shares.split(",")], options.random, options.folder, options.records)
    print(table(read(options.records)))


def run(setup: Setup, shares: Sequence[float], draws: int, folder: Path, records: Path) -> None:
    """All runs that have no record yet."""
    data = reduced_data(setup.images)
    start = time.process_time()
    asked = recipe(setup)
    base, weights = trained(data, 0, setup.epochs, folder, NETWORK), weights_of(data, 0, setup.epochs, folder, NETWORK)
    common: dict[str, Any] = {"progress": False, "weights": weights, "tuning": asked, "level": "mid", "notify": print}
    spent = time.process_time() - start
    place = folder / f"{setup.images}-{setup.epochs}-{setup.search_epochs}"
    for method, seed in [("singlepath", 0), *(("random", seed) for seed in range(draws)), ("elastic", 0)]:
        for share in shares:
            key = {**asdict(setup), "share": share, "method": method, "seed": seed}
            if any(all(record[name] == value for name, value in key.items()) for record in read(records)):
                continue
            own = place / f"{method}-{share:g}-{seed}"
            start = time.process_time()
            about: dict[str, Any] = {}
            more: dict[str, Any] = {"budget": share, "metric": METRIC, "output": own, "resume": own.exists()}
            if method == "singlepath":
                more["search_epochs"] = setup.search_epochs
            else:
                costs, rows = space(base, data)
                if method == "random":
                    more["plan"] = drawn(costs, rows, share, seed)
                else:
                    network, about["shared_seconds"] = elastic(base, rows, data, setup, place)
                    start = time.process_time()
                    more["plan"], about["measured"] = within(network, costs, rows, share, data)
            hwflow.prune(NETWORK, data, CHIP, method="singlepath", **more, **common)
            seconds = round(time.process_time() - start + about.get("shared_seconds", 0.0), 1)
            record = {**key, **outcome(own), **about, "seconds": seconds, "base_seconds": round(spent, 1)}
            append(records, record | machine())


def elastic(base: torch.nn.Module, rows: BlockRows, data: Data, setup: Setup, place: Path) -> tuple[ElasticBlocks, float]:
    """The network whose choices are trained together, and the processor time of that training."""
    file, told = place / "elastic.checkpoint", place / "elastic.json"
    place.mkdir(parents=True, exist_ok=True)
    start = time.process_time()
    asked = replace(recipe(setup), epochs=setup.search_epochs)
    network = trained_together(base, find_blocks(base, NETWORK), rows.groups, data, asked, file)
    if not told.exists():
        told.write_text(json.dumps(round(time.process_time() - start, 1)), encoding="utf-8")
    return network, json.loads(told.read_text(encoding="utf-8"))


def within(network: ElasticBlocks, costs: PlanTotals, rows: BlockRows, share: float, data: Data) -> tuple[Choice, int]:
    """What an evolution finds within a share of the latency, and how many choices it measured."""
    whole = float(costs.metric(costs.totals(costs.full), METRIC))

    def allowed(choice: Choice) -> bool:
        return float(costs.metric(costs.totals(rows.widths_of(choice)), METRIC)) <= share * whole

    def canonical(choice: Choice) -> Choice:
        return dict(zip(network.options, rows.settled(rows.widths_of(choice)), strict=True))

    return evolved(network, data, allowed, canonical, EVOLUTION)


def recipe(setup: Setup) -> Recipe:
    """Of every training."""
    return Recipe(epochs=setup.epochs, batch_size=64, learning_rate=0.1, precision="float32", device="cpu")


def space(base: torch.nn.Module, data: Data) -> tuple[PlanTotals, BlockRows]:
    """What can be chosen, and what it costs."""
    settings = Settings(budgets=(Budget(METRIC, 1.0),))
    costs = LevelCosts(Accelerator.load(CHIP), settings, store=True, notify=print, progress=None)
    rows = BlockRows(base, find_blocks(base, NETWORK), (1, *data.input_shape), NETWORK)
    return PlanTables(rows, costs, activations=lambda _: None).at("mid"), rows  # type: ignore[arg-type,return-value]


def drawn(costs: PlanTotals, rows: BlockRows, share: float, seed: int) -> dict[str, int]:
    """The first of uniformly drawn choices that costs 95 to 100 % of the target."""
    random = np.random.default_rng(seed)
    whole = float(costs.metric(costs.totals(costs.full), METRIC))
    while True:
        widths = rows.settled(tuple(int(random.choice(one.widths)) for one in rows.groups))
        if NEAR * share <= float(costs.metric(costs.totals(widths), METRIC)) / whole <= share:
            return costs.plan(widths)


def outcome(place: Path) -> dict[str, Any]:
    """Of a finished run's folder."""
    metrics = json.loads((place / "metrics.json").read_text(encoding="utf-8"))
    before, after = metrics["before"], metrics["after"]
    plan = json.loads((place / "plan.json").read_text(encoding="utf-8"))["decisions"]
    epochs = json.loads((place / "tuning.json").read_text(encoding="utf-8"))["epochs"]
    summary = place / "summary.json"
    return {
        "latency_s": after["mid"]["latency_s"],
        "reached": after["mid"]["latency_s"] / before["mid"]["latency_s"],
        "energy": after["mid"]["energy_pj"] / before["mid"]["energy_pj"],
        "macs": after["mid"]["macs"] / before["mid"]["macs"],
        "accuracy": after["accuracy"],
        "whole_accuracy": before["accuracy"],
        "held_accuracy": epochs[-1]["accuracy"],
        "plan": {one["name"]: one["chosen"] for one in plan},
        "summary": json.loads(summary.read_text(encoding="utf-8")) if summary.exists() else {},
    }


def machine() -> dict[str, Any]:
    """Where and when."""
    return {"date": f"{datetime.now(UTC):%Y-%m-%d}", "machine": platform.machine(), "cores": os.cpu_count()}


def append(records: Path, record: Mapping[str, Any]) -> None:
    """One line."""
    records.parent.mkdir(parents=True, exist_ok=True)
    with records.open("a", encoding="utf-8") as handle:
        handle.write(json.dumps(record) + "\n")


def read(records: Path) -> list[dict[str, Any]]:
    """All records."""
    if not records.exists():
        return []
    return [json.loads(line) for line in records.read_text(encoding="utf-8").splitlines() if line.strip()]


def table(records: Sequence[Mapping[str, Any]]) -> str:
    """A row for each run, target by target."""
    lines = [
        "| target, share of latency | found by | latency reached | of the target | MACs | test accuracy | processor time |",
        "|---|---|---|---|---|---|---|",
    ]
    for record in sorted(records, key=lambda one: (-one["share"], ORDER.index(one["method"]), one["seed"])):
        names = {"singlepath": "Single-Path", "random": f"random {record['seed'] + 1}", "elastic": "elastic, evolution"}
        name = names[record["method"]]
        cells = [f"{record['share']:g}", name, f"{1e3 * record['latency_s']:.3f} ms"]
        cells += [f"{100 * record['reached'] / record['share']:.1f} %", f"{100 * record['macs']:.0f} %"]
        seconds = f"{record['seconds']:.0f} s"
        if "shared_seconds" in record:
            seconds += f" ({record['shared_seconds']:.0f} s once for all targets)"
        lines.append(f"| {' | '.join(cells)} | {100 * record['accuracy']:.2f} % | {seconds} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
