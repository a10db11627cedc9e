"""The highest array utilization that imperfectly factorised loops reach, and the least cycles that follow from it."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from hwflow.arrays import Floats, Ints, Places
from hwflow.hardware.dataflow import LevelConstraint
from hwflow.layers import DIMS, TENSORS
from hwflow.loopnest.nest import OUTPUTS, Nest

_MOST = 1 << 14  # spatial mappings that are considered together: bounds the memory where every dimension may be spread


class ArrayUtilization(NamedTuple):
    """The spatial mappings over all fan-outs that no other spatial mapping dominates.

    Attributes:
        factors: total spatial factor of each dimension, [spatial mapping, dimension].
        cycles: compute cycles, including waits for operands that no inner memory holds, [spatial mapping].
        least: lower bound on the cycles of every mapping, ragged or not: the fewest passes over the fan-outs.
    """

    factors: Ints
    cycles: Floats
    least: float


def array_utilization(nest: Nest, constraints: Sequence[LevelConstraint]) -> ArrayUtilization:
    """The spatial mappings worth considering; only those with the fewest passes where there are very many.

    A dimension of size n with spatial factor f takes ceil(n / f) passes; only the smallest f for each number of passes matters.
    """
    fan_outs, wait, most = _fan_outs(constraints), np.ones(1), 0
    for k, (factors, origin) in enumerate(_spreads(nest.sizes, fan_outs)):
        wait, most = np.maximum(wait[origin], _waits(nest, k, factors)), max(most, len(factors))
    rounds = passes(nest.sizes, factors).prod(axis=1)
    return ArrayUtilization(factors, rounds * wait, _least(rounds, most, nest.layer.macs, fan_outs))


def least_passes(nest: Nest, constraints: Sequence[LevelConstraint]) -> float:
    """`ArrayUtilization.least` alone; remembered, since it is the same on all chips with these fan-outs."""
    return _least_passes(tuple(nest.sizes.tolist()), _fan_outs(constraints))


_FanOuts = tuple[tuple[tuple[int, ...], int], ...]
"""For each level, from the innermost outwards, the dimensions that its fan-out may spread, and the fan-out."""


def _fan_outs(constraints: Sequence[LevelConstraint]) -> _FanOuts:
    return tuple((tuple(DIMS.index(d) for d in rule.spatial), rule.level.fanout) for rule in reversed(constraints))


@functools.lru_cache(maxsize=1 << 14)
def _least_passes(sizes: tuple[int, ...], fan_outs: _FanOuts) -> float:
    each = [factors for factors, _ in _spreads(np.array(sizes), fan_outs)]
    rounds = passes(np.array(sizes), each[-1]).prod(axis=1)
    return _least(rounds, max(map(len, each)), math.prod(sizes), fan_outs)


def _least(rounds: Ints, most: int, macs: int, fan_outs: _FanOuts) -> float:
    """The fewest passes; `most`: spatial mappings at any level, of which some may have been left out."""
    return float(rounds.min()) if most < _MOST else math.ceil(macs / math.prod(fan_out for _, fan_out in fan_outs))


def _spreads(sizes: Ints, fan_outs: _FanOuts) -> Iterator[tuple[Ints, Places]]:
    """For each level the spatial mappings up to its fan-out, and which of those of the level below each extends."""
    factors = np.ones((1, len(DIMS)), dtype=np.int64)
    for dims, fan_out in fan_outs:
        origin = np.arange(len(factors))
        if fan_out > 1:
            spatial = _fullest(sizes, list(dims), fan_out)
            left = passes(sizes, factors)[:, None]
            left = -(-left // -(-left // spatial[None]))  # the part that saves passes, given the fan-outs below
            factors = (factors[:, None] * left).reshape(-1, len(DIMS))
            # of equal products one is enough
            _, index = np.unique(_code(factors), return_index=True)
            if len(index) > _MOST:
                index = index[np.argsort(passes(sizes, factors[index]).prod(axis=1), kind="stable")[:_MOST]]
            factors, origin = factors[index], np.repeat(origin, len(spatial))[index]
        yield factors, origin


def passes(sizes: Ints, factors: Ints) -> Ints:
    """The number of passes of each dimension's loops outside the fan-outs, [spatial mapping, dimension]."""
    return np.asarray(-(-sizes // factors))


def _fullest(sizes: Ints, dims: list[int], fanout: int) -> Ints:
    """The spatial mappings of one fan-out in which no factor can be increased, [spatial mapping, dimension]."""
    spatial = np.ones((1, len(DIMS)), dtype=np.int64)
    more: dict[int, Ints] = {}  # for each dimension and factor the next larger one that saves passes
    for d in dims:
        n = int(sizes[d])
        useful = np.arange(1, min(n, fanout) + 1)
        useful = useful[-(-n // -(-n // useful)) == useful]
        more[d] = np.zeros(min(n, fanout) + 1, dtype=np.int64)
        more[d][useful] = np.append(useful[1:], fanout + 1)
        grown = np.repeat(spatial, len(useful), axis=0)
        grown[:, d] = np.tile(useful, len(spatial))
        spatial = grown[grown.prod(axis=1) <= fanout]
    used = spatial.prod(axis=1)
    full = np.ones(len(spatial), dtype=np.bool_)
    for d in dims:
        full &= used // spatial[:, d] * more[d][spatial[:, d]] > fanout
    return spatial[full]


def _waits(nest: Nest, k: int, factors: Ints) -> Floats:
    """The factor by which MAC units wait for level k where no level below holds a tensor, [spatial mapping]."""
    wait = np.ones(len(factors))
    memory = nest.levels[k].memory
    if memory is None or memory.kind == "regfile":
        return wait
    limits = [memory.read_words_per_cycle, memory.write_words_per_cycle, nest.accelerator.words_per_cycle(memory)]
    for t in range(len(TENSORS)):
        if nest.keep[k, t] and not nest.keep[:k, t].any():
            asked = nest.shapes[t].distinct(factors.T, np.ones_like(factors.T)) * nest.memories.widths.share(k, t)
            for limit in (limits[1 if t == OUTPUTS else 0], limits[2]):
                if limit is not None:
                    wait = np.maximum(wait, asked / limit)
    return wait


def _code(factors: Ints) -> Ints:
    """A unique number for each spatial mapping."""
    place = np.zeros(len(factors), dtype=np.int64)
    for column in factors.T:
        place = place * (int(column.max()) + 1) + column
    return place
