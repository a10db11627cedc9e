"""The loops of one memory: all jumps of partial mappings to larger tiles, with the tensor that stays meanwhile."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hwflow.layers import TENSORS
from hwflow.loopnest.nest import Bools, Floats, Ints
from hwflow.mapper.partial_mappings import Partial, select
from hwflow.mapper.scores import Scores, Waiting
from hwflow.mapper.tile_lattice import Places

SCORED = 1 << 16  # about so many candidates are scored in one go, and
_LOOKED = 1 << 19  # so many looked at: bounds the memory at any width of the beam
_FIRST = 1 << 14  # candidates looked at before all others: what they give may make the rest needless
_MANY = 1 << 12  # candidates for which it pays to look at their energy first


class _Jumps(NamedTuple):
    """Scores, and which mapping jumps to which tile, with which tensor stationary."""

    scores: Floats
    rows: Places
    tiles: Places
    stays: Ints

    def at(self, index: Places | slice) -> _Jumps:
        return _Jumps(self.scores[index], self.rows[index], self.tiles[index], self.stays[index])


def _joined(parts: list[_Jumps]) -> _Jumps:
    scores, rows, tiles, stays = (np.concatenate(fields) for fields in zip(*parts, strict=True))
    return _Jumps(scores, rows, tiles, stays)


_NOWHERE = np.zeros(0, dtype=np.intp)
_NONE = _Jumps(np.zeros(0), _NOWHERE, _NOWHERE, _NOWHERE)


@dataclass(frozen=True)
class _Stage:
    """What the scores of jumps at level k are made of: arrays [..., mapping of `state`] and [..., tile of `room`].

    Attributes:
        closed, waiting: what the mappings' transfers cost, as `Scores.uses` tells.
        halos: the least share renewed of what waits, by the transfer.
        fresh: what the transfers cost that begin here or above; `cheapest`: whatever stays.
        growth: of the fan-outs above.
    """

    k: int
    state: Partial
    closed: Floats
    waiting: list[Waiting]
    halos: dict[int, Floats]
    room: Places
    fresh: Floats
    cheapest: Floats
    growth: Floats


class Loops(Scores):
    """Adds one memory's temporal loops to partial mappings."""

    def enlarge(self, state: Partial, k: int, width: int, most: int, cut: float) -> tuple[Partial, float]:
        """All loops at level k: every larger tile that fits, and which tensor is stationary meanwhile.

        `most`: so many are compared for dominance, before the `width` best are kept.
        """
        state = state.take(np.argsort(state.score, kind="stable"))
        stage = self._stage(state, k, cut)
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
            if len(found.scores) > 2 * most:
                ranked = np.argpartition(found.scores, most)
                worst = float(found.scores[ranked[most]])
                dropped, found = min(dropped, worst), found.at(ranked[:most])
            begin += step
            step = max(1, min(4 * step, step * SCORED // max(1, len(rows)), _LOOKED // len(stage.room)))
        ranked = np.argsort(found.scores, kind="stable")
        if len(ranked) > most:
            dropped = min(dropped, float(found.scores[ranked[most]]))
        found = found.at(ranked[:most])
        grown = self._jumped(state.bare().take(found.rows), found, k)
        index, lost = self.select(grown, k, width)
        grown, over = grown.take(index).remember(state)
        grown.history[0, k], grown.history[2, k] = over + self.lattice.origin[grown.place], found.stays[index]
        return grown, min(dropped, lost)

    def _stage(self, state: Partial, k: int, cut: float) -> _Stage:
        closed, waiting = self.uses(state, k)
        room = self._candidates(state, k)
        fresh = self.opened(k, room)
        if math.isfinite(cut):  # leave out what no partial mapping can pay for
            alone = closed.min(axis=1)[:, None] + fresh.min(axis=0)
            best = state.parallel.max(axis=1, keepdims=True)
            best[:k] = state.parallel[:k].min(axis=1, keepdims=True)
            some = (self.objective_of(alone, best, k, self.growth[k][state.place].max()) < cut).nonzero()[0]
            room, fresh = room[some], fresh.take(some, axis=2)
        halos = {w.row: self.least_halo(state.since[w.row], state.place) for w in waiting if w.row >= 0}
        return _Stage(k, state, closed, waiting, halos, room, fresh, fresh.min(axis=0), self.growth[k][room])

    def select(self, state: Partial, k: int, width: int) -> tuple[Places, float]:
        """Which partial mappings to keep, whose loops have come to level k, and the best score that is left out."""
        memory = [state.place, state.waits[self.open[k]], state.cast[self.shared[k]], state.parallel[self.fans[k]]]
        if self.slides:
            memory.append(np.where(state.waits[self.of[self.windowed]], self.sides[:, state.since], 0.0))
        return select(state, memory, self.lattice.origin[state.place], width)

    def begin(self, state: Partial, k: int) -> Partial:
        """The transfers of the tensors that level k keeps."""
        begun = [p for p, t in enumerate(self.transfers) if t.low == k]
        if not begun:
            return state
        words, waits, since = state.words.copy(), state.waits.copy(), state.since.copy()
        inside = self.macs / self.span[state.place]
        for p in begun:
            t = self.transfers[p].tensor
            words[p] = self.volume[t, state.place] * inside
            waits[p] = True
            if self.slides and t == self.windowed:
                since[p - self.of[t].start] = state.place
        return state._replace(words=words, waits=waits, since=since)

    # Which tiles are worth a jump ------------------------------------------------------------------------------------

    def _candidates(self, state: Partial, k: int) -> Places:
        """Of the tiles of level k's room, those that are worth a jump."""
        room = self.rooms[k]
        keep = self.from_above[k][room]
        fixed = self.lattice.bits(~self.temporal[k])
        if fixed:
            keep &= np.isin(self.lattice.masks[room] & fixed, self.lattice.masks[state.place] & fixed)
        last = max(self.ways, default=-1) <= k and not any(t.any() for t in self.temporal[k + 1 : -1])
        if last and k > 0 and not (self.sound and self.forced[k]):  # an order that is forced can make larger tiles dearer
            keep &= self._undominated(k, state.place)[room]
        return room[keep]

    def _undominated(self, k: int, below: Places) -> Bools:
        """Of the last memory's tiles those of which no multiple fits and costs no more, [tile]: below it nothing gets worse.

        But where a jump leaves a tensor waiting, because all its loops are irrelevant to it, further loops could end that:
        there only multiples along the same dimensions count, and a tile from which there is no jump at all stays.
        """
        if k not in self.tops:
            beaten = self.beaten(k)[self.temporal[k]]
            own = [self.lattice.share(~relevant) for relevant in self.relevant]
            along = [~beaten[~relevant[self.temporal[k]]].any(axis=0) for relevant in self.relevant]
            self.tops[k] = np.asarray(~beaten.any(axis=0)), list(zip(along, own, strict=True))
        best, ways = self.tops[k]
        keep = best | self._marked(below)
        for best_along, idle in ways:
            keep |= best_along & self._marked(below - idle[below])[np.arange(self.lattice.size) - idle]
        return np.asarray(keep)

    def _marked(self, tiles: Places) -> Bools:
        marked = np.zeros(self.lattice.size, dtype=np.bool_)
        marked[tiles] = True
        return marked

    # The jumps -------------------------------------------------------------------------------------------------------

    def _legal(self, places: Places, stage: _Stage) -> tuple[Places, Places]:
        """From which of some tiles a level's loops can lead to which tiles of its room."""
        below, fixed = self.lattice.masks[places], self.lattice.bits(~self.temporal[stage.k])
        rows, columns = np.nonzero(((below[:, None] ^ self.lattice.masks[stage.room]) & (below | fixed)[:, None]) == 0)
        return rows, columns

    def _jumps(self, stage: _Stage, rows: Places, columns: Places, cut: float) -> _Jumps:
        """Those of some legal jumps whose scores are below `cut`."""
        k, state, room = stage.k, stage.state, stage.room
        loops = room[columns] - (state.place - self.lattice.origin[state.place])[rows]
        results = []
        for t in range(len(TENSORS)):
            of = self.orders[k].useful[t][loops].nonzero()[0]
            row, column, over = rows[of], columns[of], loops[of]
            if len(of) > _MANY:  # most are too dear even if no bandwidth binds
                energy = self._totals(stage, t, row, column, over, slice(0, 1))
                some = (self.objective_of(energy, state.parallel, k, stage.growth[column], row) < cut).nonzero()[0]
                row, column, over = row[some], column[some], over[some]
            total = self._totals(stage, t, row, column, over, slice(None))
            scores = self.objective_of(total, state.parallel, k, stage.growth[column], row)
            good = (scores < cut).nonzero()[0]
            results.append(_Jumps(scores[good], row[good], room[column[good]], np.full(len(good), t)))
        return _joined(results)

    def _totals(self, stage: _Stage, t: int, row: Places, column: Places, over: Places, which: slice) -> Floats:
        """What jumps cost with tensor t stationary, of some resources, [resource, jump]; `over`: the bounds of their loops."""
        state, order = stage.state, self.orders[stage.k]
        still = order.still[t][over]  # no loop that tensor t depends on: its transfers go on waiting
        trivial, share = self.span[over] == 1, order.share[t][over]
        total = stage.closed[which].take(row, axis=1) + stage.cheapest[which].take(column, axis=1)
        # where t goes on waiting, the next loops leave either t alone, with what begins here, or another tensor
        again = still.nonzero()[0]
        onward = self.alone[t][state.place][row[again]] - share[again]
        better = stage.fresh[t][which].take(column[again], axis=1) - stage.cheapest[which].take(column[again], axis=1)
        for w in stage.waiting:
            cost = w.cost[which].take(row, axis=1)
            if w.row >= 0:
                now = self._moved(stage.k, state.since[w.row], state.place, over, t, row)
                cost *= np.where(trivial | (still & (w.tensor == t)), stage.halos[w.row][row], now)
            if w.tensor == t:
                better += cost.take(again, axis=1) * onward
                cost *= share
            total += cost
        total[:, again] += np.where(trivial[again], better, np.minimum(better, 0.0))
        return np.maximum(total, 0.0)

    def _jumped(self, old: Partial, jumps: _Jumps, k: int) -> Partial:
        """The mappings after their jumps, with the transfers that these close and begin."""
        over = jumps.tiles - old.place + self.lattice.origin[old.place]
        words, waits = old.words.copy(), old.waits.copy()
        for t, mine in enumerate(self.of):
            if not waits[mine].any():
                continue
            if self.slides and t == self.windowed:
                moved = self._moved(k, old.since, old.place, over, jumps.stays, slice(None))
                words[mine] *= np.where(waits[mine], moved, 1.0)
            words[mine] *= np.where(waits[mine] & (jumps.stays == t), self.orders[k].share[t][over], 1.0)
            waits[mine] &= self.orders[k].still[t][over]
        return self.begin(old._replace(place=jumps.tiles, score=jumps.scores, words=words, waits=waits), k)

    def _moved(self, k: int, since: Places, place: Places, loops: Places, stays: Ints | int, rows: Places | slice) -> Floats:
        """The least share of the tile `since` that level k's loops renew if they leave tensor `stays` alone, [..., jump].

        `rows`: of which mapping each jump is.
        """
        least = np.ones((*since.shape[:-1], len(loops)))
        for s, (slide, leads) in enumerate(zip(self.slides, self.leads, strict=True)):
            if np.any(leads[stays]):
                part = self.overlap(slide, since, place)[..., rows]
                share = self.renewed(slide, part, place[rows], loops)
                least = np.where(leads[stays] & self.orders[k].first[s][loops], np.minimum(least, share), least)
        return least
