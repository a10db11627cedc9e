"""Searches for a Pareto front against random samples with as many designs costed: hypervolumes, over several seeds.

    python -m benchmarks.sweeps [--network resnet20] [--points 100] [--seeds 5] [--level mid] [--jobs 2] [--whole]

The space has 1536 variants of eyeriss. All samples are `hwflow.sweep`s; layers that several of them ask for are computed once.
With `--whole` the whole space is costed, too, which says how much hypervolume there is to be found. Objectives are scaled to
what was found in all, with the reference point at 1.1. Where no area is known of a variant (energies neither fitted nor
Accelergy's), energy in normalised units and latency are left.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

import hwflow
from hwflow.sweeping import run
from hwflow.sweeping.registry import SEARCHERS

Floats = npt.NDArray[np.float64]
Volume = Callable[[Floats], float]
Found = Mapping[tuple[str, int], Floats]
"""By method and seed."""

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
METHODS = ("random", "nsga2", "surrogate")
SHARES = (0.25, 0.5, 1.0)
"""Of the designs costed; what a sweep has found by then are its first points."""
NEARLY = 0.999


def objectives(level: str) -> tuple[str, ...]:
    """Area only where it is known of a variant."""
    chip = hwflow.Accelerator.load("eyeriss").with_({"global_buffer.size_kib": 64, "weight_spad.size_words": 112})
    cost = hwflow.estimate(hwflow.zoo("resnet20"), chip, level="coarse")
    return WITH_AREA if cost.area_um2 is not None and level != "coarse" else WITHOUT


def sample(folder: Path, method: str, seed: int, names: tuple[str, ...], options: argparse.Namespace) -> Floats:
    """The objectives of all designs that one sweep costs, in the order in which it does, an array [design, objective]."""
    chosen: dict[str, Any] = {"method": method}
    if method != "grid":
        chosen |= {"points": options.points, "seed": seed}
    if method in SEARCHERS:
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
    parser.add_argument("--whole", action="store_true", help="cost all designs, too")
    options = parser.parse_args()
    names = objectives(options.level)
    begin, whole = time.perf_counter(), None
    found: dict[tuple[str, int], Floats] = {}
    with tempfile.TemporaryDirectory() as folder:
        if options.whole:
            whole = sample(Path(folder), "grid", 0, names, options)
        for seed in range(options.seeds):
            for method in METHODS:
                found[method, seed] = sample(Path(folder), method, seed, names, options)
    everything = np.concatenate([*found.values(), *([] if whole is None else [whole])])
    least, span = everything.min(axis=0), np.ptp(everything, axis=0)
    indicator = HV(ref_point=np.full(len(names), 1.1))

    def volume(values: Floats) -> float:
        return float(indicator((values - least) / np.where(span > 0, span, 1.0)))

    print(
        f"{datetime.now(UTC).date()}, hwflow {hwflow.__version__}: {options.network} at {options.level}, {options.points} "
        f"designs each, objectives {', '.join(names)}, {time.perf_counter() - begin:.0f} s"
    )
    table(found, volume, options, None if whole is None else volume(whole))
    efforts(found, volume, options, None if whole is None else volume(whole))


def table(
    found: Found,
    volume: Volume,
    options: argparse.Namespace,
    all_of: float | None,
) -> None:
    """The hypervolumes at several shares of the designs, and as ratios to the random sample's with as many; with that of the
    whole space the ratio that is possible, and the share of the random sample's gap to it that is closed."""
    print(
        "designs  seed " + "".join(f"{method:>11}" for method in METHODS) + "".join(f"{m + ' ratio':>17}" for m in METHODS[1:])
    )
    for share in SHARES:
        number = round(share * options.points)
        rows = [[volume(found[method, seed][:number]) for method in METHODS] for seed in range(options.seeds)]
        means = [statistics.mean(column) for column in zip(*rows, strict=True)]
        for name, row in [*((str(seed), row) for seed, row in enumerate(rows)), ("mean", means)]:
            ratios = "".join(f"{value / row[0]:17.3f}" for value in row[1:])
            print(f"{number:7}  {name:>4} " + "".join(f"{value:11.4f}" for value in row) + ratios)
        if all_of is not None:
            closed = ", ".join(
                f"{method} {(value - means[0]) / (all_of - means[0]):.1%}"
                for method, value in zip(METHODS[1:], means[1:], strict=True)
            )
            print(f"         the whole space: {all_of:.4f}, {all_of / means[0]:.3f} of random; of this gap close {closed}")


def efforts(
    found: Found,
    volume: Volume,
    options: argparse.Namespace,
    all_of: float | None,
) -> None:
    """How many designs each needs to reach what NSGA-II reaches with all of its own, and nearly all that there is."""
    goals: dict[str, Callable[[int], float]] = {"NSGA-II's hypervolume": lambda seed: volume(found["nsga2", seed])}
    if all_of is not None:
        goals[f"{NEARLY:.1%} of the whole space's"] = lambda _: NEARLY * all_of
    for text, goal in goals.items():
        told = []
        for method in METHODS:
            needs = [designs_for(found[method, seed], volume, goal(seed)) for seed in range(options.seeds)]
            told.append(f"{method} {' '.join('-' if n is None else str(n) for n in needs)}")
        print(f"designs until {text}, by seed: {'; '.join(told)}")


def designs_for(values: Floats, volume: Volume, goal: float) -> int | None:
    """The number of first designs that reach a hypervolume; None where all together do not."""
    if volume(values) < goal:
        return None
    low, high = 1, len(values)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if volume(values[:middle]) >= goal else (middle + 1, high)
    return low


if __name__ == "__main__":
    main()
