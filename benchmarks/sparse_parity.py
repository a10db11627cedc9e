"""hwflow's analysis of sparse layers against real timeloop-model, count by count.

    python -m benchmarks.sparse_parity [--seed N] [--record FILE]

Two of Timeloop's sample designs (in hwflow's terms, `benchmarks/sparse_designs`), and presets that are given a sparsity.
Counts, indices and cycles must be equal, energies to what Timeloop prints of them. Where a chip gates, the cycles that are
compared are Timeloop's, which leave out gated products.
"""

from __future__ import annotations

import argparse
import datetime
import sys
from pathlib import Path
from typing import Any

from benchmarks import parity
from benchmarks.parity import Numbers, Report
from hwflow.errors import HwflowError
from hwflow.layers import TENSORS
from hwflow.loopnest.nest import Nest
from hwflow.loopnest.sparse_verdict import sparse_verdict, why_dense
from hwflow.timeloop.engine import Engine, find_engine
from hwflow.timeloop.render import render
from hwflow.timeloop.run import run_timeloop
from hwflow.timeloop.stats import read_stats
from tools.parity_cases import Case
from tools.sparse_cases import sparse_cases

TOLERANCES = {"reads": 0.0, "fills": 0.0, "updates": 0.0, "level cycles": 0.0, "cycles": 0.0, "index bits": 0.0}
TOLERANCES |= {"level energy": 1e-4, "energy": 1e-4}


def judged(case: Case, engine: Engine) -> Numbers:
    """Timeloop's own numbers; the accesses are those that happen."""
    files = render(case.layer, case.accelerator, (), case.table, mapping=case.mapping)
    stats = run_timeloop(files, engine, 300.0, lambda folder: read_stats(folder, "timeloop-model"), case.layer.name)[0]
    numbers: Numbers = {kind: {} for kind in TOLERANCES}
    assert case.accelerator.sparsity is not None
    for memory in case.accelerator.memories:
        level, stored = stats.levels[memory.name], case.accelerator.sparsity.compressed.get(memory.name)
        for tensor, found in level.tensors.items():
            label = f"{memory.name}.{tensor}"
            for kind in ("reads", "fills", "updates"):
                numbers[kind][label] = getattr(found, kind)
            if stored is not None and tensor in stored.encodings:
                numbers["index bits"][label] = found.indices * stored.bits(tensor) + found.pointers * stored.offset_bits
        numbers["level cycles"][memory.name] = float(level.cycles)
        numbers["level energy"][memory.name] = level.energy
    mac = case.accelerator.mac.name
    numbers["level energy"][mac] = stats.levels[mac].energy
    numbers["cycles"]["all"], numbers["energy"]["all"] = float(stats.cycles), stats.energy
    return numbers


def analysed(case: Case) -> Numbers:
    """The same from hwflow's analysis."""
    nest = Nest(case.layer, case.accelerator, case.table, tuple(m.keeps for m in reversed(case.mapping.levels)))
    batch = nest.batch_of(case.mapping)
    assert case.layer.densities is not None
    assert not why_dense(nest, batch), case
    found = sparse_verdict(nest, batch, nest.evaluate(batch), case.layer.densities)
    numbers: Numbers = {kind: {} for kind in TOLERANCES}
    energies = found.level_energy - found.leakage + found.timeloop_leakage
    for k, level in enumerate(nest.levels):
        if level.memory is None:
            continue
        for t, tensor in enumerate(TENSORS):
            if nest.keep[k, t]:
                label = f"{level.name}.{tensor}"
                for action, kind in enumerate(("reads", "fills", "updates")):
                    numbers[kind][label] = float(found.actual[action, k, t])
                numbers["index bits"][label] = float(found.index_bits[:, k, t].sum())
        numbers["level cycles"][level.name] = float(found.timeloop_level_cycles[k])
        numbers["level energy"][level.name] = float(energies[k])
    numbers["level energy"][case.accelerator.mac.name] = found.mac_energy
    numbers["cycles"]["all"] = float(found.timeloop_cycles)
    numbers["energy"]["all"] = float(energies.sum()) + found.mac_energy
    return numbers


def run(engine: Engine, seed: int = 0) -> tuple[Report, list[dict[str, Any]]]:
    """Compare the whole suite: the report, and a record of every case."""
    report, records = Report(tolerances=TOLERANCES), []
    for case in sparse_cases(seed):
        theirs = judged(case, engine)
        report.add(case, analysed(case), theirs)
        records.append(parity.to_record(case, theirs))
    return report, records


def main(arguments: list[str] | None = None) -> int:
    """Run the suite against the Timeloop on PATH."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.sparse_parity", description=__doc__.splitlines()[0] if __doc__ else None
    )
    parser.add_argument("--seed", type=int, default=0, help="another seed draws other mappings")
    parser.add_argument("--record", type=Path, help="write every sixth triple with its numbers")
    parser.add_argument("--tool", default="", help="what the record says of the tool: its commit and date")
    options = parser.parse_args(arguments)
    try:
        engine = find_engine("native")
        report, records = run(engine, options.seed)
    except HwflowError as error:
        print(error, file=sys.stderr)
        return 1
    print("\n".join(report.lines()))
    if options.record:
        today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
        version = engine.version("timeloop-model")
        provenance = {"tool": options.tool, "version": version, "recorded": today, "seed": options.seed}
        parity.save(options.record, provenance, records[::6])
        print(f"{len(records[::6])} of them recorded in {options.record}")
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
