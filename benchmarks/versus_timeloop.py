"""How long hwflow and timeloop-mapper take to a mapping of a layer, and how good it is; needs Timeloop on PATH.

    python -m benchmarks.versus_timeloop [--network resnet18] [--accelerator eyeriss] [--layers N] [--columns perfect,...]
    python -m benchmarks.versus_timeloop --recorded
    python -m benchmarks.versus_timeloop --table

The columns are those of `benchmarks.rivals`: `perfect` factors on both sides; `imperfect` ones, timeloop-mapper's from its map
space `ruby`; and `everything`, where each memory on the chip may also bypass tensors. hwflow searches bypasses where the
accelerator's file allows them, so in this column it searches twice: with them, and without (in parentheses). Both mappers obey
the accelerator's dataflow.

timeloop-mapper searches as in `tools.references`: random_pruned, two threads, victory condition 1000, timeout 10000. It
is asked first; hwflow's time is what it needs for a mapping as good: its search, repeated with twice the effort as long as the
mapping is worse. Seconds are CPU seconds, which do not depend on what else the machine does; timeloop-mapper's are those of
both its threads, so on two idle cores it would be done in about half of them.

Every layer and column adds a line to a file of records, and what is recorded is not done again. With `--recorded`, answers of
timeloop-mapper are those that `tools.references` keeps: the same question, perfect factors, asked earlier.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import resource
import shutil
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

import hwflow
from benchmarks.rivals.tools import COLUMNS, Column, chosen, columns_of
from hwflow.cost import mid
from hwflow.errors import NotMappable
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.dataflow import constrain
from hwflow.hardware.energy_table import EnergyTable, recorded
from hwflow.layers import Layer
from hwflow.timeloop.architecture import architecture_of
from hwflow.timeloop.engine import find_engine
from hwflow.timeloop.render import SearchSettings, render
from hwflow.timeloop.run import run_timeloop
from hwflow.timeloop.stats import read_stats
from hwflow.types import Objective
from tools import references
from tools.references import SETTINGS

EFFORTS = (1, 2, 4, 8, 16)
RECORDS = Path(__file__).parent / "results" / "versus_timeloop.jsonl"
_LIMIT_S = 86_400.0

Record = dict[str, Any]


@dataclass(frozen=True)
class Search:
    """What a search ended with: the objective's value (pJ, cycles or their product), or None without a mapping; CPU seconds.

    `bypassed`: by memory, the tensors that the chip's memory keeps, and the mapping does not.
    """

    value: float | None
    cpu_s: float
    bypassed: dict[str, list[str]] = field(default_factory=dict)


def files_of(
    layer: Layer, chip: Accelerator, table: EnergyTable, objective: Objective, column: Column, settings: SearchSettings
) -> dict[str, str]:
    """timeloop-mapper's input for a column."""
    chip = bypassed_chip(chip) if column == "everything" else chip
    files = render(layer, chip, constrain(chip), table, objective=objective, search=settings)
    if column != "perfect":
        files["mapper.yaml"] = files["mapper.yaml"].replace("template: uber", "template: ruby")
    return files


def bypassed_chip(chip: Accelerator) -> Accelerator:
    """The chip whose memories may bypass all that they keep, but DRAM."""
    return chip.with_({f"{m.name}.may_bypass": list(m.keeps) for m in chip.memories if m.kind != "dram"})


def timeloop(
    layer: Layer, chip: Accelerator, table: EnergyTable, objective: Objective, column: Column, settings: SearchSettings
) -> Search:
    """timeloop-mapper's search, by its own statistics: it does not write residuals into the mapping."""
    files, engine = files_of(layer, chip, table, objective, column, settings), find_engine("native")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)

    def answer(folder: Path) -> tuple[float, dict[str, list[str]]]:
        stats = read_stats(folder, "timeloop-mapper")
        return _value(stats.energy, stats.cycles, objective), _bypassed(folder, chip)

    value: float | None
    try:
        (value, bypassed), _ = run_timeloop(files, engine, _LIMIT_S, answer, layer.name)
    except NotMappable:
        value, bypassed = None, {}
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Search(value, round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 2), bypassed)


def _bypassed(folder: Path, chip: Accelerator) -> dict[str, list[str]]:
    entries = yaml.safe_load((folder / "timeloop-mapper.map.yaml").read_text(encoding="utf-8"))["mapping"]
    found = architecture_of(chip).mapping(entries)
    kept = {m.level: m.keeps for m in found.levels}
    left_out = {m.name: [str(t) for t in m.keeps if t not in kept[m.name]] for m in chip.memories}
    return {name: tensors for name, tensors in left_out.items() if tensors}


def remembered(layer: Layer, chip: Accelerator, objective: Objective) -> tuple[Search, str, str] | None:
    """timeloop-mapper's recorded answer with perfect factors, its version, and the date; None where there is none.

    One whose mapping hwflow's analysis prices otherwise, since the preset has changed, is left out.
    """
    provenance, known = references.load()
    for r in known:
        q = r.question
        if (q.layer.key, q.accelerator, q.objective) == (layer.key, chip.name, objective) and references.confirmed(r):
            value = None if r.failure else q.value(*r.found[:2])
            return Search(value, r.cpu_s), provenance["version"][:12], r.recorded
    return None


def as_good(
    layer: Layer, chip: Accelerator, table: EnergyTable, objective: Objective, column: Column, value: float | None
) -> Search:
    """hwflow's searches, all of them, until one is as good as `value`, or the last effort is spent."""
    cpu, best, ragged = time.process_time(), math.inf, column != "perfect"
    for effort in EFFORTS:
        found = mid.map_layer(layer, chip, constrain(chip), table, objective=objective, effort=effort, ragged=ragged)
        best = min(best, _value(found.cost.energy or 0.0, found.cost.cycles or 0, objective))
        if value is None or best <= value * (1 + 1e-6):  # Timeloop prints energies with few digits
            break
    return Search(best, round(time.process_time() - cpu, 4))


def _value(energy: float, cycles: int, objective: Objective) -> float:
    return {"energy": energy, "latency": float(cycles), "edp": energy * cycles}[objective]


def main() -> None:
    """Measure what is not recorded, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="resnet18")
    parser.add_argument("--accelerator", default="eyeriss")
    parser.add_argument("--layers", help="only so many of the distinct layers, evenly spread, or the ones with these names")
    parser.add_argument("--objective", choices=("edp", "energy", "latency"), default="edp")
    parser.add_argument("--columns", default=",".join(COLUMNS))
    parser.add_argument("--victory-condition", type=int, default=SETTINGS.victory_condition, help="timeloop-mapper's")
    parser.add_argument("--timeout", type=int, default=SETTINGS.timeout, help="timeloop-mapper's, in mappings, not in seconds")
    parser.add_argument(
        "--recorded", action="store_true", help="perfect factors: take answers of timeloop-mapper's from tests/data"
    )
    parser.add_argument("--records", type=Path, default=RECORDS)
    parser.add_argument("--table", action="store_true", help="run nothing, print the tables of what is recorded")
    options = parser.parse_args()
    if not options.table:
        if shutil.which("timeloop-mapper") is None and not options.recorded:
            print("timeloop-mapper: not compared, it is not on PATH. 'hwflow doctor' says how to get it.")
            return
        try:
            run(options)
        except ValueError as error:
            parser.error(str(error))
    print(table_of(read(options.records)))


def run(options: argparse.Namespace) -> None:
    """Ask about each layer in each column, and record.

    Raises:
        ValueError: for a column or layer that is not there.
    """
    chip = Accelerator.load(options.accelerator)
    table = recorded(chip)
    if table is None:
        sys.exit(f"{chip.name} has no recorded energies; benchmark a preset.")
    settings = replace(SETTINGS, victory_condition=options.victory_condition, timeout=options.timeout)
    if options.recorded and (settings, options.columns) != (SETTINGS, "perfect"):
        raise ValueError("--recorded: only answers to --columns perfect, with the default --victory-condition and --timeout")
    distinct = list({layer.key: layer for layer in hwflow.zoo(options.network)}.values())
    today = str(datetime.now(UTC).date())
    for column in columns_of(options.columns):
        for layer in chosen(distinct, options.layers):
            known = remembered(layer, chip, options.objective) if options.recorded else None
            if options.recorded and known is None:
                print(f"{layer}: timeloop-mapper's answer is not recorded")
                continue
            asked: Record = {
                "network": options.network,
                "accelerator": chip.name,
                "objective": options.objective,
                "layer": str(layer),
                "column": column,
                "settings": asdict(settings),
                "mid": mid.VERSION,
            }
            if any(all(r[k] == v for k, v in asked.items()) for r in read(options.records)):
                continue
            theirs, tool, date = known or (
                timeloop(layer, chip, table, options.objective, column, settings),
                find_engine("native").version("timeloop-mapper")[:12],
                today,
            )
            ours = as_good(layer, chip, table, options.objective, column, theirs.value)
            made = {"date": today, "machine": platform.machine(), "hwflow": hwflow.__version__, "timeloop": tool, "asked": date}
            record = asked | made | {"ours": asdict(ours), "theirs": asdict(theirs)}
            if column == "everything":
                free = as_good(layer, bypassed_chip(chip), table, options.objective, column, theirs.value)
                record["bypassing"] = asdict(free)
            options.records.parent.mkdir(parents=True, exist_ok=True)
            with options.records.open("a", encoding="utf-8") as handle:
                handle.write(json.dumps(record) + "\n")
            print(f"{column:11} {layer.name:24} {options.objective} {_cell(record)}", flush=True)


def read(file: Path) -> list[Record]:
    """The records, the last one of each layer and column."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    names = ("network", "accelerator", "objective", "layer", "column", "settings")
    return list({tuple(str(r[n]) for n in names): r for r in map(json.loads, lines)}.values())


def table_of(records: Sequence[Record]) -> str:
    """For each question a table of layers by columns, in Markdown: hwflow's value in parts of timeloop-mapper's, and times."""
    parts = []
    for network, accelerator, objective in dict.fromkeys((r["network"], r["accelerator"], r["objective"]) for r in records):
        known = [r for r in records if (r["network"], r["accelerator"], r["objective"]) == (network, accelerator, objective)]
        some = [_as_wide(r, known) for r in known]
        lines = [
            f"**{network} on {accelerator}, {objective}**",
            "",
            f"| layer | {' | '.join(COLUMNS)} |",
            "|---" * (1 + len(COLUMNS)) + "|",
        ]
        for layer in dict.fromkeys(r["layer"] for r in some):
            cells = [next((_cell(r) for r in some if (r["layer"], r["column"]) == (layer, c)), "") for c in COLUMNS]
            lines.append(f"| {layer} | {' | '.join(cells)} |")
        for title, row in (("geometric mean", _mean), ("hwflow's larger in", _worse), ("CPU seconds", _times)):
            found = [[r for r in some if r["column"] == c and r["theirs"]["value"] is not None] for c in COLUMNS]
            lines.append(f"| {title} | {' | '.join(row(column) if column else '' for column in found)} |")
        parts.append("\n".join([*lines, *_bypasses(some)]))
    return "\n\n".join(parts)


def _as_wide(record: Record, records: Sequence[Record]) -> Record:
    """The record, with timeloop-mapper's mapping of a narrower column where that is better: a wider column has it, too."""
    columns = COLUMNS[: COLUMNS.index(record["column"])]
    narrower = [r for r in records if r["layer"] == record["layer"] and r["column"] in columns]
    best = min((r for r in narrower if r["theirs"]["value"] is not None), key=lambda r: r["theirs"]["value"], default=None)
    own = record["theirs"]["value"]
    if best is None or (own is not None and best["theirs"]["value"] >= own * (1 - 1e-6)):
        return record
    found = {"value": best["theirs"]["value"], "column": best["column"], "bypassed": {}}
    return record | {"theirs": record["theirs"] | found}


def _bypasses(records: Sequence[Record]) -> Iterator[str]:
    """What Timeloop's mappings bypass where they are better than hwflow's without bypasses."""
    some = [r for r in records if "bypassing" in r and r["theirs"]["value"] and r["ours"]["value"] > r["theirs"]["value"]]
    if some:
        yield ""
    for r in some:
        found = ", ".join(f"{name} ({', '.join(tensors)})" for name, tensors in r["theirs"]["bypassed"].items())
        yield f"- {r['layer'].split()[0]}: timeloop-mapper's mapping bypasses {found or 'nothing'}"


def _of_ours(record: Record) -> Record:
    """hwflow's search that has the same freedom."""
    found: Record = record["bypassing"] if "bypassing" in record else record["ours"]
    return found


def _ratio(record: Record) -> float:
    return float(_of_ours(record)["value"] / record["theirs"]["value"])


def _faster(record: Record) -> float:
    return float(record["theirs"]["cpu_s"] / _of_ours(record)["cpu_s"])


def _cell(record: Record) -> str:
    if (value := record["theirs"]["value"]) is None:
        return "none found"
    without = f" ({record['ours']['value'] / value:.3f})" if "bypassing" in record else ""
    mark = "†" if "column" in record["theirs"] else ""
    return f"{_ratio(record):.3f}{mark}{without}, {record['theirs']['cpu_s']:.1f} s : {_of_ours(record)['cpu_s']:.2f} s"


def _mean(records: Sequence[Record]) -> str:
    return f"{statistics.geometric_mean(map(_ratio, records)):.3f} ({len(records)})"


def _worse(records: Sequence[Record]) -> str:
    return f"{sum(_ratio(r) > 1 + 1e-6 for r in records)} of {len(records)}"


def _times(records: Sequence[Record]) -> str:
    ratios = [_faster(r) for r in records]
    return f"{statistics.geometric_mean(ratios):.0f} times hwflow's ({min(ratios):.0f} to {max(ratios):.0f})"


if __name__ == "__main__":
    main()
