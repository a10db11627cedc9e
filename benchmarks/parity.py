"""`make parity`: hwflow's loop-nest analysis against real timeloop-model, count by count.

    python -m benchmarks.parity [--seed N] [--draws N] [--resident] [--record FILE]

Prints the largest deviation of each kind and exits with 1 where one is beyond its tolerance: counts 1 word an instance
(Timeloop rounds averages), tiles, instances and cycles 0, energy 0.1 %.
"""

from __future__ import annotations

import argparse
import datetime
import gzip
import json
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hwflow.errors import HwflowError, ToolError
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.energy_table import EnergyTable, PartEnergy
from hwflow.layers import TENSORS, Layer
from hwflow.loopnest.nest import Nest
from hwflow.mapping import Mapping as LayerMapping
from hwflow.timeloop.engine import Engine, find_engine
from hwflow.timeloop.render import render
from hwflow.timeloop.run import run_timeloop
from hwflow.timeloop.stats import Stats, read_stats
from tools.parity_cases import Case, cases, resident_cases

TOLERANCES = {
    "reads": 1.0,
    "fills": 1.0,
    "updates": 1.0,
    "tile": 0.0,
    "instances": 0.0,
    "level cycles": 0.0,
    "cycles": 0.0,
    "level energy": 1e-3,
    "energy": 1e-3,
}
"""Counts and cycles: absolute; energies: relative."""

Numbers = dict[str, dict[str, float]]
"""Kind of number -> what it is of -> value."""


def judged(case: Case, engine: Engine) -> Numbers:
    """Timeloop's own numbers."""
    files = render(case.layer, case.accelerator, (), case.table, mapping=case.mapping)
    stats: Stats = run_timeloop(files, engine, 300.0, lambda folder: read_stats(folder, "timeloop-model"), case.layer.name)[0]
    numbers: Numbers = {kind: {} for kind in TOLERANCES}
    for memory in case.accelerator.memories:
        if (level := stats.levels.get(memory.name)) is None:
            continue  # keeps nothing in this mapping
        for tensor, found in level.tensors.items():
            label = f"{memory.name}.{tensor}"
            numbers["reads"][label], numbers["fills"][label], numbers["updates"][label] = (
                found.reads,
                found.fills,
                found.updates,
            )
            numbers["tile"][label], numbers["instances"][label] = float(found.capacity), found.instances
        numbers["level cycles"][memory.name] = float(level.cycles)
        numbers["level energy"][memory.name] = level.energy
    mac = case.accelerator.mac.name
    numbers["level energy"][mac] = stats.levels[mac].energy
    numbers["cycles"]["all"], numbers["energy"]["all"] = float(stats.cycles), stats.energy
    return numbers


def analysed(case: Case) -> Numbers:
    """The same from hwflow's analysis."""
    nest = Nest(case.layer, case.accelerator, case.table, tuple(m.keeps for m in reversed(case.mapping.levels)))
    verdict = nest.evaluate(nest.batch_of(case.mapping))
    numbers: Numbers = {kind: {} for kind in TOLERANCES}
    for k, level in enumerate(nest.levels):
        if level.memory is None:
            continue
        for t, tensor in enumerate(TENSORS):
            if nest.keep[k, t]:
                label = f"{level.name}.{tensor}"
                numbers["reads"][label] = float(verdict.reads[k, t, 0])
                numbers["fills"][label] = float(verdict.fills[k, t, 0])
                numbers["updates"][label] = float(verdict.updates[k, t, 0])
                numbers["tile"][label] = float(verdict.tiles[k, t, 0])
                numbers["instances"][label] = float(verdict.instances[k, 0])
        numbers["level cycles"][level.name] = float(verdict.level_cycles[k, 0])
        numbers["level energy"][level.name] = float(verdict.level_energy[k, 0])
    numbers["level energy"][case.accelerator.mac.name] = float(verdict.mac_energy[0])
    numbers["cycles"]["all"], numbers["energy"]["all"] = float(verdict.cycles[0]), float(verdict.energy[0])
    return numbers


@dataclass
class Report:
    """The largest deviation of each kind, and the cases that are beyond a tolerance."""

    largest: dict[str, tuple[float, str]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    sources: Counter[str] = field(default_factory=Counter)
    tolerances: Mapping[str, float] = field(default_factory=lambda: TOLERANCES)

    def add(self, case: Case, ours: Numbers, theirs: Numbers) -> None:
        """Compare one case; whatever Timeloop reports must be there."""
        self.sources[case.source] += 1
        beyond = []
        for kind, values in theirs.items():
            if set(values) - set(ours[kind]):
                beyond.append(f"{kind}: {sorted(set(values) ^ set(ours[kind]))} stand on one side only")
            for label in sorted(set(values) & set(ours[kind])):
                off = deviation(kind, ours[kind][label], values[label])
                if off > self.largest.get(kind, (-1.0, ""))[0]:
                    self.largest[kind] = (off, f"{case}: {label}")
                if off > self.tolerances[kind]:
                    beyond.append(f"{kind} of {label}: {ours[kind][label]:g}, timeloop-model {values[label]:g}")
        if beyond:
            self.wrong.append(f"{case}: " + "; ".join(beyond[:4]))

    def lines(self) -> Iterable[str]:
        """What people read."""
        yield f"{sum(self.sources.values())} triples: " + ", ".join(
            f"{n} {source}" for source, n in sorted(self.sources.items())
        )
        for kind, tolerance in self.tolerances.items():
            off, where = self.largest.get(kind, (0.0, ""))
            unit = "%" if "energy" in kind else ""
            scale = 100 if unit else 1
            yield f"  {kind:13} largest deviation {off * scale:.6g}{unit} (allowed {tolerance * scale:g}{unit})" + (
                f"  {where}" if off else ""
            )
        yield f"{len(self.wrong)} beyond tolerance"
        yield from (f"  {line}" for line in self.wrong[:20])


def deviation(kind: str, ours: float, theirs: float) -> float:
    """Absolute for counts, relative for energies (of which Timeloop prints some with two decimals only)."""
    off = abs(ours - theirs)
    if "energy" not in kind:
        return off
    return max(0.0, off - 0.01) / max(abs(theirs), 1e-9)


# Records -------------------------------------------------------------------------------------------------------------


def to_record(case: Case, numbers: Numbers) -> dict[str, Any]:
    """A case and Timeloop's numbers as plain data, complete in itself: presets may change, it does not."""
    # who else reads a layer's weights costs it nothing, nor does the name of how it runs
    silent = {"shared", "execution", *(n for n in ("densities", "position_densities") if getattr(case.layer, n) is None)}
    layer = {k: v for k, v in vars(case.layer).items() if k in Layer.__dataclass_fields__ and k not in silent}
    parts = {name: {k: v for k, v in vars(p).items() if v} for name, p in case.table.parts.items()}
    chip = case.accelerator.model_dump(mode="json", exclude_none=True, exclude={"sources", "description"})
    for part in chip["hierarchy"]:
        for edge in ("network_fill_latency", "network_drain_latency"):
            if part.get(edge) == 0:
                del part[edge]
        if part.get("may_bypass") == []:
            del part["may_bypass"]
    chip["hierarchy"][-1] = case.accelerator.mac.model_dump(exclude_defaults=True)
    return {
        "layer": layer,
        "accelerator": chip,
        "table": {"unit": case.table.unit, "source": case.table.source, "parts": parts},
        "mapping": case.mapping.directives(),
        "source": case.source,
        "timeloop": numbers,
    }


def from_record(record: dict[str, Any]) -> tuple[Case, Numbers]:
    """What `to_record` wrote."""
    layer = Layer(**record["layer"])
    accelerator = Accelerator.from_dict(record["accelerator"])
    parts = {name: PartEnergy(**p) for name, p in record["table"]["parts"].items()}
    table = EnergyTable(record["table"]["unit"], record["table"]["source"], parts)
    mapping = LayerMapping.from_directives(record["mapping"], accelerator)
    return Case(layer, accelerator, table, mapping, record["source"]), record["timeloop"]


def load(path: Path) -> dict[str, Any]:
    """A recorded set, with its provenance."""
    content: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()))
    return content


def save(path: Path, provenance: dict[str, Any], records: list[dict[str, Any]]) -> None:
    """Written so that equal records give equal bytes."""
    lines = ",\n".join(json.dumps(r, separators=(",", ":")) for r in records)
    text = f'{{"provenance": {json.dumps(provenance)},\n"records": [\n{lines}\n]}}\n'
    path.write_bytes(gzip.compress(text.encode(), mtime=0))


def run(engine: Engine, seed: int = 0, draws: int = 1, *, resident: bool = False) -> tuple[Report, list[dict[str, Any]], int]:
    """Compare the whole suite: the report, a record of every case, and how many made Timeloop itself give up.

    `resident`: those mappings alone whose tensors bypass DRAM.
    """
    report, records, refused = Report(), [], 0
    for case in resident_cases() if resident else cases(engine, seed, draws):
        try:
            theirs = judged(case, engine)
        except ToolError as error:
            # A known assertion of Timeloop: fewer updates than words in the hull of a transposed convolution's output.
            if "partition_siz" not in str(error):
                raise
            refused += 1
            continue
        report.add(case, analysed(case), theirs)
        records.append(to_record(case, theirs))
    return report, records, refused


def main(arguments: list[str] | None = None) -> int:
    """Run the suite against the Timeloop on PATH."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.parity", description=__doc__.splitlines()[0] if __doc__ else None
    )
    parser.add_argument("--seed", type=int, default=0, help="another seed draws other mappings")
    parser.add_argument("--draws", type=int, default=1, help="random mappings for each layer, accelerator and dataflow")
    parser.add_argument("--resident", action="store_true", help="mappings whose inputs or outputs bypass DRAM instead")
    parser.add_argument("--record", type=Path, help="write every third triple (sixth of resident ones) with its numbers")
    parser.add_argument("--tool", default="", help="what the record says of the tool: its commit and date")
    options = parser.parse_args(arguments)
    try:
        engine = find_engine("native")
        report, records, refused = run(engine, options.seed, options.draws, resident=options.resident)
    except HwflowError as error:
        print(error, file=sys.stderr)
        return 1
    print("\n".join(report.lines()))
    if refused:
        print(f"{refused} more made timeloop-model stop with an assertion (transposed convolutions whose outputs have holes)")
    if options.record:
        today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
        provenance = {
            "tool": options.tool,
            "version": engine.version("timeloop-model"),
            "recorded": today,
            "seed": options.seed,
        }
        some = records[:: 6 if options.resident else 3]
        save(options.record, provenance, some)
        print(f"{len(some)} of them recorded in {options.record}")
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
