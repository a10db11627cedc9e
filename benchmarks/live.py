"""A live run: Fashion-MNIST at 14 x 14 pixels through the levels of ResNet-20 in groups, while other processes compute.

    python -m benchmarks.live FOLDER -o RECORD [--frames 1500] [--limit 1.5]
    python -m benchmarks.live --table RECORD   # prints only

FOLDER is that of `benchmarks.levels`, with the networks in groups trained. The levels are measured first; the limit is so many
times the largest one's median latency. In the middle third of the frames two other processes compute. The same frames are run
again with the largest level alone. The record has the measured table (`measured.json`), what the manager was told, which
`hwflow manage RECORD --measured --trace RECORD/trace.yaml` plays again, and the phases of both runs (`phases.json`).
"""

from __future__ import annotations

import argparse
import itertools
import json
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from benchmarks.levels import IMAGES, levels_of
from benchmarks.reduced import reduced_data
from hwflow.dynamic.level_table import MEASURED, read_table
from hwflow.dynamic.live_run import run_live
from hwflow.dynamic.measurement import measured_rows
from hwflow.files import write_text
from hwflow.training import score

RIVALS = 2
TRACE, PHASES = "trace.yaml", "phases.json"


def run(folder: Path, record: Path, frames: int, times: float) -> None:
    """Measure, run twice, and keep what happened."""
    data = reduced_data(IMAGES)
    networks = levels_of("grouped", data, folder)
    held = data.hold_out()[1]
    known = {k: (score(n, held, device="cpu", precision="float32").accuracy, 0) for k, n in networks.items()}
    table = measured_rows("resnet20", networks, known, data.input_shape, (1,), notify=print)
    table = replace(table, rows=tuple(row for row in table.rows if not row.unit.endswith("onnxruntime")))  # PyTorch runs
    largest = max(table.rows, key=lambda row: row.level)
    limit = times * largest.latency_s
    samples = [(image, int(label[0])) for image, label in itertools.islice(data.test.batches(1), frames)]
    third = frames // 3
    content: dict[str, Any] = {"limit_s": limit, "times": times, "frames": frames, "rivals": RIVALS}
    content |= {"date": f"{datetime.now(UTC):%Y-%m-%d}", "phases": {}}
    record.mkdir(parents=True, exist_ok=True)
    for name, rows in (("manager", table.rows), ("level 4 alone", (largest,))):
        done = run_live(
            networks, replace(table, rows=rows), samples, limit, frames=frames, rival=(third, 2 * third), rivals=RIVALS
        )
        content["phases"][name] = [asdict(phase) for phase in done.phases]
        if name == "manager":
            write_text(record / TRACE, yaml.safe_dump(done.trace(), sort_keys=False))
    write_text(record / MEASURED, table.to_json())
    write_text(record / PHASES, json.dumps(content, indent=1) + "\n")


def table(record: Path) -> str:
    """A row for each phase of both runs, in Markdown."""
    content = json.loads((record / PHASES).read_text(encoding="utf-8"))
    lines = [
        "| run | frames | rivals | levels, share of the frames (%) | median latency (ms) | over the limit | right (%) |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, phases in content["phases"].items():
        for phase in phases:
            first, count = phase["start"], phase["frames"]
            levels = ", ".join(f"{level}: {100 * own / count:.0f}" for level, own in sorted(phase["levels"].items()))
            cells = [name, f"{first:,} to {first + count - 1:,}", str(phase["rivals"]), levels]
            cells += [f"{1e3 * phase['median_s']:.2f}", str(phase["late"]), f"{100 * phase['accuracy']:.1f}"]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def show(record: Path) -> None:
    """What the levels take, the limit, and the table."""
    content = json.loads((record / PHASES).read_text(encoding="utf-8"))
    medians = ", ".join(f"level {row.level} {1e3 * row.latency_s:.2f}" for row in read_table(record / MEASURED).rows)
    print(f"measured medians (ms): {medians}; limit {1e3 * content['limit_s']:.2f} ms")
    print(table(record))


def main() -> None:
    """Run, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--frames", type=int, default=1500)
    parser.add_argument("--limit", type=float, default=1.5)
    kept = parser.add_mutually_exclusive_group(required=True)
    kept.add_argument("-o", "--output", type=Path, metavar="RECORD")
    kept.add_argument("--table", type=Path, metavar="RECORD")
    asked = parser.parse_args()
    if asked.table is None:
        if asked.folder is None:
            parser.error("FOLDER is missing")
        run(asked.folder, asked.output, asked.frames, asked.limit)
    show(asked.table or asked.output)


if __name__ == "__main__":
    main()
