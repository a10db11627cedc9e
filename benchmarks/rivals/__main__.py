"""hwflow's mapping search against another mapper, layer by layer, in three columns, each mapping judged by three models.

    python -m benchmarks.rivals zigzag     [--python .venv/zigzag/bin/python]     [--layers N] [--columns perfect,...]
    python -m benchmarks.rivals accelforge [--python .venv/accelforge/bin/python] [--cap 900] [--set objective_tolerance=0.1]
    python -m benchmarks.rivals --table

The rival runs in an interpreter of its own. Both minimise EDP on one chip (`benchmarks.rivals.chip`), the rival by its own
model, in three columns: `perfect` factors on both sides, `imperfect` factors on both sides, and `everything` that the rival can
express. Its mappings are translated and judged by hwflow's analysis, by timeloop-model too where that is on PATH; its own model
judges hwflow's. Seconds are of one process on one core, as the operating system charges them (CPU time).

Every layer and column adds a line to a file of records, and what is recorded is not done again. A search that reaches the cap
is recorded as such. Where a later run allows more, AccelForge's goes on after the orders of registers that it has searched, and
ZigZag's is repeated.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import hwflow
from benchmarks.rivals.chip import shared_chip, to_request
from benchmarks.rivals.comparison import Ours, compared, posed, searched
from benchmarks.rivals.records import (
    RECORDS,
    begun,
    below_bound,
    better_inside,
    edp,
    not_ended,
    own_ratio,
    ratio,
    read,
    settled,
    tables,
)
from benchmarks.rivals.tools import COLUMNS, RIVALS, RivalFailed, Settings, answers, chosen, columns_of
from hwflow.cost import mid
from hwflow.timeloop.engine import find_engine


def main() -> None:
    """Compare what is not recorded, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rival", choices=RIVALS, nargs="?")
    parser.add_argument("--python", type=Path, help="interpreter that has the rival")
    parser.add_argument("--network", default="resnet18")
    parser.add_argument("--layers", help="only so many of the distinct layers, evenly spread, or the ones with these names")
    parser.add_argument("--columns", default=",".join(COLUMNS))
    parser.add_argument("--cap", type=float, default=900, help="CPU seconds after which a search of the rival is ended")
    parser.add_argument("--memory", type=float, default=8000, help="accelforge: MB of memory after which its search is ended")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=JSON", help="another value of a rival's setting")
    parser.add_argument("--records", type=Path, default=RECORDS)
    parser.add_argument("--table", action="store_true", help="run nothing, print the tables of what is recorded")
    options = parser.parse_args()
    if options.rival is None and not options.table:
        parser.error(f"name a rival ({', '.join(RIVALS)}), or ask for what is recorded with --table")
    if not options.table:
        rival = RIVALS[options.rival]
        python = options.python or rival.python(options.rival)
        if not python.exists():
            print(f"{rival.title}: not compared, {python} is not there. To have it: {rival.install}")
            return
        try:
            run(options, python)
        except ValueError as error:
            parser.error(str(error))
    records = read(options.records)
    print(tables(records))
    for title, some in (("better than hwflow's", better_inside(records)), ("below hwflow's bound", below_bound(records))):
        for r in some:
            print(f"{title}, in a space that hwflow searches: {r['rival']}, {r['column']}, {r['layer']}")


def run(options: argparse.Namespace, python: Path) -> None:
    """Compare layer by layer, and record each; a search that fails is reported and not recorded, so the next run repeats it.

    Raises:
        ValueError: for a column, layer or setting that is not there.
    """
    rival, (chip, table) = RIVALS[options.rival], shared_chip()
    engine = find_engine("native") if shutil.which("timeloop-model") else None
    layers = list({layer.key: layer for layer in map(posed, hwflow.zoo(options.network))}.values())
    for layer in chosen(layers, options.layers):
        for column in columns_of(options.columns):
            asked = {
                "rival": options.rival,
                "hwflow": hwflow.__version__,
                "mid": mid.VERSION,
                "network": options.network,
                "layer": str(layer),
                "column": column,
                "settings": changed(rival.settings[column], options.set),
                "cap_s": options.cap,
            }
            if settled(read(options.records), asked):
                continue
            ours = searched(layer, chip, table, column)
            request = to_request(chip, table, [layer], [ours.found.mapping], asked["settings"])
            limits = {"cap_s": options.cap, "memory_mb": options.memory} | begun(read(options.records), asked)
            machine = {"date": str(datetime.now(UTC).date()), "machine": platform.machine(), "memory_mb": options.memory}
            try:
                rows = list(answers(python, rival.script, request | limits))
            except RivalFailed as error:
                print(f"{layer.name:24}{column:11} not recorded: {error}", file=sys.stderr, flush=True)
                continue
            record = asked | machine | compared(rival, ours, rows, chip, table, engine)
            options.records.parent.mkdir(parents=True, exist_ok=True)
            with options.records.open("a", encoding="utf-8") as handle:
                handle.write(json.dumps(record) + "\n")
            print(line(record, ours), flush=True)


def changed(settings: Settings, changes: Sequence[str]) -> Settings:
    """Settings with other values of some.

    Raises:
        ValueError: for a name that is not among them, or a value that is not JSON.
    """
    new: dict[str, Any] = {}
    for change in changes:
        name, _, value = change.partition("=")
        if name not in settings:
            raise ValueError(f"--set: {name} is none of this rival's settings: {', '.join(settings)}")
        try:
            new[name] = json.loads(value)
        except json.JSONDecodeError:
            raise ValueError(f'--set: the value of {name} must be JSON, such as 8, true or "even", not {value!r}') from None
    return settings | new


def line(record: dict[str, Any], ours: Ours) -> str:
    """One comparison, as people read it while it runs."""
    theirs, title = record["theirs"], RIVALS[record["rival"]].title
    head = f"{ours.layer.name:24}{record['column']:11} hwflow EDP {ours.verdict.edp:.4g} in {ours.seconds:.2f} CPU s; {title} "
    ended = "" if theirs["ended"] else f"{not_ended(record)}, "
    if (judged := ratio(record)) is None:
        return f"{head}{ended}{theirs.get('not_judged', 'no mapping')}"
    own = own_ratio(record)
    return (
        f"{head}{ended}{edp(theirs):.4g} in {theirs['cpu_s']:.1f}; ratio {judged:.3f}, by {title}'s model "
        f"{'unknown' if own is None else f'{own:.3f}'}; its no. {theirs['number']}, "
        f"space {theirs['space']}{', split: ' + ', '.join(theirs['split']) if theirs['split'] else ''}"
    )


if __name__ == "__main__":
    main()
