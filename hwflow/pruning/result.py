"""What a pruning run gives: `PruneResult`, and the pruned network back from the folder of a finished run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from hwflow.errors import InputError
from hwflow.network.load import load_module
from hwflow.pruning.contest import Contest
from hwflow.pruning.finding import rebuild
from hwflow.pruning.folder import plan_from_file, read_json
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
        objective: what the mappings of `costs` minimise.
        remapped: by another objective, the same two networks at mid with mappings that minimise that one.
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
    objective: str = "edp"
    remapped: Mapping[str, tuple[NetworkCost, NetworkCost]] = field(default_factory=dict, repr=False)

    def metrics(self) -> dict[str, Any]:
        """`metrics.json`: before and after, the accuracy on the test set and each level's totals; whose mappings."""
        sides: dict[str, dict[str, Any]] = {}
        for i, (side, found) in enumerate((("before", self.before), ("after", self.after))):
            sides[side] = {"accuracy": found.accuracy, "loss": found.loss}
            sides[side] |= {level: pair[i].to_dict()["totals"] for level, pair in self.costs.items()}
        remapped = {
            objective: {"before": before.to_dict()["totals"], "after": after.to_dict()["totals"]}
            for objective, (before, after) in self.remapped.items()
        }
        return {**sides, "not_available": dict(self.not_available), "objective": self.objective, "remapped": remapped}


def load_pruned(folder: str | Path, model: nn.Module | None = None) -> nn.Module:
    """The pruned, fine-tuned network of a finished run, in evaluation mode.

    Args:
        model: the unpruned network, where the run was given a module of one's own; its weights do not matter.

    Raises:
        InputError: where the folder holds no finished run, the network cannot be made anew, or the file does not fit it.
    """
    place = Path(folder)
    config = read_json(place / "config.json")
    if not (place / "model.pt").exists():
        raise InputError(f"{place} holds a pruning run that is not finished: it has no model.pt. Continue it with --resume.")
    if model is None:
        spec = config["network"]
        if config["module"]:
            raise InputError(f"{place} was pruned from a module of your own, {spec}: give it as `model=`, unpruned.")
        model = load_module(spec, num_classes=config["classes"], in_channels=config["input_shape"][0])
    small = rebuild(model, (1, *config["input_shape"]), plan_from_file(place))
    load_weights(place / "model.pt", small)
    return small.eval()
