"""Objective values of designs: the front of them, which designs a front excludes, and what is proven of it.

All arrays are [design, objective], the less the better.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hwflow.arrays import Bools, Floats
from hwflow.ranking import undominated
from hwflow.sweeping.searcher import Values
from hwflow.sweeping.space import Design

ROUNDING = 1e-9
"""Bounds are sums of the same terms in another order."""


def front(values: Floats) -> Floats:
    """Those that no other dominates, each once."""
    values = np.unique(values, axis=0)
    kept = np.array(undominated([tuple(row) for row in values.tolist()]), dtype=np.bool_)
    return np.asarray(values[kept])


def matched(bounds: Floats, found: Floats) -> Bools:
    """Which designs cannot be better in any objective than one that was costed, [design]."""
    result = np.zeros(len(bounds), dtype=np.bool_)
    for one in front(found):
        result |= (one <= bounds * (1 + ROUNDING)).all(axis=1)
    return result


@dataclass(frozen=True)
class FrontProof:
    """What lower bounds say of the front of the designs that a search has costed.

    Attributes:
        designs: how many were costed or have bounds.
        costed: how many were costed.
        excluded: how many were not, because a costed design is as good as their bounds in every objective.
        unknown: how many more were neither costed nor have bounds, as those that cannot be costed: nothing is said of them.
        within: for each of the designs, costed or not, the front has one that is at most this share worse in every objective
            (the multiplicative epsilon indicator of Zitzler et al., IEEE Trans. Evol. Comput. 7(2), 2003, less 1, against the
            bounds of what was not costed). With 0 it is the front of all of them.
    """

    designs: int
    costed: int
    excluded: int
    unknown: int
    within: float

    @property
    def left(self) -> int:
        """How many were neither costed nor excluded: their bounds allow them to be better than the front."""
        return self.designs - self.costed - self.excluded

    @classmethod
    def of(cls, bounds: Mapping[Design, Sequence[float]], costed: Mapping[Design, Values]) -> FrontProof | None:
        """Of the designs whose bounds a search asked for; None where none of those that were not costed has one, or all that
        were failed."""
        found = np.array([values for values in costed.values() if values is not None], dtype=np.float64)
        others = np.array([least for design, least in bounds.items() if design not in costed], dtype=np.float64)
        known = others[(others > 0).all(axis=1)] if len(others) else others
        if not bounds or not len(found) or len(others) > len(known) == 0:
            return None
        unknown, others = len(others) - len(known), known
        excluded, within = 0, 0.0
        if len(others):
            out = matched(others, found)
            excluded = int(out.sum())
            ratios = [(one / others[~out]).max(axis=1) for one in front(found)]
            within = float(np.min(ratios, axis=0).max(initial=1.0)) - 1
        return cls(len(costed) + len(others), len(costed), excluded, unknown, within)
