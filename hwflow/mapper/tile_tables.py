"""Tables of tile footprints over the lattice of tiles of one layer, or of several padded layers."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hwflow.arrays import Bools, Floats, Ints, Places
from hwflow.layers import TENSORS
from hwflow.loopnest.nest import OUTPUTS, Nest
from hwflow.mapper.tile_lattice import Lattice, divisors, lattice_of


class Window(NamedTuple):
    """A sliding window: an axis of the tensor, its two dimensions, and how far a step of each moves the window."""

    axis: int
    dims: tuple[int, int]
    steps: tuple[int, int]


class Slide(NamedTuple):
    """A loop along a sliding window: its dimension, the window's other dimension, and how far a step moves the window."""

    dim: int
    other: int
    step: int
    window: int


class Order(NamedTuple):
    """What the order of a level's loops can achieve, by the loops' bounds, [..., tile].

    Attributes:
        share: share of a tensor's words that still move if it is stationary for as long as possible, [tensor, tile].
        still: whether no loop moves the tensor; `useful`: whether keeping it stationary can pay, both [tensor, tile].
        first: whether a loop along a sliding window can be inside all others that move the window, [slide, tile].
    """

    share: Floats
    still: Bools
    useful: Bools
    first: Bools


@dataclass(frozen=True)
class TileTables:
    """Tables over the tiles of a lattice, [..., tile]; tiles are given by their places in the lattice.

    Attributes:
        sizes: of the layer's dimensions; `macs`: its multiply-accumulates.
        sound: whether counts for windows are lower bounds for every mapping.
        relevant: which dimensions a tensor depends on, [tensor, dimension].
        windowed: the tensor with sliding windows, or -1; `windows`: these; `slides`: the loops along those that overlap.
        extents: extents of the dimensions with loops, by dimension, [tile].
        span: product of all extents, [tile].
        idle: product of the extents of the dimensions irrelevant to a tensor, [tensor, tile]; `alone`: its ratio to that of
            the whole layer.
        volume: words of each tensor in a tile, [tensor, tile]; `final`: those of the layer's outputs, without padding, [tile].
        waste: by how much padding enlarges the tile's layer, [tile].
        sides: the length of a window along its axis, [window, tile].
        skips: for some dimensions the tiles whose multiples along the dimension can cost more, [tile].
        leads: which tensor can be stationary while a slide's loop is the innermost, [slide, tensor].
        undoes: around which tiles a loop can move a window back to where it was, [window, tile]; `continues`: around which a
            loop of the slide's other dimension can move the window as the slide's own does, [slide, tile]; `foreign`: which
            loops move the tensor otherwise than along the window, [window, tile].
    """

    lattice: Lattice
    sizes: Ints
    macs: float
    sound: bool
    relevant: Bools
    windowed: int
    windows: tuple[Window, ...]
    slides: tuple[Slide, ...]
    extents: Mapping[int, Floats]
    span: Floats
    idle: Floats
    alone: Floats
    volume: Floats
    final: Floats
    waste: Floats
    sides: Floats
    skips: Mapping[int, Bools]
    leads: Bools
    undoes: Bools
    continues: Bools
    foreign: Bools

    def overlap(self, slide: Slide, since: Places, place: Places) -> Floats:
        """The share of the tile `since` that one step of the loop around the tile `place` renews, [..., mapping]."""
        side = self.sides[slide.window][since]
        return np.asarray(1 - np.maximum(side - slide.step * self.extents[slide.dim][place], 0) / side)

    def renewed(self, s: int, part: Floats, place: Places, loops: Places, *, spread: bool) -> Floats:
        """The average share renewed over all steps of the `loops` around the tile `place`, where each step of the slide's loop,
        the innermost that moves the window, renews `part`.

        Sound scores allow for all that further loops can do, whatever their order. Let N be the number of steps in all. Each
        loop of bound c outside turns a total of T tiles into c T - (c - 1)(1 - x), where its own steps renew the share x: 1,
        unless they move the window exactly as the innermost loop does (`part`) or back to where it was (nothing). So the total
        is at least N part + (1 - part) N / W, where W is the product of the bounds of the loops that can move the window like
        the innermost one, unless a loop undoes a motion; then at least the innermost loop's own steps count. (hwflow's own.)

        Args:
            s: which slide.
            spread: whether fan-outs above the loops can follow, so that later motions are not known.
        """
        slide, bound = self.slides[s], self.extents[self.slides[s].dim][loops]
        if not self.sound:
            return np.asarray(part + (1 - part) / bound)
        alone = self.extents[slide.other][place] == self.sizes[slide.other]
        undone = ~alone if spread else self.undoes[slide.window][place]
        other = np.where(self.continues[s][place], self.extents[slide.other][loops], 1.0)
        left = self.lattice.rest[place]
        further = self.extents[slide.dim][left] * np.where(self.continues[s][place], self.extents[slide.other][left], 1.0)
        alike = np.where(self.foreign[slide.window][loops], bound * other, further)
        share = np.where(undone, part * (1 - 1 / bound), part + (1 - part) / alike)
        return np.where(bound > 1, share, 1.0)

    def least_halo(self, since: Places, place: Places, *, spread: bool) -> Floats:
        """The smallest share of a window's tile that a step of any loop not yet fixed renews, [..., mapping]."""
        least = np.ones(since.shape)
        for s, slide in enumerate(self.slides):
            part = self.overlap(slide, since, place)
            if self.sound:
                share = self._least_renewed(s, part, place, spread=spread)
            else:
                share = self.renewed(s, part, place, self.lattice.rest[place], spread=spread)
            least = np.minimum(least, share)
        return least

    def _least_renewed(self, s: int, part: Floats, place: Places, *, spread: bool) -> Floats:
        """The same as `renewed`, for loops of any bounds."""
        slide, left = self.slides[s], self.lattice.rest[place]
        bound = self.extents[slide.dim][left]
        undone = self.extents[slide.other][left] > 1 if spread else self.undoes[slide.window][place]
        alike = bound * np.where(self.continues[s][place], self.extents[slide.other][left], 1.0)
        share = np.where(undone, part / 2, part + (1 - part) / alike)
        return np.where(bound > 1, share, 1.0)

    def order(self, innermost: tuple[int, ...]) -> Order:
        """What the loop orders can achieve at a level with these innermost loops."""
        idle = self.idle.copy()
        for t in range(len(TENSORS)):
            moved = np.zeros(self.lattice.size, dtype=np.bool_)
            for d in innermost:
                if d in self.extents and self.relevant[t, d]:
                    inside = innermost[: innermost.index(d)]
                    alone = math.prod(self.extents[e] for e in inside if e in self.extents and not self.relevant[t, e])
                    idle[t] = np.where(~moved & (self.extents[d] > 1), alone, idle[t])
                    moved |= self.extents[d] > 1
        useful = (idle > 1) | (self.span == 1)
        if self.windowed >= 0:
            useful[self.windowed] = True
        first = np.ones((len(self.slides), self.lattice.size), dtype=np.bool_)
        for s, slide in enumerate(self.slides):
            for d in innermost[: innermost.index(slide.dim) if slide.dim in innermost else None]:
                if d in self.extents and self.relevant[self.windowed, d]:
                    first[s] &= self.extents[d] == 1
        return Order(1 / idle, idle == self.span, useful, first)

    def whole_along(self, dims: Bools) -> Bools:
        """Which tiles span the whole layer along the given dimensions (flags)."""
        bits = self.lattice.bits(dims)
        return np.asarray((self.lattice.masks & bits) == bits)


def tile_tables(nest: Nest, *, sound: bool, padded: Sequence[tuple[int, ...]] = ()) -> TileTables:
    """The tables of a layer, or of one or several padded layers with the sizes that `padded` gives."""
    sizes = nest.sizes
    lattice = lattice_of(*(padded or [tuple(int(n) for n in sizes)]))
    extents = {int(d): lattice.tiles[d].astype(np.float64) for d in np.flatnonzero(sizes > 1)}
    relevant = np.array([shape.relevant for shape in nest.shapes])
    idle, volume, span = _measured(nest, lattice, extents, relevant)
    waste, final, alone = np.empty_like(span), np.empty_like(span), np.empty_like(idle)
    for start, stop, _ in lattice.parts:
        waste[start:stop] = span[stop - 1] / float(sizes.prod())
        final[start:stop] = volume[OUTPUTS, stop - 1] / waste[start]
        alone[:, start:stop] = idle[:, start:stop] / idle[:, stop - 1, None]
    windowed = next((t for t, shape in enumerate(nest.shapes) if shape.windows), -1)
    windows = _windows(nest, windowed)
    # a window of one dimension does not overlap itself
    overlapping = [w for w in windows if set(w.dims) <= set(extents)]
    slides = tuple(
        Slide(d, other, step, w)
        for w, window in enumerate(overlapping)
        for d, other, step in zip(window.dims, window.dims[::-1], window.steps, strict=True)
    )
    sides = np.ones((len(overlapping), lattice.size))
    for slide in slides:
        sides[slide.window] += slide.step * (extents[slide.dim] - 1)
    skips = _skipping(nest, lattice, extents)
    if sound:  # with sliding windows even sound scores are no bounds for these
        skips |= {slide.dim: np.ones(lattice.size, dtype=np.bool_) for slide in slides}
    # a window slides along the innermost loop: which tensor can be stationary while a dimension's loop is that one
    leads = np.array([[t == windowed or not relevant[t, s.dim] for t in range(len(TENSORS))] for s in slides], dtype=np.bool_)
    return TileTables(
        lattice=lattice,
        sizes=sizes,
        macs=float(nest.layer.macs),
        sound=sound,
        relevant=relevant,
        windowed=windowed,
        windows=windows,
        slides=slides,
        extents=extents,
        span=span,
        idle=idle,
        alone=alone,
        volume=volume,
        final=final,
        waste=waste,
        sides=sides,
        skips=skips,
        leads=leads,
        **_motions(lattice, extents, relevant, windowed, overlapping if sound else (), slides if sound else ()),
    )


def _motions(
    lattice: Lattice,
    extents: Mapping[int, Floats],
    relevant: Bools,
    windowed: int,
    windows: Sequence[Window],
    slides: Sequence[Slide],
) -> dict[str, Bools]:
    """`undoes`, `continues` and `foreign`.

    A loop around a tile with extents x and y in dimensions d and e, which move the window by a and b a step, moves it by a x u,
    where u is the product of the bounds of the loops of d inside, or b y v. When it steps, the loops inside return: Timeloop
    simulates two iterations of each loop, so each has moved the window by one step of its own, whatever its bound. With u_i and
    v_i for the loops inside, the window is back where it was if a x (u - sum u_i) = b y sum v_i, and likewise with d and e
    exchanged. It moves as d's innermost loop does, by a x, when a loop of e steps, if b y (v - sum v_i) = a x (1 + sum u_i).
    """
    undoes = np.zeros((len(windows), lattice.size), dtype=np.bool_)
    foreign = np.zeros_like(undoes)
    continues = np.zeros((len(slides), lattice.size), dtype=np.bool_)
    if not windows:
        return {"undoes": undoes, "continues": continues, "foreign": foreign}
    whole = {d: _whole(lattice, extent) for d, extent in extents.items()}

    def meets(d: int, step: float, e: int, other: float, first: int) -> Bools:
        """Whether a step of a loop of d, less those of the loops of d inside, can be as long as those of some of e inside."""
        columns = np.stack([step * extents[d], other * extents[e], whole[d] / extents[d], whole[e] / extents[e]])
        cases, index = np.unique(columns.astype(np.int64), axis=1, return_inverse=True)
        found = [
            any(far * m == near * (s + first) for m in _advances(left) for s in _returns(rest))
            for far, near, left, rest in cases.T.tolist()
        ]
        return np.array(found, dtype=np.bool_)[index.reshape(-1)]

    for w, window in enumerate(windows):
        (d, e), (a, b) = window.dims, window.steps
        undoes[w] = meets(d, a, e, b, 0) | meets(e, b, d, a, 0)
        for other in extents:
            if relevant[windowed, other] and other not in window.dims:
                foreign[w] |= extents[other] > 1
    for s, slide in enumerate(slides):
        far = next(b for d, b in zip(windows[slide.window].dims, windows[slide.window].steps, strict=True) if d == slide.other)
        continues[s] = meets(slide.other, far, slide.dim, slide.step, 1)
    return {"undoes": undoes, "continues": continues, "foreign": foreign}


@functools.cache
def _returns(number: int) -> frozenset[int]:
    """The sums of the steps of one or more loops of a dimension, in tiles; their bounds are factors of a number."""
    if number == 1:
        return frozenset()
    factors = [c for c in divisors(number) if 1 < c < number]
    return frozenset({1}.union(1 + c * s for c in factors for s in _returns(number // c)))


@functools.cache
def _advances(number: int) -> frozenset[int]:
    """The step of a loop, in tiles, less those of all loops of its dimension inside; their bounds are factors of a number."""
    if number == 1:
        return frozenset()
    factors = [c for c in divisors(number) if 1 < c < number]
    return frozenset({1}.union(c * m - 1 for c in factors for m in _advances(number // c)))


def _whole(lattice: Lattice, extent: Floats) -> Floats:
    """The extent of the whole layer along a dimension, for each tile of its part of the lattice."""
    result = np.empty_like(extent)
    for start, stop, _ in lattice.parts:
        result[start:stop] = extent[stop - 1]
    return result


def _windows(nest: Nest, windowed: int) -> tuple[Window, ...]:
    if windowed < 0:
        return ()
    shape = nest.shapes[windowed]
    windows = []
    for axis in shape.windows:
        first, second = (int(d) for d in np.flatnonzero(shape.coefficients[axis]))
        steps = int(shape.coefficients[axis, first]), int(shape.coefficients[axis, second])
        windows.append(Window(axis, (first, second), steps))
    return tuple(windows)


def _measured(nest: Nest, lattice: Lattice, extents: Mapping[int, Floats], relevant: Bools) -> tuple[Floats, Floats, Floats]:
    """`idle`, `volume` and `span`."""
    idle, span = np.ones((len(TENSORS), lattice.size)), np.ones(lattice.size)
    volume = np.ones_like(idle)
    for d, extent in extents.items():
        span *= extent
        for t in range(len(TENSORS)):
            if not relevant[t, d]:
                idle[t] *= extent
    for t, shape in enumerate(nest.shapes):
        for axis in shape.terms:
            terms = [coefficient * (extents[d] - 1) for d, coefficient in axis if d in extents]
            if terms:
                volume[t] *= 1 + sum(terms)
    return idle, volume, span


def _skipping(nest: Nest, lattice: Lattice, extents: Mapping[int, Floats]) -> dict[int, Bools]:
    """For some dimensions the tiles around which a step of the dimension skips words, so that the hull of a larger tile
    contains unused words. Elsewhere larger tiles never cost more; the argument is hwflow's own:

    Let b tiles of e steps of c words each sweep along an axis, on which the other dimensions span s words. A tile renews c e
    words, or all of its s + c (e - 1) words if it starts anew. Over all b e steps the former total does not depend on e, and
    the latter falls with e as long as s >= c.
    """
    skips: dict[int, Bools] = {}
    for shape in nest.shapes:
        for axis in shape.terms:
            for d, step in axis:
                if step > 1 and d in extents:
                    others = [coefficient * (extents[e] - 1) for e, coefficient in axis if e != d and e in extents]
                    skips[d] = skips.get(d, False) | (1 + sum(others, np.zeros(lattice.size)) < step)
    return skips
