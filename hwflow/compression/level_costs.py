"""Costs of plans at each level, from one table a level, and of whole networks before and after."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

from hwflow.compression.channels.groups import Grouping
from hwflow.compression.plan_costs import Activations, PlanCosts
from hwflow.compression.settings import Settings
from hwflow.cost import estimate
from hwflow.cost.coarse import bits_of
from hwflow.cost.cost_grid import CostTable, cost_table
from hwflow.cost.options import used_at
from hwflow.errors import HwflowError
from hwflow.hardware.accelerator import Accelerator
from hwflow.layers import Layer
from hwflow.metrics import Objective
from hwflow.network import Network
from hwflow.progress import Progress
from hwflow.results import LEVELS, LevelName, NetworkCost
from hwflow.store import Store

_USUAL: Objective = "edp"
"""What mappings minimise in `hwflow.estimate` unless asked otherwise."""

_FILL = 4096  # shapes up to which a table is filled before the search; beyond, shapes are costed as the search meets them


class Pricing:
    """What plans of one network cost on one accelerator.

    Attributes:
        seconds: that the tables took, by level.
    """

    def __init__(
        self,
        grouping: Grouping,
        accelerator: Accelerator | None,
        settings: Settings,
        *,
        store: Store | bool,
        notify: Callable[[str], None] | None,
        progress: Progress | None,
    ) -> None:
        self.grouping, self.accelerator, self.settings = grouping, accelerator, settings
        self.seconds: dict[str, float] = {}
        self._store, self._notify, self._progress = store, notify, progress
        self._costs: dict[LevelName, PlanCosts] = {}
        self.tables: dict[LevelName, CostTable] = {}

    def at(self, level: LevelName) -> PlanCosts:
        """Costs of plans at a level; all shapes that plans can have are computed first where they are not too many.

        Raises:
            InputError, NotMappable, ToolMissing, ToolError: as `hwflow.cost_table`.
        """
        if level not in self._costs:
            start = time.perf_counter()
            table = cost_table(
                self.grouping.network,
                self.accelerator,
                fill=False,
                level=level,
                **self._options(level),
                store=self._store,
                notify=self._notify,
            )
            shapes = self._shapes()
            if len(shapes) <= _FILL:
                table.fill(shapes, progress=self._progress or False)
            self.tables[level] = table
            bits = [bits_of(layer, self.accelerator) for layer in self.grouping.network]
            self._costs[level] = PlanCosts(self.grouping, table.__getitem__, Activations(self.grouping, bits))
            self.seconds[level] = time.perf_counter() - start
        return self._costs[level]

    def _options(self, level: LevelName) -> dict[str, Any]:
        """What the level is asked for; one set of settings holds for several levels, which look at different ones of them."""
        asked = self.settings
        return used_at(
            level,
            dataflow=asked.dataflow,
            objective=asked.mapping_objective,
            energy=asked.energy,
            mapper=asked.mapper,
            engine=asked.engine,
            effort=asked.effort,
            jobs=asked.jobs,
        )

    def networks(self, network: Network) -> tuple[dict[str, NetworkCost], dict[str, str]]:
        """A whole network at every level that answers, and why the others do not."""
        found: dict[str, NetworkCost] = {}
        missing: dict[str, str] = {}
        asked = self.settings
        for level in LEVELS:
            if self.accelerator is None and level != "coarse":
                missing[level] = "no accelerator was given"
                continue
            try:
                found[level] = estimate(
                    network,
                    self.accelerator,
                    level=level,
                    **self._options(level),
                    fallback="none",
                    store=self._store,
                    progress=self._progress or False,
                    notify=self._notify,
                )
            except HwflowError as error:
                if level in asked.levels:
                    raise
                missing[level] = str(error)
        return found, missing

    def remapped(self, network: Network) -> dict[str, NetworkCost]:
        """A whole network at mid with the mappings that `hwflow.estimate` finds where nothing is asked for, by their objective.

        Empty where these are the run's own mappings, or where mid cannot answer. Mappings for energy may take their time, and
        mappings for latency their energy: a total means little without what the mappings were chosen for.
        """
        asked = self.settings
        if self.accelerator is None or asked.mapping_objective == _USUAL:
            return {}
        try:
            found = estimate(
                network,
                self.accelerator,
                level="mid",
                dataflow=asked.dataflow,
                objective=_USUAL,
                energy=asked.energy,
                effort=asked.effort,
                jobs=asked.jobs,
                store=self._store,
                progress=self._progress,
                notify=self._notify,
            )
        except HwflowError:
            return {}  # `networks` says why
        return {_USUAL: found}

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
