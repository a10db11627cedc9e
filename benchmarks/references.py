"""hwflow's mapping search against timeloop-mapper's, whose answers are recorded once: they take hours.

    python -m benchmarks.references record [--jobs N] [--store FILE] [--output FILE] [--tool TEXT] [--machine TEXT]
    python -m benchmarks.references compare [--live] [--references FILE]

`record` goes on where it stopped: every answer is kept in the store at once. `compare` prints hwflow's objective in
parts of timeloop-mapper's, by layer and by network, and exits with 1 where hwflow's is larger anywhere, or where its analysis
of their mapping differs from what they say of it. hwflow's mappings are judged by its analysis, with --live by timeloop-model.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import itertools
import math
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import hwflow
from benchmarks import parity
from hwflow.accelerator import Accelerator
from hwflow.cost import fine, mid, pool
from hwflow.dataflow import constrain
from hwflow.energy import EnergyTable, recorded
from hwflow.errors import HwflowError, InputError, NotMappable, ToolError
from hwflow.layers import Layer
from hwflow.mapping import Mapping
from hwflow.network import Network
from hwflow.progress import Progress
from hwflow.results import LayerCost
from hwflow.store import Store
from hwflow.timeloop.engine import Engine, find_engine
from hwflow.timeloop.render import SearchSettings, render

Objective = Literal["edp", "energy"]

SETTINGS = SearchSettings(algorithm="random_pruned", threads=2, victory_condition=1000, timeout=10000)
NETWORKS = ("alexnet", "resnet18", "resnet20", "mobilenet_v2")
OBJECTIVES: tuple[Objective, ...] = ("edp", "energy")
WHOLE = "eyeriss"
"""The chip on which every layer of the networks is recorded."""
OTHERS = ("eyeriss_256", "simba", "tpu_like", "shidiannao_like")
SAMPLE = (
    ("alexnet", "features.0"),  # 11x11, stride 4
    ("alexnet", "features.3"),  # 5x5
    ("alexnet", "classifier.6"),  # linear
    ("resnet18", "layer2.0.downsample.0"),  # 1x1, stride 2
    ("resnet18", "layer4.0.conv2"),  # 3x3, many channels, few pixels
    ("resnet20", "layer1.0.conv1"),  # 3x3, few channels
    ("resnet20", "layer2.0.conv1"),  # 3x3, stride 2
    ("mobilenet_v2", "features.4.conv.1.0"),  # depthwise, stride 2
    ("mobilenet_v2", "features.8.conv.1.0"),  # depthwise
    ("mobilenet_v2", "features.8.conv.0.0"),  # 1x1
)
"""The layers that are recorded on the other chips: network, layer."""

TOLERANCE = 1e-6
"""Relative: energies are sums of what Timeloop prints with few digits."""
RECORDS = Path(__file__).parents[1] / "tests" / "data" / "references.json.gz"


@dataclass(frozen=True)
class Question:
    """What timeloop-mapper is asked: the best mapping of one layer on one preset."""

    layer: Layer
    accelerator: str
    objective: Objective

    def __str__(self) -> str:
        return f"{self.accelerator} {self.objective:6} {self.layer}"

    @property
    def chip(self) -> Accelerator:
        """The preset."""
        return _chip(self.accelerator)[0]

    @property
    def table(self) -> EnergyTable:
        """Its recorded energies."""
        return _chip(self.accelerator)[1]

    def value(self, energy: float, cycles: int) -> float:
        """The objective: picojoule, or picojoule times cycles."""
        return energy if self.objective == "energy" else energy * cycles


@dataclass(frozen=True)
class Reference:
    """timeloop-mapper's answer: a mapping with its energy (pJ) and cycles, or its words where it failed.

    `key` identifies the input, settings included, and the tool (`fine.key`). `cpu_s` and `wall_s` are the seconds that it
    took; only the former does not depend on what else the machine does. `recorded` is the date.
    """

    question: Question
    key: str
    energy: float | None
    cycles: int | None
    mapping: tuple[dict[str, Any], ...] | None
    failure: str
    cpu_s: float
    wall_s: float
    recorded: str

    @property
    def found(self) -> tuple[float, int, Mapping]:
        """Energy, cycles and mapping, where it did not fail."""
        assert self.energy is not None
        assert self.cycles is not None
        assert self.mapping is not None
        return self.energy, self.cycles, Mapping.from_directives(list(self.mapping), self.question.chip)

    def to_record(self) -> dict[str, Any]:
        """As plain data."""
        content = asdict(self)
        question: dict[str, Any] = content.pop("question")
        return question | content

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Reference:
        """What `to_record` wrote."""
        rest = dict(record)
        layer, accelerator, objective = (rest.pop(name) for name in ("layer", "accelerator", "objective"))
        mapping = rest.pop("mapping")
        question = Question(Layer(**layer), accelerator, objective)
        return cls(question, mapping=None if mapping is None else tuple(mapping), **rest)


def questions() -> Iterator[Question]:
    """All of them, the most wanted first."""
    for objective in OBJECTIVES:
        for layer in {layer.key: layer for network in networks() for layer in network}.values():
            yield Question(layer, WHOLE, objective)
    for accelerator in OTHERS:
        for objective in OBJECTIVES:
            for name, layer_name in SAMPLE:
                yield Question(hwflow.zoo(name)[layer_name], accelerator, objective)


@functools.cache
def networks() -> tuple[Network, ...]:
    """The networks whose layers are recorded."""
    return tuple(hwflow.zoo(name) for name in NETWORKS)


@functools.cache
def _chip(name: str) -> tuple[Accelerator, EnergyTable]:
    chip = Accelerator.load(name)
    table = recorded(chip)
    assert table is not None, f"{name} has no recorded energies"
    return chip, table


# Recording -----------------------------------------------------------------------------------------------------------


def key(question: Question, engine: Engine) -> str:
    """What the answer depends on, as a hash."""
    chip, table = question.chip, question.table
    return fine.key(
        render(question.layer, chip, constrain(chip), table, objective=question.objective, search=SETTINGS), table, engine
    )


def ask(question: Question, engine: Engine) -> dict[str, Any]:
    """timeloop-mapper's answer, as plain data. One at a time in a process: the CPU seconds are those of all its children."""
    chip, table = question.chip, question.table
    energy = cycles = mapping = None
    failure, start, cpu = "", time.perf_counter(), _cpu_s()
    try:
        row = fine.search(
            question.layer, chip, constrain(chip), table, objective=question.objective, settings=SETTINGS, engine=engine
        )
        energy, cycles, mapping = row.energy, row.cycles, tuple(dict(d) for d in row.mapping or ())
    except (NotMappable, ToolError) as error:
        failure = (
            f"{type(error).__name__}: {str(error).partition(' Input and output are kept')[0]}"  # no folder of this machine
        )
    seconds, cpu_s = round(time.perf_counter() - start, 2), round(_cpu_s() - cpu, 2)
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    reference = Reference(question, key(question, engine), energy, cycles, mapping, failure, cpu_s, seconds, today)
    return reference.to_record()


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def record(engine: Engine, store: Store, jobs: int = 1, progress: Progress | None = None) -> list[dict[str, Any]]:
    """All answers in the order of the questions, as plain data; those that the store has are not asked for again."""
    asked = {key(question, engine): question for question in questions()}
    tasks = [pool.Task("reference", k, str(q), ask, (q, engine)) for k, q in asked.items()]
    answers = pool.run(tasks, jobs=jobs, store=store, progress=progress)
    return [answers[k] for k in asked]


# Comparing -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Comparison:
    """One reference, and what hwflow's own answer to its question costs."""

    reference: Reference
    ours: LayerCost

    @property
    def ratio(self) -> float:
        """Our objective in parts of theirs; 0 where they found nothing."""
        if self.reference.failure:
            return 0.0
        question, (energy, cycles, _) = self.reference.question, self.reference.found
        return question.value(*_cost(self.ours)) / question.value(energy, cycles)

    @property
    def worse(self) -> bool:
        """Whether timeloop-mapper's mapping is the better one."""
        return self.ratio > 1 + TOLERANCE


def compare(reference: Reference, engine: Engine | None = None) -> Comparison:
    """hwflow's search with perfect factors at the default effort, judged by timeloop-model where an engine is given."""
    question = reference.question
    chip, table = question.chip, question.table
    found = mid.map_layer(question.layer, chip, constrain(chip), table, objective=question.objective, ragged=False)
    ours = fine.judge(question.layer, chip, found.mapping, table, engine=engine) if engine else found.cost
    return Comparison(reference, ours)


def confirmed(reference: Reference) -> bool:
    """Whether hwflow's analysis says of their mapping what timeloop-mapper says of it."""
    if reference.failure:
        return True
    energy, cycles, mapping = reference.found
    again = _cost(mid.analyse(reference.question.layer, reference.question.chip, mapping, reference.question.table))
    return again[1] == cycles and math.isclose(again[0], energy, rel_tol=TOLERANCE)


def network_ratio(network: Network, compared: Iterable[Comparison], accelerator: str, objective: Objective) -> float | None:
    """Ratio of the sums over all layers of a network (EDP: of energies times of cycles); None where not all are recorded."""
    at_hand = {c.reference.question.layer.key: c for c in _answered(compared, accelerator, objective)}
    if not all(layer.key in at_hand for layer in network):
        return None
    pairs = [at_hand[layer.key] for layer in network]
    ours, theirs = [_cost(p.ours) for p in pairs], [p.reference.found for p in pairs]
    value = pairs[0].reference.question.value
    return value(sum(e for e, _ in ours), sum(n for _, n in ours)) / value(
        sum(e for e, _, _ in theirs), sum(n for _, n, _ in theirs)
    )


def _answered(compared: Iterable[Comparison], accelerator: str, objective: Objective) -> list[Comparison]:
    asked = accelerator, objective
    return [
        c
        for c in compared
        if (c.reference.question.accelerator, c.reference.question.objective) == asked and not c.reference.failure
    ]


def _cost(row: LayerCost) -> tuple[float, int]:
    assert row.energy is not None
    assert row.cycles is not None
    return row.energy, row.cycles


def lines(compared: Sequence[Comparison]) -> Iterator[str]:
    """What people read: every layer, then each chip and objective, then the networks."""
    for c in compared:
        yield f"{c.reference.question}: {c.reference.failure or f'{c.ratio:.6f}'}" + ("  WORSE" if c.worse else "")
    for accelerator, objective in itertools.product((WHOLE, *OTHERS), OBJECTIVES):
        group = _answered(compared, accelerator, objective)
        if group:
            ratios = [c.ratio for c in group]
            yield (
                f"== {accelerator} {objective}: {len(group)} layers, geometric mean {statistics.geometric_mean(ratios):.3f}, "
                f"best {min(ratios):.3f}, worst {max(ratios):.6f}, {sum(c.worse for c in group)} worse than timeloop-mapper"
            )
    for objective, network in itertools.product(OBJECTIVES, networks()):
        ratio = network_ratio(network, compared, WHOLE, objective)
        if ratio is not None:
            yield f"== {WHOLE} {objective}, sum over {network.name}: {ratio:.3f}"


# Command line --------------------------------------------------------------------------------------------------------


def load(path: Path = RECORDS) -> tuple[dict[str, Any], list[Reference]]:
    """Provenance and references."""
    content = parity.load(path)
    return content["provenance"], [Reference.from_record(r) for r in content["records"]]


def _tell(done: int, total: int, text: str) -> None:
    print(f"{done} of {total} {text}", flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Record or compare."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.references")
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record", help="ask timeloop-mapper; needs Timeloop on PATH, and hours")
    recording.add_argument("--jobs", type=int, default=1, help=f"questions at a time, each on {SETTINGS.threads} threads")
    recording.add_argument("--store", type=Path, default=Path("runs/references.sqlite"), help="every answer, as it comes")
    recording.add_argument("--output", type=Path, default=RECORDS)
    recording.add_argument("--tool", default="", help="what the record says of the tool: its commit and date")
    recording.add_argument("--machine", default=f"{platform.machine()}, {os.cpu_count()} cores")
    comparing = commands.add_parser("compare", help="hwflow's mappings against the recorded ones")
    comparing.add_argument("--live", action="store_true", help="judge hwflow's with timeloop-model, which must be on PATH")
    comparing.add_argument("--references", type=Path, default=RECORDS)
    options = parser.parse_args(arguments)
    try:
        if options.command == "record":
            engine = find_engine("native")
            store = Store(options.store)
            if not store.writable():
                raise InputError(" ".join(store.notices))
            records = record(engine, store, options.jobs, _tell)
            provenance = {
                "tool": options.tool,
                "version": engine.version("timeloop-mapper"),
                "settings": asdict(SETTINGS),
                "machine": options.machine,
            }
            parity.save(options.output, provenance, records)
            print(f"{len(records)} references written to {options.output}")
            return 0
        judge = find_engine("native") if options.live else None
        references = load(options.references)[1]
        compared = [compare(reference, judge) for reference in references]
        doubtful = [str(reference.question) for reference in references if not confirmed(reference)]
    except HwflowError as error:
        print(error, file=sys.stderr)
        return 1
    print("\n".join(lines(compared)))
    print(f"The analysis confirms {len(references) - len(doubtful)} of {len(references)} references.", *doubtful, sep="\n  ")
    return int(bool(doubtful) or any(c.worse for c in compared))


if __name__ == "__main__":
    sys.exit(main())
