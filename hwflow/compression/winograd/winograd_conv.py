# mypy: allow-subclassing-any
"""`WinogradConv2d`: a 3 x 3 convolution that runs as Winograd's product, with transformed weights as its parameter.

The parameter Q [T^2, M, C] has more freedom than the 9 M C weights that it is made from, Q = G W G^T, so that it can be pruned
and trained by itself (Li, Park and Tang 2017, arXiv:1702.08597). hwflow imports such a layer as what it executes: the product
as a row, the transforms as operators (`hwflow.cost.winograd`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from hwflow.cost.winograd import INPUTS, KERNEL, OUTPUTS, TRANSFORMS, transforms


def matrices(m: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """B^T [T, T], G [T, 3] and A^T [m, T] as tensors, made anew: under a trace or an export they would be none to keep.

    Raises:
        InputError: where there are none for this m.
    """
    inputs, weights, outputs = (torch.tensor(one, dtype=dtype, device=device) for one in _numbers(m))
    return inputs, weights, outputs


@cache
def _numbers(m: int) -> tuple[list[list[float]], ...]:
    return tuple([[float(value) for value in row] for row in one] for one in transforms(m))


def transformed_weights(weights: Tensor, m: int) -> Tensor:
    """G W G^T: from [M, C, 3, 3] to [T^2, M, C]. Computed in float64 and rounded once."""
    _, g, _ = matrices(m, torch.float64, weights.device)
    tiles = torch.einsum("ia,mcab,jb->ijmc", g, weights.double(), g)
    return tiles.flatten(0, 1).to(weights.dtype)


def transformed_inputs(values: Tensor, m: int, padding: tuple[int, int]) -> Tensor:
    """B^T X B of all tiles: from [N, C, H, W] to [T^2, C, N, rows of tiles, columns of tiles].

    Tiles overlap by two elements; where the last ones reach out of the padded image, they are filled with zeros.
    """
    b, _, _ = matrices(m, values.dtype, values.device)
    size, (tall, wide) = m + KERNEL - 1, tile_counts(values.shape[2:], padding, m)
    below = tall * m + KERNEL - 1 - values.shape[2] - padding[0]
    right = wide * m + KERNEL - 1 - values.shape[3] - padding[1]
    padded = functional.pad(values, (padding[1], right, padding[0], below))
    tiles = padded.unfold(2, size, m).unfold(3, size, m)
    return torch.einsum("ia,nchwab,jb->ijcnhw", b, tiles, b).flatten(0, 1)


def untransformed_outputs(products: Tensor, m: int, height: int, width: int) -> Tensor:
    """A^T Y A of all tiles: from [T^2, M, N, rows of tiles, columns of tiles] to [N, M, height, width]."""
    _, _, a = matrices(m, products.dtype, products.device)
    size = m + KERNEL - 1
    tiles = torch.einsum("ia,abknhw,jb->nkhiwj", a, products.unflatten(0, (size, size)), a)
    return tiles.flatten(2, 3).flatten(3, 4)[:, :, :height, :width].contiguous()


def tile_counts(sizes: Sequence[int], padding: Sequence[int], m: int) -> tuple[int, int]:
    """Rows and columns of tiles of an image of (height, width) with zeros on each side."""
    tall, wide = (-(-(n + 2 * p - KERNEL + 1) // m) for n, p in zip(sizes, padding, strict=True))
    return tall, wide


def _fake_inputs(values: Tensor, padding: list[int], *, m: int) -> Tensor:
    tall, wide = tile_counts(values.shape[2:], padding, m)
    return values.new_empty((m + KERNEL - 1) ** 2, values.shape[1], values.shape[0], tall, wide)


def _fake_outputs(products: Tensor, height: int, width: int) -> Tensor:
    return products.new_empty(products.shape[2], products.shape[1], height, width)


def _operator(kind: str, m: int, schema: str, real: Callable[..., Tensor], fake: Callable[..., Tensor]) -> Any:
    """A transform as an operator of PyTorch's of its own, which importers see as one."""
    made = torch.library.custom_op(f"hwflow::{kind}{m}", real, mutates_args=(), schema=schema)
    made.register_fake(fake)
    return made


_INPUTS = {
    m: _operator(
        INPUTS,
        m,
        "(Tensor values, int[] padding) -> Tensor",
        lambda values, padding, m=m: transformed_inputs(values, m, (padding[0], padding[1])),
        partial(_fake_inputs, m=m),
    )
    for m in TRANSFORMS
}
_OUTPUTS = {
    m: _operator(
        OUTPUTS,
        m,
        "(Tensor products, int height, int width) -> Tensor",
        lambda products, height, width, m=m: untransformed_outputs(products, m, height, width),
        _fake_outputs,
    )
    for m in TRANSFORMS
}


class WinogradConv2d(nn.Module):
    """A convolution of 3 x 3, stride 1, as Winograd's product.

    Attributes:
        m: outputs of a tile on each axis.
        padding: zeros on each side, (height, width).
        weight: [T^2, M, C], the transformed weights.
        bias: [M], or None.
        transformed: tells whoever counts zeros that the first axis of the weights is the position in a tile.
    """

    transformed = True

    def __init__(self, in_channels: int, out_channels: int, m: int, padding: tuple[int, int] = (0, 0), *, bias: bool) -> None:
        super().__init__()
        self.m, self.padding = m, padding
        transforms(m)
        self.weight = nn.Parameter(torch.zeros((m + KERNEL - 1) ** 2, out_channels, in_channels))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None

    @classmethod
    def of(cls, conv: nn.Conv2d, m: int) -> WinogradConv2d:
        """The same function as a convolution's, for which `why_not` has no objection."""
        made = cls(conv.in_channels, conv.out_channels, m, sides(conv), bias=conv.bias is not None)
        made.train(conv.training)
        made.to(device=conv.weight.device, dtype=conv.weight.dtype)
        with torch.no_grad():
            made.weight.copy_(transformed_weights(conv.weight, m))
            if made.bias is not None and conv.bias is not None:
                made.bias.copy_(conv.bias)
        return made

    def forward(self, values: Tensor) -> Tensor:
        """From [N, C, H, W] to [N, M, H + 2 padding - 2, W + 2 padding - 2]."""
        height, width = (n + 2 * p - KERNEL + 1 for n, p in zip(values.shape[2:], self.padding, strict=True))
        apart = not (torch.is_grad_enabled() or torch.compiler.is_compiling())
        if apart:
            tiles = cast("Tensor", _INPUTS[self.m](values, list(self.padding)))
        else:
            tiles = transformed_inputs(values, self.m, self.padding)
        products = torch.bmm(self.weight, tiles.flatten(2)).unflatten(2, tiles.shape[2:])
        if apart:
            found = cast("Tensor", _OUTPUTS[self.m](products, height, width))
        else:
            found = untransformed_outputs(products, self.m, height, width)
        return found if self.bias is None else found + self.bias[:, None, None]

    def extra_repr(self) -> str:
        """As `Conv2d` has it."""
        _, out, inside = self.weight.shape
        return f"{inside}, {out}, m={self.m}, padding={self.padding}, bias={self.bias is not None}"


def sides(conv: nn.Conv2d) -> tuple[int, int]:
    """Zeros on each side of a convolution's input: (height, width)."""
    if isinstance(conv.padding, str):
        return (1, 1) if conv.padding == "same" else (0, 0)
    return int(conv.padding[0]), int(conv.padding[1])


def why_not(module: nn.Module) -> str:
    """Why a module cannot be a `WinogradConv2d`, in a clause; empty where it can."""
    if type(module) is not nn.Conv2d:
        return f"it is a {type(module).__name__}"
    pairs = {"kernel": module.kernel_size, "stride": module.stride, "dilation": module.dilation}
    for name, pair in pairs.items():
        if pair != ((KERNEL, KERNEL) if name == "kernel" else (1, 1)):
            return f"its {name} is {pair[0]} x {pair[1]}"
    if module.groups > 1:
        return f"it has {module.groups} groups"
    return "" if module.padding_mode == "zeros" else f"its padding is {module.padding_mode!r}"


__all__ = [
    "WinogradConv2d",
    "matrices",
    "sides",
    "tile_counts",
    "transformed_inputs",
    "transformed_weights",
    "untransformed_outputs",
    "why_not",
]
