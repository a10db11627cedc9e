"""Words that every mapping with given spatial loops moves at least: the formulas, over all temporal tiles of a level at once.

Formulas and the reasons why they hold are on the page "Certificates" of the documentation; names are those of the page.

Arrays have one axis for each prime of each dimension that temporal loops have left to split; the index along it is the exponent
with which the tile has that prime. Behind these come axes for the exponents of a run's end, where an array has them, and one
for the choices of spatial loops.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hwflow.certificate.motions import loops_between, primes, repeated, undoes
from hwflow.certificate.space import INPUTS, OUTPUTS, Space, Spread, Transfer
from hwflow.layers import DIMS

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

Pair = tuple[tuple[int, int], tuple[int, int]]


class Fans:
    """Quantities that depend on spatial loops alone, [choice]; `spread` is [choice, level, dimension]."""

    def __init__(self, space: Space, spread: npt.NDArray[np.int64]) -> None:
        self.space, self.spread = space, spread
        fans = spread.prod(axis=-1, dtype=np.float64)
        self.instances = [fans[..., k + 1 :].prod(axis=-1) for k in range(len(space.levels))]
        self.cycles = math.prod(space.sizes) / fans.prod(axis=-1)
        self._fan: dict[Transfer, Floats] = {}
        self._parts: dict[int, Floats] = {}

    def fan(self, transfer: Transfer) -> Floats:
        """How many different words the instances below one of the upper level ask for at a time, for one of each."""
        if transfer not in self._fan:
            words = np.ones(len(self.spread))
            for m in range(transfer.low + 1, transfer.high + 1):
                for axis in self.space.axes[transfer.tensor]:
                    factors = [self.spread[:, m, d] for d, _ in axis]
                    if len(factors) > 1 and m > transfer.low + 1:  # the share that is asked for, of what hand-overs leave
                        words = words * np.maximum.reduce(factors)
                    else:
                        words = words * (sum(factors, start=np.zeros(())) - len(factors) + 1 if factors else 1.0)
            self._fan[transfer] = words
        return self._fan[transfer]

    def parts(self, k: int) -> Floats:
        """Outputs that one instance of level k is responsible for."""
        if k not in self._parts:
            words = self.space.words(OUTPUTS, [float(n) for n in self.space.sizes])
            outputs = sorted(self.space.relevant[OUTPUTS])
            self._parts[k] = words / self.spread[:, k + 1 :, outputs].prod(axis=(1, 2), dtype=np.float64)
        return self._parts[k]


class Words:
    """The words of one layer on one chip under choices of spatial loops.

    Without any choices, those outside all fan-outs.
    There a tile is taken with the factors that fan-outs inside it add, so its words are the same for all spatial loops.

    Attributes:
        left: what the choices leave to temporal loops, [dimension, choice], or [dimension, 1] where that is the same for all.
        powers: the exponents of this, [axis, choice]; `axes`: dimension, prime and the largest exponent of each axis.
        sides: for each level and axis the largest exponent of tiles that fit the level and those outside.
    """

    def __init__(self, space: Space, given: Sequence[Spread] | None) -> None:
        self.space = space
        spreads = np.array(given or [((1,) * len(space.sizes),) * len(space.levels)], dtype=np.int64)
        self.count = len(spreads)
        self.fans = Fans(space, spreads)
        self.spread = np.moveaxis(spreads, 0, 2)
        left = np.array(space.sizes)[:, None] // self.spread.prod(axis=0)
        self.left = left[:, :1] if (left == left[:, :1]).all() else left
        of = [(d, prime) for d, n in enumerate(space.sizes) for prime in primes(n)]
        self.powers = np.array([[power(n, prime) for n in left[d].tolist()] for d, prime in of]).reshape(len(of), self.count)
        self.axes = [(d, prime, int(most)) for (d, prime), most in zip(of, self.powers.max(axis=1), strict=True)]
        self.open = [reach if given else reach | space.spread_dims for reach in space.reach[:-1]]
        self.inside = np.multiply.accumulate(self.spread, axis=0)
        self.one = np.ones((1,) * (len(self.axes) + 1))
        self.sides = self._sides(0 if given else space.outermost_fan)
        self._tiles: dict[int, list[Floats]] = {}
        self._delivered: dict[Transfer, Floats] = {}
        self._couplings: dict[tuple[int, Pair], tuple[Bools, Bools]] = {}
        self._handing: dict[int, list[Floats]] = {}

    def _sides(self, first: int) -> list[list[int]]:
        """Capacities count from level `first` outwards."""
        sides = [most for _, _, most in self.axes]
        result = [sides]
        for k in reversed(range(len(self.space.levels))):
            sides = [side if d in self.open[k] else 0 for side, (d, _, _) in zip(sides, self.axes, strict=True)]
            level = self.space.levels[k]
            if k >= first and math.isfinite(level.words):
                sides = [self._side(k, a, side) for a, side in enumerate(sides)]
            result.append(sides)
        return result[::-1]

    def _side(self, k: int, a: int, most: int) -> int:
        """The largest exponent along one axis alone with which a tile fits level k under any choice."""
        (d, prime, _), level = self.axes[a], self.space.levels[k]
        extents: list[Floats] = [*self.inside[k].astype(np.float64)]
        extents[d] = float(prime) ** np.arange(most + 1)[:, None] * extents[d]
        fits = sum((self.space.words(t, extents) for t in level.keeps), np.zeros((most + 1, 1))) <= level.words
        return int(np.flatnonzero(fits.any(axis=-1)).max(initial=0))

    # Tiles and runs --------------------------------------------------------------------------------------------------

    def tile(self, k: int) -> list[Floats]:
        """The temporal factors of the tiles of level k, by dimension; of the whole layer's where k is the number of levels."""
        if k not in self._tiles:
            result = [self.one] * len(DIMS)
            for a, (d, prime, _) in enumerate(self.axes):
                shape = [1] * (len(self.axes) + 1)
                shape[a] = self.sides[k][a] + 1
                result[d] = result[d] * (float(prime) ** np.arange(shape[a])).reshape(shape)
            self._tiles[k] = result
        return self._tiles[k]

    def shape_of(self, k: int) -> tuple[int, ...]:
        """The shape of an array over all tiles of level k; k = -1: the MAC units'."""
        return (*((side + 1 for side in self.sides[k]) if k >= 0 else (1 for _ in self.axes)), self.count)

    def extents(self, k: int) -> list[Floats]:
        """The extents of the tiles of level k, by dimension."""
        return [tile * self.inside[k][d] for d, tile in enumerate(self.tile(k))]

    def axes_of(self, dims: frozenset[int]) -> list[int]:
        """The axes of some dimensions."""
        return [a for a, (d, _, _) in enumerate(self.axes) if d in dims]

    def run_axes(self, tensor: int) -> list[int]:
        """The axes that runs of a tensor have: those of its idle dimensions."""
        return self.axes_of(self.space.idle[tensor])

    def fits(self, k: int) -> Bools:
        """Which tiles fit level k."""
        level = self.space.levels[k]
        if not math.isfinite(level.words):
            return self.one > 0
        extents = self.extents(k)
        return np.asarray(sum((self.space.words(t, extents) for t in level.keeps), np.zeros(())) <= level.words)

    def ends(self, array: npt.NDArray[Any], tensor: int) -> npt.NDArray[Any]:
        """An array over tiles as one over the tiles in which runs of a tensor end, with its idle axes at the back."""
        idle = self.run_axes(tensor)
        back = np.moveaxis(array, idle, range(array.ndim - 1 - len(idle), array.ndim - 1))
        return np.expand_dims(back, tuple(idle))

    def tiles(self, array: npt.NDArray[Any], tensor: int) -> npt.NDArray[Any]:
        """An array over tiles, with axes of length 1 for the ends of runs."""
        return array.reshape((*array.shape[:-1], *(1,) * len(self.run_axes(tensor)), array.shape[-1]))

    def growth(self, dims: Collection[int], tensor: int, k: int, whole: bool) -> Floats:
        """By how much a run of a tensor makes the tiles of level k grow in some of its idle dimensions; below 1: no run."""
        inner = math.prod((self.tile(k)[d] for d in dims), start=self.one)
        if whole:
            return np.asarray(math.prod((self.left[d] for d in dims), start=np.ones(1)) / inner)
        outer = math.prod((self.tile(len(self.space.levels))[d] for d in dims), start=self.one)
        return np.asarray(self.ends(outer, tensor) / self.tiles(inner, tensor))

    # Words -----------------------------------------------------------------------------------------------------------

    def delivered(self, transfer: Transfer) -> Floats:
        """Words that an instance of the lower level is sent if every step of a loop outside its tile sends the whole tile."""
        if transfer not in self._delivered:
            inside = math.prod(self.tile(transfer.low), start=self.one)
            words = self.space.words(transfer.tensor, self.extents(transfer.low))
            self._delivered[transfer] = np.asarray(words * (self.fans.cycles / inside))
        return self._delivered[transfer]

    def kept(self, transfer: Transfer, *, whole: bool) -> Floats:
        """The same if a run of the transfer's tensor is directly outside the tile: fewer by its growth, [tile, end of the run]
        with axes of length 1 for the tile's idle ones, on which it does not depend; [tile] for runs that are `whole`."""
        k, tensor = transfer.low, transfer.tensor
        idle = self.space.idle[tensor]
        if whole:
            return np.asarray(self.delivered(transfer) / np.maximum(self.growth(idle, tensor, k, True), 1.0))
        inside = math.prod((tile for d, tile in enumerate(self.tile(k)) if d not in idle), start=self.one)
        outer = math.prod((self.tile(len(self.space.levels))[d] for d in idle), start=self.one)
        words = self.space.words(tensor, self.extents(k)) * (self.fans.cycles / inside)
        return np.asarray(self.tiles(words, tensor) / self.ends(outer, tensor))

    def slides(self, transfer: Transfer, tensor: int) -> bool:
        """Whether less than whole tiles may be sent if a run of `tensor` is directly outside."""
        if transfer.tensor != INPUTS or transfer.low < 0:
            return False
        return any(tensor == INPUTS or d in self.space.idle[tensor] for pair in self.space.windows for d, _ in pair)

    def shares(self, transfer: Transfer, tensor: int, *, whole: bool) -> tuple[Floats | float, Floats | float]:
        """For inputs with sliding windows, the least share of a tile that a step sends on average, if a run of `tensor` is
        directly outside the tile: without, and with what neighbours hand to one another. Of inputs: if that run is not empty.

        Args:
            whole: for runs that have all idle factors that are left, as arrays over tiles.
        """
        k, idle = transfer.low, self.space.idle[tensor]
        extents, left = self.extents(k), [n / inner for n, inner in zip(self.left, self.tile(k), strict=True)]

        def over(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
            return array if whole else self.tiles(array, tensor)

        sent: Floats | float = 1.0
        asked: Floats | float = 1.0
        along = [over(hands) for hands in self._hands(k, extents, left)]
        together = math.prod(along, start=np.ones(()))
        for pair, hands in zip(self.space.windows, along, strict=True):
            for (d, step), (e, other) in (pair, pair[::-1]):
                if tensor == INPUTS:  # any loop may follow the run
                    grows = far = over(left[d])
                elif d in idle:
                    grows = self.growth([d], tensor, k, whole)
                    far = np.where(_doubled(grows, self._loops(k, d) - 1), over(left[d]), grows)
                else:
                    continue
                ordered = ((d, step), (e, other))
                undone, repeats = map(over, self._coupled(ordered, k, extents, left))
                still = own = 1 - 1 / _least_bound(grows, self.space.sizes[d])  # the share of the first loop's steps
                if tensor != INPUTS and undone.any():
                    between = self._undone(ordered, k, undone, grows, over, extents)
                    undone, still = between > 0, 1 - 1 / (grows * np.maximum(between, 1.0))
                first = grows > 1
                side = np.asarray(1 + step * (extents[d] - 1) + other * (extents[e] - 1))
                part = over(1 - np.maximum(side - step * extents[d] * self._between(k, d), 0.0) / side)
                rare = 1 / np.where(repeats, over(left[d] * left[e]), np.maximum(far, 1.0))
                share = np.where(undone, part * still, part * (1 - rare) + rare)
                sent = np.minimum(sent, np.where(first, share, 1.0))
                if tensor != INPUTS and (together > 1).any():
                    # Whole tiles are handed on, too, unless a step of the first loop sends fewer words than the whole tile.
                    whole_tiles = over(step * extents[d] * self.spread[k + 1 :, d].prod(axis=0) >= side)
                    both = over((left[d] > 1) & (left[e] > 1))
                    all_handed = undone | repeats | both | (whole_tiles & ~over(self._quiet(k, pair, left)))
                    # The first loop's own steps move along its window alone, to neighbours that differ there alone.
                    handed = share / together + part * own * (1 / hands - 1 / together)
                    # So do those of the first loop that moves inputs otherwise, where no neighbour lies.
                    beside = over(self._beside(k, left)) & (hands == together) & ~undone & ~repeats & ~both
                    handed = np.where(beside, np.maximum(handed, (part - (part - hands) / (2 * grows)) / hands), handed)
                    share = np.where(all_handed, handed, part * (1 - rare) / hands + rare)
                asked = np.minimum(asked, np.where(first, share, 1.0))
        return sent, asked

    def _loops(self, low: int, d: int) -> int:
        """How many temporal loops of a dimension there can be outside a level."""
        return sum(d in level.temporal for level in self.space.levels[low + 1 :])

    def _between(self, low: int, d: int) -> Floats:
        """The spatial factors of a dimension between a level and the next one outside that may have its temporal loops."""
        factor = np.ones(self.count)
        for k in range(low + 1, len(self.space.levels)):
            factor = factor * self.spread[k][d]
            if d in self.space.levels[k].temporal:
                break
        return factor

    def _coupled(self, pair: Pair, k: int, extents: list[Floats], left: list[Floats]) -> tuple[Bools, Bools]:
        """Around which tiles of level k loops of both dimensions of a window can undo each other's motion, and around which
        later ones can repeat the motion of the first, if that is one of the pair's first dimension."""
        if (k, pair) not in self._couplings:
            (d, step), (e, other) = pair
            near = (step * extents[d] <= other * self.space.sizes[e]) & (other * extents[e] <= step * self.space.sizes[d])
            undone = np.asarray((left[d] > 1) & (left[e] > 1) & near)
            repeats = undone.copy()
            if undone.any():  # steps of loops outside are multiples of the tile's, and of the spatial factors between
                columns = [self._between(k, d)]
                for f, moved in pair:
                    columns += [moved * extents[f], left[f], self.spread[k + 1 :, f].prod(axis=0)]
                cases = _where(undone, columns)
                found = [(repeated(*case), undoes(*case[1:]) or undoes(*case[4:], *case[1:4])) for case in cases]
                repeats[undone], undone[undone] = zip(*found, strict=True)
            self._couplings[k, pair] = undone, repeats
        return self._couplings[k, pair]

    def _undone(
        self, pair: Pair, k: int, some: Bools, grows: Floats, over: Callable[[Floats], Floats], extents: list[Floats]
    ) -> Floats:
        """Around the tiles in `some`, the least product of the loops between a run and one outside that undoes its motion, if
        loops of the pair's first dimension make the tile grow by `grows` in the run, which has none of the second; else 0."""
        (d, step), (e, other) = pair
        left = [over(self.left[f] / self.tile(k)[f]) for f in (d, e)]
        fans = [self.spread[k + 1 :, f].prod(axis=0) for f in (d, e)]
        known = (grows > 1) & (grows % 1 == 0) & (left[0] % grows == 0) & over(fans[0] == 1)
        some, known = np.broadcast_arrays(some, some & known)
        result = np.where(some, 1.0, 0.0)
        if known.any():
            columns = [over(step * extents[d]), grows, left[0] / grows, over(other * extents[e]), left[1], over(fans[1])]
            result[known] = [loops_between(*case) for case in _where(known, columns)]
        return result

    def _hands(self, k: int, extents: list[Floats], left: list[Floats]) -> list[Floats]:
        """For each window, among how many instances along it, below the fan-out above level k, a tile can be handed on: the
        product of its spatial factors if loops can move a tile to where a neighbour's was, and 1 otherwise."""
        if k not in self._handing:
            fan = self.spread[k + 1]
            alone, never = self._neighbours(k + 1)
            result = []
            for pair in self.space.windows:
                meets = self.one < 0
                for (d, step), (e, other) in (pair, pair[::-1]):
                    moved = other * extents[e] * self._between(k, e)
                    farthest = step * extents[d] * (fan[d] - 1) + other * extents[e] * (fan[e] - 1)
                    near = np.where(alone, step * extents[d] % moved == 0, moved <= farthest)
                    meets = meets | (~never & (fan[d] > 1) & (left[e] > 1) & (near | (left[d] > 1)))
                result.append(np.where(meets, math.prod(fan[d] for d, _ in pair), 1).astype(np.float64))
            self._handing[k] = result
        return self._handing[k]

    def _quiet(self, k: int, pair: Pair, left: list[Floats]) -> Bools:
        """Around which tiles of level k no step hands on along a window beside those of its own loops: instances differ in one
        dimension of it alone, no loop is left that inputs do not depend on, and in no other window can two loops cancel."""
        quiet = self._beside(k, left)
        for (d, _), (e, _) in self.space.windows:
            if (d, e) not in {(pair[0][0], pair[1][0]), (pair[1][0], pair[0][0])}:
                quiet = quiet & ((left[d] == 1) | (left[e] == 1))
        return quiet

    def _beside(self, k: int, left: list[Floats]) -> Bools:
        """Around which tiles of level k no neighbour lies where a loop of another window or of none moves inputs: instances
        differ in one dimension of all windows alone, and no loop is left that inputs do not depend on."""
        alone, _ = self._neighbours(k + 1)
        result = np.asarray(alone & (self.one > 0))
        for d in self.space.idle[INPUTS]:
            result = result & (left[d] == 1)
        return result

    def _neighbours(self, k: int) -> tuple[Bools, Bools]:
        """Of the fan-out below level k, whether the loops of one dimension alone move along windows, and whether neighbours can
        never spare reads of inputs, since they differ in another dimension or other instances need the same words; [choice]."""
        space, fan = self.space, self.spread[k]
        windows = {d for pair in space.windows for d, _ in pair}
        alone = sum(((fan[d] > 1).astype(int) for d in windows), np.zeros(self.count, dtype=int)) == 1
        never = np.zeros(self.count, dtype=np.bool_)
        for d in space.levels[k].spatial:  # the innermost last: what neighbours differ in
            if d in windows:
                blocked = np.zeros(self.count, dtype=np.bool_)
            elif d in space.relevant[INPUTS]:
                blocked = np.ones(self.count, dtype=np.bool_)
            else:
                blocked = (fan[d] > 2) | alone
            never = np.where(fan[d] > 1, blocked, never)
        return alone, never


def _where(some: Bools, columns: Sequence[Floats]) -> list[list[int]]:
    """The whole numbers that columns have where `some` are true, one list for each of these."""
    return np.stack([np.broadcast_to(column, some.shape)[some] for column in columns]).astype(np.int64).T.tolist()  # type: ignore[no-any-return]


def _least_bound(growth: Floats, size: int) -> Floats:
    """The least bound that the first loop of a run can have, if loops of a dimension make its tile grow so."""
    least = np.full(np.shape(growth), 2.0)
    for prime in reversed(primes(size)):
        least = np.where(growth % prime == 0, prime, least)
    return least


@functools.cache
def power(number: int, prime: int) -> int:
    """How often a prime divides a number."""
    times = 0
    while number % prime == 0:
        number, times = number // prime, times + 1
    return times


def _doubled(growth: Floats, loops: int) -> Bools:
    """Whether at most so many loops of bound 2 can make a tile grow so."""
    return np.asarray((np.log2(np.maximum(growth, 1.0)) % 1.0 == 0.0) & (growth <= 2.0**loops))
