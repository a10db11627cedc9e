"""One layer in one column: both searches, and what hwflow's analysis, timeloop-model and the rival say of the results."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks import parity
from benchmarks.rivals.nest import Expressed, Inexpressible, Verdict, evened, judge
from benchmarks.rivals.tools import Column, Rival
from hwflow.cost import mid
from hwflow.errors import HwflowError, NotMappable
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.dataflow import constrain
from hwflow.hardware.energy_table import EnergyTable
from hwflow.layers import Layer
from hwflow.loopnest.nest import Nest
from hwflow.mapper.bounds import OMITTED
from hwflow.mapping import Mapping as LayerMapping
from hwflow.timeloop.engine import Engine
from tools.parity_cases import Case

Record = dict[str, Any]


@dataclass(frozen=True)
class Proof:
    """The EDP (pJ cycles) of the best mapping with perfect factors that a proof knows, a lower bound, and its CPU seconds."""

    value: float
    bound: float
    cpu_s: float


@dataclass(frozen=True)
class Ours:
    """What hwflow found, the CPU seconds that it took, and what is proven in the column with perfect factors."""

    layer: Layer
    found: mid.MapResult
    seconds: float
    proof: Proof | None

    @property
    def verdict(self) -> Verdict:
        """Its energy and cycles."""
        cost = self.found.cost
        assert cost.energy is not None
        assert cost.cycles is not None
        return Verdict(cost.energy, cost.cycles)


@dataclass(frozen=True)
class Theirs:
    """The best of a rival's candidates by the common judge, its number among them, and what the rival says of it."""

    verdict: Verdict
    expressed: Expressed
    number: int
    own: Verdict


def posed(layer: Layer) -> Layer:
    """A strided layer that skips inputs, without the stride: the tools differ in whether they charge for what is skipped."""
    kernel = (layer.R, layer.S)
    if any(size < stride for size, stride in zip(kernel, layer.strides, strict=True)):
        return layer.with_(strides=(1, 1))
    return layer


def searched(layer: Layer, chip: Accelerator, table: EnergyTable, column: Column) -> Ours:
    """hwflow's search of one layer, as users get it without a proof; the proof of the perfect column is timed by itself."""
    start = time.process_time()
    found = mid.map_layer(layer, chip, constrain(chip), table, ragged=column != "perfect")
    seconds = time.process_time() - start
    return Ours(layer, found, seconds, proof_of(layer, chip, table) if column == "perfect" else None)


def proof_of(layer: Layer, chip: Accelerator, table: EnergyTable) -> Proof:
    """A search with a proof, which ends where the bound is within 0.1 %."""
    start = time.process_time()
    best = mid.map_layer(layer, chip, constrain(chip), table, ragged=False, proof="gap", gap=0.001)
    cost, bound = best.cost, best.bound
    assert cost.energy is not None
    assert cost.cycles is not None
    assert bound is not None
    return Proof(cost.energy * cost.cycles, bound, round(time.process_time() - start, 4))


def best_of(
    row: Mapping[str, Any], layer: Layer, chip: Accelerator, table: EnergyTable, rival: Rival
) -> tuple[Theirs | None, dict[int, Exception]]:
    """The candidate that the common judge likes best, a split memory only where that is better; and why it refuses others.

    Candidates are numbered from 1. None where it refuses all.
    """
    found: list[Theirs] = []
    refused: dict[int, Exception] = {}
    for number, candidate in enumerate(row["candidates"], start=1):
        own = Verdict(candidate["energy"], round(candidate["cycles"]))
        reasons: list[Exception] = []
        try:
            nest = rival.translate(candidate, layer, chip)
            variants = [nest, *evened(nest, chip)]
        except Inexpressible as error:
            variants, reasons = [], [error]
        taken = len(found)
        for variant in variants:
            try:
                found.append(Theirs(*judge(variant, layer, chip, table), number, own))
            except (Inexpressible, HwflowError) as error:
                reasons.append(error)
        if len(found) == taken:
            refused[number] = reasons[0]
    if not found:
        return None, refused
    least = min(t.verdict.edp for t in found) * (1 + 1e-9)
    return min((t for t in found if t.verdict.edp <= least), key=lambda t: (len(t.expressed.split), t.number)), refused


def space(found: Expressed, layer: Layer, chip: Accelerator) -> str:
    """The least of the spaces that hwflow searches which has the mapping: perfect or imperfect; "beyond" where none has.

    Beyond are memories in parts, levels with two loops over a dimension, and mappings of which Timeloop omits more energy than
    hwflow's search accepts.
    """
    if found.accelerator != chip:
        return "beyond"
    if all(loop.residual == loop.bound for level in found.mapping.levels for loop in level.loops):
        return "perfect"
    nest = Nest(layer, chip, found.table, tuple(m.keeps for m in reversed(found.mapping.levels)))
    verdict = nest.evaluate(nest.batch_of(found.mapping))
    omitted, energy = float(verdict.omitted[0]), float(verdict.energy[0])
    return "imperfect" if omitted <= OMITTED * (energy + omitted) else "beyond"


def compared(
    rival: Rival, ours: Ours, rows: Sequence[dict[str, Any]], chip: Accelerator, table: EnergyTable, engine: Engine | None
) -> Record:
    """What is recorded of one layer and column, by the lines that the rival prints."""
    tool, given, row = rows[0], rows[1]["given"], rows[2]
    verdict, layer = ours.verdict, ours.layer
    mine = Case(layer, chip, table, ours.found.mapping, "hwflow")
    record: Record = {
        "version": tool["version"],
        "python": tool["python"],
        "ours": {
            **_plain(verdict),
            "cpu_s": round(ours.seconds, 4),
            "bound": ours.found.bound,
            "by_rival": given,
            "by_timeloop": _confirmed(mine, engine),
        },
        "theirs": {"ended": row["ended"], "cpu_s": round(row["cpu_seconds"], 2)},
    }
    if ours.proof is not None:
        record["ours"]["proof"] = asdict(ours.proof)
    if not row["ended"]:
        record["theirs"]["ran_out_of"] = row["ran_out_of"]
        if parts := [c for c in row["candidates"] if "order" in c]:
            record["theirs"]["parts"] = parts
    if not row["candidates"]:
        return record
    found, refused = best_of(row, layer, chip, table, rival)
    record["theirs"]["candidates"] = len(row["candidates"])
    if refused:
        record["theirs"]["refused"] = dict(Counter(map(str, refused.values())))
    possible = [c for n, c in enumerate(row["candidates"], start=1) if not isinstance(refused.get(n), NotMappable)]
    if possible:
        record["theirs"]["best_by_rival"] = {kind: possible[0][kind] for kind in ("energy", "cycles")}
    if found is None:
        record["theirs"]["not_judged"] = str(refused[1])
        return record
    its = found.expressed
    other = Case(layer, its.accelerator, its.table, its.mapping, rival.title)
    record["theirs"] |= {
        **_plain(found.verdict),
        "by_rival": {"energy": found.own.energy, "cycles": found.own.cycles},
        "by_timeloop": _confirmed(other, engine),
        "number": found.number,
        "split": sorted(its.split),
        "space": space(its, layer, chip),
        "mapping": _directives(its.mapping),
    }
    return record


def _plain(verdict: Verdict) -> dict[str, float]:
    return {"energy": verdict.energy, "cycles": verdict.cycles}


def _confirmed(case: Case, engine: Engine | None) -> dict[str, float] | None:
    """timeloop-model's energy (pJ) and cycles, where it is on PATH."""
    if engine is None:
        return None
    real = parity.judged(case, engine)
    return {"energy": real["energy"]["all"], "cycles": real["cycles"]["all"]}


def _directives(mapping: LayerMapping) -> Sequence[Mapping[str, Any]]:
    return [dict(entry) for entry in mapping.directives()]
