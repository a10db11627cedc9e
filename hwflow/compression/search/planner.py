"""`Planner`: the plan with the least loss within the budgets, where the loss is a sum over groups and the costs are exact.

An integer programme (our formulation): one binary variable for each width of each group; for each table of `RowTerms` that
couples groups, one continuous variable for each combination, whose sums over all but one group are that group's variables. With
binary widths the combinations are then binary themselves, so costs are exact; without, the linear programme is the local
polytope of a pairwise model. A budget is one linear constraint; a budget of peak activation memory is one for each set of
tensors that exist at once; one of EDP, a product, is met by branching over the energy (`_within_product`). The solver is HiGHS,
by `scipy.optimize.milp`.

Where costs are no sums over rows, since what stays on the chip is chosen for the network as a whole
(`hwflow.compression.whole_costs`), the programme is solved with every operation at its least. That gives the bound, and the
plan where that keeps the budgets. Else what stays is fixed as that plan has it, which makes costs sums again that are nowhere
too low, and fixed anew as the plan found has it, until plans become no better. What is returned keeps the budgets exactly; how
far it may be from the best plan is its gap to the bound.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from hwflow.arrays import Floats
from hwflow.compression.channels.groups import Widths
from hwflow.compression.decision import Choice
from hwflow.compression.search.environment import PruningEnv
from hwflow.compression.search.integer_programme import Constraint, IntegerProgramme, Solution
from hwflow.compression.search.row_terms import RowTerms, row_terms
from hwflow.errors import InputError
from hwflow.metrics import ADDITIVE

GAP = 0.002
"""Share of the loss at which the solver may stop."""

MOST = 16
"""Widths of a group that are considered at once."""

_PRODUCT_GAP = 0.004  # where a budget of EDP is branched

_SPLITS = 40  # intervals of energy that a budget of EDP is branched into, at most
_ROUNDS = 4  # of local refinement
_SLACK = 1e-6  # by which a limit is lowered where a plan exceeds it by the solver's tolerance


@dataclass(frozen=True)
class Planned:
    """A plan and what is known of the best one.

    Attributes:
        choice: channels kept, by group.
        loss: its loss, counted from the least loss of each group.
        bound: no plan of the considered widths has less.
        candidates: widths considered of a group, at most.
        every_width: whether all widths of all groups were.
        seconds: wall clock of pricing and solving.
    """

    choice: Choice
    loss: float
    bound: float
    candidates: int
    every_width: bool
    seconds: float

    @property
    def gap(self) -> float:
        """How far the loss may lie above the least one, as a share of it."""
        return max(0.0, (self.loss - self.bound) / self.loss) if self.loss > 0 else 0.0

    def __str__(self) -> str:
        over = "all widths" if self.every_width else f"up to {self.candidates} widths a group"
        return f"loss {self.loss:.4g}, bound {self.bound:.4g}, gap {100 * self.gap:.2f} % over {over}, {self.seconds:.1f} s"


class Planner:
    """Optimal plans of one problem, for any losses.

    Args:
        problem: groups, costs and budgets; without a budget, the losses alone decide.
        most: widths of a group that are considered at once. Where a group has more, the plan is found among evenly spaced ones,
            and then among the neighbours of what was found until that changes nothing.
        gap: share of the loss at which the solver may stop.

    Raises:
        InputError: for a budget that cannot be expressed.
    """

    def __init__(self, problem: PruningEnv, *, most: int = MOST, gap: float = GAP) -> None:
        self._problem, self._most, self._gap = problem, most, gap
        self._terms: dict[tuple[tuple[int, ...], ...], RowTerms] = {}
        peaks = [b for b in problem.budgets if b.metric == "peak_activation_bytes"]
        activations = problem.costs.activations
        self._sums = activations.sums if activations else None
        if peaks and self._sums is None:
            raise InputError(
                f"the exact planner cannot hold the budget {peaks[0]}: how the activations of this network follow from the "
                "widths is not known, or is no sum over what is decided (bits multiply channels). Use another search, or a "
                "budget of another metric."
            )

    def plan(self, losses: Sequence[Floats], excluded: Collection[Widths] = ()) -> Planned:
        """The plan with the least loss.

        Args:
            losses: of each group at each of its widths; any finite numbers.
            excluded: plans that are not wanted.

        Raises:
            InputError: where all plans within the budgets are excluded.
        """
        start = time.perf_counter()
        costs = self._problem.costs
        shifted = [np.asarray(loss, dtype=np.float64) - np.min(loss) for loss in losses]
        coarse = tuple(self._spread(g) for g in range(len(costs.groups)))
        widths, value, bound = self._best(coarse, shifted, excluded)
        every = all(len(c) == len(g.widths) for c, g in zip(coarse, costs.groups, strict=True))
        for _ in range(0 if every else _ROUNDS):
            near = tuple(self._near(g, width) for g, width in enumerate(widths))
            refined, reached, lower = self._best(near, shifted, excluded)
            if reached >= value - 1e-12 * max(1.0, abs(value)):
                break
            widths, value = refined, reached
            bound = min(bound, lower)
        count = max(map(len, coarse))
        return Planned(costs.plan(widths), value, min(bound, value), count, every, time.perf_counter() - start)

    def _spread(self, group: int) -> tuple[int, ...]:
        """Evenly spaced widths, the plan known to keep the budgets among them."""
        widths = self._problem.costs.groups[group].widths
        if len(widths) <= self._most:
            return widths
        places = {round(i * (len(widths) - 1) / (self._most - 2)) for i in range(self._most - 1)}
        return tuple(sorted({widths[i] for i in places} | {self._problem.space.cheapest[group]}))

    def _near(self, group: int, width: int) -> tuple[int, ...]:
        """A width, its neighbours, and the widths half way to the evenly spaced ones."""
        widths = self._problem.costs.groups[group].widths
        here, step = widths.index(width), max(1, len(widths) // self._most)
        offsets = {0, 1, step // 2}
        places = {here + sign * offset for offset in offsets for sign in (1, -1)}
        return tuple(widths[i] for i in sorted(places) if 0 <= i < len(widths))

    def _best(
        self, candidates: tuple[tuple[int, ...], ...], losses: Sequence[Floats], excluded: Collection[Widths]
    ) -> tuple[Widths, float, float]:
        """The best plan of these candidates, its loss, and the bound."""
        groups = self._problem.costs.groups
        weights = [
            loss[[group.widths.index(w) for w in own]] for loss, group, own in zip(losses, groups, candidates, strict=True)
        ]
        relaxed = self._programme(self._terms_of(candidates), weights, excluded)
        tightened, bound = 0.0, None
        while True:
            found = self._solved(relaxed, tightened)
            if found is None:
                raise InputError("no plan is left within the budgets: all that the exact planner can find were excluded.")
            widths, bound = self._widths(candidates, found), found.bound if bound is None else bound
            if self._affordable(widths):
                return widths, _loss(weights, found), bound
            if not tightened and (nearest := self._improved(candidates, weights, excluded, widths)) is not None:
                return *nearest, bound
            tightened = max(2 * tightened, _SLACK)

    def _improved(
        self,
        candidates: tuple[tuple[int, ...], ...],
        weights: Sequence[Floats],
        excluded: Collection[Widths],
        start: Widths,
    ) -> tuple[Widths, float] | None:
        """Where costs are no sums over rows: the best plan with what stays on the chip fixed, then fixed as that plan has it,
        and so on while plans become better; None where there is none."""
        best: tuple[Widths, float] | None = None
        waiting = [start, self._problem.space.cheapest]
        while waiting:
            costs = self._problem.costs.fixed(waiting.pop(0))
            if costs is None:
                return None
            programme = self._programme(row_terms(costs, candidates, self._metrics), weights, excluded)
            for tightened in (0.0, _SLACK):
                found = self._solved(programme, tightened)
                if found is None:
                    break
                widths, loss = self._widths(candidates, found), _loss(weights, found)
                if self._affordable(widths):
                    if best is None or loss < best[1] * (1 - self._gap):
                        best, waiting = (widths, loss), [widths]
                    break
        return best

    def _widths(self, candidates: tuple[tuple[int, ...], ...], found: Solution) -> Widths:
        return tuple(own[i] for own, i in zip(candidates, found.choices, strict=True))

    def _affordable(self, widths: Widths) -> bool:
        return self._problem.affordable(self._problem.costs.plan(widths))

    @property
    def _metrics(self) -> tuple[str, ...]:
        """What the budgets are of, as rows have it."""
        names = [b.metric for b in self._problem.budgets]
        return tuple(m for m in ADDITIVE if m in names or ("edp" in names and m in ("energy", "latency")))

    def _terms_of(self, candidates: tuple[tuple[int, ...], ...]) -> RowTerms:
        if candidates not in self._terms:
            self._terms[candidates] = row_terms(self._problem.costs.relaxed(), candidates, self._metrics)
        return self._terms[candidates]

    def _programme(self, terms: RowTerms, weights: Sequence[Floats], excluded: Collection[Widths]) -> IntegerProgramme:
        programme = IntegerProgramme(terms, self._problem.costs, weights, self._gap)
        for widths in excluded:
            if all(w in own for w, own in zip(widths, terms.candidates, strict=True)):
                programme.exclude([own.index(w) for w, own in zip(widths, terms.candidates, strict=True)])
        return programme

    def _solved(self, programme: IntegerProgramme, tightened: float) -> Solution | None:
        """Within all budgets, each lowered by a share."""
        constraints: list[Constraint] = []
        product = None
        for budget, limit in zip(self._problem.budgets, self._problem.space.limits, strict=False):
            most = float(limit) * (1 - tightened)
            if budget.metric == "edp":
                product = most
            elif budget.metric == "peak_activation_bytes":
                assert self._sums is not None
                whole, lost = self._sums
                constraints += programme.peaks(whole, lost, most)
            else:
                constraints.append(programme.at_most({budget.metric: 1.0}, most))
        if product is None:
            return programme.solve(constraints)
        return _within_product(programme, constraints, product)


def _loss(weights: Sequence[Floats], found: Solution) -> float:
    return sum(float(weight[i]) for weight, i in zip(weights, found.choices, strict=True))


def _within_product(programme: IntegerProgramme, constraints: list[Constraint], most: float) -> Solution | None:
    """The best solution with energy x latency <= most.

    Over an interval of the energy, the region below the hyperbola lies below its chord, which is linear: that gives a bound.
    The rectangle under one point of the hyperbola lies within the region: that gives a solution. The interval with the least
    bound is split at its solution's energy until the least bound is near the best solution.
    """
    (low, high), (fastest, _) = programme.range_of("energy"), programme.range_of("latency")
    high = min(high, most / fastest) if fastest > 0 else high
    best: Solution | None = None

    def below_chord(a: float, b: float) -> list[tuple[Solution, float, float]]:
        chord = programme.at_most({"latency": 1.0, "energy": most / (a * b)}, most / a + most / b)
        inside = [programme.at_most({"energy": 1.0}, b), programme.at_most({"energy": -1.0}, -a)]
        found = programme.solve([*constraints, chord, *inside])
        return [] if found is None else [(found, a, b)]

    open_ = below_chord(low, high) if low < high else []
    for _ in range(_SPLITS):
        open_ = [node for node in open_ if best is None or node[0].bound < best.value * (1 - _PRODUCT_GAP)]
        if not open_:
            break
        node = min(open_, key=lambda n: n[0].bound)
        open_.remove(node)
        found, a, b = node
        energy, latency = programme.total("energy", found.choices), programme.total("latency", found.choices)
        if energy * latency <= most:
            inner: Solution | None = found  # and no other of its interval is better by more than the solver's gap
        else:
            middle = min(max(energy, a + 1e-3 * (b - a)), b - 1e-3 * (b - a))
            box = [programme.at_most({"energy": 1.0}, middle), programme.at_most({"latency": 1.0}, most / middle)]
            inner = programme.solve([*constraints, *box])
            open_ += [*below_chord(a, middle), *below_chord(middle, b)]
        if inner is not None and (best is None or inner.value < best.value):
            best = inner
    if best is None:
        return None
    return best._replace(bound=min([best.value * (1 - _PRODUCT_GAP), *(node[0].bound for node in open_)]))


__all__ = ["GAP", "MOST", "Planned", "Planner"]
