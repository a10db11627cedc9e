"""`Budget`: the largest share of the uncompressed network's metric that a compressed one may have."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hwflow.errors import InputError, is_number, not_found
from hwflow.metrics import ADDITIVE, BUDGETS, BY_NAME, MAPPED, SLACK
from hwflow.types import Objective

METRICS = (*ADDITIVE, *(name for name in BUDGETS if name not in ADDITIVE))
"""What a budget can be of: sums over layers first, in the order in which arrays hold them."""


@dataclass(frozen=True)
class Budget:
    """At most `share` of the unpruned network's `metric`.

    Raises:
        InputError: for an unknown metric or a share outside (0, 1].
    """

    metric: str
    share: float

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise not_found("metric", self.metric, METRICS)
        if not is_number(self.share) or not 0 < self.share <= 1:
            raise InputError(
                f"the budget of {self.metric} is {self.share!r}; it must be a share of the unpruned network, above 0 and at "
                "most 1: 0.5 for half of it."
            )

    def held(self, before: float | None, after: float | None) -> bool:
        """Whether a network keeps the budget, from both networks' amounts; not where one is unknown."""
        return before is not None and after is not None and after <= self.share * before * (1 + SLACK)

    def __str__(self) -> str:
        return f"{self.metric}={self.share:g}"


def parse_budgets(text: str, metric: str) -> tuple[Budget, ...]:
    """Budgets as users write them: `0.5` (of `metric`), or `energy=0.5,latency=0.6`.

    Raises:
        InputError: naming the part that cannot be read.
    """
    budgets = []
    for part in text.split(","):
        name, equals, share = part.rpartition("=")
        try:
            value = float(share)
        except ValueError:
            value = math.nan
        if math.isnan(value) or (equals and not name.strip()):
            raise InputError(
                f"the budget {part.strip()!r} is no number; write --budget 0.5 or --budget energy=0.5,latency=0.6."
            )
        budgets.append(Budget(name.strip() if equals else metric, value))
    check_budgets(budgets)
    return tuple(budgets)


def check_budgets(budgets: Sequence[Budget]) -> None:
    """Refuse a metric that is named twice."""
    names = [budget.metric for budget in budgets]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"the budget names {name} twice; give one share for each metric.")


def amount_of(totals: Mapping[str, Any], metric: str) -> float | None:
    """What a network has of a budget's metric, in whichever unit its energies are; None where the level does not know it.

    Args:
        totals: of the network, as `NetworkCost.to_dict` and `metrics.json` have them.
    """
    if metric == "edp":
        energy, latency = amount_of(totals, "energy"), amount_of(totals, "latency")
        return None if energy is None or latency is None else energy * latency
    found = totals.get(BY_NAME[metric].field)
    if metric == "energy" and found is None:
        found = totals.get("energy_normalized")
    return None if found is None else float(found)


def rescaled(budget: Budget, before: Mapping[str, Any], after: Mapping[str, Any]) -> Budget:
    """A budget of one network as a share of another one, at most 1; as it is where an amount is unknown.

    Args:
        before, after: totals of both, as in `amount_of`.
    """
    old, new = (amount_of(totals, budget.metric) for totals in (before, after))
    share = budget.share * old / new if old and new else budget.share
    return replace(budget, share=min(1.0, share))


def objective_of(budgets: Sequence[Budget]) -> Objective:
    """What mappings minimise for these budgets: their metric where there is one, else the energy-delay product."""
    found = [name for name in MAPPED if any(budget.metric == name for budget in budgets)]
    return found[0] if len(found) == 1 else "edp"
