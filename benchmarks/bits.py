"""Accuracy against energy with fewer bits: `python -m benchmarks.bits [--seeds 3] [--table]`.

ResNet-20 on 3,000 training images of Fashion-MNIST at 14 x 14 pixels, scored on 5,000 test images. Each seed trains one
network, from which every run starts. Every format runs on an eyeriss with PEs made for it (`--pe-type`), so energies are
compared, not shares of one chip's. Runs add a line each to a file of records, and what is recorded is not done again, so that
the work can be spread over many calls; the most telling runs of all seeds come first. One thread.

`--energies` prints what every format costs on its chip, which needs no training.

The tables: accuracy and energy of every case; what the distribution loss gains a binary network, by optimizer and learning
rate; and, for channels and bits together, the cheapest case of either alone that is as accurate.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

import hwflow
from benchmarks.reduced import reduced_data, trained
from hwflow.compression.budget import parse_budgets
from hwflow.compression.fine_tuning import default_tuning
from hwflow.compression.level_costs import LevelCosts
from hwflow.compression.method import running
from hwflow.compression.quantization.options import QuantizationSettings
from hwflow.compression.quantization.quantized import Quantization
from hwflow.compression.registry import method_named
from hwflow.compression.settings import Settings
from hwflow.datasets import Data
from hwflow.hardware.accelerator import Accelerator
from hwflow.network.load import load_module
from hwflow.results import NetworkCost
from hwflow.store import Store

RECORDS = Path(__file__).parent / "results" / "bits.jsonl"
IMAGES, JUDGED, BASE_EPOCHS, EPOCHS = 3000, 5000, 8, 3
ROUND_TO = 4
INPUT = (1, 1, 14, 14)

Record = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """One method on one chip.

    Attributes:
        kind: what it changes: channels, bits, both, or binary.
        pe_type: of the eyeriss that it runs on.
        budget: of energy, as a share of the network at the chip's own words; None for what widths alone give.
        recipe: fields of the fine-tuning's recipe with other values.
    """

    name: str
    kind: str
    method: str
    pe_type: str
    budget: float | None = None
    quantization: dict[str, Any] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)


def _binary(weight: float, optimizer: str, rate: float) -> Case:
    loss = "with" if weight else "without"
    recipe = {"optimizer": optimizer, "learning_rate": rate, "distillation": 0.0}
    return Case(f"binary {loss} DL, {optimizer} {rate:g}", "binary", "bnn", "xnor", None, {"distribution_loss": weight}, recipe)


BITS = (
    Case("INT8", "bits", "int8", "int8"),
    Case("INT4", "bits", "int4", "int8"),
    Case("LightNN-1", "bits", "lightnn1", "lightpe1"),
    Case("LightNN-2", "bits", "lightnn2", "lightpe2"),
    Case("LightNN-2, two passes", "bits", "lightnn2", "lightpe1"),
    Case("FLightNN, mean k 1.3", "bits", "flightnn", "lightpe1"),
    Case("INT2", "bits", "int", "int8", None, {"weight_bits": 2}),
)
CHANNELS = tuple(Case(f"channels {share:g}", "channels", "l1", "int16", share) for share in (0.5, 0.25, 0.125))
BOTH = (
    *(Case(f"channels {share:g} + INT8", "both", "l1+int8", "int8", share) for share in (0.5, 0.25)),
    *(Case(f"channels {share:g} + INT4", "both", "l1+int4", "int8", share) for share in (0.5, 0.25)),
    Case("channels 0.5 + LightNN-1", "both", "l1+lightnn1", "lightpe1", 0.5),
)
BINARY = tuple(_binary(w, o, r) for o, r in (("adam", 0.01), ("sgd", 0.1), ("adam", 0.002), ("sgd", 0.02)) for w in (2.0, 0.0))
CASES = (
    *BITS[:3],
    BITS[5],
    *CHANNELS[:2],
    BOTH[0],
    BOTH[2],
    *BINARY[:4],
    BITS[3],
    CHANNELS[2],
    BOTH[1],
    *BOTH[3:],
    *BINARY[4:],
    BITS[4],
    BITS[6],
)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path("runs/bits"), help="of trained networks and costs")
    parser.add_argument("--records", type=Path, default=RECORDS)
    parser.add_argument("--table", action="store_true", help="run nothing")
    parser.add_argument("--energies", action="store_true", help="train nothing: what each format costs")
    parser.add_argument("--level", default="mid", help="up to which --energies goes; fine needs Timeloop")
    asked = parser.parse_args()
    if asked.energies:
        print(energies(asked.level))
        return
    if not asked.table:
        torch.set_num_threads(1)
        asked.folder.mkdir(parents=True, exist_ok=True)
        whole = reduced_data(IMAGES)
        data = replace(whole, test=whole.test.subset(range(JUDGED)))
        with contextlib.closing(Store(asked.folder / "costs.sqlite")) as store:
            for batch in (CASES[:8], CASES[8:12], CASES[12:]):
                for seed in range(asked.seeds):
                    for case in batch:
                        if (case.name, seed) not in {(r["case"], r["seed"]) for r in read(asked.records)}:
                            run(case, seed, data, asked.folder, store, asked.records)
    print(tables(read(asked.records)))


def run(case: Case, seed: int, data: Data, folder: Path, store: Store, file: Path) -> None:
    """Do one run, and record it."""
    module = trained(data, seed, BASE_EPOCHS, folder)
    tuning = replace(
        default_tuning(data, module), **{"epochs": EPOCHS, "seed": seed, "precision": "float32", "device": "cpu", **case.recipe}
    )
    chip = Accelerator.load("eyeriss").with_({"pe_type": case.pe_type})
    settings = Settings(
        budgets=() if case.budget is None else parse_budgets(str(case.budget), "energy"),
        seeds=(seed,),
        round_to=ROUND_TO,
        streams=True,
        tuning=tuning,
        method=case.method,
        quantization=QuantizationSettings(**case.quantization),
    )
    start = time.process_time()
    result = hwflow.prune(module, data, chip, settings=settings, store=store, progress=False)
    record = {
        "case": case.name,
        "kind": case.kind,
        "method": case.method,
        "pe_type": case.pe_type,
        "seed": seed,
        "before": result.before.accuracy,
        "accuracy": result.after.accuracy,
        "energy_uj": {level: after.energy_pj * 1e-6 for level, (_, after) in result.costs.items() if after.energy_pj},
        "latency_ms": {level: after.latency_s * 1e3 for level, (_, after) in result.costs.items() if after.latency_s},
        "dram_bytes": {level: after.dram_bytes for level, (_, after) in result.costs.items()},
        "summary": dict(result.summary),
        "recipe": {name: getattr(tuning, name) for name in ("epochs", "optimizer", "learning_rate", "distillation")},
        "cpu_seconds": round(time.process_time() - start, 1),
        "date": datetime.date.today().isoformat(),
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as handle:
        handle.write(json.dumps(record) + "\n")
    print(f"{case.name}, seed {seed}: {result.after.accuracy:.2%}, float {result.before.accuracy:.2%}", flush=True)


def energies(level: str = "mid") -> str:
    """What formats cost up to a level, in Markdown: at the widths that they have, FLightNN with its mean in every layer."""
    module = load_module("resnet20", num_classes=10, in_channels=1)
    network = hwflow.Network.from_torch(module, INPUT, name="resnet20")
    found: dict[str, dict[str, NetworkCost]] = {}
    for case in (Case("16-bit integers", "bits", "", "int16"), *BITS, replace(BINARY[0], name="binary")):
        own = QuantizationSettings(**case.quantization)
        settings = Settings(levels=(level,), budgets=(), method=case.method, quantization=own)
        chip = Accelerator.load("eyeriss").with_({"pe_type": case.pe_type})
        costs = LevelCosts(chip, settings, store=True, notify=None, progress=None)
        task: Any = SimpleNamespace(model=module, name="resnet20", input_shape=INPUT, settings=settings, costs=costs)
        method = method_named(case.method) if case.method else None
        run = running(network, *method.rows(task, network)) if isinstance(method, Quantization) else network
        found[f"{case.name} | {case.pe_type}"] = costs.networks(run)[0]
    levels = list(dict.fromkeys(level for costs in found.values() for level in costs))
    heads = [*(f"{level} (µJ)" for level in levels), "latency at mid (ms)", "DRAM (kB)"]
    lines = [f"| format | PEs | {' | '.join(heads)} |", "|---" * (2 + len(heads)) + "|"]
    for name, answers in found.items():
        values = [(answers[level].energy_pj or 0) * 1e-6 if level in answers else None for level in levels]
        mid = answers["mid"]
        cells = ["" if value is None else f"{value:.1f}" for value in values]
        lines.append(f"| {name} | {' | '.join(cells)} | {(mid.latency_s or 0) * 1e3:.2f} | {(mid.dram_bytes or 0) / 1e3:.0f} |")
    return "\n".join(lines)


def read(file: Path) -> list[Record]:
    """All records."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []


def tables(records: Sequence[Record]) -> str:
    """All tables, in Markdown."""
    by: dict[str, list[Record]] = {}
    for record in records:
        by.setdefault(record["case"], []).append(record)
    if not by:
        return "nothing is recorded yet."
    return "\n\n".join(part for part in (_all(by), _gains(by), _together(by)) if part)


def _all(by: dict[str, list[Record]]) -> str:
    base = {r["seed"]: 100 * r["before"] for runs in by.values() for r in runs}
    levels = list(dict.fromkeys(level for runs in by.values() for r in runs for level in r["energy_uj"]))
    heads = ["case", "PEs", "seeds", "test accuracy (%)", "to float (points)", *(f"{level} (µJ)" for level in levels)]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    lines.append(f"| float | | {len(base)} | {_spread(list(base.values()))} | |{' |' * len(levels)}")
    for name in (case.name for case in CASES if case.name in by):
        runs = by[name]
        values = [100 * r["accuracy"] for r in runs]
        apart = [100 * (r["accuracy"] - r["before"]) for r in runs]
        energies = [
            f"{statistics.mean(r['energy_uj'][level] for r in runs):.2f}" if all(level in r["energy_uj"] for r in runs) else ""
            for level in levels
        ]
        lines.append(
            f"| {name} | {runs[0]['pe_type']} | {len(runs)} | {_spread(values)} | {_paired(apart)} | {' | '.join(energies)} |"
        )
    return "\n".join(lines)


def _gains(by: dict[str, list[Record]]) -> str:
    """What the distribution loss gains, paired by seed."""
    lines = ["| optimizer, rate | without DL | with DL | gain (points) |", "|---|---|---|---|"]
    means: dict[str, list[float]] = {"without": [], "with": []}
    for name in (case.name for case in BINARY if " with DL" in case.name and case.name in by):
        other = name.replace("with DL", "without DL")
        pairs = {r["seed"]: 100 * r["accuracy"] for r in by.get(other, ())}
        found = {r["seed"]: 100 * r["accuracy"] for r in by[name]}
        both = sorted(pairs.keys() & found.keys())
        if not both:
            continue
        without, used = [pairs[s] for s in both], [found[s] for s in both]
        means["without"].append(statistics.mean(without))
        means["with"].append(statistics.mean(used))
        gains = [b - a for a, b in zip(without, used, strict=True)]
        lines.append(f"| {name.partition(', ')[2]} | {_spread(without)} | {_spread(used)} | {_paired(gains)} |")
    if len(means["with"]) > 1:
        spans = [f"{max(m) - min(m):.2f}" for m in (means["without"], means["with"])]
        lines.append(f"| span of the means over settings | {spans[0]} | {spans[1]} | |")
    return "\n".join(lines) if len(lines) > 2 else ""


def _together(by: dict[str, list[Record]]) -> str:
    """For each case of both the cheapest one of either alone that is no less accurate than twice the standard error."""
    lines = ["| channels and bits | accuracy (%) | mid (µJ) | cheapest alone | accuracy (%) | mid (µJ) | saved |"]
    lines.append("|---" * 7 + "|")
    alone = [case.name for case in (*BITS, *CHANNELS) if case.name in by]
    for name in (case.name for case in BOTH if case.name in by):
        runs = {r["seed"]: r for r in by[name]}
        as_good = []
        for other in alone:
            pairs = [(100 * runs[r["seed"]]["accuracy"], 100 * r["accuracy"]) for r in by[other] if r["seed"] in runs]
            apart = [theirs - ours for ours, theirs in pairs]
            error = statistics.stdev(apart) / len(apart) ** 0.5 if len(apart) > 1 else 0.0
            if apart and statistics.mean(apart) >= -2 * error:
                as_good.append((_energy(by[other]), other))
        mean = statistics.mean(100 * r["accuracy"] for r in runs.values())
        cells = [name, f"{mean:.2f}", f"{_energy(by[name]):.2f}"]
        if as_good:
            energy, other = min(as_good)
            accuracy = statistics.mean(100 * r["accuracy"] for r in by[other])
            cells += [other, f"{accuracy:.2f}", f"{energy:.2f}", f"{100 * (1 - _energy(by[name]) / energy):.0f} %"]
        else:
            cells += ["none is as accurate", "", "", ""]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) if len(lines) > 2 else ""


def _energy(runs: Sequence[Record]) -> float:
    return statistics.mean(float(r["energy_uj"]["mid"]) for r in runs)


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.mean(values):.2f}" + (f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else "")


def _paired(apart: Sequence[float]) -> str:
    """The mean difference with its standard error."""
    if len(apart) < 2:
        return f"{apart[0]:+.2f}"
    error = statistics.stdev(apart) / len(apart) ** 0.5
    mean = statistics.mean(apart)
    return f"{mean:+.2f} ± {error:.2f}{'' if abs(mean) > 2 * error else ', not told apart'}"


if __name__ == "__main__":
    main()
