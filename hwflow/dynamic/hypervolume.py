"""`hypervolume`, and `kept_points`: of many points those few that keep most of it.

A point is a tuple of criteria of which the less the better; its hypervolume is what it dominates up to a reference point. With
two criteria the best choice is found by dynamic programming along the front. With more it is the greedy choice, which has at
least 1 - 1/e = 63 % of the largest volume, because the volume is monotone and submodular (Nemhauser, Wolsey, Fisher, Math.
Programming 14, 1978), improved by exchanges; that k more points add no more than the k largest single additions gives a bound,
which says how much there can be to gain.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from hwflow.errors import InputError, check_whole

Point = tuple[float, ...]


class Kept(NamedTuple):
    """Points that were chosen.

    Attributes:
        places: in the list that was given, ascending.
        volume: theirs.
        all_volume: of all points.
        bound: what no choice of as many points exceeds; equal to `volume` where the choice is proven to be the best.
    """

    places: tuple[int, ...]
    volume: float
    all_volume: float
    bound: float

    @property
    def proven(self) -> bool:
        """Whether no other choice of as many points has a larger volume."""
        return self.bound <= self.volume * (1 + _ROUNDING)


_ROUNDING = 1e-12


def hypervolume(points: Sequence[Point], reference: Point) -> float:
    """The volume that some points dominate together; a point beyond the reference in any criterion dominates nothing."""
    inside = sorted({p for p in points if all(x < r for x, r in zip(p, reference, strict=True))})
    return _volume(inside, reference)


def _volume(points: Sequence[Point], reference: Point) -> float:
    """By slices along the last criterion."""
    if not points:
        return 0.0
    if len(reference) == 1:
        return reference[0] - min(point[0] for point in points)
    if len(reference) == 2:
        volume, lowest = 0.0, reference[1]
        for x, y in sorted(points):
            if y < lowest:
                volume, lowest = volume + (reference[0] - x) * (lowest - y), y
        return volume
    order = sorted(points, key=lambda point: point[-1])
    volume = 0.0
    for i, point in enumerate(order):
        upper = order[i + 1][-1] if i + 1 < len(order) else reference[-1]
        if upper > point[-1]:
            volume += (upper - point[-1]) * _volume([p[:-1] for p in order[: i + 1]], reference[:-1])
    return volume


def kept_points(points: Sequence[Point], reference: Point, count: int) -> Kept:
    """The points, `count` of them, that keep most of the hypervolume; see the module.

    Raises:
        InputError: where there are fewer points than that.
    """
    check_whole("points to keep", count)
    if count > len(points):
        raise InputError(f"{count} points shall be kept, but there are {len(points)}; ask for at most {len(points)}.")
    whole = hypervolume(points, reference)
    exact = len(reference) == 2
    chosen = _best_chain(points, reference, count) if exact else _exchanged(points, reference, count)
    filled = [*chosen, *(i for i in range(len(points)) if i not in chosen)][:count]  # what adds nothing, where all are taken
    volume = hypervolume([points[i] for i in filled], reference)
    bound = volume if exact else min(whole, _bound(points, reference, chosen, count))
    return Kept(tuple(sorted(filled)), volume, whole, max(bound, volume))


def _best_chain(points: Sequence[Point], reference: Point, count: int) -> list[int]:
    """The best choice of points with two criteria, by dynamic programming along the front."""
    front: list[int] = []
    for i in sorted(range(len(points)), key=lambda i: points[i]):
        inside = all(x < r for x, r in zip(points[i], reference, strict=True))
        if inside and (not front or points[i][1] < points[front[-1]][1]):
            front.append(i)
    best: list[tuple[float, tuple[int, ...]]] = [(_box(points[i], reference), (i,)) for i in front]  # by their last point
    for _ in range(min(count, len(front)) - 1):
        longer: list[tuple[float, tuple[int, ...]]] = []
        for place, i in enumerate(front):
            ends = [
                (volume + _box(points[i], (reference[0], points[chain[-1]][1])), (*chain, i)) for volume, chain in best[:place]
            ]
            longer.append(max(ends, default=(-1.0, ())))
        best = [one if one[0] > before[0] else before for one, before in zip(longer, best, strict=True)]
    return list(max(best, default=(0.0, ()))[1])


def _box(point: Point, corner: Point) -> float:
    return (corner[0] - point[0]) * (corner[1] - point[1])


def _exchanged(points: Sequence[Point], reference: Point, count: int) -> list[int]:
    """The greedy choice, and then exchanges of one point as long as they add volume."""
    chosen: list[int] = []

    def volume(places: Sequence[int]) -> float:
        return hypervolume([points[i] for i in places], reference)

    def added(to: Sequence[int]) -> int:
        return max((i for i in range(len(points)) if i not in chosen), key=lambda i: (volume([*to, i]), -i))

    while len(chosen) < count:
        chosen.append(added(chosen))
    place = unchanged = 0
    while unchanged < count < len(points):
        others = [i for i in chosen if i != chosen[place]]
        other = added(others)
        if volume([*others, other]) > volume(chosen) * (1 + _ROUNDING):
            chosen[place], unchanged = other, 0
        else:
            unchanged += 1
        place = (place + 1) % count
    return chosen


def _bound(points: Sequence[Point], reference: Point, chosen: Sequence[int], count: int) -> float:
    """What no choice exceeds: a choice with its `count` largest single additions, the least over what the greedy choice began
    with."""
    found = float("inf")
    for size in range(len(chosen) + 1):
        begun = [points[i] for i in chosen[:size]]
        volume = hypervolume(begun, reference)
        gains = sorted((hypervolume([*begun, point], reference) - volume for point in points), reverse=True)
        found = min(found, volume + sum(gains[:count]))
    return found


__all__ = ["Kept", "Point", "hypervolume", "kept_points"]
