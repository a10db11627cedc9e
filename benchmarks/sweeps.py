"""NSGA-II against a random sample, with the same number of designs: hypervolume of the two fronts, over several seeds.

    python -m benchmarks.sweeps [--network resnet20] [--points 100] [--seeds 5] [--level mid] [--jobs 2]

The space has 1536 variants of eyeriss. Both samples are `hwflow.sweep`s; layers that several of them ask for are computed once.
Objectives are scaled to what all samples found, with the reference point at 1.1. Where no area is known of a variant (energies
neither fitted nor Accelergy's), energy in normalised units and latency are left.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

import hwflow
from hwflow.sweeping import run

Floats = npt.NDArray[np.float64]

ACCELERATOR: dict[str, Any] = {
    "base": "eyeriss",
    "set": {
        "pe_array.rows": {"from": 4, "to": 32, "step": 4},
        "pe_array.columns": {"from": 4, "to": 32, "step": 4},
        "global_buffer.size_kib": [16, 32, 64, 108, 128, 256],
        "weight_spad.size_words": [56, 112, 224, 448],
    },
}
WITH_AREA = ("energy_pj", "latency_s", "area_um2")
WITHOUT = ("energy_normalized", "latency_s")


def objectives(level: str) -> tuple[str, ...]:
    """Area only where it is known of a variant."""
    chip = hwflow.Accelerator.load("eyeriss").with_({"global_buffer.size_kib": 64, "weight_spad.size_words": 112})
    cost = hwflow.estimate(hwflow.zoo("resnet20"), chip, level="coarse")
    return WITH_AREA if cost.area_um2 is not None and level != "coarse" else WITHOUT


def sample(folder: Path, method: str, seed: int, names: tuple[str, ...], options: argparse.Namespace) -> Floats:
    """The objectives of all designs that one sweep costs, an array [design, objective]."""
    chosen: dict[str, Any] = {"method": method, "points": options.points, "seed": seed}
    if method == "nsga2":
        chosen["objectives"] = list(names)
    content = {
        "networks": [options.network],
        "accelerators": [ACCELERATOR],
        "levels": [options.level],
        "energy": "fitted" if names == WITH_AREA else "normalized",
        "sample": chosen,
    }
    file = folder / f"{method}-{seed}.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    frame = run(file, folder / f"{method}-{seed}", jobs=options.jobs).frame()
    return np.asarray(frame.loc[frame["status"] == "ok", list(names)].to_numpy(dtype=np.float64))


def main() -> None:
    """Print the hypervolumes."""
    from pymoo.indicators.hv import HV

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="resnet20")
    parser.add_argument("--points", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--level", choices=("coarse", "mid"), default="mid")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    names = objectives(options.level)
    begin, found = time.perf_counter(), {}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(options.seeds):
            for method in ("random", "nsga2"):
                found[method, seed] = sample(Path(folder), method, seed, names, options)
    everything = np.concatenate(list(found.values()))
    least, span = everything.min(axis=0), np.ptp(everything, axis=0)
    indicator = HV(ref_point=np.full(len(names), 1.1))
    volumes = {key: float(indicator((values - least) / np.where(span > 0, span, 1.0))) for key, values in found.items()}
    print(
        f"{datetime.now(UTC).date()}, hwflow {hwflow.__version__}: {options.network} at {options.level}, {options.points} "
        f"designs each, objectives {', '.join(names)}, {time.perf_counter() - begin:.0f} s"
    )
    print("seed  random   nsga2   ratio")
    for seed in range(options.seeds):
        random, nsga2 = volumes["random", seed], volumes["nsga2", seed]
        print(f"{seed:4}  {random:.4f}  {nsga2:.4f}  {nsga2 / random:.3f}")
    means = [statistics.mean(volumes[method, seed] for seed in range(options.seeds)) for method in ("random", "nsga2")]
    print(f"mean  {means[0]:.4f}  {means[1]:.4f}  {means[1] / means[0]:.3f}")


if __name__ == "__main__":
    main()
