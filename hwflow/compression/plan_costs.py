"""`PlanCosts`: costs of pruning plans as sums over the rows of the pruned network, with row costs cached.

A plan is a width (channels kept) for each group. A row depends only on the groups that affect its size, so its costs are cached
by their widths, and a plan costs one look-up per row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from hwflow.arrays import Floats, Places
from hwflow.compression.channels.groups import Group, Grouping, Widths
from hwflow.cost.cost_grid import Entry
from hwflow.layers import Bits, Layer
from hwflow.metrics import ADDITIVE


class Activations:
    """Peak activation memory of every plan: the largest of a few sums that are linear in the groups' widths.

    Which tensors exist at once does not depend on the widths, and each tensor's size is linear in them
    (`Grouping.tensor_steps`); so is the sum over those that exist while one operator runs. Operators during which nothing
    exists that does not exist during another one are left out, whatever the plan: a peak over 196 operators of ResNet-56 is one
    over some sixty sums.
    """

    def __init__(self, grouping: Grouping, bits: Sequence[Bits]) -> None:
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

    def peak_bytes(self, widths: Widths) -> float:
        """Whole bytes; NaN where the network's data flow is not known."""
        if not self._known:
            return math.nan
        removed = (self._full - np.array(widths, dtype=np.int64)) // self._unit
        return float(-(-int((self._whole - self._lost @ removed).max()) // 8))


class PlanCosts:
    """Costs of every plan of a network's groups at one level.

    Args:
        grouping: what can be pruned.
        price: of a row of a pruned network: a `CostTable`'s look-up.
        activations: what the activations of plans need; None where nobody asks.
    """

    def __init__(self, grouping: Grouping, price: Callable[[Layer], Entry], activations: Activations | None = None) -> None:
        self.groups: tuple[Group, ...] = grouping.groups
        self.full: Widths = tuple(group.channels for group in self.groups)
        self._grouping, self._price = grouping, price
        self._depends = grouping.dependence
        self._known: list[dict[Widths, Floats]] = [{} for _ in self._depends]
        self._activations = activations
        self._touched = [np.array([r for r, on in enumerate(self._depends) if g in on]) for g in range(len(self.groups))]

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
    def activations(self) -> Activations | None:
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
        peak = self._activations.peak_bytes(widths) if self._activations else math.nan
        return np.append(np.add.reduce(self._rows(widths))[: len(ADDITIVE)], peak)

    def rows(self, widths: Widths) -> Floats:
        """[row, metric]: those of `ADDITIVE`, then utilisation and DRAM's share of the energy."""
        return np.array(self._rows(widths))

    def metric(self, totals: Floats, name: str) -> float:
        """One metric of a network from its totals."""
        if name == "edp":
            return float(totals[0] * totals[1])
        if name == "peak_activation_bytes":
            return float(totals[len(ADDITIVE)])
        return float(totals[ADDITIVE.index(name)])

    def least(self, metrics: Sequence[str], limits: Floats, start: Widths, movable: Iterable[int]) -> Widths:
        """The cheapest plan that coordinate descent from `start` finds along the groups `movable`.

        Cheapest: fewest metrics above their limits, then the least share of the limit that any metric uses, then the sum of
        the shares. Exact for one sum over rows where no row depends on two movable groups.
        """
        best, value = start, self._against(start, metrics, limits)
        places, moved = list(movable), True
        while moved:
            moved = False
            for g in places:
                for width in self.groups[g].widths:
                    other = (*best[:g], width, *best[g + 1 :])
                    reached = self._against(other, metrics, limits)
                    if reached < value:
                        best, value, moved = other, reached, len(places) > 1
        return best

    def neighbours(self, group: int) -> frozenset[int]:
        """The groups that share a row with a group."""
        return frozenset(g for on in self._depends if group in on for g in on) - {group}

    def _against(self, widths: Widths, metrics: Sequence[str], limits: Floats) -> tuple[int, float, float]:
        totals = self.totals(widths)
        values = [self.metric(totals, name) for name in metrics]
        shares = [value / limit for value, limit in zip(values, limits, strict=True)]
        return sum(v > limit for v, limit in zip(values, limits, strict=True)), max(shares), sum(shares)

    def row(self, row: int, widths: Widths) -> Floats:
        """One row of `rows`."""
        key = tuple(widths[g] for g in self._depends[row])
        found = self._known[row].get(key)
        if found is None:
            layer = self._grouping.layer_for(row, widths)
            cost = self._price(layer)
            # A tensor that several rows read is one tensor at every width, so the same row counts it.
            params = 0 if layer.shared else cost.params
            sums = (cost.energy, cost.latency_s, cost.macs, params, cost.dram_bytes)
            found = np.array([*sums, cost.utilization, cost.dram_share])
            self._known[row][key] = found
        return found

    def _rows(self, widths: Widths) -> list[Floats]:
        return [self.row(row, widths) for row in range(len(self._depends))]
