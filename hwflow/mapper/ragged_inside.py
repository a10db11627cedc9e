"""Spatial loops with imperfect factors, the tiles below them, and the energy that both decide.

With p tiles of extent x along a dimension and spatial factors f, the loops outside make n = ceil(p / f) passes at least, and
p / n instances are active on average. Timeloop counts what the first instance does, which is in every pass, with whole tiles
(`hwflow.mapper.ragged_space` names the mappings where that is not so), times the average number of instances in all dimensions,
truncated. So a spread dimension counts as p x instead of its size. Words that arrive at a memory are averaged over all
instances of the fan-out, and then multiplied by the average number again; where a pass is not full, they count less.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np

from hwflow.arrays import Bools, Floats, Ints
from hwflow.layers import TENSORS
from hwflow.loopnest.nest import OUTPUTS
from hwflow.mapper.ragged_space import RaggedSpace, Term, extents, swept

Factors = tuple[int, ...]

_PAIRS = 1 << 14  # tiles at once: their arrays fit a cache


@dataclass(frozen=True)
class Spread:
    """Spatial loops that are bounded together.

    Attributes:
        factors: of each dimension, over all fan-outs; of those with equal passes the smallest, where no other fan-out, window
            or temporal loop inside tells them apart.
        largest: the largest factors that these stand for.
        levels: the factors over the fan-out below each level that has one, of one of the choices that these stand for.
    """

    factors: Factors
    largest: Factors
    levels: dict[int, Factors]


@dataclass(frozen=True)
class InnerCosts:
    """Of tiles below the fan-outs, each under one spread, [tile].

    Attributes:
        spread: the index of a tile's spread; ascending.
        tiles: extents, [tile, dimension]; `spans`: with the spatial loops, at most the layer's sizes.
        fixed: energy that loops outside do not change.
        crossing: energy of a tensor's words between the memories inside and outside, for one pass over its idle dimensions,
            [tensor, tile].
        cycles: that compute takes, or words that MAC units exchange with memories outside the fan-outs.
        omitted: energy that Timeloop's truncation of instances omits, at least.
    """

    spread: Ints
    tiles: Floats
    spans: Floats
    fixed: Floats
    crossing: Floats
    cycles: Floats
    omitted: Floats

    @classmethod
    def joined(cls, parts: Sequence[InnerCosts]) -> InnerCosts:
        """Several as one."""
        columns = {field.name: [getattr(part, field.name) for part in parts] for field in fields(cls)}
        return cls(**{name: np.concatenate(each, axis=1 if name == "crossing" else 0) for name, each in columns.items()})


def spreads(space: RaggedSpace) -> list[Spread]:
    """All spatial loops. Which fan-out has which factor matters along windows alone, where neighbours can hand words on."""
    sizes = space.sizes
    levels = [k for k in range(len(space.temporal)) if space.nest.levels[k].fanout > 1]
    slides = [term.dim for pairs in space.windows for pair in pairs for term in pair]
    inside = _inside(space)
    apart = {d for d in range(len(sizes)) if sum(d in dims for dims in space.spatial) > 1} | set(slides)
    found: dict[tuple[Factors, ...], Spread] = {}
    for each in itertools.product(*(list(_choices(space, k)) for k in levels)):
        choice = each
        total = tuple(math.prod(factors) for factors in zip(*choice, strict=True)) if choice else (1,) * len(sizes)
        alike = tuple(
            f if d in inside | apart else -(-n // -(-n // f)) for d, (f, n) in enumerate(zip(total, sizes, strict=True))
        )
        key = (alike, *(tuple(factors[d] for d in sorted(apart)) for factors in choice))
        if key in found:
            total, choice = tuple(map(max, total, found[key].largest)), tuple(found[key].levels.values())
        found[key] = Spread(alike, total, dict(zip(levels, choice, strict=True)))
    return list(found.values())


def _choices(space: RaggedSpace, k: int) -> Iterator[Factors]:
    ways: list[dict[int, int]] = [{}]
    fanout = space.nest.levels[k].fanout
    for d in space.spatial[k]:
        most = min(space.sizes[d], fanout)
        ways = [{**way, d: f} for way in ways for f in range(1, most + 1) if math.prod(way.values()) * f <= fanout]
    for way in ways:
        yield tuple(way.get(d, 1) for d in range(len(space.sizes)))


def _extents(size: int) -> list[tuple[int, int]]:
    """For each number of passes the smallest extent, and the next one with the largest that has as many."""
    least = [*extents(size), size + 1]
    result = []
    for low, after in itertools.pairwise(least):
        result += [(low, low), (low + 1, after - 1)][: min(after - low, 2)]
    return result


def _inside(space: RaggedSpace) -> frozenset[int]:
    """Dimensions with temporal loops below the fan-outs."""
    return frozenset().union(*space.temporal[: space.inner])


class Inside:
    """The tiles below the fan-outs, and their costs.

    Of tiles with as many parts along a dimension the second smallest stands for all larger ones: it needs the least room and
    energy. The smallest has less, but Timeloop may omit too much of it.

    Attributes:
        tiles: extents, [tile, dimension]; `largest`: of those that they stand for.
    """

    def __init__(self, space: RaggedSpace) -> None:
        self.space = space
        self.sizes = np.array(space.sizes, dtype=np.float64)
        self.several = np.array([sum(d in dims for dims in space.spatial) > 1 for d in range(len(space.sizes))])
        self.inside = np.array([d in _inside(space) for d in range(len(space.sizes))])
        self.nearest = np.array([d in space.spatial[space.inner] for d in range(len(space.sizes))])
        sides = []
        for d, n in enumerate(space.sizes):
            column = np.array(_extents(n) if self.inside[d] else [(1, 1)])
            tiles = np.ones((len(column), len(space.sizes)))
            tiles[:, d] = column[:, 0]
            sides.append(column[self._fits(tiles)])
        index = np.indices([len(side) for side in sides]).reshape(len(sides), -1)
        columns = np.stack([side[i] for side, i in zip(sides, index, strict=True)], axis=1).astype(np.float64)
        columns = columns[self._fits(columns[:, :, 0])]
        self.tiles, self.largest = columns[:, :, 0], columns[:, :, 1]

    def _fits(self, tiles: Floats) -> Bools:
        """Which tiles fit the memories below the fan-outs, where all loops of these dimensions inside are at them or below."""
        space, inside = self.space, _inside(self.space)
        fits = np.ones(len(tiles), dtype=np.bool_)
        for k in range(space.inner):
            open_, later = (
                frozenset().union(*levels) for levels in (space.temporal[: k + 1], space.temporal[k + 1 : space.inner])
            )
            if not open_ & later:
                fits &= space.room_for(
                    k, [tiles[:, d] if d in open_ & inside else np.ones(len(tiles)) for d in range(tiles.shape[1])]
                )
        return fits

    def costs(self, space: RaggedSpace, some: Sequence[Spread]) -> InnerCosts:
        """Those of all tiles under each of some spreads that leave work for all of their factors, at the prices of a space."""
        step = max(1, _PAIRS // len(self.tiles))
        parts = [self._costs(space, some[start : start + step], start) for start in range(0, len(some), step)]
        return InnerCosts.joined(parts)

    def _costs(self, space: RaggedSpace, some: Sequence[Spread], start: int) -> InnerCosts:
        m = space.nest.memories
        which = np.repeat(np.arange(len(some)), len(self.tiles))
        tiles = np.tile(self.tiles, (len(some), 1))
        near = np.array([s.levels[space.inner] if s.levels else s.factors for s in some], dtype=np.float64)
        factors, largest = (np.array(each, dtype=np.float64) for each in ([s.factors for s in some], [s.largest for s in some]))
        near = np.where(self.several, near, factors)
        far = factors / near
        # of instances below the innermost fan-out there are so many rows, where others spread the dimension, too
        parts = np.ceil(self.sizes / tiles)
        rows = np.ceil(parts / near[which])
        kept = ((parts >= near[which]) & (rows >= far[which])).all(axis=1)
        which, tiles, parts, rows = which[kept], tiles[kept], parts[kept], rows[kept]
        most = np.tile(self.largest, (len(some), 1))[kept]
        factors, largest, near, far = factors[which], largest[which], near[which], far[which]
        pairs = _Pairs(some, which, tiles, factors, parts, np.ceil(rows / far))
        over, passes = factors > 1, pairs.passes
        active = np.where(over, parts / passes, 1.0).prod(axis=1)
        whole = np.floor(active + 1e-9)
        iterations = np.where(over, passes * tiles, self.sizes).prod(axis=1)  # of the first instance
        full = np.where((far > 1) & (rows - (passes - 1) * far >= 2), 1.0, 1 - (rows * near - parts) / (passes * near))
        alone = self.nearest & (rows * near > parts)
        full = np.where(self.several, full, np.where(alone, parts / (passes * largest), 1.0))
        arriving = whole * full.prod(axis=1)
        share = np.where(over, np.where(passes > 1, 1 / factors, tiles / self.sizes), 1.0)
        held = space.outputs * share[:, [d for d, _ in space.singles[OUTPUTS]]].prod(axis=1)
        own, fixed, slack = np.zeros(len(tiles)), np.zeros(len(tiles)), 0.0
        crossing = np.zeros((len(TENSORS), len(tiles)))
        moved = np.zeros((len(space.temporal), 2, len(tiles)))  # words that MAC units read and write at the levels outside
        for t in range(len(TENSORS)):
            high = space.kept[t][0]
            read, write, update = space.prices(high)
            again = update if t == OUTPUTS else 0.0
            if high >= space.inner:  # the MAC units' operands, from outside
                asked = iterations * self._asked(t, pairs)
                first = space.outputs if t == OUTPUTS else 0.0  # first writes need no read
                moved[high, 0] += asked - first
                moved[high, 1] += asked if t == OUTPUTS else 0.0
                fixed += asked * (read + again) - first * read
                continue
            own += iterations * (read + again) - (held * read if t == OUTPUTS else 0.0)
            read, _, update = space.prices(space.kept[t][1])
            sent, taken = self._words(t, pairs)
            crossing[t] = sent * (read + (update if t == OUTPUTS else 0.0)) + arriving * taken * write
            if t == OUTPUTS:
                fixed -= space.outputs * read + whole * held * write
            slack += (
                2 * (read + update) + math.prod(level.fanout for level in space.nest.levels) * write
            )  # averages are rounded
        leak_inside, leak_outside = float(m.leak[: space.outer].sum()), float(m.leak[space.outer :].sum())
        compute = space.nest.compute_energy
        fixed += whole * (own + iterations * compute + leak_inside * iterations) + leak_outside * iterations - slack
        most = np.where(over, passes * most, self.sizes).prod(axis=1)
        omitted = (active - whole) * (own + leak_inside * iterations) + (space.nest.layer.macs - whole * most) * compute
        spans = np.minimum(tiles * factors, self.sizes)
        cycles = iterations
        for limit, words in zip(m.limits, (moved[:, 0], moved[:, 1], moved.sum(axis=1)), strict=True):
            cycles = np.maximum(cycles, (words / limit).max(axis=0))
        return InnerCosts(start + which, tiles, spans, fixed, crossing, cycles, omitted)

    def _asked(self, t: int, pairs: _Pairs) -> Floats:
        """How many different words instances ask for at a time, at least, whatever they hand on: of tensors that no memory
        below the fan-outs keeps."""
        words = pairs.factors[:, [d for d, _ in self.space.singles[t]]].prod(axis=1)
        for (d, _), (e, _) in self.space.windows[t]:
            for k in pairs.levels:
                words = words * np.maximum(pairs.over(k, d), pairs.over(k, e))
        return np.asarray(words)

    def _words(self, t: int, pairs: _Pairs) -> tuple[Floats, Floats]:
        """Words of a tensor that a memory outside the fan-outs sends, and that one instance is sent, for one pass over its idle
        dimensions, [tile]."""
        sent, taken, share = (np.ones(len(pairs.tiles)) for _ in range(3))
        for d, step in self.space.singles[t]:
            parts, spread = pairs.parts[:, d], pairs.factors[:, d] > 1
            words, exact = 1 + step * (pairs.tiles[:, d] - 1), step * self.sizes[d] - (step - 1) * parts
            sent = sent * np.where(spread, parts * words, exact)
            taken = taken * np.where(spread, pairs.passes[:, d] * words, exact)
        for pair in self.space.windows[t]:
            whole, part = self._window(pair, pairs)
            share = np.minimum(share, part / whole)
            sent, taken = sent * whole * self._distinct(pair, pairs), taken * whole
        return sent * share, taken * share

    def _window(self, pair: tuple[Term, Term], pairs: _Pairs) -> tuple[Floats, Floats]:
        """Words along a window's axis that one instance is sent: with whole tiles, and with what steps renew. Along a spread
        dimension its tiles are whole; along the others the last one is as much smaller as the layer is."""
        (d, a), (e, b) = pair
        (n, m), (x, y), (f, g) = ((of[:, d], of[:, e]) for of in (pairs.passes, pairs.tiles, pairs.factors))
        size, other = float(self.sizes[d]), float(self.sizes[e])
        side = 1 + a * (x - 1) + b * (y - 1)
        part = swept((n, m), (x, y), (a * x * f, b * y * g), pair, int(other))
        first = np.where(f == 1, a * size - a * n, n * a * (x - 1))  # of all tiles along the first dimension
        second = np.where(g == 1, b * other - b * m, m * b * (y - 1))
        whole = n * m + first * m + second * n
        most = np.where(
            (n > 1) & (f == 1),
            1 + a * (size - 1) + b * (y - 1),
            np.where(
                (n == 1) & (g == 1), 1 + a * (x - 1) + b * (other - 1), np.where((f == 1) | (n == 1), n * m * side, np.inf)
            ),
        )
        return whole, np.minimum(np.minimum(part, most), whole)

    def _distinct(self, pair: tuple[Term, Term], pairs: _Pairs) -> Floats:
        """How many instances' words are read, at least, for each word that one of them is sent.

        Neighbours below the innermost fan-out hand words on only where loops of a dimension are left whose partner along the
        window is spread; of each step's words at least one instance's are read. Fan-outs further out take the ratio of words
        read to words delivered, of which at most the smaller factor's instances share one.
        """
        (d, _), (e, _) = pair
        times = np.ones(len(pairs.tiles))
        for k in pairs.levels:
            f, g = pairs.over(k, d), pairs.over(k, e)
            if k == self.space.inner:
                meets = ((f > 1) & (pairs.passes[:, e] > 1)) | ((g > 1) & (pairs.passes[:, d] > 1))
                average = pairs.parts / pairs.passes / pairs.factors  # of instances at work
                some = f * np.minimum(average[:, d], 1.0) + g * np.minimum(average[:, e], 1.0) - 1
                times = times * np.where(meets, 1.0, np.maximum(some, 1.0))
            else:
                times = times * np.maximum(f, g)
        return times

    def places(self, spans: Floats, of: list[Ints]) -> tuple[Ints, ...]:
        """Where tiles that span so much are in arrays over the extents `of`."""
        return tuple(np.searchsorted(column, spans[:, d], side="right") - 1 for d, column in enumerate(of))


@dataclass(frozen=True)
class _Pairs:
    """Tiles, each under the spread `some[which]`, [tile, dimension]: extents, factors, parts, and passes of loops outside."""

    some: Sequence[Spread]
    which: Ints
    tiles: Floats
    factors: Floats
    parts: Floats
    passes: Floats

    @property
    def levels(self) -> list[int]:
        """Those with a fan-out below."""
        return list(self.some[0].levels)

    def over(self, k: int, d: int) -> Floats:
        """Factors of a dimension over the fan-out below level k, [tile]."""
        return np.array([spread.levels[k][d] for spread in self.some], dtype=np.float64)[self.which]
