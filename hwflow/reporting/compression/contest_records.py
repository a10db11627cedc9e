"""The records of a contest: `results.json`, one for each run, and `curves.json`. Read without torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from hwflow.errors import InputError
from hwflow.reporting.pruning.cost_details import Known, Record, Share
from hwflow.reporting.pruning.run_records import parsed, text_of
from hwflow.types import LevelName

CONTEST, RESULTS, CURVES = "contest.json", "results.json", "curves.json"


class RunRecord(Record):
    """One run of a contest.

    Attributes:
        name: the method, with its allocation where that is not uniform pruning.
        budget: as it was asked for, `energy=0.25`.
        before, accuracy: on the test set, of the unpruned and of the compressed network.
        shares: of the unpruned network's costs that are left, by level and metric.
        keeps: whether all budgets hold at the level at which they were asked.
        images_trained, images_evaluated: counted as often as they were seen.
        seconds: wall clock of the last process that worked on it.
        failed: why there is no result; empty where there is one.
    """

    name: str
    method: str
    about: str = ""
    needs: str = ""
    seed: int
    budget: str
    before: Share = None
    accuracy: Share = None
    shares: dict[LevelName, dict[str, Known]] = Field(default_factory=dict)
    keeps: bool = False
    images_trained: Annotated[int, Field(ge=0)] = 0
    images_evaluated: Annotated[int, Field(ge=0)] = 0
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    failed: str = ""


class CurveNetwork(Record):
    """A network that the contest's methods did not make: its accuracy on the test set, and shares as of a run."""

    name: str
    accuracy: Annotated[float, Field(ge=0, le=1)]
    shares: dict[LevelName, dict[str, Known]]


class CurveRecord(Record):
    """The networks of a folder.

    Attributes:
        data: that they learned from.
    """

    name: str
    data: str
    networks: Annotated[tuple[CurveNetwork, ...], Field(min_length=1)]


class ContestRecord(Record):
    """`contest.json`, what the contest is of."""

    network: str
    data: str
    accelerator: str | None
    level: LevelName
    methods: tuple[str, ...]
    reference: str
    seeds: tuple[int, ...]
    budgets: tuple[str, ...]
    epochs: int


@dataclass(frozen=True)
class ContestRuns:
    """A contest as far as it has come.

    Attributes:
        asked: `contest.json` as it is.
        curves: networks of other folders.
    """

    config: ContestRecord
    asked: dict[str, Any]
    runs: tuple[RunRecord, ...]
    curves: tuple[CurveRecord, ...] = ()

    def of(self, budget: str, name: str) -> list[RunRecord]:
        """The finished runs of a method at a budget, by seed."""
        found = [r for r in self.runs if r.budget == budget and r.name == name and not r.failed]
        return sorted(found, key=lambda run: run.seed)

    @property
    def names(self) -> list[str]:
        """The methods that have results, in the order of the contest."""
        return list(dict.fromkeys(run.name for run in self.runs if not run.failed))

    @property
    def budgets(self) -> list[str]:
        """The budgets that have results, in the order of the contest."""
        return list(dict.fromkeys(run.budget for run in self.runs if not run.failed))


def is_contest(folder: Path) -> bool:
    """Whether a folder holds a contest."""
    return (folder / CONTEST).exists()


def read_contest(folder: Path) -> ContestRuns:
    """The contest in a folder.

    Raises:
        InputError: where there is no result yet, or a file is damaged: which.
    """
    file = folder / RESULTS
    if not file.exists():
        raise InputError(
            f"{folder} holds a contest without a result yet. The same 'hwflow compress' command with --resume goes on."
        )
    text = text_of(folder / CONTEST)
    config: ContestRecord = parsed(folder / CONTEST, text, ContestRecord)
    asked: dict[str, Any] = parsed(folder / CONTEST, text, dict[str, Any])
    runs: Sequence[RunRecord] = parsed(file, text_of(file), list[RunRecord])
    file = folder / CURVES
    curves: Sequence[CurveRecord] = parsed(file, text_of(file), list[CurveRecord]) if file.exists() else ()
    return ContestRuns(config, asked, tuple(runs), tuple(curves))


__all__ = [
    "CONTEST",
    "CURVES",
    "RESULTS",
    "ContestRecord",
    "ContestRuns",
    "CurveRecord",
    "RunRecord",
    "is_contest",
    "read_contest",
]
