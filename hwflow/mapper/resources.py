"""The quantities that the search minimises or limits: energy and bandwidth, as prices of transfers between levels."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np

from hwflow.arrays import Floats
from hwflow.layers import TENSORS
from hwflow.loopnest.nest import OUTPUTS, Nest


@dataclass(frozen=True)
class Transfer:
    """Words of `tensor` between level `low` (-1: the MAC units) and `high`, the next level above that keeps it."""

    tensor: int
    low: int
    high: int


@dataclass(frozen=True)
class Resource:
    """A quantity that is counted: energy (level -1), or the words that a memory's bandwidth limits.

    `low`, `high`: price per element at the lower and the upper level of a transfer, [transfer];
    `spared_low`, `spared_high`: the same for the first write of each partial sum, which needs no read.
    """

    level: int
    limit: float
    low: Floats
    high: Floats
    spared_low: Floats
    spared_high: Floats


def transfers_of(nest: Nest) -> list[Transfer]:
    """All transfers of tensors between neighbouring levels that keep them, innermost first."""
    result = []
    for t in range(len(TENSORS)):
        low = -1
        for high in np.flatnonzero(nest.keep[:, t]):
            result.append(Transfer(t, low, int(high)))
            low = int(high)
    return result


def resources_of(nest: Nest, transfers: list[Transfer]) -> list[Resource]:
    """Energy first, then every bandwidth that can bind; register files are wide enough for words of what lies below them."""
    table, number, widths = nest.table, len(transfers), nest.memories.widths
    energy = Resource(-1, 1.0, *(np.zeros(number) for _ in range(4)))
    result = [energy]
    for k, level in enumerate(nest.levels):
        memory = level.memory
        if memory is None:
            continue
        part, block = table.parts[memory.name], memory.block_words * level.cluster
        reads, writes = (Resource(k, 1.0, *(np.zeros(number) for _ in range(4))) for _ in range(2))
        wide = False
        for p, transfer in enumerate(transfers):
            sums = transfer.tensor == OUTPUTS
            own = widths.share(k, transfer.tensor)
            partial = own * widths.growth(k, transfer.tensor)  # of sums that are read or filled; others are as wide either way
            if transfer.high == k:
                energy.high[p] += (part.read + (part.update if sums else 0.0)) * partial / block
                reads.high[p] = partial
                if sums:  # of a complete one the update alone is paid, at its own width
                    energy.spared_high[p] += (part.read * partial + part.update * (partial - own)) / block
                    reads.spared_high[p] = writes.high[p] = partial
                    writes.spared_high[p] = partial - own
            if transfer.low == k:
                energy.low[p] += part.write * partial / block
                writes.low[p] = partial
                if sums:
                    energy.spared_low[p] += part.write * partial / block
                    writes.spared_low[p] = partial
            wide = wide or (k in (transfer.high, transfer.low) and partial > 1.0)
        both = Resource(k, 1.0, *(a + b for a, b in zip(prices(reads), prices(writes), strict=True)))
        for limit, resource in (
            (memory.read_words_per_cycle, reads),
            (memory.write_words_per_cycle, writes),
            (nest.accelerator.words_per_cycle(memory), both),
        ):
            if limit is not None and (memory.kind != "regfile" or wide):
                result.append(replace(resource, limit=float(limit)))
    return result


def prices(resource: Resource) -> tuple[Floats, Floats, Floats, Floats]:
    """All four prices."""
    return resource.low, resource.high, resource.spared_low, resource.spared_high


@functools.lru_cache(maxsize=1)  # all searches of a layer ask
def prices_of(nest: Nest) -> tuple[list[Transfer], list[int], tuple[Floats, ...]]:
    """The transfers; the levels of the resources; their four prices as arrays, [resource, transfer], those of bandwidths in
    cycles."""
    transfers = transfers_of(nest)
    resources = resources_of(nest, transfers)
    columns = tuple(np.array([prices(r)[i] / r.limit for r in resources]) for i in range(4))
    return transfers, [r.level for r in resources], columns
