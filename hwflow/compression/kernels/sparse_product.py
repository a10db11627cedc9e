"""`SparseRows`: sparse matrices by rows (CSR) and their product with dense ones, by numba or by PyTorch.

Both give equal numbers but for the order of sums. numba (extra `fast`) is faster in most layers, PyTorch's CSR product, which
is MKL's, in some wide ones with few columns.
"""

from __future__ import annotations

import math
import threading
import warnings
from importlib.util import find_spec
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from hwflow.errors import not_found
from hwflow.optional import needed

Library = Literal["numba", "torch"]
_LANES = (4, 8, 16)
_LINE, _WORD = 64, 4  # bytes of a cache line and of a float32
_memory = threading.local()


def libraries() -> tuple[Library, ...]:
    """Those that are installed."""
    return ("numba", "torch") if find_spec("numba") is not None else ("torch",)


def checked_library(name: str) -> Library:
    """A library's name, which is installed.

    Raises:
        InputError: for an unknown one.
        MissingDependency: where it is not installed.
    """
    if name not in get_args(Library):
        raise not_found("library of sparse products", name, get_args(Library))
    if name == "numba":
        needed("numba", "the sparse kernel compiled by numba", "fast")
    return name  # type: ignore[return-value]


def lanes_for(count: int) -> int:
    """Lanes of vectors for so many columns."""
    return next((lanes for lanes in _LANES if count <= lanes), _LANES[-1])


def room_for(count: int) -> int:
    """The next multiple of the lanes."""
    lanes = lanes_for(count)
    return -(-count // lanes) * lanes


def scratch(name: str, *shape: int) -> Tensor:
    """Memory of this thread for float32 that is used again and again: new pages take longer to get than to fill.

    It begins with a cache line, so that no vector lies in two.
    """
    kept = vars(_memory)
    size = math.prod(shape)
    if name not in kept or len(kept[name]) < size:
        whole = np.empty(size + _LINE // _WORD, np.float32)
        first = -whole.ctypes.data % _LINE // _WORD
        kept[name] = whole[first : first + size]
    return torch.from_numpy(kept[name][:size]).reshape(shape)


class SparseRows:
    """Matrices [G, M, C] of float32 without their zeros.

    Attributes:
        shape: (G, M, C).
        pointers: int64 [G, M + 1], where each row's values begin and end.
        columns: int32, of each value.
        values: float32.
    """

    def __init__(self, dense: Tensor) -> None:
        whole = dense.detach().float().cpu().numpy()
        kept = whole != 0
        counts = np.concatenate([[0], np.cumsum(kept.sum(axis=2, dtype=np.int64))])
        matrices, rows, columns = whole.shape
        self.shape = (matrices, rows, columns)
        self.pointers = counts[np.arange(matrices)[:, None] * rows + np.arange(rows + 1)[None]]
        self.columns = np.nonzero(kept)[2].astype(np.int32)
        self.values = np.ascontiguousarray(whole[kept])
        self._joint: Tensor | None = None
        self._offsets: dict[Any, Any] = {}

    def __deepcopy__(self, memo: Any) -> SparseRows:
        """Itself: nothing changes it."""
        return self

    def times(self, dense: Tensor, library: Library) -> Tensor:
        """The products [G, M, n] with dense matrices [G, C, n].

        For numba n is a multiple of its lanes (`room_for`), and the next product of this thread takes the same memory.
        """
        matrices, rows, columns = self.shape
        count = dense.shape[2]
        if library == "torch":
            return (self._matrix() @ dense.reshape(matrices * columns, count)).reshape(matrices, rows, count)
        if count not in self._offsets:
            self._offsets[count] = self.columns * np.int32(count)
        return self.sums(dense.reshape(-1), columns * count, self._offsets[count], count, matrices)

    def sums(self, dense: Tensor, stride: int, offsets: Any, count: int, matrices: int = 1) -> Tensor:
        """By numba: `count` words of a flat tensor from each value's offset on, times the value, summed over each row.

        Args:
            stride: words from the part of one matrix to the next's.
            offsets: int32, of each value.
            count: a multiple of the lanes.

        Returns:
            [matrices, M, count], in memory that the next call in this thread takes, too.
        """
        from hwflow.compression.kernels import compiled_loops

        out = scratch("products", matrices, self.shape[1], count)
        compiled_loops.product(lanes_for(count))(self.pointers, offsets, self.values, dense.numpy(), stride, out.numpy())
        return out

    def _matrix(self) -> Tensor:
        """All matrices on the diagonal of one."""
        if self._joint is None:
            matrices, rows, columns = self.shape
            counts = np.diff(self.pointers, axis=1).ravel()
            starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
            first = np.repeat(
                np.arange(matrices, dtype=np.int32) * np.int32(columns), counts.reshape(matrices, rows).sum(axis=1)
            )
            with warnings.catch_warnings():  # which says that the format is new
                warnings.simplefilter("ignore", UserWarning)
                self._joint = torch.sparse_csr_tensor(
                    torch.from_numpy(starts),
                    torch.from_numpy(self.columns + first),
                    torch.from_numpy(self.values),
                    (matrices * rows, matrices * columns),
                )
        return self._joint


__all__ = ["Library", "SparseRows", "checked_library", "lanes_for", "libraries", "room_for", "scratch"]
