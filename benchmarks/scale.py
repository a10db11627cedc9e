"""Large inputs: a network of many different layers at mid, and a sweep of many points at coarse, in processor time.

    python -m benchmarks.scale [--layers 2000] [--points 20000] [--against CHECKOUT] [--rounds 1]

Each is one `hwflow` command with one job and an empty store. With `--against`, the folder of another version's checkout, both
versions take turns in one run, and the ratio is the result; equal tables are checked, byte for byte.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import yaml

import hwflow

HERE = Path(hwflow.__file__).resolve().parents[1]
TABLES = ("results.csv", "results.parquet", "layers.parquet")
STEPS = 20  # values of two of the three fields that are swept


@dataclass(frozen=True)
class Measured:
    """Processor seconds of each command, and bytes of the sweep's records."""

    network_s: float
    sweep_s: float
    records: int


def write_inputs(folder: Path, layers: int, points: int) -> None:
    """A layer list of convolutions that differ in their channels, and a sweep of variants of eyeriss with ResNet-18."""
    rows = [
        {"name": f"conv{i}", "C": 16 + 8 * (i % 40), "M": 16 + 8 * (i // 40), "P": 14, "Q": 14, "R": 3, "S": 3}
        for i in range(layers)
    ]
    fields = {
        "pe_array.rows": {"from": 1, "to": STEPS, "step": 1},
        "pe_array.columns": {"from": 1, "to": STEPS, "step": 1},
        "global_buffer.size_kib": {"from": 16, "to": 16 * -(-points // STEPS**2), "step": 16},
    }
    sweep = {"networks": ["resnet18"], "accelerators": [{"base": "eyeriss", "set": fields}], "levels": ["coarse"]}
    (folder / "network.yaml").write_text(yaml.safe_dump({"name": "many", "layers": rows}), encoding="utf-8")
    (folder / "sweep.yaml").write_text(yaml.safe_dump(sweep), encoding="utf-8")


def measure(checkout: Path, folder: Path, out: Path) -> Measured:
    """Both commands, with the version of hwflow in a folder."""
    out.mkdir()
    seconds = []
    for arguments in (
        ["estimate", str(folder / "network.yaml"), "-a", "eyeriss", "--format", "csv", "-o", str(out / "network.csv")],
        ["sweep", str(folder / "sweep.yaml"), "-o", str(out / "sweep"), "--yes"],
    ):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        environment = {**os.environ, "PYTHONPATH": str(checkout), "XDG_CACHE_HOME": str(out / "cache")}
        command = [sys.executable, "-m", "hwflow", *arguments, "--jobs", "1"]
        subprocess.run(command, env=environment, cwd=out, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return Measured(seconds[0], seconds[1], (out / "sweep" / "records.jsonl").stat().st_size)


def told(name: str, found: Measured) -> str:
    """One line."""
    return f"{name:10} network {found.network_s:7.1f} s, sweep {found.sweep_s:7.1f} s, records {found.records / 1e6:6.1f} MB"


def main() -> None:
    """Print what each takes, and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=2000)
    parser.add_argument("--points", type=int, default=20_000)
    parser.add_argument("--against", type=Path, help="the folder of another version")
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    print(f"{datetime.now(UTC).date()}, hwflow {hwflow.__version__}: {options.layers:,} layers, {options.points:,} points")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_inputs(folder, options.layers, options.points)
        for i in range(options.rounds):
            mine = measure(HERE, folder, folder / f"mine-{i}")
            print(told("this", mine), flush=True)
            if options.against is None:
                continue
            other = measure(options.against.resolve(), folder, folder / f"other-{i}")
            print(told("the other", other))
            for file in TABLES:
                one, two = ((folder / f"{whose}-{i}" / "sweep" / file).read_bytes() for whose in ("mine", "other"))
                assert one == two, f"{file} differs"
            ratios = (other.network_s / mine.network_s, other.sweep_s / mine.sweep_s, other.records / mine.records)
            print("ratios     network {:.2f}, sweep {:.2f}, records {:.2f}; equal tables".format(*ratios), flush=True)


if __name__ == "__main__":
    main()
