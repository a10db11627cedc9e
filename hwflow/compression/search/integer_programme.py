"""`IntegerProgramme`: one choice for every node, the least sum of weights, and linear constraints on sums of `RowTerms`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from hwflow.arrays import Floats
from hwflow.compression.plan_costs import PlanTotals
from hwflow.compression.search.row_terms import RowTerms
from hwflow.errors import HwflowError
from hwflow.optional import needed

Constraint = tuple[Floats, float]
"""Coefficients of the variables, and what their sum must not exceed."""

_NODES = 5000  # of the solver's search tree; a limit of time would make plans depend on the machine
_INFEASIBLE = 2  # scipy.optimize.milp's status


class Solution(NamedTuple):
    """The solver's answer: a choice for each group, its weight, and what no choice can be below."""

    choices: tuple[int, ...]
    value: float
    bound: float


class IntegerProgramme:
    """The variables and the constraints that tie them; see `hwflow.compression.search.planner`.

    Args:
        terms: costs, over the groups' candidates.
        costs: the groups' full widths and units, for sums.
        weights: of each group's candidates; the sum is minimised.
        gap: share of the value at which the solver may stop.

    Raises:
        MissingDependency: where scipy is not installed.
    """

    def __init__(self, terms: RowTerms, costs: PlanTotals, weights: Sequence[Floats], gap: float) -> None:
        self._optimize = needed("scipy.optimize", "the exact planner")
        self._sparse = needed("scipy.sparse", "the exact planner")
        self._terms, self._costs, self._weights = terms, costs, weights
        self._options = {"node_limit": _NODES, "mip_rel_gap": gap}
        sizes = [*map(len, terms.candidates), *(len(node.removed) for node in terms.sums)]
        self._starts = np.concatenate([[0], np.cumsum(sizes)]).astype(int)  # of each node's binaries
        self._binaries = int(self._starts[-1])
        self._blocks: list[int] = []  # where each coupled term's combinations start; -1 of a single node's
        end = self._binaries
        for term in terms.terms:
            coupled = len(term.nodes) > 1
            self._blocks.append(end if coupled else -1)
            end += term.values[0].size if coupled else 0
        self._count = end
        self._equal = self._ties()
        self._excluded: list[Constraint] = []
        self._rows = np.zeros((len(terms.metrics), self._count))  # what a unit of each variable costs
        for term, start in zip(terms.terms, self._blocks, strict=True):
            flat = term.values.reshape(len(terms.metrics), -1)
            at = self._starts[term.nodes[0]] if start < 0 else start
            self._rows[:, at : at + flat.shape[1]] += flat

    def at_most(self, factors: Mapping[str, float], limit: float) -> Constraint:
        """A weighted sum of metrics of a plan."""
        row, rest = np.zeros(self._count), limit
        for name, factor in factors.items():
            metric = self._terms.metrics.index(name)
            row += factor * self._rows[metric]
            rest -= factor * float(self._terms.fixed[metric])
        return row, rest

    def peaks(self, whole: Floats, lost: Floats, most_bytes: float) -> list[Constraint]:
        """Each sum of tensors that exist at once, in bits, as `Activations.sums` has them."""
        found = []
        for size, per_unit in zip(whole, lost, strict=True):
            row = np.zeros(self._count)
            for g, (group, widths) in enumerate(zip(self._costs.groups, self._terms.candidates, strict=True)):
                removed = (group.channels - np.array(widths)) // group.unit
                row[self._starts[g] : self._starts[g + 1]] = -per_unit[g] * removed
            found.append((row, 8.0 * np.floor(most_bytes) - float(size)))
        return found

    def exclude(self, choices: Sequence[int]) -> None:
        """No longer allow one plan."""
        row = np.zeros(self._count)
        row[[self._starts[g] + choice for g, choice in enumerate(choices)]] = 1.0
        self._excluded.append((row, len(choices) - 1.0))

    def total(self, metric: str, choices: Sequence[int]) -> float:
        """A metric of a plan, from the tables."""
        m = self._terms.metrics.index(metric)
        chosen = dict(enumerate(choices))
        for n, node in enumerate(self._terms.sums, start=len(choices)):
            units = {
                g: (self._costs.full[g] - self._terms.candidates[g][c]) // self._costs.groups[g].unit
                for g, c in enumerate(choices)
                if g in dict(node.parts)
            }
            chosen[n] = node.removed.index(sum(factor * units[g] for g, factor in node.parts))
        return float(self._terms.fixed[m] + sum(t.values[(m, *(chosen[n] for n in t.nodes))] for t in self._terms.terms))

    def range_of(self, metric: str) -> tuple[float, float]:
        """Between which values a metric lies, by every table's own extremes."""
        m, fixed = self._terms.metrics.index(metric), float(self._terms.fixed[self._terms.metrics.index(metric)])
        return tuple(fixed + sum(float(f(t.values[m])) for t in self._terms.terms) for f in (np.min, np.max))  # type: ignore[return-value]

    def solve(self, constraints: Sequence[Constraint]) -> Solution | None:
        """The best plan that keeps the constraints; None where there is none.

        Raises:
            HwflowError: where the solver finds no plan in its search tree's limit.
        """
        optimize, sparse = self._optimize, self._sparse
        weights = np.zeros(self._count)
        for g, own in enumerate(self._weights):
            weights[self._starts[g] : self._starts[g + 1]] = own
        ties = optimize.LinearConstraint(*self._equal)
        asked = [*constraints, *self._excluded]
        scales = [float(np.abs(row).max()) or 1.0 for row, _ in asked]
        limits = (
            [
                optimize.LinearConstraint(
                    sparse.csr_array(np.array([row / s for (row, _), s in zip(asked, scales, strict=True)])),
                    -np.inf,
                    np.array([limit / s for (_, limit), s in zip(asked, scales, strict=True)]),
                )
            ]
            if asked
            else []
        )
        scale = float(weights.max()) or 1.0
        integral = np.zeros(self._count)
        integral[: self._binaries] = 1
        answer = optimize.milp(
            weights / scale,
            integrality=integral,
            bounds=optimize.Bounds(0, 1),
            constraints=[ties, *limits],
            options=self._options,
        )
        if answer.status == _INFEASIBLE:
            return None
        if answer.x is None:
            raise HwflowError(
                f"the solver of the exact planner found no plan: {answer.message} Round the channels to larger multiples "
                "(--round-to), or use another search."
            )
        choices = tuple(
            int(np.argmax(answer.x[self._starts[g] : self._starts[g + 1]])) for g in range(len(self._terms.candidates))
        )
        bound = scale * float(answer.mip_dual_bound)
        return Solution(choices, sum(float(w[c]) for w, c in zip(self._weights, choices, strict=True)), max(bound, 0.0))

    def _ties(self) -> tuple[object, Floats, Floats]:
        """Every node has one choice; combinations add up to their nodes' choices; sums are sums."""
        rows: list[int] = []
        columns: list[int] = []
        values: list[float] = []
        sides: list[float] = []

        def add(places: Sequence[int] | Floats, factors: Sequence[float] | Floats) -> None:
            rows.extend([len(sides)] * len(places))
            columns.extend(map(int, places))
            values.extend(map(float, factors))

        for n in range(len(self._starts) - 1):
            size = self._starts[n + 1] - self._starts[n]
            add(range(self._starts[n], self._starts[n + 1]), np.ones(size))
            sides.append(1.0)
        for term, start in zip(self._terms.terms, self._blocks, strict=True):
            if start < 0:
                continue
            shape = term.values.shape[1:]
            places = start + np.arange(term.values[0].size).reshape(shape)
            for axis, node in enumerate(term.nodes):
                for choice in range(shape[axis]):
                    of = np.take(places, choice, axis=axis).reshape(-1)
                    add([*of, self._starts[node] + choice], [*np.ones(len(of)), -1.0])
                    sides.append(0.0)
        for n, total in enumerate(self._terms.sums, start=len(self._terms.candidates)):
            scale = 1.0 / max(1, total.removed[-1])
            own = [(self._starts[n] + i, -scale * value) for i, value in enumerate(total.removed)]
            for g, factor in total.parts:
                unit, full = self._costs.groups[g].unit, self._costs.full[g]
                own += [
                    (self._starts[g] + i, scale * factor * ((full - width) // unit))
                    for i, width in enumerate(self._terms.candidates[g])
                ]
            add([place for place, _ in own], [value for _, value in own])
            sides.append(0.0)
        matrix = self._sparse.csr_array((values, (rows, columns)), shape=(len(sides), self._count))
        return matrix, np.array(sides), np.array(sides)


__all__ = ["Constraint", "IntegerProgramme", "Solution"]
