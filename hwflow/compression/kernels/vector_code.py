"""LLVM code for the innermost loops of sparse layers, for numba, which does not vectorise these by itself (extra `fast`).

Two operations on vectors of a fixed number of float32 lanes, at addresses:

    sums       for a row of a sparse matrix, values times rows of a dense matrix, summed in registers
    transform  L X L^T of square tiles whose elements are vectors, one tile a lane, for a small constant matrix L

numba's own loops write to memory what is summed here in registers, and test before each whether arrays overlap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from hwflow.cost.winograd import transforms

_WORD = 4  # bytes of a float32 and of an offset
_LANE = ir.FloatType()
_ADDRESS = ir.IntType(64)
_CHAINS = 4  # of independent sums, so that one need not wait for the other


class _Vectors:
    """Loads, stores and arithmetic on vectors of one width."""

    def __init__(self, builder: Any, lanes: int) -> None:
        self.builder, self.kind = builder, ir.VectorType(_LANE, lanes)
        self._index = ir.Constant(ir.IntType(32), 0)
        self._zeros = ir.Constant(ir.VectorType(ir.IntType(32), lanes), None)

    def constant(self, value: float) -> Any:
        return ir.Constant(self.kind, [ir.Constant(_LANE, value)] * self.kind.count)

    def plus(self, address: Any, words: Any) -> Any:
        """An address some words further on."""
        if isinstance(words, int):
            words = ir.Constant(_ADDRESS, words)
        return self.builder.add(address, self.builder.mul(words, ir.Constant(_ADDRESS, _WORD)))

    def load(self, address: Any, kind: Any = None) -> Any:
        pointer = self.builder.inttoptr(address, (kind or self.kind).as_pointer())
        return self.builder.load(pointer, align=_WORD)

    def store(self, value: Any, address: Any) -> None:
        self.builder.store(value, self.builder.inttoptr(address, self.kind.as_pointer()), align=_WORD)

    def spread(self, scalar: Any) -> Any:
        """A number in all lanes."""
        single = self.builder.insert_element(ir.Constant(self.kind, ir.Undefined), scalar, self._index)
        return self.builder.shuffle_vector(single, ir.Constant(self.kind, ir.Undefined), self._zeros)

    def multiply_add(self, one: Any, two: Any, added: Any) -> Any:
        product = self.builder.fmul(one, two, flags=("contract",))  # which makes one instruction of both
        return self.builder.fadd(product, added, flags=("contract",))


@cache
def sums(lanes: int, vectors: int) -> Callable[..., None]:
    """The operation `(offsets, values, first, last, dense, out)` for `vectors` vectors side by side.

    out[j] = sum over p from first to last of values[p] dense[offsets[p] + j] for j below lanes times vectors. All but the two
    counts are addresses; offsets are 32 bit and in words.
    """

    def operation(context: Any, offsets: Any, values: Any, first: Any, last: Any, dense: Any, out: Any) -> Any:
        def generate(_: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            offsets, values, first, last, dense, out = arguments
            with_ = _Vectors(builder, lanes)
            chains = max(1, _CHAINS // vectors)
            entry = [[cgutils.alloca_once_value(builder, with_.constant(0.0)) for _ in range(vectors)] for _ in range(chains)]
            place = cgutils.alloca_once_value(builder, first)

            def add(p: Any, chain: int) -> None:
                offset = builder.sext(with_.load(with_.plus(offsets, p), ir.IntType(32)), _ADDRESS)
                value = with_.spread(with_.load(with_.plus(values, p), _LANE))
                row = with_.plus(dense, offset)
                for j, total in enumerate(entry[chain]):
                    found = with_.multiply_add(value, with_.load(with_.plus(row, j * lanes)), builder.load(total))
                    builder.store(found, total)

            def loop(name: str, step: int) -> None:
                head, body, end = (builder.append_basic_block(f"{name}.{part}") for part in ("head", "body", "end"))
                builder.branch(head)
                builder.position_at_end(head)
                p = builder.load(place)
                upto = builder.add(p, ir.Constant(_ADDRESS, step))
                builder.cbranch(builder.icmp_signed("<=", upto, last), body, end)
                builder.position_at_end(body)
                for i in range(step):
                    add(builder.add(p, ir.Constant(_ADDRESS, i)), i)
                builder.store(upto, place)
                builder.branch(head)
                builder.position_at_end(end)

            if chains > 1:
                loop("several", chains)
            loop("single", 1)
            for j in range(vectors):
                total = builder.load(entry[0][j])
                for chain in entry[1:]:
                    total = builder.fadd(total, builder.load(chain[j]))
                with_.store(total, with_.plus(out, j * lanes))
            return _nothing(builder)

        return types.void(*(types.intp,) * 6), generate

    return intrinsic(operation)  # type: ignore[no-any-return]


def _nothing(builder: Any) -> Any:
    """What an operation without a result gives numba."""
    return ir.Constant(ir.IntType(8).as_pointer(), None)


@cache
def transform(m: int, which: str, lanes: int) -> Callable[..., None]:
    """The operation `(source, source_stride, out, out_stride)` on tiles of Winograd's F(m x m, 3 x 3).

    Element (i, j) of a tile, numbered row by row, is the vector at source + (i T + j) source_stride; addresses, and strides in
    words. `which` is `inputs` (B^T X B) or `outputs` (A^T Y A).
    """
    matrix = [[float(value) for value in row] for row in getattr(transforms(m), which)]

    def operation(context: Any, source: Any, source_stride: Any, out: Any, out_stride: Any) -> Any:
        def generate(_: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            source, source_stride, out, out_stride = arguments
            with_ = _Vectors(builder, lanes)
            size = len(matrix[0])

            def product(vectors: Sequence[Any]) -> list[Any]:
                found = []
                for row in matrix:
                    total = None
                    for factor, vector in zip(row, vectors, strict=True):
                        if not factor:
                            continue
                        if total is None:
                            total = vector if factor == 1 else builder.fmul(vector, with_.constant(factor))
                        elif abs(factor) == 1:
                            total = (builder.fadd if factor > 0 else builder.fsub)(total, vector)
                        else:
                            total = with_.multiply_add(vector, with_.constant(factor), total)
                    found.append(total)
                return found

            def at(base: Any, stride: Any, number: int) -> Any:
                return with_.plus(base, builder.mul(stride, ir.Constant(_ADDRESS, number)))

            columns = [product([with_.load(at(source, source_stride, i * size + j)) for i in range(size)]) for j in range(size)]
            for i in range(len(matrix)):
                for j, vector in enumerate(product([column[i] for column in columns])):
                    with_.store(vector, at(out, out_stride, i * len(matrix) + j))
            return _nothing(builder)

        return types.void(*(types.intp,) * 4), generate

    return intrinsic(operation)  # type: ignore[no-any-return]


__all__ = ["sums", "transform"]
