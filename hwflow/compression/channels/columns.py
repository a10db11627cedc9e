"""Pruning of columns: a convolution is run as the product of its weights [M, C S R] with the image's patches, of fewer columns.

What is left of the convolution is a smaller matrix product, as which it is costed (`MatrixProduct`); whether that is cheaper
than the whole convolution run directly depends on the accelerator, and the result says for which layers it is not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from hwflow.compression.channels.units import Columns, ColumnUnits, UnitSource
from hwflow.compression.decision import Choice, Decision
from hwflow.compression.level_costs import RowPrices
from hwflow.compression.method import Compressed, Task
from hwflow.compression.plan_files import choice_to_data, plan_from_file
from hwflow.compression.search.plan_space import unknown_metric, unreachable
from hwflow.cost.cost_grid import Entry
from hwflow.cost.execution import Execution, MatrixProduct, matrix_product
from hwflow.errors import InputError, not_found
from hwflow.layers import Layer
from hwflow.network import Network
from hwflow.training.hooks import TrainingHook
from hwflow.training.loop import History

_STEPS = 16  # widths that a layer can have: sixteenths of its columns
_SHARES = 1000  # steps of the share that is kept of every layer
_METRICS = ("energy", "latency_s", "macs", "params", "dram_bytes")
_PREFIX = "columns of "


class ColumnPlan:
    """Names of what is decided for columns in a plan."""

    @staticmethod
    def name(layer: str) -> str:
        """Of a layer's decision."""
        return f"{_PREFIX}{layer}"

    @staticmethod
    def is_one(plan: Mapping[str, int]) -> bool:
        """Whether a plan is of columns; one of channels names groups."""
        return bool(plan) and all(name.startswith(_PREFIX) for name in plan)


def matrix_products(network: Network, plan: Mapping[str, int]) -> dict[str, Execution]:
    """An execution for every row of a layer that lost columns by a plan."""
    kept = {layer.name: plan.get(ColumnPlan.name(layer.name.partition("#")[0])) for layer in network.layers}
    found = ((layer, kept[layer.name]) for layer in network.layers)
    return {la.name: MatrixProduct(n) for la, n in found if n is not None and n < la.C * la.R * la.S}


@dataclass
class HeldColumns(TrainingHook):
    """Keeps pruned columns at zero while the rest is trained.

    Attributes:
        removed: columns by name of the module.
    """

    removed: Mapping[str, Sequence[int]] = field(repr=True)

    def start(self, model: nn.Module, steps: int) -> None:
        """Find them."""
        self._columns = [(ColumnUnits(model, name), torch.tensor(list(units))) for name, units in self.removed.items()]
        self.after_step(-1)

    def after_step(self, step: int) -> None:
        """Whatever moved them, they are zero again."""
        for columns, removed in self._columns:
            columns.scale_(torch.ones(columns.count).index_fill(0, removed, 0.0))


class ColumnCut:
    """What is kept of each convolution's columns, and what that costs.

    All convolutions with one group take part, but for those that the settings exclude.

    Raises:
        InputError: where there is none, a budget cannot be reached, or the allocation is not for columns.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._network = Network.from_torch(task.model, task.input_shape, name=task.name)
        modules = dict(task.model.named_modules())
        self._rows: dict[str, list[int]] = {}
        for place, layer in enumerate(self._network.layers):
            name = layer.name.partition("#")[0]
            plain = layer.type == "conv" and layer.G == 1 and layer.C * layer.R * layer.S > 1
            if plain and isinstance(modules.get(name), nn.modules.conv._ConvNd) and not _excluded(name, task.settings.exclude):
                self._rows.setdefault(name, []).append(place)
        if not self._rows:
            raise InputError(f"{task.name} has no convolution with one group whose columns could be pruned.")
        self.source: UnitSource = Columns(tuple(self._rows))
        self._counts = {name: self._matrix(name) for name in self._rows}
        least = task.settings.floor_ratio
        self._options = {
            name: tuple(
                sorted({math.ceil(n * i / _STEPS) for i in range(1, _STEPS + 1) if i == _STEPS or n * i / _STEPS >= least * n})
            )
            for name, n in self._counts.items()
        }
        self._table: RowPrices = task.costs.table(self._network, task.settings.levels[-1])
        self.likely: Choice = self._chosen(task)

    @property
    def counts(self) -> Mapping[str, int]:
        """Columns of each layer."""
        return self._counts

    def plan(self, task: Task) -> Choice:
        """The plan; it is written to the folder."""
        task.folder.write("plan.json", choice_to_data(self._network, self._decisions, self.likely))
        return self.likely

    def cuts(self, plan: Choice) -> dict[str, int]:
        """Columns that go of each layer."""
        return {name: n - plan[ColumnPlan.name(name)] for name, n in self._counts.items()}

    def shares(self, left: Mapping[str, int] | None, plan: Choice) -> dict[str, float]:
        """See `ChannelCut`; the unpruned network runs directly."""
        kept = {name: plan[ColumnPlan.name(name)] if left is None else left[name] for name in self._counts}
        kept = {name: next(option for option in self._options[name] if option >= n) for name, n in kept.items()}
        now, whole = self._totals(kept), self._totals(self._counts)
        return {name: value / whole[name] for name, value in now.items() if whole[name] and math.isfinite(value)}

    def apply(self, model: nn.Module, removed: Mapping[str, Sequence[int]]) -> tuple[nn.Module, list[TrainingHook]]:
        """The network with these columns at zero, and what keeps them there."""
        held = HeldColumns({name: tuple(units) for name, units in removed.items() if units})
        held.start(model, 0)
        return model, [held]

    def result(
        self,
        model: nn.Module,
        plan: Choice,
        removed: Mapping[str, Sequence[int]],
        tuning: History | None,
        summary: Mapping[str, str],
        trained: int,
    ) -> Compressed:
        """With an execution for every layer that lost columns."""
        executions = matrix_products(self._network, plan)
        told = {**summary, "Columns": self._worth(plan)}
        return Compressed(model, plan, self._decisions, tuning=tuning, executions=executions, summary=told, trained=trained)

    @property
    def _decisions(self) -> tuple[Decision, ...]:
        return tuple(Decision(ColumnPlan.name(name), self._options[name], tuple(rows)) for name, rows in self._rows.items())

    def _matrix(self, name: str) -> int:
        layer = self._network.layers[self._rows[name][0]]
        return layer.C * layer.R * layer.S

    def _chosen(self, task: Task) -> Choice:
        asked = task.settings
        how = asked.allocate if task.plan is None else task.plan
        if how != "uniform":
            given = dict(how) if isinstance(how, Mapping) else plan_from_file(Path(how))
            return self._checked(given)
        whole = self._totals(self._counts)
        for budget in asked.budgets:
            if not math.isfinite(whole.get(budget.metric, math.nan)):
                raise InputError(unknown_metric(budget.metric))
        for step in range(_SHARES, -1, -1):
            kept = {
                name: min(options, key=lambda n, want=step / _SHARES * self._counts[name]: (abs(n - want), -n))  # type: ignore[misc]
                for name, options in self._options.items()
            }
            now = self._totals(kept)
            if all(now[b.metric] <= b.share * whole[b.metric] for b in asked.budgets):
                return {ColumnPlan.name(name): n for name, n in kept.items()}
        reached = [now[b.metric] / whole[b.metric] for b in asked.budgets]
        raise InputError(
            f"{unreachable(asked.budgets, reached)} The patches of an image overlap: as a matrix they are read several times "
            "over, which pruned columns have to make up for first."
        )

    def _checked(self, plan: Mapping[str, int]) -> Choice:
        known = {ColumnPlan.name(name): options for name, options in self._options.items()}
        for name, kept in plan.items():
            if name not in known:
                raise not_found(f"convolution of {self._network.name} in a plan of columns", name, known)
            if kept not in known[name]:
                raise InputError(f"the plan keeps {kept!r} {name}; allowed: {', '.join(map(str, known[name]))}.")
        return {name: plan.get(name, options[-1]) for name, options in known.items()}

    def _entry(self, layer: Layer, name: str, kept: int) -> Entry:
        return self._table[layer if kept == self._counts[name] else matrix_product(layer, kept)]

    def _totals(self, kept: Mapping[str, int]) -> dict[str, float]:
        """Sums over all rows, by the names of budgets."""
        names = {row: name for name, rows in self._rows.items() for row in rows}
        found = [
            self._entry(layer, names[row], kept[names[row]]) if row in names else self._table[layer]
            for row, layer in enumerate(self._network.layers)
        ]
        sums = {metric.removesuffix("_s"): sum(getattr(entry, metric) for entry in found) for metric in _METRICS}
        return {**sums, "edp": sums["energy"] * sums["latency"]}

    def _worth(self, plan: Choice) -> str:
        """For which layers the product of what is left costs no less than the whole convolution run directly."""
        level, cut, dear = self._task.settings.levels[-1], 0, []
        for name, rows in self._rows.items():
            layer, kept = self._network.layers[rows[0]], plan[ColumnPlan.name(name)]
            if kept == self._counts[name]:
                continue
            cut += 1
            direct, product = self._table[layer], self._table[matrix_product(layer, kept)]
            worse = [
                f"{product[at] / direct[at]:.2f} of its {word}"
                for at, word in ((Entry._fields.index("energy"), "energy"), (Entry._fields.index("latency_s"), "latency"))
                if product[at] >= direct[at]
            ]
            dear += [f"{name} ({' and '.join(worse)})"] if worse else []
        told = f"the matrix products of what is left of {cut} convolutions are costed, and the patches' layout is not"
        if not dear:
            return f"{told}; at {level} each costs less than the whole convolution run directly"
        return (
            f"{told}; at {level} pruning columns does not pay, against the whole convolution run directly, of {', '.join(dear)}"
        )


def _excluded(name: str, exclude: Sequence[str]) -> bool:
    return any(name == one or name.startswith(f"{one}.") for one in exclude)


__all__ = ["ColumnCut", "ColumnPlan", "HeldColumns", "matrix_products"]
