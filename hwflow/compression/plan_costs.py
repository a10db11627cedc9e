"""What plans cost: `PlanTotals`, of which searches ask totals, and `PlanCosts`, which are sums over the network's rows.

A plan is a width for each group: channels kept, or, where bits are decided, those of a layer's operands.
`hwflow.compression.whole_costs` has totals that are no sums over rows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from hwflow.arrays import Floats, Places
from hwflow.compression.channels.groups import Step, Widths
from hwflow.compression.decision import Variable
from hwflow.compression.row_values import RowValues
from hwflow.cost.cost_grid import Entry
from hwflow.hardware.accelerator import Accelerator
from hwflow.layers import Bits, Layer
from hwflow.metrics import ADDITIVE
from hwflow.network import Network


class Sizing(Protocol):
    """What is decided of a network, and how its rows follow from that: a `Grouping`, or channels and bits together."""

    @property
    def network(self) -> Network:
        """The uncompressed one."""

    @property
    def groups(self) -> Sequence[Variable]:
        """What is decided, in the order of plans."""

    @property
    def dependence(self) -> tuple[tuple[int, ...], ...]:
        """For each row the places in `groups` that its cost depends on."""

    @property
    def layer_steps(self) -> tuple[Step, ...]:
        """How sizes of rows follow from the groups; what follows otherwise has a field of its own for each group."""

    @property
    def tensor_steps(self) -> tuple[Step, ...]:
        """How the numbers of words of the data flow's tensors follow from the groups, a tensor being a row."""

    def layer_for(self, row: int, widths: Widths) -> Layer | None:
        """One row of the compressed network; None where it has none in its place."""

    def network_for(self, plan: Mapping[str, int]) -> Network:
        """All of it."""

    def widths_of(self, plan: Mapping[str, int]) -> Widths:
        """A plan as a tuple; what it does not name stays as it is."""


class ActivationMemory(Protocol):
    """Peak activation memory of plans."""

    @property
    def sums(self) -> tuple[Floats, Floats] | None:
        """See `Activations.sums`; None also where peaks are no sums over the groups."""

    def peaks(self, plans: Sequence[Widths]) -> Floats:
        """Whole bytes of each plan, [plan]; NaN where they are not known."""


Parts = tuple[tuple[int, int], ...]
"""A sum over groups: (group, factor on its removed units)."""


class RowCosts(Protocol):
    """Costs of plans that are sums over rows."""

    groups: tuple[Variable, ...]
    full: Widths

    @property
    def dependence(self) -> tuple[tuple[int, ...], ...]:
        """For each row the groups that it depends on."""
        ...

    def width_sums(self, row: int) -> tuple[Parts, ...]:
        """The sums of widths that a row follows from."""
        ...

    def row(self, row: int, plans: Sequence[Widths]) -> Floats:
        """One row in each of several plans, [plan, metric], metrics in the order of `ADDITIVE`."""
        ...


class Activations:
    """Peak activation memory of every plan: the largest of a few sums that are linear in the groups' widths.

    Which tensors exist at once does not depend on the widths, and each tensor's size is linear in them
    (`Grouping.tensor_steps`); so is the sum over those that exist while one operator runs. Operators during which nothing
    exists that does not exist during another one are left out, whatever the plan: a peak over 196 operators of ResNet-56 is one
    over some sixty sums.
    """

    def __init__(self, grouping: Sizing, bits: Sequence[Bits]) -> None:
        graph, groups = grouping.network.graph, grouping.groups
        self._known = graph is not None
        self._full = np.array([group.channels for group in groups], dtype=np.int64)
        self._unit = np.array([group.unit for group in groups], dtype=np.int64)
        if graph is None:
            return
        width = np.array(graph.widths(bits), dtype=np.int64)
        size = np.array(graph.words, dtype=np.int64) * width
        lost = np.zeros((len(size), len(groups)), dtype=np.int64)  # bits of a tensor that go with a unit of a group
        for step in grouping.tensor_steps:
            lost[step.row, step.group] += step.per_unit * width[step.row]
        sets = set(map(frozenset, graph.live))
        largest = [list(held) for held in sets if not any(held < other for other in sets)]
        self._whole = np.array([size[held].sum() for held in largest])
        self._lost = np.array([lost[held].sum(axis=0) for held in largest])

    @property
    def sums(self) -> tuple[Floats, Floats] | None:
        """Bits that exist at once, [sum], of the unpruned network, and what a unit less of each group takes off, [sum, group].

        None where the network's data flow is not known.
        """
        return (self._whole.astype(np.float64), self._lost.astype(np.float64)) if self._known else None

    def peaks(self, plans: Sequence[Widths]) -> Floats:
        """Whole bytes of each plan, [plan]; NaN where the network's data flow is not known."""
        if not self._known:
            return np.full(len(plans), np.nan)
        removed = (self._full - np.array(plans, dtype=np.int64)) // self._unit
        bits = (self._whole - removed @ self._lost.T).max(axis=1)
        return np.asarray(-(-bits // 8), dtype=np.float64)


class PlanTotals(ABC):
    """What every plan of a network's groups costs at one level.

    Args:
        grouping: what is decided.
        activations: what the activations of plans need; None where nobody asks.
        accelerator: the chip whose costs they are, for searchers that look at it; None where there is none.
    """

    def __init__(
        self, grouping: Sizing, activations: ActivationMemory | None = None, *, accelerator: Accelerator | None = None
    ) -> None:
        self.accelerator = accelerator
        self.groups: tuple[Variable, ...] = tuple(grouping.groups)
        self.full: Widths = tuple(group.channels for group in self.groups)
        self._grouping, self._activations = grouping, activations
        depends = grouping.dependence
        self._touched = [np.array([r for r, on in enumerate(depends) if g in on]) for g in range(len(self.groups))]

    # What follows from how costs add up ------------------------------------------------------------------------------

    @abstractmethod
    def totals_of(self, plans: Sequence[Widths]) -> Floats:
        """`totals` of several plans, [plan, metric]; what is not known yet of their rows is costed at once."""

    @abstractmethod
    def rows(self, widths: Widths) -> Floats:
        """[row, metric]: those of `ADDITIVE`, then utilisation and DRAM's share of the energy."""

    @abstractmethod
    def confirmed(self, widths: Widths) -> Floats:
        """The totals of a plan as an estimate of its network has them, in the order of `totals`."""

    @abstractmethod
    def relaxed(self) -> RowCosts:
        """Sums over rows that are nowhere above these costs."""

    @abstractmethod
    def fixed(self, widths: Widths) -> RowCosts | None:
        """Sums over rows that equal these costs at one plan and are nowhere below what they minimise; None where `relaxed` are
        these costs."""

    # What does not ---------------------------------------------------------------------------------------------------

    def plan(self, widths: Widths) -> dict[str, int]:
        """Channels kept, by group."""
        return {group.name: width for group, width in zip(self.groups, widths, strict=True)}

    def touched(self, group: int) -> Places:
        """Rows whose size depends on a group."""
        return self._touched[group]

    @property
    def activations(self) -> ActivationMemory | None:
        """What the activations of plans need."""
        return self._activations

    def layers(self, widths: Widths) -> tuple[Layer, ...]:
        """The rows of the pruned network."""
        return tuple(self._grouping.network_for(self.plan(widths)).layers)

    def totals(self, widths: Widths) -> Floats:
        """Sums over rows, in the order of `ADDITIVE`, then the peak of the activations in bytes."""
        return np.asarray(self.totals_of([widths])[0])

    def within(self, plans: Sequence[Widths], metrics: Sequence[str], limits: Floats) -> list[bool]:
        """Whether each of several plans exceeds none of the limits of these metrics."""
        totals = self.totals_of(plans)
        values = np.stack([self.metric(totals, name) for name in metrics], axis=1)
        return [bool(kept.all()) for kept in values <= limits]

    def metric(self, totals: Floats, name: str) -> Any:
        """One metric from the totals of a network, or of each of several, [..., metric]."""
        if name == "edp":
            return totals[..., 0] * totals[..., 1]
        if name == "peak_activation_bytes":
            return totals[..., len(ADDITIVE)]
        return totals[..., ADDITIVE.index(name)]

    def least(self, metrics: Sequence[str], limits: Floats, start: Widths) -> Widths:
        """The cheapest plan that coordinate descent from `start` finds.

        Cheapest: fewest metrics above their limits, then the least share of the limit that any metric uses, then the sum of
        the shares. Exact for one sum over rows where no row depends on two groups.
        """
        best, moved = start, True
        value = self._against([start], metrics, limits)[0]
        while moved:
            moved = False
            for g, group in enumerate(self.groups):
                others = [(*best[:g], width, *best[g + 1 :]) for width in group.widths]
                reached = self._against(others, metrics, limits)
                first = min(range(len(others)), key=reached.__getitem__)
                if reached[first] < value:
                    best, value, moved = others[first], reached[first], len(self.groups) > 1
        return best

    def _against(self, plans: Sequence[Widths], metrics: Sequence[str], limits: Floats) -> list[tuple[int, float, float]]:
        totals = self.totals_of(plans)
        shares = np.stack([self.metric(totals, name) for name in metrics], axis=1) / limits
        above = np.stack([self.metric(totals, name) for name in metrics], axis=1) > limits
        return [(int(n), float(s.max()), float(s.sum())) for n, s in zip(above.sum(axis=1), shares, strict=True)]


class PlanCosts(PlanTotals):
    """Costs of plans that are sums over rows (`RowCosts`).

    Args:
        grouping: what is decided.
        price: of a row of a pruned network: a `CostTable`'s look-up.
        activations: what the activations of plans need; None where nobody asks.
        fill: told of all rows that are about to be priced, so that they are costed at once: `CostTable.fill`.
        accelerator: the chip whose costs they are, for searchers that look at it; None where there is none.
    """

    def __init__(
        self,
        grouping: Sizing,
        price: Callable[[Layer], Entry],
        activations: ActivationMemory | None = None,
        *,
        fill: Callable[[Iterable[Layer]], None] | None = None,
        accelerator: Accelerator | None = None,
    ) -> None:
        super().__init__(grouping, activations, accelerator=accelerator)
        self._price, self._fill = price, fill
        self._values = RowValues(grouping.dependence, len(ADDITIVE) + 2, self._priced)

    @property
    def dependence(self) -> tuple[tuple[int, ...], ...]:
        """For each row the groups that its size depends on."""
        return self._values.dependence

    def width_sums(self, row: int) -> tuple[Parts, ...]:
        """The sums of widths that a row's sizes follow from, each as (group, factor on its removed units).

        A layer that reads a concatenation depends on many groups, but only on the sum of their widths.
        """
        sizes: dict[str, list[tuple[int, int]]] = {}
        for step in self._grouping.layer_steps:
            if step.row == row:
                sizes.setdefault(step.field, []).append((step.group, step.per_unit))
        return tuple(dict.fromkeys(tuple(sorted(parts)) for parts in sizes.values()))

    def totals_of(self, plans: Sequence[Widths]) -> Floats:
        """See `PlanTotals.totals_of`."""
        found = np.empty((len(plans), len(ADDITIVE) + 1))
        np.add.reduce(self._values.of(plans)[:, :, : len(ADDITIVE)], axis=1, out=found[:, :-1])
        found[:, -1] = self._activations.peaks(plans) if self._activations else np.nan
        return found

    def rows(self, widths: Widths) -> Floats:
        """See `PlanTotals.rows`."""
        return np.asarray(self._values.of([widths])[0])

    def row(self, row: int, plans: Sequence[Widths]) -> Floats:
        """One row of `rows` in each of several plans, [plan, metric]; what is not known yet is costed at once."""
        return self._values.row(row, plans)

    def confirmed(self, widths: Widths) -> Floats:
        """They are sums of estimates already."""
        return self.totals(widths)

    def relaxed(self) -> RowCosts:
        """These costs themselves."""
        return self

    def fixed(self, widths: Widths) -> RowCosts | None:
        """None: `relaxed` are these costs."""
        return None

    def _priced(self, asked: Sequence[tuple[int, Widths]]) -> list[tuple[float, ...]]:
        """The metrics of rows of plans."""
        layers = [self._grouping.layer_for(row, widths) for row, widths in asked]
        if self._fill is not None:
            self._fill([layer for layer in layers if layer is not None])
        found: list[tuple[float, ...]] = []
        for layer in layers:
            if layer is None:
                found.append((0.0,) * (len(ADDITIVE) + 2))
                continue
            cost = self._price(layer)
            # A tensor that several rows read is one tensor at every width, so the same row counts it.
            params = 0 if layer.shared else cost.params
            sums = (cost.energy, cost.latency_s, cost.macs, params, cost.dram_bytes)
            found.append((*sums, cost.utilization, cost.dram_share))
        return found
