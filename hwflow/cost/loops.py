"""The loops of one memory: all jumps of partial mappings to larger tiles, with the tensor that stays meanwhile."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from hwflow.cost.lattice import divisors, index_of, multiples, ratios
from hwflow.cost.nest import Bools, Floats, Ints
from hwflow.cost.partials import Partial, select
from hwflow.cost.scores import Scores
from hwflow.layers import DIMS, TENSORS

PAIRS = 1 << 18  # candidates scored in one go: bounds the memory at any width of the beam
SLACK = 12  # so many times the width are compared for dominance


_Jumps = tuple[Floats, Ints, Ints, Ints]
"""Scores, and which mapping jumps to which tile, with which tensor stationary."""


def _joined(a: _Jumps, b: _Jumps) -> _Jumps:
    return tuple(np.concatenate(pair) for pair in zip(a, b, strict=True))  # type: ignore[return-value]


def _at(jumps: _Jumps, index: npt.NDArray[np.intp]) -> _Jumps:
    return jumps[0][index], jumps[1][index], jumps[2][index], jumps[3][index]


class Loops(Scores):
    """Adds one memory's temporal loops to partial mappings."""

    def enlarge(self, state: Partial, k: int, width: int, cut: float) -> tuple[Partial, float]:
        """All loops at level k: every larger tile that fits, and which tensor is stationary meanwhile."""
        place = self._candidates(state, k, cut) if state.size else np.zeros(0, dtype=np.intp)
        score = self.partial_score(state, k)
        if len(place) == 0:
            return state.take(np.arange(0)), math.inf
        room, fresh = self.rooms[k][place], self.opened[k][:, :, place]
        ranked = np.argsort(score, kind="stable")
        state, score = state.take(ranked), score[ranked]
        growing = any(s is not None for s in self.spatial[k + 1 :])
        most = width * SLACK  # some of them turn out to be dominated
        none = np.zeros(0, dtype=np.int64)
        found: _Jumps = (np.zeros(0), none, none, none)
        dropped = worst = math.inf
        begin, step = 0, 8  # a few first: what they give may make the rest needless
        while begin < state.size:
            if score[begin] >= min(cut, worst):
                dropped = min(dropped, float(score[begin])) if worst < cut else dropped
                break
            block = state.take(np.arange(begin, min(begin + step, state.size)))
            new = self._jumps(block, room, fresh, k, cut=min(cut, worst), growing=growing)
            if worst < cut:
                dropped = min(dropped, worst)
            found = _joined(found, (new[0], new[1] + begin, new[2], new[3]))
            if len(found[0]) > 2 * most:
                ranked = np.argpartition(found[0], most)
                worst = float(found[0][ranked[most]])
                dropped, found = min(dropped, worst), _at(found, ranked[:most])
            begin += step
            step = min(2 * step, max(1, PAIRS // len(room)), 64)
        ranked = np.argsort(found[0], kind="stable")
        if len(ranked) > most:
            dropped = min(dropped, float(found[0][ranked[most]]))
        scores, rows, columns, stays = _at(found, ranked[:most])
        tiles = self.lattice[room[columns]]
        light = self._jumped(state.light(rows), tiles, stays, k)
        index, lost = select(light, self.code(light.tile), scores, k, width)
        grown = light.light(index).remember(state, rows[index])
        grown.temporal[:, k] = tiles[index] // state.tile[rows[index]]
        grown.stays[:, k] = stays[index]
        return grown, min(dropped, lost)

    def _candidates(self, state: Partial, k: int, cut: float) -> npt.NDArray[np.intp]:
        """Places in the room of level k of the tiles that are worth a jump."""
        room, fresh = self.rooms[k], self.opened[k]
        keep = np.ones(len(room), dtype=np.bool_)
        for d in np.flatnonzero(~self.temporal[k] & (self.sizes > 1)):
            keep &= np.isin(self.lattice[room, d], state.tile[:, d])
        if math.isfinite(cut):  # what no partial mapping can pay for
            alone = self.uses(state, k)[0].min(axis=1)[:, None] + fresh.min(axis=0)
            best = np.broadcast_to(state.parallel.max(axis=0), (len(room), self.count)).copy()
            best[:, :k] = state.parallel[:, :k].min(axis=0)
            growth = np.full(len(room), self.growth(state.tile, k).max())
            keep &= self.objective_of(alone, best, k, growth) < cut
        last = all(s is None for s in self.spatial[k + 1 :]) and not any(t.any() for t in self.temporal[k + 1 : -1])
        if last and k > 0:
            keep &= self._undominated(k, state.tile)
        return np.flatnonzero(keep)

    def _undominated(self, k: int, below: Ints) -> Bools:
        """The last memory's tiles, without those of which a multiple fits and costs no more: below it nothing gets worse.

        But where a jump leaves a tensor waiting, because all its loops are irrelevant to it, further loops could end that:
        there only multiples along the same dimensions count, and a tile from which there is no jump at all stays.
        """
        if k not in self.beaten:
            self.beaten[k] = self._dominance(k)
        best, ways = self.beaten[k]
        keep = best | self._marked(below)[self.rooms[k]]
        for group, (best_along, clamped) in zip(self.groups, ways, strict=True):
            reached = below.copy()
            reached[:, group] = 1
            keep |= best_along & self._marked(reached)[clamped]
        return keep

    def _marked(self, tiles: Ints) -> Bools:
        marked = np.zeros(len(self.lattice), dtype=np.bool_)
        marked[self.code(tiles)] = True
        return marked

    def _dominance(self, k: int) -> tuple[Bools, list[tuple[Bools, npt.NDArray[np.intp]]]]:
        """Which tiles of level k no multiple beats; and for each tensor, none along the dimensions irrelevant to it, and where
        the tile without these dimensions is."""
        room = self.rooms[k]
        flat = np.ascontiguousarray(self.opened[k].reshape(-1, len(room)).T)
        place = np.full(len(self.lattice), -1, dtype=np.intp)
        place[room] = np.arange(len(room))
        beaten = np.zeros((len(DIMS), len(room)), dtype=np.bool_)
        below_one = np.zeros((len(DIMS), len(room)), dtype=np.intp)
        stride = 1
        for d in reversed(range(len(DIMS))):
            n = int(self.sizes[d])
            at = (room // stride) % len(divisors(n))
            below_one[d] = at * stride
            for low in multiples(n):
                delta = np.array(low)[at]
                here = np.flatnonzero(delta)
                other = place[room[here] + delta[here] * stride]
                here, other = here[other >= 0], other[other >= 0]
                beaten[d, here] |= (flat[other] <= flat[here]).all(axis=1)
            stride *= len(divisors(n))
        ways = [
            (np.asarray(~beaten[group].any(axis=0)), np.asarray(room - below_one[group].sum(axis=0), dtype=np.intp))
            for group in self.groups
        ]
        return np.asarray(~beaten.any(axis=0)), ways

    def _jumps(self, block: Partial, room: npt.NDArray[np.intp], fresh: Floats, k: int, *, cut: float, growing: bool) -> _Jumps:
        """Scores below `cut` of (mapping of the block, tile of the room, stationary tensor)."""
        tiles = self.lattice[room]
        stay = [self._grown(block, tiles, group, k) for group in self.groups]
        common = self._grown(block, tiles, self.common, k)
        legal = (common > 0) & (stay[0] > 0) & (stay[1] > 0) & (stay[2] > 0)
        live = np.flatnonzero(legal.any(axis=0))
        if len(live) < len(room):
            tiles, fresh, legal = tiles[live], fresh[:, :, live], legal[:, live]
            stay, common = [s[:, live] for s in stay], common[:, live]
        closed, waiting = self.uses(block, k)
        halos = self._halos(block, tiles, k)
        rest = self.sizes / block.tile
        growth = stay[0] * stay[1] * stay[2] * common
        cheapest = fresh.min(axis=0)
        results = []
        for t in range(len(TENSORS)):
            still = stay[t] == growth  # no loop that tensor t depends on: its transfers go on waiting
            rows, columns = np.nonzero(legal & ((growth == 1) | (stay[t] > 1) | (t == self.windowed)))
            if len(rows) == 0:
                continue
            still, own = still[rows, columns], stay[t][rows, columns]
            trivial = still & (own == 1)
            share = 1 / own
            total = closed[:, rows] + cheapest[:, columns]
            # where t goes on waiting, the next loops leave either t alone, with what begins here, or another tensor
            again = np.flatnonzero(still)
            onward = 1 / rest[:, self.groups[t]].prod(axis=1)[rows[again]] - share[again]
            better = fresh[t][:, columns[again]] - cheapest[:, columns[again]]
            for p in waiting:
                transfer = self.transfers[p]
                cost = waiting[p][:, rows]
                if transfer.tensor == self.windowed:
                    ahead = self.least_halo(block.tile, block.sides[:, p], rest)[rows]
                    now = halos[p][t]
                    now = now[rows, columns] if now is not None else np.ones(len(rows))
                    cost = cost * np.where(trivial | (still & (transfer.tensor == t)), ahead, now)
                if transfer.tensor == t:
                    better += cost[:, again] * onward
                    cost = cost * share
                total += cost
            total[:, again] = np.where(trivial[again], total[:, again] + better, total[:, again] + np.minimum(better, 0.0))
            tiles_now = tiles[columns] if growing else block.tile[rows]
            parallel = block.parallel[rows]
            ahead_growth = self.growth(tiles_now, k) if growing else np.ones(len(rows))
            scores = self.objective_of(np.maximum(total, 0.0), parallel, k, ahead_growth)
            good = np.flatnonzero(scores < cut)
            results.append((scores[good], rows[good], live[columns[good]], np.full(len(good), t)))
        if not results:
            empty = np.zeros(0, dtype=np.int64)
            return np.zeros(0), empty, empty, empty
        scores, rows, columns, stays = (np.concatenate(parts) for parts in zip(*results, strict=True))
        # a jump without loops is one candidate, whatever its class; the first of the least
        same = np.where((growth == 1)[rows, np.searchsorted(live, columns)], -1, stays)
        key = (rows * len(room) + columns) * 4 + same + 1
        ranked = np.lexsort((scores, key)) if (same < 0).any() else None
        if ranked is not None:
            ranked = ranked[np.r_[True, np.diff(key[ranked]) > 0]]
            scores, rows, columns, stays = scores[ranked], rows[ranked], columns[ranked], stays[ranked]
        return scores, rows, columns, stays

    def _grown(self, block: Partial, tiles: Ints, dims: npt.NDArray[np.intp], k: int) -> Floats:
        """By how much the tile grows along `dims`, [mapping, tile]; 0 where it can't."""
        clamped = np.ones_like(block.tile)
        clamped[:, dims] = block.tile[:, dims]
        _, first, inverse = np.unique(self.code(clamped), return_index=True, return_inverse=True)
        grown = np.ones((len(first), len(tiles)))
        for d in dims:
            n = int(self.sizes[d])
            grown *= ratios(n, bool(self.temporal[k][d]))[index_of(n, block.tile[first, d])][:, index_of(n, tiles[:, d])]
        return np.asarray(grown[inverse])

    def _halos(self, block: Partial, tiles: Ints, k: int) -> dict[int, list[Floats | None]]:
        """For each waiting transfer of the windowed tensor, the least share renewed, by the class whose loops run innermost."""
        result: dict[int, list[Floats | None]] = {}
        for p, transfer in enumerate(self.transfers):
            if transfer.tensor != self.windowed or transfer.low >= k or not block.waits[:, p].any():
                continue
            by_class: list[Floats | None] = [None] * len(TENSORS)
            for w, (_, dims, steps) in enumerate(self.windows):
                for d, other, step in zip(dims, dims[::-1], steps, strict=True):
                    if self.sizes[d] == 1 or not self.temporal[k][d]:
                        continue
                    side = block.sides[:, p, w]
                    part = 1 - np.maximum(side - step * block.tile[:, d], 0) / side
                    if (part == 1).all():
                        continue
                    if self.sound:
                        free = part * self.undone(self.sizes[other] / block.tile[:, other])
                        share = np.where(tiles[None, :, d] > block.tile[:, d, None], free[:, None], 1.0)
                    else:
                        share = part[:, None] + ((1 - part) * block.tile[:, d])[:, None] / tiles[None, :, d]
                    for t in range(len(TENSORS)):
                        if t == self.windowed or not self.relevant[t][d]:
                            old = by_class[t]
                            by_class[t] = share if old is None else np.minimum(old, share)
            result[p] = by_class
        return result

    def _jumped(self, old: Partial, tiles: Ints, stays: Ints, k: int) -> Partial:
        """The mappings after their jump, with the transfers that it closes and begins."""
        loops = tiles // old.tile
        words, waits = old.words.copy(), old.waits.copy()
        for p, transfer in enumerate(self.transfers):
            if transfer.low >= k:
                continue
            t = transfer.tensor
            waiting = waits[:, p]
            still = waiting & (stays == t)
            stationary = loops[:, self.groups[t]].prod(axis=1)
            if t == self.windowed:
                words[:, p] *= np.where(waiting, self._own_halo(old, loops, p, stays), 1.0)
            words[:, p] = np.where(still, words[:, p] / stationary, words[:, p])
            moved = (loops[:, self.relevant[t]] > 1).any(axis=1)
            waits[:, p] = waiting & ~moved
        return self.begin(replace(old, tile=tiles, words=words, waits=waits), k)

    def _own_halo(self, old: Partial, loops: Ints, p: int, stays: Ints) -> Floats:
        least = np.ones(old.size)
        for w, (_, dims, steps) in enumerate(self.windows):
            for d, other, step in zip(dims, dims[::-1], steps, strict=True):
                side = old.sides[:, p, w]
                part = 1 - np.maximum(side - step * old.tile[:, d], 0) / side
                if self.sound:
                    share = np.where(loops[:, d] > 1, part * self.undone(self.sizes[other] / old.tile[:, other]), 1.0)
                else:
                    share = part + (1 - part) / loops[:, d]
                innermost = (stays == self.windowed) | np.isin(stays, [t for t in range(3) if not self.relevant[t][d]])
                least = np.where(innermost, np.minimum(least, share), least)
        return least

    def begin(self, state: Partial, k: int) -> Partial:
        """The transfers of the tensors that level k keeps."""
        if not any(t.low == k for t in self.transfers):
            return state
        words, waits, sides = state.words.copy(), state.waits.copy(), state.sides.copy()
        inside = self.macs / state.tile.prod(axis=1)
        for p, transfer in enumerate(self.transfers):
            if transfer.low == k:
                words[:, p] = self.nest.shapes[transfer.tensor].words(state.tile.T) * inside
                waits[:, p] = True
                sides[:, p] = self.sides_of(state.tile)
        return replace(state, words=words, waits=waits, sides=sides)
