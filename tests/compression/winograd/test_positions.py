"""Positions of Winograd tiles: what they depend on, their factors, patterns that survive the transform."""

from __future__ import annotations

import pytest
import torch

from hwflow.compression.winograd.positions import (
    error_factors,
    output_norms,
    position_pattern,
    scaled_gradient,
    spatial_gradient,
    spatial_pattern,
    supports,
)
from hwflow.compression.winograd.winograd_conv import matrices, transformed_weights
from hwflow.cost.winograd import TRANSFORMS


@pytest.mark.parametrize("m", TRANSFORMS)
def test_corners_depend_on_one_weight_edges_on_three_the_inside_on_all(m: int) -> None:
    size = m + 2
    counts = torch.tensor([len(own) for own in supports(m)]).reshape(size, size)
    assert counts[0, 0] == counts[0, -1] == counts[-1, 0] == counts[-1, -1] == 1
    assert set(counts[1:-1, 1:-1].flatten().tolist()) == {9}
    assert {*counts[0, 1:-1].tolist(), *counts[1:-1, 0].tolist()} == {3}
    # and on exactly those: a unit weight reaches the positions that name it, and no others
    for element in range(9):
        unit = torch.zeros(1, 1, 9).index_fill(2, torch.tensor([element]), 1.0).reshape(1, 1, 3, 3)
        reached = transformed_weights(unit, m).flatten() != 0
        assert reached.tolist() == [element in own for own in supports(m)]


def test_the_table_of_error_factors_is_the_published_one() -> None:
    assert sorted({round(float(f), 2) for f in error_factors(4)}) == [42.0, 75.58, 136.0, 188.94, 340.0, 850.0]
    assert float(error_factors(4).max() / error_factors(4).min()) == pytest.approx(850 / 42)


def test_the_norms_of_native_thresholds_are_the_published_ones() -> None:
    assert sorted({round(float(n), 2) for n in output_norms(4)}) == [1.0, 2.0, 4.0, 9.22, 18.44, 85.0]
    assert sorted({round(float(n), 2) for n in output_norms(2)}) == [1.0, 1.41, 2.0]


@pytest.mark.parametrize("m", TRANSFORMS)
def test_a_step_with_the_spatial_gradient_is_the_step_of_the_weights(m: int) -> None:
    g = matrices(m, torch.float64, torch.device("cpu"))[1]
    weights = torch.randn(3, 2, 3, 3, dtype=torch.float64)
    gradient = torch.randn((m + 2) ** 2, 3, 2, dtype=torch.float64)
    back = torch.einsum("ia,ijmc,jb->mcab", g, gradient.unflatten(0, (m + 2, m + 2)), g)  # dW = G^T dQ G
    stepped = transformed_weights(weights - 0.1 * back, m)
    assert (transformed_weights(weights, m) - 0.1 * spatial_gradient(gradient, m) - stepped).abs().max() < 1e-8


def test_the_scaled_gradient_is_least_where_errors_matter_most() -> None:
    found = scaled_gradient(torch.ones(36, 1, 1, dtype=torch.float64), 4).flatten()
    assert found[error_factors(4).argmin()] == 1
    assert float(found[error_factors(4).argmax()]) == pytest.approx((42 / 850) ** 1.5)


@pytest.mark.parametrize("m", TRANSFORMS)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 1.0])
def test_zeros_of_the_spatial_pattern_survive_the_transform(m: int, share: float) -> None:
    torch.manual_seed(0)
    weights = torch.randn(8, 6, 3, 3)
    kept = spatial_pattern(weights, m, share)
    zero = transformed_weights(weights * kept, m) == 0
    assert zero.float().mean() >= share - 0.5 / zero.numel()
    assert zero.float().mean() <= share + 16 / zero.numel()  # positions inside of a kernel go together
    # what is zero is so exactly, and because all of its support is
    flat = kept.flatten(2)
    for own, position in zip(supports(m), zero, strict=True):
        assert torch.equal(position, ~flat[:, :, list(own)].any(dim=2))


def test_zeros_at_random_do_not_survive() -> None:
    """70 % of the weights leave a quarter of the positions of F(4 x 4), and a third of F(2 x 2): why there are patterns."""
    torch.manual_seed(0)
    weights = torch.randn(64, 64, 3, 3) * (torch.rand(64, 64, 3, 3) > 0.7)
    zeros = [float((transformed_weights(weights, m) == 0).float().mean()) for m in (4, 2)]
    assert zeros == pytest.approx([0.25, 0.36], abs=0.02)


def test_position_patterns_weigh_magnitudes_with_importance() -> None:
    weights = torch.tensor([[[1.0]], [[3.0]], [[2.0]]])
    assert position_pattern(weights, torch.tensor([1.0, 1.0, 1.0]), 1 / 3).flatten().tolist() == [False, True, True]
    assert position_pattern(weights, torch.tensor([9.0, 1.0, 1.0]), 2 / 3).flatten().tolist() == [True, False, False]
    assert position_pattern(weights, torch.ones(3), 0.0).all()
