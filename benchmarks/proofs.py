"""How many mappings are proven to be within 0.1 % of the best one with perfect factors, and how long a proof takes.

    python -m benchmarks.proofs [--accelerators eyeriss,simba] [--networks resnet18] [--objectives edp] [--gap 0.001] [--table]

All distinct layers of the ten networks that hwflow knows, on the five presets, for EDP, energy and latency. Every layer adds a
line to a file of records, and what is recorded is not done again, unless with another version of the proof's bounds, or
without success before certificates' bounds were tried, too (records without `by`, whose bound it is). The table
gives for each accelerator and objective how many layers are recorded, how many of them with the present version, how many are
proven, how much the mapping of a search without a proof exceeds what is now known to be the best, and CPU seconds of the search
and the proof together.

    python -m benchmarks.proofs --ragged [--accelerators ...] [--networks ...] [--objectives ...] [--table]

With `--ragged` the same of all mappings, imperfect factors included: for how many layers the bound that `--proof gap` finds is
within 1 % of the mapping, and how much of the objective the mapping of a search without a proof has too much. The table is of
the layers of the networks that are named.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import hwflow
from hwflow.cost.energy_sources import energy_table
from hwflow.cost.mid import map_layer
from hwflow.hardware.accelerator import presets
from hwflow.hardware.dataflow import constrain
from hwflow.mapper.proof import VERSION
from hwflow.mapper.ragged_proof import VERSION as RAGGED_VERSION
from hwflow.network.model_zoo import NAMES

RECORDS = Path(__file__).parent / "results" / "proofs.jsonl"
RAGGED_RECORDS = Path(__file__).parent / "results" / "ragged_proofs.jsonl"
OBJECTIVES = ("edp", "energy", "latency")

Record = dict[str, Any]


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accelerators", default=",".join(presets()))
    parser.add_argument("--networks", default=",".join(NAMES))
    parser.add_argument("--objectives", default=",".join(OBJECTIVES))
    parser.add_argument("--gap", type=float, default=0.001)
    parser.add_argument("--records", type=Path)
    parser.add_argument("--table", action="store_true", help="run nothing")
    parser.add_argument("--ragged", action="store_true", help="mappings with imperfect factors, with records of their own")
    asked = parser.parse_args()
    layers = {layer.key: layer for name in asked.networks.split(",") for layer in hwflow.zoo(name).layers}
    file = asked.records or (RAGGED_RECORDS if asked.ragged else RECORDS)
    for name in () if asked.table else asked.accelerators.split(","):
        for objective in asked.objectives.split(","):
            (run_ragged if asked.ragged else run)(name, objective, list(layers.values()), asked.gap, file)
    shapes = {shape({"layer": str(layer)}) for layer in layers.values()}
    print(ragged_table(among(read(file), shapes)) if asked.ragged else table(read(file), asked.gap))


def run(name: str, objective: Any, layers: Sequence[hwflow.Layer], gap: float, file: Path) -> None:
    """Prove what is not recorded."""
    chip = hwflow.Accelerator.load(name)
    energies, constraints = energy_table(chip), constrain(chip)
    anew = (r for r in read(file) if r.get("version") == VERSION and ("by" in r or 1 - r["bound"] / r["best"] <= gap + 1e-8))
    done = {shape(r) for r in anew if (r["accelerator"], r["objective"]) == (name, objective)}
    for layer in layers:
        if shape({"layer": str(layer)}) in done:
            continue
        plain = map_layer(layer, chip, constraints, energies, objective=objective, ragged=False)
        start = time.process_time()
        found = map_layer(layer, chip, constraints, energies, objective=objective, ragged=False, proof="optimal", gap=gap)
        record = {
            "accelerator": name,
            "objective": objective,
            "layer": str(layer),
            "version": VERSION,
            "search": value(plain.cost, objective),
            "best": value(found.cost, objective),
            "bound": found.perfect_bound,
            "by": found.proven_by,
            "seconds": round(time.process_time() - start, 3),
        }
        with file.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(record) + "\n")


def run_ragged(name: str, objective: Any, layers: Sequence[hwflow.Layer], gap: float, file: Path) -> None:
    """Bound what is not recorded, imperfect factors included."""
    chip = hwflow.Accelerator.load(name)
    energies, constraints = energy_table(chip), constrain(chip)
    anew = (r for r in read(file) if r.get("version") == RAGGED_VERSION)
    done = {shape(r) for r in anew if (r["accelerator"], r["objective"]) == (name, objective)}
    for layer in layers:
        if shape({"layer": str(layer)}) in done:
            continue
        plain = map_layer(layer, chip, constraints, energies, objective=objective)
        start = time.process_time()
        found = map_layer(layer, chip, constraints, energies, objective=objective, proof="gap", gap=gap)
        record = {
            "accelerator": name,
            "objective": objective,
            "layer": str(layer),
            "version": RAGGED_VERSION,
            "search": value(plain.cost, objective),
            "plain_bound": plain.bound,
            "best": value(found.cost, objective),
            "bound": found.bound,
            "imperfect": found.mapping.ragged,
            "seconds": round(time.process_time() - start, 3),
        }
        with file.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(record) + "\n")


def ragged_table(records: Sequence[Record]) -> str:
    """One row for each accelerator and objective, in Markdown, and all of them together."""
    lines = [
        "| accelerator | objective | layers | within 0.1 % | within 1 % | median gap (%) | largest gap (%) "
        "| without a proof: within 1 % | better mappings | by, most (%) | median s | most s |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    near = 0
    for name, objective in dict.fromkeys((r["accelerator"], r["objective"]) for r in records):
        some = [r for r in records if (r["accelerator"], r["objective"]) == (name, objective)]
        gaps = [1 - r["bound"] / r["best"] for r in some]
        plain = sum(1 - r["plain_bound"] / r["search"] <= 0.01 for r in some)
        gains = [1 - r["best"] / r["search"] for r in some]
        seconds = [r["seconds"] for r in some]
        near += sum(g <= 0.01 for g in gaps)
        cells = [
            name,
            objective,
            str(len(some)),
            str(sum(g <= 0.001 + 1e-8 for g in gaps)),
            str(sum(g <= 0.01 for g in gaps)),
            f"{100 * statistics.median(gaps):.2f}",
            f"{100 * max(gaps):.1f}",
            str(plain),
            str(sum(gain > 1e-9 for gain in gains)),
            f"{100 * max(gains):.1f}",
            f"{statistics.median(seconds):.2f}",
            f"{max(seconds):.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    total = len(records)
    return "\n".join([*lines, "", f"Within 1 %: {near} of {total} ({100 * near / max(total, 1):.1f} %)."])


def value(cost: hwflow.LayerCost, objective: str) -> float:
    """The objective of a layer's cost."""
    energy, cycles = cost.energy or 0.0, float(cost.cycles or 0)
    return {"energy": energy, "latency": cycles, "edp": energy * cycles}[objective]


def read(file: Path) -> list[Record]:
    """All records, of each layer the last."""
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []
    return list({(r["accelerator"], r["objective"], shape(r)): r for r in lines}.values())


def shape(record: Record) -> str:
    """A layer without its name, which networks give to equal layers as they like."""
    return str(record["layer"]).partition(" (")[2]


def among(records: Sequence[Record], shapes: Collection[str]) -> list[Record]:
    """The records of some layers."""
    return [r for r in records if shape(r) in shapes]


def table(records: Sequence[Record], gap: float) -> str:
    """One row for each accelerator and objective, in Markdown, and the layers that are not proven."""
    lines = [
        "| accelerator | objective | layers | present version | proven | largest gap (%) | search above best, most (%) "
        "| median s | most s |"
    ]
    lines.append("|---|---|---|---|---|---|---|---|---|")
    left = []
    for name, objective in dict.fromkeys((r["accelerator"], r["objective"]) for r in records):
        some = [r for r in records if (r["accelerator"], r["objective"]) == (name, objective)]
        gaps = [1 - r["bound"] / r["best"] for r in some]
        above = max(r["search"] / r["best"] - 1 for r in some)
        seconds = [r["seconds"] for r in some]
        proven = sum(g <= gap + 1e-8 for g in gaps)
        present = sum(r.get("version") == VERSION for r in some)
        cells = [name, objective, str(len(some)), str(present), str(proven), f"{100 * max(gaps):.2f}", f"{100 * above:.2f}"]
        lines.append(f"| {' | '.join([*cells, f'{statistics.median(seconds):.2f}', f'{max(seconds):.1f}'])} |")
        left += [
            f"{name}, {objective}: {r['layer']}, {100 * g:.2f} %" for r, g in zip(some, gaps, strict=True) if g > gap + 1e-8
        ]
    return "\n".join([*lines, "", *(f"Not proven: {text}" for text in left)])


if __name__ == "__main__":
    main()
