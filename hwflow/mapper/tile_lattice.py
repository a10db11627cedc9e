"""The lattice of tiles: one divisor per dimension, numbered so that indices add where tile sizes multiply.

Layers whose sizes have very many divisors get a coarser lattice, because the tables of the full one would not fit in memory.
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hwflow.arrays import Bools, Floats, Ints, Places
from hwflow.layers import DIMS

MOST = 600_000
"""Tiles of a lattice, which take about a kilobyte each. Layers of published networks have less than a third of this."""
_BITS = 62  # bits of a mask


@functools.cache
def divisors(n: int) -> tuple[int, ...]:
    """All divisors of n, ascending."""
    small = [d for d in range(1, math.isqrt(n) + 1) if n % d == 0]
    return tuple(small + [n // d for d in reversed(small) if d * d != n])


@functools.cache
def powers(n: int) -> tuple[tuple[int, int], ...]:
    """The prime factorization of n, as (prime, exponent)."""
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
    """A factorization of each size into powers of coprime bases, as (base, exponent).

    The bases are primes unless the lattice would then have more than `MOST` tiles; otherwise prime powers, and where these do
    not suffice, products of them."""
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


class Part(NamedTuple):
    """The tiles of one layer in a lattice: their first place, the place after the last, and for each digit its dimension, base,
    largest exponent and stride (by how much an increment of the digit moves the place)."""

    start: int
    stop: int
    axes: tuple[tuple[int, int, int, int], ...]


@dataclass(frozen=True)
class Lattice:
    """All tiles whose extents divide the sizes of a layer, or a subset of them in a coarse lattice; for one layer or several.

    A tile's place is a number whose digits are the exponents of its extents (see `steps`), dimension by dimension with the last
    varying fastest, plus the layer's `origin`. The place of a product is therefore the sum of the places minus `origin`, and
    that of a quotient their difference plus `origin`.

    Attributes:
        tiles: extents, [dimension, tile].
        masks: each digit in unary, and bits that identify the layer: a tile divides another of the same layer if its ones are
            a subset of the other's, and none of another layer.
        origin: the first place of the tile's layer, that of its smallest tile, [tile].
        rest: the place of the quotient of layer and tile, [tile].
        parts: the layers.
        fields: offset and width of each dimension's bits in the masks.
        complete: whether all divisors are included.
    """

    tiles: Ints
    masks: npt.NDArray[np.int32] | Ints
    origin: Places
    rest: Places
    parts: tuple[Part, ...]
    fields: tuple[tuple[int, int], ...]
    complete: bool

    @property
    def size(self) -> int:
        """The number of tiles."""
        return len(self.masks)

    def places(self, tiles: Ints, part: int = 0) -> Places:
        """Places of a layer's tiles given by their extents, [tile, dimension]."""
        place = np.full(len(tiles), self.parts[part].start, dtype=np.intp)
        for d, axes in itertools.groupby(self.parts[part].axes, key=operator.itemgetter(0)):
            extents, shares = [1], [0]
            for _, base, exponent, stride in axes:
                extents = [n * base**e for n in extents for e in range(exponent + 1)]
                shares = [share + stride * e for share in shares for e in range(exponent + 1)]
            ranked = np.argsort(extents)
            place += np.array(shares)[ranked[np.searchsorted(np.array(extents), tiles[:, d], sorter=ranked)]]
        return place

    def spanning(self, dims: Bools) -> Bools:
        """Which tiles have extents above 1 only in the given dimensions (flags)."""
        others = self.bits(~dims)
        return np.asarray((self.masks ^ self.masks[self.origin]) & others == 0)

    def share(self, dims: Bools) -> Places:
        """The contribution of the given dimensions (flags) to each tile's place, [tile]."""
        share = np.zeros(self.size, dtype=np.intp)
        for start, stop, axes in self.parts:
            for d, _, exponent, stride in axes:
                if dims[d]:
                    share[start:stop].reshape(-1, exponent + 1, stride)[...] += stride * np.arange(exponent + 1)[:, None]
        return share

    def bits(self, dims: Bools) -> int:
        """The mask bits of the given dimensions (flags)."""
        return sum((1 << width) - 1 << offset for (offset, width), some in zip(self.fields, dims, strict=True) if some)


def together(layers: Sequence[tuple[int, ...]]) -> int:
    """How many of the layers, counted from the first, the masks of one lattice can distinguish."""
    widths = [0] * len(DIMS)
    for i, sizes in enumerate(layers):
        widths = [max(width, sum(e for _, e in of)) for width, of in zip(widths, steps(sizes), strict=True)]
        if sum(widths) + 2 * i.bit_length() > _BITS:
            return i
    return len(layers)


@functools.lru_cache(maxsize=4)  # large ones take 50 MB
def lattice_of(*layers: tuple[int, ...]) -> Lattice:
    """The lattice of one or several layers with these sizes."""
    bases = [steps(sizes) for sizes in layers]
    widths = [max(sum(e for _, e in of[d]) for of in bases) for d in range(len(layers[0]))]
    offsets = [0, *itertools.accumulate(widths)]
    half = (len(layers) - 1).bit_length()
    shapes = [[math.prod(e + 1 for _, e in of) for of in layer] for layer in bases]
    stops = list(itertools.accumulate(map(math.prod, shapes)))
    starts = [0, *stops[:-1]]
    tiles, masks, parts = np.empty((len(widths), stops[-1]), dtype=np.int64), np.empty(stops[-1], dtype=np.int64), []
    for i, (layer, shape, start, stop) in enumerate(zip(bases, shapes, starts, stops, strict=True)):
        # none of these numbers contains all ones of another
        mask = np.full(1, (i | (i ^ (1 << half) - 1) << half) << offsets[-1], dtype=np.int64)
        for d, (of, offset, width) in enumerate(zip(layer, offsets, widths, strict=False)):
            extents, bits = _divisors(of, offset, width)
            tiles[d, start:stop].reshape(shape)[...] = extents.reshape([-1 if e == d else 1 for e in range(len(shape))])
            mask = np.bitwise_or.outer(mask, bits).ravel()
        masks[start:stop] = mask
        parts.append(Part(start, stop, _axes(layer)))
    if offsets[-1] + 2 * half < 31:  # halves the memory traffic of all-pairs comparisons
        masks = masks.astype(np.int32)
    origin, last = (np.repeat(ends, [part.stop - part.start for part in parts]) for ends in (starts, stops))
    rest = last - 1 - np.arange(stops[-1]) + origin
    complete = stops[-1] == sum(math.prod(len(divisors(n)) for n in sizes) for sizes in layers)
    return Lattice(tiles, masks, origin, rest, tuple(parts), tuple(zip(offsets, widths, strict=False)), complete)


def _divisors(of: tuple[tuple[int, int], ...], offset: int, width: int) -> tuple[Ints, Ints]:
    """A dimension's extents and their masks; bits that only other layers need are set in all of them."""
    extents, bits, used = np.ones(1, dtype=np.int64), np.zeros(1, dtype=np.int64), offset
    for base, exponent in of:
        digit = np.arange(exponent + 1)
        extents = np.multiply.outer(extents, base**digit).ravel()
        bits = np.bitwise_or.outer(bits, ((1 << digit) - 1) << used).ravel()
        used += exponent
    return extents, bits | (1 << offset + width) - (1 << used)


def _axes(layer: tuple[tuple[tuple[int, int], ...], ...]) -> tuple[tuple[int, int, int, int], ...]:
    axes, stride = [], math.prod(e + 1 for of in layer for _, e in of)
    for d, of in enumerate(layer):
        for base, exponent in of:
            stride //= exponent + 1
            axes.append((d, base, exponent, stride))
    return tuple(axes)


def least_of_multiples(values: Floats, lattice: Lattice, dims: Bools) -> Floats:
    """For each tile that spans only the given dimensions (flags), the minimum over its multiples of the same kind, itself
    included, [..., tile]."""
    least, stop = values.copy(), 0
    for part in lattice.parts:
        exponents = [exponent for d, _, exponent, _ in part.axes if dims[d]]
        stride = math.prod(e + 1 for e in exponents)
        start, stop = stop, stop + stride
        for exponent in exponents:
            stride //= exponent + 1
            digits = least[..., start:stop].reshape(*least.shape[:-1], -1, exponent + 1, stride)
            for e in reversed(range(exponent)):
                np.minimum(digits[..., e, :], digits[..., e + 1, :], out=digits[..., e, :])
    return least


@functools.lru_cache(maxsize=64)
def spreads(sizes: tuple[int, ...], allowed: tuple[bool, ...], fanout: int) -> Ints:
    """All spatial mappings of the lattice over a fan-out, [spatial mapping, dimension]."""
    spatial = np.ones((1, len(sizes)), dtype=np.int64)
    for d, of in enumerate(steps(sizes)):
        if not allowed[d] or not of:
            continue
        extents = (math.prod(part) for part in itertools.product(*([b**e for e in range(n + 1)] for b, n in of)))
        factors = np.array(sorted(f for f in extents if f <= fanout), dtype=np.int64)
        grown = np.repeat(spatial, len(factors), axis=0)
        grown[:, d] = np.tile(factors, len(spatial))
        spatial = grown[grown.prod(axis=1) <= fanout]
    return spatial
