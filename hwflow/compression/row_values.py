"""`RowValues`: numbers of a network's rows at all plans, each row's kept by the widths of the groups that it depends on.

A row depends only on the groups that affect its size, so a plan costs one look-up per row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any

import numpy as np

from hwflow.arrays import Floats
from hwflow.compression.channels.groups import Widths


class RowValues:
    """See the module.

    Args:
        dependence: for each row the groups that it depends on.
        columns: numbers of a row.
        learn: these of rows of plans that are not known yet, all at once.
    """

    def __init__(
        self,
        dependence: Sequence[tuple[int, ...]],
        columns: int,
        learn: Callable[[Sequence[tuple[int, Widths]]], Sequence[Sequence[float] | Floats]],
    ) -> None:
        self.dependence = tuple(dependence)
        self._learn = learn
        # By row: what of a plan it depends on, and by that the place of its numbers in `_values`.
        self._rows = [(itemgetter(*on) if on else _nothing, _Places()) for on in self.dependence]
        self._values = np.empty((1024, columns))
        self._used = 0

    def of(self, plans: Sequence[Widths]) -> Floats:
        """[plan, row, column]; what is not known yet is learned at once."""
        rows = self._rows
        places = [[known.get(pick(widths), -1) for pick, known in rows] for widths in plans]
        if any(-1 in found for found in places):
            self.know((r, widths) for r in range(len(rows)) for widths in plans)
            places = [[known[pick(widths)] for pick, known in rows] for widths in plans]
        return np.asarray(self._values[places])

    def row(self, row: int, plans: Sequence[Widths]) -> Floats:
        """[plan, column]; what is not known yet is learned at once."""
        self.know((row, widths) for widths in plans)
        pick, known = self._rows[row]
        return np.asarray(self._values[[known[pick(widths)] for widths in plans]])

    def know(self, wanted: Iterable[tuple[int, Widths]]) -> None:
        """Learn what is not known yet of rows of plans, all at once."""
        missing: dict[tuple[int, Any], tuple[int, Widths]] = {}
        for r, widths in wanted:
            pick, known = self._rows[r]
            if (key := pick(widths)) not in known:
                missing.setdefault((r, key), (r, widths))
        if not missing:
            return
        found = self._learn(list(missing.values()))
        while self._used + len(missing) > len(self._values):
            self._values = np.concatenate([self._values, np.empty_like(self._values)])
        for (r, key), values in zip(missing, found, strict=True):
            self._values[self._used] = values
            self._rows[r][1][key] = self._used
            self._used += 1


_Places = dict[Any, int]


def _nothing(widths: Widths) -> tuple[()]:
    """What a row depends on that no group touches."""
    return ()


__all__ = ["RowValues"]
