"""Spearman's rank correlation: do two levels order the layers of a network alike?"""

from __future__ import annotations

import math
from collections.abc import Sequence


def spearman(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Correlation of the ranks, equal values sharing their mean rank; None where a side has fewer than two different values."""
    if len(first) != len(second):
        raise ValueError(f"two sequences of one length are needed, not {len(first)} and {len(second)}")
    a, b = _ranks(first), _ranks(second)
    mean = (len(a) - 1) / 2
    covariance = sum((x - mean) * (y - mean) for x, y in zip(a, b, strict=True))
    spread = math.sqrt(sum((x - mean) ** 2 for x in a) * sum((y - mean) ** 2 for y in b))
    return covariance / spread if spread else None


def _ranks(values: Sequence[float]) -> list[float]:
    order = sorted(range(len(values)), key=lambda i: values[i])
    ranks = [0.0] * len(values)
    start = 0
    while start < len(order):
        end = start
        while end + 1 < len(order) and values[order[end + 1]] == values[order[start]]:
            end += 1
        for i in order[start : end + 1]:
            ranks[i] = (start + end) / 2
        start = end + 1
    return ranks


def undominated(values: Sequence[tuple[float, ...]]) -> list[bool]:
    """Of each point, the less the better, whether no other equals or beats it in everything and beats it in something."""
    import numpy as np

    best: set[tuple[float, ...]] = set()
    different = sorted(set(values))  # what beats another comes before it
    left = np.array(different, dtype=np.float64)
    while len(left):
        best.add(tuple(left[0].tolist()))
        left = left[(left < left[0]).any(axis=1)]
    return [value in best for value in values]
