"""`run`: executes a sweep file and writes its tables."""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwflow.cost.backend import BACKENDS, backend_of, check_used
from hwflow.cost.options import CostOptions
from hwflow.cost.session import Notify, warn
from hwflow.errors import InputError, MissingDependency
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.energy_table import unrecorded
from hwflow.metrics import FRONT
from hwflow.progress import Progress, Shown, shown
from hwflow.reporting import write_report
from hwflow.sweeping import records as record_files
from hwflow.sweeping import runners
from hwflow.sweeping.case import Case, cases_of, identity
from hwflow.sweeping.coverage import Counts, Coverage, reasons
from hwflow.sweeping.description import Description, load_description
from hwflow.sweeping.design_bounds import DesignBounds
from hwflow.sweeping.design_front import FrontProof
from hwflow.sweeping.objectives import objectives_of
from hwflow.sweeping.point_record import Checker
from hwflow.sweeping.records import Records
from hwflow.sweeping.registry import SEARCHERS
from hwflow.sweeping.result_tables import check_installed, read_results, write_tables
from hwflow.sweeping.sampling import count, draw
from hwflow.sweeping.searcher import Values
from hwflow.sweeping.space import Design, Space, space_of
from hwflow.sweeping.unit import Unit, cost_unit

if TYPE_CHECKING:
    import pandas

MANY = 10_000
"""Points from which on a sweep must be confirmed."""

_OBJECTIVES = tuple(field for field in FRONT if field != "energy_normalized")  # of chips whose energies are known in picojoule
_TASTED = 3  # layers by which the time is judged
_TOLD = 10  # damaged lines that are told of
_DAY_S = 86_400


@dataclass(frozen=True)
class SweepResult:
    """What a run left: the folder, how many points its tables have, why points failed, and what this run did.

    `expected` is the number of points of the whole sweep, before the search ended the most there can be. `proof` is what lower
    bounds say of a search's front; None of an interrupted search, and where no bounds are known.
    """

    folder: Path
    points: int
    expected: int
    failures: Counter[str]
    counts: Counts
    seconds: float
    proof: FrontProof | None = None

    def frame(self) -> pandas.DataFrame:
        """The results, one row a point."""
        return read_results(self.folder)


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, after the tables of what was finished were written."""

    def __init__(self, result: SweepResult) -> None:
        super().__init__()
        self.result = result


def sweep(
    path: str | Path,
    folder: str | Path,
    *,
    runner: runners.RunnerName = "local",
    address: str | None = None,
    jobs: int = 1,
    yes: bool = False,
    allow_import: Sequence[str] = (),
    store: bool = True,
    progress: Shown = None,
    notify: Notify | None = None,
) -> pandas.DataFrame:
    """Cost networks on many accelerators, as a sweep file asks for, into a folder; a folder that holds a part is continued.

    Args:
        path: the sweep file.
        folder: where the records, the tables and report.html go.
        runner: local processes, or a Ray cluster.
        address: of the Ray cluster; without it, one is started on this machine.
        jobs: processes; above 1, call it below `if __name__ == "__main__":`.
        yes: whether more than `MANY` points are meant.
        allow_import: modules of which the file, and the runs in its `plans`, may name a callable as a network; code that a file
            names is not run otherwise.
        store: whether layers are looked for, and kept, in the user's store.
        progress: told what is done; None shows it in a terminal and in a notebook, False nowhere.
        notify: told in a sentence what a user should know; None warns.

    Returns:
        `results.parquet`: a row a point, failed ones included (`status`, `reason`).

    Raises:
        InputError: where the file cannot be used, or the folder holds another sweep.
        MissingDependency: where a package of the extra `sweep` or `ray` is needed and missing.
        HwflowError: where nothing can be written, or no Ray cluster answers.
    """
    return run(
        path,
        folder,
        runner=runner,
        address=address,
        jobs=jobs,
        yes=yes,
        allow_import=allow_import,
        store=store,
        progress=progress,
        notify=notify,
    ).frame()


def run(
    path: str | Path,
    folder: str | Path,
    *,
    runner: str = "local",
    address: str | None = None,
    jobs: int = 1,
    yes: bool = False,
    allow_import: Sequence[str] = (),
    store: bool = True,
    progress: Shown = None,
    notify: Notify | None = None,
    description: Description | None = None,
) -> SweepResult:
    """`sweep`, with what else is known at its end; `description` is what the file says, where it is read already."""
    start = time.monotonic()
    check_installed()
    file, place = Path(path), Path(folder)
    asked = description or load_description(file)
    options = asked.options(jobs)
    for flow in asked.dataflows:
        check_used(replace(options, dataflow=flow), asked.levels, file=file)
    opening = runners.opened(runner, address, jobs)
    space, cases = space_of(asked, file.parent), cases_of(asked, file, allow_import)
    designs = asked.sample.points if asked.sample.points is not None else count(space)
    expected = _expected(asked, space, cases, space.size if designs is None else designs)
    if expected > MANY and not yes:
        raise InputError(_too_many(file, space, cases, asked, options, expected, jobs))
    tell = notify or warn
    if asked.energy == "auto" and (parts := _unlike(space)):
        tell(
            f"the energies of {', '.join(parts)} are recorded for some of the swept values and fitted for the others, which "
            "can differ by the fit's error. energy: fitted prices all alike."
        )
    checker = Checker({case.title: case.rows for case in cases}, space.values, space.parts())
    points = asked.sample.points
    grows = asked.sample.method == "random" and points is not None and points < (count(space) or math.inf)
    with (
        record_files.opened(place, file, _header(space, cases, asked), checker, grows=grows) as records,
        shown(progress, file.name) as bar,
    ):
        if records.damaged:
            tell(_damaged(place, records.damaged))
        coverage: Coverage | None = None

        def result(points: int) -> SweepResult:
            """With the tables, which have the points below this number."""
            records.sync()
            left_out = records.leave_out(points)
            if asked.sample.method not in SEARCHERS and (foreign := sorted({*records.others, *left_out})):
                tell(_foreign(place, foreign))
            write_tables(place, space, cases, records)
            counts = coverage.counts if coverage else Counts()
            return SweepResult(place, len(records), expected, reasons(records), counts, time.monotonic() - start)

        try:
            with opening as costing:
                coverage = Coverage(
                    space,
                    cases,
                    asked.levels,
                    options,
                    records,
                    costing,
                    keep=store,
                    expected=expected,
                    progress=bar,
                    notify=tell,
                )
                proof = _carry_out(asked, space, cases, coverage, records, jobs, bar)
        except KeyboardInterrupt:
            raise Interrupted(result(expected)) from None
        except InputError:  # of a search whose objective a design does not have
            result(expected)
            raise
        finished = replace(result(coverage.points), proof=proof)
    try:
        write_report(place)
    except MissingDependency as error:
        tell(f"report.html was not written: {error}")
    return finished


def _damaged(folder: Path, lines: Sequence[str]) -> str:
    more = f"; and {len(lines) - _TOLD} more" if len(lines) > _TOLD else ""
    taken = "This line is" if len(lines) == 1 else f"These {len(lines):,} lines are"
    return (
        f"{folder / 'records.jsonl'} is damaged: {'; '.join(lines[:_TOLD])}{more}. "
        f"{taken} taken out, and points that are then without a record are costed again."
    )


def _foreign(folder: Path, points: Sequence[int]) -> str:
    more = f" and {len(points) - _TOLD} more" if len(points) > _TOLD else ""
    return (
        f"{folder / 'records.jsonl'} had records of other designs than this sweep's, under the numbers "
        f"{', '.join(map(str, points[:_TOLD]))}{more}; they do not count."
    )


def _carry_out(
    asked: Description,
    space: Space,
    cases: Sequence[Case],
    coverage: Coverage,
    records: Records,
    jobs: int,
    progress: Progress | None,
) -> FrontProof | None:
    """Cost the designs; what bounds say of the front, where a search has asked for them."""
    sample = asked.sample
    if sample.method == "grid":
        coverage.cover(space.designs())
        return None
    assert sample.points is not None
    if sample.method not in SEARCHERS:
        coverage.cover(draw(space, sample.method, sample.points, sample.seed))
        return None
    names = sample.objectives or _OBJECTIVES
    bounds = DesignBounds(space, cases, replace(asked.options(), level=asked.levels[0]), names)
    known: dict[Design, tuple[float, ...]] = {}

    def least(designs: Sequence[Design]) -> list[tuple[float, ...]]:
        found = bounds(designs, jobs=jobs, progress=progress)
        known.update(zip(designs, found, strict=True))
        return found

    def cover(designs: Sequence[Design]) -> list[Values]:
        return [objectives_of([records[n] for n in numbers], names) for numbers in coverage.cover(designs)]

    searcher = SEARCHERS[sample.method]
    costed = searcher(space, points=sample.points, seed=sample.seed, objectives=len(names), cover=cover, least=least)
    return FrontProof.of(known, costed)


def _expected(asked: Description, space: Space, cases: Sequence[Case], designs: int) -> int:
    """Points of so many designs; a level without mappings, which knows no dataflow, answers once for all of a chip's."""
    chips = -(-designs // len(space.dataflows)) if asked.sample.method == "grid" else designs
    return sum((designs if backend_of(level).maps else chips) * len(cases) for level in asked.levels)


def _unlike(space: Space) -> list[str]:
    """Parts that have recorded energies at some values of a swept field, the others as they are, and none at others."""
    found: dict[str, None] = {}
    for entry in space.entries:
        for field, values in entry.fields.items():
            without: list[set[str]] = []
            for value in values:
                with contextlib.suppress(InputError):  # this value alone makes no chip
                    without.append(set(unrecorded(entry.base.with_({field: value}))))
            if without:
                found |= dict.fromkeys(sorted(without[0].union(*without) - without[0].intersection(*without)))
    return list(found)


def _header(space: Space, cases: Sequence[Case], asked: Description) -> dict[str, Any]:
    """What the names of the file stand for: a folder is continued only where they still mean the same."""
    from hwflow.hardware.dataflow import load_dataflow

    networks = {case.title: case.content for case in cases}
    flows = {f for entry in space.entries for f in (*space.dataflows, entry.base.dataflow) if f}
    fitted = {name for name, backend in BACKENDS.items() if backend.fitted}
    return {
        "format": record_files.FORMAT,
        "versions": {
            name: backend.version
            for name, backend in BACKENDS.items()
            if not backend.external and (name in asked.levels or name not in fitted)
        },
        **({"content of ppa_model": _model_content(asked)} if fitted & set(asked.levels) else {}),
        "content of networks": networks,
        "layers of networks": {case.title: case.rows.to_data() for case in cases},
        "content of accelerators": {entry.name: _content(entry.base, cases) for entry in space.entries},
        "content of dataflows": {name: load_dataflow(name).model_dump(mode="json")["rules"] for name in sorted(flows)},
    }


def _model_content(asked: Description) -> str:
    """Refused here, before any point is costed, where no model can be read."""
    from hwflow.ppa.model_file import read_model

    if asked.ppa_model is None:
        raise InputError("levels names ppa, which needs a model: name the file that 'hwflow ppa fit' wrote as ppa_model.")
    return read_model(asked.ppa_model).identity


def _content(accelerator: Accelerator, cases: Sequence[Case]) -> str:
    """Of a chip, its vector unit included where that has a part in the costs."""
    whole = any(case.whole for case in cases) and accelerator.vector_unit is not None
    return f"{accelerator.fingerprint} {accelerator.vector_unit}" if whole else accelerator.fingerprint


def _too_many(
    file: Path, space: Space, cases: Sequence[Case], asked: Description, options: CostOptions, points: int, jobs: int
) -> str:
    seconds = _foreseen(space, cases, asked, options, points) / jobs
    time_text = f"{seconds / _DAY_S:,.1f} days" if seconds > _DAY_S else f"{seconds / 60:,.0f} minutes"
    return (
        f"{file} describes up to {points:,} points ({space.size:,} designs, {len(cases)} networks, levels "
        f"{', '.join(asked.levels)}), about {time_text} with {jobs} job(s), judged by a few layers of the first design. "
        "If that is meant, say --yes (yes=True). If not, narrow the fields' values, or cost a sample of the designs: "
        "sample: {method: lhs, points: 200}."
    )


def _foreseen(space: Space, cases: Sequence[Case], asked: Description, options: CostOptions, points: int) -> float:
    """Processor seconds, from what a few layers take on the first design, each layer of the networks counted once a design."""
    first = next(itertools.islice(space.designs(), 1))
    layers = list({identity(layer): layer for case in cases for layer in case.network}.values())
    tasted = tuple(layers[:: max(1, len(layers) // _TASTED)][:_TASTED])
    alone = replace(options, activations="dram", operators="mac")
    total = 0.0
    for level in asked.levels:
        begin = time.perf_counter()
        cost_unit(Unit(space.accelerator(first), tasted, tasted, replace(alone, level=level), keep=False))
        total += (time.perf_counter() - begin) / len(tasted) * len(layers)
    return total * points / len(cases) / len(asked.levels)
