"""`NetworkTable`: costs of one network at many widths, where what stays on the chip or what operators cost is asked for.

Then the layers depend on one another, and a network costs what it costs with the best choice of what stays
(`hwflow.cost.network_choice`). Searches of mappings are kept from one network to the next, so a network whose layers all
have been seen takes some milliseconds. What a network costs does not depend on those that were costed before: it is what an
estimate of it says.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from hwflow.cost.assignment import Ask, Assignment, Room, ask_of, left
from hwflow.cost.backend import backend_of
from hwflow.cost.chip import Chip
from hwflow.cost.edge_cycles import delayed, edge_cycles
from hwflow.cost.estimator import Run, judged, searched
from hwflow.cost.levels import MAPPER
from hwflow.cost.network_choice import Case, settled
from hwflow.cost.options import CostOptions
from hwflow.cost.plan import Plan
from hwflow.cost.session import Notify, opened
from hwflow.cost.variant_prices import Memo, VariantPrices
from hwflow.errors import HwflowError
from hwflow.layers import Layer
from hwflow.network import Network
from hwflow.occupancy import OperatorCost
from hwflow.progress import Progress
from hwflow.results import LayerCost
from hwflow.store import Store


class StepCost(NamedTuple):
    """What an operation costs, or several."""

    energy: float
    cycles: float
    latency_s: float
    dram_bytes: float


class Alone(NamedTuple):
    """An operation's costs where no tensor but its own takes room, for every choice of which of these stay.

    Attributes:
        dram: with everything in DRAM.
        stays: with everything on the chip that can stay; None where it cannot run so.
        least: of every metric the least of all choices, in whatever room other tensors leave.
        dominates: whether no other choice takes less energy or fewer cycles than `stays`.
        taken: what the operation and the tensors that it touches take of each memory with `stays`, in bits.
    """

    dram: StepCost
    stays: StepCost | None
    least: StepCost
    dominates: bool
    taken: Room


@dataclass(frozen=True)
class Whole:
    """What a network costs, and how.

    Attributes:
        layers: one cost a layer, in their order.
        operators: other operations with a price.
        assignment: which tensors of its graph stay.
    """

    layers: tuple[LayerCost, ...]
    operators: tuple[OperatorCost, ...]
    assignment: Assignment

    @property
    def sums(self) -> StepCost:
        """Over all of it."""
        return _summed((*self.layers, *self.operators))


class NetworkTable:
    """See the module.

    Args:
        plan: of the network at its full widths.
        options: at a level that maps, without a fallback.

    Raises:
        InputError: as `hwflow.cost.network_choice.choose`, for every network.
    """

    def __init__(self, plan: Plan, options: CostOptions, store: Store | bool, notify: Notify | None) -> None:
        assert plan.accelerator is not None
        self.accelerator, self.options = plan.accelerator, options
        self.judged = options.level != MAPPER
        """Whether another level than the mapper's has the last word."""
        self._plan, self._store, self._notify, self._memo = plan, store, notify, Memo()
        self._progress: Progress | None = None
        self._gathered: VariantPrices | None = None
        self._verdicts: dict[tuple[object, ...], LayerCost] = {}

    def case(self, network: Network) -> Case:
        """The prices of a network."""
        return Case.of(replace(self._plan, network=network), self.options, self._search, self._memo)

    def whole(self, network: Network) -> Whole:
        """What a network costs with the best choice.

        Raises:
            NotMappable, ToolMissing, ToolError: as an estimate.
        """
        case = self.case(network)
        found = settled(case)
        problem, operations = case.lives.problem, case.lives.graph.operations
        asks = [ask_of(problem, step, found.stays) for step in range(len(operations))]
        rows = {operations[ask.step].row: placed for ask in asks if (placed := case.placed(ask)) is not None}
        beside = tuple(cost for ask in asks if (cost := case.beside(ask)) is not None)
        ordered = [rows[row] for row in range(len(network))]
        if not self.judged:
            return Whole(tuple(row.later(row.cost) for row in ordered), beside, found)
        keys = [(row.layer.key, row.chip.identity) for row in ordered]
        new = {key: row for key, row in zip(keys, ordered, strict=True) if key not in self._verdicts}
        with opened(self._store, self._notify) as (cache, tell):
            run = Run(self.options, cache, self._progress, tell)
            answers = judged(list(new.values()), backend_of(self.options.level).ready(self.options), run) if new else []
        for key, answer in zip(new, answers, strict=True):
            if isinstance(answer, HwflowError):
                raise answer
            self._verdicts[key] = answer
        told = tuple(self._verdicts[key] for key in keys)
        if self.options.latency == "with_fill":
            chips = [row.chip.accelerator for row in ordered]
            told = tuple(delayed(cost, chip, edge_cycles(cost, chip)) for cost, chip in zip(told, chips, strict=True))
        return Whole(told, beside, found)

    def alone(self, asked: Sequence[tuple[Network, int]], progress: Progress | None = None) -> list[Alone]:
        """Operations, by their place in their network's graph, each by itself; what is not known is searched at once."""
        cases = [(self.case(network), step) for network, step in asked]
        choices = [_choices(case, step) for case, step in cases]
        self._learn([(case, ask) for (case, _), asks in zip(cases, choices, strict=True) for ask in asks], progress)
        return [_alone(case, asks) for (case, _), asks in zip(cases, choices, strict=True)]

    def under(self, asked: Sequence[tuple[Network, int, frozenset[int], bool]]) -> list[StepCost | None]:
        """What operations cost where these tensors stay, as far as they can; None where the operation has no room so.

        Args:
            asked: a network, an operation by its place in the graph, the tensors, and whether all of them have to stay: else
                those that are larger than the memory do not.
        """
        cases = [self.case(network) for network, *_ in asked]
        asks: list[Ask | None] = []
        for case, (_, step, stays, strict) in zip(cases, asked, strict=True):
            problem = case.lives.problem
            kept = stays & problem.candidates
            fits = (kept == stays or not strict) and left(problem, step, kept) is not None
            asks.append(ask_of(problem, step, kept) if fits else None)
        pairs = [(case, ask) for case, ask in zip(cases, asks, strict=True) if ask is not None]
        whole = [(case, ask._replace(room=case.homes.sizes)) for case, ask in pairs]
        self._learn(whole)
        self._learn([(case, ask) for case, ask in pairs if (price := case.price(ask)) is not None and not price.exact])
        return [None if ask is None else _cost(case, ask) for case, ask in zip(cases, asks, strict=True)]

    def _learn(self, pairs: Sequence[tuple[Case, Ask]], progress: Progress | None = None) -> None:
        """Search what several networks ask, all at once; then each of them knows it."""
        if not pairs:
            return
        if self._gathered is None:
            self._gathered = VariantPrices(pairs[0][0].homes, self.options, self._search, self._memo)
        self._progress = progress
        self._gathered.learn([wanted for case, ask in pairs for wanted in case.wanted([ask])])
        self._progress = None
        for case, ask in pairs:
            case.learn([ask])

    def _search(self, pairs: Sequence[tuple[Layer, Chip]]) -> Sequence[LayerCost | HwflowError]:
        with opened(self._store, self._notify) as (cache, tell):
            return searched(Run(self.options, cache, self._progress, tell))(pairs)


def _choices(case: Case, step: int) -> list[Ask]:
    """An operation with everything in DRAM first, with all that can stay last, and all of the memories' room.

    Of an operator that is no layer nothing between matters: it is never the dearer for a tensor that stays.
    """
    count = len(case.lives.problem.steps[step].tensors)
    layer = case.lives.layer_of(step) is not None
    every = itertools.product((False, True), repeat=count) if layer else [(False,) * count, (True,) * count]
    return [Ask(step, flags, case.homes.sizes) for flags in every]


def _alone(case: Case, asks: Sequence[Ask]) -> Alone:
    costs = [_cost(case, ask) for ask in asks]
    dram, stays = costs[0], costs[-1]
    assert dram is not None
    alone = not case.lives.problem.candidates  # else there can be less room, and less time at the edges with it
    known = [cost for cost in (costs if alone else (_cost(case, ask, edges=False) for ask in asks)) if cost is not None]
    least = StepCost(*(min(cost[i] for cost in known) for i in range(len(dram))))
    dominates = stays is not None and (stays.energy, stays.cycles) == (least.energy, least.cycles)
    return Alone(dram, stays, least, dominates, case.homes.sizes if stays is None else _taken(case, asks[-1]))


def _taken(case: Case, ask: Ask) -> Room:
    """What an operation and the tensors that it touches take of the memories, in bits."""
    placed, step = case.placed(ask), case.lives.problem.steps[ask.step]
    own = [step.held[tensor] for tensor, stays in zip(step.tensors, ask.stays, strict=True) if stays]
    used = placed.answer.used if placed else (0,) * len(case.homes.sizes)
    return tuple(map(sum, zip(used, *own, strict=True)))


def _cost(case: Case, ask: Ask, *, edges: bool = True) -> StepCost | None:
    """What an operation costs as asked, from what is known; None where it cannot run so."""
    placed, beside = case.placed(ask), case.beside(ask)
    if placed is None and case.lives.layer_of(ask.step) is not None:
        return None
    layer = None if placed is None else placed.later(placed.cost) if edges else placed.cost
    return _summed([part for part in (layer, beside) if part is not None])


def _summed(parts: Sequence[LayerCost | OperatorCost]) -> StepCost:
    return StepCost(
        sum(part.energy or 0.0 for part in parts),
        sum(part.cycles or 0 for part in parts),
        sum(part.latency_s or 0.0 for part in parts),
        sum(part.dram_bytes or 0.0 for part in parts),
    )


__all__ = ["Alone", "NetworkTable", "StepCost", "Whole"]
