"""`Searcher`: proposes plans one at a time and is told their accuracies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from hwflow.compression.decision import Choice
from hwflow.compression.search.environment import PruningEnv


class Measured(NamedTuple):
    """A plan that was tried, with its accuracy."""

    choice: Choice
    accuracy: float


class Outcome(NamedTuple):
    """What a search found out beside its plans.

    Attributes:
        note: for the report, without its last full stop.
        data: plain data for the run's folder, which another run can use.
    """

    note: str
    data: dict[str, Any]


@runtime_checkable
class Conclusive(Protocol):
    """A searcher that has an outcome; others need not."""

    def outcome(self) -> Outcome:
        """Of the plans so far; equal searches have equal ones."""


class Searcher(Protocol):
    """A search through the plans of one problem, which is given with every question.

    Equal problems, settings and seeds give equal plans: random numbers come from generators of the searcher's own.
    `tests/conformance` judges every searcher.
    """

    @property
    def identity(self) -> list[Any]:
        """Plain data that identifies this search among those of the same problem: settings and seed."""

    @property
    def noise(self) -> float | None:
        """Standard deviation of the exploration's noise in the next plan, for the log; None where there is none."""

    def ask(self, problem: PruningEnv) -> Choice:
        """The next plan to measure. It keeps the problem's budgets."""

    def tell(self, choice: Choice, accuracy: float, reward: float) -> None:
        """The results of the plan that `ask` returned last."""

    def state(self) -> dict[str, Any]:
        """What the rest of the search depends on beside the plans measured so far: tensors and plain data."""

    def restore(self, state: dict[str, Any], measured: Sequence[Measured]) -> None:
        """Continue from a `state`, which was taken after these plans."""


__all__ = ["Choice", "Conclusive", "Measured", "Outcome", "Searcher"]
