"""Mapping search: tilings by stages, then the exact analysis of the best ones in every order that can matter.

`hwflow.mapper.beam` finds the best tilings under a model that leaves out Timeloop's finer rules; here they become mappings,
each with the loop orders of its classes, and `hwflow.loopnest.nest` judges them. Nothing is random: equal arguments give the
equal result.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from hwflow.hardware.dataflow import LevelConstraint
from hwflow.layers import DIMS, TENSORS
from hwflow.loopnest.nest import OUTPUTS, Batch, Floats, Ints, Nest, Verdict
from hwflow.mapper.beam import Tilings
from hwflow.mapper.bounds import lower_bound, operands_travel
from hwflow.mapper.partial_mappings import Partial, concatenate, hashed, ranks

Objective = Literal["energy", "latency", "edp"]
Rival = Callable[[Verdict], float]

_WIDTH = 3000  # partial mappings kept at a stage, a unit of effort
_NARROW = 32  # the same in the search that finds out how good mappings are
_FEW = 4  # tilings of a narrow search that become mappings, a unit of effort
_NEAR = 1.02  # tilings worse than this factor times the best are not looked at: the finer rules seldom turn so much
_SPARE = 4  # so many times as many, of all padded layers together, are found before the best of each are chosen
_FINAL = 24  # tilings that become mappings, a unit of effort
_MOST = 24_000  # partial mappings kept at any effort: bounds the memory
_CHUNK = 32768  # mappings judged in one call: bounds the memory at any effort
_LINKED = 1  # mappings whose link transfers are compared, a unit of effort: they rarely decide


@dataclass(frozen=True)
class Found:
    """The best mapping, as a batch of one, its exact verdict, and what is proven of it."""

    batch: Batch
    verdict: Verdict
    proven_optimal: bool
    bound: float


def search(
    nest: Nest,
    constraints: Sequence[LevelConstraint],
    *,
    objective: Objective,
    effort: int = 1,
    proof: bool = True,
    limit: float = math.inf,
    rival: Rival | None = None,
) -> Found | None:
    """The best mapping found whose loops divide, or None where none promises less than `limit`; equal arguments give the equal
    result.

    Args:
        proof: with effort above 1, time is spent on a bound that is worth more; it is one for such mappings only.
        rival: is told what a narrow search has found, links perhaps left out, and answers with a limit for the wide one.
    """
    best: tuple[Batch, Verdict] | None = None
    score = math.inf
    for linked in (-1, *range(len(TENSORS))) if operands_travel(nest) else (-1,):
        arranged = _arranged(nest, constraints, linked)
        tilings = Tilings(nest, arranged, objective, linked=linked)
        first, dropped = tilings.explore(_NARROW, 1, limit * _NEAR)
        if rival is not None and linked < 0:
            glance = _judged(nest, tilings, first, arranged, objective, effort, hasty=True)
            limit = limit if glance is None else min(limit, rival(glance[1]))
            if glance is not None and value(glance[1], objective) > limit * _NEAR:
                first = first.take(slice(0))
        wide = _wider(tilings, first, dropped, effort, limit)
        found = _judged(nest, tilings, concatenate([first, wide]), arranged, objective, effort)
        if found is not None and value(found[1], objective) < score:
            best, score = found, value(found[1], objective)
    if best is None:
        return None
    bound = lower_bound(nest, constraints, objective)
    if effort > 1 and proof:
        bound = max(bound, _proof(nest, constraints, objective, score, min(_WIDTH * effort, _MOST)))
    return Found(*best, score <= bound * (1 + 2e-9), min(bound, score))


def _arranged(nest: Nest, constraints: Sequence[LevelConstraint], linked: int) -> Sequence[LevelConstraint]:
    """The constraints, with the innermost fan-out's loops so that neighbours share tensor `linked`, if that is one."""
    if linked < 0:
        return constraints
    *outer, inner = constraints
    relevant = nest.layer.relevant(TENSORS[linked])
    return [*outer, replace(inner, spatial=tuple(sorted(inner.spatial, key=lambda d: d not in relevant)))]


def _judged(
    nest: Nest,
    tilings: Tilings,
    state: Partial,
    constraints: Sequence[LevelConstraint],
    objective: Objective,
    effort: int,
    *,
    hasty: bool = False,
) -> tuple[Batch, Verdict] | None:
    """The best mapping of some tilings, as a batch of one, and its exact verdict; None where there are none that fit.

    `hasty`: links between instances may be left out, unless much depends on them.
    """
    if state.size == 0:
        return None
    batch = _ordered(tilings, state, constraints)
    if not operands_travel(nest):
        batch, verdict = _best(nest, batch, objective, min(_LINKED * effort, 16))
    if operands_travel(nest) or (not hasty and _linkable(tilings, batch)):
        batch, verdict = _best(nest, batch, objective, 1, with_links=True)
    return (batch.take(np.arange(1)), verdict.take(np.arange(1))) if batch.size else None


def _proof(nest: Nest, constraints: Sequence[LevelConstraint], objective: Objective, value: float, width: int) -> float:
    """What no tiling undercuts, as far as a beam of this width can tell: at most `value`, less rounding.

    Branch and bound: all partial mappings that could come below `value` are followed, under scores that allow for Timeloop's
    finer rules; the least score of those that the beam has to drop is the bound.
    """
    tilings = Tilings(nest, constraints, objective, sound=True)
    if tilings.windowed == OUTPUTS or operands_travel(nest) or not tilings.lattice.complete:
        # Neither the elided first writes of overlapping partial sums nor links between MACs have a bound here, nor tiles that
        # are not looked at.
        return 0.0
    cut = value * (1 - 1e-9)
    state, dropped = tilings.explore(width, 1, cut)
    return min(cut, dropped, float(tilings.score(state).min()) if state.size else math.inf)


def _wider(tilings: Tilings, first: Partial, dropped: float, effort: int, limit: float) -> Partial:
    """The best tilings below `limit` that can come near those that a narrow search has found; none where that has left nothing
    out that could, `dropped` being the least score of what it has."""
    cut = min(limit, float(min(tilings.score(first), default=math.inf))) * _NEAR
    if dropped >= cut:
        return first.take(slice(0))
    return tilings.explore(min(_WIDTH * effort, _MOST), min(_FINAL * effort, 512), cut)[0]


def _linkable(tilings: Tilings, batch: Batch) -> bool:
    """Whether neighbours could hand tiles on: only along a window, or below the innermost memory."""
    dims = [d for _, pair, _ in tilings.windows for d in pair]
    return bool((batch.spatial[:, dims] > 1).any() or (batch.spatial[0] > 1).any())


def _ordered(tilings: Tilings, state: Partial, constraints: Sequence[LevelConstraint]) -> Batch:
    """Every tiling in the orders that can matter, as mappings.

    The outermost memory's loops take all orders: no class was chosen for them. Those of the next one in keep their class.
    """
    forced = [tuple(DIMS.index(d) for d in c.innermost) for c in reversed(constraints)]
    spatial_order = tuple(tuple(DIMS.index(d) for d in c.spatial) if c.level.fanout > 1 else () for c in reversed(constraints))
    temporal, spatial = tilings.loops_of(state)
    by_class = [_orders(tilings, t) for t in range(len(TENSORS))]
    classes = np.maximum(state.history[2], 0)
    plain = np.array([orders[0] for orders in by_class])
    order = np.stack([_canonical(plain[classes[k]].T, temporal[k], forced[k]) for k in range(len(forced))])
    second = max((k for k in range(len(forced) - 1) if tilings.temporal[k].any()), default=len(forced) - 1)
    order[second], order[-1] = 0, 0
    inner = np.stack(
        [
            _canonical(np.array([o[v % len(o)] for o in by_class])[classes[second]].T, temporal[second], forced[second])
            for v in range(max(map(len, by_class)))
        ]
    )
    outer = np.stack(
        [
            _canonical(np.tile(np.array(o)[:, None], state.size), temporal[-1], forced[-1])
            for o in dict.fromkeys(itertools.chain.from_iterable(by_class))
        ]
    )
    # each mapping once
    i, o, m = np.indices((len(inner), len(outer), state.size)).reshape(3, -1)
    parts = hashed([state.history[:2], order])[m], _number(inner)[i, m], _number(outer)[o, m]
    index = np.sort(np.unique(hashed(list(parts)), return_index=True)[1])
    i, o, m = i[index], o[index], m[index]
    order = order[:, :, m]
    order[second], order[-1] = inner[i, :, m].T, outer[o, :, m].T
    return Batch(temporal[:, :, m], spatial[:, :, m], order.astype(np.int8), spatial_order)


def _orders(tilings: Tilings, t: int) -> list[tuple[int, ...]]:
    """Loop orders, innermost first, that keep tensor t stationary: they differ in the loop along which a window slides."""
    own = [int(d) for d in np.flatnonzero(~tilings.relevant[t] & (tilings.sizes > 1))]
    rest = [d for d in range(len(DIMS)) if d not in own]
    sliding = [d for _, pair, _ in tilings.windows for d in pair if tilings.sizes[d] > 1]
    # after a window's loop the one that can undo its motion comes next
    orders = []
    leads = [d for d in sliding if d in (rest if t == tilings.windowed else own)] or [-1]
    for lead in leads:
        partner = [e for _, pair, _ in tilings.windows if lead in pair for e in pair if e != lead]
        head = sorted(own, key=lambda d: d != lead)
        tail = sorted(rest, key=lambda d: (d != lead, d not in partner))
        orders.append((*head, *tail))
    if t == tilings.windowed or not sliding:
        orders.append((*own, *rest))
    return list(dict.fromkeys(orders))


def _canonical(order: Ints, bounds: Ints, forced: tuple[int, ...]) -> Ints:
    """A level's orders with forced innermost loops first and loops of bound 1 last, [p, mapping]."""
    column = np.arange(order.shape[1])
    trivial = bounds[order, column] == 1
    rank = np.arange(len(DIMS))[:, None] + np.where(trivial, 100 + order, 0)
    for position, d in enumerate(forced):
        rank = np.where((order == d) & ~trivial, position - 100, rank)
    return np.asarray(order[np.argsort(rank, axis=0, kind="stable"), column])


def _number(orders: Ints) -> Ints:
    """A number for each order, [..., p, mapping], that tells it from others, [..., mapping]."""
    return np.asarray(np.tensordot(len(DIMS) ** np.arange(len(DIMS)), orders, (0, -2)))


def value(verdict: Verdict, objective: Objective) -> float:
    """What is minimised, of one mapping."""
    return float(scores(verdict, objective)[0][0])


def scores(verdict: Verdict, objective: Objective) -> tuple[Floats, Floats]:
    """What is minimised, and what decides between equals."""
    if objective == "energy":
        return verdict.energy, verdict.cycles
    if objective == "latency":
        return verdict.cycles, verdict.energy
    return verdict.energy * verdict.cycles, verdict.energy


def _best(nest: Nest, batch: Batch, objective: Objective, count: int, *, with_links: bool = False) -> tuple[Batch, Verdict]:
    """The best `count` of the mappings that fit, and the verdict on them."""
    firsts, seconds = np.full(batch.size, np.inf), np.full(batch.size, np.inf)
    for start in range(0, batch.size, _CHUNK):
        index = np.arange(start, min(start + _CHUNK, batch.size))
        verdict = nest.evaluate(batch.take(index), with_links=with_links)
        first, second = scores(verdict, objective)
        firsts[index], seconds[index] = np.where(verdict.fits, first, np.inf), second
    ranked = np.lexsort((seconds, firsts))[:count]
    ranked = ranked[np.isfinite(firsts[ranked])]
    best = batch.take(ranked)
    return best, verdict.take(ranked) if batch.size <= _CHUNK else nest.evaluate(best, with_links=with_links)


def narrow(
    nest: Nest,
    constraints: Sequence[LevelConstraint],
    objective: Objective,
    padded: Sequence[tuple[int, ...]],
    *,
    effort: int,
    cut: float,
) -> Batch | None:
    """What a narrow search of padded layers thinks best of each below `cut`, in every order that can matter, not judged; None
    where that is nothing."""
    tilings = Tilings(nest, constraints, objective, padded=padded)
    few, width = _FEW * effort, effort * len(padded)
    state, _ = tilings.explore(min(_NARROW * width, _MOST), min(_SPARE * few * len(padded), 512), cut)
    rank, _ = ranks(tilings.lattice.origin[state.place], tilings.score(state))
    state = state.take((rank < few).nonzero()[0])
    return _ordered(tilings, state, constraints) if state.size else None
