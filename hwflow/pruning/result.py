"""What a pruning run gives: `PruneResult`, and the pruned network back from the folder of a finished run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from hwflow.errors import InputError
from hwflow.network.callables import NamedIn
from hwflow.network.load import load_module
from hwflow.pruning.contest import Contest
from hwflow.pruning.finding import rebuild
from hwflow.pruning.folder import CONFIG, plan_from_file, read_origin
from hwflow.pruning.groups import Grouping
from hwflow.results import NetworkCost
from hwflow.training.fitting import History
from hwflow.training.scoring import Score
from hwflow.training.weights import load_weights


@dataclass(frozen=True)
class PruneResult:
    """A pruned network and how it came about.

    Attributes:
        model: pruned and fine-tuned, in evaluation mode on the CPU.
        plan: channels kept by group; `grouping` says what could be pruned, and what could not.
        contest: the search, its baselines and the refinement; None where a plan was given.
        before, after: scores on the test set, which nothing was chosen by.
        costs: by level, of the unpruned and of the pruned network; `not_available` says why a level is missing.
        tuning: the fine-tuning's epochs.
    """

    model: nn.Module = field(repr=False)
    plan: Mapping[str, int]
    grouping: Grouping = field(repr=False)
    contest: Contest | None = field(repr=False)
    before: Score
    after: Score
    costs: Mapping[str, tuple[NetworkCost, NetworkCost]] = field(repr=False)
    not_available: Mapping[str, str]
    tuning: History = field(repr=False)

    def metrics(self) -> dict[str, Any]:
        """`metrics.json`: before and after, the accuracy on the test set and each level's totals."""
        sides: dict[str, dict[str, Any]] = {}
        for i, (side, found) in enumerate((("before", self.before), ("after", self.after))):
            sides[side] = {"accuracy": found.accuracy, "loss": found.loss}
            sides[side] |= {level: pair[i].to_dict()["totals"] for level, pair in self.costs.items()}
        return {**sides, "not_available": dict(self.not_available)}


def load_pruned(folder: str | Path, model: nn.Module | None = None, *, allow_import: Sequence[str] = ()) -> nn.Module:
    """The pruned, fine-tuned network of a finished run, in evaluation mode.

    Args:
        model: the unpruned network, where the run was given a module of one's own; its weights do not matter.
        allow_import: modules of which the folder may name a callable, `package.module:callable`, to be imported and called
            for the unpruned network. Networks of the zoo, and a `model` that is given, need none.

    Raises:
        InputError: where the folder holds no finished run, the network cannot be made anew, its callable is not allowed, or
            the file does not fit it.
        ImportFailed: where the callable fails, or its network cannot be traced.
    """
    place = Path(folder)
    origin = read_origin(place)
    named_in = NamedIn(place / CONFIG, allow_import)
    if not (place / "model.pt").exists():
        raise InputError(f"{place} holds a pruning run that is not finished: it has no model.pt. Continue it with --resume.")
    if model is None:
        if origin.module:
            raise InputError(f"{place} was pruned from a module of your own, {origin.network}: give it as `model=`, unpruned.")
        channels = origin.input_shape[0]
        model = load_module(origin.network, num_classes=origin.classes, in_channels=channels, named_in=named_in)
    small = rebuild(model, (1, *origin.input_shape), plan_from_file(place))
    load_weights(place / "model.pt", small)
    return small.eval()
