"""Rows of a `Network` from shapes in the frameworks' order: (H, W), kernels last, batch dimensions anywhere.

The one place where PyTorch's and ONNX's (height, width) become hwflow's [width, height]; importers and zoo go through it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import zip_longest

from hwflow.errors import InputError, check_whole
from hwflow.layers import Layer


def convolution(
    name: str,
    inputs: Sequence[int],
    outputs: Sequence[int],
    weights: Sequence[int],
    *,
    strides: Sequence[int],
    dilations: Sequence[int],
    groups: int = 1,
    bias: int = 0,
    transposed: bool = False,
) -> Layer:
    """The row of a convolution of one or two spatial axes.

    Args:
        inputs, outputs: (N, channels, [H,] W).
        weights: (M total, C, [S,] R) as PyTorch and ONNX store them; (C total, M, [S,] R) where `transposed`.
        strides, dilations: per spatial axis, height first; one spatial axis is the width.
        bias: elements of the bias.

    Raises:
        InputError: where there are not one or two spatial axes, or channels and groups do not fit.
    """
    spatial = len(inputs) - 2
    if spatial not in (1, 2):
        raise InputError(
            f"{name!r} is a convolution over {spatial} spatial axes (weights {shown(weights)}); hwflow expresses one or two"
        )
    if groups < 1:
        raise InputError(f"{name!r}: groups is {groups}; it must be at least 1")
    if inputs[1] % groups or outputs[1] % groups:
        raise InputError(
            f"{name!r}: groups is {groups}; it must divide the input channels ({inputs[1]}) and the output "
            f"channels ({outputs[1]})"
        )
    channels = weights[0] if transposed else weights[1] * groups
    if channels != inputs[1]:
        raise InputError(f"{name!r}: the weights {shown(weights)} are for {channels} input channels; the input has {inputs[1]}")
    stride, dilation = _width_first(strides), _width_first(dilations)
    placed = _width_first((inputs if transposed else outputs)[2:])
    kernel = _width_first(weights[2:])
    return Layer(
        name=name,
        type="conv_transpose" if transposed else "conv",
        N=inputs[0],
        G=groups,
        C=inputs[1] // groups,
        M=outputs[1] // groups,
        P=placed[0],
        Q=placed[1],
        R=kernel[0],
        S=kernel[1],
        strides=stride,
        dilations=dilation,
        params_other=bias,
    )


def linear(name: str, inputs: Sequence[int], outputs: int, *, bias: int = 0) -> Layer:
    """The row of a product with fixed weights: inputs (N, ..., C), P the product of the axes between; a lone (C,) has N = 1."""
    *rows, channels = inputs
    return Layer(
        name=name,
        type="linear",
        N=rows[0] if rows else 1,
        P=math.prod(rows[1:]),
        C=channels,
        M=outputs,
        params_other=bias,
    )


def product(
    name: str, left: Sequence[int], right: Sequence[int], *, left_fixed: bool, right_fixed: bool, bias: int = 0
) -> Layer:
    """The row of `matmul(left, right)` with NumPy's broadcasting; `*_fixed` says which operand is weights, not activations.

    The operand in the role of the weights has no N axis in hwflow's loop nest. So a batch axis of both operands is G, one of
    the left alone is N (the right is read again), and one of the right alone multiplies M (the left is read again).

    Raises:
        InputError: where the operands do not fit together.
    """
    if left_fixed and not right_fixed and min(len(left), len(right)) >= 2:
        left, right = (*right[:-2], right[-1], right[-2]), (*left[:-2], left[-1], left[-2])
        left_fixed, right_fixed = False, True
    elif left_fixed and not right_fixed:  # one of them is a vector: the vector is a matrix of one row
        left, right = _transposed_vectors(left, right)
        left_fixed, right_fixed = False, True
    rows = left if len(left) > 1 else (1, *left)
    columns = right if len(right) > 1 else (*right, 1)
    if not left or not right or rows[-1] != columns[-2]:
        raise InputError(f"{name!r} multiplies {shown(left)} by {shown(right)}; the inner sizes differ")
    if right_fixed and len(columns) == 2:
        return linear(name, left, columns[-1], bias=bias)
    N = G = widened = 1
    for a, b in zip_longest(reversed(rows[:-2]), reversed(columns[:-2]), fillvalue=1):
        if a == b:
            G *= a
        elif b == 1:
            N *= a
        elif a == 1:
            widened *= b
        else:
            raise InputError(f"{name!r} multiplies {shown(left)} by {shown(right)}; the batch sizes {a} and {b} differ")
    return Layer(
        name=name,
        type="linear" if right_fixed else "matmul",
        N=N,
        G=G,
        P=rows[-2],
        C=rows[-1],
        M=columns[-1] * widened,
        params_other=bias,
    )


def checked_batch(shape: Sequence[int] | None, batch: int | None) -> None:
    """Refuse a batch that is not a valid size, or differs from the one in the input's shape.

    Raises:
        InputError: naming both.
    """
    if batch is None:
        return
    check_whole("batch", batch)
    if shape is not None and shape[0] != batch:
        raise InputError(
            f"batch is {batch}, but the input shape {shown(shape)} begins with {shape[0]}, which is its batch. "
            f"Leave one of them out, or write {shown((batch, *shape[1:]))}."
        )


def shown(shape: Sequence[object]) -> str:
    """A shape as the command line writes it: 1x3x224x224."""
    return "x".join(map(str, shape)) or "a scalar"


def window(size: int, kernel: int, stride: int, padding: int, dilation: int = 1) -> int:
    """Positions of a kernel on an axis of `size` elements, `padding` on both sides; 0 or less where it does not fit."""
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def _width_first(pair: Sequence[int]) -> tuple[int, int]:
    return (pair[0], 1) if len(pair) == 1 else (pair[1], pair[0])


def _transposed_vectors(left: Sequence[int], right: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    turned_left = (*right[:-2], right[-1], right[-2]) if len(right) > 1 else tuple(right)
    turned_right = (*left[:-2], left[-1], left[-2]) if len(left) > 1 else (*left, 1)
    return turned_left, turned_right
