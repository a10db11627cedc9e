"""Does any mapping that a search finds cost less than a lower bound? Random layers, with awkward sizes, on all presets.

    python -m benchmarks.soundness [--layers 2000] [--records FILE] [--table]

Each question is a layer, a preset, a dataflow that fits it and an objective, drawn by its number alone. Its best mappings are
searched with perfect and with imperfect factors, at effort 1 and 2. Then every bound is computed as if the best mapping known
cost half as much again, so that none is limited by what the searches found:

- of all mappings: the formulas of `hwflow.mapper.bounds`, and the bound of `hwflow.mapper.ragged_proof`;
- of mappings with perfect factors: the branch and bound of `hwflow.mapper.proof`, and the recursion of certificates.

Every question adds a line to a file of records, and what is recorded is not done again. The table counts bounds, and those that
a mapping is below; it exits with 1 where there is one.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import statistics
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import hwflow
from hwflow.certificate.leaves import proven_bound
from hwflow.certificate.space import Space
from hwflow.cost.energy_sources import energy_table
from hwflow.cost.mid import map_layer
from hwflow.errors import HwflowError, InputError, NotMappable
from hwflow.hardware.accelerator import presets
from hwflow.hardware.dataflow import constrain, dataflows
from hwflow.hardware.storage_level import LevelConstraint
from hwflow.loopnest.nest import Nest
from hwflow.mapper.array_utilization import array_utilization
from hwflow.mapper.bounds import lower_bound
from hwflow.mapper.proof import Room, prove
from hwflow.mapper.ragged_proof import prove_ragged
from hwflow.types import Objective

RECORDS = Path(__file__).parent / "results" / "soundness.jsonl"
KINDS = {"formulas": "all", "imperfect": "all", "search": "perfect", "certificate": "perfect"}
"""The bounds, and of which mappings each is."""

_WORSE = 1.5
_ROOM = Room(500, 1 << 13)
_MOST_SPREADS = 1000  # choices of spatial loops for which the recursion of certificates is asked
_ROUNDING = 1e-9

Record = dict[str, Any]


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=2000)
    parser.add_argument("--records", type=Path, default=RECORDS)
    parser.add_argument("--table", action="store_true", help="run nothing")
    asked = parser.parse_args()
    done = {record["question"] for record in read(asked.records)}
    for number in () if asked.table else range(asked.layers):
        if number not in done:
            with asked.records.open("a", encoding="utf-8") as file:
                file.write(json.dumps(answer(number)) + "\n")
    records = read(asked.records)
    print(table(records))
    raise SystemExit(int(any(above(record) for record in records)))


def answer(number: int) -> Record:
    """One question: the least objective found and the bounds, of all mappings and of those with perfect factors."""
    layer, chip, dataflow, objective = question(number)
    rules, energies = constrain(chip, dataflow), energy_table(chip)
    found = {"perfect": float("inf"), "all": float("inf")}
    record = {"question": number, "accelerator": chip.name, "dataflow": dataflow, "objective": objective, "layer": str(layer)}
    for space, effort in (("perfect", 1), ("perfect", 2), ("all", 1), ("all", 2)):
        try:
            result = map_layer(layer, chip, rules, energies, objective=objective, effort=effort, ragged=space == "all")
        except NotMappable:
            return {**record, "not_mappable": True}
        found[space] = min(found[space], _value(result.cost, objective))
    found["all"] = min(found.values())
    bounds = dict(_bounds(Nest(layer, chip, energies), rules, objective, found))
    return {**record, "found": found, "bounds": bounds, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}


def _bounds(
    nest: Nest, rules: tuple[LevelConstraint, ...], objective: Objective, found: dict[str, float]
) -> Iterator[tuple[str, float]]:
    yield "formulas", lower_bound(nest, rules, objective, array=array_utilization(nest, rules))
    best = map_layer(nest.layer, nest.accelerator, rules, nest.table, objective=objective)
    batch = nest.batch_of(best.mapping)
    verdict = nest.evaluate(batch)
    if objective == "latency":
        verdict = replace(verdict, cycles=verdict.cycles * _WORSE)
    else:
        verdict = replace(verdict, level_energy=verdict.level_energy * _WORSE, mac_energy=verdict.mac_energy * _WORSE)
    yield "imperfect", prove_ragged(nest, rules, objective, (batch, verdict), gap=0.0).bound
    proof = prove(nest, rules, objective, found["perfect"] * _WORSE, _ROOM)
    yield "search", proof.bound
    try:
        space = Space.of(nest.layer, nest.accelerator, nest.table, rules)
    except InputError:
        return
    cycles = verdict.level_cycles[:, 0].tolist()
    yield "certificate", proven_bound(space, objective, found["perfect"] * _WORSE, cycles, most=_MOST_SPREADS)


def question(number: int) -> tuple[hwflow.Layer, hwflow.Accelerator, str | None, Objective]:
    """The layer, chip, dataflow (None: the chip's own) and objective of this number."""
    rng = random.Random(number)
    chip = hwflow.Accelerator.load(rng.choice(list(presets())))
    objective = rng.choice(get_args(Objective))
    own = rng.random() < 0.5
    for dataflow in [None] if own else rng.sample(list(dataflows()), len(dataflows())):
        try:
            constrain(chip, dataflow)
        except HwflowError:  # this chip cannot have it
            continue
        return _layer(rng), chip, dataflow, objective
    return _layer(rng), chip, None, objective


def _layer(rng: random.Random) -> hwflow.Layer:
    channels = [1, 2, 3, 5, 7, 10, 12, 16, 21, 24, 32, 48, 55, 64, 96, 100, 128]
    sides = [1, 3, 4, 7, 8, 9, 13, 14, 17, 20, 28, 31]
    kind = rng.choice(["matrix", "pointwise", "window", "window", "depthwise", "grouped"])
    if kind == "matrix":
        return hwflow.Layer(kind, C=rng.choice(channels), M=rng.choice(channels), N=rng.choice([1, 1, 4, 6]))
    stride, dilation = rng.choice([1, 1, 2, 3]), rng.choice([1, 1, 1, 2, 4])
    rows, columns = (1, 1) if kind == "pointwise" else (rng.choice([1, 2, 3, 5, 7]), rng.choice([1, 3, 3, 5]))
    ins, outs = (1, rng.choice([1, 1, 2])) if kind == "depthwise" else (rng.choice(channels), rng.choice(channels))
    groups = {"depthwise": rng.choice(channels), "grouped": rng.choice([2, 3, 4, 8])}.get(kind, 1)
    ({"C": 1, "M": rng.choice([1, 1, 2])} if kind == "depthwise" else {"C": rng.choice(channels), "M": rng.choice(channels)})
    return hwflow.Layer(
        kind,
        G=groups,
        C=ins,
        M=outs,
        R=rows,
        S=columns,
        P=rng.choice(sides),
        Q=rng.choice(sides),
        strides=(stride, stride),
        dilations=(dilation, rng.choice([1, dilation])),
    )


def _value(cost: hwflow.LayerCost, objective: Objective) -> float:
    assert cost.energy is not None
    assert cost.cycles is not None
    return {"energy": cost.energy, "latency": float(cost.cycles), "edp": cost.energy * cost.cycles}[objective]


def above(record: Record) -> list[str]:
    """The bounds that a mapping is below."""
    found = record.get("found", {})
    return [kind for kind, bound in record.get("bounds", {}).items() if bound > found[KINDS[kind]] * (1 + _ROUNDING)]


def read(file: Path) -> list[Record]:
    """The records; none where there is no file."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []


def table(records: list[Record]) -> str:
    """For each kind of bound how many there are, how many are too large and what they are worth, in Markdown."""
    mapped = [record for record in records if "found" in record]
    lines = ["| bound | of mappings | bounds | a mapping is below | median of bound / best (%) |", "|---|---|---|---|---|"]
    for kind, space in KINDS.items():
        shares = [r["bounds"][kind] / r["found"][space] for r in mapped if r["bounds"].get(kind, 0) > 0]
        wrong = sum(kind in above(record) for record in mapped)
        lines.append(f"| {kind} | {space} | {len(shares)} | {wrong} | {100 * statistics.median(shares or [0]):.1f} |")
    peak = max((record["peak_mb"] for record in mapped), default=0)
    lines += ["", f"{len(records)} questions, {len(records) - len(mapped)} of them without a mapping; peak memory {peak} MB."]
    return "\n".join([*lines, *(f"- {r['layer']} on {r['accelerator']}: {', '.join(w)}" for r in mapped if (w := above(r)))])


if __name__ == "__main__":
    main()
