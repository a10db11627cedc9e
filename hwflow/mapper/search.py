"""Mapping search: tilings from a beam search, then exact analysis of the best ones in every loop order that matters.

`hwflow.mapper.beam` finds the best tilings under a model that leaves out Timeloop's finer rules; here they become mappings,
each with the loop orders of its classes, and `hwflow.loopnest.nest` evaluates them. Nothing is random: equal arguments give
equal results.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from hwflow.arrays import Ints
from hwflow.hardware.dataflow import LevelConstraint
from hwflow.layers import DIMS, TENSORS
from hwflow.loopnest.nest import Batch, Nest, Verdict
from hwflow.mapper.beam import Beam, Explored
from hwflow.mapper.bounds import lower_bound, operands_travel
from hwflow.mapper.objective import Found, scores, value
from hwflow.mapper.partial_mapping import Partial, concatenate, hashed, ranks
from hwflow.mapper.proof import Room, prove
from hwflow.types import Objective

_WIDTH = 3000  # partial mappings kept per stage and unit of effort
_NARROW = 32  # the same in the first, narrow search
_FEW = 4  # tilings of a narrow search that become mappings, per unit of effort
_NEAR = 1.02  # tilings worse than the best by this factor are ignored: the finer rules seldom change the order by as much
_SPARE = 4  # tilings of all padded layers together, as a multiple of this, before the best of each are chosen
_FINAL = 24  # tilings that become mappings, a unit of effort
_MOST = 24_000  # partial mappings kept at any effort: bounds memory use
_CHUNK = 32768  # mappings evaluated per call: bounds memory use at any effort
_LEAVES = 1 << 16  # mappings that a proof analyses exactly
_LINKED = 1  # mappings whose link transfers are compared, per unit of effort: they rarely decide


class Glance(NamedTuple):
    """Result of a narrow search for perfect factors.

    Attributes:
        beam, explored: state from which a wider search continues.
        verdict: of its best mapping, possibly without links, or None where it found none.
    """

    beam: Beam
    explored: Explored
    verdict: Verdict | None


class _Judged(NamedTuple):
    """The best of some mappings, as a batch of one, with its exact verdict, and the best few."""

    batch: Batch
    verdict: Verdict
    several: Batch


def glance(nest: Nest, constraints: Sequence[LevelConstraint], *, objective: Objective, effort: int = 1) -> Glance:
    """A narrow search for mappings with perfect factors, to learn how good they can be."""
    beam = Beam.of(nest, constraints, objective)
    explored = beam.explore(_NARROW, 1)
    found = _judged(nest, beam, explored.tilings, constraints, objective, effort, hasty=True)
    return Glance(beam, explored, None if found is None else found.verdict)


def search(
    nest: Nest,
    constraints: Sequence[LevelConstraint],
    *,
    objective: Objective,
    effort: int = 1,
    prove_more: bool = True,
    limit: float = math.inf,
    first: Glance | None = None,
    keep: int = 1,
) -> Found | None:
    """The best mapping found with perfect factors, or None where no bound is below `limit`; deterministic.

    Example: a 1x1 layer with C = M = 2 and P = 4 (16 MACs) on one MAC unit, with a buffer of 6 words below DRAM; what counts
    are the words that cross between the two. The beam begins with one partial mapping, the empty one. At the buffer it is
    extended to every tile that fits: C2 M1 P1 (2 weights, 2 inputs, 1 output), C1 M2 P1 and C1 M1 P2 of 5 words, and smaller
    ones; the next larger have 8. DRAM's loops around C2 M1 P1 are M2 and P4, 8 iterations. If they leave the weights alone (P
    innermost) these cross 2 x 2 times, the inputs 8 x 2, the outputs 8 x 1: 28 words. If they leave the inputs alone (M
    innermost) it is 16 + 4 x 2 + 8 = 32; no loop leaves the outputs alone. Around C1 M2 P1, outputs alone (C innermost) gives
    16 + 8 + 8 = 32, and weights alone 4 + 8 + 16 written + 8 read again = 36. So the beam holds a tile up to three times, once
    for each tensor that can stay, with the words paid and the least that the rest can cost. The best tilings become mappings,
    each in every order of loops that keeps their tensor still, and the exact analysis decides between these: 28 words.

    Args:
        prove_more: with effort above 1, spend time on a tighter bound, which holds for perfect factors only.
        first: a glance to continue from.
        keep: how many of the best mappings are given beside the best one, for a finer model to compare; 1: none.
    """
    best: _Judged | None = None
    score = math.inf
    for linked in (-1, *range(len(TENSORS))) if operands_travel(nest) else (-1,):
        arranged = _arranged(nest, constraints, linked)
        if first is not None and linked < 0:
            beam, narrowly = first.beam, first.explored
            hopeless = first.verdict is not None and value(first.verdict, objective) > limit * _NEAR
            tilings = narrowly.tilings.take(slice(0)) if hopeless else narrowly.tilings
        else:
            beam = Beam.of(nest, arranged, objective, linked=linked)
            narrowly = beam.explore(_NARROW, 1, limit * _NEAR)
            tilings = narrowly.tilings
        wide = _wider(beam, narrowly, tilings, effort, limit)
        found = _judged(nest, beam, concatenate([tilings, wide]), arranged, objective, effort, keep=keep)
        if found is not None and value(found.verdict, objective) < score:
            best, score = found, value(found.verdict, objective)
    if best is None:
        return None
    bound = lower_bound(nest, constraints, objective)
    if effort > 1 and prove_more:
        proof = prove(nest, constraints, objective, score, Room(min(_WIDTH * effort, _MOST), _LEAVES))
        if proof.better is not None:
            best, score = best._replace(batch=proof.better[0], verdict=proof.better[1]), value(proof.better[1], objective)
        bound = max(bound, proof.bound)
    several = best.several if keep > 1 else None
    return Found(best.batch, best.verdict, score <= bound * (1 + 2e-9), min(bound, score), several)


def _arranged(nest: Nest, constraints: Sequence[LevelConstraint], linked: int) -> Sequence[LevelConstraint]:
    """The constraints, with the innermost fan-out's loops such that neighbours share tensor `linked`, if one is given."""
    if linked < 0:
        return constraints
    *outer, inner = constraints
    relevant = nest.layer.relevant(TENSORS[linked])
    return [*outer, replace(inner, spatial=tuple(sorted(inner.spatial, key=lambda d: d not in relevant)))]


def _judged(
    nest: Nest,
    beam: Beam,
    state: Partial,
    constraints: Sequence[LevelConstraint],
    objective: Objective,
    effort: int,
    *,
    hasty: bool = False,
    keep: int = 1,
) -> _Judged | None:
    """The best mapping of some tilings, and the best `keep` of them; None where none fits.

    `hasty`: links between instances may be omitted, unless they can decide.
    """
    if state.size == 0:
        return None
    batch = _ordered(beam, state, constraints)
    if not operands_travel(nest):
        batch, verdict = _best(nest, batch, objective, max(min(_LINKED * effort, 16), keep))
    if operands_travel(nest) or (not hasty and _linkable(beam, batch)):
        batch, verdict = _best(nest, batch, objective, keep, with_links=True)
    return _Judged(batch.take(np.arange(1)), verdict.take(np.arange(1)), batch) if batch.size else None


def _wider(beam: Beam, narrowly: Explored, first: Partial, effort: int, limit: float) -> Partial:
    """The best tilings below `limit` that can compete with `first`, the result of a narrow search; none where that search
    dropped nothing that could."""
    cut = min(limit, float(min(beam.score(first), default=math.inf))) * _NEAR
    if narrowly.dropped >= cut:
        return first.take(slice(0))
    return beam.explore(min(_WIDTH * effort, _MOST), min(_FINAL * effort, 512), cut, after=narrowly).tilings


def _linkable(beam: Beam, batch: Batch) -> bool:
    """Whether neighbours could forward tiles: only along a window, or below the innermost memory."""
    dims = [d for window in beam.facts.tiles.windows for d in window.dims]
    return bool((batch.spatial[:, dims] > 1).any() or (batch.spatial[0] > 1).any())


def _ordered(beam: Beam, state: Partial, constraints: Sequence[LevelConstraint]) -> Batch:
    """Every tiling in all loop orders that can matter, as mappings.

    The outermost memory's loops take all orders, since the beam chose no class for them. Those of the next memory keep their
    class.
    """
    forced = [tuple(DIMS.index(d) for d in c.innermost) for c in reversed(constraints)]
    spatial_order = tuple(tuple(DIMS.index(d) for d in c.spatial) if c.level.fanout > 1 else () for c in reversed(constraints))
    temporal, spatial = beam.loops_of(state)
    by_class = [_orders(beam, t) for t in range(len(TENSORS))]
    classes = np.maximum(state.history[2], 0)
    plain = np.array([orders[0] for orders in by_class])
    second = max((k for k in range(len(forced) - 1) if beam.temporal[k] is not None), default=len(forced) - 1)
    order = np.zeros((len(forced), len(DIMS), state.size), dtype=np.intp)
    for k in range(len(forced) - 1):
        if k != second:
            order[k] = _canonical(plain[classes[k]].T[None], temporal[k], forced[k])[0]
    versions = np.array([[o[v % len(o)] for o in by_class] for v in range(max(map(len, by_class)))])
    inner = _canonical(np.moveaxis(versions[:, classes[second]], 2, 1), temporal[second], forced[second])
    some = np.array(list(dict.fromkeys(itertools.chain.from_iterable(by_class))))
    outer = _canonical(np.repeat(some[:, :, None], state.size, axis=2), temporal[-1], forced[-1])
    # without duplicates
    i, o, m = np.indices((len(inner), len(outer), state.size)).reshape(3, -1)
    parts = hashed([state.history[:2], order])[m], _number(inner)[i, m], _number(outer)[o, m]
    index = np.sort(np.unique(hashed(list(parts)), return_index=True)[1])
    i, o, m = i[index], o[index], m[index]
    order = order[:, :, m]
    order[second], order[-1] = inner[i, :, m].T, outer[o, :, m].T
    return Batch(temporal[:, :, m], spatial[:, :, m], order.astype(np.int8), spatial_order)


def _orders(beam: Beam, t: int) -> list[tuple[int, ...]]:
    """Loop orders, innermost first, that keep tensor t stationary; they differ in the loop along which a window slides."""
    tiles = beam.facts.tiles
    own = [int(d) for d in np.flatnonzero(~tiles.relevant[t] & (tiles.sizes > 1))]
    rest = [d for d in range(len(DIMS)) if d not in own]
    sliding = [d for window in tiles.windows for d in window.dims if tiles.sizes[d] > 1]
    # directly outside a window's loop comes the one that can undo its motion
    orders = []
    leads = [d for d in sliding if d in (rest if t == tiles.windowed else own)] or [-1]
    for lead in leads:
        partner = [e for window in tiles.windows if lead in window.dims for e in window.dims if e != lead]
        head = sorted(own, key=lambda d: d != lead)
        tail = sorted(rest, key=lambda d: (d != lead, d not in partner))
        orders.append((*head, *tail))
    if t == tiles.windowed or not sliding:
        orders.append((*own, *rest))
    return list(dict.fromkeys(orders))


def _canonical(order: Ints, bounds: Ints, forced: tuple[int, ...]) -> Ints:
    """A level's orders in a canonical form: forced innermost loops first, loops of bound 1 last, [version, p, mapping]."""
    trivial = bounds[order, np.arange(order.shape[2])] == 1
    rank = np.arange(len(DIMS))[:, None] + np.where(trivial, 100 + order, 0)
    for position, d in enumerate(forced):
        rank = np.where((order == d) & ~trivial, position - 100, rank)
    return np.asarray(np.take_along_axis(order, np.argsort(rank, axis=1, kind="stable"), axis=1))


def _number(orders: Ints) -> Ints:
    """A number that identifies each order, [..., p, mapping], as [..., mapping]."""
    return np.asarray(np.tensordot(len(DIMS) ** np.arange(len(DIMS)), orders, (0, -2)))


def _best(nest: Nest, batch: Batch, objective: Objective, count: int, *, with_links: bool = False) -> tuple[Batch, Verdict]:
    """The best `count` of the mappings that fit, with their verdict."""
    firsts, seconds = np.full(batch.size, np.inf), np.full(batch.size, np.inf)
    for start in range(0, batch.size, _CHUNK):
        index = np.arange(start, min(start + _CHUNK, batch.size))
        verdict = nest.evaluate(batch if batch.size <= _CHUNK else batch.take(index), with_links=with_links)
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
    """The mappings of each padded layer that a narrow search ranks best below `cut`, in all orders that can matter and not yet
    evaluated; None where there are none."""
    beam = Beam.of(nest, constraints, objective, padded=padded)
    few, width = _FEW * effort, effort * len(padded)
    state = beam.explore(min(_NARROW * width, _MOST), min(_SPARE * few * len(padded), 512), cut).tilings
    rank, _ = ranks(beam.facts.tiles.lattice.origin[state.place], beam.score(state))
    state = state.take((rank < few).nonzero()[0])
    return _ordered(beam, state, constraints) if state.size else None
