"""`LevelCosts`: costs of whole networks, before and after compression, at every level that answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Protocol

from hwflow.compression.settings import Settings
from hwflow.cost import estimate
from hwflow.cost.backend import BACKENDS
from hwflow.cost.coarse import bits_of
from hwflow.cost.cost_grid import Entry, cost_table
from hwflow.cost.network_table import NetworkTable
from hwflow.cost.plan import plan_for
from hwflow.cost.session import opened
from hwflow.errors import HwflowError, InputError
from hwflow.hardware.accelerator import Accelerator
from hwflow.layers import DIRECT, Bits, Layer
from hwflow.network import Network
from hwflow.progress import Progress, Shown
from hwflow.results import LevelName, NetworkCost
from hwflow.store import Store
from hwflow.types import Objective

_USUAL: Objective = "edp"
"""What mappings minimise in `hwflow.estimate` unless asked otherwise."""


class RowPrices(Protocol):
    """Costs of a network's rows at any size, as a `CostTable` has them."""

    def __getitem__(self, layer: Layer) -> Entry:
        """What a row costs."""

    def fill(self, layers: Iterable[Layer] | None = None, *, progress: Shown = None) -> None:
        """Compute what is not known of these rows, all at once."""


class LevelCosts:
    """Costs of networks on the run's accelerator, at each level, as the run's settings ask.

    Attributes:
        store: where answers are kept.
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
        self.store, self.notify = store, notify

    def bits(self, network: Network) -> list[Bits]:
        """Word widths of each row on the accelerator."""
        return [bits_of(layer, self.accelerator) for layer in network]

    def table(self, network: Network, level: LevelName, word_widths: Iterable[Bits] = ()) -> RowPrices:
        """An empty table of a network's rows at other sizes, which costs what is asked of it.

        Args:
            word_widths: at which rows may be asked for beside their own.

        Raises:
            InputError, NotMappable, ToolMissing, ToolError: as `hwflow.cost_table`.
        """
        return cost_table(
            network,
            self.accelerator,
            word_widths=word_widths,
            fill=False,
            options=self.settings.cost_options(level),
            store=self.store,
            notify=self.notify,
        )

    def at(self, network: Network, level: LevelName) -> NetworkCost:
        """A whole network at one level.

        Raises:
            InputError, NotMappable, ToolMissing, ToolError: as `hwflow.estimate`.
        """
        return estimate(
            network,
            self.accelerator,
            options=self.settings.cost_options(level),
            store=self.store,
            progress=self.progress or False,
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
        if options.execution != DIRECT:
            raise InputError(
                f"execution is {options.execution!r} beside activations {options.activations!r} and operators "
                f"{options.operators!r}: plans are costed with one of them only. Leave out execution, or use 'dram' and 'mac'."
            )
        with opened(self.store, self.notify) as (cache, _):
            plan = plan_for(network, self.accelerator, options, cache)
        return NetworkTable(plan, options, self.store, self.notify)

    def networks(self, network: Network) -> tuple[dict[str, NetworkCost], dict[str, str]]:
        """A whole network at every level that answers, and why the others do not; at ppa where that was asked for."""
        found: dict[str, NetworkCost] = {}
        missing: dict[str, str] = {}
        asked = self.settings
        for level, backend in BACKENDS.items():
            if backend.fitted and level not in asked.levels:
                continue
            if self.accelerator is None and backend.needs_chip:
                missing[level] = "no accelerator was given"
                continue
            try:
                found[level] = self.at(network, level)
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
                store=self.store,
                progress=self.progress,
                notify=self.notify,
            )
        except HwflowError:
            return {}  # `networks` says why
        return {_USUAL: found}


__all__ = ["LevelCosts", "RowPrices"]
