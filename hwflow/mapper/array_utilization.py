"""How full the fan-outs of a chip can get with loops that need not divide, and so how few cycles a layer can take."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hwflow.arrays import Floats, Ints
from hwflow.hardware.dataflow import LevelConstraint
from hwflow.layers import DIMS, TENSORS
from hwflow.loopnest.nest import OUTPUTS, Nest

_MOST = 1 << 14  # ways that are looked at together: bounds the memory where every dimension may be spread


class Fillings(NamedTuple):
    """Ways to spread loops over all fan-outs that no other way surpasses.

    Attributes:
        factors: by how much a dimension is spread in all, [way, dimension].
        cycles: that the arithmetic then takes, waiting for operands that no memory holds for it included, [way].
        least: cycles that no mapping undercuts, ragged or not: the passes over the fan-outs at their fullest.
    """

    factors: Ints
    cycles: Floats
    least: float


def fillings(nest: Nest, constraints: Sequence[LevelConstraint]) -> Fillings:
    """The ways to fill the fan-outs, the fullest ones only where there are very many.

    A dimension of size n that is spread f-fold takes ceil(n / f) passes, so only the least f of each number of passes counts.
    """
    factors = np.ones((1, len(DIMS)), dtype=np.int64)
    wait, complete = np.ones(1), True
    for k, rule in enumerate(reversed(constraints)):
        if rule.level.fanout > 1:
            ways = _fullest(nest.sizes, [DIMS.index(d) for d in rule.spatial], rule.level.fanout)
            left = passes(nest.sizes, factors)[:, None]
            left = -(-left // -(-left // ways[None]))  # what of the way is of use, with what lies below
            factors = (factors[:, None] * left).reshape(-1, len(DIMS))
            wait = np.repeat(wait, len(ways))
            # of equal products one is enough
            _, index = np.unique(_code(factors), return_index=True)
            factors, wait = factors[index], wait[index]
            if len(factors) > _MOST:
                index = np.argsort(passes(nest.sizes, factors).prod(axis=1), kind="stable")[:_MOST]
                factors, wait, complete = factors[index], wait[index], False
        wait = np.maximum(wait, _waits(nest, k, factors))
    rounds = passes(nest.sizes, factors).prod(axis=1)
    least = float(rounds.min()) if complete else math.ceil(nest.layer.macs / math.prod(r.level.fanout for r in constraints))
    return Fillings(factors, rounds * wait, least)


def passes(sizes: Ints, factors: Ints) -> Ints:
    """How often each dimension's loops outside the fan-outs run, [way, dimension]."""
    return np.asarray(-(-sizes // factors))


def _fullest(sizes: Ints, dims: list[int], fanout: int) -> Ints:
    """The ways to spread loops over one fan-out of which no factor can be raised, [way, dimension]."""
    ways = np.ones((1, len(DIMS)), dtype=np.int64)
    more: dict[int, Ints] = {}  # for each dimension and factor the next larger one that saves passes
    for d in dims:
        n = int(sizes[d])
        useful = np.arange(1, min(n, fanout) + 1)
        useful = useful[-(-n // -(-n // useful)) == useful]
        more[d] = np.zeros(min(n, fanout) + 1, dtype=np.int64)
        more[d][useful] = np.append(useful[1:], fanout + 1)
        grown = np.repeat(ways, len(useful), axis=0)
        grown[:, d] = np.tile(useful, len(ways))
        ways = grown[grown.prod(axis=1) <= fanout]
    used = ways.prod(axis=1)
    full = np.ones(len(ways), dtype=np.bool_)
    for d in dims:
        full &= used // ways[:, d] * more[d][ways[:, d]] > fanout
    return ways[full]


def _waits(nest: Nest, k: int, factors: Ints) -> Floats:
    """By how much the arithmetic waits for level k where nothing below it holds a tensor, [way]."""
    wait = np.ones(len(factors))
    memory = nest.levels[k].memory
    if memory is None or memory.kind == "regfile":
        return wait
    limits = [memory.read_words_per_cycle, memory.write_words_per_cycle, nest.accelerator.words_per_cycle(memory)]
    for t in range(len(TENSORS)):
        if nest.keep[k, t] and not nest.keep[:k, t].any():
            asked = nest.shapes[t].distinct(factors.T, np.ones_like(factors.T))
            for limit in (limits[1 if t == OUTPUTS else 0], limits[2]):
                if limit is not None:
                    wait = np.maximum(wait, asked / limit)
    return wait


def _code(factors: Ints) -> Ints:
    """One number for each way; different ways differ."""
    place = np.zeros(len(factors), dtype=np.int64)
    for column in factors.T:
        place = place * (int(column.max()) + 1) + column
    return place
