"""`PlanTables`: costs of all plans of a network's groups, from one table of row costs per level."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Collection, Sequence
from functools import partial

from hwflow.compression.channels.groups import Grouping
from hwflow.compression.level_costs import LevelCosts, RowPrices
from hwflow.compression.plan_costs import ActivationMemory, Activations, PlanCosts, PlanTotals, Sizing
from hwflow.compression.whole_costs import WholePlanCosts
from hwflow.cost.backend import backend_of
from hwflow.errors import InputError
from hwflow.layers import Bits, Layer
from hwflow.results import LevelName

_MOST = 40_000  # shapes that are costed before a search: some minutes on a few cores, once, since the store keeps them
_MOST_EXTERNAL = 4096  # where another program answers, which takes a second for what mid does in ten milliseconds


class PlanTables:
    """Costs of plans, by level. Shapes are costed as plans with them are asked for, those of one question at once.

    Args:
        sizing: what is decided, and how the rows follow from it.
        word_widths: of rows, beside their own.
        activations: what the activations of plans need, from the whole rows' widths; by default `Activations`.

    Attributes:
        seconds: wall clock that each level's table took so far, but for what a search asks for.
        tables: the tables, by level.
    """

    def __init__(
        self,
        sizing: Sizing,
        costs: LevelCosts,
        *,
        word_widths: Collection[Bits] = (),
        activations: Callable[[Sequence[Bits]], ActivationMemory] | None = None,
    ) -> None:
        self.sizing, self._level_costs, self._word_widths = sizing, costs, word_widths
        self._activations = activations or partial(Activations, sizing)
        self.seconds: dict[str, float] = {}
        self.tables: dict[LevelName, RowPrices] = {}
        self._costs: dict[LevelName, PlanTotals] = {}

    def at(self, level: LevelName) -> PlanTotals:
        """Costs of plans at a level.

        Raises:
            InputError, NotMappable, ToolMissing, ToolError: as `hwflow.cost_table`.
        """
        if level not in self._costs:
            start = time.perf_counter()
            self._costs[level] = self._whole(level) or self._layer_by_layer(level)
            self.seconds[level] = time.perf_counter() - start
        return self._costs[level]

    def _layer_by_layer(self, level: LevelName) -> PlanCosts:
        table = self.tables[level] = self._level_costs.table(self.sizing.network, level, self._word_widths)
        return PlanCosts(
            self.sizing,
            table.__getitem__,
            self._activations(self._level_costs.bits(self.sizing.network)),
            fill=lambda layers: table.fill(layers, progress=False),
            accelerator=self._level_costs.accelerator,
        )

    def _whole(self, level: LevelName) -> WholePlanCosts | None:
        """Where layers depend on one another at this level."""
        table = self._level_costs.network_table(self.sizing.network, level)
        if table is None:
            return None
        if not isinstance(self.sizing, Grouping):
            raise InputError(
                f"activations is {table.options.activations!r} and operators {table.options.operators!r}, and word widths are "
                "decided, too: what stays on the chip is costed for plans of channels alone. Decide channels alone, or use "
                "'dram' and 'mac'."
            )
        return WholePlanCosts(self.sizing, table)

    def fill(self, level: LevelName) -> None:
        """Cost all shapes that plans can have, `jobs` at once and with progress, before a search asks for most of them.

        Where these are too many, say so, and leave them to be costed as the search meets them.

        Raises:
            InputError, NotMappable, ToolMissing, ToolError: as `hwflow.cost_table`.
        """
        costs, start = self.at(level), time.perf_counter()
        most = _MOST_EXTERNAL if backend_of(level).external else _MOST
        shapes = [] if isinstance(costs, WholePlanCosts) else self._shapes(most)
        count = costs.combinations(most) if isinstance(costs, WholePlanCosts) else len(shapes)
        if count <= most and isinstance(costs, WholePlanCosts):
            costs.fill(self._level_costs.progress)
        elif count <= most:
            self.tables[level].fill(shapes, progress=self._level_costs.progress or False)
        elif self._level_costs.notify is not None:
            self._level_costs.notify(
                f"the layers of {self.sizing.network.name} have more than {most:,} sizes at the widths that plans can have: "
                f"at {level} these are costed as the search meets them, which makes its first plans slow. A larger --round-to "
                "leaves fewer."
            )
        self.seconds[level] += time.perf_counter() - start

    def _shapes(self, most: int) -> list[Layer]:
        """Every row at every combination of the widths that it depends on; one more than `most` where these are more."""
        grouping = self.sizing
        full = tuple(group.channels for group in grouping.groups)
        shapes: dict[tuple[object, ...], Layer] = {}
        for row, on in enumerate(grouping.dependence):
            for widths in itertools.product(*(grouping.groups[g].widths for g in on)):
                chosen = list(full)
                for g, width in zip(on, widths, strict=True):
                    chosen[g] = width
                layer = grouping.layer_for(row, tuple(chosen))
                if layer is not None:
                    shapes.setdefault(layer.key, layer)
                if len(shapes) > most:
                    return list(shapes.values())
        return list(shapes.values())


__all__ = ["PlanTables"]
