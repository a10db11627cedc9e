"""What integer hardware computes, bit by bit: convolutions by shifts and additions, products of signs by XNOR and popcount."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from hwflow.compression.quantization.powers import EXPONENTS, PowerCodes

_BYTE = 8


class Window(NamedTuple):
    """How a convolution's kernel moves, [height, width] each."""

    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1


PLAIN = Window()


def integer_conv(inputs: Tensor, weights: Tensor, window: Window = PLAIN) -> Tensor:
    """A convolution of integers, int64, [N, C, H, W] with [M, C / groups, R, S]; padded with 0."""
    kernel = (weights.shape[2], weights.shape[3])
    total: Tensor | None = None
    for row, column, values in _taps(inputs.to(torch.int64), kernel, window):
        batch, _, height, width = values.shape
        split = values.reshape(batch, window.groups, -1, height * width)
        taps = weights[:, :, row, column].to(torch.int64).reshape(window.groups, -1, weights.shape[1])
        part = torch.einsum("gmc,ngcp->ngmp", taps, split).reshape(batch, -1, height, width)
        total = part if total is None else total + part
    assert total is not None
    return total


def shift_add_conv(inputs: Tensor, codes: PowerCodes, window: Window = PLAIN) -> Tensor:
    """The same with weights of powers of two: inputs are shifted, and added or subtracted; nothing is multiplied.

    Returns:
        int64, in units of 2^`codes.lowest`.
    """
    total: Tensor | None = None
    for term in codes.codes:
        for shift in range(EXPONENTS):
            signs = torch.where(term.abs() == shift + 1, torch.sign(term), 0)
            part = integer_conv(inputs.to(torch.int64) << shift, signs, window)
            total = part if total is None else total + part
    assert total is not None
    return total


def signs(values: Tensor) -> Tensor:
    """+1 of what is not negative, zero included, and -1 of the rest; `torch.sign` gives 0 of zero."""
    return torch.where(values < 0, -1, 1).to(values.dtype)


def packed_signs(values: Tensor) -> Tensor:
    """A bit for each sign along the last axis, 1 of -1, in bytes; the last byte is filled up with 0."""
    bits = (values < 0).to(torch.uint8)
    bits = functional.pad(bits, (0, -bits.shape[-1] % _BYTE)).unflatten(-1, (-1, _BYTE))
    return (bits << torch.arange(_BYTE - 1, -1, -1, dtype=torch.uint8)).sum(-1).to(torch.uint8)


def xnor_product(left: Tensor, right: Tensor, length: int) -> Tensor:
    """Products of rows of signs, [..., bytes] with [m, bytes], as `packed_signs` has them: n - 2 popcount(a XOR b), int64."""
    differing = torch.bitwise_xor(left.unsqueeze(-2), right)
    return length - 2 * _POPCOUNT[differing.to(torch.int64)].sum(-1)


def xnor_conv(inputs: Tensor, weights: Tensor, window: Window = PLAIN) -> Tensor:
    """A convolution of signs by XNOR and popcount, int64, without groups. What pads counts as +1."""
    if window.groups != 1:
        raise ValueError("XNOR convolutions have no groups")
    kernel = (weights.shape[2], weights.shape[3])
    columns = [values for _, _, values in _taps(inputs, kernel, window, filler=1)]
    stacked = torch.stack(columns, -1)  # [N, C, P, Q, R x S]
    batch, channels, height, width, area = stacked.shape
    rows = stacked.permute(0, 2, 3, 1, 4).reshape(batch, height, width, channels * area)
    found = xnor_product(packed_signs(rows), packed_signs(weights.flatten(1)), channels * area)
    return found.permute(0, 3, 1, 2)


_POPCOUNT = torch.tensor([byte.bit_count() for byte in range(256)], dtype=torch.int64)


def _taps(values: Tensor, kernel: tuple[int, int], window: Window, filler: int = 0) -> Iterator[tuple[int, int, Tensor]]:
    """For each place of a kernel the inputs that it meets, [N, C, P, Q]."""
    (down, across), (step_y, step_x), (gap_y, gap_x) = window.padding, window.stride, window.dilation
    padded = functional.pad(values, (across, across, down, down), value=filler)
    height = (padded.shape[2] - gap_y * (kernel[0] - 1) - 1) // step_y + 1
    width = (padded.shape[3] - gap_x * (kernel[1] - 1) - 1) // step_x + 1
    for row in range(kernel[0]):
        for column in range(kernel[1]):
            top, left = row * gap_y, column * gap_x
            yield (
                row,
                column,
                padded[:, :, top : top + (height - 1) * step_y + 1 : step_y, left : left + (width - 1) * step_x + 1 : step_x],
            )
