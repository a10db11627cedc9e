"""The lattice of tiles: every choice of one divisor a dimension, and what is looked up about divisors."""

from __future__ import annotations

import functools
import math

import numpy as np
import numpy.typing as npt

from hwflow.cost.nest import Floats, Ints


@functools.cache
def divisors(n: int) -> tuple[int, ...]:
    small = [d for d in range(1, math.isqrt(n) + 1) if n % d == 0]
    return tuple(small + [n // d for d in reversed(small) if d * d != n])


@functools.cache
def primes(n: int) -> tuple[int, ...]:
    return tuple(p for p in divisors(n)[1:] if len(divisors(p)) == 2)


def index_of(n: int, values: Ints) -> npt.NDArray[np.intp]:
    """The place of each of `values`, which divide n, among its divisors."""
    return np.searchsorted(np.array(divisors(n)), values)


@functools.cache
def ratios(n: int, loops: bool) -> Floats:
    """By how much a divisor of n (row) must grow to be another (column); 0 where it can't, or may not."""
    all_of_n = np.array(divisors(n))
    whole, left = np.divmod(all_of_n[None, :], all_of_n[:, None])
    return np.where((left == 0) & (loops | (whole == 1)), whole, 0).astype(np.float64)


@functools.cache
def climbs(n: int) -> tuple[tuple[int, int], ...]:
    """Places of divisors of n and of a prime multiple of each, such that taking minima in this order covers all multiples."""
    all_of_n = divisors(n)
    return tuple((all_of_n.index(x), all_of_n.index(x * p)) for p in primes(n) for x in reversed(all_of_n) if n % (x * p) == 0)


@functools.cache
def multiples(n: int) -> tuple[tuple[int, ...], ...]:
    """For each prime of n and each divisor, how many places further its multiple by the prime is; 0 if that is none."""
    all_of_n = divisors(n)
    return tuple(tuple(all_of_n.index(x * p) - i if n % (x * p) == 0 else 0 for i, x in enumerate(all_of_n)) for p in primes(n))


@functools.lru_cache(maxsize=4)
def tiles_of(sizes: tuple[int, ...]) -> Ints:
    """Every tile whose extents divide the sizes, [tile, dimension], the last dimension running fastest."""
    grids = np.meshgrid(*(np.array(divisors(n), dtype=np.int64) for n in sizes), indexing="ij")
    return np.stack([g.reshape(-1) for g in grids], axis=1)


def spreads(sizes: Ints, allowed: tuple[bool, ...], fanout: int) -> Ints:
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
