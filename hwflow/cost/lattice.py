"""The lattice of tiles: every choice of one divisor a dimension, numbered so that places add where tiles multiply.

Layers whose sizes have very many divisors get a coarser lattice (ours), or its tables would not fit the memory.
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hwflow.cost.nest import Floats, Ints

Places = npt.NDArray[np.intp]
MOST = 600_000
"""Tiles of a lattice; each costs about a kilobyte. Layers of published networks have fewer than a third of that."""


@functools.cache
def divisors(n: int) -> tuple[int, ...]:
    """All divisors of n, ascending."""
    small = [d for d in range(1, math.isqrt(n) + 1) if n % d == 0]
    return tuple(small + [n // d for d in reversed(small) if d * d != n])


@functools.cache
def powers(n: int) -> tuple[tuple[int, int], ...]:
    """The prime powers that n is the product of, as (prime, exponent)."""
    found, left, p = [], n, 2
    while left > 1:
        exponent = 0
        while left % p == 0:
            left, exponent = left // p, exponent + 1
        if exponent:
            found.append((p, exponent))
        p = p + 1 if p * p <= left else max(left, p + 1)
    return tuple(found)


@functools.lru_cache(maxsize=64)
def steps(sizes: tuple[int, ...]) -> tuple[tuple[tuple[int, int], ...], ...]:
    """For each size the powers that it is the product of, as (base, exponent), the bases coprime: primes, unless that would
    make a lattice of more than `MOST` tiles. Then powers of primes, and where that is not enough, products of these."""
    found = [list(powers(n)) for n in sizes]

    def tiles(of: list[tuple[int, int]]) -> int:
        return math.prod(e + 1 for _, e in of)

    while math.prod(map(tiles, found)) > MOST:
        most = max(found, key=tiles)
        i = max(range(len(most)), key=lambda i: most[i][1])
        base, exponent = most.pop(i)
        if exponent > 1:
            step = powers(exponent)[0][0]
            most.append((base**step, exponent // step))
        else:
            other, _ = most.pop(min(range(len(most)), key=lambda i: most[i][0]))
            most.append((base * other, 1))
    return tuple(tuple(sorted(of)) for of in found)


@dataclass(frozen=True)
class Lattice:
    """Every tile whose extents divide the sizes, or of a coarse lattice a part of them.

    A tile's place has the exponents of the bases of its extents (see `steps`) as digits, dimension by dimension, the last
    running fastest. So the place of a product is the sum of the places, and that of a ratio their difference.

    Attributes:
        tiles: extents, [dimension, tile].
        masks: the digits as bits, as many ones as a digit says: one tile divides another if its ones are among the other's.
        axes: dimension, base, largest exponent and stride (what a one adds to the place) of each digit.
        complete: whether all divisors are there.
    """

    tiles: Ints
    masks: npt.NDArray[np.int32] | npt.NDArray[np.int64]
    axes: tuple[tuple[int, int, int, int], ...]
    complete: bool

    @property
    def size(self) -> int:
        """How many tiles there are."""
        return len(self.masks)

    def places(self, tiles: Ints) -> Places:
        """Places of tiles given by their extents, [tile, dimension]."""
        place = np.zeros(len(tiles), dtype=np.intp)
        for d, base, exponent, stride in self.axes:
            for e in range(1, exponent + 1):
                place += stride * (tiles[:, d] % base**e == 0)
        return place

    def bits(self, dims: npt.NDArray[np.bool_]) -> int:
        """The bits of the masks that belong to some dimensions, given as flags."""
        found, offset = 0, 0
        for d, _, exponent, _ in self.axes:
            found |= ((1 << exponent) - 1 << offset) * bool(dims[d])
            offset += exponent
        return found


@functools.lru_cache(maxsize=4)  # large ones take 50 MB
def lattice_of(sizes: tuple[int, ...]) -> Lattice:
    """The lattice of tiles of a layer of these sizes."""
    powers_of = [(d, b, e) for d, of in enumerate(steps(sizes)) for b, e in of]
    strides = [math.prod(e + 1 for _, _, e in powers_of[i + 1 :]) for i in range(len(powers_of))]
    tiles, masks = np.ones((len(sizes), 1), dtype=np.int64), np.zeros(1, dtype=np.int64)
    offset = 0
    for d, base, exponent in powers_of:
        before, digit = len(masks), np.arange(exponent + 1)
        tiles = np.repeat(tiles, exponent + 1, axis=1)
        tiles[d] *= np.tile(base**digit, before)
        masks = np.repeat(masks, exponent + 1) | np.tile(((1 << digit) - 1) << offset, before)
        offset += exponent
    if offset < 31:  # comparisons of all with all read half as much
        masks = masks.astype(np.int32)
    axes = tuple((*power, stride) for power, stride in zip(powers_of, strides, strict=True))
    return Lattice(tiles, masks, axes, complete=len(masks) == math.prod(len(divisors(n)) for n in sizes))


def least_of_multiples(values: Floats, lattice: Lattice) -> Floats:
    """For each tile the least value of all its multiples, itself included, [..., tile]."""
    least = values.copy()
    for _, _, exponent, stride in lattice.axes:
        digits = least.reshape(-1, exponent + 1, stride)
        for e in reversed(range(exponent)):
            np.minimum(digits[:, e], digits[:, e + 1], out=digits[:, e])
    return least


@functools.lru_cache(maxsize=64)
def spreads(sizes: tuple[int, ...], allowed: tuple[bool, ...], fanout: int) -> Ints:
    """Every way to spread loops over a fan-out that the lattice has, [way, dimension]."""
    ways = np.ones((1, len(sizes)), dtype=np.int64)
    for d, of in enumerate(steps(sizes)):
        if not allowed[d] or not of:
            continue
        extents = (math.prod(part) for part in itertools.product(*([b**e for e in range(n + 1)] for b, n in of)))
        factors = np.array(sorted(f for f in extents if f <= fanout), dtype=np.int64)
        grown = np.repeat(ways, len(factors), axis=0)
        grown[:, d] = np.tile(factors, len(ways))
        ways = grown[grown.prod(axis=1) <= fanout]
    return ways
