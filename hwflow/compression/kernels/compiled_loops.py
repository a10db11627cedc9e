"""The loops of sparse layers around `vector_code`, compiled by numba where they are first called (extra `fast`)."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import njit

from hwflow.compression.kernels import vector_code
from hwflow.cost.winograd import KERNEL

_WIDE = 4  # vectors that are summed side by side where there are as many
_WORD = 4  # bytes of a float32


@cache
def product(lanes: int) -> Callable[..., None]:
    """`(pointers, offsets, values, dense, stride, out)`: sparse matrices times dense ones.

    Row m of matrix g has the `values` from pointers[g, m] to pointers[g, m + 1]; value p times the words of `dense` from
    g stride + offsets[p] on is added to out[g, m, :], whose size is a multiple of `lanes`. `dense` is flat; all is float32 but
    for int64 pointers and int32 offsets.
    """
    wide, single = vector_code.sums(lanes, _WIDE), vector_code.sums(lanes, 1)

    def loops(pointers: Any, offsets: Any, values: Any, dense: Any, stride: Any, out: Any) -> None:
        matrices, rows, size = out.shape
        known, factors, base, target = offsets.ctypes.data, values.ctypes.data, dense.ctypes.data, out.ctypes.data
        for g in range(matrices):
            at = 0
            while at < size:  # some columns for all rows, which leaves the dense matrix in the cache
                broad = at + _WIDE * lanes <= size
                source = base + _WORD * (g * stride + at)
                for m in range(rows):
                    place = target + _WORD * ((g * rows + m) * size + at)
                    if broad:
                        wide(known, factors, pointers[g, m], pointers[g, m + 1], source, place)
                    else:
                        single(known, factors, pointers[g, m], pointers[g, m + 1], source, place)
                at += _WIDE * lanes if broad else lanes

    return njit(nogil=True)(loops)  # type: ignore[no-any-return]


@cache
def inputs(m: int, lanes: int) -> Callable[..., None]:
    """`(padded, tall, wide, out)`: B^T X B of all tiles of images [N, C, height, width] that hold whole tiles.

    out is [T^2, C, n], n a multiple of `lanes` and at least N tall wide tiles.
    """
    operation, size = vector_code.transform(m, "inputs", lanes), m + KERNEL - 1

    def loops(padded: Any, tall: Any, wide: Any, out: Any) -> None:
        images, channels, rows, row = padded.shape
        count, room = images * tall * wide, out.shape[2]
        tile, words = np.zeros(size * size * lanes, np.float32), padded.reshape(padded.size)
        for c in range(channels):
            image, y, x = 0, 0, 0
            for first in range(0, room, lanes):
                for lane in range(min(lanes, count - first)):
                    # Flat and unsigned, since numba tests every signed index of every axis for being negative.
                    corner = np.uint64(((image * channels + c) * rows + y * m) * row + x * m)
                    for i in range(size):
                        for j in range(size):
                            place = np.uint64((i * size + j) * lanes + lane)
                            tile[place] = words[corner + np.uint64(i * row + j)]
                    x += 1
                    if x == wide:
                        x, y = 0, y + 1
                    if y == tall:
                        y, image = 0, image + 1
                operation(tile.ctypes.data, lanes, out.ctypes.data + _WORD * (c * room + first), channels * room)

    return njit(nogil=True)(loops)  # type: ignore[no-any-return]


@cache
def outputs(m: int, lanes: int) -> Callable[..., None]:
    """`(products, tall, wide, bias, out)`: A^T Y A of all tiles, from [T^2, M, n] to [N, M, height, width], plus a bias [M]."""
    operation = vector_code.transform(m, "outputs", lanes)

    def loops(products: Any, tall: Any, wide: Any, bias: Any, out: Any) -> None:
        channels, room = products.shape[1:]
        images, height, width = out.shape[0], out.shape[2], out.shape[3]
        count = images * tall * wide
        tile, words = np.zeros(m * m * lanes, np.float32), out.reshape(out.size)
        for k in range(channels):
            image, y, x, more = 0, 0, 0, bias[k]
            for first in range(0, room, lanes):
                operation(products.ctypes.data + _WORD * (k * room + first), channels * room, tile.ctypes.data, lanes)
                for lane in range(min(lanes, count - first)):
                    corner = np.uint64(((image * channels + k) * height + y * m) * width + x * m)
                    if y * m + m <= height and x * m + m <= width:
                        for i in range(m):
                            for j in range(m):
                                place = np.uint64((i * m + j) * lanes + lane)
                                words[corner + np.uint64(i * width + j)] = tile[place] + more
                    else:
                        for i in range(min(m, height - y * m)):
                            for j in range(min(m, width - x * m)):
                                place = np.uint64((i * m + j) * lanes + lane)
                                words[corner + np.uint64(i * width + j)] = tile[place] + more
                    x += 1
                    if x == wide:
                        x, y = 0, y + 1
                    if y == tall:
                        y, image = 0, image + 1

    return njit(nogil=True)(loops)  # type: ignore[no-any-return]


__all__ = ["inputs", "outputs", "product"]
