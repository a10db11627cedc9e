"""`LibrarySettings`: how a library is made."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from hwflow.compression.budget import Budget, check_budgets
from hwflow.dynamic.choice_evolution import EvolutionSettings
from hwflow.dynamic.elastic_space import SHARES
from hwflow.errors import check_whole, not_found

METRICS = ("latency", "energy", "edp")
"""What can be the cost of a sub-network."""


@dataclass(frozen=True)
class LibrarySettings:
    """How a library is made.

    Attributes:
        members: how many sub-networks it has.
        metric: latency, energy or edp: what they cost on each unit.
        budgets: shares of the whole network's metrics that every member keeps on every unit.
        shares: of a group's channels that can be kept.
        depth: whether blocks can be left out.
        drawn: random sub-networks that each step of the training takes.
        statistics: training samples on which a sub-network's normalisations are measured.
        steps: limits under which is searched.
        evolution: under each of them.
    """

    members: int = 6
    metric: str = "latency"
    budgets: tuple[Budget, ...] = ()
    shares: tuple[float, ...] = SHARES
    depth: bool = True
    drawn: int = 2
    statistics: int = 2000
    steps: int = 6
    evolution: EvolutionSettings = field(default_factory=EvolutionSettings)

    def __post_init__(self) -> None:
        for name, most in (("members", 1000), ("statistics", 10**7), ("steps", 1000)):
            check_whole(name, getattr(self, name), most, 2 if name == "statistics" else 1)
        for metric in (self.metric, *(budget.metric for budget in self.budgets)):
            if metric not in METRICS:
                raise not_found("metric of a library", metric, METRICS)
        check_budgets(self.budgets)

    def to_dict(self) -> dict[str, Any]:
        """For `config.json`; what can be kept of a network stands there by its names."""
        plain = {name: value for name, value in asdict(self).items() if name not in ("shares", "depth")}
        return plain | {"budgets": list(map(str, self.budgets))}


__all__ = ["METRICS", "LibrarySettings"]
