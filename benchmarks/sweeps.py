"""Searches for a Pareto front against random samples with as many designs costed: hypervolumes, over several seeds.

    python -m benchmarks.sweeps [--question eyeriss] [--points 100] [--seeds 5] [--level mid] [--jobs 2] [--whole]

A question is a network and a space: `eyeriss`, ResNet-20 on 1,536 variants of eyeriss, by which the settings of the search were
chosen, or `tpu_like`, MobileNetV2 on 1,080 variants of tpu_like, which was fixed before any of its results were known. All
samples are `hwflow.sweep`s; layers that several of them ask for are computed once. With `--whole` the whole space is costed,
too, which says how much hypervolume there is to be found, and random samples are taken from it. Where bounds are known of the
whole space the surrogate draws nothing, so that one search stands for all seeds. Objectives are scaled to what was found in
all, with the reference point at 1.1; a second table has their logarithms scaled. Where no area is known of a variant (energies
neither fitted nor Accelergy's), energy in normalised units and latency are left.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

import hwflow
from hwflow.sweeping import load_description, run
from hwflow.sweeping.case import cases_of
from hwflow.sweeping.design_bounds import DesignBounds
from hwflow.sweeping.design_front import ROUNDING, FrontProof, matched
from hwflow.sweeping.registry import SEARCHERS
from hwflow.sweeping.sampling import draw
from hwflow.sweeping.space import space_of

Floats = npt.NDArray[np.float64]
Volume = Callable[[Floats], float]
Found = Mapping[tuple[str, int], Floats]
"""By method and seed."""

QUESTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "eyeriss": (
        "resnet20",
        {
            "pe_array.rows": {"from": 4, "to": 32, "step": 4},
            "pe_array.columns": {"from": 4, "to": 32, "step": 4},
            "global_buffer.size_kib": [16, 32, 64, 108, 128, 256],
            "weight_spad.size_words": [56, 112, 224, 448],
        },
    ),
    "tpu_like": (
        "mobilenet_v2",
        {
            "pe_array.rows": [16, 32, 64, 96, 128, 256],
            "pe_array.columns": [16, 32, 64, 96, 128, 256],
            "unified_buffer.size_kib": [256, 1024, 2048, 4096, 8192, 24576],
            "accumulators.size_kib": [64, 256, 1024, 2048, 4096],
        },
    ),
}
"""The network and the fields that are swept, by the accelerator that they are of."""
WITH_AREA = ("energy_pj", "latency_s", "area_um2")
WITHOUT = ("energy_normalized", "latency_s")
METHODS = ("random", "nsga2", "surrogate")
SHARES = (0.1, 0.2, 0.25, 0.5, 1.0)
"""Of the designs costed; what a sweep has found by then are its first points."""
MORE = 5
"""Times as many designs for a larger random sample, whose hypervolume is one of the goals."""
PARTS = (0.99, 0.999, 1.0)
"""Of the whole space's hypervolume."""


def objectives(options: argparse.Namespace) -> tuple[str, ...]:
    """Area only where it is known of a variant."""
    network, fields = QUESTIONS[options.question]
    chip = hwflow.Accelerator.load(options.question).with_(
        {name: values[0] for name, values in fields.items() if isinstance(values, list)}
    )
    cost = hwflow.estimate(hwflow.zoo(network), chip, level="coarse")
    return WITH_AREA if cost.area_um2 is not None and options.level != "coarse" else WITHOUT


def sample(
    folder: Path, method: str, seed: int, names: tuple[str, ...], options: argparse.Namespace, points: int
) -> tuple[Floats, FrontProof | None]:
    """The objectives of all designs that one sweep costs, in the order in which it does, an array [design, objective], without
    those that failed, which are NaN in a grid; and what bounds say of their front."""
    chosen: dict[str, Any] = {"method": method}
    if method != "grid":
        chosen |= {"points": points, "seed": seed}
    if method in SEARCHERS:
        chosen["objectives"] = list(names)
    network, fields = QUESTIONS[options.question]
    content = {
        "networks": [network],
        "accelerators": [{"base": options.question, "set": fields}],
        "levels": [options.level],
        "energy": "fitted" if names == WITH_AREA else "normalized",
        "sample": chosen,
    }
    file = folder / f"{method}-{seed}-{points}.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    result = run(file, file.with_suffix(""), jobs=options.jobs)
    frame = result.frame()
    values = np.asarray(frame[list(names)].where(frame["status"] == "ok").to_numpy(dtype=np.float64))
    return values if method == "grid" else answered(values), result.proof


def answered(values: Floats) -> Floats:
    """Those of designs that did not fail."""
    return np.asarray(values[~np.isnan(values).any(axis=1)])


def drawn(whole: Floats, file: Path, seed: int, points: int) -> Floats:
    """What a random sample of the designs of a sweep file has, of which all were costed."""
    space = space_of(load_description(file), file.parent)
    places = {design: place for place, design in enumerate(space.designs())}
    return answered(whole[[places[design] for design in draw(space, "random", points, seed)]])


def unmatched(whole: Floats, file: Path, names: tuple[str, ...], options: argparse.Namespace) -> int:
    """How many designs of a sweep file no other design excludes by its costs: those that must be costed to prove the front."""
    asked = load_description(file)
    space = space_of(asked, file.parent)
    bounds = DesignBounds(space, cases_of(asked, file), replace(asked.options(), level=options.level), names)
    least = np.array(bounds(list(space.designs()), jobs=options.jobs)).reshape(-1, len(names))
    return int((~matched(least, answered(whole))).sum())


def main() -> None:
    """Print the hypervolumes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--question", choices=tuple(QUESTIONS), default="eyeriss")
    parser.add_argument("--points", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--level", choices=("coarse", "mid"), default="mid")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--whole", action="store_true", help="cost all designs, too")
    options = parser.parse_args()
    names = objectives(options)
    begin, whole, needed = time.perf_counter(), None, 0
    found: dict[tuple[str, int], Floats] = {}
    more: dict[int, Floats] = {}
    seeds = range(options.seeds)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.whole:
            whole, _ = sample(folder, "grid", 0, names, options, 0)
        proofs = {n: sample(folder, "surrogate", 0, names, options, n) for n in (options.points // MORE, options.points)}
        found["surrogate", 0], proof = proofs[options.points]
        for seed in seeds:
            if seed and proof is None:
                found["surrogate", seed], _ = sample(folder, "surrogate", seed, names, options, options.points)
            found["surrogate", seed] = found["surrogate", seed if proof is None else 0]
            found["nsga2", seed], _ = sample(folder, "nsga2", seed, names, options, options.points)
            if whole is None:
                more[seed], _ = sample(folder, "random", seed, names, options, MORE * options.points)
            else:
                more[seed] = drawn(whole, next(folder.glob("grid-*.yaml")), seed, MORE * options.points)
            found["random", seed] = more[seed][: options.points]
        if whole is not None:
            needed = unmatched(whole, next(folder.glob("grid-*.yaml")), names, options)
            whole = answered(whole)
    everything = np.concatenate([*found.values(), *more.values(), *([] if whole is None else [whole])])
    print(
        f"{datetime.now(UTC).date()}, hwflow {hwflow.__version__}: {QUESTIONS[options.question][0]} on {options.question} at "
        f"{options.level}, {options.points} designs each, objectives {', '.join(names)}, {time.perf_counter() - begin:.0f} s"
    )
    for text, scaled in (("objectives", lambda values: values), ("logarithms of objectives", np.log)):
        volume = volume_of(scaled, everything)
        print(f"hypervolumes of {text}:")
        table(found, volume, options, None if whole is None else volume(whole))
        efforts(found, more, volume, options, None if whole is None else volume(whole))
    if whole is not None:
        print(f"designs that are on the front or could be better than it by their bounds: {needed} of {len(whole)}")
    for number, (_, proof) in proofs.items():
        if proof is not None:
            print(
                f"after {number} designs of the surrogate: its front is proven to be within {proof.within:.2%} of all "
                f"{proof.designs} designs, of which {proof.excluded} are excluded"
            )


def volume_of(scaled: Callable[[Floats], Floats], everything: Floats) -> Volume:
    """The hypervolume of objectives that are scaled to the range of everything, up to 1.1 in each."""
    from pymoo.indicators.hv import HV

    least, span = scaled(everything).min(axis=0), np.ptp(scaled(everything), axis=0)
    indicator = HV(ref_point=np.full(everything.shape[1], 1.1))
    return lambda values: float(indicator((scaled(values) - least) / np.where(span > 0, span, 1.0)))


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
    more: Mapping[int, Floats],
    volume: Volume,
    options: argparse.Namespace,
    all_of: float | None,
) -> None:
    """How many designs each needs to reach what others reach with all of theirs, and parts of all that there is."""
    seeds = range(options.seeds)
    goals = {
        f"NSGA-II's hypervolume with {options.points}": [volume(found["nsga2", seed]) for seed in seeds],
        f"random's with {options.points}": [volume(found["random", seed]) for seed in seeds],
        f"random's with {MORE * options.points}": [volume(more[seed]) for seed in seeds],
    }
    if all_of is not None:
        goals |= {f"{part:.1%} of the whole space's": [part * all_of * (1 - ROUNDING)] * options.seeds for part in PARTS}
    for text, goal in goals.items():
        told = []
        for method in METHODS:
            needs = [designs_for(found[method, seed], volume, goal[seed]) for seed in seeds]
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
