"""Accuracy of networks whose layers run otherwise: sparse Winograd products, and virtual pooling.

    python -m benchmarks.execution_accuracy [--only winograd|vip|channels] [--seeds 0,1,2] [--records FILE] [--tables]

Fashion-MNIST at 14 x 14 pixels, 5,000 training images, all test images. Every run is one call of `hwflow.compress`, whose
folder is kept under runs/execution_accuracy and whose result is a line of the records; what is recorded is not run again, what
was interrupted goes on. At the end come the tables of docs/pages/explanation/executions-measured.md; `--tables` gives these
alone.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

import hwflow
from benchmarks.execution_tables import tables
from benchmarks.reduced import reduced_data
from hwflow.compression import run as run_module
from hwflow.compression.budget import Budget
from hwflow.compression.settings import Settings
from hwflow.datasets import Data
from hwflow.training import Recipe, train
from hwflow.training.weights import load_weights

HERE = Path("runs/execution_accuracy")
RECORDS = Path("benchmarks/results/execution_accuracy.jsonl")
IMAGES, BASE_EPOCHS, TUNING_EPOCHS = 5000, 12, 4
NETWORKS = {"vgg_like": "benchmarks.vgg_like:VggLike", "resnet20": "resnet20"}
ZEROING = ("winograd-spatial", "sparse", "winograd", "winograd-native", "winograd-magnitude")
SPARSITIES = (0.9, 0.7)
ROUNDS = {"vgg_like": 7, "resnet20": 5}
"""Of virtual pooling, two epochs each."""
SHARES = (0.5, 0.35)
"""Of the energy, for channels alone and with virtual pooling."""
POOLED = 0.75
"""Of what is left of the energy by then, for virtual pooling after channels; at most a third of it can be saved so."""
JUDGED = "test:0.3"
"""Where virtual pooling measures its layers and rounds: 3,000 test images; the other 7,000 judge the results."""


@dataclass(frozen=True)
class Run:
    """One line of the records: `part` is winograd, vip or channels; `target` a share of zeros or of the energy."""

    part: str
    network: str
    method: str
    target: float
    seed: int

    @property
    def key(self) -> list[Any]:
        """What tells it from others."""
        return [self.part, self.network, self.method, self.target, self.seed]

    @property
    def folder(self) -> Path:
        """Of the run."""
        return HERE / f"{self.part}-{self.network}-{self.method}-{self.target:g}-{self.seed}"


def runs(seeds: tuple[int, ...]) -> Iterator[Run]:
    """All of them, seed by seed."""
    for seed in seeds:
        for method in ZEROING:
            yield Run("winograd", "vgg_like", method, SPARSITIES[0], seed)
        yield Run("vip", "vgg_like", "vip", 0.0, seed)
        for share in SHARES:
            for method in ("channels", "channels then vip"):
                yield Run("channels", "vgg_like", method, share, seed)
        for sparsity in SPARSITIES[1:]:
            for method in ZEROING:
                yield Run("winograd", "vgg_like", method, sparsity, seed)
        yield Run("vip", "resnet20", "vip", 0.0, seed)


def recipe(epochs: int, rate: float, seed: int, batch_size: int = 128) -> Recipe:
    """On the CPU."""
    return Recipe(epochs=epochs, batch_size=batch_size, learning_rate=rate, seed=seed, precision="float32", device="cpu")


def base(network: str, data: Data, seed: int) -> Path:
    """The weights of an uncompressed network, trained once."""
    HERE.mkdir(parents=True, exist_ok=True)
    file = HERE / f"{network}-{seed}.pt"
    if not file.exists():
        train(NETWORKS[network], data, recipe=recipe(BASE_EPOCHS, 0.1, seed), output=file, progress=False)
    return file


def module(network: str, data: Data, seed: int) -> nn.Module:
    """The same as a module."""
    found = hwflow.network.load.load_module(NETWORKS[network], num_classes=10, in_channels=1)
    load_weights(base(network, data, seed), found)
    return found.eval()


def compressed(run: Run, data: Data, model: Any, name: str, **asked: Any) -> hwflow.PruneResult:
    """One run of a method, which goes on where it was."""
    place = run.folder / name if name else run.folder
    budgets = (Budget("energy", asked.pop("budget")),) if "budget" in asked else ()
    epochs = asked.pop("epochs", TUNING_EPOCHS)
    level = ("coarse",) if run.part == "winograd" else ("mid",)
    tuning = recipe(epochs, 0.02, run.seed, 64)
    settings = Settings(levels=level, budgets=budgets, seeds=(run.seed,), tuning=tuning, round_to=4)
    more = {"weights": base(run.network, data, run.seed)} if isinstance(model, str) else {}
    method = asked.pop("method")
    return hwflow.compress(
        model,
        data,
        "eyeriss",
        method=method,
        settings=settings,
        output=place,
        resume=(place / "config.json").exists(),
        progress=False,
        **more,
        **asked,
    )


def made(run: Run, data: Data) -> dict[str, Any]:
    """What is recorded of a run."""
    network = NETWORKS[run.network]
    if run.part == "winograd":
        found = compressed(run, data, network, "", method=run.method, sparsity=run.target)
        assert found.measured is not None
        cpu = found.measured.to_data()
        return {"before": found.before.accuracy, "after": found.after.accuracy, "zeros": found.summary["Zeros"], "cpu": cpu}
    if run.part == "vip":
        found = compressed(run, data, network, "", method="vip", epochs=2 * ROUNDS[run.network], holdout=JUDGED)
        curve = json.loads((run.folder / "curve.json").read_text(encoding="utf-8"))
        return {**_of(found), "curve": curve, "pooled": found.summary["Pooled"]}
    if run.method == "channels":
        return _of(compressed(run, data, network, "", method="l1", budget=run.target))
    first = compressed(run, data, network, "first", method="l1", budget=run.target / POOLED, epochs=TUNING_EPOCHS // 2)
    rest = run.target / _of(first)["energy"]
    found = compressed(run, data, first.model, "second", method="vip", budget=rest, epochs=TUNING_EPOCHS // 2)
    own = _of(found)
    for name in ("energy", "latency"):
        own[name] *= _of(first)[name]
    return {**own, "before": first.before.accuracy, "pooled": found.summary["Pooled"]}


def _of(found: hwflow.PruneResult) -> dict[str, Any]:
    before, after = (cost.to_dict()["totals"] for cost in found.costs["mid"])
    return {
        "before": found.before.accuracy,
        "after": found.after.accuracy,
        "energy": after["energy_pj"] / before["energy_pj"],
        "latency": after["latency_s"] / before["latency_s"],
    }


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("winograd", "vip", "channels"))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--records", type=Path, default=RECORDS)
    parser.add_argument("--tables", action="store_true", help="run nothing")
    asked = parser.parse_args()
    lines = asked.records.read_text(encoding="utf-8").splitlines() if asked.records.exists() else []
    records = [json.loads(line) for line in lines]
    if not asked.tables:
        torch.set_num_threads(1)
        data = reduced_data(IMAGES)
        setattr(run_module, "export_onnx", lambda *_: None)  # noqa: B010  half of the time of so small a run
        for run in runs(tuple(map(int, asked.seeds.split(",")))):
            if run.key in [record["run"] for record in records] or asked.only not in (None, run.part):
                continue
            base(run.network, data, run.seed)
            start = time.process_time()
            record = {"run": run.key, **made(run, data), "cpu_s": round(time.process_time() - start, 1)}
            records.append(record)
            with asked.records.open("a", encoding="utf-8") as handle:
                handle.write(json.dumps(record) + "\n")
            print(json.dumps(record), flush=True)
    print(tables(records))


if __name__ == "__main__":
    main()
