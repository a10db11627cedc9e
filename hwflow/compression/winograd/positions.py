"""What the positions of a Winograd tile depend on, and how much an error at one of them matters.

A tile of the transformed weights has T x T positions, T = m + 2; tensors over them are [T^2], row by row.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from hwflow.compression.winograd.winograd_conv import matrices
from hwflow.cost.winograd import KERNEL

_CPU = torch.device("cpu")


def _outer(rows: Tensor) -> Tensor:
    return torch.outer(rows, rows).flatten()


@cache
def supports(m: int) -> tuple[tuple[int, ...], ...]:
    """For each position the elements of the 3 x 3 kernel, numbered row by row, that it depends on.

    Of G (x) G the columns that are not zero: one element at corners, three at edges, all nine inside.
    """
    used = matrices(m, torch.float64, _CPU)[1] != 0
    return tuple(
        tuple(KERNEL * a + b for a in range(KERNEL) for b in range(KERNEL) if used[i, a] and used[j, b])
        for i in range(len(used))
        for j in range(len(used))
    )


def error_factors(m: int) -> Tensor:
    """F [T^2]: how much zeroing a transformed weight of size one can change the results.

    F_ij = |B_i| |A_i| |B_j| |A_j| with the rows of B^T and the columns of A^T (Yu, Park and Naumov 2019, arXiv:1901.02132).
    """
    inputs, _, outputs = matrices(m, torch.float64, _CPU)
    return _outer(inputs.norm(dim=1) * outputs.norm(dim=0))


def output_norms(m: int) -> Tensor:
    """[T^2]: the norms of the rows of A (x) A, by which thresholds of native training are divided (Li, Park and Tang 2017,
    arXiv:1702.08597)."""
    return _outer(matrices(m, torch.float64, _CPU)[2].norm(dim=0))


def spatial_gradient(gradient: Tensor, m: int) -> Tensor:
    """(G G^T) dQ (G G^T), from and to [T^2, M, C]: the change of Q that a step along the gradient of W makes.

    W changes by dW = G^T dQ G, and Q = G W G^T with it. So Q can be trained at the learning rate of W; the authors scale the
    gradient of Q instead (`scaled_gradient`).
    """
    _, g, _ = matrices(m, gradient.dtype, gradient.device)
    square = g @ g.T
    tiles = gradient.unflatten(0, (len(square), len(square)))
    return torch.einsum("ia,abmc,bj->ijmc", square, tiles, square).flatten(0, 1)


def scaled_gradient(gradient: Tensor, m: int) -> Tensor:
    """dQ / (F / min F)^1.5, [T^2, M, C]."""
    factors = error_factors(m).to(device=gradient.device, dtype=gradient.dtype)
    return gradient / ((factors / factors.min()) ** 1.5)[:, None, None]


def spatial_pattern(weights: Tensor, m: int, share: float) -> Tensor:
    """Which weights [M, C, 3, 3] are kept so that this share of the transformed ones, at least, is zero.

    A position is zero where all that it depends on is. The positions with the smallest largest weight are made so: zeroed is
    what lies in the supports of all positions whose largest weight is at most a threshold, which the share decides.
    """
    flat = weights.detach().abs().flatten(2)
    largest = torch.stack([flat[:, :, list(own)].amax(dim=2) for own in supports(m)])
    count = round(share * largest.numel())
    keep = torch.ones_like(flat, dtype=torch.bool)
    if count:
        threshold = largest.flatten().kthvalue(count).values
        for own, size in zip(supports(m), largest, strict=True):
            index = torch.tensor(own, device=flat.device)
            keep[:, :, index] &= (size > threshold)[:, :, None]
    return keep.unflatten(2, (KERNEL, KERNEL))


def position_pattern(weights: Tensor, importance: Tensor, share: float) -> Tensor:
    """Which transformed weights [T^2, M, C] are kept so that this share, at least, is zero: those of the largest magnitudes
    times the importance [T^2] of their position, or [T^2, M, C] their own."""
    factors = importance.to(device=weights.device, dtype=weights.dtype)
    sizes = weights.detach().abs() * (factors if factors.dim() == weights.dim() else factors[:, None, None])
    count = round(share * sizes.numel())
    if not count:
        return torch.ones_like(sizes, dtype=torch.bool)
    return sizes > sizes.flatten().kthvalue(count).values


__all__ = [
    "error_factors",
    "output_norms",
    "position_pattern",
    "scaled_gradient",
    "spatial_gradient",
    "spatial_pattern",
    "supports",
]
