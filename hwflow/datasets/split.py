"""How samples are held out: every class in its share, drawn by a seed."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from hwflow.datasets.samples import derived


def stratified(labels: Tensor, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Positions of `count` samples with every class in its share, and of the others; both ascending, drawn by the seed."""
    # NumPy promises the numbers of this old generator for good: a split must not change with a version of torch.
    order = torch.from_numpy(np.random.RandomState(derived("split", seed) % 2**32).permutation(len(labels)))
    by_class = order[torch.argsort(labels[order], stable=True)]
    places = (torch.arange(count) * len(labels) + len(labels) // 2) // max(count, 1)
    taken = torch.zeros(len(labels), dtype=torch.bool)
    taken[by_class[places]] = True
    return taken.nonzero().flatten(), (~taken).nonzero().flatten()


__all__ = ["stratified"]
