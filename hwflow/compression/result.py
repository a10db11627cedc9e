"""`PruneResult`, what `hwflow.prune` returns; `load_pruned`, which reads the compressed network of a finished run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from hwflow import display
from hwflow.compression.channels.groups import Grouping
from hwflow.compression.folder import CONFIG
from hwflow.compression.given_network import had_zeros, zeros_left
from hwflow.compression.kernels.layer_choice import execute as execute_layers
from hwflow.compression.kernels.measured_times import MeasuredTimes
from hwflow.compression.plan_files import bits_from_file, plan_from_file, read_origin
from hwflow.compression.quantization.bit_decisions import ACTIVATIONS, WEIGHTS
from hwflow.compression.recorded_rows import RecordedRows
from hwflow.compression.registry import method_named
from hwflow.compression.search.comparison import PlanComparison
from hwflow.compression.winograd.winograd_method import tiles_of
from hwflow.errors import InputError
from hwflow.network import Network
from hwflow.network.callables import NamedIn
from hwflow.network.densities import living_densities
from hwflow.network.from_torch import record_rows, rows_of
from hwflow.network.load import load_module
from hwflow.results import NetworkCost, totals_of
from hwflow.text import percent
from hwflow.training.loop import History
from hwflow.training.score import Score
from hwflow.training.weights import load_weights


@dataclass(frozen=True, repr=False)
class PruneResult:
    """A pruned network and how it came about.

    Attributes:
        model: pruned and fine-tuned, in evaluation mode on the CPU.
        plan: channels kept by group; `grouping` says what could be pruned, and what could not. Of a method that decides
            something else, the option chosen for each decision; where it prunes no channels, its grouping has no groups.
        contest: the search, its baselines and the refinement; None where a plan was given.
        before, after: scores on the test set, which nothing was chosen by.
        costs: by level, of the unpruned and of the pruned network; `not_available` says why a level is missing.
        tuning: the fine-tuning's epochs.
        objective: what the mappings of `costs` minimise.
        remapped: by another objective, the same two networks at mid with mappings that minimise that one.
        summary: what else the method reports, by heading.
        measured: CPU time on this machine, where the method leaves zeros that a processor can skip.
    """

    model: nn.Module = field(repr=False)
    plan: Mapping[str, int]
    grouping: Grouping = field(repr=False)
    contest: PlanComparison | None = field(repr=False)
    before: Score
    after: Score
    costs: Mapping[str, tuple[NetworkCost, NetworkCost]] = field(repr=False)
    not_available: Mapping[str, str]
    tuning: History = field(repr=False)
    objective: str = "edp"
    remapped: Mapping[str, tuple[NetworkCost, NetworkCost]] = field(default_factory=dict, repr=False)
    summary: Mapping[str, str] = field(default_factory=dict, repr=False)
    measured: MeasuredTimes | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        return f"<PruneResult {self._summary()}>"

    def _repr_html_(self) -> str:
        rows = [
            [level, ", ".join(totals_of(before)), ", ".join(totals_of(after))] for level, (before, after) in self.costs.items()
        ]
        rows.append(["test accuracy", percent(self.before.accuracy), percent(self.after.accuracy)])
        lines = [
            *self.plan_lines(),
            *(f"{level} is missing: {why}" for level, why in self.not_available.items()),
        ]
        return display.table_html(f"PruneResult {self._summary()}", ["", "before", "after"], rows, None, lines)

    def plan_lines(self) -> list[str]:
        """The plan as sentences without their full stops: channels kept of each group, bits of each layer, and what else is
        decided."""
        rest = dict(self.plan)
        channels = [f"{g.name}: {rest.pop(g.name)} of {g.channels}" for g in self.grouping.groups if g.name in rest]
        bits: dict[str, list[str]] = {}
        for name in [name for name in rest if name.endswith((f".{WEIGHTS}", f".{ACTIVATIONS}"))]:
            layer, _, kind = name.rpartition(".")
            bits.setdefault(layer, []).append(f"{'weights' if kind == WEIGHTS else 'activations'} {rest.pop(name)}")
        parts = {
            "Channels kept": channels,
            "Bits": [f"{layer}: {' and '.join(own)}" for layer, own in bits.items()],
            "Plan": [f"{name}: {value}" for name, value in rest.items()],
        }
        return [f"{heading}: {'; '.join(own)}" for heading, own in parts.items() if own]

    def figures(self) -> dict[str, Any]:
        """Energy and latency per layer before and after, as `plotly.graph_objects.Figure`, by title (extra `report`)."""
        return display.pruning_figures(self.costs)

    def plot(self, title: str | None = None) -> Any:
        """One of `figures`: energy at the first level, or the first whose title has these words ("latency")."""
        return display.chosen_figure(self.figures(), title)

    def _summary(self) -> str:
        told = [f"test accuracy {percent(self.before.accuracy)} to {percent(self.after.accuracy)}"]
        for level, (before, after) in self.costs.items():
            pairs = zip(totals_of(before), totals_of(after), strict=True)
            told.append(f"{level} {', '.join(f'{old} to {new}' for old, new in pairs)}")
        return f"{self.grouping.network.name}: {'; '.join(told)}"

    def metrics(self) -> dict[str, Any]:
        """`metrics.json`: accuracy on the test set and totals at each level, before and after, and the mappings' objective."""
        sides: dict[str, dict[str, Any]] = {}
        for i, (side, found) in enumerate((("before", self.before), ("after", self.after))):
            sides[side] = {"accuracy": found.accuracy, "loss": found.loss}
            sides[side] |= {level: pair[i].to_dict()["totals"] for level, pair in self.costs.items()}
        remapped = {
            objective: {"before": before.to_dict()["totals"], "after": after.to_dict()["totals"]}
            for objective, (before, after) in self.remapped.items()
        }
        return {**sides, "not_available": dict(self.not_available), "objective": self.objective, "remapped": remapped}


def load_pruned(
    folder: str | Path,
    model: nn.Module | None = None,
    *,
    allow_import: Sequence[str] = (),
    execute: str | Mapping[str, str] | None = None,
) -> nn.Module:
    """The compressed, fine-tuned network of a finished run, in evaluation mode.

    `hwflow.estimate` and `Network.from_torch` cost its rows at the run's word widths, with the zeros that its method left, and
    as they run (pruned columns as matrix products).

    Args:
        model: the unpruned network, where the run was given a module of one's own; its weights do not matter.
        allow_import: modules of which the folder may name a callable, `package.module:callable`, to be imported and called
            for the unpruned network. Networks of the zoo, and a `model` that is given, need none.
        execute: how layers with zero weights run on this processor, `auto`, `sparse`, `im2col` or `dense`, as in
            `hwflow.pruning.execute`; layers that run otherwise than dense compute no gradients. By default all run dense.

    Raises:
        InputError: where the folder holds no finished run, the network cannot be made anew, its callable is not allowed, or
            the file does not fit it; and as `hwflow.pruning.execute` where `execute` is given.
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
    method, plan = method_named(origin.settings.method), plan_from_file(place)
    rows = rows_of(model)
    small = method.rebuild(model, (1, *origin.input_shape), plan)
    load_weights(place / "model.pt", small)
    zeros = had_zeros(rows) or (origin.given is not None and origin.given.zeros)
    densities = living_densities(small) if method.zeroes else zeros_left(small) if zeros else {}
    if execute is not None:
        small = execute_layers(small, (1, *origin.input_shape), execute).model
    tiles = tiles_of(small) if rows is not None or origin.given else {}
    record_rows(small, RecordedRows(origin.settings.method, plan, bits_from_file(place), densities, tiles))
    return small.eval()


def pruned_network(folder: str | Path, *, batch: int | None = None, allow_import: Sequence[str] = ()) -> Network:
    """The rows of the compressed network of a finished run, as they run.

    Raises:
        InputError, ImportFailed: as `load_pruned`.
    """
    origin, place = read_origin(Path(folder)), Path(folder)
    pruned = load_pruned(place, allow_import=allow_import)
    return Network.from_torch(pruned, (batch or 1, *origin.input_shape), name=f"{origin.network} pruned in {place.name}")


load_compressed = load_pruned
"""The same, of a run of any method."""
