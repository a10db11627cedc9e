"""Ways to run a convolution on a processor that leave out zero weights, or need not: `kernel(values)` for values [N, C, H, W].

They give no gradients.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from hwflow.compression.kernels.sparse_product import Library, SparseRows, lanes_for, room_for, scratch
from hwflow.compression.winograd.winograd_conv import matrices, tile_counts, transformed_inputs, untransformed_outputs
from hwflow.cost.winograd import KERNEL

_INT32 = 2**31 - 1


class Kernel(Protocol):
    """One way to run one layer."""

    @property
    def way(self) -> str:
        """Its name."""

    @property
    def library(self) -> str:
        """What multiplies: numba or torch."""

    def __call__(self, values: Tensor) -> Tensor:
        """From [N, C, H, W] to [N, M, P, Q]."""
        ...


class WinogradKernel:
    """Transformed tiles, at each position of which a sparse matrix [M, C] is multiplied with a dense one [C, tiles].

    Args:
        weight: transformed, [T^2, M, C].
        padding: zeros on each side, (height, width).
    """

    way = "sparse"

    def __init__(self, weight: Tensor, bias: Tensor | None, m: int, padding: tuple[int, int], library: Library) -> None:
        self.library = library
        self._rows, self._m, self._padding = SparseRows(weight), m, padding
        self._bias = torch.zeros(weight.shape[1]) if bias is None else bias.detach().float().cpu().contiguous()

    def __call__(self, values: Tensor) -> Tensor:
        """See `Kernel`."""
        height, width = (n + 2 * p - KERNEL + 1 for n, p in zip(values.shape[2:], self._padding, strict=True))
        if self.library == "torch":
            tiles = transformed_inputs(values, self._m, self._padding)
            products = self._rows.times(tiles.flatten(2), "torch").unflatten(2, tiles.shape[2:])
            return untransformed_outputs(products, self._m, height, width) + self._bias[:, None, None]
        from hwflow.compression.kernels import compiled_loops

        m, (tall, wide) = self._m, tile_counts(values.shape[2:], self._padding, self._m)
        count = values.shape[0] * tall * wide
        lanes = lanes_for(count)
        above, left = self._padding
        below = tall * m + KERNEL - 1 - values.shape[2] - above
        right = wide * m + KERNEL - 1 - values.shape[3] - left
        rows, row = above + values.shape[2] + below, left + values.shape[3] + right
        padded = scratch("padded", *values.shape[:2], rows, row).zero_()
        padded[:, :, above : above + values.shape[2], left : left + values.shape[3]] = values
        tiles = scratch("tiles", (m + KERNEL - 1) ** 2, values.shape[1], room_for(count))
        compiled_loops.inputs(m, lanes)(padded.numpy(), tall, wide, tiles.numpy())
        products = self._rows.times(tiles, "numba")
        out = torch.empty(values.shape[0], products.shape[1], height, width)
        compiled_loops.outputs(m, lanes)(products.numpy(), tall, wide, self._bias.numpy(), out.numpy())
        return out


class PatchKernel:
    """The sparse weights as a matrix [M, C R S] times the image's patches (im2col).

    With numba and stride 1 the patches are not written: at a distance that is fixed for each weight, the rows of the padded
    image are what would be the rows of the patches' matrix.

    Args:
        weight: [M, C, R, S], height first, as PyTorch's.
        stride, padding, dilation: (height, width); padding of zeros on each side.
    """

    way = "im2col"

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        stride: tuple[int, int],
        padding: tuple[int, int],
        dilation: tuple[int, int],
        library: Library,
    ) -> None:
        self.library = library
        self._rows, self._kernel = SparseRows(weight.detach().flatten(1)[None]), tuple(weight.shape[2:])
        self._stride, self._padding, self._dilation = stride, padding, dilation
        self._bias = None if bias is None else bias.detach().float().cpu()
        self._offsets: dict[tuple[int, int], Any] = {}

    def __call__(self, values: Tensor) -> Tensor:
        """See `Kernel`."""
        sizes = zip(values.shape[2:], self._kernel, self._stride, self._padding, self._dilation, strict=True)
        height, width = ((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in sizes)
        plain = self._stride == (1, 1) and values[0].numel() < _INT32 // 4
        if self.library == "numba" and plain:
            found = self._in_place(values, height, width)
        else:
            found = self._of_patches(values, height * width).unflatten(2, (height, width))
        return found if self._bias is None else found + self._bias[:, None, None]

    def _of_patches(self, values: Tensor, count: int) -> Tensor:
        """[N, M, count]."""
        size: Any = self._kernel
        patches = functional.unfold(values, size, self._dilation, self._padding, self._stride)
        if self.library == "torch":
            joint = patches.transpose(0, 1).flatten(1)[None]
            return self._rows.times(joint, "torch")[0].unflatten(1, (len(values), count)).transpose(0, 1)
        padded = functional.pad(patches, (0, room_for(count) - count))
        return torch.cat([self._rows.times(image[None], "numba")[:, :, :count].clone() for image in padded])

    def _in_place(self, values: Tensor, height: int, width: int) -> Tensor:
        """[N, M, height, width], without a matrix of patches: of the padded image's rows what is beside them is left out."""
        above, left = self._padding
        down, across = (d * (k - 1) for d, k in zip(self._dilation, self._kernel, strict=True))
        row, rows = width + across, height + down
        count = room_for(height * row)
        # Beyond the image a sum that is cropped may read so far.
        slack = max(0, count + down * row + across - rows * row)
        channels, offsets = values.shape[1], self._distances(rows, row)
        flat = scratch("padded", channels * rows * row + slack).zero_()
        padded = flat[: channels * rows * row].reshape(channels, rows, row)
        out = torch.empty(len(values), self._rows.shape[1], height, width)
        for image, found in zip(values, out, strict=True):
            padded[:, above : above + image.shape[1], left : left + image.shape[2]] = image
            sums = self._rows.sums(flat, 0, offsets, count)[0, :, : height * row]
            found.copy_(sums.unflatten(1, (height, row))[:, :, :width])
        return out

    def _distances(self, rows: int, row: int) -> Any:
        """Of each weight: how many words its rows of the padded image, of `rows` by `row` words, are from the beginning."""
        if (rows, row) not in self._offsets:
            channel, rest = np.divmod(self._rows.columns, self._kernel[0] * self._kernel[1])
            r, s = np.divmod(rest, self._kernel[1])
            found = channel * (rows * row) + r * (self._dilation[0] * row) + s * self._dilation[1]
            self._offsets[rows, row] = found.astype(np.int32)
        return self._offsets[rows, row]


class DirectKernel:
    """A plain convolution with stride 1, for a Winograd layer whose transformed weights are those of spatial ones."""

    way, library = "direct", "torch"

    def __init__(self, weight: Tensor, bias: Tensor | None, padding: tuple[int, int]) -> None:
        self._weight, self._bias, self._padding = weight.detach(), None if bias is None else bias.detach(), padding

    def __call__(self, values: Tensor) -> Tensor:
        """See `Kernel`."""
        return functional.conv2d(values, self._weight, self._bias, padding=self._padding)


def spatial_weights(weight: Tensor, m: int, tolerance: float = 1e-5) -> Tensor | None:
    """W [M, C, 3, 3] with G W G^T = Q [T^2, M, C], where there is one; None where there is none, as after most training of Q.

    W = G^+ Q G^+^T with the pseudo-inverse; it is the answer if the largest difference of its transform is at most the
    tolerance times the largest weight.
    """
    g = matrices(m, torch.float64, weight.device)[1]
    inverse = torch.linalg.pinv(g)
    tiles = weight.detach().double().unflatten(0, (len(g), len(g)))
    found = torch.einsum("ai,ijmc,bj->mcab", inverse, tiles, inverse)
    again = torch.einsum("ia,mcab,jb->ijmc", g, found, g)
    near = (again - tiles).abs().max() <= tolerance * tiles.abs().max()
    if not near:
        return None
    return found.masked_fill(found.abs() <= tolerance * found.abs().max(), 0.0).to(weight.dtype)  # what rounding left


__all__ = ["DirectKernel", "Kernel", "PatchKernel", "WinogradKernel", "spatial_weights"]
