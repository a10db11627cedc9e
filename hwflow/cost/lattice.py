"""The lattice of tiles: every choice of one divisor a dimension, numbered so that places add where tiles multiply."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hwflow.cost.nest import Floats, Ints

Places = npt.NDArray[np.intp]


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


@dataclass(frozen=True)
class Lattice:
    """Every tile whose extents divide the sizes.

    A tile's place has the exponents of the primes of its extents as digits, dimension by dimension, the last running fastest.
    So the place of a product is the sum of the places, and that of a ratio their difference.

    Attributes:
        tiles: extents, [dimension, tile].
        masks: the digits as bits, as many ones as a digit says: one tile divides another if its ones are among the other's.
        axes: dimension, prime, largest exponent and stride (what a one adds to the place) of each digit.
    """

    tiles: Ints
    masks: npt.NDArray[np.int32] | npt.NDArray[np.int64]
    axes: tuple[tuple[int, int, int, int], ...]

    @property
    def size(self) -> int:
        """How many tiles there are."""
        return len(self.masks)

    def places(self, tiles: Ints) -> Places:
        """Places of tiles given by their extents, [tile, dimension]."""
        place = np.zeros(len(tiles), dtype=np.intp)
        for d, prime, exponent, stride in self.axes:
            for e in range(1, exponent + 1):
                place += stride * (tiles[:, d] % prime**e == 0)
        return place

    def bits(self, dims: npt.NDArray[np.bool_]) -> int:
        """The bits of the masks that belong to some dimensions, given as flags."""
        found, offset = 0, 0
        for d, _, exponent, _ in self.axes:
            found |= ((1 << exponent) - 1 << offset) * bool(dims[d])
            offset += exponent
        return found


@functools.lru_cache(maxsize=16)
def lattice_of(sizes: tuple[int, ...]) -> Lattice:
    """The lattice of tiles of a layer of these sizes."""
    powers_of = [(d, p, e) for d, n in enumerate(sizes) for p, e in powers(n)]
    strides = [math.prod(e + 1 for _, _, e in powers_of[i + 1 :]) for i in range(len(powers_of))]
    tiles, masks = np.ones((len(sizes), 1), dtype=np.int64), np.zeros(1, dtype=np.int64)
    offset = 0
    for d, prime, exponent in powers_of:
        before, steps = len(masks), np.arange(exponent + 1)
        tiles = np.repeat(tiles, exponent + 1, axis=1)
        tiles[d] *= np.tile(prime**steps, before)
        masks = np.repeat(masks, exponent + 1) | np.tile(((1 << steps) - 1) << offset, before)
        offset += exponent
    if offset < 31:  # comparisons of all with all read half as much
        masks = masks.astype(np.int32)
    return Lattice(tiles, masks, tuple((*power, stride) for power, stride in zip(powers_of, strides, strict=True)))


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
    """Every way to spread loops over a fan-out, [way, dimension]."""
    ways = np.ones((1, len(sizes)), dtype=np.int64)
    for d, n in enumerate(sizes):
        if not allowed[d] or n == 1:
            continue
        factors = np.array([f for f in divisors(int(n)) if f <= fanout], dtype=np.int64)
        grown = np.repeat(ways, len(factors), axis=0)
        grown[:, d] = np.tile(factors, len(ways))
        ways = grown[grown.prod(axis=1) <= fanout]
    return ways
