"""Single-Path search against random search: small_mbconv on Fashion-MNIST of 14 x 14 pixels, two latencies on eyeriss.

    python -m benchmarks.single_path [--images 5000] [--epochs 12] [--search-epochs 8] [--shares 0.5,0.7] [--random 2]
                                     [--folder runs/single_path] [--records FILE]

The largest network is trained once; every search begins there. For each target Single-Path search finds a network; random
search draws choices uniformly until one costs 95 to 100 % of the target. All networks found are trained from fresh weights with
one recipe, and judged once on the 10,000 test images. Seconds are processor time on one thread. It goes on where it was: a
record is written after every run. `--table` prints the records.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

import hwflow
from benchmarks.reduced import reduced_data, trained
from hwflow.compression.budget import Budget
from hwflow.compression.channels.plan_tables import PlanTables
from hwflow.compression.level_costs import LevelCosts
from hwflow.compression.plan_costs import PlanTotals
from hwflow.compression.settings import Settings
from hwflow.compression.single_path.block_rows import BlockRows
from hwflow.compression.single_path.blocks import find_blocks
from hwflow.datasets import Data
from hwflow.hardware.accelerator import Accelerator
from hwflow.training import Recipe

NETWORK, CHIP, METRIC = "small_mbconv", "eyeriss", "latency"
RECORDS = Path(__file__).resolve().parent / "results" / "single_path.jsonl"
NEAR = 0.95


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
    base = trained(data, 0, setup.epochs, folder, NETWORK)
    weights = folder / f"{NETWORK}-{len(data.train)}-{setup.epochs}-0.pt"
    asked = recipe(setup)
    common: dict[str, Any] = {"progress": False, "weights": weights, "tuning": asked, "level": "mid", "notify": print}
    spent = time.process_time() - start
    for method, seed in [("singlepath", 0), *(("random", seed) for seed in range(draws))]:
        for share in shares:
            known = read(records)
            key = {**asdict(setup), "share": share, "method": method, "seed": seed}
            if any(all(record[name] == value for name, value in key.items()) for record in known):
                continue
            place = folder / f"{setup.images}-{setup.epochs}-{setup.search_epochs}" / f"{method}-{share:g}-{seed}"
            start = time.process_time()
            more: dict[str, Any] = {"budget": share, "metric": METRIC, "output": place, "resume": place.exists()}
            if method == "random":
                costs, rows = space(base, data)
                more["plan"] = drawn(costs, rows, share, seed)
            else:
                more["search_epochs"] = setup.search_epochs
            hwflow.prune(NETWORK, data, CHIP, method="singlepath", **more, **common)
            record = {
                **key,
                **outcome(place),
                "seconds": round(time.process_time() - start, 1),
                "base_seconds": round(spent, 1),
            }
            append(records, record | machine())


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
    for record in sorted(records, key=lambda one: (-one["share"], one["method"] == "random", one["seed"])):
        name = "Single-Path" if record["method"] == "singlepath" else f"random {record['seed'] + 1}"
        cells = [f"{record['share']:g}", name, f"{1e3 * record['latency_s']:.3f} ms"]
        cells += [f"{100 * record['reached'] / record['share']:.1f} %", f"{100 * record['macs']:.0f} %"]
        seconds = "-" if record["seconds"] is None else f"{record['seconds']:.0f} s"  # of a run that was interrupted
        lines.append(f"| {' | '.join(cells)} | {100 * record['accuracy']:.2f} % | {seconds} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
