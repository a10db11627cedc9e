"""What a partial mapping has cost, and what the rest of it costs at least."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hwflow.cost.lattice import climbs, divisors, index_of, spreads, tiles_of
from hwflow.cost.nest import OUTPUTS, Bools, Floats, Ints, Nest
from hwflow.cost.partials import Partial
from hwflow.cost.resources import prices, resources_of, transfers_of
from hwflow.dataflow import LevelConstraint
from hwflow.layers import DIMS, TENSORS


class Scores:
    """Facts about one layer on one accelerator under a dataflow's constraints, and what partial mappings can still cost.

    With `sound`, scores allow for all of Timeloop's finer rules: no completion of a partial mapping costs less.
    """

    def __init__(
        self, nest: Nest, constraints: Sequence[LevelConstraint], objective: str, *, sound: bool = False, linked: int = -1
    ) -> None:
        """`linked`: the tensor that MACs right below a fan-out hand on to one another, while it stays, as if they kept it."""
        self.nest, self.objective, self.sound, self.linked = nest, objective, sound, linked
        self.sizes = nest.sizes
        self.count = len(nest.levels)
        self.macs = float(nest.layer.macs)
        rules = list(reversed(constraints))
        self.temporal = [np.array([d in c.temporal for d in DIMS]) & (self.sizes > 1) for c in rules]
        self.spatial = [
            spreads(self.sizes, tuple(d in c.spatial for d in DIMS), c.level.fanout) if c.level.fanout > 1 else None
            for c in rules
        ]
        self.relevant = np.array([shape.relevant for shape in nest.shapes])
        self.windowed = next((t for t, shape in enumerate(nest.shapes) if shape.windows), -1)
        self.windows = self._windows()
        self.groups = [np.flatnonzero(~self.relevant[t] & (self.sizes > 1)) for t in range(3)]
        self.common = np.flatnonzero(self.relevant.all(axis=0) & (self.sizes > 1))
        self.transfers = transfers_of(nest)
        self.resources = resources_of(nest, self.transfers)
        self.prices = [
            [(r, resource) for r, resource in enumerate(self.resources) if any(price[p] for price in prices(resource))]
            for p in range(len(self.transfers))
        ]
        self.leaks = [
            (k, nest.table.parts[level.memory.name].leak)
            for k, level in enumerate(nest.levels)
            if level.memory is not None and nest.table.parts[level.memory.name].leak
        ]
        self.everywhere = math.prod(level.fanout for level in nest.levels)
        self.lattice = tiles_of(tuple(int(n) for n in self.sizes))
        self.volume = np.array([shape.words(self.lattice.T) for shape in nest.shapes], dtype=np.float64)
        self.fits = self._fits()
        self.rooms = [np.flatnonzero(f) for f in self.fits]
        self.opened: dict[int, Floats] = {}
        self.later = self._later()
        self.beaten: dict[int, tuple[Bools, list[tuple[Bools, npt.NDArray[np.intp]]]]] = {}

    def _windows(self) -> list[tuple[int, tuple[int, int], tuple[int, int]]]:
        """Axis, its two dimensions and their coefficients, of each sliding window."""
        if self.windowed < 0:
            return []
        shape = self.nest.shapes[self.windowed]
        result = []
        for axis in shape.windows:
            first, second = (int(d) for d in np.flatnonzero(shape.coefficients[axis]))
            steps = int(shape.coefficients[axis, first]), int(shape.coefficients[axis, second])
            result.append((axis, (first, second), steps))
        return result

    def _fits(self) -> list[Bools]:
        """For each level whether a tile of the lattice fits it and every level above, [tile]."""
        fits = np.ones(len(self.lattice), dtype=np.bool_)
        result: list[Bools] = []
        for k in reversed(range(self.count)):
            memory = self.nest.levels[k].memory
            if memory is not None and memory.words is not None:
                room = int(memory.words // memory.buffering)
                fits = fits & ((self.volume * self.nest.keep[k][:, None]).sum(axis=0) <= room)
            result.append(fits)
        return result[::-1]

    def fresh(self, k: int, chosen: npt.NDArray[np.intp]) -> Floats:
        """What the transfers that begin at level k cost at least around tiles `chosen`, [stationary tensor, resource, tile]."""
        tiles = self.lattice[chosen]
        rest = self.sizes / tiles
        inside = self.macs / tiles.prod(axis=1)
        moving = np.zeros((len(self.resources), len(chosen)))  # if its tensor is not the stationary one
        saved = np.zeros((len(TENSORS), *moving.shape))
        for p, transfer in enumerate(self.transfers):
            if transfer.low != k:
                continue
            t = transfer.tensor
            words = self.volume[t][chosen] * inside
            full = rest[:, self.groups[t]].prod(axis=1)
            if t == self.windowed:
                words = words * self.least_halo(tiles, self.sides_of(tiles), rest)
            fans = math.prod(self.nest.levels[m].fanout for m in range(k + 1, transfer.high + 1))
            copies = math.prod(self.nest.levels[m].fanout for m in range(k + 1, self.count))
            whole = self.volume[t][-1] * copies
            for r, resource in enumerate(self.resources):
                price = resource.low[p] + resource.high[p] / fans
                spared = whole * (resource.spared_low[p] + resource.spared_high[p] / fans)
                if price:
                    moved = np.maximum(words * price - spared, 0.0)
                    moving[r] += moved
                    saved[t, r] += moved - np.maximum(words / full * price - spared, 0.0)
        return np.asarray(moving - saved)

    def _later(self) -> list[Floats]:
        """For each level, what the transfers that begin there or above cost at least around a tile, [resource, tile].

        Around a tile lie its multiples: the least over them is taken prime by prime, from the largest tiles down.
        """
        shape = [len(divisors(int(n))) for n in self.sizes]
        total = np.zeros((len(self.resources), len(self.lattice)))
        later = [total]
        for k in reversed(range(self.count)):
            if any(t.low == k for t in self.transfers):
                least = np.full_like(total, np.inf)
                opened = self.fresh(k, self.rooms[k])
                least[:, self.rooms[k]] = opened.min(axis=0)
                grid = least.reshape(-1, *shape)
                for d, n in enumerate(self.sizes):
                    along = np.moveaxis(grid, d + 1, 0)
                    for low, high in climbs(int(n)):
                        np.minimum(along[low], along[high], out=along[low])
                self.opened[k] = opened + total[:, self.rooms[k]]
                total = total + least
            else:
                self.opened[k] = np.broadcast_to(total[:, self.rooms[k]], (len(TENSORS), len(total), len(self.rooms[k])))
            later.append(total)
        return later[::-1]

    def sides_of(self, tiles: Ints) -> Floats:
        sides = np.ones((len(tiles), 2))
        for w, (_, dims, steps) in enumerate(self.windows):
            sides[:, w] += steps[0] * (tiles[:, dims[0]] - 1) + steps[1] * (tiles[:, dims[1]] - 1)
        return sides

    def least_halo(self, tiles: Ints, sides: Floats, rest: Floats) -> Floats:
        """The least share of a window's tile that a step of any loop still open renews, [tile]."""
        least = np.ones(len(tiles))
        for w, (_, dims, steps) in enumerate(self.windows):
            for d, other, step in zip(dims, dims[::-1], steps, strict=True):
                part = 1 - np.maximum(sides[:, w] - step * tiles[:, d], 0) / sides[:, w]
                if self.sound:
                    share = np.where(rest[:, d] > 1, part * self.undone(rest[:, other]), 1.0)
                else:
                    share = part + (1 - part) / rest[:, d]
                least = np.minimum(least, share)
        return least

    @staticmethod
    def undone(rest: Floats) -> Floats:
        """Timeloop forgets all but the last two tiles: a loop of the window's other dimension that undoes a motion is free.

        Then only the first loop's own steps count, at least every second one.
        """
        return np.where(rest > 1, 0.5, 1.0)

    def code(self, tiles: Ints) -> npt.NDArray[np.intp]:
        """Places in the lattice."""
        place = np.zeros(len(tiles), dtype=np.intp)
        for d, n in enumerate(self.sizes):
            if n > 1:
                place = place * len(divisors(int(n))) + index_of(int(n), tiles[:, d])
        return place

    def uses(self, state: Partial, k: int) -> tuple[Floats, dict[int, Floats]]:
        """Per resource, what the transfers from below level k cost: closed ones, [resource, mapping], the elided first writes
        subtracted, and by transfer those that wait, as if their tensor were not stationary, [resource, mapping]."""
        closed = np.zeros((len(self.resources), state.size))
        waiting: dict[int, Floats] = {}
        above = np.ones(state.size)
        for p in reversed(range(len(self.transfers))):
            transfer = self.transfers[p]
            if p + 1 == len(self.transfers) or self.transfers[p + 1].tensor != transfer.tensor:
                above = np.ones(state.size)
            future = math.prod(self.nest.levels[m].fanout for m in range(max(k, transfer.low) + 1, transfer.high + 1))
            upper, cast = above, state.cast[:, p] * future
            above = upper * cast
            if transfer.low >= k:
                continue
            words = state.words[:, p]
            asked = words / cast
            waits = state.waits[:, p]
            some = waits.any()
            if some:
                waiting[p] = np.zeros((len(self.resources), state.size))
                still_words, still_asked = np.where(waits, words, 0.0), np.where(waits, asked, 0.0)
                words, asked = words - still_words, asked - still_asked
            for r, resource in self.prices[p]:
                low, high = resource.low[p], resource.high[p]
                spared_low, spared_high = resource.spared_low[p], resource.spared_high[p]
                if some:
                    waiting[p][r] = low * still_words + high * still_asked
                if not (spared_low or spared_high):
                    closed[r] += low * words + high * asked
                    continue
                whole = self.volume[OUTPUTS][-1]
                into, out_of = low * words - spared_low * whole * above, high * asked - spared_high * whole * upper
                # the fan-outs still to come are taken at their widest, which may spare more reads than there are
                least = np.maximum(into, 0.0) + np.maximum(out_of, (high - spared_high) * asked)
                closed[r] += np.where(waits, into + out_of, least) if some else least
        return closed, waiting

    def score(self, state: Partial) -> Floats:
        """The objective of complete tilings, [mapping]."""
        return self.partial_score(state, self.count - 1)

    def partial_score(self, state: Partial, k: int) -> Floats:
        """The objective that a partial mapping can still reach, [mapping]; boundary k is crossed, level k has no loops yet."""
        closed, waiting = self.uses(state, k)
        rest = self.sizes / state.tile
        later = self.later[k][:, self.code(state.tile)]
        total = closed + later
        saved = np.zeros_like(total)
        for t in range(len(TENSORS)):
            mine = [p for p in waiting if self.transfers[p].tensor == t]
            if not mine:
                continue
            sums = np.zeros_like(total)
            for p in mine:
                cost = waiting[p]
                if t == self.windowed:
                    cost = cost * self.least_halo(state.tile, state.sides[:, p], rest)
                sums += cost
            total += sums
            saved = np.maximum(saved, sums * (1 - 1 / rest[:, self.groups[t]].prod(axis=1)))
        total = np.maximum(total - saved, later)
        return self.objective_of(total, state.parallel, k, self.growth(state.tile, k))

    def growth(self, tiles: Ints, k: int) -> Floats:
        """How much more parallel the fan-outs above level k can make mappings with these tiles at most, [mapping]."""
        future = [self.spatial[m] for m in range(k + 1, self.count)]
        growth = np.ones(len(tiles))
        if all(f is None for f in future):
            return growth
        _, first, inverse = np.unique(self.code(tiles), return_index=True, return_inverse=True)
        rest = self.sizes // tiles[first]
        for options in future:
            if options is not None:
                valid = np.ones((len(rest), len(options)), dtype=np.bool_)
                for d in np.flatnonzero((options > 1).any(axis=0)):
                    valid &= rest[:, d, None] % options[None, :, d] == 0
                growth *= np.where(valid, options.prod(axis=1)[None, :], 1).max(axis=1)[inverse]
        return growth

    def objective_of(self, total: Floats, parallel: Floats, k: int, growth: Floats) -> Floats:
        """The objective from the use of the resources and the parallelism up to fan-out k, which can still grow."""
        most = parallel[:, k] * growth
        cycles = self.macs / most
        for r, resource in enumerate(self.resources):
            if resource.level >= 0:
                instances = most / parallel[:, resource.level] if resource.level <= k else growth
                cycles = np.maximum(cycles, total[r] / (instances * resource.limit))
        if self.sound:
            cycles = np.ceil(cycles * (1 - 1e-12))
            if self.objective == "latency":
                return np.asarray(cycles)
        energy = total[0] + self.nest.mac_energy
        for m, leak in self.leaks:  # instances that are in use leak
            energy = energy + leak * cycles * (parallel[:, k] / parallel[:, m] if m <= k else 1.0)
        if self.objective == "energy":
            return np.asarray(energy)
        return np.asarray(cycles * energy if self.objective == "edp" else cycles * (1 + 1e-9 * energy / self.nest.mac_energy))
