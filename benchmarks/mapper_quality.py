"""How good and how fast the mapping search is: per layer, the objective against a longer search and against the proven bound.

    python benchmarks/mapper_quality.py --accelerators eyeriss --networks resnet18 --objectives edp --reference-effort 4

Prints one line a layer: milliseconds at effort 1, the ratio of its objective to the reference's, and the gap to the bound.
"""

from __future__ import annotations

import argparse
import statistics
import time

import hwflow
from hwflow.cost.energy_sources import energy_table
from hwflow.hardware.dataflow import constrain
from hwflow.loopnest.nest import Batch, Nest
from hwflow.mapper import search


def value(nest: Nest, batch: Batch, objective: str) -> float:
    """What the analysis, links included, says of one mapping."""
    verdict = nest.evaluate(batch)
    energy, cycles = float(verdict.energy[0]), float(verdict.cycles[0])
    return {"energy": energy, "latency": cycles, "edp": energy * cycles}[objective]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accelerators", nargs="+", default=["eyeriss"])
    parser.add_argument("--dataflows", nargs="+", default=["own"], help="own: the accelerator's; or names")
    parser.add_argument("--networks", nargs="+", default=["resnet18"])
    parser.add_argument("--objectives", nargs="+", default=["edp"])
    parser.add_argument("--reference-effort", type=int, default=4)
    parser.add_argument("--every", type=int, default=1, help="only every n-th distinct layer")
    args = parser.parse_args()
    layers = {layer.key: layer for name in args.networks for layer in hwflow.zoo(name).layers}
    for accelerator in args.accelerators:
        chip = hwflow.Accelerator.load(accelerator)
        table = energy_table(chip)
        for dataflow in args.dataflows:
            constraints = constrain(chip, None if dataflow == "own" else dataflow)
            for objective in args.objectives:
                times, ratios, gaps, proven = [], [], [], 0
                for layer in list(layers.values())[:: args.every]:
                    nest = Nest(layer, chip, table)
                    start = time.perf_counter()
                    found = search.search(nest, constraints, objective=objective)
                    times.append(1e3 * (time.perf_counter() - start))
                    longer = search.search(nest, constraints, objective=objective, effort=args.reference_effort)
                    if found is None or longer is None:
                        print(f"{accelerator}/{dataflow}/{objective} {layer}: no mapping")
                        continue
                    got, reference = value(nest, found.batch, objective), value(nest, longer.batch, objective)
                    ratios.append(got / reference)
                    gaps.append(1 - longer.bound / got)
                    proven += longer.proven_optimal and got <= reference * (1 + 1e-8)
                    print(
                        f"{accelerator}/{dataflow}/{objective} {layer}: {times[-1]:.1f} ms, {ratios[-1]:.4f} of effort "
                        f"{args.reference_effort}, at most {100 * gaps[-1]:.2f} % above the optimum",
                        flush=True,
                    )
                print(
                    f"== {accelerator}/{dataflow}/{objective}: milliseconds median {statistics.median(times):.1f}, "
                    f"worst {max(times):.1f}; "
                    f"ratio worst {max(ratios):.4f}; gap median {100 * statistics.median(gaps):.2f} %, "
                    f"worst {100 * max(gaps):.2f} %; {proven} of {len(ratios)} proven optimal",
                    flush=True,
                )


if __name__ == "__main__":
    main()
