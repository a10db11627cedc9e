"""Sparse kernels give the numbers of dense convolutions, with PyTorch alone and with numba."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from hwflow.compression.kernels.layer_kernels import DirectKernel, PatchKernel, WinogradKernel, spatial_weights
from hwflow.compression.kernels.sparse_product import Library, SparseRows, room_for
from hwflow.compression.winograd.winograd_conv import WinogradConv2d, transformed_weights
from hwflow.cost.winograd import TRANSFORMS


@pytest.fixture(params=["torch", pytest.param("numba", marks=pytest.mark.slow)])  # which compiles for seconds
def library(request: pytest.FixtureRequest) -> Library:
    if request.param == "numba":
        pytest.importorskip("numba")
    return request.param  # type: ignore[no-any-return]


def zeroed(weight: Tensor, share: float, seed: int = 0) -> None:
    """Some at random, and all of the first row."""
    with torch.no_grad():
        weight *= torch.rand(weight.shape, generator=torch.Generator().manual_seed(seed)) >= share
        weight[(0,) if weight.dim() == 4 else (slice(None), 0)] = 0.0


@torch.inference_mode()
def test_winograd_positions_without_zeros_are_the_convolution(library: Library) -> None:
    """All sizes, odd ones included, one tile, images in a batch, with and without padding, one channel, a row of zeros."""
    torch.manual_seed(0)
    for m in TRANSFORMS:
        for channels, out, padding in ((3, 5, (1, 1)), (1, 4, (0, 0)), (4, 1, (2, 1))):
            conv = nn.Conv2d(channels, out, 3, padding=padding)
            zeroed(conv.weight, 0.5)
            kernel = WinogradKernel(transformed_weights(conv.weight, m), conv.bias, m, padding, library)
            for height in range(1, 18):
                for width in (3, 6 + height % 5):
                    if height + 2 * padding[0] >= 3:
                        images = torch.randn(2, channels, height, width)
                        found = kernel(images)
                        assert found.shape == conv(images).shape
                        assert (found - conv(images)).abs().max() < 1e-4


@torch.inference_mode()
@pytest.mark.parametrize("share", [0.0, 0.6, 0.95, 1.0])
def test_transformed_weights_that_are_no_convolution(share: float, library: Library) -> None:
    """Zeros anywhere in Q; none, and nothing else."""
    torch.manual_seed(1)
    layer = WinogradConv2d.of(nn.Conv2d(6, 7, 3, padding=1), 4)
    zeroed(layer.weight, share)
    images = torch.randn(3, 6, 11, 9)
    kernel = WinogradKernel(layer.weight, layer.bias, 4, (1, 1), library)
    assert (kernel(images) - layer(images)).abs().max() < 1e-4


@torch.inference_mode()
@pytest.mark.parametrize(
    ("size", "stride", "padding", "dilation"),
    [
        ((3, 3), (1, 1), (1, 1), (1, 1)),
        ((1, 1), (1, 1), (0, 0), (1, 1)),
        ((3, 2), (1, 1), (0, 2), (2, 1)),
        ((3, 3), (2, 1), (1, 0), (1, 1)),
        ((5, 5), (2, 2), (2, 2), (1, 1)),
    ],
)
def test_patches_times_sparse_weights_are_the_convolution(
    size: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int], dilation: tuple[int, int], library: Library
) -> None:
    torch.manual_seed(2)
    for channels, out in ((3, 5), (1, 1)):
        conv = nn.Conv2d(channels, out, size, stride, padding, dilation)
        if out > 1:
            zeroed(conv.weight, 0.7)
        kernel = PatchKernel(conv.weight, conv.bias, stride, padding, dilation, library)
        for height, width in ((5, 5), (8, 13), (19, 6)):
            images = torch.randn(2, channels, height, width)
            assert kernel(images).shape == conv(images).shape
            assert (kernel(images) - conv(images)).abs().max() < 1e-4


def test_products_of_matrices_without_zeros(library: Library) -> None:
    """Rows and whole matrices without values; few and many columns."""
    torch.manual_seed(3)
    dense = torch.randn(4, 9, 6)
    zeroed(dense, 0.6)
    dense[2] = 0.0
    rows = SparseRows(dense)
    assert rows.pointers[-1, -1] == len(rows.values) == torch.count_nonzero(dense)
    for count in (1, 4, 5, 16, 17, 150):
        values = torch.randn(4, 6, room_for(count))
        assert (rows.times(values, library) - torch.bmm(dense, values)).abs().max() < 1e-5


@pytest.mark.parametrize("m", TRANSFORMS)
def test_spatial_weights_come_back_where_there_are_any(m: int) -> None:
    """With their zeros; a single transformed weight that was zeroed leaves none."""
    torch.manual_seed(4)
    conv = nn.Conv2d(3, 4, 3, padding=1)
    zeroed(conv.weight, 0.5)
    whole = transformed_weights(conv.weight.detach(), m)
    found = spatial_weights(whole, m)
    assert found is not None
    assert (found - conv.weight).abs().max() < 1e-5
    assert torch.equal(found == 0, conv.weight == 0)
    images = torch.randn(1, 3, 6, 6)
    with torch.inference_mode():
        assert (DirectKernel(found, conv.bias, (1, 1))(images) - conv(images)).abs().max() < 1e-5
    whole[whole.abs() > 0.1] = 0.0
    assert spatial_weights(whole, m) is None
