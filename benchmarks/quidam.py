"""QUIDAM's claims held against hwflow's answers: spread of designs, what LightPEs gain, and how fast a fitted model predicts.

    python -m benchmarks.quidam -o runs/quidam [--chips 100] [--jobs 1] [--table]

QUIDAM (Inci et al., arXiv:2206.15463) synthesised its designs; here the level mid costs a Latin hypercube of variants of
Eyeriss with PEs of five types, with the energies of arithmetic from either source, for ResNet-8, 14 and 20 at the size of
Fashion-MNIST.
Characterisations go on where they were. The result is one record, of which `--table` prints the tables of the documentation.
"""

from __future__ import annotations

import argparse
import datetime
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import hwflow
from hwflow.arrays import Floats
from hwflow.coexploration import characterise, fit
from hwflow.coexploration.knobs import hypercube, knobs_of, values_at
from hwflow.coexploration.records import read
from hwflow.coexploration.samples import Samples, layers_of, samples_of
from hwflow.hardware.accelerator import Accelerator
from hwflow.network import Network
from hwflow.ppa.model import PpaModel
from hwflow.ppa.selection import split
from hwflow.ranking import spearman

RESULT = Path(__file__).parent / "results" / "quidam.json"
PE_TYPES = ("fp32", "int16", "int8", "lightpe1", "lightpe2")
SOURCES = ("aladdin", "horowitz")
SHAPE = (1, 1, 28, 28)
PREDICTED = 20_000  # designs of each PE type
COLD = 10  # chips that mid costs for the comparison of times

Record = dict[str, Any]


def networks() -> dict[str, Network]:
    """ResNet-8, 14 and 20: one, two and three blocks a stage."""
    whole = hwflow.zoo("resnet20", input_shape=SHAPE)

    def block(name: str) -> int:
        return int(name.split(".")[1]) if name.startswith("layer") else 0

    return {
        f"resnet{6 * n + 2}": Network(f"resnet{6 * n + 2}", tuple(la for la in whole if block(la.name) < n)) for n in (1, 2, 3)
    }


def base(source: str) -> Accelerator:
    """Eyeriss, with the energies of arithmetic from one source."""
    chip = Accelerator.load("eyeriss")
    return chip if source == "aladdin" else chip.with_({"mac.energies": source})


def totals(network: Network, samples: Samples, header: Record) -> tuple[Floats, Floats]:
    """Energy in pJ and cycles of a network on each characterised chip."""
    places = {layer.key: i for i, layer in enumerate(layers_of(header))}
    rows = [places[layer.key] for layer in network]
    return samples.energy[:, rows].sum(axis=1), samples.cycles[:, rows].sum(axis=1)


def claims(found: dict[str, Samples], areas: dict[str, Floats], header: Record, network: Network) -> Record:
    """Spreads over all chips, and the best of each PE type against the best INT16."""
    energy, speed = {}, {}
    for pe_type, samples in found.items():
        energy[pe_type], cycles = totals(network, samples, header)
        speed[pe_type] = 200e6 / cycles / (areas[pe_type] * 1e-6)  # inferences a second on a square millimetre
    every_energy, every_speed = np.concatenate(list(energy.values())), np.concatenate(list(speed.values()))
    return {
        "spread of performance per area": float(every_speed.max() / every_speed.min()),
        "spread of energy": float(every_energy.max() / every_energy.min()),
        "spread of performance per area within a type": {t: float(v.max() / v.min()) for t, v in speed.items()},
        "spread of energy within a type": {t: float(v.max() / v.min()) for t, v in energy.items()},
        "performance per area over int16": {t: float(speed[t].max() / speed["int16"].max()) for t in found},
        "energy of int16 over it": {t: float(energy["int16"].min() / energy[t].min()) for t in found},
    }


def predicted_spread(model: PpaModel, network: Network) -> Record:
    """The same spreads over many more designs, as the model predicts them."""
    knobs = [knob for knob in knobs_of(model.base, model.fields) if knob.field in model.fields]
    values = values_at(knobs, hypercube(len(knobs), PREDICTED, 1).tolist())
    energy, speed = [], []
    distinct = {layer.key: layer for layer in network}
    rows = [list(distinct).index(layer.key) for layer in network]
    for pe_type in model.types:
        told = model.predict(pe_type, values, tuple(distinct.values()))
        assert told.area_um2 is not None
        energy.append(sum(told.energy.values())[:, rows].sum(axis=1))  # type: ignore[index]
        speed.append(200e6 / told.cycles[:, rows].sum(axis=1) / (told.area_um2 * 1e-6))
    each = [np.concatenate(energy), np.concatenate(speed)]
    return {
        "designs": PREDICTED * len(model.types),
        "spread of energy": float(each[0].max() / each[0].min()),
        "spread of performance per area": float(each[1].max() / each[1].min()),
    }


def held_out(model: PpaModel, found: dict[str, Samples], header: Record, network: Network) -> Record:
    """Errors of a whole network on the chips that no fit has seen: medians in percent, and rank correlations, by PE type."""
    result: Record = {}
    places = {layer.key: i for i, layer in enumerate(layers_of(header))}
    rows = [places[layer.key] for layer in network]
    for place, (pe_type, samples) in enumerate(found.items()):
        out = split(samples.numbers, [0, place]).held_out
        told = model.predict(pe_type, samples.values[out], layers_of(header))
        known = [values[out] for values in totals(network, samples, header)]
        pairs = {
            "energy": (sum(told.energy.values())[:, rows].sum(axis=1), known[0]),  # type: ignore[index]
            "cycles": (told.cycles[:, rows].sum(axis=1), known[1]),
        }
        if told.area_um2 is not None and samples.area_um2 is not None:
            pairs["area"] = (told.area_um2, samples.area_um2[out])
        result[pe_type] = {
            name: {"median": float(np.median(np.abs(a / b - 1))), "rank": spearman(a.tolist(), b.tolist())}
            for name, (a, b) in pairs.items()
        }
    return result


def speeds(model: PpaModel, network: Network) -> Record:
    """Processor time of a design: of the model, many at once, and of mid, each new to it."""
    knobs = [knob for knob in knobs_of(model.base, model.fields) if knob.field in model.fields]
    values = values_at(knobs, hypercube(len(knobs), PREDICTED, 2).tolist())
    layers = tuple({layer.key: layer for layer in network}.values())
    start = time.process_time()
    model.predict("int8", values, layers)
    ours = (time.process_time() - start) / PREDICTED
    chips = [
        model.base.with_({"pe_type": "int8", **{k.field: k.value(u) for k, u in zip(knobs, row, strict=True)}})
        for row in hypercube(len(knobs), COLD + 1, 3).tolist()
    ]
    hwflow.estimate(network, chips[0], energy="fitted", store=False)  # what is loaded once
    start = time.process_time()
    for chip in chips[1:]:
        hwflow.estimate(network, chip, energy="fitted", store=False)
    mid = (time.process_time() - start) / COLD
    return {"model_s": ours, "mid_s": mid, "ratio": mid / ours}


def measured(folder: Path, chips: int, jobs: int) -> Record:
    """The whole experiment."""
    nets = networks()
    record: Record = {
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "command": f"python -m benchmarks.quidam -o runs/quidam --chips {chips}",
        "chips of a type": chips,
        "sources": {},
    }
    areas: dict[str, Floats] = {}
    for source in SOURCES:
        place = folder / source
        characterise(
            list(nets.values()), place, base=base(source), pe_types=PE_TYPES, chips=chips, jobs=jobs, store=False
        )  # fmt: skip
        records = read(place)
        found = {pe_type: samples_of(records, pe_type) for pe_type in PE_TYPES}
        for pe_type, samples in found.items():
            if samples.area_um2 is not None:  # Horowitz has no areas; the chips are the same
                areas[pe_type] = samples.area_um2
        told: Record = {name: claims(found, areas, records.header, net) for name, net in nets.items()}
        model = fit(place, command=f"hwflow ppa fit runs/quidam/{source}")
        record["level"] = records.header["level_version"]
        record["sources"][source] = {
            "answered": sum(len(samples.numbers) for samples in found.values()),
            "networks": told,
            "held out": {name: held_out(model, found, records.header, net) for name, net in nets.items()},
        }
        if source == "aladdin":
            record["predicted"] = {name: predicted_spread(model, net) for name, net in nets.items()}
            record["speed"] = speeds(model, nets["resnet20"])
    return record


def markdown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def table(record: Record) -> str:
    """What the documentation shows."""
    rows = []
    for source, found in record["sources"].items():
        for name, told in found["networks"].items():
            per_area, energy = told["performance per area over int16"], told["energy of int16 over it"]
            gains = [f"{per_area[t]:.1f} / {energy[t]:.1f}" for t in ("lightpe1", "lightpe2", "int8", "fp32")]
            spreads = [f"{told[f'spread of {what}']:.0f}" for what in ("performance per area", "energy")]
            rows.append([name, source, *spreads, *gains])
    headings = [
        "network",
        "arithmetic",
        "spread of inferences/s/mm²",
        "spread of energy",
        "LightPE-1",
        "LightPE-2",
        "INT8",
        "FP32",
    ]
    quality = []
    for source, found in record["sources"].items():
        for what in ("energy", "cycles", "area"):
            each = [one[what] for of in found["held out"].values() for one in of.values() if what in one]
            if each:
                medians, ranks = [100 * one["median"] for one in each], [one["rank"] for one in each]
                quality.append([source, what, f"{min(medians):.1f} to {max(medians):.1f}", f"{min(ranks):.3f}"])
    spread = [
        [name, f"{told['designs']:,}", f"{told['spread of performance per area']:.0f}", f"{told['spread of energy']:.0f}"]
        for name, told in record["predicted"].items()
    ]
    networks_told = [told for found in record["sources"].values() for told in found["networks"].values()]
    within = []
    for what in ("performance per area", "energy"):
        values = [value for told in networks_told for value in told[f"spread of {what} within a type"].values()]
        within.append(f"{min(values):.1f} to {max(values):.1f}")
    speed = record["speed"]
    parts = [
        f"{record['date']}, `{record['command']}`, {record['level']}, {record['sources']['aladdin']['answered']} chips:",
        markdown(headings, rows),
        f"Spreads among the chips of one PE type: {within[0]} in inferences/s/mm², {within[1]} in energy.",
        "Held-out errors of the fitted models, each network on each PE type:",
        markdown(["arithmetic", "of", "median error (%), least to largest", "least rank correlation"], quality),
        "Spreads over more designs, as the model predicts them:",
        markdown(["network", "designs", "spread of inferences/s/mm²", "spread of energy"], spread),
        f"A design takes {1e6 * speed['model_s']:.0f} µs of processor time with the model and {1e3 * speed['mid_s']:.0f} ms "
        f"with mid cold: a factor of {speed['ratio']:,.0f}.",
    ]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Run what is missing, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/quidam"))
    parser.add_argument("--chips", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--table", action="store_true", help="print the tables of the recorded result alone")
    asked = parser.parse_args()
    if not asked.table:
        record = measured(asked.output, asked.chips, asked.jobs)
        RESULT.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(table(json.loads(RESULT.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
