"""`make characterise`: ask Accelergy about parts of many sizes and technologies, and fit `--energy fitted` on the answers.

    python -m tools.characterise record [--output FILE] [--shard I/N]      # hours; goes on where it stopped
    python -m tools.characterise fit [FILE ...] [--note TEXT]              # FILEs become the shipped grid; then its models

`record` appends one line of JSON to FILE for every part that answered, or failed and why. The sample is fixed by its seed:
sizes are drawn evenly in their logarithms, half of them as powers of two, since that is what designers build. A sixth of the
sizes, and technologies between the nodes of the fit, are held out: neither the fit nor the choice of its degree sees them.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
import sys
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hwflow.errors import HwflowError, InputError, ToolError, ToolMissing
from hwflow.files import write_text
from hwflow.hardware.components import MacUnit, Memory
from hwflow.hardware.energy_table import RAM_ROWS, PartEnergy
from hwflow.timeloop.accelergy import characterise_parts
from hwflow.timeloop.engine import Engine, Native, plugin_versions
from tools import fitted_models as models

CYCLE_S = 1e-9
"""Leakage is power times this; a chip's own cycle scales it."""

RAM_NODES = (7, 16, 22, 32, 45, 65, 90, 130)
LOGIC_NODES = (7, 10, 12, 14, 16, 20, 22, 28, 32, 40, 45, 65, 90, 130)
"""Technologies in nm. CACTI's plug-in interpolates linearly between 22, 32, 45, 65 and 90 nm. The component library knows 7,
10, 14, 16, 20, 32, 45, 65, 90 and 130 nm, and weighs the two beside a technology the wrong way round (its scaling.py at
commit ba4e9dac: 31 nm is nearly 20). What chips are made in between these are nodes here, so that the fit follows it there."""
RAM_BETWEEN = (10, 14, 28, 40, 55, 110)
LOGIC_BETWEEN = (18, 25, 50, 75, 110)
"""Technologies of which every part is held out."""

_RAM_BITS = (9, 28)
_SCRATCHPADS = 60
_RAM_AT_A_NODE, _RAM_BETWEEN_NODES = 380, 12
_HELD_OUT = 6
_BATCH = 20


@dataclass(frozen=True)
class Sample:
    """One part at one technology."""

    part: Memory | MacUnit
    technology_nm: int

    @property
    def sizes(self) -> dict[str, Any]:
        """What the part is, without its name; all arithmetic here is integer."""
        other = {"name", "role", "keeps", "read_words_per_cycle", "arithmetic", "energies"}
        other |= {"network_fill_latency", "network_drain_latency", "may_bypass"}
        return self.part.model_dump(exclude_none=True, exclude=other)

    @property
    def key(self) -> str:
        """Its identity, as text."""
        return json.dumps([self.technology_nm, self.sizes], sort_keys=True)

    @property
    def held_out(self) -> bool:
        """Sizes are held out at all technologies or at none, so that a technology which scales another gives nothing away."""
        nodes = RAM_NODES if self.part.kind == "sram" else LOGIC_NODES
        checksum = zlib.crc32(json.dumps(self.sizes, sort_keys=True).encode())
        return self.technology_nm not in nodes or checksum % _HELD_OUT == 0


def design(seed: int = 0) -> list[Sample]:
    """All parts to ask for: memories, register files and MAC units, at every technology."""
    found = [*_rams(seed), *_logic(seed), *_drams()]
    return list({sample.key: sample for sample in found}.values())


def _rams(seed: int) -> Iterator[Sample]:
    """CACTI itself knows 22 to 90 nm; its plug-in scales these two beyond, so there the sizes are the same as at them."""
    for nodes, each in ((RAM_NODES, _RAM_AT_A_NODE), (RAM_BETWEEN, _RAM_BETWEEN_NODES)):
        for node in nodes:
            rng = np.random.default_rng([seed, nodes is RAM_BETWEEN, min(90, max(22, node))])
            yield from (Sample(_ram(rng), node) for _ in range(each))
    for node in RAM_NODES:
        rng = np.random.default_rng([seed, 2, min(90, max(22, node))])
        yield from (Sample(_scratchpad(rng), node) for _ in range(_SCRATCHPADS))


def _ram(rng: np.random.Generator) -> Memory:
    """A RAM of 4 to 2048 bits a row, 1 to 32 banks of 8 rows or more, 64 byte to 32 MiB."""
    while True:
        capacity = 2 ** rng.uniform(*_RAM_BITS)
        width = _size(rng, 4, 2048, 4)
        if width > 32:
            width = -(-width // 8) * 8
        banks = 1 if rng.random() < 0.4 else _size(rng, 2, 32, 1)
        depth = round(capacity / width)
        if rng.random() < 0.5:
            depth = 2 ** round(math.log2(max(1, depth)))
        ports = 1 if rng.random() < 0.7 else 2
        if 8 * banks <= depth <= 2**20 and 2 ** _RAM_BITS[0] <= depth * width <= 2 ** _RAM_BITS[1]:
            return _memory("sram", depth, width, banks, ports)


def _scratchpad(rng: np.random.Generator) -> Memory:
    """What stands beside a MAC unit, drawn more densely: a single bank of 64 to 2048 rows of 4 to 64 bits."""
    return _memory("sram", _size(rng, RAM_ROWS, 2048, 1), _size(rng, 4, 64, 4))


def _logic(seed: int) -> Iterator[Sample]:
    """Register files, single registers and MAC units."""
    for nodes, each in ((LOGIC_NODES, 24), (LOGIC_BETWEEN, 8)):
        for node in nodes:
            rng = np.random.default_rng([seed, node])
            for number in range(each):
                bits = _size(rng, 1, 64, 1), _size(rng, 1, 128, 1)
                yield Sample(MacUnit(name="part", kind="mac", multiplier_bits=bits[0], adder_bits=bits[1]), node)
                yield Sample(_memory("regfile", _size(rng, 2, RAM_ROWS - 1, 1), _size(rng, 1, 512, 1)), node)
                if number % 4 == 0:
                    yield Sample(_memory("regfile", 1, _size(rng, 1, 512, 1)), node)


def _drams() -> Iterator[Sample]:
    """DRAM has no technology here: an interface's energy a bit. 45 nm is what Accelergy is told."""
    for kind in ("DDR3", "LPDDR", "LPDDR4", "GDDR5", "HBM2"):
        for width in (4, 8, 12, 16, 24, 32, 40, 48, 64, 96, 128, 160, 192, 256, 512, 1024, 2048):
            dram = Memory(name="part", kind="dram", role="part", word_bits=width, width_bits=width, dram_type=kind)
            yield Sample(dram, 45)


def _memory(kind: str, depth: int, width: int, banks: int = 1, ports: int = 1) -> Memory:
    fields = {"word_bits": width, "width_bits": width, "size_words": depth, "banks": banks, "ports": ports}
    return Memory.model_validate({"name": "part", "role": "part", "kind": kind, **fields})


def _size(rng: np.random.Generator, low: int, high: int, step: int) -> int:
    """A whole number, evenly drawn in its logarithm: half of the time a power of two, else a multiple of `step`."""
    exponent = rng.uniform(math.log2(low), math.log2(high))
    if rng.random() < 0.5:
        return int(2 ** round(exponent)) if low <= 2 ** round(exponent) <= high else low
    return min(high, max(low, round(2**exponent / step) * step))


# Recording -----------------------------------------------------------------------------------------------------------


def record(samples: Sequence[Sample], engine: Engine, path: Path) -> None:
    """Ask for what `path` does not hold yet, some at a time, a technology after the other, and append every answer."""
    done = {entry["key"] for entry in read_records([path])} if path.exists() else set()
    path.parent.mkdir(parents=True, exist_ok=True)
    left = [sample for sample in samples if sample.key not in done]
    asked = 0
    with path.open("a", encoding="utf-8") as file:
        for batch in _batches(left):
            for sample, answer in _ask(batch, engine):
                entry = {"key": sample.key, "answer": asdict(answer)} if isinstance(answer, PartEnergy) else {"key": sample.key}
                file.write(json.dumps(entry if "answer" in entry else entry | {"failed": answer}) + "\n")
            file.flush()
            os.fsync(file.fileno())
            asked += len(batch)
            print(f"{asked} of {len(left)} parts asked for", flush=True)


def read_records(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """The lines of several files, without a last one that was torn.

    Raises:
        InputError: for a file that is missing or broken elsewhere.
    """
    entries = []
    for path in paths:
        try:
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error}. Record first: python -m tools.characterise record.") from error
        for number, line in enumerate(lines):
            try:
                entries.append(json.loads(line))
            except ValueError as error:
                if number == len(lines) - 1:
                    continue
                raise InputError(f"{path}, line {number + 1}, is no record: {error}.") from error
    return entries


def _batches(samples: Sequence[Sample]) -> Iterator[list[Sample]]:
    """Samples of one technology together, technologies in turn, so that what is there at any time covers all."""
    by_node: dict[int, list[Sample]] = {}
    for sample in samples:
        by_node.setdefault(sample.technology_nm, []).append(sample)
    for start in range(0, max(map(len, by_node.values()), default=0), _BATCH):
        for node in by_node:
            if by_node[node][start : start + _BATCH]:
                yield by_node[node][start : start + _BATCH]


def _ask(batch: list[Sample], engine: Engine) -> Iterator[tuple[Sample, PartEnergy | str]]:
    """Answers, or why there is none: a batch that fails is halved until the part is found that is at fault."""
    parts = [s.part.model_copy(update={"name": f"part{i}"}) for i, s in enumerate(batch)]
    try:
        found = characterise_parts(parts, batch[0].technology_nm, CYCLE_S, engine, what=f"Accelergy on {len(parts)} parts")
    except ToolMissing:
        raise
    except ToolError as error:
        if len(batch) == 1:
            yield batch[0], str(error)
            return
        half = len(batch) // 2
        yield from _ask(batch[:half], engine)
        yield from _ask(batch[half:], engine)
        return
    for part, sample in zip(parts, batch, strict=True):
        answer = found[part.name]
        if answer.update != answer.write:
            raise ToolError(f"Accelergy prices an update unlike a write in {sample.key}; the fit takes them for the same.")
        yield sample, answer


# Fitting -------------------------------------------------------------------------------------------------------------


def make_grid(samples: Sequence[Sample], paths: Sequence[Path], note: str) -> None:
    """Write what was recorded of the samples as the grid that ships, with its provenance; says what is missing of it."""
    records = {entry["key"]: entry for entry in read_records(paths)}
    answers = {key: PartEnergy(**entry["answer"]) for key, entry in records.items() if "answer" in entry}
    rows = [models.Row(s.part, s.technology_nm, s.held_out, answers[s.key]) for s in samples if s.key in answers]
    failed = [entry for entry in records.values() if "failed" in entry]
    for entry in failed:
        print(f"no answer for {entry['key']}: {entry['failed'][:200]}")
    print(f"{len(rows)} of {len(samples)} parts answered, {len(failed)} failed")
    provenance = {
        "tool": "Accelergy",
        "versions": plugin_versions(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "command": "python -m tools.characterise",
        "parts": len(rows),
        "held_out": sum(row.held_out for row in rows),
        "estimators": {row.component.model: row.answer.estimator for row in rows},
    }
    models.write_grid(rows, provenance | ({"note": note} if note else {}))


def make_models() -> None:
    """Fit on the shipped grid, write the models and print their errors."""
    provenance, rows = models.shipped_grid()
    found = models.fit(rows, provenance["estimators"])
    write_text(models.grid_path().with_name("models.json"), models.models_text(found, provenance))
    for name, model in found.items():
        print(f"{name}: {len(model.exponents)} terms, {len(model.nodes_nm)} technologies")
        for what, error in model.errors.items():
            print(f"    {what}: held-out error {error}")


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.characterise", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record", help="ask Accelergy; it has to be on PATH")
    recording.add_argument("--output", type=Path, default=Path("runs/characterise.jsonl"))
    recording.add_argument("--shard", default="0/1", help="the I-th of N parts of the sample, to run several at once")
    fitting = commands.add_parser("fit", help="fit on the shipped grid, or on what was recorded, which becomes the grid")
    fitting.add_argument("records", nargs="*", type=Path)
    fitting.add_argument("--note", default="", help="for the provenance, such as the commits the tools were built from")
    options = parser.parse_args(arguments)
    try:
        if options.command == "record":
            index, count = map(int, options.shard.split("/"))
            record(design()[index::count], Native(), options.output)
            return 0
        if options.records:
            make_grid(design(), options.records, options.note)
        make_models()
    except HwflowError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
