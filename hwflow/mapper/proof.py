"""Proofs: a lower bound on the objective of every mapping with perfect factors, and the mappings that decide it.

Branch and bound in two steps. `hwflow.mapper.beam` extends all partial mappings whose bound is below the best known value,
under scores that hold for Timeloop's finer rules, too. What is left are complete tilings, whose loops still have an order:
each is analysed exactly, in all orders of its loops. The bound is the least of these values, of the scores of tilings with too
many orders, and of the scores of partial mappings that the beam had no room for. The procedure is hwflow's own.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hwflow.arrays import Places
from hwflow.hardware.dataflow import LevelConstraint
from hwflow.layers import DIMS
from hwflow.loopnest.nest import OUTPUTS, Batch, Nest, Verdict
from hwflow.mapper.beam import Beam
from hwflow.mapper.bounds import operands_travel
from hwflow.mapper.objective import scores
from hwflow.mapper.partial_mapping import Partial, hashed
from hwflow.types import Objective

_CHUNK = 32768  # mappings analysed at once: bounds memory use
_TILINGS = 1 << 18  # tilings whose orders are analysed: bounds memory use
_ROUNDING = 1e-9  # scores are sums in another order than the analysis'


VERSION = 2
"""Changes whenever a bound changes: a part of the keys under which proofs are kept."""


class Room(NamedTuple):
    """How much a proof may look at: partial mappings kept per stage, and mappings analysed exactly."""

    width: int
    leaves: int


USUAL, MOST = Room(24_000, 1 << 18), Room(96_000, 1 << 22)


@dataclass(frozen=True)
class Proof:
    """What is known of all mappings with perfect factors.

    Attributes:
        bound: no mapping has a smaller objective; 0 for layers that have no sound scores.
        better: a mapping that is better than the known one by more than the gap, as a batch of one, with its verdict; None
            where there is none.
        complete: whether the bound is all that was asked for; otherwise more room can give a larger one.
    """

    bound: float
    better: tuple[Batch, Verdict] | None
    complete: bool


def prove(
    nest: Nest,
    constraints: Sequence[LevelConstraint],
    objective: Objective,
    known: float,
    room: Room,
    *,
    gap: float = 0.0,
    target: float = 0.0,
) -> Proof:
    """A lower bound on `objective`, where `known` is the value of a mapping.

    Args:
        gap: a bound within this share of the best value is enough; larger ones are proven sooner.
        target: a mapping with at most this value is enough, too, since another bound proves it; then nothing is bounded here.
    """
    beam = Beam.of(nest, constraints, objective, sound=True)
    tiles = beam.facts.tiles
    if tiles.windowed == OUTPUTS or operands_travel(nest) or not tiles.lattice.complete:
        # Not bounded here: elided first writes of overlapping partial sums, links between MACs, tiles outside a coarse lattice.
        return Proof(0.0, None, complete=True)
    enough = known * (1 - max(gap, _ROUNDING))
    explored = beam.explore(room.width, min(room.leaves, _TILINGS), enough)
    state = _distinct(beam, explored.tilings)
    state = state.take((state.score < enough).nonzero()[0])
    unseen, best, better, left = explored.dropped, enough, None, room.leaves
    for tilings, ways in _patterns(beam, state, constraints):
        number = math.prod(map(len, ways))
        some = tilings[: left // number]
        left -= number * len(some)
        if len(some) < len(tilings):
            unseen = min(unseen, float(state.score[tilings[len(some) :]].min()))
        for batch in _in_every_order(beam, state, some, ways, constraints):
            verdict = nest.evaluate(batch)
            values = np.where(verdict.fits, scores(verdict, objective)[0], np.inf)
            index = int(np.argmin(values))
            if values[index] < best:
                best, better = float(values[index]), (batch.take(np.array([index])), verdict.take(np.array([index])))
                if best <= target:
                    return Proof(0.0, better, complete=False)
    return Proof(min(unseen, best), better, unseen >= best)


def _patterns(
    beam: Beam, state: Partial, constraints: Sequence[LevelConstraint]
) -> Iterator[tuple[Places, list[list[tuple[int, ...]]]]]:
    """The tilings that have loops of the same dimensions at each level, and all orders of these, by level; those with the least
    score first."""
    rules = list(reversed(constraints))
    forced = [tuple(DIMS.index(d) for d in rule.innermost) for rule in rules]
    temporal, _ = beam.loops_of(state)
    found: dict[bytes, list[int]] = {}
    for row, pattern in enumerate(np.moveaxis(temporal > 1, 2, 0)):
        found.setdefault(pattern.tobytes(), []).append(row)
    for rows in found.values():
        yield np.array(rows), _orders(temporal[:, :, rows[0]] > 1, forced)


def _distinct(beam: Beam, state: Partial) -> Partial:
    """The tilings by ascending score, each once: the tensors that stay stationary are the orders' business."""
    if state.size == 0:
        return state
    state = state._replace(score=beam.score(state))
    state = state.take(np.argsort(state.score, kind="stable"))
    return state.take(np.sort(np.unique(hashed([state.history[:2]]), return_index=True)[1]))


def _in_every_order(
    beam: Beam, state: Partial, tilings: Places, ways: list[list[tuple[int, ...]]], constraints: Sequence[LevelConstraint]
) -> Iterator[Batch]:
    """These tilings with each order of their loops, some mappings at a time."""
    spatial_order = tuple(
        tuple(DIMS.index(d) for d in rule.spatial) if rule.level.fanout > 1 else () for rule in reversed(constraints)
    )
    temporal, spatial = beam.loops_of(state.take(tilings))
    orders = itertools.product(*ways)
    while block := list(itertools.islice(orders, _CHUNK)):
        order = np.moveaxis(np.array(block, dtype=np.int8), 0, 2)
        step = max(1, _CHUNK // len(block))
        for start in range(0, len(tilings), step):
            times, spread = (a[:, :, start : start + step] for a in (temporal, spatial))
            count = times.shape[2]
            yield Batch(
                np.repeat(times, len(block), axis=2),
                np.repeat(spread, len(block), axis=2),
                np.tile(order, (1, 1, count)),
                spatial_order,
            )


def _orders(loops: npt.NDArray[np.bool_], forced: Sequence[tuple[int, ...]]) -> list[list[tuple[int, ...]]]:
    """For each level all orders, innermost first, of the loops that it has; `loops`: [level, dimension]."""
    result = []
    for has, first in zip(loops, forced, strict=True):
        mine = set(np.flatnonzero(has).tolist())
        head = tuple(d for d in first if d in mine)
        tail = tuple(d for d in range(len(DIMS)) if d not in mine)
        result.append([(*head, *free, *tail) for free in itertools.permutations(sorted(mine - set(head)))])
    return result
