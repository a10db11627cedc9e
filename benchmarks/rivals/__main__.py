"""hwflow's mapping search against another mapper, layer by layer, both judged by the numbers of timeloop-model.

    python -m benchmarks.rivals zigzag     [--python .venv/zigzag/bin/python]     [--layers N] [--lpf-limit 6]
    python -m benchmarks.rivals accelforge [--python .venv/accelforge/bin/python] [--layers N] [--loop-orders]

The rival runs in an interpreter of its own. Both minimise EDP on one chip (`benchmarks.rivals.chip`), the rival by its own
model; its mappings are translated and judged by hwflow's analysis, by timeloop-model too where that is on PATH. Seconds are of
one process on one core, as the operating system charges them (CPU time).
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import hwflow
from benchmarks import parity
from benchmarks.rivals.chip import shared_chip, to_request
from benchmarks.rivals.nest import Expressed, Inexpressible, Nest, Verdict, evened, judge
from benchmarks.rivals.outputs import from_accelforge, from_zigzag
from hwflow.cost import mid
from hwflow.errors import NotMappable
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.dataflow import constrain
from hwflow.hardware.energy_table import EnergyTable
from hwflow.layers import Layer
from hwflow.timeloop.engine import Engine, find_engine
from tools.parity_cases import Case

Translate = Callable[[Mapping[str, Any], Layer, Accelerator], Nest]


@dataclass(frozen=True)
class Rival:
    """How one is installed, run and read."""

    title: str
    install: str
    script: str
    translate: Translate

    def python(self, name: str) -> Path:
        """Where `install` puts its interpreter."""
        return Path(__file__).parents[2] / ".venv" / name / "bin" / "python"


RIVALS = {
    "zigzag": Rival(
        "ZigZag",
        "python3 -m venv .venv/zigzag && .venv/zigzag/bin/pip install zigzag-dse six",
        "run_zigzag.py",
        from_zigzag,
    ),
    "accelforge": Rival(
        "AccelForge",
        "python3.12 -m venv .venv/accelforge && .venv/accelforge/bin/pip install accelforge",
        "run_accelforge.py",
        from_accelforge,
    ),
}


@dataclass(frozen=True)
class Theirs:
    """The best of a rival's candidates by the common judge, its number among them, and what the rival says of it."""

    verdict: Verdict
    expressed: Expressed
    number: int
    own: Verdict


@dataclass(frozen=True)
class Ours:
    """What hwflow found, and the CPU seconds that it took."""

    layer: Layer
    found: mid.MapResult
    seconds: float

    @property
    def verdict(self) -> Verdict:
        """Its energy and cycles."""
        cost = self.found.cost
        assert cost.energy is not None
        assert cost.cycles is not None
        return Verdict(cost.energy, cost.cycles)


def posed(layer: Layer) -> Layer:
    """A strided layer that skips inputs, without the stride: the tools differ in whether they charge for what is skipped."""
    kernel = (layer.R, layer.S)
    if any(size < stride for size, stride in zip(kernel, layer.strides, strict=True)):
        return layer.with_(strides=(1, 1))
    return layer


def answers(python: Path, script: str, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What the rival prints, line by line; the first line is about itself."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "request.json"
        path.write_text(json.dumps(request), encoding="utf-8")
        argv = [str(python), str(Path(__file__).parent / script), str(path)]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, encoding="utf-8") as process:
            assert process.stdout is not None
            for line in process.stdout:
                yield json.loads(line)
        if process.returncode:
            sys.exit(f"{' '.join(argv[:2])} failed with exit status {process.returncode}.")


def best_of(row: Mapping[str, Any], layer: Layer, chip: Accelerator, table: EnergyTable, translate: Translate) -> Theirs | str:
    """The candidate that the common judge likes best, or why it takes none; a split memory only where that is better."""
    found: list[Theirs] = []
    reasons: list[str] = []
    for number, candidate in enumerate(row["candidates"], start=1):
        own = Verdict(candidate["energy"], round(candidate["cycles"]))
        try:
            nest = translate(candidate, layer, chip)
        except Inexpressible as error:
            reasons.append(str(error))
            continue
        for variant in (nest, *evened(nest, chip)):
            try:
                found.append(Theirs(*judge(variant, layer, chip, table), number, own))
            except (Inexpressible, NotMappable) as error:
                reasons.append(str(error))
    if not found:
        return reasons[0]
    least = min(t.verdict.edp for t in found) * (1 + 1e-9)
    return min((t for t in found if t.verdict.edp <= least), key=lambda t: (len(t.expressed.split), t.number))


def deviation(case: Case, said: Verdict, engine: Engine, *, whole: bool) -> float:
    """How far timeloop-model is from what was said: energy, and cycles where the chip is `whole`, with no memory split."""
    real = parity.judged(case, engine)
    off = abs(real["energy"]["all"] / said.energy - 1)
    return max(off, abs(real["cycles"]["all"] / said.cycles - 1)) if whole else off


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rival", choices=RIVALS)
    parser.add_argument("--python", type=Path, help="interpreter that has the rival")
    parser.add_argument("--network", default="resnet18")
    parser.add_argument("--layers", type=int, help="only so many of the distinct layers, evenly spread")
    parser.add_argument("--lpf-limit", type=int, default=6, help="zigzag: loop prime factors that it permutes (its default: 6)")
    parser.add_argument("--spatial-mappings", type=int, default=3, help="zigzag: unrollings that it tries (its default: 3)")
    parser.add_argument("--candidates", type=int, default=20, help="zigzag: how many of its best mappings are judged")
    parser.add_argument("--loop-orders", action="store_true", help="accelforge: explore loop orders too (its default, slow)")
    options = parser.parse_args()
    rival = RIVALS[options.rival]
    python = options.python or rival.python(options.rival)
    if not python.exists():
        print(f"{rival.title}: not compared, {python} is not there. To have it: {rival.install}")
        return
    settings = {name: getattr(options, name) for name in ("lpf_limit", "spatial_mappings", "candidates", "loop_orders")}
    chip, table = shared_chip()
    layers = list({layer.key: layer for layer in map(posed, hwflow.zoo(options.network))}.values())
    if options.layers is not None:
        layers = layers[:: max(1, len(layers) // options.layers)][: options.layers]
    ours = [searched(layer, chip, table) for layer in layers]
    request = to_request(chip, table, layers, [o.found.mapping for o in ours], settings)
    compare(rival, answers(python, rival.script, request), ours, chip, table)


def searched(layer: Layer, chip: Accelerator, table: EnergyTable) -> Ours:
    """hwflow's search of one layer."""
    start = time.process_time()
    found = mid.map_layer(layer, chip, constrain(chip), table)
    return Ours(layer, found, time.process_time() - start)


def compare(rival: Rival, rows: Iterator[dict[str, Any]], all_ours: list[Ours], chip: Accelerator, table: EnergyTable) -> None:
    """Print a line a layer and the totals."""
    tool = next(rows)
    engine = find_engine("native") if shutil.which("timeloop-model") else None
    print(
        f"{datetime.now(UTC).date()}, {platform.machine()}, hwflow {hwflow.__version__} against {tool['tool']} "
        f"{tool['version']} (Python {tool['python']}); {len(all_ours)} layers on {chip.name} with "
        f"{chip.dram.bandwidth_gb_s} GB/s, no constraints\n"
        f"judge: hwflow's analysis{', confirmed by timeloop-model' if engine else '; timeloop-model is not on PATH'}\n"
        f"{'layer':24}{'hwflow EDP':>12}{'CPU s':>7}{rival.title + ' EDP':>16}{'CPU s':>8}{'ratio':>7}"
        f"   {rival.title}'s own model: ratio, its energy and cycles in parts of the judge's"
    )
    ratios: list[float] = []
    own: list[float] = []
    off = 0.0
    times: list[tuple[float, float]] = []
    for ours, row in zip(all_ours, rows, strict=True):
        times.append((ours.seconds, row["cpu_seconds"]))
        theirs = best_of(row, ours.layer, chip, table, rival.translate)
        head = f"{ours.layer.name:24}{ours.verdict.edp:12.4g}{ours.seconds:7.2f}"
        first = row["candidates"][0]
        said = row["given"]
        if "error" not in said:
            own.append(said["energy"] * said["cycles"] / (first["energy"] * first["cycles"]))
        by_it = f"{own[-1]:.3f}" if "error" not in said else "cannot say"
        if isinstance(theirs, str):
            print(f"{head}{'not judged':>16}{row['cpu_seconds']:8.1f}{'':7}   {by_it}; {theirs}", flush=True)
            continue
        ratios.append(ours.verdict.edp / theirs.verdict.edp)
        notes = [f"its no. {theirs.number}"] if theirs.number > 1 else []
        notes += [f"{name} split" for name in theirs.expressed.split]
        print(
            f"{head}{theirs.verdict.edp:16.4g}{row['cpu_seconds']:8.1f}{ratios[-1]:7.3f}   {by_it}, "
            f"{theirs.own.energy / theirs.verdict.energy:.3f}, {theirs.own.cycles / theirs.verdict.cycles:.3f}"
            f"{' (' + ', '.join(notes) + ')' if notes else ''}",
            flush=True,
        )
        if engine is not None:
            mine = Case(ours.layer, chip, table, ours.found.mapping, "hwflow")
            its = theirs.expressed
            other = Case(ours.layer, its.accelerator, its.table, its.mapping, rival.title)
            off = max(
                off,
                deviation(mine, ours.verdict, engine, whole=True),
                deviation(other, theirs.verdict, engine, whole=not its.split),
            )
    faster = [theirs / ours for ours, theirs in times]
    print(_summary(f"EDP, hwflow's to {rival.title}'s, by the judge", ratios, len(all_ours)))
    print(_summary(f"EDP, hwflow's to {rival.title}'s, by {rival.title}'s model", own, len(all_ours)))
    print(
        f"CPU seconds: hwflow {sum(t for t, _ in times):.1f}, {rival.title} {sum(t for _, t in times):.1f}; ratio a layer: "
        f"geometric mean {statistics.geometric_mean(faster):.0f}, least {min(faster):.0f}, largest {max(faster):.0f}"
    )
    if engine is not None:
        print(f"largest deviation of timeloop-model from the judge's energy and cycles: {100 * off:.4f} %")


def _summary(title: str, ratios: list[float], count: int) -> str:
    if not ratios:
        return f"{title}: none of {count} layers could be compared"
    return (
        f"{title}: geometric mean {statistics.geometric_mean(ratios):.3f}, least {min(ratios):.3f}, largest {max(ratios):.3f}; "
        f"hwflow's is larger in {sum(r > 1 + 1e-6 for r in ratios)} of {len(ratios)} layers, {count - len(ratios)} not compared"
    )


if __name__ == "__main__":
    main()
