"""`Combination`: channels are pruned by one method, and what is left is quantized by another.

The budgets hold for both together: channels are chosen by the costs that rows have at the second method's word widths, against
the uncompressed network at the chip's own. Each part trains for half of the epochs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from torch import nn

from hwflow.compression.budget import rescaled
from hwflow.compression.channels.pruning import ChannelPruning
from hwflow.compression.decision import Choice
from hwflow.compression.level_costs import LevelCosts, RowPrices
from hwflow.compression.method import Compressed, Method, Task, running
from hwflow.compression.quantization.quantized import Quantization, Rows
from hwflow.cost.cost_grid import Entry
from hwflow.errors import InputError
from hwflow.layers import Bits, Layer
from hwflow.network import Network
from hwflow.progress import Shown
from hwflow.results import LevelName

_STORED = ".weights"
"""Behind the name of a layer in a plan, where this tells its bits from the channels of the group of that name."""


class Combination(Method):
    """A method that prunes channels, then one that quantizes; its name is both, with a + between them.

    Raises:
        InputError: where the first does not prune channels of its own choice.
    """

    def __init__(self, first: Method, second: Quantization) -> None:
        self.name = f"{first.name}+{second.name}"
        self._first, self._second = first, second
        self.about = f"{first.about}; then {second.about}"
        self.source = "; ".join(filter(None, (first.source, second.source)))
        self.needs = second.needs
        self.refits, self.ranks = first.refits, first.ranks
        self.allocation = getattr(first, "allocation", None)
        self.follows_allocation = first.follows_allocation and not isinstance(first, ChannelPruning)

    def prepare(self, task: Task) -> None:
        """Refuse what either method refuses, and budgets that both together do not reach."""
        asked = task.settings
        if asked.gradual.unit == "column":
            raise InputError(
                f"unit is 'column', and {self.name} quantizes rows of convolutions, not of matrix products; leave it out."
            )
        epochs = task.recipe.epochs
        if epochs < 2 and not asked.quantization.post_training:
            raise InputError(f"epochs is {epochs}, and {self.name} trains twice; ask for 2 or more, or for post_training.")
        self._second.prepare(replace(task, settings=replace(asked, budgets=())))
        pruning = self._pruning(task)
        try:
            self._first.prepare(pruning)
        except InputError as error:
            if pruning.budgets == task.budgets:
                raise
            shares = ", ".join(f"{own} is {b.share:.3g}" for own, b in zip(task.budgets, pruning.budgets, strict=True))
            raise InputError(f"{error} (Here {shares} of the network at the widths of {self._second.name}.)") from None

    def compress(self, task: Task) -> Compressed:
        """The pruned network, quantized."""
        pruned = self._first.compress(self._pruning(task))
        assert pruned.grouping is not None
        small = self._second.compress(self._quantizing(task, pruned.model))
        plan: Choice = {**pruned.plan, **{f"{name}{_STORED}": bits for name, bits in small.plan.items()}}
        decisions = [replace(one, name=f"{one.name}{_STORED}") for one in small.decisions or ()]
        trained = len(pruned.tuning.epochs) * len(task.data.hold_out()[0]) if pruned.tuning else 0
        return replace(
            small,
            plan=plan,
            decisions=tuple(decisions),
            grouping=pruned.grouping,
            comparison=pruned.comparison,
            seconds={**pruned.seconds, **small.seconds},
            summary={**pruned.summary, **small.summary, "channels": _told(task)},
            trained=pruned.trained + trained + small.trained,
            evaluated=pruned.evaluated + small.evaluated,
        )

    def rebuild(self, model: nn.Module, input_shape: tuple[int, ...], plan: Mapping[str, int]) -> nn.Module:
        """Cut to the plan's channels, with the layers of its bits."""
        channels, bits = _parts(plan)
        return self._second.rebuild(self._first.rebuild(model, input_shape, channels), input_shape, bits)

    def costed(self, network: Network, plan: Mapping[str, int]) -> Network:
        """At the widths of the plan."""
        return self._second.costed(network, _parts(plan)[1])

    def _pruning(self, task: Task) -> Task:
        """The first method's part: budgets as shares of the network at the second one's widths, and half of the epochs.

        Where filters can have different numbers of powers of two, they are priced with one each, and budgets leave room for as
        many as are asked for.
        """
        asked, network = task.settings, Network.from_torch(task.model, task.input_shape, name=task.name)
        least = self._second.rows(task, network, least=True)
        level = asked.levels[-1]
        before, after = (
            task.costs.at(n, level).to_dict()["totals"] for n in (network, running(network, *self._second.rows(task, network)))
        )
        budgets = tuple(rescaled(budget, before, after) for budget in task.budgets)
        recipe = task.recipe if asked.quantization.post_training else replace(task.recipe, epochs=(task.recipe.epochs + 1) // 2)
        return replace(
            task,
            costs=_QuantizedCosts(task.costs, least),
            settings=replace(asked, budgets=budgets),
            recipe=recipe,
            part="channels-",
        )

    def _quantizing(self, task: Task, model: nn.Module) -> Task:
        return replace(task, model=model, recipe=replace(task.recipe, epochs=max(1, task.recipe.epochs // 2)))


class _QuantizedCosts(LevelCosts):
    """Costs of networks whose rows run at other widths than their own, by the rows' names."""

    def __init__(self, costs: LevelCosts, rows: Rows) -> None:
        super().__init__(costs.accelerator, costs.settings, store=costs.store, notify=costs.notify, progress=costs.progress)
        self._rows = rows

    def bits(self, network: Network) -> list[Bits]:
        return [self._rows.bits.get(layer.name, own) for layer, own in zip(network, super().bits(network), strict=True)]

    def table(self, network: Network, level: LevelName, word_widths: Iterable[Bits] = ()) -> RowPrices:
        run = running(network, *self._rows)
        return _RunRows(super().table(run, level, word_widths), self._run)

    def _run(self, layer: Layer) -> tuple[Layer, ...]:
        sized = layer.with_(bits=self._rows.bits[layer.name]) if layer.name in self._rows.bits else layer
        execution = self._rows.executions.get(layer.name)
        return (sized,) if execution is None else execution.rows(sized)


class _RunRows:
    """Prices of rows as what they run as."""

    def __init__(self, prices: RowPrices, run: Callable[[Layer], tuple[Layer, ...]]) -> None:
        self._prices, self._run = prices, run

    def __getitem__(self, layer: Layer) -> Entry:
        first, *more = (self._prices[row] for row in self._run(layer))
        if not more:
            return first
        summed = Entry(*(sum(values) for values in zip(first, *more, strict=True)))
        return summed._replace(utilization=first.utilization, dram_share=first.dram_share)

    def fill(self, layers: Iterable[Layer] | None = None, *, progress: Shown = None) -> None:
        wanted = None if layers is None else [row for layer in layers for row in self._run(layer)]
        self._prices.fill(wanted, progress=progress)


def _parts(plan: Mapping[str, int]) -> tuple[dict[str, int], dict[str, int]]:
    bits = {name.removesuffix(_STORED): value for name, value in plan.items() if name.endswith(_STORED)}
    return {name: value for name, value in plan.items() if not name.endswith(_STORED)}, bits


def _told(task: Task) -> str:
    budgets = ", ".join(map(str, task.budgets))
    return f"chosen by costs at the widths of the quantized network, so that both together keep {budgets}"


__all__ = ["Combination"]
