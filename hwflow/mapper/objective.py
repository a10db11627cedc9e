"""The objective of mappings, from the analysis' verdict, and the result of a search for the least."""

from __future__ import annotations

from dataclasses import dataclass

from hwflow.arrays import Floats
from hwflow.loopnest.nest import Batch, Verdict
from hwflow.types import Objective


@dataclass(frozen=True)
class Found:
    """The best mapping, as a batch of one, with its exact verdict and what is proven about it.

    `several`: the best few, the best one of them first, where they were asked for.
    """

    batch: Batch
    verdict: Verdict
    proven_optimal: bool
    bound: float
    several: Batch | None = None


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
