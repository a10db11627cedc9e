"""Words of one tensor that cross the boundaries between levels; boundary k is between level k and the instances below it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from hwflow.arrays import Floats, Ints
from hwflow.loopnest import links
from hwflow.loopnest.disjoint_tiles import DisjointWalk
from hwflow.loopnest.imperfect_factors import Walk
from hwflow.loopnest.spans import Spans
from hwflow.loopnest.tiles import Shape


class Traffic(NamedTuple):
    """Words of an instance of one level, [batch]: requested from below, delivered from above or by neighbours, and by these
    alone; None where there are none."""

    content: Floats
    arriving: Floats | None
    peer: Floats | None


def traffic(
    shape: Shape, nest: Spans, kept: Sequence[int], footprints: Mapping[int, Ints], *, with_links: bool
) -> list[Traffic]:
    """The traffic of the levels that keep a tensor, `kept` from the innermost outwards, with tiles of `footprints` words."""
    last = len(nest.inner) - 2
    words = {k + 1: footprints[k] if nest.passes is None else shape.words(nest.below[k + 1]) for k in kept if k < last}
    deliveries = {0: nest.iterations, **shape.delivered(nest, words)}
    walked = nest.ragged.nonzero()[0].tolist() if with_links else []
    content: list[Floats] = []
    arriving: list[Floats | None] = []
    peer: list[Floats | None] = []
    for k in range(min(kept[-1] + 1, last) + 1):
        bypassed, link = k > 0 and k - 1 not in kept, None
        if bypassed and not nest.spreads[k]:  # the level above asks for what this one would have
            weighted = content[-1]
            content.append(weighted)
        else:
            # How often those ask that hand all on to the level below does not matter: what that level asks for replaces it.
            each = deliveries[k] if k in deliveries else np.ones(nest.batch.size)
            if nest.spreads[k]:
                asked = each * shape.distinct(nest.across[k], nest.inner[k], nest.over[k])
                weighted = each * (nest.fan[k] if nest.passes is None else nest.across[k].prod(axis=0))
            else:
                asked, weighted = each, each
            if with_links and (walked or nest.spreads[k]):
                asked, weighted, link = asked.copy(), weighted.copy(), np.zeros(nest.batch.size)
                for b in walked:
                    if (k > 0 or nest.fan[0, b] > 1) and not (bypassed and nest.fan[k, b] == 1):
                        way = Walk if k == 0 or shape.windows else DisjointWalk
                        asked[b], weighted[b], link[b] = way(nest.nesting(b), shape.coefficients, k).crossing()
                if nest.spreads[k]:
                    shared = links.transfers(shape, nest, k, ((nest.fan[k] > 1) & ~nest.ragged).nonzero()[0])
                    asked[shared.index], weighted[shared.index] = shared.reads, shared.delivered
                    link[shared.index] = shared.links
            if bypassed:
                link, wanted = None, content[-1] * nest.fan[k]
                asked = asked * np.divide(wanted, weighted, out=np.zeros(nest.batch.size), where=weighted > 0)
            content.append(asked)
        if k:
            arriving.append(None if bypassed else weighted / nest.fan[k] if nest.spreads[k] else weighted)
            peer.append(None if link is None else link / nest.instances[k - 1])
    arriving.append(None)
    peer.append(None)
    found = []
    for k in kept:
        above, beside = arriving[k] if k != kept[-1] else None, peer[k]
        found.append(Traffic(content[k], beside if above is None else above if beside is None else above + beside, beside))
    return found


def shares(shape: Shape, nest: Spans, footprints: Mapping[int, Ints], kept: Sequence[int]) -> list[Ints]:
    """The share of the whole tensor, in words, for which one instance of each level that keeps it is responsible; integer
    division as in Timeloop."""
    last = len(nest.inner) - 2
    share = footprints[last] if last in footprints else shape.words(nest.tiles[last])
    result = {last: share}
    for k in reversed(range(last)):
        if nest.spreads[k + 1]:
            own = footprints[k] if k in footprints else shape.words(nest.tiles[k])
            union = shape.words(nest.unions[k + 1])
            if nest.passes is not None:
                union = np.where(nest.fan[k + 1] > 1, union, own)
            share = share * own // union
        result[k] = share
    return [result[k] for k in kept]
