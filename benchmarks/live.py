"""A live run: Fashion-MNIST at 14 x 14 pixels through the levels of ResNet-20 in groups, while other processes compute.

    python -m benchmarks.live FOLDER [--frames 900] [--limit 1.5] [-o live.yaml]

FOLDER is that of `benchmarks.levels`, with the networks in groups trained. The levels are measured first; the limit is so many
times the largest one's median latency. In the middle third of the frames two other processes compute. The same frames are run
again with the largest level alone. `-o` keeps what the manager was told, a trace for `hwflow manage --measured`, and beside it
the phases and the table, `live.json` and `live-measured.json`.
"""

from __future__ import annotations

import argparse
import itertools
import json
from dataclasses import asdict, replace
from pathlib import Path

import yaml

from benchmarks.levels import IMAGES, levels_of
from benchmarks.reduced import reduced_data
from hwflow.dynamic.live_run import LiveRun, run_live
from hwflow.dynamic.measurement import measured_rows
from hwflow.training import score

RIVALS = 2


def main() -> None:
    """Measure, run twice, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--frames", type=int, default=900)
    parser.add_argument("--limit", type=float, default=1.5)
    parser.add_argument("-o", "--output", type=Path)
    asked = parser.parse_args()
    data = reduced_data(IMAGES)
    networks = levels_of("grouped", data, asked.folder)
    held = data.hold_out()[1]
    known = {k: (score(n, held, device="cpu", precision="float32").accuracy, 0) for k, n in networks.items()}
    table = measured_rows("resnet20", networks, known, data.input_shape, (1,), notify=print)
    largest = max(table.rows, key=lambda row: row.level)
    limit = asked.limit * largest.latency_s
    samples = [(image, int(label[0])) for image, label in itertools.islice(data.test.batches(1), asked.frames)]
    found = {}
    third = asked.frames // 3
    for name, rows in (("manager", table.rows), ("largest level", (largest,))):
        run = run_live(
            networks,
            replace(table, rows=rows),
            samples,
            limit,
            frames=asked.frames,
            rival=(third, 2 * third),
            rivals=RIVALS,
        )
        found[name] = run
        show(name, run)
    if asked.output is not None:
        asked.output.write_text(yaml.safe_dump(found["manager"].trace(), sort_keys=False), encoding="utf-8")
        phases = {name: [asdict(phase) for phase in run.phases] for name, run in found.items()}
        content = {"limit_s": limit, "frames": asked.frames, "rivals": RIVALS, "phases": phases}
        beside = asked.output.with_suffix(".json")
        beside.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        asked.output.with_name("live-measured.json").write_text(table.to_json(), encoding="utf-8")


def show(name: str, run: LiveRun) -> None:
    """A line for each phase."""
    print(f"{name}: limit {1e3 * run.limit_s:.2f} ms")
    for phase in run.phases:
        levels = ", ".join(f"{level}: {count}" for level, count in phase.levels.items())
        print(
            f"  from frame {phase.start}, {phase.rivals} rivals: levels {levels}; median {1e3 * phase.median_s:.2f} ms, "
            f"{phase.late} of {phase.frames} over the limit, {100 * phase.accuracy:.2f} % right"
        )


if __name__ == "__main__":
    main()
