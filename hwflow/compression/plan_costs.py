"""`PlanCosts`: costs of plans as sums over the rows of the compressed network, with row costs cached.

A plan is a width for each group: channels kept, or, where bits are decided, those of a layer's operands. A row depends only on
the groups that affect its cost, so its costs are cached by their widths, and a plan costs one look-up per row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Protocol

import numpy as np

from hwflow.arrays import Floats, Places
from hwflow.compression.channels.groups import Step, Widths
from hwflow.compression.decision import Variable
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

    def layer_for(self, row: int, widths: Widths) -> Layer:
        """One row of the compressed network."""

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


class PlanCosts:
    """Costs of every plan of a network's groups at one level.

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
        self.accelerator = accelerator
        self.groups: tuple[Variable, ...] = tuple(grouping.groups)
        self.full: Widths = tuple(group.channels for group in self.groups)
        self._grouping, self._price, self._fill = grouping, price, fill
        self._depends = grouping.dependence
        self._activations = activations
        self._touched = [np.array([r for r, on in enumerate(self._depends) if g in on]) for g in range(len(self.groups))]
        # By row: what of a plan it depends on, and by that the place of its costs in `_values`.
        self._rows = [(itemgetter(*on) if on else _nothing, _Places()) for on in self._depends]
        self._values = np.empty((1024, len(ADDITIVE) + 2))
        self._used = 0

    def plan(self, widths: Widths) -> dict[str, int]:
        """Channels kept, by group."""
        return {group.name: width for group, width in zip(self.groups, widths, strict=True)}

    def touched(self, group: int) -> Places:
        """Rows whose size depends on a group."""
        return self._touched[group]

    @property
    def dependence(self) -> tuple[tuple[int, ...], ...]:
        """For each row the groups that its size depends on."""
        return self._depends

    @property
    def activations(self) -> ActivationMemory | None:
        """What the activations of plans need."""
        return self._activations

    def width_sums(self, row: int) -> tuple[tuple[tuple[int, int], ...], ...]:
        """The sums of widths that a row's sizes follow from, each as (group, factor on its removed units).

        A layer that reads a concatenation depends on many groups, but only on the sum of their widths.
        """
        sizes: dict[str, list[tuple[int, int]]] = {}
        for step in self._grouping.layer_steps:
            if step.row == row:
                sizes.setdefault(step.field, []).append((step.group, step.per_unit))
        return tuple(dict.fromkeys(tuple(sorted(parts)) for parts in sizes.values()))

    def layers(self, widths: Widths) -> tuple[Layer, ...]:
        """The rows of the pruned network."""
        return tuple(self._grouping.network_for(self.plan(widths)).layers)

    def totals(self, widths: Widths) -> Floats:
        """Sums over rows, in the order of `ADDITIVE`, then the peak of the activations in bytes."""
        return np.asarray(self.totals_of([widths])[0])

    def totals_of(self, plans: Sequence[Widths]) -> Floats:
        """`totals` of several plans, [plan, metric]; what is not known yet of their rows is costed at once."""
        found = np.empty((len(plans), len(ADDITIVE) + 1))
        np.add.reduce(self._values_of(plans)[:, :, : len(ADDITIVE)], axis=1, out=found[:, :-1])
        found[:, -1] = self._activations.peaks(plans) if self._activations else np.nan
        return found

    def rows(self, widths: Widths) -> Floats:
        """[row, metric]: those of `ADDITIVE`, then utilisation and DRAM's share of the energy."""
        return np.asarray(self._values_of([widths])[0])

    def row(self, row: int, plans: Sequence[Widths]) -> Floats:
        """One row of `rows` in each of several plans, [plan, metric]; what is not known yet is costed at once."""
        self._learn((row, widths) for widths in plans)
        pick, known = self._rows[row]
        return np.asarray(self._values[[known[pick(widths)] for widths in plans]])

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

    def _values_of(self, plans: Sequence[Widths]) -> Floats:
        """[plan, row, metric]."""
        rows = self._rows
        places = [[known.get(pick(widths), -1) for pick, known in rows] for widths in plans]
        if any(-1 in found for found in places):
            self._learn((r, widths) for r in range(len(rows)) for widths in plans)
            places = [[known[pick(widths)] for pick, known in rows] for widths in plans]
        return np.asarray(self._values[places])

    def _learn(self, wanted: Iterable[tuple[int, Widths]]) -> None:
        """Cost rows of plans, each with its number, that are not known yet, all at once."""
        missing: dict[tuple[int, Any], Layer] = {}
        for r, widths in wanted:
            pick, known = self._rows[r]
            if (key := pick(widths)) not in known:
                missing[r, key] = self._grouping.layer_for(r, widths)
        if self._fill is not None:
            self._fill(missing.values())
        while self._used + len(missing) > len(self._values):
            self._values = np.concatenate([self._values, np.empty_like(self._values)])
        for (r, key), layer in missing.items():
            cost = self._price(layer)
            # A tensor that several rows read is one tensor at every width, so the same row counts it.
            params = 0 if layer.shared else cost.params
            sums = (cost.energy, cost.latency_s, cost.macs, params, cost.dram_bytes)
            self._values[self._used] = (*sums, cost.utilization, cost.dram_share)
            self._rows[r][1][key] = self._used
            self._used += 1


_Places = dict[Any, int]


def _nothing(widths: Widths) -> tuple[()]:
    """What a row depends on that no group touches."""
    return ()
