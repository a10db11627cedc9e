"""A search for the Pareto front with lower bounds and a regression on what was costed in full; the combination is hwflow's own.

Of every design a lower bound on each objective is known before it is costed (`hwflow.sweeping.design_bounds`). How far designs
are above their bounds varies much less than what they cost, so that is what is learned: the logarithm of an objective over its
bound, by extremely randomised trees (Geurts, Ernst, Wehenkel, Machine Learning 63, 2006; scikit-learn) from the places of the
fields' values and the bounds. Next are costed those designs whose predicted objectives, which are never below the bounds, add
most hypervolume to the front, each counted as costed when the next is chosen (kriging believer: Ginsbourger, Le Riche, Carraro,
2010). Where none adds any, predictions are made more optimistic, and at last the bounds themselves decide.

A design whose bounds are all matched by a design that was costed is never costed: it could not be better in anything. The
search ends early where that holds for all that are left, and then the front is that of all designs that were looked at: of the
whole space, where it has at most `POOL` of them.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence

import numpy as np

from hwflow.arrays import Bools, Floats, Places
from hwflow.errors import InputError
from hwflow.optional import needed
from hwflow.sweeping.sampling import count, draw
from hwflow.sweeping.searcher import Cover, Least, Values
from hwflow.sweeping.space import Design, Space

POOL = 10_000
"""Designs that are looked at: all of a space of so many, of a larger one a random sample."""

_FIRST = 6  # designs costed before anything is predicted, and
_EACH = 2  # as many more for each field that is swept
_TOGETHER, _MORE = 4, 8  # designs chosen at once, so that several workers have something to do; or a share of those costed
_TREES = 64
_OPTIMISM = (0.0, 2.0)  # standard deviations between the trees by which predictions are lowered, one after the other
_PATIENCE = 20  # draws for each design of a sampled pool
_MARGIN = 0.1  # of the reference point beyond the largest bounds, as a share of their range
_ROUNDING = 1e-9  # sums of the same terms in another order
_UNKNOWN = 1e-300  # stands for a bound of 0: logarithms


def search(space: Space, *, points: int, seed: int, objectives: int, cover: Cover, least: Least) -> dict[Design, Values]:
    """See `hwflow.sweeping.searcher.Searcher`.

    Raises:
        MissingDependency: where scikit-learn, scipy or pymoo is not installed.
    """
    known = count(space)
    pool = list(space.designs()) if known is not None and known <= POOL else _drawn(space, points, seed)
    if len(pool) <= min(points, _FIRST):
        return dict(zip(pool, cover(pool), strict=True))
    needed("sklearn.ensemble", "the search surrogate", "sweep")
    bounds = np.array(least(pool), dtype=np.float64).reshape(len(pool), objectives)
    features = _features(space, pool, bounds)
    places = {design: place for place, design in enumerate(pool)}
    begun = min(points, _FIRST + _EACH * _swept(space))
    chosen = _begin(space, pool, places, begun, seed)
    costed: list[int] = []
    values: list[Values] = []
    while chosen:
        costed += chosen
        values += cover([pool[place] for place in chosen])
        found = np.array([v for v in values if v is not None], dtype=np.float64).reshape(-1, objectives)
        open_ = np.ones(len(pool), dtype=np.bool_)
        open_[costed] = False
        open_ &= ~matched(bounds, found)
        left = min(max(_TOGETHER, len(costed) // _MORE), points - len(costed), int(open_.sum()))
        some = open_.nonzero()[0]
        if left == 0 or not len(found):
            chosen = some[: max(left, 0)].tolist()
            continue
        answered = np.array([place for place, v in zip(costed, values, strict=True) if v is not None])
        chosen = _next(bounds, features, some, answered, found, left, seed)
    return {pool[place]: value for place, value in zip(costed, values, strict=True)}


def matched(bounds: Floats, found: Floats) -> Bools:
    """Which designs cannot be better in any objective than one that was costed, [design]; both [design, objective]."""
    result = np.zeros(len(bounds), dtype=np.bool_)
    for one in front(found):
        result |= (one <= bounds * (1 + _ROUNDING)).all(axis=1)
    return result


def front(values: Floats) -> Floats:
    """Those that no other dominates, each once, [design, objective]."""
    values = np.unique(values, axis=0)
    kept = [not ((values <= one).all(axis=1) & (values < one).any(axis=1)).any() for one in values]
    return np.asarray(values[kept])


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


def _features(space: Space, pool: Sequence[Design], bounds: Floats) -> Floats:
    """What objectives are predicted from, [design, feature]."""
    genes = np.array([space.encode(design) for design in pool])
    return np.concatenate([genes, np.log(np.maximum(bounds, _UNKNOWN))], axis=1)


def _next(bounds: Floats, features: Floats, some: Places, answered: Places, found: Floats, number: int, seed: int) -> list[int]:
    """Which of the designs `some` to cost next, `number` of them."""
    from pymoo.indicators.hv import HV

    mean, deviation = _predicted(bounds, features, some, answered, found, seed)
    scale = _Scale.of(np.concatenate([bounds, found]))
    volume = HV(ref_point=np.full(found.shape[1], 1 + _MARGIN))
    reached = scale(front(found))
    chosen: list[int] = []  # places in `some`
    for _ in range(number):
        gains = np.zeros(len(some))
        for optimism in (*_OPTIMISM, math.inf):
            lowered = bounds[some] if math.isinf(optimism) else np.maximum(mean * np.exp(-optimism * deviation), bounds[some])
            gains = _gains(scale(lowered), reached, volume)
            gains[chosen] = -1.0
            if gains.max() > 0:
                break
        best = int(np.argmax(gains))
        chosen.append(best)
        reached = front(np.concatenate([reached, scale(mean[best : best + 1])]))
    return [int(place) for place in some[chosen]]


def _predicted(
    bounds: Floats, features: Floats, some: Places, answered: Places, found: Floats, seed: int
) -> tuple[Floats, Floats]:
    """The objectives of designs, never below their bounds, and the deviation of their logarithms, [design, objective]."""
    from sklearn.ensemble import ExtraTreesRegressor

    floor = np.log(np.maximum(bounds, _UNKNOWN))
    excess = np.log(np.maximum(found, _UNKNOWN)) - floor[answered]
    mean, deviation = np.empty((len(some), found.shape[1])), np.zeros((len(some), found.shape[1]))
    for i, target in enumerate(excess.T):
        if np.ptp(target) <= _ROUNDING:  # the bound is exact, as it is for areas
            mean[:, i] = target[0]
            continue
        model = ExtraTreesRegressor(_TREES, random_state=seed).fit(features[answered], target)
        each = np.array([tree.predict(features[some]) for tree in model.estimators_])
        mean[:, i], deviation[:, i] = each.mean(axis=0), each.std(axis=0)
    return np.maximum(np.exp(floor[some] + mean), bounds[some]), deviation


class _Scale:
    """Logarithms of objectives, from 0 to 1 over the range of what is known of all designs."""

    def __init__(self, least: Floats, span: Floats) -> None:
        self._least, self._span = least, np.where(span > 0, span, 1.0)

    @classmethod
    def of(cls, values: Floats) -> _Scale:
        """Over the range of these, of which those that are unknown are left out."""
        known = values > 0
        logs = np.log(np.where(known, values, 1.0))
        least = np.where(known, logs, math.inf).min(axis=0)
        most = np.where(known, logs, -math.inf).max(axis=0)
        some = known.any(axis=0)  # an objective can be 0 everywhere
        return cls(np.where(some, least, 0.0), np.where(some, most - np.where(some, least, 0.0), 0.0))

    def __call__(self, values: Floats) -> Floats:
        return np.asarray((np.log(np.maximum(values, _UNKNOWN)) - self._least) / self._span)


def _gains(points: Floats, reached: Floats, volume: Callable[[Floats], float]) -> Floats:
    """What each point adds to the hypervolume of the points reached."""
    gains = np.zeros(len(points))
    before = volume(reached)
    within = np.asarray((reached[None] <= points[:, None]).all(axis=2))
    for i in np.flatnonzero(~np.asarray(within.any(axis=1))):
        gains[i] = volume(np.concatenate([reached, points[i : i + 1]])) - before
    return gains
