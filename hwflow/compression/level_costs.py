"""`LevelCosts`: costs of whole networks, before and after compression, at every level that answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hwflow.compression.settings import Settings
from hwflow.cost import estimate
from hwflow.cost.backend import BACKENDS
from hwflow.cost.cost_grid import CostTable, cost_table
from hwflow.cost.network_table import NetworkTable
from hwflow.cost.plan import plan_for
from hwflow.cost.session import opened
from hwflow.errors import HwflowError
from hwflow.hardware.accelerator import Accelerator
from hwflow.network import Network
from hwflow.progress import Progress
from hwflow.results import LevelName, NetworkCost
from hwflow.store import Store
from hwflow.types import Objective

_USUAL: Objective = "edp"
"""What mappings minimise in `hwflow.estimate` unless asked otherwise."""


class LevelCosts:
    """Costs of networks on the run's accelerator, at each level, as the run's settings ask.

    Attributes:
        progress: told of layers that are costed.
        notify: told in a sentence what a user should know.
    """

    def __init__(
        self,
        accelerator: Accelerator | None,
        settings: Settings,
        *,
        store: Store | bool,
        notify: Callable[[str], None] | None,
        progress: Progress | None,
    ) -> None:
        self.accelerator, self.settings, self.progress = accelerator, settings, progress
        self._store, self.notify = store, notify

    def table(self, network: Network, level: LevelName) -> CostTable:
        """An empty table of a network's rows at other sizes, which costs what is asked of it.

        Raises:
            InputError, NotMappable, ToolMissing, ToolError: as `hwflow.cost_table`.
        """
        return cost_table(
            network,
            self.accelerator,
            fill=False,
            options=self.settings.cost_options(level),
            store=self._store,
            notify=self.notify,
        )

    def network_table(self, network: Network, level: LevelName) -> NetworkTable | None:
        """Costs of a network at other widths where its layers depend on one another; None where each has a cost of its own.

        Raises:
            InputError: as `hwflow.estimate`.
        """
        options = self.settings.cost_options(level)
        if self.accelerator is None or not options.whole_network:
            return None
        with opened(self._store, self.notify) as (cache, _):
            plan = plan_for(network, self.accelerator, options, cache)
        return NetworkTable(plan, options, self._store, self.notify)

    def networks(self, network: Network) -> tuple[dict[str, NetworkCost], dict[str, str]]:
        """A whole network at every level that answers, and why the others do not."""
        found: dict[str, NetworkCost] = {}
        missing: dict[str, str] = {}
        asked = self.settings
        for level, backend in BACKENDS.items():
            if self.accelerator is None and backend.needs_chip:
                missing[level] = "no accelerator was given"
                continue
            try:
                found[level] = estimate(
                    network,
                    self.accelerator,
                    options=asked.cost_options(level),
                    store=self._store,
                    progress=self.progress or False,
                    notify=self.notify,
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
                options=replace(asked.cost_options("mid"), objective=_USUAL),
                store=self._store,
                progress=self.progress,
                notify=self.notify,
            )
        except HwflowError:
            return {}  # `networks` says why
        return {_USUAL: found}


__all__ = ["LevelCosts"]
