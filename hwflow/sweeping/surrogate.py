"""A search for the Pareto front with lower bounds and a regression on what was costed in full; the combination is hwflow's own.

Of every design a lower bound on each objective is known before it is costed (`hwflow.sweeping.design_bounds`). How far designs
are above their bounds varies much less than what they cost, so that is what is learned: the logarithm of an objective over its
bound, by a Gaussian process (Rasmussen, Williams, Gaussian Processes for Machine Learning, 2006; scikit-learn) over the places
of the fields' values and the bounds. Next is costed the design whose predicted objectives, which are never below the bounds,
add most hypervolume to the front. Where the last designs added nothing to it, or none is predicted to, predictions are made
more optimistic, and at last the bounds themselves decide. Several that are chosen together each count as costed when the next
is chosen (kriging believer: Ginsbourger, Le Riche, Carraro, 2010).

Where bounds are known the search begins with them alone: what adds most hypervolume by its bounds is costed first. Elsewhere it
begins with a Latin hypercube.

A design whose bounds are all matched by a design that was costed is never costed: it could not be better in anything. The
search ends early where that holds for all that are left, and then the front is that of all designs that were looked at: of the
whole space, where it has at most `POOL` of them.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Sequence

import numpy as np

from hwflow.arrays import Floats, Places
from hwflow.errors import InputError
from hwflow.optional import needed
from hwflow.ranking import undominated
from hwflow.sweeping.design_front import ROUNDING, front, matched
from hwflow.sweeping.sampling import count, draw
from hwflow.sweeping.searcher import Cover, Least, Values
from hwflow.sweeping.space import Design, Space

POOL = 10_000
"""Designs that are looked at: all of a space of so many, of a larger one a random sample."""

_FIRST = 6  # where no bounds are known, designs costed before anything is predicted, and
_EACH = 2  # as many more for each field that is swept
_TOGETHER = 4  # where no bounds are known, designs chosen at once, so that several workers have something to do
_SHARE = 16  # designs chosen at once are at least those costed over this: the regression takes longer the more they are
_IDLE = 2  # designs in a row that are not on the front, after which one is chosen with optimism
_OPTIMISM = (0.0, 1.0, 2.0)  # standard deviations by which predictions are lowered, one after the other
_LEARNED = 500  # designs, the last ones, that are learned from: what the regression takes grows with their cube
_SMOOTH, _NOISE = (0.1, 50.0), (1e-5, 1.0)  # of the Gaussian process: lengths over the unit cube, share of the variance
_DIGITS = 6  # of predicted logarithms: so that other roundings, as of other libraries, seldom change what is chosen
_PATIENCE = 20  # draws for each design of a sampled pool
_MARGIN = 0.1  # of the reference point beyond the largest bounds, as a share of their range
_UNKNOWN = 1e-300  # stands for an objective of 0: logarithms


def search(space: Space, *, points: int, seed: int, objectives: int, cover: Cover, least: Least) -> dict[Design, Values]:
    """See `hwflow.sweeping.searcher.Searcher`. Where bounds are known of a whole space, all seeds give the same.

    Raises:
        MissingDependency: where scikit-learn, scipy or pymoo is not installed.
    """
    known = count(space)
    pool = list(space.designs()) if known is not None and known <= POOL else _drawn(space, points, seed)
    bounds = np.array(least(pool), dtype=np.float64).reshape(len(pool), objectives)
    if len(pool) <= min(points, _FIRST):
        return dict(zip(pool, cover(pool), strict=True))
    needed("sklearn.gaussian_process", "the search surrogate", "sweep")
    bounded = bool((bounds > 0).any(axis=0).all())
    places = {design: place for place, design in enumerate(pool)}
    search = _Search(bounds, _floor(bounds), _features(space, pool, _floor(bounds)))
    chosen = search.next(1) if bounded else _begin(space, pool, places, min(points, _FIRST + _EACH * _swept(space)), seed)
    while chosen:
        search.learn(chosen, cover([pool[place] for place in chosen]))
        together = max(1 if bounded else _TOGETHER, len(search.costed) // _SHARE)
        chosen = search.next(min(together, points - len(search.costed)))
    return {pool[place]: value for place, value in zip(search.costed, search.values, strict=True)}


class _Search:
    """What is known of the designs of a pool, which are given by their places in it.

    Attributes:
        costed, values: in the order in which they were costed.
    """

    def __init__(self, bounds: Floats, floor: Floats, features: Floats) -> None:
        self.costed: list[int] = []
        self.values: list[Values] = []
        self._bounds, self._floor, self._features = bounds, floor, features

    def learn(self, places: Sequence[int], values: Sequence[Values]) -> None:
        """What some designs cost."""
        self.costed += places
        self.values += values

    def next(self, number: int) -> list[int]:
        """The designs to cost next, at most `number` of them; none where none can add to the front."""
        found = np.array([v for v in self.values if v is not None], dtype=np.float64).reshape(-1, self._bounds.shape[1])
        answered = np.array([place for place, v in zip(self.costed, self.values, strict=True) if v is not None], dtype=np.intp)
        open_ = ~matched(self._bounds, found)
        open_[self.costed] = False
        some = open_.nonzero()[0]
        number = max(min(number, len(some)), 0)
        if not number or not (len(found) or self._bounds.any()):  # nothing is known: one is as good as another
            return [int(place) for place in some[:number]]
        mean, deviation = self._predicted(some, answered, found)
        scale, best = _Scale.of(self._bounds, found), front(found)
        reached = scale(best)
        idle = len(self.values) > _IDLE and not any(v is not None and list(v) in best.tolist() for v in self.values[-_IDLE:])
        chosen: list[int] = []  # places in `some`
        for _ in range(number):
            gains = np.zeros(len(some))
            for optimism in (*_OPTIMISM[1 if idle and not chosen else 0 :], math.inf):
                lowered = self._bounds[some]
                if not math.isinf(optimism):
                    lowered = np.maximum(mean * np.exp(-optimism * deviation), lowered)
                gains = _gains(scale(lowered), reached, chosen)
                if gains.max() > 0:
                    break
            chosen.append(int(np.argmax(gains)))
            reached = front(np.concatenate([reached, scale(mean[chosen[-1:]])]))
        return [int(place) for place in some[chosen]]

    def _predicted(self, some: Places, answered: Places, found: Floats) -> tuple[Floats, Floats]:
        """The objectives of designs, never below their bounds, and the deviation of their logarithms, [design, objective]."""
        floor = np.log(self._floor)
        mean, deviation = np.zeros((len(some), found.shape[1])), np.zeros((len(some), found.shape[1]))
        last = slice(-_LEARNED, None)
        for i in range(found.shape[1] if len(found) else 0):
            target = (np.log(np.maximum(found[:, i], _UNKNOWN)) - floor[answered, i])[last]
            if np.ptp(target) <= ROUNDING:  # the bound is exact, as it is for areas, or one design alone is known
                mean[:, i] = target[0]
                continue
            mean[:, i], deviation[:, i] = _regression(self._features[answered[last]], target, self._features[some])
        return np.maximum(np.exp(floor[some] + mean), self._bounds[some]), deviation


def _regression(features: Floats, target: Floats, wanted: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation of a Gaussian process through some points, at others."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import Matern, WhiteKernel

    kernel = Matern(np.ones(features.shape[1]), _SMOOTH, nu=2.5) + WhiteKernel(1e-3, _NOISE)
    middle, spread = target.mean(), target.std()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a length at its limit: a field that changes nothing
        model = GaussianProcessRegressor(kernel, random_state=0).fit(features, (target - middle) / spread)
        mean, deviation = model.predict(wanted, return_std=True)
    return np.round(mean * spread + middle, _DIGITS), np.round(deviation * spread, _DIGITS)


def _features(space: Space, pool: Sequence[Design], floor: Floats) -> Floats:
    """What objectives are predicted from, each over the range from 0 to 1, [design, feature]."""
    genes, logs = np.array([space.encode(design) for design in pool]), np.log(floor)
    span = np.ptp(logs, axis=0)
    features = np.concatenate([genes, (logs - logs.min(axis=0)) / np.where(span > 0, span, 1.0)], axis=1)
    return np.asarray(features[:, np.ptp(features, axis=0) > 0])


def _floor(bounds: Floats) -> Floats:
    """What objectives are predicted relative to: the bounds. A design without one is treated as if it had the largest of all,
    so that it is not preferred for what is not known of it; where no design has one, it is 1."""
    most = bounds.max(axis=0)
    return np.where(bounds > 0, bounds, np.where(most > 0, most, 1.0))


def _drawn(space: Space, points: int, seed: int) -> list[Design]:
    """As many as `POOL` designs at random; fewer where constraints allow so few that drawing them takes long."""
    for size in (POOL, POOL // 10, POOL // 100):
        if size > points:
            with contextlib.suppress(InputError):
                return draw(space, "random", size, seed, patience=_PATIENCE)
    return draw(space, "random", points, seed)


def _swept(space: Space) -> int:
    """Choices that a design makes."""
    fields = max(sum(len(values) > 1 for values in entry.fields.values()) for entry in space.entries)
    return fields + (len(space.entries) > 1) + (len(space.dataflows) > 1)


def _begin(space: Space, pool: Sequence[Design], places: dict[Design, int], number: int, seed: int) -> list[int]:
    """Designs of the pool to begin with: a Latin hypercube, or the first of a pool that was drawn itself."""
    if count(space) == len(pool):
        return [places[design] for design in draw(space, "lhs", number, seed)]
    return list(range(number))


class _Scale:
    """Objectives, from 0 to 1 over the range of what is known of all designs."""

    def __init__(self, least: Floats, span: Floats) -> None:
        self._least, self._span = least, np.where(span > 0, span, 1.0)

    @classmethod
    def of(cls, bounds: Floats, found: Floats) -> _Scale:
        """Over the range of the bounds, where there are any, and of what was found."""
        known = np.concatenate([np.where(bounds > 0, bounds, math.nan), found])
        known = np.where(np.isnan(known).all(axis=0), 0.0, known)
        least = np.nanmin(known, axis=0)
        return cls(least, np.nanmax(known, axis=0) - least)

    def __call__(self, values: Floats) -> Floats:
        return np.asarray((values - self._least) / self._span)


def _gains(points: Floats, reached: Floats, chosen: Sequence[int]) -> Floats:
    """What each point adds to the hypervolume of the points reached; 0 of those that another adds more than, and -1 of those
    that are chosen already."""
    from pymoo.indicators.hv import HV

    volume: Callable[[Floats], float] = HV(ref_point=np.full(points.shape[1], 1 + _MARGIN))
    gains = np.zeros(len(points))
    gains[list(chosen)] = -1.0
    left = np.flatnonzero(gains == 0)
    before = volume(reached) if len(reached) else 0.0
    for i in left[undominated([tuple(row) for row in points[left].tolist()])]:
        if not (reached <= points[i]).all(axis=1).any():
            gains[i] = volume(np.concatenate([reached, points[i : i + 1]])) - before
    return gains
