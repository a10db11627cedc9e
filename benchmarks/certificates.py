"""How many layers a certificate proves to be within 0.1 % and 1 % of the best mapping, and how long issue and check take.

    python -m benchmarks.certificates [--accelerators eyeriss] [--networks resnet18] [--objectives edp] [--gap 0.001]
    python -m benchmarks.certificates --table | --left

For each distinct layer of the networks: a search without a proof, a certificate of its mapping, and where that leaves more than
the gap, a search with `--proof optimal` and another certificate; then the check. Every layer adds a line to a file of records,
and what is recorded is not done again, unless with certificates of another form. Seconds are CPU seconds; those of search and
proof together are of `benchmarks.proofs`, with which checks are compared for the layers that both records have. `--left` lists
the layers that are not within the gap.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import hwflow
from benchmarks.proofs import OBJECTIVES, Record, read, shape
from benchmarks.proofs import RECORDS as PROOFS
from hwflow.certificate.check import verify
from hwflow.certificate.document import FORM, Document
from hwflow.certificate.issue import certificate
from hwflow.cost.energy_sources import energy_table
from hwflow.cost.mid import map_layer
from hwflow.errors import InputError
from hwflow.hardware.accelerator import presets
from hwflow.hardware.dataflow import constrain
from hwflow.network.model_zoo import NAMES
from hwflow.types import Objective

RECORDS = Path(__file__).parent / "results" / "certificates.jsonl"


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accelerators", default=",".join(presets()))
    parser.add_argument("--networks", default=",".join(NAMES))
    parser.add_argument("--objectives", default=",".join(OBJECTIVES))
    parser.add_argument("--gap", type=float, default=0.001)
    parser.add_argument("--records", type=Path, default=RECORDS)
    parser.add_argument("--table", action="store_true", help="run nothing")
    parser.add_argument("--left", action="store_true", help="run nothing, and list the layers that are not within the gap")
    asked = parser.parse_args()
    if not asked.table and not asked.left:
        layers = {layer.key: layer for name in asked.networks.split(",") for layer in hwflow.zoo(name).layers}
        for name in asked.accelerators.split(","):
            for objective in asked.objectives.split(","):
                run(name, cast("Objective", objective), list(layers.values()), asked.gap, asked.records)
    records = of_present_form(asked.records)
    print("\n".join(left(records, asked.gap)) if asked.left else table(records, read(PROOFS), asked.gap))


def of_present_form(file: Path) -> list[Record]:
    """The records of certificates that this version of hwflow can check."""
    return [record for record in read(file) if record.get("form") == FORM]


def run(name: str, objective: Objective, layers: Sequence[hwflow.Layer], gap: float, file: Path) -> None:
    """Certify what is not recorded."""
    done = {shape(r) for r in of_present_form(file) if (r["accelerator"], r["objective"]) == (name, objective)}
    for layer in layers:
        record: Record = {"accelerator": name, "objective": objective, "layer": str(layer), "form": FORM}
        if shape(record) in done:
            continue
        try:
            record |= certified(name, objective, layer, gap)
        except InputError as error:
            record["not covered"] = str(error)
        with file.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(record) + "\n")


def certified(name: str, objective: Objective, layer: hwflow.Layer, gap: float) -> Record:
    """What is recorded of one layer."""
    chip = hwflow.Accelerator.load(name)
    energies, constraints = energy_table(chip), constrain(chip)
    seconds: dict[str, float] = {}

    def timed(what: str, work: Any) -> Any:
        start = time.process_time()
        result = work()
        seconds[what] = round(time.process_time() - start, 4)
        return result

    def search(proof: Any) -> Any:
        return map_layer(
            layer,
            chip,
            constraints,
            energies,
            objective=objective,
            ragged=False,
            proof=proof,
            gap=gap if proof != "off" else 0.0,
        ).mapping

    def issue() -> Document:
        return certificate(layer, chip, None, energies, mapping, objective, gap=gap)

    mapping = timed("search", lambda: search("off"))
    document = timed("issue", issue)
    if document.gap > gap + 1e-8:
        mapping = timed("proof", lambda: search("optimal"))
        document = timed("issue", issue)
    found = timed("check", lambda: verify(document))
    return {
        "value": found.value,
        "bound": found.bound,
        "spreads": found.spreads,
        "leaves": found.leaves,
        "bytes": len(document.text()),
        "seconds": seconds,
    }


def table(records: Sequence[Record], proofs: Sequence[Record], gap: float) -> str:
    """One row for each accelerator and objective, in Markdown, and what checks take."""
    lines = [
        f"| accelerator | objective | layers | within {100 * gap:g} % | within 1 % | largest gap (%) | leaves | kB | search s "
        "| search and proof s | check s | check, most s | check / search and proof (%) |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    all_both = []
    proven = {(r["accelerator"], r["objective"], shape(r)): r["seconds"] for r in proofs}
    for name, objective in dict.fromkeys((r["accelerator"], r["objective"]) for r in records):
        every = [r for r in records if (r["accelerator"], r["objective"]) == (name, objective)]
        some = [r for r in every if "bound" in r]
        if not some:
            continue
        gaps = [gap_of(r) for r in some]
        checks = [r["seconds"]["check"] for r in some]
        both = [(c, proven[key]) for r, c in zip(some, checks, strict=True) if (key := (name, objective, shape(r))) in proven]
        all_both += both
        cells = [
            *(name, objective, str(len(every)), str(sum(g <= gap + 1e-8 for g in gaps)), str(sum(g <= 0.01 for g in gaps))),
            *(f"{100 * max(gaps):.2f}", f"{statistics.median(r['leaves'] for r in some):.0f}"),
            f"{statistics.median(r['bytes'] for r in some) / 1000:.0f}",
            f"{statistics.median(r['seconds']['search'] for r in some):.3f}",
            f"{statistics.median(proof for _, proof in both):.3f} ({len(both)})" if both else "",
            *(f"{statistics.median(checks):.3f}", f"{max(checks):.2f}", share(both)),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    checked, searched = (sum(seconds) for seconds in zip(*all_both, strict=True)) if all_both else (0.0, 0.0)
    total = (
        f"The {len(all_both)} layers in both records: checks take {checked:.1f} s, search and proof {searched:.1f} s "
        f"({share(all_both)} %); a check takes less than a tenth for {sum(10 * c < s for c, s in all_both)} of them, and less "
        f"than the whole for {sum(c < s for c, s in all_both)}."
    )
    return "\n".join([*lines, "", total])


def left(records: Sequence[Record], gap: float) -> list[str]:
    """The layers that are not within the gap, and those that certificates do not cover."""
    return [
        f"{r['accelerator']}, {r['objective']}: {r['layer']}, {r.get('not covered') or f'{100 * gap_of(r):.2f} %'}"
        for r in records
        if "bound" not in r or gap_of(r) > gap + 1e-8
    ]


def gap_of(record: Record) -> float:
    """The share by which a mapping can exceed the best."""
    return float(1 - record["bound"] / record["value"])


def share(both: Sequence[tuple[float, float]]) -> str:
    """The seconds of checks over those of search and proof, in percent."""
    searched = sum(seconds for _, seconds in both)
    return f"{100 * sum(seconds for seconds, _ in both) / searched:.1f}" if searched else ""


if __name__ == "__main__":
    main()
