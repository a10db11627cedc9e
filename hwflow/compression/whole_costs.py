"""`WholePlanCosts`: costs of plans where tensors stay on the chip or all operators have a price.

Such costs are no sums over rows: what stays is chosen for the network as a whole, so that a row's cost depends on the others.
A plan costs what an estimate of its network says (`hwflow.cost.network_table`). Three things about it need no such estimate:

* *The usual plan.* Where all that can stay fits at once, and no operation would take less energy or fewer cycles with less
  of it on the chip, the best choice is known, and costs are a sum over operations (`totals_of`): a look-up an operation.
* *A lower bound.* The sum over operations of the least that each costs with all of the memory, whatever stays (`bounds_of`,
  `relaxed`): what stays and the room that is left can only take from that.
* *An upper bound.* The cost with one choice of what stays, that of another plan (`fixed`), if that choice fits.

All three are of the mappings that the search finds. Where it does not find the best one and finds a better one in less room,
the first two may be too high; `confirmed` costs a plan as an estimate does.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hwflow.arrays import Floats
from hwflow.compression.channels.groups import Grouping, Widths
from hwflow.compression.plan_costs import Activations, PlanTotals, RowCosts
from hwflow.compression.row_values import RowValues
from hwflow.compression.step_costs import StepCosts, TensorRoom, groups_of, step_sizes
from hwflow.cost.coarse import bits_of
from hwflow.cost.network_table import NetworkTable, StepCost
from hwflow.errors import InputError
from hwflow.metrics import ADDITIVE
from hwflow.network import Network
from hwflow.progress import Progress

_MOST_GROUPS = 3  # that an operation's costs depend on with what lies beside it; with more, that is taken at full width

_ENERGY, _LATENCY = ADDITIVE.index("energy"), ADDITIVE.index("latency")
_BY_CHOICE = frozenset({"energy", "latency", "edp", "dram_bytes"})  # metrics that depend on what stays
_SUMS = len(ADDITIVE)
_PLAIN = slice(2 * _SUMS, 2 * _SUMS + 2)  # columns of what an operation costs alone: energy and latency by way of DRAM
_DOMINATES, _TAKEN = 2 * _SUMS + 2, 2 * _SUMS + 3


class WholePlanCosts(PlanTotals):
    """See the module.

    Args:
        grouping: what can be pruned.
        table: costs of its networks.

    Raises:
        InputError: where the data flow of the pruned networks is not known.
    """

    def __init__(self, grouping: Grouping, table: NetworkTable) -> None:
        network, graph = grouping.network, grouping.network.graph
        if graph is None:
            options = table.options
            raise InputError(
                f"activations is {options.activations!r} and operators {options.operators!r}, and the costs of {network.name} "
                "at other widths are not known: which operator reads what could not be followed, or the sizes of its "
                "activations do not follow from the widths in a straight line. Use 'dram' and 'mac'."
            )
        bits = [bits_of(layer, table.accelerator) for layer in network]
        super().__init__(grouping, Activations(grouping, bits), accelerator=table.accelerator)
        self._table, self._network = table, network
        self._exact: dict[Widths, tuple[Floats, frozenset[int]]] = {}
        self._progress: Progress | None = None
        self._sizes = step_sizes(grouping)
        self._memory = TensorRoom.of(grouping, table.case(network).lives)
        columns = 2 * _SUMS + 3 + len(self._memory.sizes)
        self._alone = RowValues(list(map(groups_of, self._sizes)), columns, self._learned)

    # Totals ----------------------------------------------------------------------------------------------------------

    def totals_of(self, plans: Sequence[Widths]) -> Floats:
        """See `PlanTotals.totals_of`."""
        found, known = self._usual(plans)
        for place in np.flatnonzero(~known).tolist():
            found[place, :_SUMS] = self._whole(plans[place])[0]
        return found

    def within(self, plans: Sequence[Widths], metrics: Sequence[str], limits: Floats) -> list[bool]:
        """See `PlanTotals.within`; what a lower bound rules out is not costed."""
        if self._table.judged:
            return super().within(plans, metrics, limits)
        bounds = self.bounds_of(plans)
        fits = [all(self.metric(bound, name) <= limit for name, limit in zip(metrics, limits, strict=True)) for bound in bounds]
        if not _BY_CHOICE.isdisjoint(metrics):
            likely = [plan for plan, fit in zip(plans, fits, strict=True) if fit]
            checked = iter(super().within(likely, metrics, limits) if likely else [])
            fits = [fit and next(checked) for fit in fits]
        return fits

    def bounds_of(self, plans: Sequence[Widths]) -> Floats:
        """What the totals of plans are not below, [plan, metric]."""
        found = np.empty((len(plans), _SUMS + 1))
        found[:, :_SUMS] = self._alone.of(plans)[:, :, _SUMS : 2 * _SUMS].sum(axis=1)
        found[:, _SUMS] = self._peaks(plans)
        return found

    def confirmed(self, widths: Widths) -> Floats:
        """The totals of a plan as an estimate of its network has them, in the order of `totals`."""
        return np.append(self._whole(widths)[0], self._peaks([widths]))

    def rows(self, widths: Widths) -> Floats:
        """See `PlanTotals.rows`: of the layers, with the best choice of what stays."""
        found = self._table.whole(self._network_of(widths))
        dram = self._table.accelerator.dram.name
        table = []
        for layer in found.layers:
            share = layer.energy_by_level.get(dram, 0.0) / layer.energy if layer.energy else np.nan
            shape = layer.layer.macs, 0 if layer.layer.shared else layer.layer.params
            table.append((layer.energy, layer.latency_s, *shape, layer.dram_bytes, layer.utilization, share))
        return np.array(table, dtype=np.float64)

    # Sums that bound them --------------------------------------------------------------------------------------------

    def relaxed(self) -> RowCosts:
        """See `PlanTotals.relaxed`: every operation at its least."""
        if self._table.judged:
            raise InputError(
                f"the exact planner cannot plan at {self._table.options.level} where activations is "
                f"{self._table.options.activations!r} or operators {self._table.options.operators!r}: what stays is chosen "
                "with the mappings of mid. Plan at mid and rank the best plans again (--levels mid,fine), or use another "
                "search."
            )
        return StepCosts(self, self._sizes, self._alone, _SUMS)

    def fixed(self, widths: Widths) -> RowCosts:
        """See `PlanTotals.fixed`: with what stays in this plan."""
        stays, big = self._whole(widths)[1], 2 * self._whole(self.full)[0]
        sizes, whole = [], []
        for step, own in enumerate(self._sizes):
            held = [parts for tensor in self._memory.beside(step, stays) for parts in self._memory.parts[tensor]]
            whole.append(len(groups_of([*own, *held])) > _MOST_GROUPS)
            sizes.append(own if whole[-1] else tuple(dict.fromkeys([*own, *held])))
        depends = list(map(groups_of, sizes))

        def learn(asked: Sequence[tuple[int, Widths]]) -> list[Floats]:
            plans = [
                tuple(w if not whole[step] or g in depends[step] else self.full[g] for g, w in enumerate(plan))
                for step, plan in asked
            ]
            networks = [self._network_of(plan) for plan in plans]
            costs = self._table.under(
                [(network, step, stays, whole[step]) for network, (step, _) in zip(networks, asked, strict=True)]
            )
            return [
                big if cost is None else np.array(self._with_shape(network, step, cost))
                for network, (step, _), cost in zip(networks, asked, costs, strict=True)
            ]

        return StepCosts(self, tuple(sizes), RowValues(depends, _SUMS, learn), 0)

    def combinations(self, most: int) -> int:
        """How many operations at how many widths there are, each for every choice of which of its tensors stay; or more than
        `most`."""
        count = 0
        for on in self._alone.dependence:
            count += math.prod(len(self.groups[g].widths) for g in on)
            if count > most:
                break
        return count

    def fill(self, progress: Progress | None) -> None:
        """Cost every operation at every combination of the widths that it depends on."""
        asked = []
        for step, on in enumerate(self._alone.dependence):
            for widths in itertools.product(*(self.groups[g].widths for g in on)):
                chosen = list(self.full)
                for g, width in zip(on, widths, strict=True):
                    chosen[g] = width
                asked.append((step, tuple(chosen)))
        self._progress = progress
        self._alone.know(asked)
        self._progress = None

    # How -------------------------------------------------------------------------------------------------------------

    def _usual(self, plans: Sequence[Widths]) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """Totals where all stays that can, and whether these are the best."""
        found = np.full((len(plans), _SUMS + 1), np.nan)
        found[:, _SUMS] = self._peaks(plans)
        if self._table.judged:
            return found, np.zeros(len(plans), dtype=bool)
        values = self._alone.of(plans)
        found[:, :_SUMS] = values[:, :, :_SUMS].sum(axis=1)
        plain, dominates = values[:, :, _PLAIN].sum(axis=1), values[:, :, _DOMINATES].all(axis=1)
        best = self._value(found[:, _ENERGY], found[:, _LATENCY])
        pays = (best < (1 - 1e-12) * self._value(plain[:, 0], plain[:, 1])) | (self._memory.none)
        known = dominates & pays & self._memory.fits(plans, values[:, :, _TAKEN:])
        return found, known & np.array([plan != self.full for plan in plans])  # budgets are shares of an estimate

    def _value(self, energy: Floats, latency: Floats) -> Floats:
        objective = self._table.options.objective
        return energy if objective == "energy" else latency if objective == "latency" else energy * latency

    def _whole(self, widths: Widths) -> tuple[Floats, frozenset[int]]:
        """A plan's sums and the tensors that stay."""
        if widths not in self._exact:
            network = self._network_of(widths)
            found = self._table.whole(network)
            shape = [sum(layer.macs for layer in network), sum(layer.params for layer in network if not layer.shared)]
            energy, _, latency, dram = found.sums
            self._exact[widths] = np.array([energy, latency, *shape, dram]), found.assignment.stays
        return self._exact[widths]

    def _learned(self, asked: Sequence[tuple[int, Widths]]) -> list[list[float]]:
        """The columns of `_alone`."""
        networks = [self._network_of(widths) for _, widths in asked]
        pairs = [(network, step) for network, (step, _) in zip(networks, asked, strict=True)]
        rows = []
        for (network, step), alone in zip(pairs, self._table.alone(pairs, self._progress), strict=True):
            stays = alone.dram if alone.stays is None else alone.stays
            sums = [*self._with_shape(network, step, stays), *self._with_shape(network, step, alone.least)]
            rows.append([*sums, alone.dram.energy, alone.dram.latency_s, float(alone.dominates), *alone.taken])
        return rows

    def _with_shape(self, network: Network, step: int, cost: StepCost) -> tuple[float, ...]:
        """In the order of `ADDITIVE`."""
        assert network.graph is not None
        operation = network.graph.operations[step]
        layer = network.layers[operation.row] if operation.part == "layers" else None
        shape = (layer.macs, 0 if layer.shared else layer.params) if layer else (0, 0)
        return (cost.energy, cost.latency_s, *shape, cost.dram_bytes)

    def _network_of(self, widths: Widths) -> Network:
        return self._grouping.network_for(self.plan(widths))

    def _peaks(self, plans: Sequence[Widths]) -> Floats:
        assert self._activations is not None
        return self._activations.peaks(plans)


__all__ = ["WholePlanCosts"]
