"""`Batch`: many mappings of one layer as arrays.

Index conventions: levels run from the innermost (0) outwards; arrays end in the batch axis.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from hwflow.arrays import Bools, Ints, Places


@dataclass(frozen=True)
class Batch:
    """Mappings of one layer on one accelerator.

    Attributes:
        temporal: loop bounds, [level, dimension, batch].
        spatial: loop bounds over the fan-out below the level, [level, dimension, batch].
        order: the dimension of the p-th temporal loop of a level, counted from the innermost, [level, p, batch].
        spatial_order: dimensions of the spatial loops, outermost first, the same for all mappings; one tuple per level.
        temporal_last, spatial_last: their residuals, or None where all loops of all mappings are perfect.
    """

    temporal: Ints
    spatial: Ints
    order: npt.NDArray[np.int8]
    spatial_order: tuple[tuple[int, ...], ...]
    temporal_last: Ints | None = None
    spatial_last: Ints | None = None

    @property
    def size(self) -> int:
        """Number of mappings."""
        return int(self.temporal.shape[2])

    def take(self, index: Places | slice) -> Batch:
        """The mappings at `index`."""
        last = [None if a is None else a[:, :, index] for a in (self.temporal_last, self.spatial_last)]
        return Batch(self.temporal[:, :, index], self.spatial[:, :, index], self.order[:, :, index], self.spatial_order, *last)

    @property
    def ragged(self) -> Bools:
        """Which mappings have a ragged loop (an imperfect factor), [batch]."""
        if self.temporal_last is None or self.spatial_last is None:
            return np.zeros(self.size, dtype=np.bool_)
        return np.asarray(
            (self.temporal_last != self.temporal).any(axis=(0, 1)) | (self.spatial_last != self.spatial).any(axis=(0, 1))
        )

    def with_residuals(self, sizes: Ints) -> tuple[Batch, Bools]:
        """The same bounds as loops over `sizes`, ragged where they do not divide; and for which mappings that is valid.

        It is not where a dimension's bounds multiply to less than its size, or its outermost loop is longer than necessary.
        """
        levels = self.temporal.shape[0]
        temporal, spatial = np.ones_like(self.temporal), np.ones_like(self.spatial)
        legal = np.ones(self.size, dtype=np.bool_)
        for d in np.flatnonzero((self.temporal > 1).any(axis=(0, 2)) | (self.spatial > 1).any(axis=(0, 2)) | (sizes > 1)):
            bounds = np.stack([self.spatial[:, d], self.temporal[:, d]], axis=1).reshape(2 * levels, -1)
            last = residuals(bounds, int(sizes[d]))
            outermost = last.shape[0] - 1 - np.argmax(bounds[::-1] > 1, axis=0)
            column = np.arange(self.size)
            legal &= last[outermost, column] == bounds[outermost, column]
            spatial[:, d], temporal[:, d] = last[0::2], last[1::2]
        return replace(self, temporal_last=temporal, spatial_last=spatial), legal


def residuals(bounds: Ints, size: int) -> Ints:
    """The residuals with which the loops of one dimension cover `size`: its digits, [loop, batch], innermost loop first.

    Bounds of 1 have the residual 1. Where the bounds' product is less than `size`, or the outermost loop is longer than
    necessary, there are no valid residuals, and the outermost loop's residual differs from its bound.
    """
    left = np.full(bounds.shape[1], size - 1, dtype=np.int64)
    result = np.empty_like(bounds)
    used = np.asarray((bounds > 1).any(axis=1))
    result[~used] = 1
    for i in used.nonzero()[0]:
        result[i] = left % bounds[i] + 1
        left = left // bounds[i]
    result[:, left > 0] = 0
    return result
