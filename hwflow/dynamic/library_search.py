"""What a library chooses from: accuracies of sub-networks, their costs on every unit, and the search among them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from hwflow.compression.budget import Budget
from hwflow.compression.decision import Choice
from hwflow.cost.cost_grid import CostTable, cost_table
from hwflow.cost.options import CostOptions
from hwflow.cost.session import Notify
from hwflow.datasets.data import Task
from hwflow.datasets.samples import Samples, derived
from hwflow.dynamic.choice_evolution import EvolutionSettings, evolve
from hwflow.dynamic.elastic_network import ElasticNetwork
from hwflow.dynamic.elastic_space import ElasticSpace
from hwflow.dynamic.operating_points import Unit
from hwflow.dynamic.point_costs import on_processor
from hwflow.errors import HwflowError, InputError
from hwflow.files import parse_json, read_text, write_text
from hwflow.layers import Layer
from hwflow.metrics import SLACK
from hwflow.network import Network
from hwflow.progress import Progress
from hwflow.store import Store
from hwflow.training.recipe import Recipe
from hwflow.training.score import reestimate_batchnorm, score

_BATCH = 250
_PJ = 1e-12
_TRIES_PLANS = "channels"

Costs = tuple[float, ...]
"""Of a sub-network on each unit."""
Allowed = Callable[[Choice], bool]
"""Whether a sub-network keeps the budgets."""


@dataclass(frozen=True)
class Found:
    """A sub-network that was measured.

    Attributes:
        accuracy: on held-out samples, with its own statistics of normalisations.
        costs: on each unit at its own clock, in the metric.
    """

    choice: Choice
    accuracy: float
    costs: Costs


class ChoiceCosts:
    """Costs of sub-networks on each unit: of an accelerator at its own clock, of a processor at its fastest point.

    Rows are costed once and kept; a sub-network is the sum of its rows, as an estimate of it is.
    """

    def __init__(
        self,
        space: ElasticSpace,
        units: Sequence[Unit],
        metric: str,
        options: CostOptions,
        *,
        store: Store | bool,
        notify: Notify | None,
    ) -> None:
        self.space, self.units, self.metric = space, tuple(units), metric
        self._options = options
        exact = replace(options, fallback="none")  # levels are never mixed among what is compared
        self._tables: list[CostTable | None] = [
            None
            if unit.accelerator is None
            else cost_table(space.grouping.network, unit.accelerator, fill=False, options=exact, store=store, notify=notify)
            for unit in units
        ]
        self._known: dict[tuple[int, ...], Costs] = {}

    def __call__(self, choice: Choice) -> Costs:
        """On each unit.

        Raises:
            InputError: where the level does not know the metric on a unit.
        """
        key = tuple(choice.values())
        if key not in self._known:
            layers = self.space.layers(choice)
            pairs = zip(self.units, self._tables, strict=True)
            self._known[key] = tuple(self._on(unit, table, layers) for unit, table in pairs)
        return self._known[key]

    def _on(self, unit: Unit, table: CostTable | None, layers: Sequence[Layer]) -> float:
        if table is None:
            cost = on_processor(unit, unit.points[-1], Network("", tuple(layers)))
            latency, energy = cost.latency_s, cost.energy_j or 0.0
        else:
            table.fill(layers)
            rows = [table[layer] for layer in layers]
            scale = _PJ if table.energy_unit == "pJ" else 1.0
            latency, energy = sum(row.latency_s for row in rows), sum(row.energy for row in rows) * scale
        value = {"latency": latency, "energy": energy, "edp": latency * energy}[self.metric]
        if math.isnan(value):
            raise InputError(
                f"level {self._options.level} does not know the {self.metric} of a network on {unit.name}; use mid or fine."
            )
        return value


class Judge:
    """Accuracies of sub-networks of a trained elastic network, each with statistics of its own; kept in a file.

    Args:
        fit: samples on which statistics are estimated.
        statistics: how many of them.
        held: samples that accuracies are of.
    """

    def __init__(
        self,
        network: ElasticNetwork,
        fit: Samples,
        held: Samples,
        *,
        task: Task,
        statistics: int,
        recipe: Recipe,
        file: Path | None,
    ) -> None:
        self.network, self._fit, self._held, self._task = network, fit, held, task
        self._statistics, self._recipe, self._file = statistics, recipe, file
        self.order: list[Choice] = []
        """What was asked for, in this order, each once."""
        self._asked: dict[tuple[int, ...], float] = {}
        self._kept = {} if file is None else _read(file)

    def asked(self, choice: Choice) -> bool:
        """Whether this was asked for; what only an interrupted run asked for was not."""
        return tuple(choice.values()) in self._asked

    def __call__(self, choice: Choice) -> float:
        """On the held-out samples."""
        key = tuple(choice.values())
        if key not in self._asked:
            if key not in self._kept:
                self._kept[key] = self.score(self.module(choice), self._held)
                self._write(choice, self._kept[key])
            self._asked[key] = self._kept[key]
            self.order.append(choice)
        return self._asked[key]

    def module(self, choice: Choice) -> nn.Module:
        """The sub-network as a plain module, with its own statistics."""
        module = self.network.extracted(choice)
        batches = math.ceil(self._statistics / _BATCH)
        reestimate_batchnorm(
            module,
            self._fit,
            batches=batches,
            batch_size=min(_BATCH, self._statistics),
            seed=derived("statistics", self._recipe.seed),
            device=self._recipe.device,
            precision=self._recipe.precision,
        )
        return module

    def score(self, module: nn.Module, samples: Samples) -> float:
        """The accuracy of a module."""
        found = score(module, samples, task=self._task, device=self._recipe.device, precision=self._recipe.precision)
        return found.accuracy

    def finish(self) -> None:
        """Write the file anew, with what this run asked for: an interrupted one may have left more, or a torn line."""
        if self._file is not None:
            lines = [_line(choice, self._asked[tuple(choice.values())]) for choice in self.order]
            write_text(self._file, "".join(lines))

    def _write(self, choice: Choice, accuracy: float) -> None:
        if self._file is None:
            return
        try:
            with self._file.open("a", encoding="utf-8") as handle:
                handle.write(_line(choice, accuracy))
        except OSError as error:
            raise HwflowError(f"cannot write {self._file}: {error.strerror or error}.") from error


def _line(choice: Choice, accuracy: float) -> str:
    return json.dumps({"choice": choice, "accuracy": accuracy}) + "\n"


def _read(file: Path) -> dict[tuple[int, ...], float]:
    """What an interrupted run measured; a line that was torn when it was killed counts for nothing."""
    if not file.exists():
        return {}
    text, found = read_text(file, "the record of measured choices", "result"), {}
    for line in text[: text.rfind("\n") + 1].splitlines():
        try:
            content: Any = parse_json(line)
            found[tuple(content["choice"].values())] = float(content["accuracy"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{file} is damaged: {error}. Remove it to measure anew.") from None
    write_text(file, text[: text.rfind("\n") + 1])
    return found


def limits_of(space: ElasticSpace, budgets: Sequence[Budget], costs: Sequence[ChoiceCosts]) -> Allowed:
    """What keeps the budgets on every unit, from the costs in each budget's metric.

    Raises:
        InputError: where nothing does.
    """
    whole = space.canonical(space.whole)
    parts = [(one, [budget.share * cost for cost in one(whole)]) for one, budget in zip(costs, budgets, strict=True)]

    def allowed(choice: Choice) -> bool:
        return all(cost <= most * (1 + SLACK) for one, limits in parts for cost, most in zip(one(choice), limits, strict=True))

    if not allowed(space.canonical(space.smallest)):
        told = ", ".join(map(str, budgets))
        raise InputError(
            f"the smallest sub-network of {space.grouping.network.name} does not keep the budget {told} on every unit."
        )
    return allowed


def search(
    space: ElasticSpace,
    judge: Judge,
    costs: ChoiceCosts,
    allowed: Allowed,
    *,
    steps: int,
    most: float,
    settings: EvolutionSettings,
    seed: int,
    progress: Progress | None,
) -> None:
    """Evolutions under `steps` limits, each of which holds on every unit: shares of the whole network's costs, in a geometric
    series from that of the smallest one to `most`. Each begins with the best that the ones before found. The judge
    keeps what they measured. The series is ours."""
    whole, smallest = (space.canonical(choice) for choice in (space.whole, space.smallest))
    full = costs(whole)
    least = max(cost / most for cost, most in zip(costs(smallest), full, strict=True))
    judge(smallest)
    if allowed(whole):
        judge(whole)
    for step in range(1, steps + 1):
        share = least * (max(most, least) / least) ** (step / steps)
        limits = [share * cost for cost in full]

        def within(choice: Choice, limits: Sequence[float] = limits) -> bool:
            pairs = zip(costs(choice), limits, strict=True)
            return allowed(choice) and all(cost <= limit * (1 + SLACK) for cost, limit in pairs)

        def told(choice: Choice, step: int = step, share: float = share) -> float:
            accuracy = judge(choice)
            if progress is not None:
                text = f"{len(judge.order)} sub-networks measured, within {100 * share:.0f} % of the costs"
                progress(step - 1, steps, text)
            return accuracy

        known = sorted((choice for choice in judge.order if within(choice)), key=lambda choice: -judge(choice))
        evolve(
            space.options,
            told,
            within,
            settings=settings,
            seed=derived("library", seed, step),
            canonical=space.canonical,
            first=known[: settings.population // 2],
            known=judge.asked,
        )


def plans_of(folder: Path) -> list[tuple[Choice, float]]:
    """The plans that a search of channels tried, each with its accuracy, as its folder's `log.jsonl` has them.

    Raises:
        InputError: where the folder is of another method, has no such file, or it is damaged.
    """
    method = str(_settings(folder).get("method", _TRIES_PLANS))
    if method != _TRIES_PLANS:
        raise InputError(
            f"{folder} is of method {method}, which tries no plans of channels that could be cut from trained weights; --plans "
            "takes a folder of 'hwflow prune' that searched channels."
        )
    file = folder / "log.jsonl"
    missing = ": there is no such file; plans are taken from the folder of a search of channels, which 'hwflow prune' writes"
    lines = read_text(file, "the log of a search", "result", missing).splitlines()
    found: dict[tuple[tuple[str, int], ...], tuple[Choice, float]] = {}
    for number, line in enumerate(lines, start=1):
        try:
            content = parse_json(line)
            plan, accuracy = dict(content["plan"]), float(content["accuracy"])
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines):  # torn when the search was killed
                break
            raise InputError(f"{file}, line {number}, is no tried plan: {error}.") from None
        found.setdefault(tuple(plan.items()), (plan, accuracy))
    if not found:
        raise InputError(f"{file} holds no plan that was tried.")
    return list(found.values())


def criterion_of(folder: Path) -> str:
    """By which criterion a search of channels chose those that stay, as its folder's `config.json` has it; l1 by default."""
    return str(_settings(folder).get("criterion", "l1"))


def _settings(folder: Path) -> Mapping[str, Any]:
    """The settings of a search, as its folder's `config.json` has them; none where it has no such file."""
    file = folder / "config.json"
    if not file.is_file():
        return {}
    text = read_text(file, "the settings of a search", "result")
    try:
        content = parse_json(text)
    except ValueError as error:
        raise InputError(f"{file} is damaged: {error}.") from None
    settings = content.get("settings") if isinstance(content, dict) else None
    return settings if isinstance(settings, dict) else {}


__all__ = ["Allowed", "ChoiceCosts", "Costs", "Found", "Judge", "criterion_of", "limits_of", "plans_of", "search"]
