"""The objective of mappings, from the analysis' verdict."""

from __future__ import annotations

from hwflow.arrays import Floats
from hwflow.loopnest.nest import Verdict
from hwflow.types import Objective


def value(verdict: Verdict, objective: Objective) -> float:
    """The objective of one mapping."""
    return float(scores(verdict, objective)[0][0])


def scores(verdict: Verdict, objective: Objective) -> tuple[Floats, Floats]:
    """The objective and a tie-breaker between equal values."""
    if objective == "energy":
        return verdict.energy, verdict.cycles
    if objective == "latency":
        return verdict.cycles, verdict.energy
    return verdict.energy * verdict.cycles, verdict.energy
