"""Temporal loops of one memory: all extensions of partial mappings to larger tiles, with the stationary tensor."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hwflow.arrays import Bools, Floats, Ints, Places
from hwflow.mapper.layer_facts import LayerFacts
from hwflow.mapper.level_tiles import LevelTiles
from hwflow.mapper.partial_mapping import Partial, begin_transfers, keep_best
from hwflow.mapper.remaining_cost import RemainingCost, Waiting, beaten
from hwflow.mapper.tile_tables import TileTables

_SCORED = 1 << 16  # candidates scored per batch, approximately, and
_LOOKED = 1 << 19  # candidates examined per batch: both bound memory use at any beam width
_FIRST = 1 << 14  # candidates examined first: their scores may rule out the rest
_MANY = 1 << 12  # from this number of candidates on, scoring energy alone first saves time


class _Jumps(NamedTuple):
    """Scores of jumps: from which mapping, to which tile, with which tensor stationary."""

    scores: Floats
    rows: Places
    tiles: Places
    stays: Ints

    def at(self, index: Places | slice) -> _Jumps:
        return _Jumps(self.scores[index], self.rows[index], self.tiles[index], self.stays[index])


class _Candidates(NamedTuple):
    """Jumps to be scored: the stationary tensor, from which mapping, to which of the stage's tiles, and the loops' bounds."""

    stays: Ints
    rows: Places
    columns: Places
    over: Places

    def at(self, index: Places) -> _Candidates:
        return _Candidates(*(field.take(index) for field in self))


def _joined(parts: list[_Jumps]) -> _Jumps:
    scores, rows, tiles, stays = (np.concatenate(fields) for fields in zip(*parts, strict=True))
    return _Jumps(scores, rows, tiles, stays)


_NOWHERE = np.zeros(0, dtype=np.intp)
_NONE = _Jumps(np.zeros(0), _NOWHERE, _NOWHERE, _NOWHERE)


@dataclass(frozen=True)
class _Stage:
    """Terms of the scores of jumps: arrays [..., mapping of `state`] and [..., tile of `room`].

    Attributes:
        closed, waiting: costs of the mappings' transfers, as `RemainingCost.uses` gives them, for each way to share words.
        halos: the smallest share of each waiting transfer's tile that is renewed.
        fresh: costs of the transfers that begin at this level or above, by stationary tensor; `cheapest`: their minimum.
        growth: how much parallelism the fan-outs above can add.
    """

    state: Partial
    closed: tuple[Floats, ...]
    waiting: tuple[list[Waiting], ...]
    halos: dict[int, Floats]
    room: Places
    fresh: Floats
    cheapest: Floats
    growth: Floats


@dataclass(frozen=True)
class TemporalLoops:
    """Extends partial mappings by the temporal loops of the memory at level k."""

    cost: RemainingCost
    k: int

    @property
    def _facts(self) -> LayerFacts:
        return self.cost.facts

    @property
    def _tiles(self) -> TileTables:
        return self.cost.facts.tiles

    @property
    def _level(self) -> LevelTiles:
        return self.cost.facts.levels[self.k]

    def enlarge(self, state: Partial, width: int, most: int, cut: float) -> tuple[Partial, float]:
        """The best partial mappings over all loops of this level: every larger tile that fits, with each stationary tensor.

        `most`: candidates compared for dominance before the `width` best are kept.
        """
        state = state.ranked()
        stage = self._stage(state, cut)
        if len(stage.room) == 0:
            return state.take(stage.room), math.inf
        found = _NONE
        dropped = worst = math.inf
        begin, step = 0, max(1, _FIRST // len(stage.room))
        while begin < state.size:
            if state.score[begin] >= min(cut, worst):
                dropped = min(dropped, float(state.score[begin])) if worst < cut else dropped
                break
            rows, columns = self._legal(state.place[begin : begin + step], stage)
            found = _joined([found, self._jumps(stage, rows + begin, columns, min(cut, worst))])
            if worst < cut:
                dropped = min(dropped, worst)
            if len(found.scores) > 2 * most and self._tiles.sound:  # a proof drops nothing that need not be
                found = found.at(self._undominated_jumps(state, found))
            if len(found.scores) > 2 * most:
                ranked = np.argpartition(found.scores, most)
                worst = float(found.scores[ranked[most]])
                dropped, found = min(dropped, worst), found.at(ranked[:most])
            begin += step
            step = max(1, min(4 * step, step * _SCORED // max(1, len(rows)), _LOOKED // len(stage.room)))
        if len(found.scores) > most and self._tiles.sound:
            found = found.at(self._undominated_jumps(state, found))
        ranked = np.argsort(found.scores, kind="stable")
        if len(ranked) > most:
            dropped = min(dropped, float(found.scores[ranked[most]]))
        found = found.at(ranked[:most])
        grown = self._jumped(state.bare().take(found.rows), found)
        index, lost = keep_best(self._facts, grown, self.k, width, energy_only=self.cost.energy_only)
        grown, over = grown.take(index).remember(state)
        grown.history[0, self.k], grown.history[2, self.k] = over + self._tiles.lattice.origin[grown.place], found.stays[index]
        return grown, min(dropped, lost)

    def _stage(self, state: Partial, cut: float) -> _Stage:
        cost, k = self.cost, self.k
        closed, waiting = zip(*(cost.uses(state, k, way) for way in range(len(cost.sharing[k]))), strict=True)
        room = self._candidates(state)
        fresh = cost.opened(k, room)
        if math.isfinite(cut):  # leave out tiles that exceed the cut from every partial mapping
            alone = np.min(closed, axis=(0, 2))[:, None] + fresh.min(axis=0)
            best = state.parallel.max(axis=1, keepdims=True)
            best[:k] = state.parallel[:k].min(axis=1, keepdims=True)
            some = (cost.objective_of(alone, best, k, cost.growth[k][state.place].max()) < cut).nonzero()[0]
            room, fresh = room[some], fresh.take(some, axis=2)
        spread = self._facts.spread_above(k)
        halos = {
            w.row: self._tiles.least_halo(state.since[w.row], state.place, spread=spread) for w in waiting[0] if w.row >= 0
        }
        return _Stage(state, closed, waiting, halos, room, fresh, fresh.min(axis=0), cost.growth[k][room])

    # Which tiles are worth a jump ------------------------------------------------------------------------------------

    def _candidates(self, state: Partial) -> Places:
        """The tiles of this level that can be part of a best mapping."""
        k, level, levels, lattice = self.k, self._level, self._facts.levels, self._tiles.lattice
        room = level.room
        keep = level.from_above[room]
        fixed = lattice.bits(~level.temporal)
        if fixed:
            keep &= np.isin(lattice.masks[room] & fixed, lattice.masks[state.place] & fixed)
        spread_above = any(above.spatial is not None for above in levels[k + 1 :])
        last = not spread_above and not any(above.temporal.any() for above in levels[k + 1 : -1])
        if last and k > 0 and not (self._tiles.sound and level.forced):  # with a forced order, larger tiles can cost more
            keep &= self._undominated(state.place)[room]
        return room[keep]

    @functools.cached_property
    def _tops(self) -> tuple[Bools, list[tuple[Bools, Places]]]:
        """For the last memory: the tiles that no multiple dominates, and for each tensor those that none dominates along the
        dimensions irrelevant to it, with each tile's part along these."""
        temporal, relevant, lattice = self._level.temporal, self._tiles.relevant, self._tiles.lattice
        worse = beaten(self._facts, self.k)[temporal]
        own = [lattice.share(~on) for on in relevant]
        along = [~worse[~on[temporal]].any(axis=0) for on in relevant]
        return np.asarray(~worse.any(axis=0)), list(zip(along, own, strict=True))

    def _undominated(self, below: Places) -> Bools:
        """The last memory's tiles that no multiple dominates, that is, fits and costs no more, [tile].

        The levels below do not get worse with a larger tile. But where a jump leaves a tensor waiting, because all its loops
        are irrelevant to the tensor, further loops could end the wait: there only multiples along the same dimensions count,
        and a tile without any jump is kept.
        """
        best, ways = self._tops
        keep = best | self._marked(below)
        for best_along, idle in ways:
            keep |= best_along & self._marked(below - idle[below])[np.arange(self._tiles.lattice.size) - idle]
        return np.asarray(keep)

    def _marked(self, tiles: Places) -> Bools:
        marked = np.zeros(self._tiles.lattice.size, dtype=np.bool_)
        marked[tiles] = True
        return marked

    # The jumps -------------------------------------------------------------------------------------------------------

    def _legal(self, places: Places, stage: _Stage) -> tuple[Places, Places]:
        """Which tiles of this level its loops can reach from which of the given tiles."""
        masks = self._tiles.lattice.masks
        below, fixed = masks[places], self._tiles.lattice.bits(~self._level.temporal)
        rows, columns = np.nonzero(((below[:, None] ^ masks[stage.room]) & (below | fixed)[:, None]) == 0)
        return rows, columns

    def _jumps(self, stage: _Stage, rows: Places, columns: Places, cut: float) -> _Jumps:
        """The legal jumps whose scores are below `cut`."""
        state, room = stage.state, stage.room
        loops = room[columns] - (state.place - self._tiles.lattice.origin[state.place])[rows]
        useful = self._level.order.useful.take(loops, axis=1)
        t, of = useful.nonzero()
        found = _Candidates(t, rows[of], columns[of], loops[of])
        if len(of) > _MANY:  # most exceed the cut even if no bandwidth limits them
            found = found.at((self._scores(stage, found, slice(0, 1)) < cut).nonzero()[0])
        scores = self._scores(stage, found, slice(None))
        good = (scores < cut).nonzero()[0]
        found = found.at(good)
        return _Jumps(scores[good], found.rows, room[found.columns], found.stays)

    def _scores(self, stage: _Stage, jumps: _Candidates, which: slice) -> Floats:
        """Lower bounds on the objective of jumps, as far as some resources limit it, [jump]."""
        least = []
        for way in range(len(stage.closed)):
            total = self._totals(stage, way, jumps, which)
            growth = stage.growth.take(jumps.columns)
            least.append(self.cost.objective_of(total, stage.state.parallel, self.k, growth, jumps.rows))
        return np.asarray(functools.reduce(np.minimum, least))

    def _totals(self, stage: _Stage, way: int, jumps: _Candidates, which: slice) -> Floats:
        """Costs of jumps for some resources, [resource, jump]."""
        state, order, tiles = stage.state, self._level.order, self._tiles
        stays, row, column, over = jumps
        still = order.still[stays, over]  # no loop is relevant to the stationary tensor: its transfers keep waiting
        trivial, share = tiles.span[over] == 1, order.share[stays, over]
        total = stage.closed[way][which].take(row, axis=1) + stage.cheapest[which].take(column, axis=1)
        # while it waits, the next loops keep either this tensor stationary, with what begins here, or another one
        again = still.nonzero()[0]
        alone = stays[again]
        onward = tiles.alone[alone, state.place[row[again]]] - share[again]
        better = stage.fresh[alone, :, column[again]].T[which] - stage.cheapest[which].take(column[again], axis=1)
        for w in stage.waiting[way]:
            cost, mine = w.cost[which].take(row, axis=1), stays == w.tensor
            if w.row >= 0:
                now = self._moved(state.since[w.row], state.place, over, stays, row)
                cost *= np.where(trivial | (still & mine), stage.halos[w.row][row], now)
            better += cost.take(again, axis=1) * (onward * mine[again])
            cost *= np.where(mine, share, 1.0)
            total += cost
        total[:, again] += np.where(trivial[again], better, np.minimum(better, 0.0))
        return np.maximum(total, 0.0)

    def _jumped(self, old: Partial, jumps: _Jumps) -> Partial:
        """The mappings after their jumps, with the transfers that the jumps end and begin."""
        tiles, order = self._tiles, self._level.order
        over = jumps.tiles - old.place + tiles.lattice.origin[old.place]
        words, waits = old.words.copy(), old.waits.copy()
        for t, mine in enumerate(self._facts.prices.of):
            if not waits[mine].any():
                continue
            if tiles.slides and t == tiles.windowed:
                moved = self._moved(old.since, old.place, over, jumps.stays, slice(None))
                words[mine] *= np.where(waits[mine], moved, 1.0)
            words[mine] *= np.where(waits[mine] & (jumps.stays == t), order.share[t][over], 1.0)
            waits[mine] &= order.still[t][over]
        return begin_transfers(
            self._facts, old._replace(place=jumps.tiles, score=jumps.scores, words=words, waits=waits), self.k
        )

    def _undominated_jumps(self, state: Partial, jumps: _Jumps) -> Places:
        """Those that no other jump matches."""
        grown = self._jumped(state.bare().take(jumps.rows), jumps)
        index, _ = keep_best(self._facts, grown, self.k, grown.size, energy_only=self.cost.energy_only)
        return index

    def _moved(self, since: Places, place: Places, loops: Places, stays: Ints | int, rows: Places | slice) -> Floats:
        """The smallest share of the tile `since` that the level's loops renew with tensor `stays` stationary, [..., jump].

        `rows`: the mapping of each jump.
        """
        least, spread = np.ones((*since.shape[:-1], len(loops))), self._facts.spread_above(self.k)
        for s, (slide, leads) in enumerate(zip(self._tiles.slides, self._tiles.leads, strict=True)):
            if np.any(leads[stays]):
                part = self._tiles.overlap(slide, since, place)[..., rows]
                share = self._tiles.renewed(s, part, place[rows], loops, spread=spread)
                least = np.where(leads[stays] & self._level.order.first[s][loops], np.minimum(least, share), least)
        return least
