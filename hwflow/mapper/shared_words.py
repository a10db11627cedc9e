"""How many instances of a fan-out can share a word of each tensor at once, for sound scores.

A loop over a fan-out shares the words of the tensors that it does not depend on. On a fan-out of 16, M16 shares each input 16
times, C16 each output, and M4 C4 both 4 times: no loops share inputs and outputs 16 times each. A bound that assumes so proves
little, so it is taken for each of the few ways that share most, and the least counts. (hwflow's own.)
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from hwflow.arrays import Bools, Floats
from hwflow.layers import TENSORS
from hwflow.mapper.layer_facts import LayerFacts

_MOST = 12  # ways that are told apart


def sharing(facts: LayerFacts) -> tuple[Floats, ...]:
    """For each level, how many instances of the fan-outs above it can share each word of a transfer, [way, transfer, 1]."""
    prices, tiles = facts.prices, facts.tiles
    if not tiles.sound:
        return tuple(future[None] for future in prices.future)
    of = {m: _most(_shared(facts, m)) for m, level in enumerate(facts.levels) if level.spatial is not None}
    result = []
    for k in range(len(facts.levels)):
        above = [m for m in of if m > k]
        ways = []
        for chosen in itertools.product(*(of[m] for m in above)):
            times = [
                math.prod(each[t.tensor] for m, each in zip(above, chosen, strict=True) if t.low < m <= t.high)
                for t in prices.transfers
            ]
            ways.append(times)
        best = _most(np.array(ways, dtype=np.float64))
        if len(best) > _MOST:
            best = best.max(axis=0, keepdims=True)
        result.append(best[:, :, None])
    return tuple(result)


def handed(facts: LayerFacts, k: int) -> Floats:
    """Words that the fan-outs above level k can leave out of each transfer beside those that they share, [transfer, 1]: where
    neighbours hand on parts of a window, Timeloop rounds averages over instances down."""
    if not facts.tiles.sound:
        return np.zeros((len(facts.prices.transfers), 1))
    tiles, of = facts.tiles, [m for m, level in enumerate(facts.levels) if level.spatial is not None and m > k]
    instances = math.prod(level.fanout for level in facts.nest.levels)
    return np.array(
        [
            [float(instances * sum(t.low < m <= t.high for m in of) if t.tensor == tiles.windowed else 0)]
            for t in facts.prices.transfers
        ]
    )


def _shared(facts: LayerFacts, m: int) -> Floats:
    """How many instances share each word under every choice of loops over a fan-out, at most, [choice, tensor]."""
    tiles, over = facts.tiles, facts.levels[m].spatial
    assert over is not None
    times = tiles.idle[:, over].copy()
    for window in tiles.windows:  # loops along it share parts of it, and neighbours can hand these on
        times[tiles.windowed] *= tiles.lattice.tiles[list(window.dims)][:, over].prod(axis=0)
    return np.asarray(np.unique(times.T, axis=0).reshape(-1, len(TENSORS)))


def _most(ways: Floats) -> Floats:
    """Those of the ways, [way, amount], that no other one matches in every amount."""
    ways = np.unique(ways, axis=0)
    more: Bools = np.asarray((ways[None] > ways[:, None]).any(axis=2))
    beaten = np.asarray((ways[None] >= ways[:, None]).all(axis=2)) & more
    return np.asarray(ways[~beaten.any(axis=1)])
