"""`Searcher`: what chooses the designs that are costed, one after the other, from what is known of those before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from hwflow.sweeping.space import Design, Space

Values = tuple[float, ...] | None
"""A design's objectives, or None where it failed."""

Cover = Callable[[Sequence[Design]], Sequence[Values]]
"""Costs designs in full."""

Least = Callable[[Sequence[Design]], Sequence[tuple[float, ...]]]
"""Lower bounds on the objectives of designs, 0 where none is known; far cheaper than what they cost in full."""


class Searcher(Protocol):
    """Costs `points` designs, or fewer where there is nothing more to be found."""

    def __call__(
        self, space: Space, *, points: int, seed: int, objectives: int, cover: Cover, least: Least
    ) -> dict[Design, Values]:
        """The designs that were costed, with their objectives; the same for the same seed and answers.

        Raises:
            MissingDependency: where a package of the extra `sweep` is needed and missing.
        """
        ...
