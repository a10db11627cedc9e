"""`PlanTables`: costs of all plans of a network's groups, from one table of row costs per level."""

from __future__ import annotations

import itertools
import time

from hwflow.compression.channels.groups import Grouping
from hwflow.compression.level_costs import LevelCosts
from hwflow.compression.plan_costs import Activations, PlanCosts
from hwflow.cost.coarse import bits_of
from hwflow.cost.cost_grid import CostTable
from hwflow.layers import Layer
from hwflow.results import LevelName

_FILL = 4096  # shapes up to which a table is filled before the search; beyond, shapes are costed as the search meets them


class PlanTables:
    """Costs of plans, by level; a level's table is computed when it is first asked for.

    Attributes:
        seconds: wall clock that each level's table took.
        tables: the tables, by level.
    """

    def __init__(self, grouping: Grouping, costs: LevelCosts) -> None:
        self.grouping, self._level_costs = grouping, costs
        self.seconds: dict[str, float] = {}
        self.tables: dict[LevelName, CostTable] = {}
        self._costs: dict[LevelName, PlanCosts] = {}

    def at(self, level: LevelName) -> PlanCosts:
        """Costs of plans at a level; all shapes that plans can have are computed first where they are not too many.

        Raises:
            InputError, NotMappable, ToolMissing, ToolError: as `hwflow.cost_table`.
        """
        if level not in self._costs:
            start = time.perf_counter()
            table = self._level_costs.table(self.grouping.network, level)
            shapes = self._shapes()
            if len(shapes) <= _FILL:
                table.fill(shapes, progress=self._level_costs.progress or False)
            self.tables[level] = table
            bits = [bits_of(layer, self._level_costs.accelerator) for layer in self.grouping.network]
            self._costs[level] = PlanCosts(self.grouping, table.__getitem__, Activations(self.grouping, bits))
            self.seconds[level] = time.perf_counter() - start
        return self._costs[level]

    def _shapes(self) -> list[Layer]:
        """Every row at every combination of the widths that it depends on, as far as `_FILL` allows, one more at most."""
        grouping = self.grouping
        full = tuple(group.channels for group in grouping.groups)
        shapes: dict[tuple[object, ...], Layer] = {}
        for row, on in enumerate(grouping.dependence):
            for widths in itertools.product(*(grouping.groups[g].widths for g in on)):
                chosen = list(full)
                for g, width in zip(on, widths, strict=True):
                    chosen[g] = width
                layer = grouping.layer_for(row, tuple(chosen))
                shapes.setdefault(layer.key, layer)
                if len(shapes) > _FILL:
                    return list(shapes.values())
        return list(shapes.values())


__all__ = ["PlanTables"]
